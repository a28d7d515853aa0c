//! `heisenbed campaign`: the night's work, the merging of what several machines did, and proofs
//! that are divided among machines.

mod prove;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::args::parse_duration;
use super::exit::ExitStatus;
use super::outcome::{CommandOutcome, Context, Format};
use super::progress::Progress;
use super::scenario_args::word;
use crate::campaign::canary::{Canary, canaries, program_canaries};
use crate::campaign::fuzz::Built;
use crate::campaign::merge::{MergedCampaign, merge};
use crate::campaign::plan::{CampaignPlan, Weights, digest};
use crate::campaign::programs::{self, CampaignProgram};
use crate::campaign::run::{self, CampaignRun};
use crate::campaign::target::{Asked, TargetName, targets};
use crate::campaign::{CampaignError, CampaignSummary, Parameters, Shard};
use crate::corpus::files;
use crate::lifecycle::{Order, Publication};
use crate::oracle::{Kind, Verdict};
use crate::registry::Semantics;

/// The corpus, where none is named.
const USUAL_CORPUS: &str = "corpus/reproducers";

/// Arguments of `heisenbed campaign`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CampaignArgs {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: CampaignCommand,
}

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum CampaignCommand {
    /// Work through units of stress, exploration and search until the time is up, and write down
    /// what is new
    Run(Box<RunArgs>),
    /// Put the outputs of any number of machines together, in any order and as often as one likes
    Merge(MergeArgs),
    /// Search one part of a scenario's space; the merged parts prove what one search would
    Prove(Box<prove::ProveArgs>),
}

/// Arguments of `heisenbed campaign run`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "It looks where nothing is known to be wrong: at the cells that `heisenbed matrix` proves, in larger forms, or at your own \
    --discipline. First it looks for its canaries, planted defects that it must find; a night that misses one is blind. Then the corpus is run again, \
    then come stress, explore and search units, fuzz targets with --fuzz, and schedules of your own programs with --program, by their weights. What diverges is minimised and reported once for each cause: the kind, the \
    discipline with its switches, the preemption that decides; of a program the kind of failure and the places of the code.\n\n\
    A run that was killed goes on when the same command is given again. Everything is in --out: summary.json, summary.md, junit.xml, reproducers/, \
    crashes/ (inputs on which fuzz targets fail), fuzz/ (what they begin from), history.jsonl, and journal.jsonl, from which the others follow.\n\n\
    Exit status: 0 nothing new; 1 a new divergence, a program or a fuzz target that fails, or a reproducer of the corpus that comes out otherwise; 2 bad usage; 3 nothing new, but \
    silence says nothing: a canary was not found, the work was stopped, no unit was done, or the corpus is not there.\n\n\
    Examples:\n  \
    heisenbed campaign run --duration 8h --workers 4 --seed 20250131 --out night\n  \
    heisenbed campaign run --duration 8h --seed 20250131 --shard 3/8 --out night-3\n  \
    heisenbed campaign run --duration 8h --seed 20250131 --fuzz fuzz/target/x86_64-unknown-linux-gnu/release --out night\n  \
    heisenbed campaign run --duration 10m --discipline my-fix.toml --order free-first --out mine\n  \
    heisenbed campaign run --duration 1h --program tests.toml --weights run=1 --corpus none --out mine"
)]
pub(crate) struct RunArgs {
    /// The folder for everything that comes of it; give the same to go on
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Begin no new unit after so much working time (90s, 10m, 8h), counting what was done before
    /// it was killed
    #[arg(long, value_name = "TIME", value_parser = parse_duration, required_unless_present = "units")]
    pub(crate) duration: Option<Duration>,
    /// Do the units below N only; with --shard, those that are this shard's
    #[arg(long, value_name = "N")]
    pub(crate) units: Option<u64>,
    /// Which of how many machines this is, from 1/N to N/N; they share the work and need not know
    /// of each other
    #[arg(long, value_name = "I/N", default_value = "1/1")]
    pub(crate) shard: Shard,
    /// Threads that work, a unit each
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: u16,
    /// How often each sort of unit comes [default: stress=1,explore=6,search=3, fuzz=2 with --fuzz,
    /// and run=6 with --program]
    #[arg(long, value_name = "SORT=N,...")]
    pub(crate) weights: Option<Weights>,
    /// The size of a unit in micro-steps, about; smaller ones lose less when the machine dies
    #[arg(long, value_name = "N", default_value_t = 4_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub(crate) unit_steps: u64,
    /// The night's line goes to this file, and the nights before are read from it; without it,
    /// DIR/history.jsonl
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
    /// The corpus: its reproducers are run again, and a cause that one of them has is not new;
    /// `none`: there is none [default: corpus/reproducers]
    #[arg(long, value_name = "DIR|none")]
    pub(crate) corpus: Option<PathBuf>,
    /// Where fuzz targets are built (fuzz/target/TRIPLE/release, after `cargo fuzz build
    /// --sanitizer none`); without it, no fuzz units
    #[arg(long, value_name = "DIR")]
    pub(crate) fuzz: Option<PathBuf>,
    /// The seeds of fuzz targets, a folder each
    #[arg(long, value_name = "DIR", default_value = "corpus/fuzz")]
    pub(crate) fuzz_seeds: PathBuf,
    /// Programs of your own for run units, as a TOML file lists them: [[program]] with path, and
    /// perhaps args, name, strategies, schedules, timeout_s, data_races
    #[arg(long, value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,
    /// One more canary: a reproducer, of which the scenario must diverge again
    #[arg(long, value_name = "FILE")]
    pub(crate) canary: Vec<PathBuf>,
    /// Schedules in which each canary must be found; on real threads at most 20 runs
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(crate) canary_budget: u64,
    /// Where to look.
    #[command(flatten)]
    pub(crate) targets: TargetArgs,
}

