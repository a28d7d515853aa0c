//! The command line: one file a subcommand, each with its arguments, what it runs, and what it
//! prints.
//!
//! Beside them: [`outcome`] is what a subcommand is told and returns, [`scenario_args`] and `args`
//! are arguments that several take, [`config`] has defaults of options, [`ci`] is what CI pages
//! show, [`verdict`] is what all that give a verdict print of it,
//! [`progress`] what they show meanwhile.

mod args;
pub(crate) mod campaign;
mod captured;
pub(crate) mod cc;
pub(crate) mod check;
pub(crate) mod ci;
pub mod closed_stdout;
pub(crate) mod config;
pub(crate) mod conformance;
pub(crate) mod corpus;
mod cut_short;
pub(crate) mod diagnose;
pub(crate) mod disciplines;
pub mod exit;
pub(crate) mod explain;
pub(crate) mod explore;
pub(crate) mod export;
mod foreign;
pub(crate) mod fuzz;
pub(crate) mod import;
pub(crate) mod init;
pub mod logging;
pub(crate) mod matrix;
mod opened;
pub(crate) mod outcome;
mod output;
pub(crate) mod pages;
pub(crate) mod progress;
pub(crate) mod proxy;
mod recording;
pub(crate) mod replay;
pub(crate) mod report;
mod rerun;
pub(crate) mod run;
pub(crate) mod scenario_args;
pub(crate) mod scenarios;
pub(crate) mod serve;
pub(crate) mod shm;
pub(crate) mod shrink;
mod stop_watch;
pub(crate) mod stress;
pub(crate) mod symptoms;
mod terminal;
mod terminal_style;
mod usage;
pub(crate) mod verdict;
mod watch;
pub(crate) mod zoo;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use ci::CiArgs;
use outcome::{CommandOutcome, Context, Format, FormatArg};

const LOG_HELP: &str = "Environment:\n  \
    HEISENBED_LOG  What engine, server, shrink and campaign log to stderr: a level (error, warn,\n\
    \x20                info, debug, trace) for all, or for some, as in HEISENBED_LOG=server=debug,shrink=info";

/// Record-and-replay fuzzing and stress testbed for device allocators with allocation tracking.
///
/// Answers, with evidence that anyone can rerun: does this locking protocol keep the tracking
/// server's picture equal to what the allocator did? Start with `heisenbed stress`.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 110, after_help = LOG_HELP)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// The form of what goes to stdout.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub(crate) format: FormatArg,
    /// Where all randomness comes from: the same seed gives the same work.
    #[arg(long, global = true, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// No progress and no advice on stderr.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Say on stderr where the value of each option comes from: given, heisenbed.toml, or default.
    #[arg(long, global = true)]
    pub(crate) verbose: bool,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a workload on real threads and a real socket, record it, and check what the server made
    /// of it
    Stress(stress::StressArgs),
    /// Search or sample the schedules of a small scenario: find a race, or prove that there is none
    Explore(explore::ExploreArgs),
    /// The verdict table: every locking protocol under every switch, workload and server, proved or
    /// refuted
    Matrix(matrix::MatrixArgs),
    /// Run a program of yours under heisenbed's schedulers: find the interleaving that fails, with
    /// source lines
    Run(run::ProgramRunArgs),
    /// Write down what a program of yours does to allocate and to release, as a discipline, with
    /// source lines
    Extract(run::extract::ExtractArgs),
    /// Compile C for `run`, so that loads and stores are seen: takes what your C compiler takes
    #[command(disable_help_flag = true)]
    Cc(CompilerArgs),
    /// The same for C++
    #[command(name = "c++", disable_help_flag = true)]
    Cpp(CompilerArgs),
    /// Print the flags with which `cc` compiles, for build systems of your own
    Cflags,
    /// Print what `cc` adds when it links
    Ldflags,
    /// Check a trace: what the server reconstructed against the truth
    Check(check::CheckArgs),
    /// Say what went wrong in a trace or a log, by its messages alone: ranked causes with their
    /// evidence
    Diagnose(diagnose::DiagnoseArgs),
    /// Run a recorded trace or a reproducer again, step by step, and check that it is the same
    Replay(replay::ReplayArgs),
    /// Minimise what diverged to the fewest threads, operations and preemptions
    Shrink(shrink::ShrinkArgs),
    /// Run, list and extend the corpus of reproducers
    Corpus(corpus::CorpusArgs),
    /// Work through the night, on one machine or many: find what is new, and write it down once
    Campaign(campaign::CampaignArgs),
    /// Show what was recorded as one page for a browser: lanes, memory, leaks, divergences
    Report(report::ReportArgs),
    /// Serve a tracking socket until SIGTERM or Ctrl-C
    Serve(serve::ServeArgs),
    /// Stand between tracking clients and their server, and record what they say
    Proxy(proxy::ProxyArgs),
    /// Try a fixed suite of cases on any tracking server, and show what fails with the evidence
    Conformance(conformance::ConformanceArgs),
    /// Turn what another tool recorded into a trace
    Import(import::ImportArgs),
    /// Read a live system's counters in shared memory: totals, processes, and what cannot be
    Shm(shm::ShmArgs),
    /// Write what a trace or a reproducer holds in the form of another tool
    Export(export::ExportArgs),
    /// List the fuzz targets, and turn their inputs into text
    Fuzz(fuzz::FuzzArgs),
    /// List, show, compare and lint lifecycle disciplines
    Disciplines(disciplines::DisciplinesArgs),
    /// List and show scenarios
    Scenarios(scenarios::ScenariosArgs),
    /// Defects to be found: list and show them, and measure which engine finds what
    Zoo(zoo::ZooArgs),
    /// Write what a repository needs to use heisenbed: a protocol to fill in, a gate, a corpus
    Init(init::InitArgs),
    /// Print completions for a shell
    Completions(pages::CompletionsArgs),
    /// Print manual pages, or write all of them
    Man(pages::ManArgs),
    /// Say what a divergence, a cause or a verdict means, and what to do about it
    Explain(explain::ExplainArgs),
}

