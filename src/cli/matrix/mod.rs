//! `heisenbed matrix`: every discipline under every switch, workload and server, each proved or
//! refuted.

mod answer;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use super::outcome::{CommandOutcome, Context, Format};
use super::progress::Progress;
use super::scenario_args::word;
use crate::campaign::target::{WORKLOADS, pairs};
use crate::engine::controlled::exhaustive::{Goal, SearchOptions, search};
use crate::engine::controlled::machine::Setup;
use crate::lifecycle::{self, Discipline, Order, Publication};
use crate::oracle::{Kind, Verdict};
use crate::registry::Semantics;
use crate::scenario::{Scenario, ScenarioFile};
use crate::shrink::{self, Shrunk, ShrunkSize};

/// Arguments of `heisenbed matrix`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Each cell searches every schedule of 2 threads with 2 pairs each (--threads, --ops) of the condensed workload. A cell \
    that diverges is minimised.\n\n\
    Examples:\n  \
    heisenbed matrix\n  \
    heisenbed matrix --discipline my-fix.toml,lifecycle-wide --list\n  \
    heisenbed matrix --semantics typed --save found/"
)]
pub struct MatrixArgs {
    /// Disciplines, built-in or files; without it, all that are built in
    #[arg(long, value_delimiter = ',', value_name = "NAMES|FILES")]
    pub discipline: Vec<String>,
    /// Orders of release; without it, both
    #[arg(long, value_enum, value_delimiter = ',')]
    pub order: Vec<Order>,
    /// Publications; without it, both
    #[arg(long, value_enum, value_delimiter = ',')]
    pub publish: Vec<Publication>,
    /// Workloads: names of scenarios, or files
    #[arg(long, value_delimiter = ',', value_name = "NAMES|FILES", default_values = WORKLOADS)]
    pub workload: Vec<String>,
    /// How the server understands messages; a discipline that counts on one of its own keeps it
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = word::<Semantics>, default_values = ["typed", "refcount"])]
    pub semantics: Vec<Semantics>,
    /// Threads
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub threads: u16,
    /// Operations a thread; an allocate and a release are one each
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub ops: u64,
    /// Give up on a cell after this many states
    #[arg(long, value_name = "N", default_value_t = 5_000_000)]
    pub max_states: u64,
    /// Threads that search, a cell each
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// One line a cell instead of the table
    #[arg(long)]
    pub list: bool,
    /// Write the reproducer of each cell that diverges into this folder; cells with the same one
    /// share it
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
}

/// One cell before it is searched.
#[derive(Clone, Debug)]
struct Plan {
    discipline: Discipline,
    order: Order,
    publish: Publication,
    workload: String,
    semantics: Semantics,
    scenario: Scenario,
}

/// One cell.
#[derive(Clone, Debug)]
struct Cell {
    plan: Plan,
    verdict: Verdict,
    states: u64,
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

    fn size(&self) -> Option<ShrunkSize> {
        self.smallest.as_ref().map(|shrunk| shrunk.size)
    }
}

/// Runs the subcommand: exit 1 when a cell diverges.
pub fn run(args: &MatrixArgs, context: &Context) -> CommandOutcome {
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
        .and_then(|folder| save(folder, &mut cells).err());
    let elapsed_s = started.elapsed().as_secs_f64();
    let diverged = cells.iter().any(|cell| cell.verdict == Verdict::Diverged);
    let stdout = match context.format {
        Format::Json => json_of(&cells, elapsed_s),
        Format::Human => {
            let mut text = if args.list {
                table::list(&cells)
            } else {
                table::table(&cells)
            };
            text.push_str(&answer::answer(&cells, elapsed_s));
            text
        }
    };
    match unsaved {
        // What was found is not lost with it.
        Some(error) => CommandOutcome {
            stdout,
            stderr: format!("error: {error}\n"),
            exit_code: 2,
        },
        None => CommandOutcome {
            stdout,
            stderr: String::new(),
            exit_code: u8::from(diverged),
        },
    }
}

