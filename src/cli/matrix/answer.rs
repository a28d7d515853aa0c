//! What the matrix comes to, in words and in JSON: which of the proposed fixes works, which does
//! not, which is not decided; and which is the cheapest that does.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Cell;
use super::standing::{Standing, Tallied, Works};
use crate::lifecycle::{Order, Publication};
use crate::numbers::plural;
use crate::oracle::Verdict;

/// All that the matrix has to say.
pub(super) struct Answer<'a> {
    pub(super) cells: &'a [Cell],
    pub(super) standings: Vec<Standing>,
    pub(super) interrupted: bool,
    pub(super) elapsed_s: f64,
}

impl Answer<'_> {
    /// Of the cells that are judged: diverged if one is, proved if all are.
    pub(super) fn verdict(&self) -> Verdict {
        let any = |verdict| {
            let mut judged = self.cells.iter().filter(|cell| !cell.plan.what_if);
            judged.any(|cell| cell.verdict == verdict)
        };
        if any(Verdict::Diverged) {
            Verdict::Diverged
        } else if any(Verdict::Inconclusive) || self.cells.is_empty() {
            Verdict::Inconclusive
        } else {
            Verdict::Proved
        }
    }

    /// What becomes of each discipline, for scripts.
    pub(super) fn json(&self) -> Value {
        let tallied = |tallied: &Tallied| {
            json!({
                "works": tallied.works(),
                "cells": tallied.cells,
                "diverged": tallied.diverged,
                "undecided": tallied.undecided,
                "diverging": tallied.diverging,
                "open": tallied.open,
            })
        };
        let standing = |standing: &Standing| {
            let mut value = tallied(&standing.judged);
            value["discipline"] = json!(standing.label);
            let written = standing.written.map(|(order, publish)| {
                json!({ "order": order, "publish": publish, "judged": !standing.asked_otherwise })
            });
            value["written"] = json!(written);
            let what_ifs = standing.what_ifs.iter().map(|((order, publish), what_if)| {
                let mut value = tallied(what_if);
                value["order"] = json!(order);
                value["publish"] = json!(publish);
                value
            });
            value["what_if"] = what_ifs.collect();
            value
        };
        self.standings.iter().map(standing).collect()
    }

    /// The summary below the table.
    pub(super) fn in_words(&self) -> String {
        let count = |verdict| {
            let cells = self.cells.iter();
            cells.filter(|cell| cell.verdict == verdict).count() as u64
        };
        let open = count(Verdict::Inconclusive);
        let mut text = format!(
            "{}: {} proved, {} diverged, {open} not decided, in {:.1} s\n",
            plural(self.cells.len() as u64, "cell"),
            count(Verdict::Proved),
            count(Verdict::Diverged),
            self.elapsed_s,
        );
        self.write_why_open(&mut text);
        let (own, scopes): (Vec<&Standing>, Vec<&Standing>) = self
            .standings
            .iter()
            .partition(|standing| standing.written.is_some());
        for standing in own {
            write_own(&mut text, standing);
        }
        if !scopes.is_empty() {
            write_scopes(&mut text, &scopes);
        }
        for note in self.notes() {
            let _ = writeln!(text, "note: {note}");
        }
        if let Some(same) = self.same_divergences("unlocked", "lifecycle-narrow") {
            let _ = writeln!(
                text,
                "lifecycle-narrow {} unlocked: {} divergences in each of its cells.",
                if same {
                    "is no better than"
                } else {
                    "differs from"
                },
                if same {
                    "the same kinds of"
                } else {
                    "not the same"
                }
            );
        }
        text
    }

    /// What else is to be known: of mesh buffers, that a discipline of the user's says nothing.
    pub(super) fn notes(&self) -> Vec<String> {
        let says_nothing = |cell: &&Cell| {
            let plan = &cell.plan;
            plan.written.is_some() && plan.discipline.mesh.is_none() && plan.scenario.has_mesh()
        };
        let cells = self.cells.iter().filter(says_nothing);
        let labels: BTreeSet<&str> = cells.map(|cell| cell.plan.label.as_str()).collect();
        let note = |label: &str| {
            format!(
                "{label} has no [mesh]: the parts of a mesh buffer went through its two programs, one \
                 after the other. Is that what your code does? The reported code gives the address \
                 back before it releases the views (`heisenbed disciplines show lifecycle-wide`)"
            )
        };
        labels.into_iter().map(note).collect()
    }

    /// Why cells are not decided, each reason once.
    fn write_why_open(&self, text: &mut String) {
        if self.interrupted {
            text.push_str(
                "interrupted: what was not decided by then is neither proved nor refuted\n",
            );
            return;
        }
        const SHOWN: usize = 3;
        let open = self.cells.iter();
        let open = open.filter(|cell| cell.verdict == Verdict::Inconclusive);
        let whys: BTreeSet<&str> = open.filter_map(|cell| cell.note.as_deref()).collect();
        for why in whys.iter().take(SHOWN) {
            let _ = writeln!(text, "not decided: {why}");
        }
        if whys.len() > SHOWN {
            let _ = writeln!(text, "not decided: … (all in --format json)");
        }
    }

    /// Whether two disciplines show the same kinds in each cell that both have; `None` where they
    /// have none in common, or one is not decided.
    fn same_divergences(&self, a: &str, b: &str) -> Option<bool> {
        let of = |name: &str| -> Option<Vec<_>> {
            let cells = self.cells.iter();
            let cells: Vec<&Cell> = cells
                .filter(|cell| cell.plan.written.is_none() && cell.plan.discipline.name == name)
                .collect();
            let decided = cells
                .iter()
                .all(|cell| cell.verdict != Verdict::Inconclusive);
            let key = |cell: &&Cell| {
                let plan = &cell.plan;
                let key = (
                    plan.order,
                    plan.publish,
                    plan.workload.clone(),
                    plan.semantics,
                );
                (key, cell.verdict, cell.kinds())
            };
            (decided && !cells.is_empty()).then(|| cells.iter().map(key).collect())
        };
        Some(of(a)? == of(b)?)
    }
}

