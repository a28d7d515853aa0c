//! A discipline for people: its programs side by side, with a bar along each step that a lock
//! covers.
//!
//! Not for parsing: the machine form is the TOML, or the JSON of `heisenbed disciplines show`.

use std::fmt::Write;

use super::discipline::{Discipline, Program};
use super::shared::SharedStep;
use super::step::{Lock, MicroStep};

/// Two columns, `allocate | deallocate`, one step a row, lock scopes drawn as brackets. Ends with a
/// newline.
///
/// Programs for mesh buffers follow, in the same way; then the discipline's own programs, and what
/// it declares.
pub(crate) fn render(discipline: &Discipline) -> String {
    let mut text = side_by_side(
        &column("allocate", &discipline.allocate),
        &column("deallocate", &discipline.deallocate),
    );
    if let Some(mesh) = &discipline.mesh {
        text.push('\n');
        text += &side_by_side(
            &column("allocate a mesh buffer", &mesh.allocate),
            &column("deallocate a mesh buffer", &mesh.deallocate),
        );
    }
    for (name, program) in &discipline.programs {
        text.push('\n');
        for (at, row) in column(name.as_str(), program).iter().enumerate() {
            let _ = writeln!(text, "{}", row.trim_end());
            if at == 0 {
                let _ = writeln!(text, "{:-<1$}", "", row.chars().count());
            }
        }
    }
    if !discipline.cells.is_empty() {
        text.push_str("\ncells\n-----\n");
    }
    for (name, spec) in &discipline.cells {
        let _ = writeln!(text, "{name} = {spec}");
    }
    text
}

fn side_by_side(left: &[String], right: &[String]) -> String {
    let width = left
        .iter()
        .map(|row| row.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for row in 0..left.len().max(right.len()) {
        let cell = |column: &[String]| column.get(row).cloned().unwrap_or_default();
        let line = format!("{:width$} | {}", cell(left), cell(right));
        text.push_str(line.trim_end());
        text.push('\n');
        if row == 0 {
            let rule = right
                .iter()
                .map(|row| row.chars().count())
                .max()
                .unwrap_or(0);
            let _ = writeln!(text, "{:-<width$}-+-{:-<rule$}", "", "");
        }
    }
    text
}

/// A heading and one row a step, those for each device set in. A lock keeps its own lane while it
/// is held, also when locks do not nest.
fn column(heading: &str, program: &Program) -> Vec<String> {
    let mut lanes: Vec<Option<Lock>> = Vec::new();
    let mut rows = vec![heading.to_owned()];
    let mut depth = 0usize;
    for step in program.steps().iter().copied() {
        let mut marked = None;
        if let MicroStep::Lock(lock) | MicroStep::Shared(SharedStep::LockShared(lock)) = step {
            let lane = lanes
                .iter()
                .position(Option::is_none)
                .unwrap_or(lanes.len());
            if lane == lanes.len() {
                lanes.push(None);
            }
            lanes[lane] = Some(lock);
            marked = Some((lane, '┌'));
        }
        if let MicroStep::Unlock(lock) | MicroStep::Shared(SharedStep::UnlockShared(lock)) = step {
            marked = lanes
                .iter()
                .position(|lane| *lane == Some(lock))
                .map(|lane| (lane, '└'));
        }
        let mut row = String::new();
        for (at, lane) in lanes.iter().enumerate() {
            let bar = match (lane, marked) {
                (_, Some((lane, corner))) if lane == at => corner,
                (Some(_), _) => '│',
                (None, _) => ' ',
            };
            row.extend([bar, ' ']);
        }
        let is_else = step == MicroStep::Shared(SharedStep::Else);
        if step == MicroStep::End || is_else {
            depth = depth.saturating_sub(1);
        }
        row.push_str(&"  ".repeat(depth));
        row.push_str(&step.to_string());
        rows.push(row);
        let opens = matches!(step, MicroStep::Shared(shared) if shared.opens());
        if step == MicroStep::EachDevice || is_else || opens {
            depth += 1;
        }
        if let Some((lane, '└')) = marked {
            lanes[lane] = None;
            while lanes.last().is_some_and(Option::is_none) {
                lanes.pop();
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_that_do_not_nest_keep_their_lanes() {
        let steps = [
            "lock global",
            "lock tracker",
            "unlock global",
            "free",
            "unlock tracker",
            "unlock global",
        ];
        let program =
            Program::new(steps.map(|step| step.parse().expect("a known step"))).expect("short");
        let expected = [
            "deallocate",
            "┌ lock global",
            "│ ┌ lock tracker",
            "└ │ unlock global",
            "  │ free",
            "  └ unlock tracker",
            "unlock global",
        ];
        assert_eq!(column("deallocate", &program), expected);
    }

    #[test]
    fn blocks_are_set_in_and_shared_locks_have_a_lane() {
        let steps = [
            "lock-shared global",
            "if size > 4096",
            "use buffer",
            "else",
            "return",
            "end",
            "unlock-shared global",
        ];
        let program =
            Program::new(steps.map(|step| step.parse().expect("a known step"))).expect("short");
        let expected = [
            "read",
            "┌ lock-shared global",
            "│ if size > 4096",
            "│   use buffer",
            "│ else",
            "│   return",
            "│ end",
            "└ unlock-shared global",
        ];
        assert_eq!(column("read", &program), expected);
    }
}
