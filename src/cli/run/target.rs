//! `run --target`, and what `stress --target` has in common with it: a shared library that
//! heisenbed drives with a workload of its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::super::scenario_args::{ScenarioArgs, ScenarioArgsError, ThreadsArg};
use super::Failed;
use super::surveyed::Surveyed;
use crate::device::Memory;
use crate::device::Profile;
use crate::lifecycle::Publication;
use crate::native::UserProgram;
use crate::native::target::{TargetAbout, TargetError, TargetSetup, only_memories, refusal};
use crate::native::tracked::{TrackingPlan, USUAL_PATH};
use crate::numbers::{grouped, plural};
use crate::scenario::{Condensed, Scenario};

/// The most operations of a target, over all threads: about a gigabyte.
const MOST_OPS: u64 = 20_000_000;

/// Options of `run` about targets.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Target")]
pub(crate) struct RunTargetArgs {
    /// Drive this shared library, an allocator with or without lifecycle code, by a workload of
    /// heisenbed's: it exports hb_target_v1 (include/heisenbed.h, docs/targets.md)
    #[arg(long, value_name = "LIB", conflicts_with = "program")]
    pub(crate) target: Option<PathBuf>,
    /// What the target's `open` is given as `options`, for switches of its own
    #[arg(long, value_name = "TEXT", requires = "target")]
    pub(crate) target_options: Option<String>,
    /// A built-in scenario or a TOML file, condensed to a few operations; see `heisenbed scenarios`
    /// [default: own-buffers]
    #[arg(long, value_name = "NAME|FILE", requires = "target")]
    pub(crate) scenario: Option<String>,
    /// Take the workload of this scenario, or the allocations of a trace that `import` made
    #[arg(long, value_name = "NAME|FILE|import:TRACE", requires = "target")]
    pub(crate) workload: Option<String>,
    /// Threads that allocate and release [default: 2]
    #[arg(long, value_name = "N", requires = "target", value_parser = clap::value_parser!(u16))]
    pub(crate) threads: Option<u16>,
    /// Operations a thread; an allocate and a release are one each [default: 4]
    #[arg(long, value_name = "M", requires = "target",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) ops: Option<u64>,
    /// Whose memory the devices have: n150, n300, t3k, galaxy, tg, custom:DEVICESxBYTES
    #[arg(long, value_name = "NAME", requires = "target")]
    pub(crate) profile: Option<Profile>,
    /// When other threads see a new buffer: when allocate returns, or as soon as it has an address
    #[arg(long, value_enum, requires = "target")]
    pub(crate) publish: Option<Publication>,
}

/// A target, ready to be run.
#[derive(Clone, Debug)]
pub(in crate::cli) struct PreparedTarget {
    pub(in crate::cli) program: UserProgram,
    pub(in crate::cli) about: TargetAbout,
    pub(in crate::cli) scenario: Scenario,
    pub(in crate::cli) setup: TargetSetup,
    /// What one thread alone showed, where that was looked at.
    pub(in crate::cli) surveyed: Option<Surveyed>,
    condensed: Condensed,
    left_out: Vec<Memory>,
}

impl RunTargetArgs {
    fn scenario_args(&self) -> ScenarioArgs {
        ScenarioArgs {
            scenario: self.scenario.clone().unwrap_or("own-buffers".to_owned()),
            workload: self.workload.clone(),
            threads: self.threads.map(ThreadsArg::Number),
            ops: self.ops,
            profile: self.profile,
            publish: self.publish,
            ..ScenarioArgs::default()
        }
    }

    fn resolve(&self, seed: Option<u64>) -> Result<(Scenario, Condensed), ScenarioArgsError> {
        self.scenario_args().resolve_small(seed)
    }

    /// The file name of the library, as a process has it.
    pub(super) fn library(&self) -> Option<String> {
        let path = self.target.as_ref()?.canonicalize().ok()?;
        Some(path.file_name()?.to_string_lossy().into_owned())
    }

    /// The target, if there is one.
    pub(super) fn prepare(
        &self,
        seed: Option<u64>,
        tracking: Option<TrackingPlan>,
    ) -> Result<Option<PreparedTarget>, Box<dyn std::error::Error>> {
        let Some(library) = &self.target else {
            return Ok(None);
        };
        let (scenario, condensed) = self.resolve(seed)?;
        let options = self.target_options.as_deref().unwrap_or_default();
        let prepare = |scenario| PreparedTarget::new(library, options, scenario, 0, tracking);
        let (scenario, condensed) = match self.elsewhere(library, options, &scenario, seed)? {
            Some(elsewhere) => elsewhere,
            None => (scenario, condensed),
        };
        let mut prepared = prepare(scenario)?;
        prepared.condensed = condensed;
        Ok(Some(prepared))
    }

