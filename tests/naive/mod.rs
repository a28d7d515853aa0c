//! A deliberately naive tracking server, as one might write it in an afternoon: what `conformance`
//! must find.
//!
//! It has the misbehaviours that were confirmed of reference servers, and is written without
//! heisenbed's own wire code, so that the two check each other: a thread a connection; what one
//! read returns is taken for whole messages; totals of 8 devices, indexed by what the message says;
//! a key of device and address with a reference count, which keeps size, type and owner of the
//! first ALLOC; sums that wrap; a FREE of an unknown key that states a size is believed; a message
//! of unknown type is taken for a FREE; answers that are sent while the table is locked, to whoever
//! may have gone (SIGPIPE ends it).
//!
//! It runs in a process of its own, because it dies: this test binary, started again.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const SOCKET: &str = "HEISENBED_NAIVE_SOCKET";
const FRAME_BYTES: &str = "HEISENBED_NAIVE_FRAME_BYTES";
const SWEEP_MS: &str = "HEISENBED_NAIVE_SWEEP_MS";
const DEVICES: usize = 8;
const ARGUMENTS: [&str; 4] = [
    "naive::serves_when_told_to",
    "--exact",
    "--ignored",
    "--nocapture",
];

/// A naive server in a process of its own, which goes with this value.
pub struct Naive {
    child: Child,
    directory: tempfile::TempDir,
}

impl Naive {
    /// One of the 112-byte layout that never sweeps.
    pub fn start() -> Naive {
        Naive::start_with(112, None)
    }

    /// One of another layout, or one that drops what dead processes left, every so many
    /// milliseconds.
    pub fn start_with(frame_bytes: usize, sweep_ms: Option<u64>) -> Naive {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command
            .args(ARGUMENTS)
            .env(SOCKET, directory.path().join("naive.sock"))
            .env(FRAME_BYTES, frame_bytes.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(sweep_ms) = sweep_ms {
            command.env(SWEEP_MS, sweep_ms.to_string());
        }
        let naive = Naive {
            child: command.spawn().expect("it starts"),
            directory,
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while UnixStream::connect(naive.path()).is_err() {
            assert!(
                Instant::now() < deadline,
                "the naive server does not listen"
            );
            thread::sleep(Duration::from_millis(5));
        }
        naive
    }

    /// The shell command that runs one at `path`.
    pub fn command(path: &Path, frame_bytes: usize, sweep_ms: Option<u64>) -> String {
        let program = std::env::current_exe().expect("this test");
        let sweep = sweep_ms.map(|ms| format!("{SWEEP_MS}={ms} "));
        format!(
            "{SOCKET}='{}' {FRAME_BYTES}={frame_bytes} {}exec '{}' {}",
            path.display(),
            sweep.unwrap_or_default(),
            program.display(),
            ARGUMENTS.join(" ")
        )
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("naive.sock")
    }
}

impl Drop for Naive {
    fn drop(&mut self) {
        // It may have died of what it was sent.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "the server that other tests start"]
fn serves_when_told_to() {
    let Some(path) = std::env::var_os(SOCKET) else {
        return;
    };
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    // What would be a crash in C++.
    std::panic::set_hook(Box::new(|_| std::process::abort()));
    serve(
        Path::new(&path),
        number(FRAME_BYTES).expect("told") as usize,
        number(SWEEP_MS),
    );
}

#[derive(Default)]
struct Table {
    live: HashMap<(i32, u64), Entry>,
    totals: [[u64; 7]; DEVICES],
}

struct Entry {
    size: u64,
    kind: usize,
    owner: i32,
    references: u64,
}

fn serve(path: &Path, frame_bytes: usize, sweep_ms: Option<u64>) {
    let listener = UnixListener::bind(path).expect("a free place");
    let table = Arc::new(Mutex::new(Table::default()));
    if let Some(sweep_ms) = sweep_ms {
        let table = Arc::clone(&table);
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_millis(sweep_ms));
                table.lock().expect("no panic survives").sweep();
            }
        });
    }
    for stream in listener.incoming().flatten() {
        let table = Arc::clone(&table);
        thread::spawn(move || talk(stream, frame_bytes, &table));
    }
}

