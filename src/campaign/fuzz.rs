//! Fuzz units: a target that cargo-fuzz built, run as the program that it is for a number of executions.
//!
//! What libFuzzer does depends on what it found before, and that on the machine's speed, so, as with real threads, a unit that is done again
//! need not find the same. Inputs that reach something new stay in the campaign's folder, in `fuzz/TARGET/`, and every later unit begins from them.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::fuzzing::{TARGETS, find};

use super::CampaignError;

/// A unit is over after so long, however slow its target is.
const MAX_SECONDS: u32 = 120;
/// Executions, at most, in which a crash is made smaller; and seconds.
const MINIMISE: (u32, u32) = (20_000, 20);
/// What is read of the end of what a target says.
const SAID_BYTES: u64 = 256 << 10;
/// How often it is looked whether a target is done.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Fuzz targets that are built, and where their seeds are.
#[derive(Clone, Debug)]
pub struct Built {
    /// The targets, in the order of [`TARGETS`].
    pub names: Vec<String>,
    folder: PathBuf,
    seeds: PathBuf,
}

/// What came of some executions.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    /// How many they were.
    pub executions: u64,
    /// Edges of the program that the inputs kept so far cover.
    pub edges: u64,
    /// What ended them early.
    pub crash: Option<Crash>,
}

/// An input on which a target fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// `crash`, `timeout` or `out-of-memory`.
    pub kind: &'static str,
    /// Where: tells one failure from another.
    pub at: String,
    /// What was said there.
    pub says: String,
    /// The input.
    pub input: Vec<u8>,
}

impl Built {
    /// The targets that are built in `folder`.
    pub fn find(folder: &Path, seeds: &Path) -> Result<Built, CampaignError> {
        let names: Vec<String> = TARGETS
            .iter()
            .map(|target| target.name.to_owned())
            .filter(|name| folder.join(name).is_file())
            .collect();
        if names.is_empty() {
            return Err(CampaignError::Nothing(format!(
                "{}: no fuzz target is built there; `cargo fuzz build --sanitizer none` builds them into fuzz/target/TRIPLE/release",
                folder.display()
            )));
        }
        Ok(Built {
            names,
            folder: folder.to_owned(),
            seeds: seeds.to_owned(),
        })
    }

    /// Runs `target` on new inputs, beginning from its seeds and from `kept`, where what reaches something new stays. `None`: somebody asked to stop.
    pub fn run(
        &self,
        target: &str,
        seed: u64,
        executions: u64,
        kept: &Path,
        interrupt: &AtomicBool,
    ) -> Result<Option<Ran>, CampaignError> {
        fs::create_dir_all(kept).map_err(CampaignError::io(kept))?;
        let mut words = vec![kept.display().to_string()];
        let seeds = self.seeds.join(target);
        let mut known = files_in(kept);
        if seeds.is_dir() {
            words.push(seeds.display().to_string());
            known += files_in(&seeds);
        }
        // Its own count begins with the inputs that are there.
        let runs = executions + known;
        words.extend([
            format!("-runs={runs}"),
            format!("-max_total_time={MAX_SECONDS}"),
            // 0 would have it take the clock.
            format!("-seed={}", seed as u32 | 1),
            "-print_final_stats=1".to_owned(),
        ]);
        let Some(ended) = self.play(target, &words, interrupt)? else {
            return Ok(None);
        };
        // Of one that fails, libFuzzer may not say more than before which execution it last found something.
        let executions = ended.figure("stat::number_of_executed_units:");
        Ok(Some(Ran {
            executions: executions.or(ended.figure("#")).unwrap_or(0),
            edges: ended.figure("cov:").unwrap_or(0),
            crash: ended.crash(target)?,
        }))
    }

    /// A smaller input that fails in the same place, or the same where there is no time to find one. `None`: somebody asked to stop.
    pub fn minimise(
        &self,
        target: &str,
        crash: &Crash,
        interrupt: &AtomicBool,
    ) -> Result<Option<Crash>, CampaignError> {
        if crash.kind != "crash" {
            return Ok(Some(crash.clone()));
        }
        let folder = tempfile::tempdir().map_err(CampaignError::io(&std::env::temp_dir()))?;
        let from = folder.path().join("input");
        fs::write(&from, &crash.input).map_err(CampaignError::io(&from))?;
        let (runs, seconds) = MINIMISE;
        let words = [
            from.display().to_string(),
            "-minimize_crash=1".to_owned(),
            format!("-runs={runs}"),
            format!("-max_total_time={seconds}"),
        ];
        let Some(ended) = self.play(target, &words, interrupt)? else {
            return Ok(None);
        };
        let mut smaller: Vec<Vec<u8>> = ended.inputs()?;
        smaller.retain(|input| input.len() < crash.input.len());
        smaller.sort_by_key(Vec::len);
        // It keeps whatever fails, wherever.
        for input in smaller.into_iter().take(4) {
            fs::write(&from, &input).map_err(CampaignError::io(&from))?;
            let words = [from.display().to_string()];
            let Some(ended) = self.play(target, &words, interrupt)? else {
                return Ok(None);
            };
            let again = ended.crash(target)?;
            if again.is_some_and(|again| again.at == crash.at) {
                return Ok(Some(Crash {
                    input,
                    ..crash.clone()
                }));
            }
        }
        Ok(Some(crash.clone()))
    }

