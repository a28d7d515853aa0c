//! A running `heisenbed serve`, as its clients find it.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

const TIMEOUT: Duration = Duration::from_secs(20);

pub struct Served {
    server: Option<Child>,
    folder: tempfile::TempDir,
}

impl Served {
    /// Starts one that listens when this returns.
    pub fn start(options: &[&str]) -> Served {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut server = crate::common::heisenbed(&["serve", "--format", "json", "--socket"])
            .arg(folder.path().join("s"))
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut said = BufReader::new(server.stderr.take().expect("piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("a line");
        assert!(line.starts_with("listening on"), "{line}");
        Served {
            server: Some(server),
            folder,
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    pub fn id(&self) -> u32 {
        self.server.as_ref().expect("it runs").id()
    }

    /// A connection that does not wait for ever.
    pub fn stream(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).expect("the server listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a socket");
        stream
    }

    /// How much memory it has now.
    pub fn resident_kb(&self) -> u64 {
        let pid = self.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let figure = line.and_then(|line| line.split_whitespace().nth(1));
        figure.and_then(|kb| kb.parse().ok()).expect("a figure")
    }

    /// Ends it as a crash does; its folder stays.
    pub fn kill(&mut self) {
        let server = self.server.as_mut().expect("it runs");
        server.kill().expect("it runs");
        server.wait().expect("it ends");
    }

    /// Stops it: its final figures. A server that crashed has none.
    pub fn figures(mut self) -> serde_json::Value {
        let server = self.server.take().expect("stopped once");
        kill_process(Pid::from_child(&server), Signal::TERM).expect("it runs");
        let output = server.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{:?}", output.status);
        serde_json::from_slice(&output.stdout).expect("an object")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // It may be dead already.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
