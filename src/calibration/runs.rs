//! Runs with one known cause: of the controlled engine, on real threads, or of somebody's program.
//!
//! Each is drawn: threads, operations, buffers a thread holds, hand-off or not, the discipline and
//! its switches, connections, where a fault strikes, and the shape of the record. What the cause
//! needs to show at all is demanded of the truth, never of the diagnosis: a run in which no race
//! happened is drawn again.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::forms::{Form, Presented, Shape, present};
use super::machine::MachineState;
use super::program::{self, ClientProgram, ProgramError};
use super::{CalibrationPlan, mesh, transform};
use crate::diagnosis::{Cause, Circumstances, Diagnoser, Diagnosis};
use crate::engine::controlled::machine::{RunEnd, Setup, SetupError};
use crate::engine::controlled::observe::observe;
use crate::engine::controlled::schedulers::RandomWalk;
use crate::engine::threads::{CheckedRunError, RunConfig, recorded_and_checked};
use crate::lifecycle::{Order, Publication};
use crate::observe::{self, ObserveError, RunMessages};
use crate::oracle::{Kind, Report};
use crate::registry::Semantics;
use crate::scenario::op::Op;
use crate::scenario::random::{Purpose, Random};
use crate::scenario::workload::Memories;
use crate::scenario::{Connections, Scenario, ScenarioError, ScenarioFile};
use crate::trace::observation::{Observation, Observed};
use crate::tracking::Layout;
use crate::tracking::transport::SendMode;

/// Schedules that are tried for a run in which the cause strikes.
const TRIES: u64 = 100;
/// Runs on real threads that are tried: in a workload that leaves a cause much room it strikes
/// early.
const THREAD_TRIES: u64 = 6;
/// Workloads that are tried.
const REDRAWN: u64 = 64;

