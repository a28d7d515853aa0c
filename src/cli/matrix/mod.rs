//! `heisenbed matrix`: every discipline under every switch, workload and server, each proved or
//! refuted. Which cells there are and which are judged is in `plan`, what they come to in `answer`.

mod answer;
mod plan;
mod standing;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use super::ci::{CiArgs, CiCase};
use super::exit::ExitStatus;
use super::outcome::{CommandOutcome, Context, Format};
use super::output::{self, OutputKind};
use super::progress::Progress;
use super::scenario_args::word;
use super::watch::WatchArgs;
use crate::campaign::target::WORKLOADS;
use crate::engine::controlled::exhaustive::{Goal, SearchEnd, SearchOptions, search};
use crate::engine::controlled::machine::Setup;
use crate::lifecycle::{Order, Publication};
use crate::oracle::{Kind, Verdict};
use crate::registry::Semantics;
use crate::shrink::{self, Shrunk, ShrunkSize};
use crate::unbounded::{self, Abstract};
use answer::Answer;
use plan::{Plan, plans};
use standing::standings;

/// Arguments of `heisenbed matrix`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Each cell searches every schedule of 2 threads with 2 pairs each (--threads, --ops) of the condensed workload. A cell \
    that diverges is minimised.\n\n\
    A discipline of yours is judged as its file is written; its other orders and publications are shown as what-if. A built-in one is a lock scope, \
    judged in all its forms. Exit status: 1 where a judged cell diverges, 3 where none does but one is not decided.\n\n\
    Examples:\n  \
    heisenbed matrix\n  \
    heisenbed matrix --discipline my-fix.toml,lifecycle-wide --list\n  \
    heisenbed matrix --semantics typed --save found/"
)]
pub(crate) struct MatrixArgs {
    /// Disciplines, built-in or files; without it, all that are built in
    #[arg(long, value_delimiter = ',', value_name = "NAMES|FILES")]
    pub(crate) discipline: Vec<String>,
    /// Orders of release; without it, both: of a discipline of yours, the one it is written in is
    /// judged
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) order: Vec<Order>,
    /// Publications; without it, both: of a discipline of yours, the one it is written in is judged
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) publish: Vec<Publication>,
    /// Workloads: names of scenarios, or files
    #[arg(long, value_delimiter = ',', value_name = "NAMES|FILES", default_values = WORKLOADS)]
    pub(crate) workload: Vec<String>,
    /// How the server understands messages; a discipline that counts on one of its own keeps it
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = word::<Semantics>, default_values = ["typed", "refcount"])]
    pub(crate) semantics: Vec<Semantics>,
    /// Threads, at least 2: one alone has nobody to race with [default: 2, where the workload has
    /// as many]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..))]
    pub(crate) threads: Option<u16>,
    /// Operations a thread; an allocate and a release are one each [default: 4, or up to 8 where
    /// the memories, sizes and devices that a file names need them]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) ops: Option<u64>,
    /// Give up on a cell after this many states
    #[arg(long, value_name = "N", default_value_t = 5_000_000)]
    pub(crate) max_states: u64,
    /// Threads that search, a cell each, or several a cell where cells are few
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: u16,
    /// One line a cell instead of the table
    #[arg(long)]
    pub(crate) list: bool,
    /// Write the reproducer of each cell that diverges into this folder; cells with the same one
    /// share it
    #[arg(long, value_name = "DIR")]
    pub(crate) save: Option<PathBuf>,
    /// Replace files of --save also where they are no reproducers
    #[arg(long, requires = "save")]
    pub(crate) force: bool,
    /// For CI pages.
    #[command(flatten)]
    pub(crate) ci: CiArgs,
    /// For whoever edits.
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

impl MatrixArgs {
    /// Files of the user's that are read.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let paths = self
            .discipline
            .iter()
            .chain(&self.workload)
            .map(PathBuf::from);
        paths.filter(|path| path.is_file()).collect()
    }
}

/// More abstract states of a cell are given up: it is then proved within the case.
const MAX_ABSTRACT: u64 = 200_000;

/// One cell.
#[derive(Clone, Debug)]
struct Cell {
    plan: Plan,
    verdict: Verdict,
    /// Why it is not decided.
    note: Option<String>,
    states: u64,
    /// Where it is proved for any number of threads and operations, too: how many abstract states
    /// there are.
    abstract_states: Option<u64>,
    divergences: BTreeMap<Kind, u64>,
    leaks: u64,
    /// The smallest run that diverges.
    smallest: Option<Box<Shrunk>>,
    /// Where that was written.
    reproducer: Option<String>,
}