/// Arguments for a compiler.
#[derive(Clone, Debug, clap::Args)]
pub struct CompilerArgs {
    /// For the compiler: `cc`, `c++`, or what HEISENBED_CC and HEISENBED_CXX name
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    pub(crate) arguments: Vec<OsString>,
}

/// Runs what these arguments, of which the first is the program's name, ask for.
pub fn start(arguments: impl IntoIterator<Item = OsString>) -> CommandOutcome {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // What a compiler understands is not for us to understand.
    let compiler = match arguments.get(1).and_then(|name| name.to_str()) {
        Some("cc") => Some(cc::Language::C),
        Some("c++") => Some(cc::Language::Cpp),
        _ => None,
    };
    if let Some(language) = compiler {
        return cc::run(language, &arguments[2..]);
    }
    let (cli, origins) = match parsed(&arguments) {
        Ok(parsed) => parsed,
        Err(outcome) => return outcome,
    };
    if cli.verbose {
        say!("{}", terminal::cleaned(origins.trim_end()));
    }
    let format = cli.format.format();
    for_terminal(run(cli), format)
}

/// The command line with the defaults of `heisenbed.toml`, and where each value comes from.
fn parsed(arguments: &[OsString]) -> Result<(Cli, String), CommandOutcome> {
    let command = Cli::command();
    let folder = std::env::current_dir().unwrap_or_default();
    let configured = match config::configured(&command, arguments, &folder) {
        Ok(configured) => configured,
        Err(error) => {
            // Who asks for help gets it all the same.
            let bare = Cli::try_parse_from(arguments);
            let format = bare
                .as_ref()
                .map_or(Format::Human, |cli| cli.format.format());
            return Err(match bare {
                Err(usage) => usage::outcome(&usage, arguments),
                Ok(_) => CommandOutcome::bad_input(error, format),
            });
        }
    };
    let parse = |arguments: &[OsString]| {
        let matches = command.clone().try_get_matches_from(arguments)?;
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((cli, matches))
    };
    match parse(&configured.arguments) {
        Ok((cli, matches)) => {
            let origins = configured.origins(&matches);
            Ok((cli, origins))
        }
        Err(error) => {
            let error: clap::Error = error;
            let mut outcome = usage::outcome(&error, arguments);
            if let Some(file) = configured.file.filter(|_| parse(arguments).is_ok()) {
                let file = file.display();
                outcome.stderr += &format!("this comes of the defaults in {file}\n");
            }
            Err(outcome)
        }
    }
}

/// What is said, as terminals may have it.
fn for_terminal(outcome: CommandOutcome, format: Format) -> CommandOutcome {
    CommandOutcome {
        stdout: match format {
            Format::Human => terminal_style::styled(terminal::cleaned(&outcome.stdout)),
            Format::Json => terminal::cleaned_json(&outcome.stdout),
        },
        stderr: terminal::cleaned(&outcome.stderr),
        ..outcome
    }
}