/// A discipline of the user's: what its judged form comes to, then the others.
fn write_own(text: &mut String, standing: &Standing) {
    let form = |(order, publish): (Order, Publication)| format!("{order}, {publish} publication");
    let as_what = match (standing.written, standing.asked_otherwise) {
        (Some(written), false) => format!("as it is written ({})", form(written)),
        (Some(written), true) => format!("as asked, though it is written {}", form(written)),
        (None, _) => String::new(),
    };
    let _ = writeln!(text, "\nDoes {} work, {as_what}?", standing.label);
    let judged = &standing.judged;
    let _ = writeln!(text, "  {}", sentence(judged));
    if !standing.what_ifs.is_empty() {
        let _ = writeln!(text, "What if it were (shown, not judged):");
    }
    for (other, tallied) in &standing.what_ifs {
        let _ = writeln!(text, "  {}: {}", form(*other), sentence(tallied));
    }
}

/// What some cells of a discipline come to.
fn sentence(tallied: &Tallied) -> String {
    let cells = plural(tallied.cells as u64, "cell");
    let proved = tallied.cells - tallied.diverged - tallied.undecided;
    let open = match tallied.undecided {
        0 => String::new(),
        open => format!("; {open} not decided: {}", join(&tallied.open)),
    };
    match tallied.works() {
        Works::Everywhere => format!(
            "works: proved in {}",
            match tallied.cells {
                1 => "its cell".to_owned(),
                _ => format!("all {cells}"),
            }
        ),
        Works::WhereReleasedOnce if proved == 0 => format!(
            "does not work where two threads release one buffer ({} of {cells} diverge: {}); nothing else was asked",
            tallied.diverged,
            join(&tallied.diverging),
        ),
        Works::WhereReleasedOnce => format!(
            "works in every workload but where two threads release one buffer: proved in {proved} of {cells}; {} diverge: {}",
            tallied.diverged,
            join(&tallied.diverging),
        ),
        Works::No => format!(
            "does not work: {} of {cells} diverge: {}{open}",
            tallied.diverged,
            join(&tallied.diverging),
        ),
        Works::Undecided => {
            let shared = match tallied.diverged {
                0 => String::new(),
                diverged => format!(
                    "; {diverged} diverge, where two threads release one buffer: {}",
                    join(&tallied.diverging)
                ),
            };
            format!("undecided: {proved} of {cells} proved{shared}{open}")
        }
    }
}

/// The lock scopes that ship with heisenbed: which works in all its forms, and which is the
/// cheapest.
fn write_scopes(text: &mut String, scopes: &[&Standing]) {
    let works = |wanted: Works| -> Vec<&Standing> {
        let mut works: Vec<&Standing> = scopes
            .iter()
            .copied()
            .filter(|standing| standing.works() == wanted)
            .collect();
        works.sort_by_key(|standing| standing.cost);
        works
    };
    let (everywhere, one_owner) = (works(Works::Everywhere), works(Works::WhereReleasedOnce));
    let _ = writeln!(text, "\nWhich fix works?");
    write_works(text, "in every cell", &everywhere);
    write_works(
        text,
        "in every cell but where two threads release one buffer",
        &one_owner,
    );
    for standing in scopes {
        let judged = &standing.judged;
        let open = match judged.undecided {
            0 => String::new(),
            open => format!("; {open} not decided: {}", join(&judged.open)),
        };
        let _ = match standing.works() {
            Works::Everywhere | Works::WhereReleasedOnce => Ok(()),
            Works::No => writeln!(
                text,
                "  does not work: {} ({} of {} cells diverge: {}{open})",
                standing.label,
                judged.diverged,
                judged.cells,
                join(&judged.diverging)
            ),
            Works::Undecided => {
                writeln!(text, "  {}: {}", standing.label, sentence(judged))
            }
        };
    }
    let undecided = works(Works::Undecided);
    let but = match undecided.is_empty() {
        true => "",
        false => " of those that are decided",
    };
    if let Some(cheapest) = everywhere.first() {
        let _ = writeln!(
            text,
            "The cheapest that works everywhere{but}: {} ({}).",
            cheapest.label,
            cheapest.price()
        );
    }
    if let Some(cheapest) = everywhere.iter().find(|standing| !standing.needs_server)
        && everywhere.first().is_some_and(|first| first.needs_server)
    {
        let _ = writeln!(
            text,
            "The cheapest that leaves the server as it is{but}: {} ({}).",
            cheapest.label,
            cheapest.price()
        );
    }
    if let Some(cheapest) = one_owner.first() {
        let _ = writeln!(
            text,
            "The cheapest where every buffer is released once{but}: {} ({}).",
            cheapest.label,
            cheapest.price()
        );
    }
}

fn write_works(text: &mut String, what: &str, standings: &[&Standing]) {
    let names: Vec<String> = standings
        .iter()
        .map(|standing| {
            let server = if standing.needs_server {
                " (with a server of its own)"
            } else {
                ""
            };
            format!("{}{server}", standing.label)
        })
        .collect();
    if !names.is_empty() {
        let _ = writeln!(text, "  works {what}: {}", names.join(", "));
    }
}

fn join(names: &BTreeSet<String>) -> String {
    names.iter().cloned().collect::<Vec<_>>().join(", ")
}
