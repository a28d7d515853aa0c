//! What CI pages show of a command: `--junit FILE` and `--format github`, in one way for all
//! commands.
//!
//! A command that looks at several things tells its [`Context`] of each as a [`CiCase`]; where it
//! tells of none, its exit status is one. Undecided is an error there, not a success: silence must
//! not look green. Without times, so that the same work gives the same bytes.

use std::fmt::Write as _;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde_json::Value;

use super::exit::ExitStatus;
use super::outcome::{CommandOutcome, Context, Format};
use super::output::{self, OutputKind};
use super::terminal;
use crate::campaign::junit;
use crate::lifecycle;

/// Arguments of the commands that CI runs.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct CiArgs {
    /// Write what was looked at as JUnit XML to FILE, for CI pages
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
}

/// One thing that a command looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CiCase {
    /// Its name; the same in each run.
    pub(crate) name: String,
    /// What came of it.
    pub(crate) result: CiResult,
    /// The user's file that it is about, and the line in it.
    pub(crate) place: Option<(PathBuf, Option<u64>)>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CiResult {
    Passed,
    /// Why.
    Failed(String),
    /// Why nothing is known.
    Undecided(String),
    /// Why it was not looked at.
    Skipped(String),
}

impl CiCase {
    /// What an exit status says of `name`, with `why` where it is no success.
    pub(crate) fn of_status(name: impl Into<String>, exit_code: u8, why: &str) -> CiCase {
        let why = why.trim().to_owned();
        CiCase {
            name: name.into(),
            result: match exit_code {
                0 => CiResult::Passed,
                1 => CiResult::Failed(why),
                _ => CiResult::Undecided(why),
            },
            place: None,
        }
    }

    /// The same, about a discipline, where that is a file of the user's: about what it releases,
    /// which is where orders go wrong.
    pub(crate) fn in_discipline(self, name_or_path: &str) -> CiCase {
        if lifecycle::builtin::get(name_or_path).is_some() {
            return self;
        }
        let path = Path::new(name_or_path);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut lines = text.lines().map(str::trim_start).zip(1..);
        let line = lines.find(|(line, _)| line.starts_with("deallocate"));
        self.at(path, line.map(|(_, number)| number))
    }

    /// The same, about a file of the user's.
    pub(crate) fn at(self, path: &Path, line: Option<u64>) -> CiCase {
        CiCase {
            place: Some((path.to_owned(), line)),
            ..self
        }
    }
}

/// What a command has printed, in a few words: all of it as text, the verdict of JSON.
pub(super) fn why(outcome: &CommandOutcome, format: Format) -> String {
    if format == Format::Human || !outcome.stderr.is_empty() {
        return match outcome.stderr.trim().is_empty() {
            true => outcome.stdout.clone(),
            false => outcome.stderr.clone(),
        };
    }
    let object: Value = serde_json::from_str(&outcome.stdout).unwrap_or_default();
    let mut why = object["verdict"].as_str().unwrap_or_default().to_owned();
    if let Some(divergences) = object["divergences"].as_object() {
        let each = divergences.iter();
        let each: Vec<String> = each
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        if !each.is_empty() {
            let _ = write!(why, ": {}", each.join(", "));
        }
    }
    for key in ["note", "error"] {
        if let Some(note) = object[key].as_str() {
            let _ = write!(why, "\n{note}");
        }
    }
    why
}

/// A source file as the repository has it, where it is in the folder that is worked in.
pub(super) fn in_repository(file: &str) -> PathBuf {
    let path = Path::new(file);
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    let inside = here
        .ok()
        .and_then(|here| Some(path.strip_prefix(here).ok()?.to_owned()));
    inside.unwrap_or_else(|| path.to_owned())
}

/// Whether `--junit` may write where it is to, before any work is done.
pub(super) fn check(args: &CiArgs) -> Result<(), String> {
    match &args.junit {
        Some(path) => output::may_replace(path, OutputKind::Junit, false),
        None => Ok(()),
    }
}

/// Adds to `outcome` of `command` what CI pages want of it.
pub(super) fn finish(
    command: &str,
    junit: Option<&Path>,
    context: &Context,
    outcome: CommandOutcome,
) -> CommandOutcome {
    let mut outcome = outcome;
    let github = context.github;
    if junit.is_none() && !github {
        return outcome;
    }
    let cases = cases(command, context, &outcome);
    if let Some(path) = junit
        && let Err(error) = write_junit(path, command, &cases)
    {
        let _ = writeln!(outcome.stderr, "error: {error}");
        outcome.exit_code = ExitStatus::BadInput.code();
    }
    if github {
        outcome.stdout = annotated(&outcome.stdout, &cases);
        if let Err(error) = summarise(command, &cases) {
            let _ = writeln!(
                outcome.stderr,
                "warning: no job summary was written: {error}"
            );
        }
        outcome.stderr = harmless(&outcome.stderr);
    }
    outcome
}

