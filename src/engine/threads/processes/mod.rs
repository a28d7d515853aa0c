//! Runs a scenario by real processes: each is a copy of this one, with the threads that the
//! scenario says are its own, over memory that all of them share; and `kill` is SIGKILL.
//!
//! Cells, locks and slots are in shared memory ([`shared`]), and processes act on them by
//! themselves ([`worker`]). The allocators are this process's, which is the controller: it is to
//! the others what a driver is to its users ([`driver`]), ends them ([`moments`]), notices when
//! they wait for each other ([`quiet`]), and writes the trace. Whatever happens, none of them is
//! left: each dies with the controller, and the controller ends and awaits all that it made.
//!
//! The trace is that of any run, and judged alike. What a process did before it was killed is in it
//! up to its last action, and nothing after.

mod driver;
mod moments;
mod quiet;
mod region;
mod shared;
mod worker;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::engine::code::Code;
use crate::lifecycle::{Lock, MicroStep};
use crate::numbers::plural;
use crate::scenario::Scenario;
use crate::trace::file::{AtRest, End, RunHeader};
use crate::trace::recorder::Recorder;

use super::{RunConfig, RunError, RunResult, STOP_TIMEOUT, refused};
use driver::{Driver, NextTask, victims};
use moments::Moments;
use shared::{Commons, Global, stop};
use worker::ProcessWork;

/// Looks without anything to do before the controller sleeps, and how long it then does.
const IDLE_LOOKS: u32 = 200;
const POLL_INTERVAL: Duration = Duration::from_micros(50);
/// How often it looks whether a process has ended by itself, and at the clock.
const LOOKS_A_ROUND: u32 = 64;

/// Whether `scenario` is run so: it has several processes, and nothing that needs one.
pub(crate) fn suits(scenario: &Scenario) -> bool {
    scenario.processes() > 1 && unsuited(scenario).is_none()
}

/// What of `scenario` several processes cannot do.
pub(super) fn unsuited(scenario: &Scenario) -> Option<String> {
    let discipline = &scenario.discipline;
    if !discipline.shares() {
        return Some("nothing is shared".to_owned());
    }
    if scenario.planted.is_some() {
        return Some("a mistake is planted".to_owned());
    }
    if scenario.debug_log.enabled {
        return Some("--debug-log is one process's".to_owned());
    }
    let mut steps = (discipline.every_program()).flat_map(|program| program.steps());
    let step = steps.find(|step| {
        matches!(
            step,
            MicroStep::Send(_) | MicroStep::Lock(Lock::Allocator) | MicroStep::Stamp
        )
    })?;
    Some(format!("`{step}` is one process's"))
}

/// Plays the scenario once. `progress` is told the operations begun, from time to time.
pub(super) fn run(
    mut config: RunConfig<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<RunResult, RunError> {
    let scenario = config.scenario;
    let shared = Commons::new(scenario).map_err(refused("memory for several processes"))?;
    let mut children = start(&config, &shared)?;
    let recorder = recorder(&mut config)?;
    let streams = (0..scenario.threads)
        .map(|thread| recorder.as_ref().map(|recorder| recorder.stream(thread)))
        .collect();
    let failed = recorder.as_ref().map(Recorder::failed);
    let should_end = || {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        is_set(config.interrupt) || failed.as_deref().is_some_and(is_set)
    };
    let victims = victims(scenario, config.run);
    let moments = Moments::draw(scenario, config.run, &victims, &shared);
    let mut driver = Driver::new(scenario, &shared, moments, streams)?;
    log::info!(
        "run {} of {} begins: {} in {} processes under {}",
        config.run,
        scenario.name,
        plural(scenario.threads.into(), "thread"),
        scenario.processes(),
        scenario.discipline.name
    );
    let began = Instant::now();
    shared.global(Global::Go).store(1, Ordering::SeqCst);
    supervise(&mut driver, &shared, &mut children, should_end, progress)?;
    let elapsed = began.elapsed();
    drop(children);
    settle(config.run, &shared, driver, recorder, elapsed)
}

/// A process for each that the scenario has; they wait for the word to go.
fn start(config: &RunConfig<'_>, shared: &Commons) -> Result<Children, RunError> {
    let scenario = config.scenario;
    let code = Code::new(scenario);
    let work = ProcessWork {
        scenario,
        run: config.run,
        code: &code,
        shared,
    };
    let mut children = Children::default();
    for process in 0..scenario.processes() {
        let child = region::spawn(|| work.process(process));
        children.0.push(Some(child.map_err(refused("a process"))?));
    }
    Ok(children)
}

/// Writes the trace, where one is asked for.
fn recorder(config: &mut RunConfig<'_>) -> Result<Option<Recorder>, RunError> {
    let Some(file) = config.record.take() else {
        return Ok(None);
    };
    let header = RunHeader {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engine: "processes".to_owned(),
        run: config.run,
        server_recorded: false,
        scenario: config.scenario.clone(),
    };
    let started = Recorder::start(file, header, config.scenario.objects());
    started.map(Some).map_err(RunError::Record)
}

/// What the run came to, its trace at its end.
fn settle(
    run: u64,
    shared: &Commons,
    driver: Driver<'_>,
    recorder: Option<Recorder>,
    elapsed: Duration,
) -> Result<RunResult, RunError> {
    let stopped = shared.global(Global::Stop).load(Ordering::SeqCst);
    let live = driver.live_buffers();
    let killed = Killed {
        processes: driver.kills,
        struck: driver.struck,
    };
    let (out_of_bounds, double_frees) = (driver.out_of_bounds, driver.double_frees);
    // The recorder waits for every stream to be dropped.
    drop(driver);
    log::info!("run {run} ended: {killed:?}");
    let completed = stopped == stop::NOT;
    let end = End {
        completed,
        client_dropped: 0,
        client_sent: 0,
        server: AtRest::Unknown,
    };
    let written = match recorder {
        Some(recorder) => Some(recorder.finish(&end).map_err(RunError::Record)?),
        None => None,
    };
    Ok(RunResult {
        elapsed,
        completed,
        client_dropped: 0,
        client_sent: 0,
        written,
        at_rest: AtRest::Unknown,
        deadlocked: stopped == stop::DEADLOCK,
        out_of_bounds,
        double_frees,
        received: None,
        live,
        killed: Some(killed),
    })
}

/// Processes that were ended in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Killed {
    /// How many.
    pub(crate) processes: u64,
    /// Of them, those with a thread that was not at its end.
    pub(crate) struck: u64,
}