/// Where to look.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Where to look")]
pub(crate) struct TargetArgs {
    /// Your disciplines, built-in or files; without it, those that are correct, where they are
    #[arg(long, value_delimiter = ',', value_name = "NAMES|FILES")]
    pub(crate) discipline: Vec<String>,
    /// Orders of release; without it, of a --discipline the one it is written in
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) order: Vec<Order>,
    /// Publications; without it, of a --discipline the one it is written in
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) publish: Vec<Publication>,
    /// Workloads: names of scenarios, or files; without it, those of the matrix
    #[arg(long, value_delimiter = ',', value_name = "NAMES|FILES")]
    pub(crate) workload: Vec<String>,
    /// How the server understands messages; without it, typed and refcount, or what the discipline
    /// counts on
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = word::<Semantics>)]
    pub(crate) semantics: Vec<Semantics>,
}

/// Arguments of `heisenbed campaign merge`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The result depends on what is merged, not on the order or on how often; what was merged before into --out stays part of it. \
    Shards and parts that are missing, or did not come to their end, are named: run them again and merge again.\n\n\
    Exit status: as of the whole campaign or proof; 3 also where something is missing.\n\n\
    Examples:\n  \
    heisenbed campaign merge night-1 night-2 night-3 --out night\n  \
    heisenbed campaign merge parts-* --out proof"
)]
pub(crate) struct MergeArgs {
    /// The outputs of `campaign run`, `campaign prove` or `campaign merge`
    #[arg(value_name = "DIR", required = true)]
    pub(crate) dirs: Vec<PathBuf>,
    /// The folder for what comes of it
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// The night's line goes to this file, and the nights before are read from it; without it,
    /// OUT/history.jsonl
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
}

/// Runs the subcommand.
pub(crate) fn run(args: &CampaignArgs, context: &Context) -> CommandOutcome {
    let result = match &args.command {
        CampaignCommand::Run(args) => run_night(args, context),
        CampaignCommand::Merge(args) => run_merge(args, context),
        CampaignCommand::Prove(args) => prove::run(args, context),
    };
    result.unwrap_or_else(|error| CommandOutcome::bad_input(error, context.format))
}

fn run_night(args: &RunArgs, context: &Context) -> Result<CommandOutcome, CampaignError> {
    let (plan, canaries) = plan(args, context.seed)?;
    context.catch_interrupts();
    let run = CampaignRun {
        shard: args.shard,
        duration: args.duration,
        units: args.units,
        workers: args.workers,
        history: args.history.clone(),
    };
    let units = args.units.unwrap_or(0).div_ceil(u64::from(args.shard.of()));
    let progress = Mutex::new(Progress::new(context.quiet, "campaign", "units", units));
    let spent = run::spend(
        &plan,
        &canaries,
        &run,
        &args.out,
        &context.interrupt,
        &|done| {
            if let Ok(mut progress) = progress.try_lock() {
                progress.update(done);
            }
        },
    );
    if let Ok(mut progress) = progress.into_inner() {
        progress.finish();
    }
    let (summary, text) = spent?;
    Ok(outcome(Some((summary, text)), Vec::new(), context.format))
}

