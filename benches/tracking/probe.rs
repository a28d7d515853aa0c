//! How often the race shows: with and without recording, with and without perturbation.

use heisenbed::oracle::{Verdict, check_trace, rest};
use heisenbed::scenario::Scenario;
use heisenbed::trace::event::ReceiveCode;
use heisenbed::trace::file::TraceFile;

use super::row::{Effort, Row, median};
use super::trace;

/// Race rates of runs that take turns: recorded, and not.
pub fn effect_of_recording(effort: Effort) -> Vec<Row> {
    vec![
        effect(
            "no perturbation",
            &trace::racy(20_000, false),
            effort.pick(40, 400),
        ),
        effect("--perturb", &trace::racy(2_000, true), effort.pick(20, 100)),
    ]
}

/// Races (releases that the server did not know, and allocations where it still saw a buffer) for
/// each 1,000 pairs, counted by the server alike whether the run is recorded or not.
fn effect(name: &str, scenario: &Scenario, runs: u64) -> Row {
    let pairs = scenario.ops as f64 * f64::from(scenario.threads) / 2.0;
    let rate = |run, record| {
        let result = trace::play(scenario, run, record);
        let received = result.received.expect("the server is in this process");
        let races =
            received[ReceiveCode::UnknownFree as usize] + received[ReceiveCode::Replaced as usize];
        races as f64 / pairs * 1000.0
    };
    let (mut recorded, mut unrecorded) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let file = || Some(tempfile::tempfile().expect("a file"));
        // Which goes first changes from run to run.
        if run % 2 == 0 {
            recorded.push(rate(run, file()));
            unrecorded.push(rate(run, None));
        } else {
            unrecorded.push(rate(run, None));
            recorded.push(rate(run, file()));
        }
    }
    let (with, with_error) = mean(&recorded);
    let (without, without_error) = mean(&unrecorded);
    let ratio = with / without;
    let error = ratio * ((with_error / with).powi(2) + (without_error / without).powi(2)).sqrt();
    let diverged = |rates: &[f64]| {
        100.0 * rates.iter().filter(|rate| **rate > 0.0).count() as f64 / rates.len() as f64
    };
    Row {
        what: format!("probe effect, {name} ({runs} + {runs} runs): races per 1,000 pairs"),
        peer: format!(
            "not recorded {without:.3} ± {without_error:.3} (median {:.2}, {:.0} % of runs)",
            median(&unrecorded),
            diverged(&unrecorded)
        ),
        ours: format!(
            "recorded {with:.3} ± {with_error:.3} (median {:.2}, {:.0} % of runs)",
            median(&recorded),
            diverged(&recorded)
        ),
        ratio: format!("{ratio:.2} ± {error:.2}"),
        target: "0.8 to 1.25".to_owned(),
        met: Some((0.8..=1.25).contains(&ratio)),
    }
}

/// The share of 1,000-pair runs that diverge.
pub fn bug_probability(effort: Effort) -> Vec<Row> {
    let runs = effort.pick(50, 300);
    // 1,000 pairs in all, half of them on each thread.
    let share = |perturb| {
        let scenario = trace::racy(1_000, perturb);
        let diverged = (0..runs).filter(|run| diverges(&scenario, *run)).count();
        100.0 * diverged as f64 / runs as f64
    };
    let (plain, perturbed) = (share(false), share(true));
    vec![Row {
        what: format!("free-first + narrow, 2 threads, 1,000 pairs: runs that diverge of {runs}"),
        peer: format!("plain threads {plain:.1} %"),
        ours: format!("--perturb {perturbed:.1} %"),
        ratio: format!("{:.1}", perturbed / plain),
        target: "≥ 99 %".to_owned(),
        met: Some(perturbed >= 99.0),
    }]
}

fn diverges(scenario: &Scenario, run: u64) -> bool {
    let file = tempfile::tempfile().expect("a file");
    let again = file.try_clone().expect("the same file");
    let result = trace::play(scenario, run, Some(file));
    let trace = TraceFile::from_file(again, std::path::Path::new("(temporary)"))
        .expect("what was just written");
    let report = check_trace(&trace, |_| ()).expect("a sound trace");
    let weaker = rest::check_unrecorded(scenario, &result.unrecorded());
    assert!(
        weaker.verdict != Verdict::Diverged || report.verdict == Verdict::Diverged,
        "the exact check sees what the weaker one sees"
    );
    report.verdict == Verdict::Diverged
}

/// Mean and its standard error.
fn mean(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / (count - 1.0);
    (mean, (variance / count).sqrt())
}
