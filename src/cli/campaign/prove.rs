//! `heisenbed campaign prove`: one part of an exhaustive search, for one of several machines.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::campaign::folder::{Folder, write_whole};
use crate::campaign::proof::{Proof, ProofPart, prove, write_merged};
use crate::campaign::{CampaignError, Shard};
use crate::cli::args::parse_duration;
use crate::cli::exit::ExitStatus;
use crate::cli::outcome::{CommandOutcome, Context, Format};
use crate::cli::progress::Progress;
use crate::cli::scenario_args::ScenarioArgs;
use crate::cli::verdict::{VerdictSummary, divergence_table, headline_of};
use crate::engine::controlled::machine::Setup;
use crate::numbers::{grouped, plural};
use crate::oracle::Verdict;
use crate::scenario::Condensed;

/// Arguments of `heisenbed campaign prove`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Every part searches the states that at most --partition-depth choices lead to; the states at that depth are dealt out to the parts, \
    and each searches what its own lead to. No part knows of the others; `heisenbed campaign merge` says `proved` when all parts are there, \
    each was searched to its end, and nothing diverged.\n\n\
    Exit status: 0 nothing diverges in this part; 1 something does; 2 bad usage; 3 the part was not searched to its end.\n\n\
    Examples:\n  \
    heisenbed campaign prove --shard 1/4 --discipline my-fix.toml --threads 4 --ops 6 --out parts\n  \
    heisenbed campaign merge parts --out proof"
)]
pub(crate) struct ProveArgs {
    /// The folder for the part's file
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Which part of how many, from 1/N to N/N
    #[arg(long, value_name = "I/N", default_value = "1/1")]
    pub(crate) shard: Shard,
    /// At how many choices the space is divided: more, and the parts are more alike in size
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) partition_depth: u32,
    /// Give up after this many states
    #[arg(long, value_name = "N", default_value_t = 100_000_000)]
    pub(crate) max_states: u64,
    /// Give up after this long (90s, 10m, 2h)
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// What to search.
    #[command(flatten)]
    pub(crate) scenario: ScenarioArgs,
}

/// Runs the subcommand.
pub(super) fn run(args: &ProveArgs, context: &Context) -> Result<CommandOutcome, CampaignError> {
    let (scenario, condensed) = match args.scenario.resolve_small(context.seed) {
        Ok(scenario) => scenario,
        Err(error) => return Ok(CommandOutcome::bad_input(error, context.format)),
    };
    let setup = Setup::new(scenario, 0)?;
    context.catch_interrupts();
    let started = Instant::now();
    let mut progress = Progress::new(context.quiet, "prove", "states", 0);
    let part = prove(
        &setup,
        headline_of(&setup.scenario, &condensed),
        args.shard,
        args.partition_depth,
        args.max_states,
        &mut |found| {
            progress.update(found.states);
            !context.interrupt.load(Ordering::Relaxed)
                && args.duration.is_none_or(|limit| started.elapsed() < limit)
        },
    );
    progress.finish();
    let name = part.file_name();
    // Parts may share a folder, and be searched at the same time.
    let path = args.out.join(&name);
    write_whole(&path, part.to_json())?;
    let path = path.display().to_string();
    let elapsed_s = started.elapsed().as_secs_f64();
    if args.shard.of() == 1 {
        // The only part is the whole.
        write_merged(&Folder::take(&args.out)?, vec![part.clone()])?;
    }
    let stdout = match context.format {
        Format::Json => json_of(&part, &setup, &condensed, &path, elapsed_s),
        Format::Human => text_of(&part, &path, elapsed_s),
    };
    Ok(CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: ExitStatus::of(part.verdict).code(),
    })
}

/// Of several proofs: diverged if one is, proved if all are.
pub(super) fn verdict_of(proofs: &[Proof]) -> Verdict {
    let any = |verdict| proofs.iter().any(|proof| proof.verdict == verdict);
    if any(Verdict::Diverged) {
        Verdict::Diverged
    } else if any(Verdict::Inconclusive) {
        Verdict::Inconclusive
    } else {
        Verdict::Proved
    }
}

/// What parts come to, for people.
pub(super) fn in_words(proof: &Proof) -> String {
    let mut text = format!(
        "{}\n{} of {} parts, {} (some in several parts), {}\n",
        proof.scenario,
        proof.parts as usize - proof.missing.len(),
        proof.parts,
        plural(proof.states, "state"),
        plural(proof.steps, "step"),
    );
    let _ = match proof.verdict {
        Verdict::Diverged => writeln!(
            text,
            "diverged: see proof-{}.toml in the merged folder",
            &proof.digest[..16]
        ),
        Verdict::Inconclusive => writeln!(
            text,
            "inconclusive: {}",
            proof.note.as_deref().unwrap_or_default()
        ),
        Verdict::Proved | Verdict::Clean => writeln!(
            text,
            "proved: every part was searched, and no schedule of it makes the server's picture differ from the truth"
        ),
    };
    text.push_str(&divergence_table(&proof.divergences));
    text
}

fn text_of(part: &ProofPart, path: &str, elapsed_s: f64) -> String {
    let mut text = format!(
        "{}\npart {}: {} ({} that every part has), {} of {} dealt out fell to it, in {elapsed_s:.2} s\n",
        part.scenario,
        part.shard,
        plural(part.states, "state"),
        grouped(part.trunk),
        grouped(part.own),
        plural(part.frontier, "state"),
    );
    let _ = match part.verdict {
        Verdict::Proved if part.shard.of() == 1 => {
            writeln!(text, "proved: no schedule of it diverges")
        }
        Verdict::Proved | Verdict::Clean => {
            writeln!(
                text,
                "nothing diverges in this part; merge all parts for a proof"
            )
        }
        Verdict::Diverged => writeln!(text, "diverged"),
        Verdict::Inconclusive => writeln!(
            text,
            "inconclusive: {}",
            part.note.as_deref().unwrap_or_default()
        ),
    };
    text.push_str(&divergence_table(&part.divergences));
    let _ = writeln!(text, "written to {path}");
    text
}

fn json_of(
    part: &ProofPart,
    setup: &Setup,
    condensed: &Condensed,
    path: &str,
    elapsed_s: f64,
) -> String {
    let mut summary = VerdictSummary::new(setup.scenario.threads, setup.scenario.seed);
    summary.verdict = match part.verdict {
        // A part proves nothing of the whole.
        Verdict::Proved if part.shard.of() > 1 => Verdict::Clean,
        verdict => verdict,
    };
    summary.note.clone_from(&part.note);
    summary.divergences.clone_from(&part.divergences);
    summary.leaks = part.leaks;
    summary.states = Some(part.states);
    summary.steps = part.steps;
    summary.elapsed_s = elapsed_s;
    summary.json(&json!({
        "part": part.shard,
        "condensed": (!condensed.is_whole()).then_some(condensed),
        "part_file": path,
        "exhausted": part.exhausted,
        "trunk": part.trunk,
        "frontier": part.frontier,
        "own": part.own,
    }))
}