impl Cell {
    fn kinds(&self) -> BTreeSet<Kind> {
        self.divergences.keys().copied().collect()
    }

    /// What CI pages show of it.
    fn case(&self) -> CiCase {
        let plan = &self.plan;
        let name = format!(
            "{}: {}, {}, {}, {} server",
            plan.label, plan.workload, plan.order, plan.publish, plan.semantics
        );
        let kinds: Vec<&str> = self.divergences.keys().map(|kind| kind.name()).collect();
        let mut why = match (&self.note, kinds.is_empty()) {
            (_, false) => format!("diverges: {}", kinds.join(", ")),
            (Some(note), true) => note.clone(),
            (None, true) => self.verdict.to_string(),
        };
        if let Some(size) = self.size() {
            why += &format!("\nthe smallest run that shows it: {size}");
        }
        if let Some(path) = &self.reproducer {
            why += &format!("\nsee it: heisenbed replay {path}");
        }
        let status = ExitStatus::of(self.verdict).code();
        CiCase::of_status(name, status, &why).in_discipline(&plan.asked)
    }

    fn size(&self) -> Option<ShrunkSize> {
        self.smallest.as_ref().map(|shrunk| shrunk.size)
    }
}

/// Runs the subcommand: exit 1 when a cell that is judged diverges, 3 when one is not decided.
pub(crate) fn run(args: &MatrixArgs, context: &Context) -> CommandOutcome {
    let started = Instant::now();
    let plans = match plans(args, context.seed) {
        Ok(plans) => plans,
        Err(error) => return CommandOutcome::bad_input(error, context.format),
    };
    if let Some(folder) = &args.save
        && let Err(error) = std::fs::create_dir_all(folder)
    {
        return CommandOutcome::bad_input(format!("{}: {error}", folder.display()), context.format);
    }
    context.catch_interrupts();
    let mut cells = match search_all(args, context, plans) {
        Ok(cells) => cells,
        Err(error) => return CommandOutcome::bad_input(error, context.format),
    };
    let unsaved = args
        .save
        .as_ref()
        .and_then(|folder| save(folder, args.force, &mut cells).err());
    let answer = Answer {
        elapsed_s: started.elapsed().as_secs_f64(),
        interrupted: context.interrupt.load(Ordering::Relaxed),
        standings: standings(&cells),
        cells: &cells,
    };
    for cell in cells.iter().filter(|cell| !cell.plan.what_if) {
        context.case(cell.case());
    }
    let stdout = match context.format {
        Format::Json => json_of(&answer),
        Format::Human => {
            let mut text = if args.list {
                table::list(&cells)
            } else {
                table::table(&cells)
            };
            text.push_str(&answer.in_words());
            text
        }
    };
    match unsaved {
        // What was found is not lost with it.
        Some(error) => CommandOutcome {
            stdout,
            stderr: format!("error: {error}\n"),
            exit_code: ExitStatus::BadInput.code(),
        },
        None => CommandOutcome {
            stdout,
            stderr: String::new(),
            exit_code: ExitStatus::of(answer.verdict()).code(),
        },
    }
}

fn search_all(args: &MatrixArgs, context: &Context, plans: Vec<Plan>) -> Result<Vec<Cell>, String> {
    let results: Vec<OnceLock<Result<Cell, String>>> =
        plans.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let progress = Mutex::new(Progress::new(
        context.quiet,
        "matrix",
        "cells",
        plans.len() as u64,
    ));
    // Where cells are few, workers share them.
    let at_once = u16::try_from(plans.len()).map_or(args.workers, |cells| args.workers.min(cells));
    let at_once = at_once.max(1);
    let in_cell = args.workers / at_once;
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(plan) = plans.get(index) else { break };
            let _ = results[index].set(search_cell(plan, args, in_cell, context));
            if let Ok(mut progress) = progress.try_lock() {
                progress.update(index as u64 + 1);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..at_once {
            scope.spawn(work);
        }
        work();
    });
    if let Ok(mut progress) = progress.into_inner() {
        progress.finish();
    }
    results
        .into_iter()
        .filter_map(OnceLock::into_inner)
        .collect()
}