fn plan(args: &RunArgs, seed: Option<u64>) -> Result<(CampaignPlan, Vec<Canary>), CampaignError> {
    let asked = Asked {
        disciplines: args.targets.discipline.clone(),
        orders: args.targets.order.clone(),
        publications: args.targets.publish.clone(),
        workloads: args.targets.workload.clone(),
        semantics: args.targets.semantics.clone(),
    };
    let targets = targets(&asked)?;
    let wants_none = args.corpus.as_deref() == Some(Path::new("none"));
    let corpus = match args.corpus.as_deref() {
        _ if wants_none => Vec::new(),
        None if !Path::new(USUAL_CORPUS).exists() => Vec::new(),
        folder => corpus(folder.unwrap_or(Path::new(USUAL_CORPUS)))?,
    };
    let without_corpus = corpus.is_empty() && !wants_none;
    let more = args
        .canary
        .iter()
        .map(|path| text_of(path))
        .collect::<Result<Vec<_>, _>>()?;
    let mut canaries = canaries(&more)?;
    let fuzz = args.fuzz.as_deref();
    let fuzz = fuzz.map(|folder| Built::find(folder, &args.fuzz_seeds));
    let fuzz = fuzz.transpose()?;
    let usual = match fuzz {
        Some(_) => Weights::with_fuzz(),
        None => Weights::default(),
    };
    let programs = match &args.program {
        Some(path) => programs::read(path)?,
        None => Vec::new(),
    };
    let usual = match programs[..] {
        [] => usual,
        _ => usual.and_programs(),
    };
    let weights = args.weights.unwrap_or(usual);
    if weights.runs() {
        canaries.extend(program_canaries());
    }
    if weights.runs() && programs.is_empty() {
        return Err(CampaignError::Nothing(format!(
            "--weights {weights}: for run units, say with --program FILE which programs to run"
        )));
    }
    if weights.fuzzes() && fuzz.is_none() {
        return Err(CampaignError::Nothing(format!(
            "--weights {weights}: for fuzz units, say with --fuzz DIR where the fuzz targets are built"
        )));
    }
    let contents: Vec<String> = targets
        .iter()
        .map(crate::campaign::target::CampaignTarget::content)
        .chain(canaries.iter().map(Canary::content))
        .chain(corpus.iter().map(|(_, text)| text.clone()))
        .chain(programs.iter().map(CampaignProgram::content))
        .collect();
    let parameters = Parameters {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        seed: seed.unwrap_or(0),
        weights,
        unit_steps: args.unit_steps,
        canary_budget: args.canary_budget,
        targets: targets
            .iter()
            .map(|target| target.name())
            .collect::<Vec<TargetName>>(),
        canaries: canaries.iter().map(|canary| canary.name.clone()).collect(),
        corpus: corpus.iter().map(|(path, _)| path.clone()).collect(),
        without_corpus,
        fuzz: fuzz
            .as_ref()
            .map_or(Vec::new(), |built| built.names.clone()),
        programs: programs
            .iter()
            .map(|program| program.name.clone())
            .collect(),
        digest: digest(contents.iter().map(String::as_str)),
    };
    Ok((
        CampaignPlan {
            parameters,
            targets,
            corpus,
            fuzz,
            programs,
        },
        canaries,
    ))
}

/// The reproducers of a corpus, where each is in it, and its text.
fn corpus(folder: &Path) -> Result<Vec<(String, String)>, CampaignError> {
    let found = files(folder).map_err(|source| CampaignError::Io {
        path: folder.display().to_string(),
        source,
    })?;
    found.iter().map(|path| text_of(path)).collect()
}

fn text_of(path: &Path) -> Result<(String, String), CampaignError> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((name, text)),
        Err(source) => Err(CampaignError::Io { path: name, source }),
    }
}

fn run_merge(args: &MergeArgs, context: &Context) -> Result<CommandOutcome, CampaignError> {
    let MergedCampaign { campaign, proofs } =
        merge(&args.dirs, &args.out, args.history.as_deref())?;
    Ok(outcome(campaign, proofs, context.format))
}

fn outcome(
    campaign: Option<(CampaignSummary, String)>,
    proofs: Vec<crate::campaign::proof::Proof>,
    format: Format,
) -> CommandOutcome {
    let of_proofs = proofs.iter().map(|proof| proof.verdict);
    let of_campaign = campaign.iter().map(|(summary, _)| summary.verdict);
    // Of several the worst counts, and there is one at least.
    let status = of_campaign.chain(of_proofs).map(ExitStatus::of).max();
    let stdout = match format {
        Format::Human => {
            let mut text = campaign.map_or(String::new(), |(_, text)| text);
            for proof in &proofs {
                text.push_str(&prove::in_words(proof));
            }
            text
        }
        Format::Json => {
            let mut value = campaign.map_or(json!({}), |(summary, _)| common_keys(&summary));
            if !proofs.is_empty() {
                if value["verdict"].is_null() {
                    value["verdict"] = json!(prove::verdict_of(&proofs));
                }
                value["proofs"] = json!(proofs);
            }
            format!("{value}\n")
        }
    };
    CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: status.unwrap_or(ExitStatus::Undecided).code(),
    }
}

/// The summary with the keys that every command which gives a verdict has.
fn common_keys(summary: &CampaignSummary) -> Value {
    let mut value = serde_json::to_value(summary).expect("a summary has string keys");
    let new = summary.causes.iter().filter(|cause| cause.known.is_none());
    let mut kinds = serde_json::Map::new();
    for kind in Kind::ALL {
        let count = new
            .clone()
            .filter(|cause| cause.kind == kind.name())
            .count();
        if count > 0 {
            kinds.insert(kind.name().to_owned(), json!(count));
        }
    }
    value["divergences"] = Value::Object(kinds);
    let first = new.clone().next();
    value["first"] = first.map_or(
        Value::Null,
        |cause| json!({ "kind": cause.kind, "unit": cause.unit }),
    );
    value["reproducer"] = json!(first.and_then(|cause| cause.reproducer.clone()));
    for key in ["leaks", "events", "threads", "ops", "preemptions"] {
        value[key] = Value::Null;
    }
    value["check"] = json!("exact");
    debug_assert!(summary.verdict != Verdict::Proved);
    value
}