/// Runs what `cli` asks for.
pub(crate) fn run(cli: Cli) -> CommandOutcome {
    let context = Context {
        format: cli.format.format(),
        github: cli.format == FormatArg::Github,
        cases: Arc::new(Mutex::new(Vec::new())),
        catches: Arc::new(AtomicBool::new(false)),
        seed: cli.seed,
        quiet: cli.quiet,
        interrupt: Arc::new(AtomicBool::new(false)),
    };
    if let Err(error) = logging::start(std::env::var_os(logging::VARIABLE).as_deref()) {
        return CommandOutcome::bad_input(error, context.format);
    }
    let (name, ci) = cli.command.for_ci();
    if let Some(Err(error)) = ci.map(ci::check) {
        return CommandOutcome::bad_input(error, context.format);
    }
    let junit = ci.and_then(|ci| ci.junit.as_deref());
    let run = || {
        let outcome = dispatch(&cli.command, &context);
        ci::finish(name, junit, &context, outcome)
    };
    let Some(files) = cli.command.watched() else {
        if cli.command.only_reads() {
            cut_short::ends_undecided(context.format);
        }
        return run();
    };
    if files.is_empty() {
        let why = "--watch: it reads no file of yours: name a discipline, scenario or program";
        return CommandOutcome::bad_input(why, context.format);
    }
    watch::again_and_again(&files, &context, run, |outcome| {
        let outcome = for_terminal(outcome, context.format);
        let _ = std::io::stderr().write_all(outcome.stderr.as_bytes());
        let _ = std::io::stdout().write_all(outcome.stdout.as_bytes());
        let _ = std::io::stdout().flush();
        outcome.exit_code
    })
}

impl Command {
    /// Whether nothing of what it does is worth keeping when it is cut short.
    fn only_reads(&self) -> bool {
        match self {
            Command::Check(_) | Command::Report(_) | Command::Import(_) | Command::Export(_) => {
                true
            }
            Command::Diagnose(args) => !args.calibrate,
            _ => false,
        }
    }

    /// The files that are to be watched, where that is asked for.
    fn watched(&self) -> Option<Vec<PathBuf>> {
        let (watch, files) = match self {
            Command::Explore(args) => (&args.watch, args.files()),
            Command::Matrix(args) => (&args.watch, args.files()),
            Command::Run(args) => (&args.watch, args.files()),
            _ => return None,
        };
        watch.watch.then_some(files)
    }

    /// What CI pages call it, and what is wanted for them, of a command that takes `--junit`.
    fn for_ci(&self) -> (&'static str, Option<&CiArgs>) {
        match self {
            Command::Explore(args) => ("explore", Some(&args.ci)),
            Command::Matrix(args) => ("matrix", Some(&args.ci)),
            Command::Run(args) => ("run", Some(&args.ci)),
            Command::Check(args) => ("check", Some(&args.ci)),
            Command::Diagnose(args) => ("diagnose", Some(&args.ci)),
            Command::Conformance(args) => ("conformance", Some(&args.ci)),
            Command::Corpus(args) => match &args.command {
                corpus::CorpusCommand::Run { ci, .. } => ("corpus run", Some(ci)),
                _ => ("corpus", None),
            },
            Command::Stress(_) => ("stress", None),
            Command::Replay(_) => ("replay", None),
            Command::Campaign(_) => ("campaign", None),
            _ => ("heisenbed", None),
        }
    }
}

fn dispatch(command: &Command, context: &Context) -> CommandOutcome {
    match command {
        Command::Stress(args) => stress::run(args, context),
        Command::Explore(args) => explore::run(args, context),
        Command::Matrix(args) => matrix::run(args, context),
        Command::Cc(args) => cc::run(cc::Language::C, &args.arguments),
        Command::Cpp(args) => cc::run(cc::Language::Cpp, &args.arguments),
        Command::Cflags => cc::cflags(),
        Command::Ldflags => cc::ldflags(),
        Command::Run(args) => run::run(args, context),
        Command::Extract(args) => run::extract::run(args, context),
        Command::Check(args) => check::run(args, context),
        Command::Diagnose(args) => diagnose::run(args, context),
        Command::Replay(args) => replay::run(args, context),
        Command::Shrink(args) => shrink::run(args, context),
        Command::Corpus(args) => corpus::run(args, context),
        Command::Campaign(args) => campaign::run(args, context),
        Command::Report(args) => report::run(args, context),
        Command::Serve(args) => serve::run(args, context),
        Command::Proxy(args) => proxy::run(args, context),
        Command::Conformance(args) => conformance::run(args, context),
        Command::Import(args) => import::run(args, context),
        Command::Export(args) => export::run(args, context),
        Command::Fuzz(args) => fuzz::run(args, context),
        Command::Disciplines(args) => disciplines::run(args, context.format),
        Command::Scenarios(args) => scenarios::run(args, context.format),
        Command::Zoo(args) => zoo::run(args, context),
        Command::Init(args) => init::run(args, context),
        Command::Completions(args) => pages::completions(args),
        Command::Man(args) => pages::man(args, context),
        Command::Shm(args) => shm::run(args, context),
        Command::Explain(args) => explain::run(args, context),
    }
}
