//! `heisenbed disciplines`: lists, shows, compares and lints lifecycle disciplines.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit::ExitStatus;
use super::outcome::{CommandOutcome, Format};
use crate::lifecycle::{
    Discipline, DisciplineError, LintFinding, Order, Publication, Severity, builtin, lint, render,
};
use crate::numbers::plural;

/// List, show, compare and lint lifecycle disciplines.
#[derive(Clone, Debug, Args)]
pub(crate) struct DisciplinesArgs {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// The built-in disciplines, with where they come from (the default)
    List,
    /// Draw a discipline's two programs with their lock scopes
    Show {
        /// The name of a built-in discipline, or a TOML file
        #[arg(value_name = "NAME|FILE")]
        discipline: String,
        /// Show it in this release order instead of its own
        #[arg(long)]
        order: Option<Order>,
        /// Show it with this publication instead of its own
        #[arg(long)]
        publish: Option<Publication>,
    },
    /// Say whether two disciplines do the same, but for their names and those of locks of one kind;
    /// exits 1 when they do not
    Compare {
        /// The name of a built-in discipline, or a TOML file
        #[arg(value_name = "NAME|FILE")]
        one: String,
        /// Another one
        #[arg(value_name = "NAME|FILE")]
        other: String,
        /// Take the other one in this release order instead of its own
        #[arg(long)]
        order: Option<Order>,
        /// Take the other one with this publication instead of its own
        #[arg(long)]
        publish: Option<Publication>,
    },
    /// Check that a discipline can be run as it is written; exits 2 when it cannot
    Lint {
        /// A TOML file, or the name of a built-in discipline
        #[arg(value_name = "FILE|NAME")]
        discipline: String,
    },
}

/// Runs the subcommand.
pub(crate) fn run(args: &DisciplinesArgs, format: Format) -> CommandOutcome {
    match args.command.as_ref().unwrap_or(&Command::List) {
        Command::List => list(format),
        Command::Show {
            discipline,
            order,
            publish,
        } => show(discipline, *order, *publish, format),
        Command::Compare {
            one,
            other,
            order,
            publish,
        } => compare((one, other), *order, *publish, format),
        Command::Lint { discipline } => lint_one(discipline, format),
    }
}

fn compare(
    (one, other): (&str, &str),
    order: Option<Order>,
    publish: Option<Publication>,
    format: Format,
) -> CommandOutcome {
    let load =
        |name: &str| builtin::load(name).map_err(|error| CommandOutcome::bad_input(error, format));
    let (mine, theirs) = match (load(one), load(other)) {
        (Ok(mine), Ok(theirs)) => (mine, theirs),
        (Err(outcome), _) | (_, Err(outcome)) => return outcome,
    };
    if let Some((name, _)) = [(one, &mine), (other, &theirs)]
        .into_iter()
        .find(|(_, discipline)| discipline.shares())
    {
        let error = format!(
            "{name}: disciplines with cells, branches or programs of their own are not compared"
        );
        return CommandOutcome::bad_input(error, format);
    }
    let theirs = theirs.with(
        order.unwrap_or(theirs.order()),
        publish.unwrap_or(theirs.publication()),
    );
    let difference = mine.difference(&theirs);
    let stdout = match (format, &difference) {
        (Format::Json, difference) => line_of(&json!({
            "same": difference.is_none(),
            "difference": difference.as_ref().map(|difference| json!({
                "path": difference.path,
                "program": difference.program,
                "step": difference.step + 1,
                "one": difference.one,
                "other": difference.other,
            })),
        })),
        (Format::Human, None) => format!("{one} and {other} do the same\n"),
        (Format::Human, Some(difference)) => format!("{one} and {other} differ: {difference}\n"),
    };
    let status = match difference {
        None => ExitStatus::Holds,
        Some(_) => ExitStatus::Diverged,
    };
    CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: status.code(),
    }
}

fn list(format: Format) -> CommandOutcome {
    let stdout = match format {
        Format::Json => {
            let entry = |discipline: &Discipline| json!({"name": discipline.name, "origin": discipline.origin});
            line_of(&json!({"disciplines": builtin::all().iter().map(entry).collect::<Vec<_>>()}))
        }
        Format::Human => {
            let width = builtin::all()
                .iter()
                .map(|discipline| discipline.name.len())
                .max()
                .unwrap_or(0);
            let line = |discipline: &Discipline| {
                format!("{:width$}  {}\n", discipline.name, discipline.origin)
            };
            builtin::all().iter().map(line).collect()
        }
    };
    CommandOutcome {
        stdout,
        ..CommandOutcome::default()
    }
}