/// What the command told of; what its exit status says, where that is nothing or says less.
fn cases(command: &str, context: &Context, outcome: &CommandOutcome) -> Vec<CiCase> {
    let mut cases = context.take_cases();
    let is_bad =
        |case: &CiCase| matches!(case.result, CiResult::Failed(_) | CiResult::Undecided(_));
    if cases.is_empty() || outcome.exit_code != 0 && !cases.iter().any(is_bad) {
        let why = why(outcome, context.format);
        cases.push(CiCase::of_status(command, outcome.exit_code, &why));
    }
    for case in &mut cases {
        case.name = in_one_line(&case.name);
    }
    cases
}

fn write_junit(path: &Path, command: &str, cases: &[CiCase]) -> Result<(), String> {
    let mut suite = TestSuite::new(command);
    suite.add_test_cases(cases.iter().map(|case| {
        let status = match &case.result {
            CiResult::Passed => TestCaseStatus::success(),
            CiResult::Failed(why) => status(NonSuccessKind::Failure, "diverged", why, case),
            CiResult::Undecided(why) => status(NonSuccessKind::Error, "inconclusive", why, case),
            CiResult::Skipped(why) => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(first_line(why));
                status
            }
        };
        let mut test = TestCase::new(case.name.as_str(), status);
        test.set_classname(format!("heisenbed.{}", command.replace(' ', "-")));
        test
    }));
    let text = junit::report("heisenbed", [suite])
        .map_err(|error| format!("{}: {error}", path.display()))?;
    output::write(path, &text)
}

fn status(kind: NonSuccessKind, word: &str, why: &str, case: &CiCase) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    let why = without_times(&terminal::cleaned(why));
    status.set_message(first_line(&why));
    status.set_type(word);
    // The schema has no attribute for the place.
    status.set_description(match &case.place {
        Some((path, Some(line))) => format!("{}:{line}: {why}", path.display()),
        Some((path, None)) => format!("{}: {why}", path.display()),
        None => why,
    });
    status
}

/// A text without how long the work took: `, in 0.1 s (13 a second)`, `; checked in 0.1 s`.
fn without_times(text: &str) -> String {
    let numeric = |text: &str| {
        let mut characters = text.chars();
        !text.is_empty() && characters.all(|one| one.is_ascii_digit() || ".,".contains(one))
    };
    let cut = |line: &str| -> Option<String> {
        if let Some((before, took)) = line.rsplit_once("; checked in ") {
            let after = took.strip_suffix(" s")?;
            return numeric(after).then(|| before.to_owned());
        }
        let (before, took) = line.rsplit_once(", in ")?;
        let (seconds, rate) = took.split_once(" s (")?;
        let rate = rate.strip_suffix(" a second)")?;
        (numeric(seconds) && numeric(rate)).then(|| before.to_owned())
    };
    let lines = text.split('\n');
    let lines = lines.map(|line| cut(line).unwrap_or_else(|| line.to_owned()));
    lines.collect::<Vec<_>>().join("\n")
}

/// A name as pages list it: what a command wraps for a terminal is one line there.
fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn first_line(text: &str) -> &str {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| !line.is_empty()).unwrap_or_default()
}

/// Annotations beyond these are counted: GitHub itself shows ten of a step.
const MAX_ANNOTATIONS: usize = 50;

/// The text for people, with a line for each annotation behind it. What stands in the text is no
/// command to GitHub, whatever a log or a program has put there.
fn annotated(text: &str, cases: &[CiCase]) -> String {
    let mut all = String::new();
    if !text.is_empty() {
        let mark = mark(text);
        let end = if text.ends_with('\n') { "" } else { "\n" };
        all = format!("::stop-commands::{mark}\n{text}{end}::{mark}::\n");
    }
    let mut bad = 0;
    for case in cases {
        let (level, why) = match &case.result {
            CiResult::Failed(why) => ("error", why),
            CiResult::Undecided(why) => ("warning", why),
            CiResult::Passed | CiResult::Skipped(_) => continue,
        };
        bad += 1;
        if bad > MAX_ANNOTATIONS {
            continue;
        }
        let mut properties = String::new();
        if let Some((path, line)) = &case.place {
            let _ = write!(
                properties,
                "file={},",
                property(&path.display().to_string())
            );
            if let Some(line) = line {
                let _ = write!(properties, "line={line},");
            }
        }
        let title = property(&case.name);
        let why = data(&terminal::cleaned(why));
        let _ = writeln!(all, "::{level} {properties}title={title}::{why}");
    }
    if bad > MAX_ANNOTATIONS {
        let more = bad - MAX_ANNOTATIONS;
        let _ = writeln!(all, "::notice::{more} more are not annotated");
    }
    all
}

/// While it stands, GitHub takes nothing that is printed for a command; for what a program prints
/// itself.
pub(super) struct DeafToCommands {
    mark: String,
}

