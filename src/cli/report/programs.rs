//! Reproducers of `run` as parts of a page: the program itself is run again, and each of its
//! actions shown with its source line.

use std::path::Path;

use super::{name_of, word};
use crate::cli::run::again::{self, RerunProgram};
use crate::numbers::{grouped, plural};
use crate::report::page::actions;
use crate::report::page::picture::PagePart;

/// The part of the reproducer at `path`.
pub(super) fn part(path: &Path) -> Result<PagePart, String> {
    let RerunProgram {
        reproducer,
        execution,
        rows,
        story,
        told,
        difference,
        changed,
    } = again::for_page(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let file = word(path);
    let verdict = match &execution.failure {
        Some(failure) => failure.kind.to_string(),
        None => "inconclusive".to_owned(),
    };
    let sentence = match (&execution.failure, &difference) {
        (Some(failure), _) => format!("The program fails: {}.", failure.summary),
        (None, Some(difference)) => format!("It cannot be shown again: {difference}."),
        (None, None) => "It did not fail.".to_owned(),
    };
    let mut notes: Vec<String> = Vec::new();
    if let (Some(difference), Some(_)) = (&difference, &execution.failure) {
        notes.push(format!("It is not what was recorded: {difference}."));
    }
    if changed {
        notes.push("The program was changed since this was recorded.".to_owned());
    }
    let program = &reproducer.program;
    let arguments: Vec<String> = std::iter::once(program.path.display().to_string())
        .chain(program.args.iter().cloned())
        .collect();
    let (picture, failures) = actions::picture(execution.threads, &rows);
    Ok(PagePart {
        name: name_of(path),
        what: "a schedule of a program".to_owned(),
        verdict,
        sentence,
        notes,
        facts: vec![
            ("program", arguments.join(" ")),
            ("build id", program.build_id.clone()),
            ("threads", plural(u64::from(execution.threads), "thread")),
            ("steps", grouped(execution.step_count)),
            ("preemptions", grouped(execution.preempted.len() as u64)),
        ],
        commands: vec![
            format!("heisenbed replay {file}"),
            format!("heisenbed replay {file} --adapt"),
            format!("heisenbed shrink {file} -o smaller.toml"),
        ],
        explanation: told,
        text: Some(story),
        divergences: failures,
        picture: Some(picture),
        ..PagePart::default()
    })
}
