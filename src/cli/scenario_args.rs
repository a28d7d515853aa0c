//! The options that make a scenario: a built-in one or a file, with anything in it replaced.

use std::path::Path;
use std::str::FromStr;

use clap::Args;
use thiserror::Error;

use crate::device::{Memory, Policy, Profile};
use crate::import::workload::{self as import, WorkloadError};
use crate::lifecycle::{self, Order, Publication};
use crate::registry::Semantics;
use crate::scenario::workload::{Memories, Workload};
use crate::scenario::{Condensed, Connections, Scenario, ScenarioError, ScenarioFile, Transport};
use crate::tracking::transport::SendMode;
use crate::zoo;

/// Which scenario, and what is different about it.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Scenario")]
pub(crate) struct ScenarioArgs {
    /// A built-in scenario or a TOML file; see `heisenbed scenarios`
    #[arg(long, value_name = "NAME|FILE", default_value = "own-buffers")]
    pub(crate) scenario: String,
    /// Plant this defect: take the scenario that shows it; see `heisenbed zoo`
    #[arg(long, value_name = "NAME", conflicts_with = "scenario", value_parser = defect_name)]
    pub(crate) defect: Option<String>,
    /// Of --defect: the same scenario without the defect
    #[arg(long, requires = "defect")]
    pub(crate) twin: bool,
    /// Threads that allocate and release; of `explore` also `any`: a proof for any number
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<ThreadsArg>,
    /// Operations a thread; an allocate and a release are one each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) ops: Option<u64>,
    /// Devices
    #[arg(long, value_name = "N")]
    pub(crate) devices: Option<u16>,
    /// Whose memory the devices have: n150, n300, t3k, galaxy, tg, custom:DEVICESxBYTES
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<Profile>,
    /// The allocator: best-fit, first-fit, segregated, range
    #[arg(long, value_name = "NAME", value_parser = word::<Policy>)]
    pub(crate) allocator: Option<Policy>,
    /// The locking protocol: a built-in discipline, in the form of the scenario, or a TOML file, as
    /// it is written; see `heisenbed disciplines`
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) discipline: Option<String>,
    /// Which comes first at a release: FREE is sent, or the address is given back
    #[arg(long, value_enum)]
    pub(crate) order: Option<Order>,
    /// When other threads see a new buffer: when allocate returns, or as soon as it has an address
    #[arg(long, value_enum)]
    pub(crate) publish: Option<Publication>,
    /// How messages travel, words joined by commas: blocking or dontwait; shared, per-thread or
    /// lazy connections; split=K writes a message; layout=72, 112, 128, 144, 648 or extended
    #[arg(long, value_name = "WORDS")]
    pub(crate) transport: Option<String>,
    /// How the server understands messages: overwrite, refcount, typed, sequenced
    #[arg(long, value_name = "NAME", value_parser = word::<Semantics>)]
    pub(crate) semantics: Option<Semantics>,
    /// Take the workload (and the devices) of this scenario; or, of a trace that `import` made, the
    /// allocations: their sizes, lifetimes and, where known, threads, as many as --ops allows
    #[arg(long, value_name = "NAME|FILE|import:TRACE")]
    pub(crate) workload: Option<String>,
    /// Delay random micro-steps, to widen whatever window there is
    #[arg(long)]
    pub(crate) perturb: bool,
    /// Write the debug log, at its cost of 10 to 50 ms a block
    #[arg(long)]
    pub(crate) debug_log: bool,
}

/// Why options describe no scenario.
#[derive(Debug, Error)]
pub(crate) enum ScenarioArgsError {
    /// The scenario is unknown or wrong.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The import is no workload.
    #[error(transparent)]
    Import(#[from] WorkloadError),
    /// What runs needs a number.
    #[error(
        "--threads any: a run has a number of threads; `heisenbed explore --threads any` proves for any"
    )]
    AnyThreads,
}

/// `--threads`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ThreadsArg {
    /// So many.
    Number(u16),
    /// Any number.
    Any,
}

impl FromStr for ThreadsArg {
    type Err = String;

    fn from_str(text: &str) -> Result<ThreadsArg, String> {
        match text {
            "any" => Ok(ThreadsArg::Any),
            _ => text
                .parse()
                .map(ThreadsArg::Number)
                .map_err(|error| format!("{error}; a number, or `any` for `explore`")),
        }
    }
}

/// Threads and operations where every schedule is to matter and the options say nothing.
const SMALL: (u16, u64) = (2, 4);

impl ScenarioArgs {
    /// The scenario that the options describe, small enough for every schedule of it to matter:
    /// unless it is a script, its workload condensed, and unless the options say otherwise 2
    /// threads of 4 operations. With it comes what was left out.
    pub(crate) fn resolve_small(
        &self,
        seed: Option<u64>,
    ) -> Result<(Scenario, Condensed), ScenarioArgsError> {
        self.resolve_small_in(None, seed)
    }

    /// The same with all buffers in this memory.
    pub(crate) fn resolve_small_in(
        &self,
        memory: Option<Memory>,
        seed: Option<u64>,
    ) -> Result<(Scenario, Condensed), ScenarioArgsError> {
        let mut file = self.file(seed)?;
        let (threads, ops) = SMALL;
        self.import(&mut file, threads, self.ops.unwrap_or(ops))?;
        let mut small = file.clone().condensed(self.threads(), self.ops);
        if let Some(memory) = memory {
            small.workload.memories = Memories::only(memory);
        }
        let small = self.complete(small)?;
        let condensed = Condensed::of(&file, &small);
        Ok((small, condensed))
    }

