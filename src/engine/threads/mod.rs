//! The threads runtime: OS threads, real mutexes, the real allocators, real Unix sockets to a real
//! server.
//!
//! [`run`] plays a scenario once and leaves a trace, in three parts: it *starts* recorder, server
//! and world, *supervises* the threads, and *settles* what the server shows and what is written. It
//! judges nothing itself, except that it notices when threads wait for each other for good
//! (`watch`): then it ends the run, and the trace says who waited for what. [`checked_run`] judges
//! what it leaves.
//!
//! Without a recorder the threads do exactly the same, versions included, so that recording changes
//! as little as possible of what is recorded.

mod backend;
mod checked;
mod client;
mod debug_log;
mod perturb;
pub(crate) mod processes;
mod server;
mod shared;
mod watch;
mod world;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use thiserror::Error;

use crate::device::ConfigError;
use crate::engine::backend::StopReason;
use crate::engine::code::Code;
use crate::engine::step::{Stepped, Thread};
use crate::lifecycle::ProgramKind;
use crate::numbers::plural;
use crate::oracle::rest::{LiveAtRest, Unrecorded};
use crate::planted::Planted;
use crate::scenario::random::{Purpose, Random};
use crate::scenario::{SCENARIO_PID, Scenario};
use crate::trace::event::ReceiveCode;
use crate::trace::file::{AtRest, End, RunHeader, SERVER_STREAM};
use crate::trace::recorder::{Recorder, StreamRecorder, Written};

pub use checked::{CheckedRun, CheckedRunError, checked_run, recorded_and_checked, recorded_in};

pub use processes::Killed;

use backend::ThreadBackend;
use client::SendingClient;
use debug_log::DebugLogFile;
use perturb::Perturbation;
use server::RunningServer;
use watch::DeadlockWatch;
use world::ThreadsWorld;

/// How often the run is looked after.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// A thread that was told to stop and is still there after this long waits for a server that does
/// not read.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Which server a run talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerChoice {
    /// One in this process, on its own thread; the trace has what it received, in order.
    InProcess,
    /// `heisenbed serve` in a process of its own.
    Spawn,
    /// Whatever listens at this path.
    Path(PathBuf),
}

/// How to play a scenario.
#[derive(Debug)]
pub struct RunConfig<'a> {
    /// What to play.
    pub scenario: &'a Scenario,
    /// Which run of the scenario's seed.
    pub run: u64,
    /// Where the trace goes; `None`: nothing is recorded.
    pub record: Option<File>,
    /// The server.
    pub server: ServerChoice,
    /// Where the debug log goes; `None`: into a file that goes with the run.
    pub debug_log: Option<PathBuf>,
    /// Set by somebody who wants the run to end early.
    pub interrupt: &'a AtomicBool,
}

impl<'a> RunConfig<'a> {
    /// Run `run` of `scenario` with a server in this process, not recorded.
    pub(crate) fn new(
        scenario: &'a Scenario,
        run: u64,
        interrupt: &'a AtomicBool,
    ) -> RunConfig<'a> {
        RunConfig {
            scenario,
            run,
            record: None,
            server: ServerChoice::InProcess,
            debug_log: None,
            interrupt,
        }
    }
}

/// What a run was like; what it means is in its trace.
#[derive(Debug)]
pub struct RunResult {
    /// How long the threads ran.
    pub elapsed: Duration,
    /// Whether every thread came to its end.
    pub completed: bool,
    /// Messages that the client counted as dropped or failed.
    pub client_dropped: u64,
    /// Messages that the client counted as sent.
    pub client_sent: u64,
    /// What was written, where something was recorded.
    pub written: Option<Written>,
    /// What the server showed at rest.
    pub at_rest: AtRest,
    /// Whether it was given up because threads waited for each other for good.
    pub deadlocked: bool,
    /// Times a lock table was indexed out of its bounds.
    pub out_of_bounds: u64,
    /// Times an address was given back that its handle no longer owned.
    pub double_frees: u64,
    /// How the server in this process took the messages, by [`ReceiveCode`].
    pub received: Option<[u64; ReceiveCode::ALL.len()]>,
    /// What is live at rest, from the allocators.
    pub live: Vec<LiveAtRest>,
    /// Processes that were ended, where it was run by several.
    pub killed: Option<Killed>,
}

impl RunResult {
    /// What is known of the run without its trace.
    pub fn unrecorded(&self) -> Unrecorded<'_> {
        Unrecorded {
            completed: self.completed,
            deadlocked: self.deadlocked,
            live: &self.live,
            at_rest: &self.at_rest,
            received: self.received.as_ref(),
            sent: self.client_sent,
            dropped: self.client_dropped,
            out_of_bounds: self.out_of_bounds,
            double_frees: self.double_frees,
        }
    }
}

