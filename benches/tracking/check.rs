//! How fast a trace is read and checked, and how much memory that takes as the trace grows.
//!
//! Each check runs in a process of its own, this program again, so that its peak memory is that of
//! the check.

use std::path::{Path, PathBuf};
use std::process::Command;

use heisenbed::oracle::{Verdict, check_trace};
use heisenbed::trace::file::TraceFile;

use super::clock::ThreadClock;
use super::memory::peak_kib;
use super::row::{Effort, Row, median, rate};
use super::trace;

const CHILD: &str = "--check-child=";
/// Peaks may differ by this much and still count as flat: what the allocator happens to keep.
const FLAT_KIB: u64 = 2048;

/// The trace that this process is to check for its parent, if it is such a child.
pub fn child_argument(arguments: &[String]) -> Option<PathBuf> {
    arguments
        .iter()
        .find_map(|argument| argument.strip_prefix(CHILD))
        .map(PathBuf::from)
}

/// Checks the trace at `path`, and prints events, seconds and the peak of memory in KiB.
pub fn child(path: PathBuf) {
    let started = ThreadClock::start();
    let trace = TraceFile::open(&path).expect("a trace");
    let report = check_trace(&trace, |_| ()).expect("a sound trace");
    let elapsed = started.seconds();
    assert_eq!(report.verdict, Verdict::Clean);
    println!("{} {elapsed} {}", report.events, peak_kib());
}

/// Events checked a second, and the growth of the peak of memory from a trace to one ten times as
/// long.
pub fn rate_and_memory(effort: Effort) -> Vec<Row> {
    let directory = tempfile::tempdir().expect("a directory");
    // Nearly 8 events an operation, with the server's own.
    let traces = [70_000, 700_000].map(|ops| {
        let path = directory.path().join(format!("{ops}.hb"));
        trace::record(&trace::standard(2, ops), &path);
        path
    });
    let mut figures: [Vec<Figures>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..effort.pick(3, 9) {
        for (figures, path) in figures.iter_mut().zip(&traces) {
            figures.push(check(path));
        }
    }
    let [short, long] = figures.map(|rounds| {
        let seconds: Vec<f64> = rounds.iter().map(|round| round.seconds).collect();
        Figures {
            events: rounds[0].events,
            seconds: median(&seconds),
            peak_kib: rounds.iter().map(|round| round.peak_kib).max().unwrap_or(0),
        }
    });
    let rate_of = |figures: &Figures| figures.events as f64 / figures.seconds;
    vec![
        Row {
            what: format!("check, one core ({:.1} M events)", long.events as f64 / 1e6),
            peer: format!(
                "{} at {:.1} M events",
                rate(rate_of(&short)),
                short.events as f64 / 1e6
            ),
            ours: rate(rate_of(&long)),
            ratio: format!("{:.2}", rate_of(&long) / rate_of(&short)),
            target: "≥ 20 M/s".to_owned(),
            met: Some(rate_of(&long) >= 20e6),
        },
        Row {
            what: format!(
                "check, peak memory ({:.1} M events)",
                long.events as f64 / 1e6
            ),
            peer: format!(
                "{} KiB at {:.1} M events",
                short.peak_kib,
                short.events as f64 / 1e6
            ),
            ours: format!("{} KiB", long.peak_kib),
            ratio: format!("{:.2}", long.peak_kib as f64 / short.peak_kib as f64),
            target: "flat".to_owned(),
            met: Some(long.peak_kib <= short.peak_kib + FLAT_KIB),
        },
    ]
}

/// What a child printed.
struct Figures {
    events: u64,
    seconds: f64,
    peak_kib: u64,
}

fn check(path: &Path) -> Figures {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .arg(format!("{CHILD}{}", path.display()))
        .output()
        .expect("this program runs again");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut words = text.split_whitespace();
    let mut word = || words.next().expect("the child prints three figures");
    Figures {
        events: word().parse().expect("events"),
        seconds: word().parse().expect("seconds"),
        peak_kib: word().parse().expect("KiB"),
    }
}