    /// The scenario that the options describe.
    pub(crate) fn resolve(&self, seed: Option<u64>) -> Result<Scenario, ScenarioArgsError> {
        if self.threads == Some(ThreadsArg::Any) {
            return Err(ScenarioArgsError::AnyThreads);
        }
        let mut file = self.file(seed)?;
        let (threads, ops) = (file.threads, file.ops);
        self.import(&mut file, threads, ops)?;
        self.complete(file)
    }

    /// How many threads were asked for, where a number was.
    pub(crate) fn threads(&self) -> Option<u16> {
        match self.threads {
            Some(ThreadsArg::Number(number)) => Some(number),
            Some(ThreadsArg::Any) | None => None,
        }
    }

    /// The options that name the scenario.
    pub(crate) fn origin(&self) -> String {
        match &self.defect {
            Some(defect) if self.twin => format!("--defect {defect} --twin"),
            Some(defect) => format!("--defect {defect}"),
            None => format!("--scenario {}", self.scenario),
        }
    }

    fn complete(&self, file: ScenarioFile) -> Result<Scenario, ScenarioArgsError> {
        Ok(match self.planted() {
            Some(defect) => defect.complete(file, !self.twin, self.discipline.is_some())?,
            None => file.resolve()?,
        })
    }

    fn planted(&self) -> Option<&'static zoo::Defect> {
        zoo::find(self.defect.as_deref()?)
    }

    /// Makes a script of the import that the workload names, if it names one.
    fn import(
        &self,
        file: &mut ScenarioFile,
        default_threads: u16,
        ops: u64,
    ) -> Result<(), WorkloadError> {
        let Some(path) = file.workload.import.take() else {
            return Ok(());
        };
        let frame = import::WorkloadLimits {
            threads: self.threads(),
            default_threads,
            devices: file.devices,
            profile: file.profile.unwrap_or(Profile::N150),
            ops,
        };
        let made = import::load(Path::new(&path), &frame)?;
        // What was asked for stands, so that the scenario's own check refuses what is out of range.
        file.threads = self.threads().unwrap_or(made.script.len() as u16);
        file.ops = made.script.iter().map(Vec::len).max().unwrap_or(0) as u64;
        file.devices = file.devices.or(Some(made.devices));
        file.workload.script = Some(made.script);
        file.workload.imported = Some(made.imported);
        Ok(())
    }

    /// The scenario file that the options describe; an import that it names is not read.
    fn file(&self, seed: Option<u64>) -> Result<ScenarioFile, ScenarioError> {
        let mut file = match self.planted() {
            Some(defect) => defect.file(!self.twin, zoo::ScenarioSize::Full, 0)?,
            None => ScenarioFile::load(&self.scenario)?,
        };
        let import = self
            .workload
            .as_deref()
            .and_then(|name| name.strip_prefix("import:"));
        if let Some(path) = import {
            file.workload = Workload {
                import: Some(path.to_owned()),
                ..Workload::default()
            };
        } else if let Some(name) = &self.workload {
            let other = ScenarioFile::load(name)?;
            file.workload = other.workload;
            file.profile = other.profile;
            file.devices = other.devices;
            file.named = other.named;
        }
        file.seed = seed.unwrap_or(file.seed);
        file.threads = self.threads().unwrap_or(file.threads);
        file.ops = self.ops.unwrap_or(file.ops);
        file.profile = self.profile.or(file.profile);
        file.devices = self.devices.or(file.devices);
        if self.devices.is_some() {
            file.named.name_devices();
        }
        file.allocator = self.allocator.unwrap_or(file.allocator);
        file.order = self.order.or(file.order);
        file.publish = self.publish.or(file.publish);
        file.semantics = self.semantics.or(file.semantics);
        file.perturb |= self.perturb;
        file.debug_log.enabled |= self.debug_log;
        if let Some(discipline) = &self.discipline {
            file.discipline.clone_from(discipline);
            // A protocol of the user's says its own form; a built-in one is a lock scope, which the
            // scenario has in a form.
            if lifecycle::builtin::get(discipline).is_none() {
                (file.order, file.publish) = (self.order, self.publish);
            }
        }
        if let Some(words) = &self.transport {
            for word in words.split(',') {
                set_transport(&mut file.transport, word.trim()).ok_or_else(|| ScenarioError::Range {
                    scenario: file.name.clone(),
                    field: "--transport",
                    problem: format!("`{word}` is none of blocking, dontwait, shared, per-thread, lazy, split=K, layout=L"),
                })?;
            }
        }
        Ok(file)
    }
}

fn set_transport(transport: &mut Transport, word: &str) -> Option<()> {
    match word {
        "blocking" => transport.mode = SendMode::Blocking,
        "dontwait" => transport.mode = SendMode::DontWait,
        "shared" => transport.connections = Connections::Shared,
        "per-thread" => transport.connections = Connections::PerThread,
        "lazy" => transport.connections = Connections::Lazy,
        _ => {
            let (key, value) = word.split_once('=')?;
            match key {
                "split" => transport.chunks = value.parse().ok()?,
                "layout" => transport.layout = value.parse().ok()?,
                _ => return None,
            }
        }
    }
    Some(())
}

/// A defect's name.
fn defect_name(text: &str) -> Result<String, String> {
    match zoo::find(text) {
        Some(defect) => Ok(defect.name.clone()),
        None => Err(zoo::unknown(text)),
    }
}

/// Parses a word by its serde name.
pub(super) fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(|error| error.to_string())
}
