//! The programs: built once, and run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;

/// A row of `programs.toml`, as far as tests need it.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    pub kind: String,
    pub name: String,
    pub file: String,
    pub fails: Option<String>,
    #[serde(default)]
    pub instrumented: bool,
    pub twin: Option<String>,
    pub output: Option<String>,
}

#[derive(Deserialize)]
struct Table {
    program: Vec<Row>,
}

/// The rows of a kind.
pub fn rows(kind: &str) -> Vec<Row> {
    let text = std::fs::read_to_string(folder().join("programs.toml")).unwrap();
    let table: Table = toml::from_str(&text).unwrap();
    table
        .program
        .into_iter()
        .filter(|row| row.kind == kind)
        .collect()
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/native/programs")
}

/// The table of the programs of this folder.
const OWN: &str = "tests/native/programs/programs.toml";

/// Where the programs are, built by the system's compilers.
pub fn plain() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("plain", &[], &[]))
}

/// Where they are, built by `heisenbed cc`; of ours those that are about loads and stores.
pub fn instrumented() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let table = "benches/native/programs/programs.toml";
        build("instrumented", &[table], &compilers());
        let rows = [rows("planted"), rows("ordered")].concat();
        let rows = rows.iter().filter(|row| row.instrumented);
        let mut words = vec![OWN];
        words.extend(rows.map(|row| row.name.as_str()));
        build("instrumented", &words, &compilers())
    })
}

/// Those of this folder that are for exhaustive searches, built by `heisenbed cc`.
pub fn instrumented_own() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let rows = rows("exhaustive");
        let mut words = vec![OWN];
        words.extend(rows.iter().map(|row| row.name.as_str()));
        build("instrumented-own", &words, &compilers())
    })
}

fn compilers() -> [(&'static str, String); 2] {
    let heisenbed = binary().display().to_string();
    [
        ("CC", format!("{heisenbed} cc")),
        ("CXX", format!("{heisenbed} c++")),
    ]
}

/// Built beside the tests, and only where the sources are newer: one build at a time.
fn build(name: &str, words: &[&str], env: &[(&str, String)]) -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("native-{name}"));
    std::fs::create_dir_all(&out).unwrap();
    let lock = std::fs::File::create(out.join(".lock")).unwrap();
    lock.lock().unwrap();
    let mut command = Command::new("sh");
    command.arg(folder().join("build.sh")).arg(&out);
    command.args(words).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command
        .envs(env.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    out
}

pub fn binary() -> PathBuf {
    assert_cmd::cargo::cargo_bin!("heisenbed").to_owned()
}

/// What `heisenbed run` says, as JSON.
pub struct Ran {
    pub json: Value,
    pub code: i32,
}

impl Ran {
    /// The kind of failure, if there was one.
    pub fn kind(&self) -> Option<&str> {
        self.json["failure"]["kind"].as_str()
    }
}

/// Runs `heisenbed run OPTIONS -- PROGRAM`.
pub fn run(options: &[&str], program: &[&str]) -> Ran {
    let output = Command::new(binary())
        .args(["run", "--format", "json", "-q"])
        .args(options)
        .arg("--")
        .args(program)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_str(&stdout)
        .unwrap_or_else(|error| panic!("{program:?}: {error}: {stdout}{stderr}"));
    Ran {
        json,
        code: output.status.code().unwrap(),
    }
}

/// As text.
pub fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}