fn show(
    name_or_file: &str,
    order: Option<Order>,
    publish: Option<Publication>,
    format: Format,
) -> CommandOutcome {
    let written = match builtin::load(name_or_file) {
        Ok(discipline) => discipline,
        Err(error) => return bad_input(name_or_file, &error, format),
    };
    let shown = written.with(
        order.unwrap_or(written.order()),
        publish.unwrap_or(written.publication()),
    );
    let (order, publish) = (shown.order(), shown.publication());
    let stdout = match format {
        Format::Json => line_of(&json!({
            "name": shown.name,
            "origin": shown.origin,
            "semantics": shown.semantics,
            "order": order,
            "publish": publish,
            "allocate": shown.allocate,
            "deallocate": shown.deallocate,
            "mesh": shown.mesh,
            "findings": lint(&shown).iter().map(finding_json).collect::<Vec<_>>(),
        })),
        Format::Human => {
            let origin = if shown.origin.is_empty() {
                String::new()
            } else {
                format!(": {}", shown.origin)
            };
            format!(
                "{}{origin}\n{order}, {publish} publication\n\n{}",
                shown.name,
                render(&shown)
            )
        }
    };
    let stderr = match format {
        Format::Human => lint(&shown)
            .iter()
            .map(|finding| finding_line(name_or_file, finding))
            .collect(),
        Format::Json => String::new(),
    };
    CommandOutcome {
        stdout,
        stderr,
        exit_code: 0,
    }
}

fn lint_one(name_or_file: &str, format: Format) -> CommandOutcome {
    let discipline = match builtin::find(name_or_file) {
        Ok(discipline) => discipline,
        Err(error) => return bad_input(name_or_file, &error, format),
    };
    let findings = lint(&discipline);
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    let stdout = match format {
        Format::Json => line_of(&json!({
            "file": name_or_file,
            "accepted": errors == 0,
            "findings": findings.iter().map(finding_json).collect::<Vec<_>>(),
        })),
        Format::Human => {
            let lines: String = findings
                .iter()
                .map(|finding| finding_line(name_or_file, finding))
                .collect();
            let verdict = if errors == 0 { "accepted" } else { "rejected" };
            let count = |count: usize, what: Severity| plural(count as u64, &what.to_string());
            let (errors, warnings) = (
                count(errors, Severity::Error),
                count(findings.len() - errors, Severity::Warning),
            );
            format!(
                "{lines}{}: {verdict}, {errors}, {warnings}\n",
                discipline.name
            )
        }
    };
    CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: if errors == 0 { 0 } else { 2 },
    }
}

/// A discipline that cannot be had at all: one line on stderr; for scripts, the shape of a
/// rejecting lint on stdout.
fn bad_input(file: &str, error: &DisciplineError, format: Format) -> CommandOutcome {
    let stdout = match format {
        Format::Json => {
            line_of(&json!({"file": file, "accepted": false, "findings": [error_json(error)]}))
        }
        Format::Human => String::new(),
    };
    CommandOutcome {
        stdout,
        stderr: format!("{error}\n"),
        exit_code: 2,
    }
}

fn finding_line(file: &str, finding: &LintFinding) -> String {
    format!("{}: {}\n", finding.severity, finding.located(file))
}

fn finding_json(finding: &LintFinding) -> Value {
    json!({
        "severity": finding.severity,
        "program": match finding.named {
            Some(name) => name.to_string(),
            None => finding.program.to_string(),
        },
        "step": finding.step.map(|step| step + 1),
        "line": (finding.line > 0).then_some(finding.line),
        "message": finding.message,
        "remedy": finding.remedy,
    })
}

fn error_json(error: &DisciplineError) -> Value {
    let place =
        |program: Option<&str>, step: Option<usize>, line: u32, message: String, remedy: String| {
            json!({
                "severity": Severity::Error,
                "program": program,
                "step": step,
                "line": line,
                "message": message,
                "remedy": remedy,
            })
        };
    match error {
        DisciplineError::Rejected { finding, .. } => finding_json(finding),
        DisciplineError::Step {
            place: at,
            program,
            number,
            reason,
        } => place(
            Some(program),
            Some(*number),
            at.line,
            reason.to_string(),
            reason.remedy(),
        ),
        DisciplineError::Syntax {
            place: at,
            message,
            remedy,
        } => place(None, None, at.line, message.clone(), remedy.clone()),
        other => json!({"severity": Severity::Error, "message": other.to_string()}),
    }
}