    fn play(
        &self,
        target: &str,
        words: &[String],
        interrupt: &AtomicBool,
    ) -> Result<Option<Played>, CampaignError> {
        let program = self.folder.join(target);
        let temporary = std::env::temp_dir();
        let artifacts = tempfile::tempdir().map_err(CampaignError::io(&temporary))?;
        let said = tempfile::tempfile().map_err(CampaignError::io(&temporary))?;
        let mut child = Command::new(&program)
            .args(words)
            .args(["-timeout=20", "-rss_limit_mb=4096"])
            .arg(format!("-artifact_prefix={}/", artifacts.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said.try_clone().map_err(CampaignError::io(&temporary))?)
            // Ctrl-C is for the campaign, which ends it then.
            .process_group(0)
            .spawn()
            .map_err(CampaignError::io(&program))?;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(CampaignError::io(&program))? {
                break status;
            }
            if interrupt.load(Ordering::Relaxed) {
                // It may have ended just now.
                let _ = child.kill();
                child.wait().map_err(CampaignError::io(&program))?;
                return Ok(None);
            }
            std::thread::sleep(LOOK_AGAIN);
        };
        Ok(Some(Played {
            status,
            said: last_of(said).map_err(CampaignError::io(&temporary))?,
            artifacts,
        }))
    }
}

/// A target's process that has ended.
struct Played {
    status: ExitStatus,
    said: String,
    artifacts: tempfile::TempDir,
}

impl Played {
    /// The last number after `word`.
    fn figure(&self, word: &str) -> Option<u64> {
        let (_, after) = self.said.rsplit_once(word)?;
        let digits: String = after
            .trim_start()
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().ok()
    }

    /// The inputs that it wrote down, slow ones aside.
    fn inputs(&self) -> Result<Vec<Vec<u8>>, CampaignError> {
        let folder = self.artifacts.path();
        let mut inputs = Vec::new();
        for entry in fs::read_dir(folder).map_err(CampaignError::io(folder))? {
            let path = entry.map_err(CampaignError::io(folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with("slow-unit-") {
                inputs.push(fs::read(&path).map_err(CampaignError::io(&path))?);
            }
        }
        Ok(inputs)
    }

    /// What it failed on, if it did. A target that fails without saying on what cannot be run at all.
    fn crash(&self, target: &str) -> Result<Option<Crash>, CampaignError> {
        if self.status.success() {
            return Ok(None);
        }
        let Some(input) = self.input()? else {
            return Err(CampaignError::Nothing(format!(
                "fuzz target {target}: it ended with {} and no input that fails: {}",
                self.status,
                self.said.lines().last().unwrap_or("it said nothing")
            )));
        };
        let (at, says) = where_it_failed(&self.said);
        let kind = match () {
            () if at.contains("timeout") => "timeout",
            () if at.contains("out-of-memory") => "out-of-memory",
            () => "crash",
        };
        Ok(Some(Crash {
            kind,
            at,
            says,
            input,
        }))
    }

    /// The input that failed: the one that it wrote down, or the file that it was to run, which it names.
    fn input(&self) -> Result<Option<Vec<u8>>, CampaignError> {
        if let Some(input) = self.inputs()?.into_iter().next() {
            return Ok(Some(input));
        }
        let mut running = self.said.lines().rev();
        let running = running.find_map(|line| line.strip_prefix("Running: "));
        Ok(running.and_then(|path| fs::read(path.trim()).ok()))
    }
}

/// Where a target failed, and what was said there: the place of a panic, or a sanitizer's summary.
fn where_it_failed(said: &str) -> (String, String) {
    let mut lines = said.lines();
    while let Some(line) = lines.next() {
        if let Some((_, place)) = line.split_once("panicked at ") {
            let says = lines.next().unwrap_or_default().trim().to_owned();
            return (format!("panicked at {}", place.trim_end_matches(':')), says);
        }
    }
    let summary = said
        .lines()
        .find_map(|line| line.strip_prefix("SUMMARY: "))
        .unwrap_or("it did not say where");
    (summary.to_owned(), String::new())
}

fn files_in(folder: &Path) -> u64 {
    fs::read_dir(folder).map_or(0, |entries| entries.count() as u64)
}

fn last_of(mut file: File) -> std::io::Result<String> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(SAID_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(SAID_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The text that an input of `target` stands for, where it is a reproducer.
pub fn as_reproducer(target: &str, input: &[u8]) -> Option<String> {
    let target = find(target).filter(|target| target.name == "lifecycle")?;
    Some((target.decode)(input)).filter(|text| !text.is_empty())
}
