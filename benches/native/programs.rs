//! The programs, and what was published of programs of the same idioms.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program with a bug.
#[derive(Clone, Debug)]
pub struct Program {
    pub name: String,
    /// The same without the bug.
    pub twin: String,
    /// The kind of its failure.
    pub fails: String,
    /// The row of published results that it stands beside.
    pub beside: Option<String>,
    /// Whether it has about the shape of that row's program.
    pub same_shape: bool,
}

/// By row and column: a mean, where every trial found it.
pub type Published = BTreeMap<String, BTreeMap<String, f64>>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("native/programs")
}

/// Those of `programs.toml`.
pub fn read() -> Result<Vec<Program>, String> {
    let path = folder().join("programs.toml");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path:?}: {error}"))?;
    let table: toml::Table = text.parse().map_err(|error| format!("{path:?}: {error}"))?;
    let rows = table.get("program").and_then(toml::Value::as_array);
    let word = |row: &toml::Value, key: &str| {
        row.get(key)
            .and_then(toml::Value::as_str)
            .map(str::to_owned)
    };
    Ok(rows
        .into_iter()
        .flatten()
        .filter_map(|row| {
            Some(Program {
                name: word(row, "name")?,
                twin: word(row, "twin")?,
                fails: word(row, "fails")?,
                beside: word(row, "beside"),
                same_shape: row.get("same_shape").and_then(toml::Value::as_bool) == Some(true),
            })
        })
        .collect())
}

/// Builds all of them by `heisenbed cc`; where they are.
pub fn build(binary: &Path) -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let out = root.join("target/native-programs");
    let status = Command::new("sh")
        .arg(root.join("tests/native/programs/build.sh"))
        .arg(&out)
        .arg(folder().join("programs.toml"))
        .env("CC", format!("{} cc", binary.display()))
        .env("CXX", format!("{} c++", binary.display()))
        .status()
        .map_err(|error| format!("build.sh: {error}"))?;
    if status.success() {
        Ok(out)
    } else {
        Err(format!("build.sh: {status}"))
    }
}

/// `published.csv`.
pub fn published() -> Published {
    let mut lines = include_str!("published.csv")
        .lines()
        .filter(|line| !line.starts_with('#'));
    let columns: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split(',')
        .skip(1)
        .collect();
    lines
        .filter_map(|line| {
            let (row, cells) = line.split_once(',')?;
            let cells = columns.iter().zip(cells.split(','));
            let means = cells.filter_map(|(column, cell)| {
                // With (k/20) behind it, or 0/20, it is no mean of all trials.
                Some(((*column).to_owned(), cell.parse().ok()?))
            });
            Some((row.to_owned(), means.collect()))
        })
        .collect()
}