impl Killed {
    /// With those of another run.
    pub(crate) fn add(&mut self, other: Killed) {
        self.processes += other.processes;
        self.struck += other.struck;
    }
}

/// Serves the processes until all threads have come to their end.
fn supervise(
    driver: &mut Driver<'_>,
    shared: &Commons,
    children: &mut Children,
    should_end: impl Fn() -> bool,
    progress: &mut dyn FnMut(u64),
) -> Result<(), RunError> {
    let mut idle = 0u32;
    let mut looks = 0u32;
    let mut stopped: Option<Instant> = None;
    loop {
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(LOOKS_A_ROUND) {
            children.look().map_err(refused("a process of the run"))?;
            progress(driver.ops);
            if should_end() {
                let word = shared.global(Global::Stop);
                let _ = word.compare_exchange(
                    stop::NOT,
                    stop::INTERRUPTED,
                    Ordering::SeqCst,
                    Ordering::SeqCst,
                );
            }
        }
        match shared.global(Global::Stop).load(Ordering::SeqCst) {
            stop::NOT => {}
            _ => {
                driver.let_end();
                let since = *stopped.get_or_insert_with(Instant::now);
                if since.elapsed() > STOP_TIMEOUT {
                    (0..children.0.len() as u16).for_each(|process| children.kill(process));
                    driver.cut();
                    return Ok(());
                }
            }
        }
        match driver.look() {
            NextTask::Done => return Ok(()),
            NextTask::Again => idle = 0,
            NextTask::Kill { thread, process } => {
                children.kill(process);
                driver.ended(thread, process);
                idle = 0;
            }
            NextTask::Idle => {
                idle = idle.saturating_add(1);
                match idle < IDLE_LOOKS {
                    true => std::thread::yield_now(),
                    false => std::thread::sleep(POLL_INTERVAL),
                }
            }
        }
    }
}

/// The processes of a run that live. None is left when it goes.
#[derive(Debug, Default)]
struct Children(Vec<Option<Pid>>);

impl Children {
    /// Ends a process, and waits until it is gone.
    fn kill(&mut self, process: u16) {
        let child = self.0.get_mut(usize::from(process));
        if let Some(pid) = child.and_then(Option::take) {
            end(pid);
        }
    }

    /// None has ended but by us.
    fn look(&mut self) -> io::Result<()> {
        for (number, child) in (1..).zip(&mut self.0) {
            let Some(pid) = *child else { continue };
            if let Some((_, status)) = waitpid(Some(pid), WaitOptions::NOHANG)? {
                *child = None;
                let how = match status.terminating_signal() {
                    Some(signal) => format!("by signal {signal}"),
                    None => "by itself".to_owned(),
                };
                return Err(io::Error::other(format!("process {number} ended {how}")));
            }
        }
        Ok(())
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.0.iter_mut().filter_map(Option::take).for_each(end);
    }
}

fn end(pid: Pid) {
    let _ = kill_process(pid, Signal::KILL);
    while let Err(rustix::io::Errno::INTR) = waitpid(Some(pid), WaitOptions::empty()) {}
}
