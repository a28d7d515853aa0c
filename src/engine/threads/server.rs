//! The server of a run: in this process, in a process of its own, or somebody else's.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;

use crate::oracle::rest::{self, LiveAtRest};
use crate::planted::Planted;
use crate::registry::{Outcome, Registry};
use crate::scenario::Scenario;
use crate::scenario::objects::ConnId;
use crate::server::listener::{ClientId, Observer, Server, ServerConfig};
use crate::trace::event::{Event, ReceiveCode, receive_code};
use crate::trace::file::AtRest;
use crate::trace::recorder::StreamRecorder;
use crate::tracking::sent::{Handle, SentKind, message};
use crate::tracking::{Layout, Message};

use super::client::{SendingClient, shown_before, since};
use super::{RunError, ServerChoice};

/// How long a spawned server may take to listen.
const SPAWN_TIMEOUT: Duration = Duration::from_secs(10);

/// The server while the threads run.
pub(super) enum RunningServer {
    InProcess(Server<Tap>),
    Spawned { child: SpawnedServer, path: PathBuf },
    Elsewhere { path: PathBuf, before: AtRest },
}

/// What the server showed when all was done.
pub(super) struct ServerAtRest {
    pub(crate) at_rest: AtRest,
    pub(crate) received: Option<[u64; ReceiveCode::ALL.len()]>,
}