    /// The workload in the first memory that both the target and the scenario have, where the
    /// target lacks the one that it was condensed to.
    fn elsewhere(
        &self,
        library: &Path,
        options: &str,
        small: &Scenario,
        seed: Option<u64>,
    ) -> Result<Option<(Scenario, Condensed)>, Box<dyn std::error::Error>> {
        let drawn = small.workload.memories.weighted();
        if small.workload.script.is_some() || !library.is_file() {
            return Ok(None);
        }
        let whole = self.scenario_args().resolve(seed)?.workload.memories;
        if whole.weighted() == drawn {
            return Ok(None);
        }
        let library = std::fs::canonicalize(library)?;
        let bare = TargetSetup::new(small, 0, options);
        let about = TargetAbout::ask_as_far_as_it_goes(&library, &bare)?;
        let has = |memory: &Memory| about.has_memory(*memory);
        if drawn.iter().any(has) {
            return Ok(None);
        }
        let Some(memory) = whole.weighted().into_iter().find(has) else {
            return Ok(None);
        };
        let elsewhere = self.scenario_args().resolve_small_in(Some(memory), seed)?;
        Ok(Some(elsewhere))
    }
}

impl PreparedTarget {
    /// The library with the operations of run `run` of `scenario`; where it tracks, as `tracking`
    /// says or as usual.
    pub(in crate::cli) fn new(
        library: &Path,
        options: &str,
        scenario: Scenario,
        run: u64,
        tracking: Option<TrackingPlan>,
    ) -> Result<PreparedTarget, Box<dyn std::error::Error>> {
        let library = std::fs::canonicalize(library)
            .map_err(|error| format!("{}: {error}", library.display()))?;
        if u64::from(scenario.threads).saturating_mul(scenario.ops) > MOST_OPS {
            return Err(format!(
                "more than {} operations in all; they are held in memory: give fewer --ops",
                grouped(MOST_OPS)
            )
            .into());
        }
        let bare = TargetSetup::new(&scenario, run, options);
        let about = TargetAbout::ask_as_far_as_it_goes(&library, &bare)?;
        let lacks = |what: String| {
            // What it was not asked for any more it may have.
            if let Some(crash) = about.crash_of(&library) {
                return crash.to_string();
            }
            format!(
                "{}: the target has no {what}, which {} needs; other workloads: heisenbed \
                 scenarios",
                library.display(),
                scenario.name
            )
        };
        let (scenario, left_out) = only_memories(&about, scenario.clone()).map_err(&lacks)?;
        let mut setup = TargetSetup::new(&scenario, run, options).for_target(&about, &scenario);
        if let Some(what) = refusal(&about, &setup.ops) {
            return Err(lacks(what).into());
        }
        if setup.ops.iter().flatten().next().is_none() {
            return Err(format!(
                "{}: there is no operation to do, and nothing to check: --ops says how many each \
                 thread does, an allocation and its release are one each, so it is to be 2 or more",
                scenario.name
            )
            .into());
        }
        if scenario.publish == Publication::Early && !about.publishes_early() {
            return Err(lacks(
                "way to publish a buffer early (its abilities lack HB_TARGET_PUBLISHES_EARLY)"
                    .to_owned(),
            )
            .into());
        }
        let tracking = match (about.tracks(), tracking) {
            (false, None) => None,
            (false, Some(_)) => {
                return Err(format!(
                    "{}: --tracking: the target has no tracking client (its abilities lack \
                     HB_TARGET_TRACKS)",
                    library.display()
                )
                .into());
            }
            (true, given) => Some(given.unwrap_or_else(|| TrackingPlan {
                path: USUAL_PATH.to_owned(),
                semantics: scenario.semantics,
                layout: None,
                devices: Some(scenario.devices.into()),
                room: 0,
                symbols: Vec::new(),
                probe: None,
                probe_symbol: None,
            })),
        };
        setup.socket = tracking.as_ref().map(|plan| plan.path.clone());
        let program = UserProgram::target(&library, setup.clone())?.tracked(tracking);
        Ok(PreparedTarget {
            program,
            about,
            scenario,
            setup,
            surveyed: None,
            condensed: Condensed::default(),
            left_out,
        })
    }

    /// It crashed when it was asked what it can do. Where no run shows that, it is to be said.
    pub(in crate::cli) fn crash(&self) -> Option<TargetError> {
        self.about.crash_of(&self.program.path)
    }

    /// What is done with it in another run of the same scenario.
    pub(in crate::cli) fn setup_of(&self, run: u64) -> TargetSetup {
        let scenario = &self.scenario;
        let setup = TargetSetup::new(scenario, run, &self.setup.options);
        TargetSetup {
            socket: self.setup.socket.clone(),
            ..setup.for_target(&self.about, scenario)
        }
    }

