//! What was measured, as markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::measure::{Measured, Trial};
use crate::options::{Options, SAFESTACK};
use crate::programs::{Program, Published};

/// All tables.
pub fn markdown(
    options: &Options,
    programs: &[&Program],
    measured: &Measured,
    published: &Published,
) -> String {
    let mut text = format!(
        "Schedules to the first failure, seeds 1 to {}, at most {} schedules and {} s a search: \
         found, median (worst). Published figures are means, were not run here, and are about \
         other programs of the same idiom; in brackets, where the shape is another.\n\n",
        options.seeds, options.schedules, options.seconds
    );
    let (usual, apart): (Vec<&Program>, Vec<&Program>) = programs
        .iter()
        .partition(|program| program.name != SAFESTACK);
    if !usual.is_empty() {
        found(&mut text, options, &usual, measured, published);
        beside(&mut text, options, &usual, measured, published);
    }
    if !apart.is_empty() {
        text.push_str("\nSafeStack:\n\n");
        found(&mut text, options, &apart, measured, published);
    }
    wrong(&mut text, options, programs, measured);
    text
}

/// Of the twins: schedules that were run, and what was said to be wrong.
pub fn twins(options: &Options, programs: &[&Program], measured: &Measured) -> String {
    let strategies = &options.strategies;
    let mut text = format!(
        "Correct twins, by {}, {} schedules each:\n\n\
         | twin | schedules | alarms | a second |\n|---|---|---|---|\n",
        strategies.join(", "),
        options.schedules
    );
    let (mut all, mut alarms) = (0, 0);
    for program in programs {
        let by = |strategy: &String| measured.trials(&program.twin, strategy);
        let trials: Vec<&Trial> = strategies.iter().flat_map(by).collect();
        let schedules: u64 = trials.iter().map(|trial| trial.schedules).sum();
        let seconds: f64 = trials.iter().map(|trial| trial.seconds).sum();
        let kinds: Vec<&str> = trials
            .iter()
            .filter_map(|trial| trial.kind.as_deref())
            .collect();
        let (name, said) = (&program.twin, kinds.join(", "));
        let rate = schedules as f64 / seconds.max(1e-9);
        let _ = writeln!(text, "| {name} | {schedules} | {said} | {rate:.0} |");
        all += schedules;
        alarms += kinds.len();
    }
    let _ = writeln!(text, "| all | {all} | {alarms} | |");
    text
}

fn found(
    text: &mut String,
    options: &Options,
    programs: &[&Program],
    measured: &Measured,
    published: &Published,
) {
    let _ = writeln!(
        text,
        "| program | {} | published best |",
        options.strategies.join(" | ")
    );
    let _ = writeln!(text, "|---|{}---|", "---|".repeat(options.strategies.len()));
    for program in programs {
        let _ = write!(text, "| {} |", program.name);
        for strategy in &options.strategies {
            let _ = write!(
                text,
                " {} |",
                cell(&measured.trials(&program.name, strategy), &program.fails)
            );
        }
        let row = program.beside.as_ref().and_then(|row| published.get(row));
        let best = row
            .into_iter()
            .flatten()
            .min_by(|(_, one), (_, other)| one.total_cmp(other));
        let best = best.map_or(String::new(), |(column, mean)| {
            if program.same_shape {
                format!("{mean} ({column})")
            } else {
                format!("[{mean} ({column})]")
            }
        });
        let _ = writeln!(text, " {best} |");
    }
    let _ = write!(text, "| schedules a second |");
    for strategy in &options.strategies {
        let trials = programs
            .iter()
            .flat_map(|program| measured.trials(&program.name, strategy));
        let (schedules, seconds) = trials.fold((0, 0.0), |(schedules, seconds), trial| {
            (schedules + trial.schedules, seconds + trial.seconds)
        });
        let _ = write!(text, " {:.0} |", schedules as f64 / seconds.max(1e-9));
    }
    text.push_str(" |\n");
}