/// Why a run could not be played or kept.
#[derive(Debug, Error)]
pub enum RunError {
    /// Its planted mistake cannot be made there.
    #[error(
        "{0:?} is planted, which only controlled runs can make, and in runs of real threads with a server of another process none of the server's can: \
         use explore, or leave out --server"
    )]
    Planted(Planted),
    /// A step or an operation that only controlled runs have.
    #[error("{0}; real threads cannot run it: use explore")]
    ControlledOnly(String),
    /// The devices cannot be built.
    #[error("devices: {0}")]
    Device(#[from] ConfigError),
    /// The trace cannot be written, as when the disk is full: the run is not kept whole.
    #[error("the trace cannot be written: {0}")]
    Record(#[source] io::Error),
    /// The server cannot be started or reached.
    #[error("server {path}: {source}")]
    Server {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Something else the system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// Whether `scenario` has a step or an operation that only controlled runs have.
pub(crate) fn refuses(scenario: &Scenario) -> bool {
    shared::refused(scenario).is_some()
}

/// Plays the scenario once. `progress` is told the operations begun, from time to time.
pub fn run(config: RunConfig<'_>, mut progress: impl FnMut(u64)) -> Result<RunResult, RunError> {
    if processes::suits(config.scenario) && shared::refused(config.scenario).is_none() {
        return processes::run(config, &mut progress);
    }
    let interrupt = config.interrupt;
    let started = Started::new(config)?;
    let elapsed = started.supervise(interrupt, &mut progress)?;
    started.settle(interrupt, elapsed)
}

/// A run whose server listens and whose threads have not begun.
struct Started<'a> {
    scenario: &'a Scenario,
    run: u64,
    /// The process id in its messages.
    pid: i32,
    recorder: Option<Recorder>,
    server: RunningServer,
    world: ThreadsWorld,
    /// Holds the socket and the debug log; goes last.
    _directory: tempfile::TempDir,
}

impl<'a> Started<'a> {
    fn new(config: RunConfig<'a>) -> Result<Started<'a>, RunError> {
        let scenario = config.scenario;
        if let Some(planted) = scenario.planted
            && (planted.is_controlled_only() || config.server != ServerChoice::InProcess)
        {
            return Err(RunError::Planted(planted));
        }
        if let Some(why) = shared::refused(scenario) {
            return Err(RunError::ControlledOnly(why));
        }
        let directory = tempfile::Builder::new()
            .prefix("heisenbed-")
            .tempdir()
            .map_err(refused("a temporary directory"))?;
        let recorder = match config.record {
            Some(file) => {
                let header = RunHeader {
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    engine: "threads".to_owned(),
                    run: config.run,
                    server_recorded: config.server == ServerChoice::InProcess,
                    scenario: scenario.clone(),
                };
                let objects = scenario.objects();
                Some(Recorder::start(file, header, objects).map_err(RunError::Record)?)
            }
            None => None,
        };
        let stream = || Some(recorder.as_ref()?.stream(SERVER_STREAM));
        let server = RunningServer::start(scenario, &config.server, directory.path(), stream)?;
        let client =
            SendingClient::open(scenario, server.path()).map_err(|source| server.error(source))?;
        let debug_log = match scenario.debug_log.enabled {
            true => {
                let own = || directory.path().join("tt_buffer_debug.log");
                let path = config.debug_log.unwrap_or_else(own);
                let log = DebugLogFile::open(&path, scenario.debug_log);
                Some(log.map_err(refused("the debug log"))?)
            }
            false => None,
        };
        Ok(Started {
            scenario,
            run: config.run,
            pid: match config.server {
                // A foreign server may sweep the buffers of processes that do not exist.
                ServerChoice::Path(_) => std::process::id().cast_signed(),
                _ => SCENARIO_PID,
            },
            recorder,
            server,
            world: ThreadsWorld::new(scenario, client, debug_log)?,
            _directory: directory,
        })
    }

    /// Lets the threads run to their end, or to where they are told to stop; how long the last of
    /// them took.
    fn supervise(
        &self,
        interrupt: &AtomicBool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Duration, RunError> {
        let (world, threads) = (&self.world, self.scenario.threads);
        let failed = self.recorder.as_ref().map(Recorder::failed);
        log::info!(
            "run {} of {} begins: {} under {}, server {}",
            self.run,
            self.scenario.name,
            plural(threads.into(), "thread"),
            self.scenario.discipline.name,
            self.server.path().display()
        );
        let began = Instant::now();
        let play = Play {
            scenario: self.scenario,
            run: self.run,
            world,
            code: Code::new(self.scenario),
            pid: self.pid,
        };
        std::thread::scope(|scope| -> Result<(), RunError> {
            for thread in 0..threads {
                let recorder = self.recorder.as_ref();
                let stream = recorder.map(|recorder| recorder.stream(thread));
                let play = &play;
                let spawned = std::thread::Builder::new()
                    .name(format!("workload {thread}"))
                    .spawn_scoped(scope, move || play.thread(thread, stream));
                if let Err(source) = spawned {
                    world.stop(StopReason::Interrupted);
                    return Err(refused("a thread")(source));
                }
            }
            let mut watch = DeadlockWatch::default();
            let mut stopped = None;
            while world.finished.load(Ordering::Acquire) < threads {
                std::thread::sleep(POLL_INTERVAL);
                if interrupt.load(Ordering::Relaxed)
                    || failed.as_ref().is_some_and(|f| f.load(Ordering::Relaxed))
                {
                    world.stop(StopReason::Interrupted);
                }
                watch.look(world, threads);
                if world.stopped() == Some(StopReason::Interrupted) {
                    let since = *stopped.get_or_insert_with(Instant::now);
                    if since.elapsed() > STOP_TIMEOUT {
                        world.client.abort();
                    }
                }
                progress(world.ops.load(Ordering::Relaxed));
            }
            Ok(())
        })?;
        let ended = world.ended.get();
        Ok(ended.map_or(began.elapsed(), |ended| *ended - began))
    }

    /// The threads have ended: asks the server what it shows, and writes the trace's end.
    fn settle(self, interrupt: &AtomicBool, elapsed: Duration) -> Result<RunResult, RunError> {
        let Started { server, world, .. } = self;
        let completed = world.stopped().is_none();
        log::info!(
            "run {} ended after {:.3} s ({}): {} sent, {} lost",
            self.run,
            elapsed.as_secs_f64(),
            match world.stopped() {
                None => "all done",
                Some(StopReason::Deadlock) => "threads stuck",
                Some(StopReason::Interrupted) => "interrupted",
            },
            plural(world.sent.load(Ordering::Relaxed), "message"),
            world.lost.load(Ordering::Relaxed)
        );
        let (client_sent, client_dropped) = (
            world.sent.load(Ordering::Relaxed),
            world.lost.load(Ordering::Relaxed),
        );
        let live = world.live_buffers();
        let path = server.path().to_owned();
        let observed = server.settle(&world.client, self.scenario, &live, self.pid)?;
        let end = End {
            completed,
            client_dropped,
            client_sent,
            server: observed.at_rest.clone(),
        };
        let lost_server = world.lost_server() && !interrupt.load(Ordering::Relaxed);
        let written = match self.recorder {
            Some(recorder) => Some(recorder.finish(&end).map_err(RunError::Record)?),
            None => None,
        };
        if lost_server {
            return Err(server_lost(&path));
        }
        Ok(RunResult {
            elapsed,
            completed,
            client_dropped,
            client_sent,
            written,
            deadlocked: world.stopped() == Some(StopReason::Deadlock),
            out_of_bounds: world.out_of_bounds.load(Ordering::Relaxed),
            double_frees: world.double_frees.load(Ordering::Relaxed),
            at_rest: observed.at_rest,
            received: observed.received,
            live,
            killed: None,
        })
    }
}

fn refused(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::System { what, source }
}

fn server_lost(path: &Path) -> RunError {
    RunError::Server {
        path: path.display().to_string(),
        source: io::Error::new(
            io::ErrorKind::BrokenPipe,
            "it closed the connection in the middle of the run; look at the server's own log",
        ),
    }
}

/// What every thread needs to play its part.
struct Play<'run> {
    scenario: &'run Scenario,
    run: u64,
    world: &'run ThreadsWorld,
    code: Code,
    pid: i32,
}

impl Play<'_> {
    fn thread(&self, index: u16, recorder: Option<StreamRecorder>) {
        let scenario = self.scenario;
        let steps = |kind| scenario.discipline.program(kind).steps().len().max(1);
        let _ending = Ending {
            world: self.world,
            threads: self.scenario.threads,
        };
        let mut backend = ThreadBackend {
            world: self.world,
            thread: index,
            ops: scenario.ops_of(index, self.run),
            recorder,
            perturbation: scenario
                .perturb
                .then(|| Perturbation::new(scenario.seed, self.run, index)),
            debug_random: Random::new(scenario.seed, self.run, Purpose::DebugLog, u64::from(index)),
            held: SmallVec::new(),
            threads: scenario.threads,
            layout: scenario.transport.layout,
            begun: 0,
            reported: 0,
            out_of_bounds: 0,
            double_frees: 0,
            pid: self.pid,
            messages: [0; 2],
            locals: Default::default(),
            rounds: 0,
            program_steps: [steps(ProgramKind::Allocate), steps(ProgramKind::Deallocate)],
        };
        let mut thread = Thread::new(index);
        while thread.step(&self.code, &mut backend) != Stepped::Finished {}
        let [sent, lost] = backend.messages;
        let (out_of_bounds, double_frees) = (backend.out_of_bounds, backend.double_frees);
        drop(backend);
        self.world
            .out_of_bounds
            .fetch_add(out_of_bounds, Ordering::Relaxed);
        self.world
            .double_frees
            .fetch_add(double_frees, Ordering::Relaxed);
        self.world.sent.fetch_add(sent, Ordering::Relaxed);
        self.world.lost.fetch_add(lost, Ordering::Relaxed);
    }
}

/// Counts a thread as ended, however it ends: one that panics stops the others too.
struct Ending<'run> {
    world: &'run ThreadsWorld,
    threads: u16,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.world.stop(StopReason::Interrupted);
        }
        if self.world.finished.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            // Only the last thread comes here.
            let _ = self.world.ended.set(Instant::now());
        }
    }
}