    /// What is run, in lines.
    pub(in crate::cli) fn headline(&self) -> String {
        let library = self.program.path.file_name().unwrap_or_default();
        let (library, scenario) = (library.to_string_lossy(), &self.scenario);
        let mut text = format!(
            "target {} ({library}): {}{}, {}, {} in all, {}\n",
            self.about.name(),
            scenario.name,
            if self.condensed.is_whole() {
                ""
            } else {
                ", condensed"
            },
            plural(self.setup.ops.len() as u64, "thread"),
            plural(self.setup.count(), "operation"),
            plural(scenario.devices.into(), "device"),
        );
        if let Some(imported) = &scenario.workload.imported {
            let _ = writeln!(text, "{imported}");
        }
        if !self.condensed.is_whole() {
            let _ = writeln!(text, "condensed: {}", self.condensed);
        }
        for note in self.notes() {
            let _ = writeln!(text, "{note}");
        }
        if let Some(surveyed) = &self.surveyed {
            let _ = writeln!(text, "{}", surveyed.words());
        }
        text
    }

    /// What was asked once, and the target cannot.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.left_out.is_empty() {
            let names: Vec<&str> = self.left_out.iter().map(|memory| memory.name()).collect();
            notes.push(format!(
                "it has no {}: buffers that would be there are in the memories that it has",
                names.join(" and no ")
            ));
        }
        let mut unchecked = Vec::new();
        if self.about.is_scattered() {
            unchecked.push("bounds (HB_TARGET_SCATTERED)");
        }
        if self.about.keeps_memory() {
            unchecked.push(
                "whether memory is whole in the end, whether it finds room between buffers, and \
                 where it places them (HB_TARGET_CACHES)",
            );
        } else if self.about.has_caches() {
            unchecked.push(
                "whether it finds room between buffers, and where it places them \
                 (HB_TARGET_CACHES)",
            );
        } else if !self.about.fills_holes() {
            unchecked.push("whether it finds room between buffers (no policy that says so)");
        }
        if !self.about.checks_itself() {
            unchecked.push("its own invariants (no check)");
        }
        if !self.about.has_totals() {
            unchecked.push("its totals (no totals)");
        }
        if !self.about.tracks() {
            unchecked.push("tracking messages (no HB_TARGET_TRACKS)");
        }
        if let Some(policy) = self.about.unknown_policy() {
            notes.push(format!(
                "its policy \"{policy}\" is none that is known: no placement is checked"
            ));
        }
        if !unchecked.is_empty() {
            notes.push(format!("not checked: {}", unchecked.join(", ")));
        }
        notes
    }

    /// As the key `target`.
    pub(in crate::cli) fn json(&self) -> Value {
        let memories = Memory::ALL
            .into_iter()
            .filter(|memory| self.about.has_memory(*memory))
            .map(Memory::name)
            .collect::<Vec<_>>();
        json!({
            "name": self.about.name(),
            "scenario": self.scenario.name,
            "threads": self.setup.ops.len(),
            "ops": self.setup.count(),
            "memories": memories,
            "notes": self.notes(),
            "imported": self.scenario.workload.imported,
            "survey": self.surveyed.as_ref().map(Surveyed::json),
        })
    }
}

/// So many operations of a thread are shown as words; JSON and reproducers have all.
const MOST_OPS_IN_WORDS: usize = 60;

/// The operations that are left of a failing program.
pub(in crate::cli) fn smallest(failed: &Failed) -> String {
    let mut text = String::new();
    let Some(setup) = &failed.setup else {
        return text;
    };
    if let Some(fewer) = failed.fewer_ops {
        let before = plural(fewer.before, "operation");
        let _ = write!(text, "  shrunk from {before} to {}", setup.count());
        if fewer.tried > 0 {
            let _ = write!(text, " ({} tried)", plural(fewer.tried, "schedule"));
        }
        if let Some(cut) = fewer.cut {
            let _ = write!(text, "; not all was tried: {cut}");
        }
        text.push('\n');
    }
    for (thread, ops) in setup.ops.iter().enumerate() {
        let shown = ops.iter().take(MOST_OPS_IN_WORDS);
        let shown: Vec<String> = shown.map(ToString::to_string).collect();
        let more = match ops.len().saturating_sub(MOST_OPS_IN_WORDS) {
            0 => String::new(),
            more => format!("; … and {}", plural(more as u64, "operation more")),
        };
        let _ = writeln!(text, "  thread {}: {}{more}", thread + 1, shown.join("; "));
    }
    text
}