fn plans(args: &MatrixArgs, seed: Option<u64>) -> Result<Vec<Plan>, String> {
    let disciplines: Vec<String> = if args.discipline.is_empty() {
        lifecycle::builtin::all()
            .iter()
            .map(|discipline| discipline.name.clone())
            .collect()
    } else {
        args.discipline.clone()
    };
    let orders = or_all(&args.order, [Order::TrackFirst, Order::FreeFirst]);
    let publications = or_all(&args.publish, [Publication::Late, Publication::Early]);
    let mut plans = Vec::new();
    for name in &disciplines {
        let discipline = lifecycle::load(name).map_err(|error| error.to_string())?;
        let semantics = discipline
            .semantics
            .map_or(args.semantics.clone(), |own| vec![own]);
        for (semantics, workload) in pairs(&semantics, &args.workload) {
            for (order, publish) in pairs(&orders, &publications) {
                let mut file = ScenarioFile::load(&workload).map_err(|error| error.to_string())?;
                file.discipline.clone_from(name);
                file.seed = seed.unwrap_or(file.seed);
                (file.order, file.publish) = (Some(order), Some(publish));
                file.semantics = Some(semantics);
                let scenario = file
                    .condensed(Some(args.threads), Some(args.ops))
                    .resolve()
                    .map_err(|error| error.to_string())?;
                plans.push(Plan {
                    discipline: discipline.clone(),
                    order,
                    publish,
                    workload: workload.clone(),
                    semantics,
                    scenario,
                });
            }
        }
    }
    Ok(plans)
}

fn or_all<T: Copy>(asked: &[T], all: [T; 2]) -> Vec<T> {
    if asked.is_empty() {
        all.to_vec()
    } else {
        asked.to_vec()
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
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(plan) = plans.get(index) else { break };
            let _ = results[index].set(search_cell(plan, args, context));
            if let Ok(mut progress) = progress.try_lock() {
                progress.update(index as u64 + 1);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..args.workers {
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

fn search_cell(plan: &Plan, args: &MatrixArgs, context: &Context) -> Result<Cell, String> {
    let mut keep_going = || !context.interrupt.load(Ordering::Relaxed);
    let setup = Setup::new(plan.scenario.clone(), 0).map_err(|error| error.to_string())?;
    let options = SearchOptions {
        goal: Goal::AllKinds,
        max_states: args.max_states,
        ..SearchOptions::default()
    };
    let found = search(&setup, &options, &mut |_| keep_going());
    let (verdict, _) = found.verdict(None);
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
        states: found.states,
        divergences: found.divergences,
        leaks: found.leaks,
        smallest,
        reproducer: None,
    })
}

/// Writes each reproducer once.
fn save(folder: &Path, cells: &mut [Cell]) -> Result<(), String> {
    let describe = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
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
            plan.discipline.name, plan.order, plan.publish, plan.workload, plan.semantics
        );
        // A workload or discipline of one's own may be named by its path.
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let name = name.replace(|c| !plain(c), "_") + ".toml";
        let path = match written.get(&content) {
            Some(path) => path.clone(),
            None => {
                let path = folder.join(name);
                reproducer.provenance.from = format!("the smallest run of {}", plan.workload);
                std::fs::write(&path, reproducer.to_toml())
                    .map_err(|error| describe(&path, error))?;
                let path = path.display().to_string();
                written.insert(content, path.clone());
                path
            }
        };
        cell.reproducer = Some(path);
    }
    Ok(())
}

fn json_of(cells: &[Cell], elapsed_s: f64) -> String {
    let cell = |cell: &Cell| -> Value {
        let size = cell.size();
        json!({
            "discipline": cell.plan.discipline.name,
            "order": cell.plan.order,
            "publish": cell.plan.publish,
            "workload": cell.plan.workload,
            "semantics": cell.plan.semantics,
            "verdict": cell.verdict,
            "states": cell.states,
            "divergences": cell.divergences,
            "leaks": cell.leaks,
            "reproducer": cell.reproducer,
            "threads": size.map(|size| size.threads),
            "ops": size.map(|size| size.ops),
            "preemptions": size.map(|size| size.preemptions),
            "schedule": cell.smallest.as_ref().and_then(|shrunk| shrunk.reproducer.schedule.clone()),
        })
    };
    let cells: Vec<Value> = cells.iter().map(cell).collect();
    format!("{}\n", json!({ "cells": cells, "elapsed_s": elapsed_s }))
}