fn search_cell(
    plan: &Plan,
    args: &MatrixArgs,
    workers: u16,
    context: &Context,
) -> Result<Cell, String> {
    let mut keep_going = || !context.interrupt.load(Ordering::Relaxed);
    let setup = Setup::new(plan.scenario.clone(), 0).map_err(|error| error.to_string())?;
    let options = SearchOptions {
        goal: Goal::AllKinds,
        max_states: args.max_states,
        workers,
        ..SearchOptions::default()
    };
    let found = search(&setup, &options, &mut |_| keep_going());
    let (verdict, note) = found.verdict(None);
    let (verdict, note) = match verdict {
        Verdict::Proved if plan.scenario.threads < 2 => (
            Verdict::Inconclusive,
            Some("the workload has one thread, which has nobody to race with: --threads 2".into()),
        ),
        _ => (verdict, note),
    };
    let interrupted = found.ended == SearchEnd::Abandoned && !keep_going();
    let note = note.map(|note| match interrupted {
        true => format!("interrupted: {note}"),
        false => note,
    });
    let abstract_states = match verdict {
        Verdict::Proved => match unbounded::search_ops(&plan.scenario, setup.ops(), MAX_ABSTRACT) {
            Ok(Abstract::Proved { states }) => Some(states),
            _ => None,
        },
        _ => None,
    };
    let first = found
        .example
        .as_ref()
        .and_then(|example| example.report.first);
    let smallest = first
        .and_then(|first| {
            shrink::shrink_ops(&plan.scenario, setup.ops(), first.kind, &mut keep_going).ok()
        })
        .map(Box::new);
    Ok(Cell {
        plan: plan.clone(),
        verdict,
        note,
        states: found.states,
        abstract_states,
        divergences: found.divergences,
        leaks: found.leaks,
        smallest,
        reproducer: None,
    })
}

/// Writes each reproducer once.
fn save(folder: &Path, force: bool, cells: &mut [Cell]) -> Result<(), String> {
    let mut written: BTreeMap<String, String> = BTreeMap::new();
    for cell in cells {
        let Some(shrunk) = &mut cell.smallest else {
            continue;
        };
        let plan = &cell.plan;
        // The workload's name says nothing of what was left of it.
        let reproducer = &mut shrunk.reproducer;
        reproducer.rename("minimised");
        let content = reproducer.to_toml();
        let name = format!(
            "{}-{}-{}-{}-{}",
            plan.label, plan.order, plan.publish, plan.workload, plan.semantics
        );
        // A workload or discipline of one's own may be named by its path.
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let name = name.replace(|c| !plain(c), "_") + ".toml";
        let path = match written.get(&content) {
            Some(path) => path.clone(),
            None => {
                let path = folder.join(name);
                reproducer.provenance.from = format!("the smallest run of {}", plan.workload);
                output::may_replace(&path, OutputKind::Reproducer, force)?;
                output::write(&path, &reproducer.to_toml())?;
                let path = path.display().to_string();
                written.insert(content, path.clone());
                path
            }
        };
        cell.reproducer = Some(path);
    }
    Ok(())
}

fn json_of(answer: &Answer<'_>) -> String {
    let cell = |cell: &Cell| -> Value {
        let size = cell.size();
        let condensed = &cell.plan.condensed;
        json!({
            "discipline": cell.plan.label,
            "order": cell.plan.order,
            "publish": cell.plan.publish,
            "workload": cell.plan.workload,
            "condensed": (!condensed.is_whole()).then_some(condensed),
            "semantics": cell.plan.semantics,
            "what_if": cell.plan.what_if,
            "verdict": cell.verdict,
            "note": cell.note,
            "states": cell.states,
            "abstract_states": cell.abstract_states,
            "divergences": cell.divergences,
            "leaks": cell.leaks,
            "reproducer": cell.reproducer,
            "threads": size.map(|size| size.threads),
            "ops": size.map(|size| size.ops),
            "preemptions": size.map(|size| size.preemptions),
            "schedule": cell.smallest.as_ref().and_then(|shrunk| shrunk.reproducer.schedule.clone()),
        })
    };
    let cells: Vec<Value> = answer.cells.iter().map(cell).collect();
    let object = json!({
        "verdict": answer.verdict(),
        "interrupted": answer.interrupted,
        "answer": answer.json(),
        "notes": answer.notes(),
        "cells": cells,
        "elapsed_s": answer.elapsed_s,
    });
    format!("{object}\n")
}
