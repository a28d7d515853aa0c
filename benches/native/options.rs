//! What is measured, and how long.

use std::path::{Path, PathBuf};

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Options {
    pub strategies: Vec<String>,
    pub seeds: u64,
    /// Of one search.
    pub schedules: u64,
    /// The same.
    pub seconds: u64,
    pub binary: PathBuf,
    /// The correct twins, for false alarms.
    pub twins: bool,
    /// Keeps what was measured.
    pub state: Option<PathBuf>,
    /// Parts of names.
    pub filters: Vec<String>,
}

const STRATEGIES: [&str; 8] = ["mix", "rff", "few", "rare", "surw", "pos", "pct", "random"];

/// It has a table of its own.
pub const SAFESTACK: &str = "safestack";

impl Options {
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let arguments: Vec<String> = arguments.collect();
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        let (quick, twins) = (has("--quick"), has("--twins"));
        let (seeds, schedules, seconds) = match (twins, quick) {
            (true, false) => (1, 100_000, 3_600),
            (true, true) => (1, 1_000, 60),
            (false, false) => (20, 2_000, 60),
            (false, true) => (5, 500, 10),
        };
        let strategies = if twins { &STRATEGIES[..1] } else { &STRATEGIES };
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/heisenbed");
        let mut options = Options {
            strategies: strategies.iter().map(ToString::to_string).collect(),
            seeds,
            schedules,
            seconds,
            twins,
            binary: std::env::var_os("HEISENBED").map_or(built, PathBuf::from),
            state: None,
            filters: Vec::new(),
        };
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            let mut value = || {
                rest.next()
                    .ok_or_else(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                // cargo gives the first to every benchmark.
                "--bench" | "--quick" | "--twins" => {}
                "--strategies" => {
                    options.strategies = value()?.split(',').map(str::to_owned).collect();
                }
                "--seeds" => options.seeds = number(&value()?)?,
                "--schedules" => options.schedules = number(&value()?)?,
                "--seconds" => options.seconds = number(&value()?)?,
                "--binary" => options.binary = value()?.into(),
                "--state" => options.state = Some(value()?.into()),
                other if other.starts_with("--") => {
                    return Err(format!(
                        "{other}: no such option; see benches/native/main.rs"
                    ));
                }
                filter => options.filters.push(filter.to_owned()),
            }
        }
        if options.binary.is_file() {
            Ok(options)
        } else {
            Err(format!(
                "{}: not there; `cargo build --release` makes it",
                options.binary.display()
            ))
        }
    }

    pub fn wants(&self, program: &str) -> bool {
        if program == SAFESTACK {
            return self.filters.iter().any(|filter| filter == SAFESTACK);
        }
        self.filters.is_empty() || self.filters.iter().any(|filter| program.contains(filter))
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("`{text}` is no number above 0"))
}
