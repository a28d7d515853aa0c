//! Searches, each done once: what was measured is kept in a file, if there is one.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::options::Options;

/// What came of one search.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Schedules up to the failure and with it; none: it was not found.
    pub found: Option<u64>,
    /// Of the failure.
    pub kind: Option<String>,
    /// In all.
    pub schedules: u64,
    /// How long they took.
    pub seconds: f64,
}

/// Program, strategy, seed.
type Key = (String, String, u64);

/// See the [module](self).
#[derive(Debug)]
pub struct Measured {
    trials: BTreeMap<Key, Trial>,
    file: Option<std::fs::File>,
}

impl Measured {
    /// What the file of `--state` has.
    pub fn open(options: &Options) -> Result<Measured, String> {
        let mut measured = Measured {
            trials: BTreeMap::new(),
            file: None,
        };
        let Some(path) = &options.state else {
            return Ok(measured);
        };
        let limits = limits(options);
        for line in std::fs::read_to_string(path).unwrap_or_default().lines() {
            // A line that was cut is measured again.
            let Ok(value) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            if value["limits"] != limits {
                return Err(format!(
                    "{}: measured with other limits, or by another binary",
                    path.display()
                ));
            }
            if let (Some(key), Some(trial)) = (key(&value), trial(&value)) {
                measured.trials.insert(key, trial);
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        measured.file = Some(file.map_err(|error| format!("{}: {error}", path.display()))?);
        Ok(measured)
    }

    /// Does one search, if it was not done.
    pub fn search(
        &mut self,
        options: &Options,
        folder: &Path,
        program: &str,
        strategy: &str,
        seed: u64,
    ) -> Result<(), String> {
        let key = (program.to_owned(), strategy.to_owned(), seed);
        if self.trials.contains_key(&key) {
            return Ok(());
        }
        let output = Command::new(&options.binary)
            .args(["run", "-q", "--format", "json", "--no-shrink"])
            .args(["--strategy", strategy, "--seed", &seed.to_string()])
            .args(["--schedules", &options.schedules.to_string()])
            .args(["--duration", &format!("{}s", options.seconds)])
            .arg("--")
            .arg(folder.join(program))
            .output()
            .map_err(|error| format!("{}: {error}", options.binary.display()))?;
        let said: Value = serde_json::from_slice(&output.stdout)
            .map_err(|_| format!("{program}: {}", String::from_utf8_lossy(&output.stderr)))?;
        let line = json!({
            "program": program,
            "strategy": strategy,
            "seed": seed,
            "limits": limits(options),
            "found": said["failure"]["schedule"].as_u64().map(|index| index + 1),
            "kind": said["failure"]["kind"],
            "schedules": said["schedules"],
            "seconds": said["elapsed_s"],
        });
        let trial = trial(&line).ok_or_else(|| format!("{program}: {said}"))?;
        if let Some(file) = &mut self.file {
            writeln!(file, "{line}").map_err(|error| error.to_string())?;
        }
        self.trials.insert(key, trial);
        Ok(())
    }

    /// Those of a program by a strategy.
    pub fn trials(&self, program: &str, strategy: &str) -> Vec<&Trial> {
        self.trials
            .iter()
            .filter(|((of, by, _), _)| of == program && by == strategy)
            .map(|(_, trial)| trial)
            .collect()
    }
}

/// What makes measurements incomparable.
fn limits(options: &Options) -> Value {
    let length = std::fs::metadata(&options.binary).map_or(0, |about| about.len());
    json!([options.schedules, options.seconds, length])
}

fn key(value: &Value) -> Option<Key> {
    Some((
        value["program"].as_str()?.to_owned(),
        value["strategy"].as_str()?.to_owned(),
        value["seed"].as_u64()?,
    ))
}

fn trial(value: &Value) -> Option<Trial> {
    Some(Trial {
        found: value["found"].as_u64(),
        kind: value["kind"].as_str().map(str::to_owned),
        schedules: value["schedules"].as_u64()?,
        seconds: value["seconds"].as_f64()?,
    })
}
