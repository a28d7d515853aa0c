//! What a benchmark reports, and the table of it.

use std::fmt::Write as _;

/// How many repetitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// For a look.
    Quick,
    /// For figures that are quoted.
    Full,
}

impl Effort {
    /// `full` repetitions, or `quick` ones.
    pub fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Effort::Quick => quick,
            Effort::Full => full,
        }
    }
}

/// One benchmark: its name, and what it measures.
pub type Bench = (&'static str, fn(Effort) -> Vec<Row>);

/// Runs those of `benches` that the command line asks for: `--quick`, and parts of names.
pub fn measured(benches: &[Bench], arguments: &[String]) -> Vec<Row> {
    let effort = if arguments.iter().any(|argument| argument == "--quick") {
        Effort::Quick
    } else {
        Effort::Full
    };
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let mut rows = Vec::new();
    for (name, measure) in benches {
        if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
            eprintln!("{name} …");
            rows.extend(measure(effort));
        }
    }
    rows
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The peer's figure, with its name.
    pub peer: String,
    /// Our figure.
    pub ours: String,
    /// Ours to the peer's.
    pub ratio: String,
    /// The target, in words; empty where the row is there for comparison only.
    pub target: String,
    /// Whether it is met; `None`: no target.
    pub met: Option<bool>,
}

/// The rows under their headings, in columns.
pub fn table(rows: &[Row]) -> String {
    let headings = ["what", "peer", "ours", "ratio", "target", "met"].map(str::to_owned);
    let lines: Vec<[String; 6]> = std::iter::once(headings)
        .chain(rows.iter().map(|row| {
            let met = match row.met {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "",
            };
            [
                row.what.clone(),
                row.peer.clone(),
                row.ours.clone(),
                row.ratio.clone(),
                row.target.clone(),
                met.to_owned(),
            ]
        }))
        .collect();
    let mut text = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width = lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0);
            let _ = write!(text, "{cell:width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// The middle of `values`; of an even number the mean of the two in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The median of the ratios of values measured one after the other.
pub fn median_ratio(ours: &[f64], peer: &[f64]) -> f64 {
    let ratios: Vec<f64> = ours
        .iter()
        .zip(peer)
        .map(|(ours, peer)| ours / peer)
        .collect();
    median(&ratios)
}

/// `1.38 M/s`, `215 k/s`, `2.1 k/s`.
pub fn rate(per_second: f64) -> String {
    if per_second >= 1e6 {
        format!("{:.2} M/s", per_second / 1e6)
    } else if per_second >= 1e4 {
        format!("{:.0} k/s", per_second / 1e3)
    } else {
        format!("{:.1} k/s", per_second / 1e3)
    }
}
