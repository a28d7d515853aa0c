//! Which cells a matrix has, before any is searched, and which of them are judged.
//!
//! A discipline of the user's is a protocol: it has an order of release and a publication, and that
//! form is judged. Its other forms are shown as *what-if*. A built-in one is a lock scope, which is
//! judged in all its forms, and so is a file under the switches that were asked for, where its own
//! form is none of these.

use std::collections::BTreeSet;

use super::MatrixArgs;
use crate::campaign::target::pairs;
use crate::lifecycle::{self, Discipline, Order, Publication};
use crate::registry::Semantics;
use crate::scenario::{Condensed, Scenario, ScenarioFile};

/// One cell before it is searched.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// What the discipline is called in the table.
    pub(super) label: String,
    /// What was asked for: a name, or a file.
    pub(super) asked: String,
    pub(super) discipline: Discipline,
    /// Which form a discipline of the user's is written in; `None` for a built-in one.
    pub(super) written: Option<(Order, Publication)>,
    pub(super) order: Order,
    pub(super) publish: Publication,
    /// Whether it is only shown, and not judged.
    pub(super) what_if: bool,
    /// Whether other forms of its discipline are.
    pub(super) has_what_ifs: bool,
    pub(super) workload: String,
    pub(super) semantics: Semantics,
    pub(super) scenario: Scenario,
    /// What was left out of the workload.
    pub(super) condensed: Condensed,
}

impl Plan {
    /// Whether two threads release one buffer in it.
    pub(super) fn shares_releases(&self) -> bool {
        self.scenario.workload.shared > 0
    }
}

/// All cells, in the order of the table.
pub(super) fn plans(args: &MatrixArgs, seed: Option<u64>) -> Result<Vec<Plan>, String> {
    let names: Vec<String> = if args.discipline.is_empty() {
        lifecycle::builtin::all()
            .iter()
            .map(|discipline| discipline.name.clone())
            .collect()
    } else {
        let mut seen = BTreeSet::new();
        let asked = args.discipline.iter();
        asked.filter(|name| seen.insert(*name)).cloned().collect()
    };
    let disciplines = names
        .iter()
        .map(|name| lifecycle::load(name))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let mut plans = Vec::new();
    for (asked, discipline) in names.iter().zip(&disciplines) {
        let same_name = disciplines
            .iter()
            .filter(|other| other.name == discipline.name);
        let label = match same_name.count() {
            1 => discipline.name.clone(),
            _ => format!("{} ({asked})", discipline.name),
        };
        let is_file = lifecycle::builtin::get(asked).is_none();
        let written = is_file.then(|| (discipline.order(), discipline.publication()));
        let forms = match discipline.shares() {
            // It stands as it is written: no step of it can be moved.
            true => vec![(discipline.order(), discipline.publication())],
            false => pairs(
                &or_all(&args.order, [Order::TrackFirst, Order::FreeFirst]),
                &or_all(&args.publish, [Publication::Late, Publication::Early]),
            ),
        };
        let judged = written.filter(|written| forms.contains(written));
        let semantics = discipline
            .semantics
            .map_or(args.semantics.clone(), |own| vec![own]);
        for (semantics, workload) in pairs(&semantics, &args.workload) {
            for (order, publish) in &forms {
                let (order, publish) = (*order, *publish);
                let mut file = ScenarioFile::load(&workload).map_err(|error| error.to_string())?;
                file.discipline.clone_from(asked);
                file.seed = seed.unwrap_or(file.seed);
                (file.order, file.publish) = (Some(order), Some(publish));
                file.semantics = Some(semantics);
                let small = file.clone().condensed(args.threads, args.ops);
                let scenario = small.resolve().map_err(|error| error.to_string())?;
                // What was asked for is not left out.
                file.threads = args.threads.unwrap_or(file.threads);
                file.ops = args.ops.unwrap_or(file.ops);
                plans.push(Plan {
                    label: label.clone(),
                    asked: asked.clone(),
                    discipline: discipline.clone(),
                    written,
                    order,
                    publish,
                    what_if: judged.is_some_and(|judged| judged != (order, publish)),
                    has_what_ifs: judged.is_some() && forms.len() > 1,
                    workload: workload.clone(),
                    semantics,
                    condensed: Condensed::of(&file, &scenario),
                    scenario,
                });
            }
        }
    }
    Ok(plans)
}

fn or_all<T: Copy + PartialEq>(asked: &[T], all: [T; 2]) -> Vec<T> {
    if asked.is_empty() {
        return all.to_vec();
    }
    all.into_iter().filter(|one| asked.contains(one)).collect()
}