/// Geometric means of means over the rows that both have.
fn beside(
    text: &mut String,
    options: &Options,
    programs: &[&Program],
    measured: &Measured,
    published: &Published,
) {
    let columns: BTreeSet<&String> = published.values().flat_map(|row| row.keys()).collect();
    let strategies = options.strategies.join(" | ");
    let _ = writeln!(
        text,
        "\nGeometric means of the mean schedules, over the programs of the same shape that a column found in\n\
         every trial. What was not found counts as the limit.\n\n\
         | column | programs | published | {strategies} |\n|---|---|---|{}",
        "---|".repeat(options.strategies.len())
    );
    for column in columns {
        let rows: Vec<(&&Program, f64)> = programs
            .iter()
            .filter(|program| program.same_shape)
            .filter_map(|program| {
                let row = published.get(program.beside.as_ref()?)?;
                Some((program, *row.get(column)?))
            })
            .collect();
        if rows.is_empty() {
            continue;
        }
        let theirs = geometric(rows.iter().map(|(_, mean)| *mean));
        let _ = write!(text, "| {column} | {} | {theirs:.1} |", rows.len());
        for strategy in &options.strategies {
            let means = rows
                .iter()
                .map(|(program, _)| of(program, measured, strategy, options));
            let _ = write!(text, " {:.1} |", geometric(means));
        }
        text.push('\n');
    }
    let _ = write!(text, "| all of ours | {} | |", programs.len());
    for strategy in &options.strategies {
        let means = programs
            .iter()
            .map(|program| of(program, measured, strategy, options));
        let _ = write!(text, " {:.1} |", geometric(means));
    }
    text.push('\n');
}

/// Failures of another kind than the program's, and searches that the time ended.
fn wrong(text: &mut String, options: &Options, programs: &[&Program], measured: &Measured) {
    let (mut any, mut cut) = (false, 0u64);
    for program in programs {
        for strategy in &options.strategies {
            let trials = measured.trials(&program.name, strategy);
            let ended =
                |trial: &&&Trial| trial.found.is_none() && trial.schedules < options.schedules;
            cut += trials.iter().filter(ended).count() as u64;
            let mut others: BTreeMap<&str, u64> = BTreeMap::new();
            let kinds = trials.iter().filter_map(|trial| trial.kind.as_deref());
            for kind in kinds.filter(|kind| *kind != program.fails) {
                *others.entry(kind).or_default() += 1;
            }
            for (kind, count) in others {
                any = true;
                let _ = writeln!(
                    text,
                    "\n{} by {strategy}: {count} of {} showed {kind} only, not {}",
                    program.name,
                    trials.len(),
                    program.fails
                );
            }
        }
    }
    if !any {
        text.push_str("\nEvery failure was of the kind that was planted.\n");
    }
    if cut > 0 {
        let _ = writeln!(text, "\n{cut} searches were ended by the time.");
    }
}

/// How many schedules it took to what was planted; another failure is not it.
fn schedules(trial: &Trial, fails: &str) -> Option<u64> {
    trial.found.filter(|_| trial.kind.as_deref() == Some(fails))
}

fn cell(trials: &[&Trial], fails: &str) -> String {
    let found = trials.iter().filter_map(|trial| schedules(trial, fails));
    let mut found: Vec<u64> = found.collect();
    found.sort_unstable();
    let of = format!("{}/{}", found.len(), trials.len());
    match (found.get(found.len() / 2), found.last()) {
        (Some(median), Some(worst)) => format!("{of}, {median} ({worst})"),
        _ => of,
    }
}

fn mean(trials: &[&Trial], fails: &str, options: &Options) -> f64 {
    let sum: u64 = trials
        .iter()
        .map(|trial| schedules(trial, fails).unwrap_or(options.schedules))
        .sum();
    sum as f64 / trials.len().max(1) as f64
}

fn of(program: &Program, measured: &Measured, strategy: &str, options: &Options) -> f64 {
    let trials = measured.trials(&program.name, strategy);
    mean(&trials, &program.fails, options)
}

fn geometric(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| {
        (sum + value.max(1.0).ln(), count + 1.0)
    });
    f64::exp(sum / f64::max(count, 1.0))
}