impl DeafToCommands {
    /// From here on.
    pub(super) fn begin() -> DeafToCommands {
        // The one thing here that must not be the same each time: a program that knew it could end
        // what keeps it from giving commands.
        let drawn = [RandomState::new(), RandomState::new()].map(|state| state.hash_one(0));
        let mark = format!("heisenbed-{:016x}{:016x}", drawn[0], drawn[1]);
        print_now(&format!("::stop-commands::{mark}\n"));
        DeafToCommands { mark }
    }
}

impl Drop for DeafToCommands {
    fn drop(&mut self) {
        // The program's last line may have no end.
        print_now(&format!("\n::{}::\n", self.mark));
    }
}

/// A reader that has gone is no error.
fn print_now(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

/// A text for stderr, which GitHub reads beside stdout, in no order that is known: marks around it
/// would mean nothing.
fn harmless(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let blank = line.len() - line.trim_start().len();
        let line = line.replace("##[", "## [");
        match line.get(blank..).and_then(|rest| rest.strip_prefix("::")) {
            Some(rest) => {
                all.push_str(&line[..blank]);
                all.push_str(": :");
                all.push_str(rest);
            }
            None => all.push_str(&line),
        }
    }
    all
}

/// A mark that the text does not have.
fn mark(text: &str) -> String {
    let marks = (0_u64..).map(|number| format!("heisenbed-{number}"));
    let mut free = marks.filter(|mark| !text.contains(mark.as_str()));
    free.next()
        .expect("a text has fewer marks than there are numbers")
}

fn data(text: &str) -> String {
    text.trim_end()
        .replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// The most cases that a summary lists; GitHub takes 1 MiB.
const MAX_SUMMARISED: usize = 1000;

/// Appends a table to the job's summary, where GitHub says that there is one.
fn summarise(command: &str, cases: &[CiCase]) -> std::io::Result<()> {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let count = |is: fn(&CiResult) -> bool| cases.iter().filter(|case| is(&case.result)).count();
    let failed = count(|result| matches!(result, CiResult::Failed(_)));
    let undecided = count(|result| matches!(result, CiResult::Undecided(_)));
    let skipped = count(|result| matches!(result, CiResult::Skipped(_)));
    let passed = cases.len() - failed - undecided - skipped;
    let mut text = format!(
        "### heisenbed {command}\n\n{passed} passed, {failed} failed, {undecided} undecided, \
         {skipped} skipped\n\n| | case | |\n|---|---|---|\n"
    );
    // What is wrong comes first: a long table is cut.
    let rank = |case: &&CiCase| match case.result {
        CiResult::Failed(_) => 0,
        CiResult::Undecided(_) => 1,
        CiResult::Skipped(_) => 2,
        CiResult::Passed => 3,
    };
    let mut ordered: Vec<&CiCase> = cases.iter().collect();
    ordered.sort_by_key(rank);
    for case in ordered.iter().take(MAX_SUMMARISED) {
        let (word, why) = match &case.result {
            CiResult::Passed => ("passed", ""),
            CiResult::Failed(why) => ("**failed**", why.as_str()),
            CiResult::Undecided(why) => ("undecided", why.as_str()),
            CiResult::Skipped(why) => ("skipped", why.as_str()),
        };
        let (name, why) = (cell(&case.name), cell(first_line(why)));
        let _ = writeln!(text, "| {word} | {name} | {why} |");
    }
    if ordered.len() > MAX_SUMMARISED {
        let _ = writeln!(text, "\n{} more", ordered.len() - MAX_SUMMARISED);
    }
    text.push('\n');
    let mut file = File::options().append(true).create(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// A text in a cell of a table, where none of it is markup.
fn cell(text: &str) -> String {
    let mut cell = String::new();
    for c in terminal::cleaned(text).chars() {
        match c {
            '&' => cell.push_str("&amp;"),
            '<' => cell.push_str("&lt;"),
            '>' => cell.push_str("&gt;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '!' | '#' | '@' => {
                let _ = write!(cell, "&#{};", c as u32);
            }
            '\n' | '\r' => cell.push(' '),
            c => cell.push(c),
        }
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_text_says_to_github_is_not_heard() {
        let text = "a log said\n::error::mine\n::heisenbed-0::\n";
        let all = annotated(text, &[CiCase::of_status("a:b,c", 1, "why\n100%")]);
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(lines[0], "::stop-commands::heisenbed-1");
        assert_eq!(lines[4], "::heisenbed-1::");
        assert_eq!(lines[5], "::error title=a%3Ab%2Cc::why%0A100%25");
    }

    #[test]
    fn what_goes_to_stderr_gives_no_command() {
        let text = "error: a\n  ::error::mine\nx ##[error]y\n::end";
        assert_eq!(
            harmless(text),
            "error: a\n  : :error::mine\nx ## [error]y\n: :end"
        );
    }

    #[test]
    fn a_cell_has_no_markup() {
        assert_eq!(cell("a|<b>*"), "a&#124;&lt;b&gt;&#42;");
    }
}