fn line_of(value: &Value) -> String {
    format!("{value}\n")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Parser;

    use super::*;
    use crate::lifecycle::testing::snapshot;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: DisciplinesArgs,
        #[arg(long, value_enum, default_value_t, global = true)]
        format: Format,
    }

    fn outcome(words: &[&str]) -> CommandOutcome {
        let line =
            Line::try_parse_from(["disciplines"].iter().chain(words)).expect("the words are right");
        run(&line.args, line.format)
    }

    fn json_of(words: &[&str]) -> (Value, u8) {
        let outcome = outcome(&[words, &["--format", "json"]].concat());
        (
            serde_json::from_str(&outcome.stdout).expect("one object"),
            outcome.exit_code,
        )
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::Builder::new()
            .suffix(".toml")
            .tempfile()
            .expect("a temporary file");
        file.write_all(text.as_bytes()).expect("it can be written");
        file
    }

    const REJECTED: &str = "name = \"mine\"\nallocate = ['alloc', 'mark-live', 'send ALLOC', 'publish']\n\
                            deallocate = [\n'check-live',\n'send FREE',\n'unlock lifecycle', 'free', 'mark-dead']\n";

    #[test]
    fn list_is_the_default_and_names_every_built_in_with_its_origin() {
        assert_eq!(outcome(&[]), outcome(&["list"]));
        snapshot("disciplines_list", &outcome(&["list"]).stdout);
        let (listed, code) = json_of(&["list"]);
        assert_eq!(
            (listed["disciplines"].as_array().map(Vec::len), code),
            (Some(builtin::all().len()), 0)
        );
    }

    #[test]
    fn show_draws_the_asked_form() {
        let shown = outcome(&[
            "show",
            "lifecycle-wide",
            "--order",
            "free-first",
            "--publish",
            "early",
        ]);
        snapshot("disciplines_show", &shown.stdout);
        assert_eq!((shown.stderr.as_str(), shown.exit_code), ("", 0));
        let (shown, _) = json_of(&["show", "sequenced", "--order", "free-first"]);
        assert_eq!(shown["order"], "free-first");
        assert_eq!(shown["semantics"], "sequenced");
        assert_eq!(shown["deallocate"][2], "free");
    }

    #[test]
    fn lint_of_a_rejected_file_names_the_line_and_exits_2() {
        let file = file(REJECTED);
        let path = file.path().to_str().expect("a plain path");
        let linted = outcome(&["lint", path]);
        assert_eq!(linted.exit_code, 2);
        assert_eq!(
            linted.stdout.replace(path, "my.toml"),
            "error: my.toml:6: unlock lifecycle: the program does not hold it; lock it before, or remove this step\n\
             mine: rejected, 1 error, 0 warnings\n"
        );
        let (linted, code) = json_of(&["lint", path]);
        assert_eq!((linted["accepted"].as_bool(), code), (Some(false), 2));
        assert_eq!(
            (
                &linted["findings"][0]["line"],
                &linted["findings"][0]["step"]
            ),
            (&json!(6), &json!(3))
        );
        let shown = outcome(&["show", path]);
        assert_eq!((shown.stdout.as_str(), shown.exit_code), ("", 2));
        assert!(
            shown.stderr.contains(":6: unlock lifecycle: "),
            "{}",
            shown.stderr
        );
    }

    #[test]
    fn lint_of_an_accepted_discipline_exits_0_also_with_warnings() {
        let file = file(
            &REJECTED
                .replace("'unlock lifecycle', ", "")
                .replace("'check-live',", ""),
        );
        let linted = outcome(&["lint", file.path().to_str().expect("a plain path")]);
        assert_eq!(linted.exit_code, 0, "{}", linted.stdout);
        assert!(
            linted
                .stdout
                .ends_with("mine: accepted, 0 errors, 1 warning\n"),
            "{}",
            linted.stdout
        );
        assert_eq!(outcome(&["lint", "claimed-wide"]).exit_code, 0);
    }

    #[test]
    fn what_cannot_be_read_exits_2_and_is_an_object_for_scripts() {
        let file = file(&REJECTED.replace("send FREE", "sned FREE"));
        let path = file.path().to_str().expect("a plain path");
        let linted = outcome(&["lint", path]);
        assert_eq!((linted.stdout.as_str(), linted.exit_code), ("", 2));
        assert!(
            linted
                .stderr
                .contains(":5:1: deallocate step 2: `sned FREE`: "),
            "{}",
            linted.stderr
        );
        let (linted, code) = json_of(&["lint", path]);
        assert_eq!((linted["findings"][0]["line"].as_u64(), code), (Some(5), 2));
        let (missing, code) = json_of(&["show", "no-such-discipline"]);
        assert_eq!((missing["accepted"].as_bool(), code), (Some(false), 2));
    }
}