/// Why a run cannot be made.
#[derive(Debug, Error)]
pub(crate) enum PlantError {
    /// A built-in scenario does not resolve.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// It cannot be run under control.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// It cannot be run on threads.
    #[error(transparent)]
    Threads(#[from] CheckedRunError),
    /// What was recorded of it cannot be read.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// A program that is no help.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The system refused a server, or a connection to it.
    #[error("a server for mesh buffers: {0}")]
    Mesh(#[source] std::io::Error),
    /// What was confident and wrong cannot be kept.
    #[error("{}: {source}", .folder.display())]
    Keep {
        /// Where.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The cause does not strike.
    #[error("{cause} did not strike in {REDRAWN} workloads of run {run}")]
    NotStruck {
        /// The cause.
        cause: Cause,
        /// The run.
        run: u64,
    },
}

impl PlantError {
    pub(super) fn kept(folder: &Path, source: std::io::Error) -> PlantError {
        PlantError::Keep {
            folder: folder.to_owned(),
            source,
        }
    }
}

/// Who runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RunsOn {
    /// The controlled engine: a run is the same each time.
    Controlled,
    /// Real threads and sockets: what is drawn is the same each time, what the threads make of it
    /// is not.
    Threads,
}

/// A record with its cause.
#[derive(Clone, Debug)]
pub(crate) struct PlantedRun {
    /// The cause; none where there is no trouble.
    pub cause: Option<Cause>,
    /// The shape of the record.
    pub shape: Shape,
    /// Whether it is somebody's program, which has a layout of its own.
    pub is_program: bool,
    /// Where it ran, of real threads.
    pub machine: Option<MachineState>,
    /// The record.
    pub seen: Vec<Observation>,
    /// What is known beside it.
    pub circumstances: Circumstances,
    /// Of a log: its text.
    pub text: Option<String>,
}

impl PlantedRun {
    /// Run `run` of `plan` with `cause`.
    pub(crate) fn new(
        cause: Option<Cause>,
        plan: &CalibrationPlan<'_>,
        run: u64,
    ) -> Result<PlantedRun, PlantError> {
        let index = cause.map_or(0, |cause| 1 + cause as u64);
        let mut redrawn = 0;
        let (drawn, (seen, complete)) = loop {
            let stream = index + redrawn * (1 + Cause::ALL.len() as u64);
            let mut drawn = Drawn::new(plan, run, stream);
            match drawn.record(cause) {
                // The workload leaves the cause no room.
                Err(PlantError::NotStruck { .. }) if redrawn < REDRAWN => redrawn += 1,
                result => break (drawn, result?),
            }
        };
        let Presented {
            seen,
            circumstances,
            text,
        } = present(seen, drawn.shape, complete);
        Ok(PlantedRun {
            cause,
            shape: drawn.shape,
            is_program: plan.program.is_some(),
            machine: drawn.machine,
            seen,
            circumstances,
            text,
        })
    }

    /// What the diagnosis makes of it.
    pub(crate) fn diagnose(&self) -> Diagnosis {
        let mut diagnoser = Diagnoser::default();
        for observation in &self.seen {
            diagnoser.observe(observation);
        }
        diagnoser.finish(self.circumstances)
    }
}

/// What is drawn for a run.
struct Drawn<'a> {
    program: Option<&'a ClientProgram>,
    interrupt: &'a AtomicBool,
    seed: u64,
    run: u64,
    shape: Shape,
    /// Of real threads.
    machine: Option<MachineState>,
    random: Random,
}

impl<'a> Drawn<'a> {
    fn new(plan: &CalibrationPlan<'a>, run: u64, stream: u64) -> Drawn<'a> {
        let mut random = Random::new(plan.seed, run, Purpose::Calibration, stream);
        let seed = random.bits();
        let shape = Shape::draw(&mut random);
        let machine = (plan.engine == RunsOn::Threads).then(|| MachineState::draw(&mut random));
        Drawn {
            program: plan.program,
            interrupt: plan.interrupt,
            seed,
            run,
            shape,
            machine,
            random,
        }
    }
}

type Record = (Vec<Observation>, bool);

impl Drawn<'_> {
    fn record(&mut self, cause: Option<Cause>) -> Result<Record, PlantError> {
        let Some(cause) = cause else {
            return self.clean();
        };
        match cause {
            _ if self
                .program
                .is_some_and(|program| program.plants == Some(cause)) =>
            {
                self.of_program(cause)
            }
            Cause::Reordering => self.reordering(),
            Cause::Loss => self.loss(),
            Cause::DoubleRelease => {
                let mut file = self.file("shared-free")?;
                file.discipline = "lifecycle-wide".to_owned();
                file.workload.shared = 1 + self.random.below(6) as u32;
                self.struck(cause, file, |report| report.count(Kind::DoubleFree) > 0)
            }
            Cause::TypeAliasing => {
                let mut file = self.file("own-buffers")?;
                // One bank for each memory, which all begin at the same address.
                file.profile = "custom:1x16777216".parse().ok();
                // Servers that tell no memories apart; a capture of messages that do shows nothing.
                self.shape.semantics =
                    [Semantics::Overwrite, Semantics::Refcount][self.random.below(2) as usize];
                if self.shape.form == Form::Capture {
                    self.legacy_layout();
                }
                file.transport.layout = self.shape.layout;
                file.semantics = Some(self.shape.semantics);
                file.workload.memories = Memories {
                    dram: 1,
                    l1: 1,
                    l1_small: 0,
                    trace: 0,
                };
                self.struck(cause, file, |report| report.count(Kind::Misattributed) > 0)
            }
            Cause::LateAttach => {
                let (seen, complete) = self.correct_run(0)?;
                let at = transform::moment(&seen, &mut self.random, (5, 60), 3);
                Ok((transform::begin_after(seen, at), complete))
            }
            Cause::PidReuse => {
                let state = self.random.clone();
                let (first, _) = self.correct_run(0)?;
                self.random = state;
                let (second, complete) = self.correct_run(1)?;
                let second = program::as_process(second, program::first_process(&first));
                let at = transform::moment(&first, &mut self.random, (20, 90), 4);
                Ok((transform::succeeded(first, at, second), complete))
            }
            Cause::LayoutMismatch => {
                let (seen, complete) = self.correct_run(0)?;
                let (written, read) = self.layouts();
                self.shape.layout = read;
                Ok((transform::misread(&seen, written, read), complete))
            }
            Cause::DeadClientSweep => self.sweep(),
            Cause::RealLeak => self.leak(),
            Cause::MeshRelease => match self.mesh()? {
                (seen, true) => Ok((seen, true)),
                (_, false) => Err(self.not_struck(cause)),
            },
        }
    }