impl RunningServer {
    pub(crate) fn start(
        scenario: &Scenario,
        choice: &ServerChoice,
        directory: &Path,
        stream: impl FnOnce() -> Option<StreamRecorder>,
    ) -> Result<RunningServer, RunError> {
        let path = directory.join("server.sock");
        match choice {
            ServerChoice::InProcess => {
                let mut config = ServerConfig::new(&path, scenario.semantics);
                config.limits = scenario.registry_limits();
                config.delay_per_message_us = scenario.server.delay_us;
                config.layout = Some(Planted::server_layout(
                    scenario.planted,
                    scenario.transport.layout,
                ));
                config.planted = scenario.planted;
                let tap = Tap::new(stream(), scenario.objects().conns);
                Server::start_with(config, tap)
                    .map(RunningServer::InProcess)
                    .map_err(|error| RunError::Server {
                        path: path.display().to_string(),
                        source: io::Error::other(error),
                    })
            }
            ServerChoice::Spawn => spawn(scenario, path),
            ServerChoice::Path(path) => {
                let before = shown_before(scenario, path);
                before
                    .map(|before| RunningServer::Elsewhere {
                        path: path.clone(),
                        before,
                    })
                    .map_err(|source| RunError::Server {
                        path: path.display().to_string(),
                        source,
                    })
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            RunningServer::InProcess(server) => server.path(),
            RunningServer::Spawned { path, .. } | RunningServer::Elsewhere { path, .. } => path,
        }
    }

    pub(crate) fn error(&self, source: io::Error) -> RunError {
        RunError::Server {
            path: self.path().display().to_string(),
            source,
        }
    }

    /// Waits until the server has taken everything that was sent, and looks at what it shows. In a
    /// server elsewhere, what the run leaves `live` is then released in the name of `pid`, so that
    /// a later run does not meet it.
    pub(crate) fn settle(
        self,
        client: &SendingClient,
        scenario: &Scenario,
        live: &[LiveAtRest],
        pid: i32,
    ) -> Result<ServerAtRest, RunError> {
        match self {
            RunningServer::InProcess(server) => {
                client.close();
                let report = server.shutdown();
                let received = report.observer.counts;
                drop(report.observer);
                let at_rest = AtRest::Table(rest::table(&report.registry));
                Ok(ServerAtRest {
                    at_rest,
                    received: Some(received),
                })
            }
            RunningServer::Spawned { mut child, path } => {
                let at_rest = client.ask(&path, scenario);
                client.close();
                child.end();
                Ok(ServerAtRest {
                    at_rest,
                    received: None,
                })
            }
            RunningServer::Elsewhere { path, before } => {
                let at_rest = since(&before, client.ask(&path, scenario));
                let layout = scenario.transport.layout;
                client.clean_up(live.iter().map(|buffer| release(layout, buffer, pid)));
                client.close();
                Ok(ServerAtRest {
                    at_rest,
                    received: None,
                })
            }
        }
    }
}

/// The message that releases a live buffer.
fn release(layout: Layout, buffer: &LiveAtRest, pid: i32) -> Message {
    let kind = if buffer.circular {
        SentKind::CbFree
    } else {
        SentKind::Free
    };
    let handle = Handle {
        device: buffer.origin.device,
        memory: buffer.origin.memory,
        address: buffer.origin.address,
        size_bytes: buffer.origin.size_bytes,
        generation: buffer.generation,
    };
    message(layout, pid, kind, &handle, buffer.origin.thread, 0)
}

fn spawn(scenario: &Scenario, path: PathBuf) -> Result<RunningServer, RunError> {
    let error = |source| RunError::Server {
        path: path.display().to_string(),
        source,
    };
    let program = std::env::current_exe().map_err(error)?;
    let child = Command::new(program)
        .args(["serve", "--quiet", "--socket"])
        .arg(&path)
        .args([
            "--semantics",
            &scenario.semantics.to_string(),
            "--devices",
            &scenario.devices.to_string(),
        ])
        .args(["--layout", &scenario.transport.layout.to_string()])
        .args(["--delay-us", &scenario.server.delay_us.to_string()])
        // Ctrl-C at the terminal is for the run, which ends the server when it has asked it.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(error)?;
    let mut child = SpawnedServer(child);
    let started = Instant::now();
    loop {
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Ok(RunningServer::Spawned { child, path });
        }
        if let Ok(Some(status)) = child.0.try_wait() {
            return Err(error(io::Error::other(format!(
                "`heisenbed serve` ended at once: {status}"
            ))));
        }
        if started.elapsed() > SPAWN_TIMEOUT {
            return Err(error(io::Error::new(
                io::ErrorKind::TimedOut,
                "`heisenbed serve` did not start to listen",
            )));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server in a process of its own, which goes with the run.
pub(super) struct SpawnedServer(Child);

impl SpawnedServer {
    /// Lets it end in its own way.
    fn end(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

impl Drop for SpawnedServer {
    fn drop(&mut self) {
        // Nothing to do where it has ended; where the run fell, it falls too.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Takes down what the server receives from the run's own connections, in the order in which it
/// does.
#[derive(Debug)]
pub(super) struct Tap {
    stream: Option<StreamRecorder>,
    conns: u16,
    counts: [u64; ReceiveCode::ALL.len()],
    /// Device and sequence number of what was reported as held: it is reported again when it takes
    /// effect.
    held: FxHashSet<(i32, u64)>,
}

impl Tap {
    fn new(stream: Option<StreamRecorder>, conns: u16) -> Tap {
        Tap {
            stream,
            conns,
            counts: [0; ReceiveCode::ALL.len()],
            held: FxHashSet::default(),
        }
    }

    fn conn(&self, client: ClientId) -> Option<ConnId> {
        u16::try_from(client.0)
            .ok()
            .filter(|conn| *conn < self.conns)
            .map(ConnId)
    }

    fn take(&mut self, client: ClientId, code: ReceiveCode) {
        let Some(conn) = self.conn(client) else {
            return;
        };
        self.counts[code as usize] += 1;
        if let Some(stream) = &mut self.stream {
            stream.record(&Event::Receive { conn, code });
        }
    }

    /// Whether this outcome is the late effect of a message that was received before.
    fn is_late(&mut self, message: &Message, outcome: &Outcome) -> bool {
        let Some(extension) = message
            .extension
            .filter(|extension| extension.sequence != 0)
        else {
            return false;
        };
        let key = (message.device, extension.sequence);
        if *outcome == Outcome::Held {
            self.held.insert(key);
            return false;
        }
        !self.held.is_empty() && self.held.remove(&key)
    }
}

impl Observer for Tap {
    fn on_accept(&mut self, client: ClientId) {
        let Some(conn) = self.conn(client) else {
            return;
        };
        if let Some(stream) = &mut self.stream {
            stream.record(&Event::Accept { conn });
        }
    }

    fn on_message(&mut self, client: ClientId, message: &Message, outcome: &Outcome) {
        if !self.is_late(message, outcome) {
            self.take(client, receive_code(outcome));
        } else {
            self.counts[receive_code(outcome) as usize] += 1;
        }
    }

    fn on_unknown(&mut self, client: ClientId, _frame: &[u8]) {
        self.take(client, ReceiveCode::Unknown);
    }

    fn on_dump(&mut self, client: ClientId, _request: &Message, _registry: &Registry) {
        self.take(client, ReceiveCode::Ignored);
    }

    fn on_idle(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.tick();
        }
    }
}
