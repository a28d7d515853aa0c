//! `heisenbed corpus`: reproducers as regressions.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::ci::{CiArgs, CiCase};
use super::outcome::{CommandOutcome, Context, Format};
use super::output;
use super::rerun::{drawn, is_text, rerun_of};
use crate::corpus::{Reproducer, files};
use crate::numbers::plural;
use crate::oracle::Verdict;
use crate::shrink::shrink_trace;

/// Arguments of `heisenbed corpus`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CorpusArgs {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: CorpusCommand,
    /// The folder of the corpus
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "corpus/reproducers"
    )]
    pub(crate) dir: PathBuf,
}

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum CorpusCommand {
    /// Run every reproducer, or those whose path has NAME in it, and compare with what they expect
    Run {
        /// Part of the path
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// For CI pages.
        #[command(flatten)]
        ci: CiArgs,
    },
    /// List the reproducers with what they expect
    List,
    /// Check a reproducer, or shrink a trace to one, and put it into the corpus
    Add {
        /// A reproducer or a trace
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Its name in the corpus; without it, the file's
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// What it shows, in a sentence
        #[arg(long, value_name = "TEXT")]
        about: Option<String>,
    },
}

/// Runs the subcommand: exit 1 when a reproducer does not come out as expected.
pub(crate) fn run(args: &CorpusArgs, context: &Context) -> CommandOutcome {
    let result = match &args.command {
        CorpusCommand::Run { name, .. } => run_all(&args.dir, name.as_deref(), context),
        CorpusCommand::List => list(&args.dir, context),
        CorpusCommand::Add { file, name, about } => {
            add(&args.dir, file, name.as_deref(), about.as_deref(), context)
        }
    };
    result.unwrap_or_else(|error| CommandOutcome::bad_input(error, context.format))
}

fn found(folder: &Path) -> Result<Vec<PathBuf>, String> {
    files(folder)
        .map_err(|error| format!("{}: {error}; name the corpus with --dir", folder.display()))
}

fn run_all(folder: &Path, name: Option<&str>, context: &Context) -> Result<CommandOutcome, String> {
    let started = Instant::now();
    let (mut text, mut list, mut failed) = (String::new(), Vec::new(), 0u64);
    for path in found(folder)? {
        let shown = path.display().to_string();
        if name.is_some_and(|name| !shown.contains(name)) {
            continue;
        }
        let rerun = rerun_of(&path);
        let (verdict, problem) = match &rerun {
            Ok(rerun) => (
                Some(rerun.came_out.verdict),
                rerun.mismatch.as_ref().map(ToString::to_string),
            ),
            Err(error) => (None, Some(error.clone())),
        };
        let case = CiCase::of_status(
            shown.as_str(),
            u8::from(problem.is_some()),
            problem.as_deref().unwrap_or_default(),
        );
        context.case(case.at(&path, None));
        match &problem {
            None => {
                let _ = writeln!(
                    text,
                    "ok    {shown}: {}",
                    verdict.map_or(String::new(), |v| v.to_string())
                );
            }
            Some(problem) => {
                failed += 1;
                let _ = writeln!(text, "FAIL  {shown}: {problem}");
                if let Ok(rerun) = &rerun {
                    text.push_str(&drawn(rerun));
                }
            }
        }
        list.push(json!({ "path": shown, "verdict": verdict, "ok": problem.is_none(), "problem": problem }));
    }
    if list.is_empty() {
        let named = name.map_or(String::new(), |name| format!(" with `{name}` in its path"));
        return Err(format!("{}: no reproducer{named}", folder.display()));
    }
    let count = list.len() as u64;
    let elapsed_s = started.elapsed().as_secs_f64();
    let stdout = match context.format {
        Format::Json => format!(
            "{}\n",
            json!({
                "verdict": if failed == 0 { Verdict::Clean } else { Verdict::Diverged },
                "reproducers": list, "failed": failed, "elapsed_s": elapsed_s,
            })
        ),
        Format::Human => {
            let _ = writeln!(
                text,
                "{}, {failed} failed, in {elapsed_s:.2} s",
                plural(count, "reproducer")
            );
            text
        }
    };
    Ok(CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: u8::from(failed > 0),
    })
}

fn list(folder: &Path, context: &Context) -> Result<CommandOutcome, String> {
    let (mut text, mut list) = (String::new(), Vec::<Value>::new());
    for path in found(folder)? {
        let reproducer = Reproducer::load(&path).map_err(|error| error.to_string())?;
        let kinds: Vec<&str> = reproducer
            .expect
            .divergences
            .keys()
            .map(|kind| kind.name())
            .collect();
        let _ = writeln!(
            text,
            "{}: {} {}{}",
            path.display(),
            reproducer.expect.verdict,
            kinds.join(", "),
            if reproducer.about.is_empty() {
                String::new()
            } else {
                format!(": {}", reproducer.about)
            }
        );
        list.push(json!({ "path": path.display().to_string(), "about": reproducer.about, "expect": reproducer.expect }));
    }
    let stdout = match context.format {
        Format::Json => format!("{}\n", json!({ "reproducers": list })),
        Format::Human => text,
    };
    Ok(CommandOutcome {
        stdout,
        ..CommandOutcome::default()
    })
}

fn add(
    folder: &Path,
    file: &Path,
    name: Option<&str>,
    about: Option<&str>,
    context: &Context,
) -> Result<CommandOutcome, String> {
    let mut reproducer = if is_text(file) {
        Reproducer::load(file).map_err(|error| error.to_string())?
    } else {
        let trace = super::opened::open(file).map_err(|error| error.to_string())?;
        let shrunk = shrink_trace(&trace, None, &mut || true);
        shrunk
            .map_err(|error| format!("{}: {error}", file.display()))?
            .reproducer
    };
    if let Some(about) = about {
        about.clone_into(&mut reproducer.about);
    }
    let rerun = reproducer
        .run()
        .map_err(|error| format!("{}: {error}", file.display()))?;
    if let Some(mismatch) = &rerun.mismatch {
        return Err(format!(
            "{}: it does not come out as it says: {mismatch}",
            file.display()
        ));
    }
    let stem = match name {
        Some(name) => name.to_owned(),
        None => file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
    };
    let to = folder.join(format!("{stem}.toml"));
    if to.exists() {
        return Err(format!("{}: it exists; give another --name", to.display()));
    }
    let text = reproducer.to_toml();
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    output::write(&to, &text)?;
    let stdout = match context.format {
        Format::Json => format!(
            "{}\n",
            json!({ "reproducer": to.display().to_string(), "expect": reproducer.expect })
        ),
        Format::Human => format!("{}: added{}\n", to.display(), drawn(&rerun)),
    };
    Ok(CommandOutcome {
        stdout,
        ..CommandOutcome::default()
    })
}