    fn clean(&mut self) -> Result<Record, PlantError> {
        let tells_memories = [Semantics::Typed, Semantics::Sequenced];
        if self.program.is_none()
            && self.shape.names_lives()
            && tells_memories.contains(&self.shape.semantics)
            && self.random.percent(60)
        {
            let name = ["mixed", "mesh", "circular", "preallocated", "device-close"]
                [self.random.below(5) as usize];
            let memories = ScenarioFile::load(name)?.workload.memories;
            let mut file = self.file(name)?;
            file.workload.memories = memories;
            // Whose views go first, so that mesh buffers are no trouble.
            file.discipline = "views-first".to_owned();
            return self.play(file);
        }
        self.correct_or_stamped()
    }

    /// A run without trouble, of a program where there is one; `which` of several.
    fn correct_run(&mut self, which: u64) -> Result<Record, PlantError> {
        if let Some(program) = self.program {
            let semantics = self.shape.semantics;
            let seed = self.seed.wrapping_add(which << 40);
            let record = || program.record(seed, semantics, self.interrupt);
            let seen = match self.machine {
                Some(machine) => machine.during(record)?,
                None => record()?,
            };
            return Ok((seen.unwrap_or_default(), true));
        }
        self.run += which << 32;
        let file = self.correct()?;
        self.play(file)
    }

    /// As [`Drawn::correct_run`]; where the server orders messages by their stamps, half of the
    /// runs stamp them and hold no lock, over several connections.
    fn correct_or_stamped(&mut self) -> Result<Record, PlantError> {
        let stamps = self.program.is_none()
            && self.shape.layout == Layout::Extended
            && self.shape.semantics == Semantics::Sequenced
            && self.random.percent(50);
        if !stamps {
            return self.correct_run(0);
        }
        let mut file = self.correct()?;
        file.discipline = "sequenced".to_owned();
        if self.random.percent(50) {
            file.transport.connections = Connections::PerThread;
        }
        self.play(file)
    }

    /// A run of a program that has `cause` in itself.
    fn of_program(&mut self, cause: Cause) -> Result<Record, PlantError> {
        let (seen, complete) = self.correct_run(0)?;
        let is_hidden = cause == Cause::Loss && !transform::shows_loss(&seen);
        if seen.is_empty() || is_hidden {
            return Err(self.not_struck(cause));
        }
        if cause == Cause::RealLeak && self.shape.form == Form::Log {
            // The server notices that the client has ended.
            let (last, pid) = (seen.len() - 1, program::first_process(&seen));
            return Ok((transform::swept_after(seen, last, pid), complete));
        }
        Ok((seen, complete))
    }

    fn mesh(&mut self) -> Result<Record, PlantError> {
        let Some(machine) = self.machine else {
            return Ok(mesh::record(&mut self.random));
        };
        let (random, shape) = (&mut self.random, self.shape);
        let record = machine.during(|| mesh::on_threads(random, shape));
        record.map_err(PlantError::Mesh)
    }

    fn reordering(&mut self) -> Result<Record, PlantError> {
        let handoff = self.random.percent(50);
        let mut file = self.file(if handoff { "handoff" } else { "own-buffers" })?;
        file.discipline = ["unlocked", "tracker-mutex", "lifecycle-narrow"]
            [self.random.below(3) as usize]
            .to_owned();
        // Early publication needs somebody who looks: a hand-off.
        (file.order, file.publish) = match (handoff, self.random.below(3)) {
            (true, 0) => (Some(Order::TrackFirst), Some(Publication::Early)),
            (true, 1) => (Some(Order::FreeFirst), Some(Publication::Early)),
            _ => (Some(Order::FreeFirst), Some(Publication::Late)),
        };
        if self.random.percent(20) {
            file.transport.connections = Connections::PerThread;
        }
        self.struck(Cause::Reordering, file, |report| {
            !report.divergences.is_empty()
        })
    }

