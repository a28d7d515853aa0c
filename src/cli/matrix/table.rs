//! The matrix for people: a table a server, with a row a discipline and a column a workload; or a
//! line a cell.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::Cell;
use super::plan::Plan;
use crate::lifecycle::{Order, Publication};
use crate::numbers::{grouped, plural};
use crate::oracle::Verdict;

/// The forms of a discipline, in the order of the marks of a table's cell.
pub(super) const FORMS: [(Order, Publication); 4] = [
    (Order::TrackFirst, Publication::Late),
    (Order::TrackFirst, Publication::Early),
    (Order::FreeFirst, Publication::Late),
    (Order::FreeFirst, Publication::Early),
];

/// One table a server semantics.
pub(super) fn table(cells: &[Cell]) -> String {
    let mut text = format!(
        "Each cell: track-first late, track-first early, free-first late, free-first early\n\
         * proved for any number of threads and operations   + proved for the case: every schedule was \
         searched, none diverges   X diverges   ? not decided   · not asked\n\
         Searched: {} of {} each, of each workload condensed\n",
        most(
            cells.iter().map(|cell| cell.plan.scenario.threads.into()),
            "thread"
        ),
        most(cells.iter().map(|cell| cell.plan.scenario.ops), "operation"),
    );
    if cells.iter().any(|cell| cell.plan.what_if) {
        text.push_str("[ ] as the file is written: this is judged; the others are what-if\n");
    }
    let mut semantics = Vec::new();
    for cell in cells {
        if !semantics.contains(&cell.plan.semantics) {
            semantics.push(cell.plan.semantics);
        }
    }
    for semantics in semantics {
        let of_server: Vec<&Cell> = cells
            .iter()
            .filter(|cell| cell.plan.semantics == semantics)
            .collect();
        let _ = writeln!(text, "\n{semantics} server\n{}", one_table(&of_server));
    }
    text
}

/// As `2 threads`, or `up to 8 operations` where not all have as many.
fn most(counts: impl Iterator<Item = u64> + Clone, noun: &str) -> String {
    let most = counts.clone().max().unwrap_or(0);
    let all = plural(most, noun);
    match counts.min() == Some(most) {
        true => all,
        false => format!("up to {all}"),
    }
}

fn one_table(cells: &[&Cell]) -> Table {
    let workloads = distinct(cells, |plan| &plan.workload);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut header = vec![comfy_table::Cell::new("discipline")];
    header.extend(workloads.iter().map(|workload| {
        comfy_table::Cell::new(short(workload)).set_alignment(CellAlignment::Center)
    }));
    table.set_header(header);
    for discipline in distinct(cells, |plan| &plan.label) {
        let mut row = vec![comfy_table::Cell::new(discipline)];
        for workload in &workloads {
            let marks: Vec<String> = FORMS
                .iter()
                .map(|form| {
                    cells
                        .iter()
                        .find(|cell| {
                            cell.plan.label == discipline
                                && cell.plan.workload == *workload
                                && (cell.plan.order, cell.plan.publish) == *form
                        })
                        .map_or("·".to_owned(), mark)
                })
                .collect();
            row.push(comfy_table::Cell::new(marks.concat()).set_alignment(CellAlignment::Center));
        }
        table.add_row(row);
    }
    table
}

fn distinct<'a>(cells: &[&'a Cell], name: impl Fn(&'a Plan) -> &'a String) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for cell in cells {
        let name = name(&cell.plan);
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

/// A workload's name, so that all fit next to each other.
fn short(workload: &str) -> &str {
    match workload {
        "own-buffers" => "own",
        "shared-free" => "shared",
        "preallocated" => "pre",
        "circular" => "circ",
        "many-devices" => "many",
        "device-close" => "close",
        "real-leak" => "leak",
        _ => workload,
    }
}

fn mark(cell: &&Cell) -> String {
    let mark = match cell.verdict {
        Verdict::Proved if cell.abstract_states.is_some() => "*",
        Verdict::Proved | Verdict::Clean => "+",
        Verdict::Diverged => "X",
        Verdict::Inconclusive => "?",
    };
    // Only where a discipline has what-if cells does it matter which one is judged.
    match cell.plan.written {
        Some(_) if !cell.plan.what_if && cell.plan.has_what_ifs => format!("[{mark}]"),
        _ => mark.to_owned(),
    }
}

/// One line a cell.
pub(super) fn list(cells: &[Cell]) -> String {
    let mut text = String::new();
    for cell in cells {
        let plan = &cell.plan;
        let _ = write!(
            text,
            "{:16} {:11} {:5} {:12} {:9} ",
            plan.label, plan.order, plan.publish, plan.workload, plan.semantics
        );
        let what_if = if plan.what_if { " (what if)" } else { "" };
        let kinds: Vec<&str> = cell.kinds().iter().map(|kind| kind.name()).collect();
        let _ = match (cell.verdict, cell.size()) {
            (Verdict::Diverged, Some(size)) => writeln!(
                text,
                "diverged ({} threads, {} ops, {} preemptions): {}{what_if}",
                size.threads,
                size.ops,
                size.preemptions,
                kinds.join(", ")
            ),
            (Verdict::Diverged, None) => writeln!(text, "diverged: {}{what_if}", kinds.join(", ")),
            (verdict, _) => {
                writeln!(text, "{verdict} ({} states){what_if}", grouped(cell.states))
            }
        };
    }
    text.push('\n');
    text
}
