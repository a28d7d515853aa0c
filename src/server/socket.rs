//! The listening socket's file: private from its first moment, never taken from a living server.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::process::Pid;

/// Why a server can't listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another server answers on the path.
    #[error("{path}: another server is listening here")]
    InUse {
        /// The socket path.
        path: PathBuf,
    },
    /// The path exists and is not a socket.
    #[error("{path}: exists and is not a socket")]
    NotASocket {
        /// The socket path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{path}: {source}")]
    System {
        /// The socket path.
        path: PathBuf,
        /// Its reason.
        source: std::io::Error,
    },
}

/// A bound socket file; removed on drop, unless it was replaced by another since.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.inode);
        if same {
            // Nothing is lost when it is gone already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

const BACKLOG: i32 = 1024;
const LOCK_ATTEMPTS: u32 = 50;
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Listens on `path`, readable and writable for its owner only. A socket file that nobody listens
/// on is replaced.
pub(crate) fn listen(path: &Path) -> Result<(OwnedFd, SocketFile), ListenError> {
    let system = |source: Errno| ListenError::System {
        path: path.to_owned(),
        source: source.into(),
    };
    let address = SocketAddrUnix::new(path).map_err(system)?;
    // Two servers that start at once must not both find the file stale: one after the other, a
    // directory.
    let _lock = lock_directory(path).map_err(system)?;
    let socket = new_socket().map_err(system)?;
    // On Linux the file takes its mode from the socket, so it is never open to others, not even for
    // a moment.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(system)?;
    match rustix::net::bind(&socket, &address) {
        Err(Errno::ADDRINUSE) => {
            remove_stale(path, &address)?;
            rustix::net::bind(&socket, &address).map_err(system)?;
        }
        other => other.map_err(system)?,
    }
    let io = |source| ListenError::System {
        path: path.to_owned(),
        source,
    };
    // For systems where it doesn't: nobody can connect before `listen`.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io)?;
    let metadata = fs::symlink_metadata(path).map_err(io)?;
    let file = SocketFile {
        path: path.to_owned(),
        inode: (metadata.dev(), metadata.ino()),
    };
    rustix::net::listen(&socket, BACKLOG).map_err(system)?;
    Ok((socket, file))
}

/// Whether the process at the other end runs as this user. A peer that the system doesn't identify
/// is refused.
pub(crate) fn is_same_user(peer: &OwnedFd) -> bool {
    sockopt::socket_peercred(peer).is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

/// The process at the other end, if it has a number in this pid namespace.
pub(super) fn peer_process(peer: &OwnedFd) -> Option<Pid> {
    sockopt::socket_peercred(peer).ok().map(|peer| peer.pid)
}

fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn lock_directory(path: &Path) -> Result<OwnedFd, Errno> {
    use rustix::fs::OFlags;
    let parent = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let directory = rustix::fs::open(
        parent,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for _ in 0..LOCK_ATTEMPTS {
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => thread::sleep(LOCK_RETRY),
            other => return other.map(|()| directory),
        }
    }
    Err(Errno::WOULDBLOCK)
}

fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), ListenError> {
    let path_buf = || path.to_owned();
    let io = |source| ListenError::System {
        path: path_buf(),
        source,
    };
    if !fs::symlink_metadata(path)
        .map_err(io)?
        .file_type()
        .is_socket()
    {
        return Err(ListenError::NotASocket { path: path_buf() });
    }
    let probe = new_socket().map_err(|source| io(source.into()))?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(io),
        Err(Errno::NOENT) => Ok(()),
        Ok(()) | Err(Errno::AGAIN) => Err(ListenError::InUse { path: path_buf() }),
        Err(source) => Err(io(source.into())),
    }
}