    fn loss(&mut self) -> Result<Record, PlantError> {
        if self.program.is_some() || self.random.percent(50) {
            let (seen, complete) = self.correct_or_stamped()?;
            let per_10k = match self.machine {
                None => [100, 200, 500, 1000][self.random.below(4) as usize],
                // The records are longer.
                Some(_) => [2, 10, 50, 200, 1000][self.random.below(5) as usize],
            };
            let most = [1, 1, 8, 32][self.random.below(4) as usize];
            let struck = transform::lossy(seen, per_10k, most, &mut self.random);
            return match struck {
                Some(seen) => Ok((seen, complete)),
                None => Err(self.not_struck(Cause::Loss)),
            };
        }
        let mut file = self.correct()?;
        file.transport.mode = SendMode::DontWait;
        let frame_bytes = file.transport.layout.frame_bytes() as u32;
        file.transport.send_buffer_bytes = frame_bytes * (1 + self.random.below(2) as u32);
        let (mut seen, complete) = self.struck(Cause::Loss, file, |report| {
            report.count(Kind::LostMessage) > 0
        })?;
        // The server's side only: the client's own account would say it outright.
        seen.retain(|observation| !matches!(observation.what, Observed::Dropped { .. }));
        if !transform::shows_loss(&seen) {
            return Err(self.not_struck(Cause::Loss));
        }
        Ok((seen, complete))
    }

    fn sweep(&mut self) -> Result<Record, PlantError> {
        // A capture does not show what the server does.
        if self.shape.form == Form::Capture {
            self.shape.form = [Form::Trace, Form::Log][self.random.below(2) as usize];
        }
        let mut file = self.file("own-buffers")?;
        // Only these messages name their thread, which becomes a process.
        file.transport.layout = Layout::Extended;
        let (mut seen, complete) = self.play(file)?;
        transform::processes_of_threads(&mut seen);
        let pid = transform::process_of(self.random.below(2) as u32);
        let live = transform::live_of(&seen, pid);
        let fullest = live.iter().max().copied().unwrap_or(0);
        let enough: Vec<usize> = (0..live.len())
            .filter(|at| 2 * live[*at] >= fullest.max(1))
            .collect();
        let at = enough[self.random.below(enough.len() as u64) as usize];
        Ok((transform::swept_after(seen, at, pid), complete))
    }

    fn leak(&mut self) -> Result<Record, PlantError> {
        let mut file = self.file("own-buffers")?;
        if self.random.percent(30) {
            file = self.file("exception")?;
            file.workload.throwing_threads = 1;
            file.workload.throw_after = Some(self.throw_with_something(&file)?);
        } else {
            file.workload.leaks = 1 + self.random.below(6) as u32;
        }
        let (seen, complete) = self.struck(Cause::RealLeak, file, |report| report.leaks > 0)?;
        if self.shape.form == Form::Log {
            // The server notices that the client has ended.
            let last = seen.len() - 1;
            let swept = transform::swept_after(seen, last, crate::scenario::SCENARIO_PID);
            return Ok((swept, complete));
        }
        Ok((seen, complete))
    }

    /// A number of operations, from the middle on, after which the first thread holds something.
    fn throw_with_something(&self, file: &ScenarioFile) -> Result<u64, PlantError> {
        let scenario = file.clone().resolve()?;
        let mut live = 0_i64;
        let mut holds = |op: &Op| {
            live += match op {
                Op::Allocate { .. } => 1,
                Op::Release { .. } => -1,
                _ => 0,
            };
            live
        };
        let held: Vec<i64> = scenario.ops_of(0, self.run).map(|op| holds(&op)).collect();
        let later = (held.len() / 2..held.len()).find(|at| held[*at] > 0);
        Ok(later.unwrap_or(0) as u64 + 1)
    }

    /// A layout that is written and another one that is read, of which no frame is a multiple of
    /// the other's: else whole messages vanish, and nothing looks odd.
    fn layouts(&mut self) -> (Layout, Layout) {
        loop {
            let mut draw = || Layout::LEGACY[self.random.below(5) as usize];
            let (written, read) = (draw(), draw());
            if read.frame_bytes() % written.frame_bytes() != 0 {
                return (written, read);
            }
        }
    }