fn talk(mut stream: UnixStream, frame_bytes: usize, table: &Mutex<Table>) {
    let mut buffer = vec![0; 64 << 10];
    let mut message = vec![0; frame_bytes];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        for piece in buffer[..count].chunks(frame_bytes) {
            // The rest is what the last message left there.
            message[..piece.len()].copy_from_slice(piece);
            let mut table = table.lock().expect("no panic survives");
            if let Some(answer) = table.take(&message) {
                // SIGPIPE, which Rust programs ignore and C++ programs die of.
                if stream.write_all(&answer).is_err() {
                    std::process::abort();
                }
            }
        }
    }
}

impl Table {
    fn take(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let u64_at = |at| u64::from_le_bytes(message[at..at + 8].try_into().expect("8 bytes"));
        let i32_at = |at| i32::from_le_bytes(message[at..at + 4].try_into().expect("4 bytes"));
        let (device, size, kind, pid, address) = (
            i32_at(4),
            u64_at(8),
            usize::from(message[16]),
            i32_at(20),
            u64_at(24),
        );
        let key = (device, address);
        match message[0] {
            1 => {
                if let Some(entry) = self.live.get_mut(&key) {
                    entry.references += 1;
                    return None;
                }
                let total = &mut self.totals[device as usize][kind];
                *total = total.wrapping_add(size);
                let entry = Entry {
                    size,
                    kind,
                    owner: pid,
                    references: 1,
                };
                self.live.insert(key, entry);
            }
            3 => return Some(self.response(device, message.len())),
            6 => {
                let mut answer = vec![0; message.len()];
                answer[0] = 7;
                answer[4..8].copy_from_slice(&device.to_le_bytes());
                let count_at = if message.len() >= 128 { 124 } else { 108 };
                answer[count_at..count_at + 4].copy_from_slice(&(DEVICES as u32).to_le_bytes());
                return Some(answer);
            }
            // Circular buffers and kernels: a sum of what the messages say.
            kind @ (8 | 10) => {
                let total = &mut self.totals[device as usize][5 + usize::from(kind == 10)];
                *total = total.wrapping_add(size);
            }
            kind @ (9 | 11) => {
                let total = &mut self.totals[device as usize][5 + usize::from(kind == 11)];
                *total = total.wrapping_sub(size);
            }
            4 | 5 | 7 | 12 => {}
            // FREE, and whatever else may come.
            _ => {
                let Some(entry) = self.live.get_mut(&key) else {
                    let total = &mut self.totals[device as usize][kind];
                    *total = total.wrapping_sub(size);
                    return None;
                };
                entry.references -= 1;
                if entry.references == 0 {
                    self.remove(key);
                }
            }
        }
        None
    }

    fn remove(&mut self, key: (i32, u64)) {
        let entry = self.live.remove(&key).expect("it was found");
        let total = &mut self.totals[key.0 as usize][entry.kind];
        *total = total.wrapping_sub(entry.size);
    }

    fn response(&self, device: i32, frame_bytes: usize) -> Vec<u8> {
        let totals = self.totals[device as usize];
        let mut answer = vec![0; frame_bytes];
        answer[0] = 4;
        answer[4..8].copy_from_slice(&device.to_le_bytes());
        // The totals of DRAM, L1, L1_SMALL and TRACE, and where the layout has them those of
        // circular buffers and kernels.
        for (at, kind) in [(40, 0), (48, 1), (56, 3), (64, 4)] {
            answer[at..at + 8].copy_from_slice(&totals[kind].to_le_bytes());
        }
        if frame_bytes >= 128 {
            for (at, kind) in [(72, 5), (80, 6)] {
                answer[at..at + 8].copy_from_slice(&totals[kind].to_le_bytes());
            }
        }
        answer
    }

    /// Drops what processes left that are no more, as far as this one can see.
    fn sweep(&mut self) {
        let is_dead = |pid: i32| {
            rustix::process::Pid::from_raw(pid)
                .is_none_or(|pid| rustix::process::test_kill_process(pid).is_err())
        };
        let dead: Vec<_> = self
            .live
            .iter()
            .filter(|(_, entry)| is_dead(entry.owner))
            .map(|(key, _)| *key)
            .collect();
        for key in dead {
            self.remove(key);
        }
    }
}
