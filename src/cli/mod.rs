//! The command line: one file a subcommand, each with its arguments, what it runs, and what it prints.
//!
//! A subcommand returns an [`Outcome`] rather than printing, so that a test reads what a user would. Only
//! progress goes to stderr while a command runs.

pub mod campaign;
mod captured;
pub mod check;
pub mod conformance;
pub mod corpus;
pub mod diagnose;
pub mod disciplines;
pub mod explore;
pub mod fuzz;
pub mod import;
pub mod logging;
pub mod matrix;
pub mod progress;
pub mod proxy;
pub mod replay;
pub mod scenario_args;
pub mod scenarios;
pub mod serve;
pub mod shrink;
pub mod stress;
pub mod symptoms;
pub mod verdict;
pub mod zoo;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Parser, Subcommand, ValueEnum};

const LOG_HELP: &str = "Environment:\n  \
    HEISENBED_LOG  What engine, server, shrink and campaign log to stderr: a level (error, warn,\n                 \
    info, debug, trace) for all, or for some, as in HEISENBED_LOG=server=debug,shrink=info";

/// Record-and-replay fuzzing and stress testbed for device allocators with allocation tracking.
///
/// Answers, with evidence that anyone can rerun: does this locking protocol keep the tracking server's picture equal
/// to what the allocator did? Start with `heisenbed stress`.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 110, after_help = LOG_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// The form of what goes to stdout.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub format: Format,
    /// Where all randomness comes from: the same seed gives the same work.
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,
    /// No progress and no advice on stderr.
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a workload on real threads and a real socket, record it, and check what the server made of it
    Stress(stress::StressArgs),
    /// Search or sample the schedules of a small scenario: find a race, or prove that there is none
    Explore(explore::ExploreArgs),
    /// The verdict table: every locking protocol under every switch, workload and server, proved or refuted
    Matrix(matrix::MatrixArgs),
    /// Check a trace: what the server reconstructed against the truth
    Check(check::CheckArgs),
    /// Say what went wrong in a trace or a log, by its messages alone: ranked causes with their evidence
    Diagnose(diagnose::DiagnoseArgs),
    /// Run a recorded trace or a reproducer again, step by step, and check that it is the same
    Replay(replay::ReplayArgs),
    /// Minimise what diverged to the fewest threads, operations and preemptions
    Shrink(shrink::ShrinkArgs),
    /// Run, list and extend the corpus of reproducers
    Corpus(corpus::CorpusArgs),
    /// Work through the night, on one machine or many: find what is new, and write it down once
    Campaign(campaign::CampaignArgs),
    /// Serve a tracking socket until SIGTERM or Ctrl-C
    Serve(serve::ServeArgs),
    /// Stand between tracking clients and their server, and record what they say
    Proxy(proxy::ProxyArgs),
    /// Try a fixed suite of cases on any tracking server, and show what fails with the evidence
    Conformance(conformance::ConformanceArgs),
    /// Turn what another tool recorded into a trace
    Import(import::ImportArgs),
    /// List the fuzz targets, and turn their inputs into text
    Fuzz(fuzz::FuzzArgs),
    /// List, show and lint lifecycle disciplines
    Disciplines(disciplines::DisciplinesArgs),
    /// List and show scenarios
    Scenarios(scenarios::ScenariosArgs),
    /// Defects to be found: list and show them, and measure which engine finds what
    Zoo(zoo::ZooArgs),
}

/// What every subcommand is told.
#[derive(Clone, Debug)]
pub struct Context {
    /// The form of what goes to stdout.
    pub format: Format,
    /// `--seed`.
    pub seed: Option<u64>,
    /// `--quiet`.
    pub quiet: bool,
    /// Set by Ctrl-C and SIGTERM: end soon, and keep what there is. A second one ends at once.
    pub interrupt: Arc<AtomicBool>,
}

/// Runs what `cli` asks for.
pub fn run(cli: Cli) -> Outcome {
    let context = Context {
        format: cli.format,
        seed: cli.seed,
        quiet: cli.quiet,
        interrupt: Arc::new(AtomicBool::new(false)),
    };
    if let Err(error) = logging::start(std::env::var_os(logging::VARIABLE).as_deref()) {
        return Outcome::bad_input(error, context.format);
    }
    match &cli.command {
        Command::Stress(args) => stress::run(args, &context),
        Command::Explore(args) => explore::run(args, &context),
        Command::Matrix(args) => matrix::run(args, &context),
        Command::Check(args) => check::run(args, &context),
        Command::Diagnose(args) => diagnose::run(args, &context),
        Command::Replay(args) => replay::run(args, &context),
        Command::Shrink(args) => shrink::run(args, &context),
        Command::Corpus(args) => corpus::run(args, &context),
        Command::Campaign(args) => campaign::run(args, &context),
        Command::Serve(args) => serve::run(args, &context),
        Command::Proxy(args) => proxy::run(args, &context),
        Command::Conformance(args) => conformance::run(args, &context),
        Command::Import(args) => import::run(args, &context),
        Command::Fuzz(args) => fuzz::run(args, &context),
        Command::Disciplines(args) => disciplines::run(args, context.format),
        Command::Scenarios(args) => scenarios::run(args, context.format),
        Command::Zoo(args) => zoo::run(args, &context),
    }
}

impl Context {
    /// Lets Ctrl-C and SIGTERM set [`Context::interrupt`]; from the second on they end the process.
    pub fn catch_interrupts(&self) {
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // In this order: the first signal finds the flag unset and sets it, the second finds it set.
            let _ = signal_hook::flag::register_conditional_default(
                signal,
                Arc::clone(&self.interrupt),
            );
            let _ = signal_hook::flag::register(signal, Arc::clone(&self.interrupt));
        }
    }
}

/// The form of what a command writes to stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people.
    #[default]
    Human,
    /// One JSON object.
    Json,
}

/// What a command prints, and how it exits: 0 when what was checked holds, 1 when it does not, 2 on bad input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// For stdout.
    pub stdout: String,
    /// For stderr.
    pub stderr: String,
    /// The exit code.
    pub exit_code: u8,
}

impl Outcome {
    /// Bad usage or input: `error` on stderr, and as JSON on stdout where that was asked for.
    pub fn bad_input(error: impl std::fmt::Display, format: Format) -> Outcome {
        let stdout = match format {
            Format::Human => String::new(),
            Format::Json => format!("{}\n", serde_json::json!({ "error": error.to_string() })),
        };
        Outcome {
            stdout,
            stderr: format!("error: {error}\n"),
            exit_code: 2,
        }
    }
}