    /// Another layout, which names no memory.
    fn legacy_layout(&mut self) {
        if self.shape.layout == Layout::Extended {
            self.shape.layout = Layout::LEGACY[self.random.below(5) as usize];
        }
    }

    /// A workload under a discipline that is correct for it.
    fn correct(&mut self) -> Result<ScenarioFile, PlantError> {
        let name = ["own-buffers", "handoff"][self.random.below(2) as usize];
        self.file(name)
    }

    /// A built-in scenario of a drawn size, in one memory.
    fn file(&mut self, name: &str) -> Result<ScenarioFile, PlantError> {
        let mut file = ScenarioFile::load(name)?;
        file.seed = self.seed;
        file.transport.layout = self.shape.layout;
        file.semantics = Some(self.shape.semantics);
        if let Some(machine) = self.machine {
            file.threads = 2 + self.random.below(7) as u16;
            // Short ones and long ones.
            let doublings = match machine {
                MachineState::Loaded => 3,
                MachineState::AsFound | MachineState::OneCore => 5,
            };
            let least = 40 << self.random.below(doublings);
            file.ops = 2 * (least + self.random.below(least));
            file.perturb = self.random.percent(50);
        } else {
            file.threads = 2 + self.random.below(3) as u16;
            file.ops = 2 * (40 + self.random.below(160));
        }
        file.workload.private_slots = 2 + self.random.below(15) as u32;
        file.workload.memories = Memories {
            dram: 0,
            l1: 1,
            l1_small: 0,
            trace: 0,
        };
        Ok(file)
    }

    fn play(&self, file: ScenarioFile) -> Result<Record, PlantError> {
        let (seen, complete, _) = self.schedule(&file.resolve()?, 0)?;
        Ok((seen, complete))
    }

    /// The first schedule whose truth is as `strikes` says.
    fn struck(
        &self,
        cause: Cause,
        file: ScenarioFile,
        strikes: impl Fn(&Report) -> bool,
    ) -> Result<Record, PlantError> {
        let scenario = file.resolve()?;
        let tries = self.machine.map_or(TRIES, |_| THREAD_TRIES);
        for schedule in 0..tries {
            let (seen, complete, report) = self.schedule(&scenario, schedule)?;
            if strikes(&report) {
                return Ok((seen, complete));
            }
        }
        Err(self.not_struck(cause))
    }

    fn not_struck(&self, cause: Cause) -> PlantError {
        PlantError::NotStruck {
            cause,
            run: self.run,
        }
    }

    fn schedule(
        &self,
        scenario: &Scenario,
        schedule: u64,
    ) -> Result<(Vec<Observation>, bool, Report), PlantError> {
        if let Some(machine) = self.machine {
            return self.on_threads(scenario, schedule, machine);
        }
        let setup = Setup::new(scenario.clone(), self.run)?;
        let walk = RandomWalk::new(self.seed);
        let index = self.run * TRIES + schedule;
        let (observed, _) = observe(&setup, walk, index, u64::MAX);
        let complete = observed.end == RunEnd::Completed;
        let mut seen = Vec::new();
        let mut sink = |observation| seen.push(observation);
        let mut run = RunMessages::new(scenario, true);
        for event in &observed.events {
            run.observe(event, &mut sink);
        }
        if complete {
            run.finish(&mut sink);
        }
        Ok((seen, complete, observed.report))
    }

    fn on_threads(
        &self,
        scenario: &Scenario,
        schedule: u64,
        machine: MachineState,
    ) -> Result<(Vec<Observation>, bool, Report), PlantError> {
        let config = RunConfig::new(scenario, self.run * TRIES + schedule, self.interrupt);
        let checked = machine.during(|| recorded_and_checked(config, |_| ()))?;
        let mut seen = Vec::new();
        let trace = checked.trace.expect("it was recorded");
        observe::each(&trace, &mut |observation| {
            seen.push(observation);
            ControlFlow::Continue(())
        })?;
        Ok((seen, checked.result.completed, checked.report))
    }
}
