//! Clients that are processes of their own, so that they can die as processes do.
//!
//! Whoever runs the suite lends a program that [`relay`]s between its standard streams and the
//! server: what such a client says and when it dies is up to the case, and it has a process id that
//! nobody else has.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::Trouble;
use super::bench::{Bench, failed};
use super::session::{encode, read_answers, request};
use crate::tracking::wire::{self, decode_response};
use crate::tracking::{Layout, Message, MessageKind};

/// Passes on what comes in on stdin to the server at `path`, and what it answers to stdout, until
/// stdin ends.
pub(crate) fn relay(path: &Path) -> io::Result<()> {
    let stream = UnixStream::connect(path)?;
    let mut from_server = stream.try_clone()?;
    let answers = std::thread::spawn(move || copy(&mut from_server, &mut io::stdout()));
    let said = copy(&mut io::stdin(), &mut &stream);
    // So that the other thread ends too; the connection may be gone already.
    let _ = stream.shutdown(Shutdown::Both);
    let _ = answers.join();
    said
}

/// As [`io::copy`], with nothing held back.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut piece = [0; 4096];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            count => to.write_all(&piece[..count]).and_then(|()| to.flush())?,
        }
    }
}

/// A client that is a process of its own.
#[derive(Debug)]
pub(super) struct Mortal {
    child: Child,
    layout: Layout,
    device: i32,
    patience: Duration,
    /// Its process id.
    pub(crate) pid: i32,
}

impl Mortal {
    /// Starts one that speaks `layout`.
    pub(crate) fn start(bench: &Bench<'_>, layout: Layout) -> Result<Mortal, Trouble> {
        let Some(helper) = bench.site.helper else {
            return Err(Trouble::Skipped(
                "there is no program to be a client that dies".to_owned(),
            ));
        };
        let child = Command::new(helper)
            .arg("conformance")
            .arg(format!("unix:{}", bench.site.path.display()))
            .arg("--relay")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Trouble::Skipped(format!("{}: {error}", helper.display())))?;
        let pid = child.id().cast_signed();
        let mut mortal = Mortal {
            child,
            layout,
            device: bench.site.device,
            patience: bench.site.patience,
            pid,
        };
        if layout == Layout::Extended {
            mortal.write(&wire::encode_hello(layout))?;
        }
        // As `Session::greet`.
        mortal.write(&request(layout, MessageKind::Query, mortal.device, pid).repeat(2))?;
        mortal.answers(2)?;
        Ok(mortal)
    }

    /// Sends messages, and waits until the server has taken them.
    pub(crate) fn send(&mut self, messages: &[Message]) -> Result<(), Trouble> {
        let mut bytes = encode(self.layout, messages);
        bytes.extend(request(
            self.layout,
            MessageKind::Query,
            self.device,
            self.pid,
        ));
        self.write(&bytes)?;
        self.answers(1)
    }

    /// Dies, and is seen to have.
    pub(crate) fn die(mut self) {
        self.end();
    }

    /// Dies, and stays a zombie until this value is dropped: nobody has asked how it ended.
    pub(crate) fn die_unseen(&mut self) {
        // Nothing to do where it has ended by itself.
        let _ = self.child.kill();
        let exited = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let _ = waitid(WaitId::Pid(Pid::from_child(&self.child)), exited);
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let stdin = self.child.stdin.as_mut().expect("it was started with one");
        stdin
            .write_all(bytes)
            .map_err(|error| failed("a client in a process of its own", &error))
    }

    fn answers(&mut self, count: usize) -> Result<(), Trouble> {
        let stdout = self.child.stdout.as_mut().expect("it was started with one");
        let mut patient = Patient(stdout, self.patience);
        read_answers(&mut patient, self.layout, count, decode_response)
            .map(drop)
            .map_err(|error| failed("a client in a process of its own: QUERY", &error))
    }

    fn end(&mut self) {
        // Nothing to do where it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.end();
    }
}

/// A pipe that is not waited for for ever.
struct Patient<'a>(&'a mut ChildStdout, Duration);

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let timeout = Timespec::try_from(self.1).map_err(io::Error::other)?;
        let mut ready = [PollFd::new(self.0, PollFlags::IN)];
        match poll(&mut ready, Some(&timeout))? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => self.0.read(buffer),
        }
    }
}
