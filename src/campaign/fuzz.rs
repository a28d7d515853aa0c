//! Fuzz units: a target that cargo-fuzz built, run as the program that it is for a number of
//! executions.
//!
//! What libFuzzer does depends on what it found before, and that on the machine's speed, so, as
//! with real threads, a unit that is done again need not find the same. Inputs that reach something
//! new stay in the campaign's folder, in `fuzz/TARGET/`, and every later unit begins from them. One
//! that fails is there too for as long as it is made smaller, so that a campaign that is killed
//! meanwhile comes upon it again.
//!
//! A target is not trusted: it may hang, take the machine's memory or die by a signal, and ends its
//! unit by that, never the night.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::fuzzing::{TARGETS, find};

use super::CampaignError;

/// libFuzzer ends by itself after so long, however slow its target is.
const MAX_TOTAL: Duration = Duration::from_secs(30);
/// It is ended when it does not: it looks at the time between inputs only, and not while it reads
/// its seeds.
const MAX_OVERTIME: Duration = Duration::from_secs(60);
/// One input must not take longer.
const MAX_INPUT: Duration = Duration::from_secs(20);
/// How long a failing input is made smaller.
const MINIMISE: Duration = Duration::from_secs(20);
/// What is read of the end of what a target says.
const SAID_BYTES: u64 = 256 << 10;
/// How often it is looked whether a target is done.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Fuzz targets that are built, and where their seeds are.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// The targets, in the order of [`TARGETS`].
    pub(crate) names: Vec<String>,
    folder: PathBuf,
    seeds: PathBuf,
}

/// What came of some executions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ran {
    /// How many they were.
    pub(crate) executions: u64,
    /// Edges of the program that the inputs kept so far cover.
    pub(crate) edges: u64,
    /// What ended them early.
    pub(crate) crash: Option<Crash>,
    /// Why they say nothing: the target ended, or had to be ended, and there is no input that shows
    /// it.
    pub(crate) problem: Option<String>,
}

/// An input on which a target fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Crash {
    /// `crash`, `timeout` or `out-of-memory`.
    pub(crate) kind: &'static str,
    /// Where: a place in the code, whatever folder that was built in, or a sanitizer's summary.
    pub(crate) at: String,
    /// What was said there, in a line.
    pub(crate) says: String,
    /// The input.
    pub(crate) input: Vec<u8>,
}

impl Crash {
    /// What tells one failure from another: the place, and what was said there but for the numbers
    /// in it.
    pub(crate) fn looks(&self) -> String {
        let says = self.says.replace(|c: char| c.is_ascii_digit(), "");
        format!("{}, {}, {says}", self.kind, self.at)
    }
}

impl Built {
    /// The targets that are built in `folder`.
    pub(crate) fn find(folder: &Path, seeds: &Path) -> Result<Built, CampaignError> {
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

    /// Runs `target` on new inputs, beginning from its seeds and from `kept`, where what reaches
    /// something new stays. `None`: somebody asked to stop.
    pub(crate) fn run(
        &self,
        target: &str,
        seed: u64,
        executions: u64,
        kept: &Path,
        interrupt: &AtomicBool,
    ) -> Result<Option<Ran>, CampaignError> {
        fs::create_dir_all(kept).map_err(CampaignError::io(kept))?;
        let seeds = self.seeds.join(target);
        let mut words = vec![kept.into()];
        let mut known = files_in(kept);
        if seeds.is_dir() {
            known += files_in(&seeds);
            words.push(seeds.into());
        }
        words.extend([
            // Its own count begins with the inputs that are there.
            format!("-runs={}", executions + known).into(),
            format!("-max_total_time={}", MAX_TOTAL.as_secs()).into(),
            // 0 would have it take the clock.
            format!("-seed={}", seed as u32 | 1).into(),
            "-print_final_stats=1".into(),
        ]);
        let deadline = Instant::now() + MAX_TOTAL + MAX_OVERTIME;
        let Some(played) = self.play(target, &words, deadline, interrupt)? else {
            return Ok(None);
        };
        let (crash, problem) = match played.crash(target)? {
            Failed::No => (None, None),
            Failed::On(crash) => (Some(crash), None),
            Failed::OnNobodyKnowsWhat(problem) => (None, Some(problem)),
        };
        // Of one that fails, libFuzzer may not say more than before which execution it last found
        // something.
        let executions = played.figure("stat::number_of_executed_units:");
        Ok(Some(Ran {
            executions: executions.or(played.figure("#")).unwrap_or(0),
            edges: played.figure("cov:").unwrap_or(0),
            crash,
            problem,
        }))
    }

    /// A smaller input that fails alike, as far as there is time to find one and nobody asks to
    /// stop. The input is in the file `meanwhile` until then, which must be nobody else's: another
    /// worker may have a failure of the same target in hand.
    pub(crate) fn minimise(
        &self,
        target: &str,
        crash: &Crash,
        meanwhile: &Path,
        interrupt: &AtomicBool,
    ) -> Result<Crash, CampaignError> {
        if crash.kind != "crash" {
            return Ok(crash.clone());
        }
        fs::write(meanwhile, &crash.input).map_err(CampaignError::io(meanwhile))?;
        let smallest = self.leave_out(target, crash, interrupt)?;
        fs::remove_file(meanwhile).map_err(CampaignError::io(meanwhile))?;
        Ok(smallest)
    }

    /// Leaves out a half, quarters, and so on to single bytes, as long as what is left fails alike.
    fn leave_out(
        &self,
        target: &str,
        crash: &Crash,
        interrupt: &AtomicBool,
    ) -> Result<Crash, CampaignError> {
        let deadline = Instant::now() + MINIMISE;
        let mut smallest = crash.clone();
        let mut part = smallest.input.len() / 2;
        while part > 0 {
            let mut at = 0;
            while at < smallest.input.len() {
                if interrupt.load(Ordering::Relaxed) || Instant::now() >= deadline {
                    return Ok(smallest);
                }
                let mut input = smallest.input.clone();
                input.drain(at..input.len().min(at + part));
                match self.fails_on(target, input, interrupt)? {
                    Some(again) if again.looks() == crash.looks() => smallest = again,
                    _ => at += part,
                }
            }
            part /= 2;
        }
        Ok(smallest)
    }

    /// How `target` fails on one input, if it does.
    fn fails_on(
        &self,
        target: &str,
        input: Vec<u8>,
        interrupt: &AtomicBool,
    ) -> Result<Option<Crash>, CampaignError> {
        let folder = temporary_folder()?;
        let path = folder.path().join("input");
        fs::write(&path, &input).map_err(CampaignError::io(&path))?;
        let deadline = Instant::now() + 2 * MAX_INPUT;
        let played = self.play(target, &[path.into()], deadline, interrupt)?;
        // It writes no input down where it was told which to run.
        Ok(played
            .filter(|played| !played.status.success())
            .map(|played| played.failed_on("crash", input)))
    }

    /// Runs a target's program, until `deadline` at the latest. `None`: somebody asked to stop
    /// before it came to its end.
    fn play(
        &self,
        target: &str,
        words: &[OsString],
        deadline: Instant,
        interrupt: &AtomicBool,
    ) -> Result<Option<Played>, CampaignError> {
        let program = self.folder.join(target);
        let temporary = std::env::temp_dir();
        let artifacts = temporary_folder()?;
        let said = tempfile::tempfile().map_err(CampaignError::io(&temporary))?;
        let copy = said.try_clone().map_err(CampaignError::io(&temporary))?;
        let mut prefix = OsString::from("-artifact_prefix=");
        prefix.push(artifacts.path().join(""));
        let child = Command::new(&program)
            .args(words)
            .arg(format!("-timeout={}", MAX_INPUT.as_secs()))
            .args(["-rss_limit_mb=4096".into(), prefix])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(copy)
            // Ctrl-C is for the campaign, which ends it then.
            .process_group(0)
            .spawn()
            .map_err(CampaignError::io(&program))?;
        let ended = wait(child, deadline, interrupt).map_err(CampaignError::io(&program))?;
        let Some(status) = ended else {
            return Ok(None);
        };
        Ok(Some(Played {
            status,
            said: last_of(said).map_err(CampaignError::io(&temporary))?,
            artifacts,
        }))
    }
}

/// Waits for a target's end and brings it about at `deadline`. `None`: somebody asked to stop, and
/// it did not end by itself.
fn wait(
    mut child: Child,
    deadline: Instant,
    interrupt: &AtomicBool,
) -> std::io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let stop = interrupt.load(Ordering::Relaxed);
        if stop || Instant::now() >= deadline {
            // It is gone already where this fails.
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let status = child.wait()?;
            let by_itself = status.code().is_some();
            return Ok((by_itself || !stop).then_some(status));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// A target's process that has ended.
struct Played {
    status: ExitStatus,
    said: String,
    artifacts: tempfile::TempDir,
}

/// Whether a target failed.
enum Failed {
    No,
    On(Crash),
    OnNobodyKnowsWhat(String),
}

impl Played {
    /// The last number after `word`.
    fn figure(&self, word: &str) -> Option<u64> {
        let (_, after) = self.said.rsplit_once(word)?;
        let after = after.trim_start();
        let digits = after.find(|c: char| !c.is_ascii_digit());
        after[..digits.unwrap_or(after.len())].parse().ok()
    }

    /// What it failed on. A target that ends by itself as failed, and does not say on what, cannot
    /// be run at all.
    fn crash(&self, target: &str) -> Result<Failed, CampaignError> {
        if self.status.success() {
            return Ok(Failed::No);
        }
        let Some((kind, input)) = self.input()? else {
            let last = self.said.lines().last().unwrap_or("it said nothing");
            let ended = format!(
                "fuzz target {target} ended with {} and left no input that shows why: {last}",
                self.status
            );
            return match self.status.signal() {
                Some(_) => Ok(Failed::OnNobodyKnowsWhat(ended)),
                None => Err(CampaignError::Nothing(ended)),
            };
        };
        Ok(Failed::On(self.failed_on(kind, input)))
    }

    fn failed_on(&self, kind: &'static str, input: Vec<u8>) -> Crash {
        let (at, says) = where_it_failed(&self.said);
        Crash {
            kind,
            at,
            says,
            input,
        }
    }

    /// The input that it wrote down as failing, slow ones aside, and how it failed on it.
    fn input(&self) -> Result<Option<(&'static str, Vec<u8>)>, CampaignError> {
        let folder = self.artifacts.path();
        for entry in fs::read_dir(folder).map_err(CampaignError::io(folder))? {
            let path = entry.map_err(CampaignError::io(folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let kind = match name.split('-').next() {
                Some("slow") => continue,
                Some("timeout") => "timeout",
                Some("oom") => "out-of-memory",
                _ => "crash",
            };
            let input = fs::read(&path).map_err(CampaignError::io(&path))?;
            return Ok(Some((kind, input)));
        }
        Ok(None)
    }
}

/// Where a target failed, and what was said there: the place of a panic, or a sanitizer's summary.
fn where_it_failed(said: &str) -> (String, String) {
    let mut lines = said.lines();
    while let Some(line) = lines.next() {
        if let Some((_, place)) = line.split_once("panicked at ") {
            let says = lines.next().unwrap_or_default().trim().to_owned();
            let place = in_any_folder(place.trim_end_matches(':'));
            return (format!("panicked at {place}"), says);
        }
    }
    let summary = said
        .lines()
        .find_map(|line| line.strip_prefix("SUMMARY: "))
        .unwrap_or("it did not say where");
    (summary.to_owned(), String::new())
}

/// A path to a source file without the folder that it was built in: of ours from `src/` on, of
/// another crate from its name on.
fn in_any_folder(place: &str) -> &str {
    let of_crate = place
        .split_once("/registry/src/")
        .and_then(|(_, rest)| rest.split_once('/'));
    match (of_crate, place.rfind("/src/")) {
        (Some((_, rest)), _) => rest,
        (None, Some(at)) => &place[at + 1..],
        (None, None) => place,
    }
}

fn temporary_folder() -> Result<tempfile::TempDir, CampaignError> {
    tempfile::tempdir().map_err(CampaignError::io(&std::env::temp_dir()))
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
pub(crate) fn as_reproducer(target: &str, input: &[u8]) -> Option<String> {
    let target = find(target).filter(|target| target.name == "lifecycle")?;
    Some((target.decode)(input)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_by_its_place_whatever_folder_it_was_built_in() {
        for (said, at) in [
            (
                "thread '<unnamed>' panicked at /home/a/src/heisenbed/src/fuzzing/registry.rs:20:9:\nthey differ",
                "panicked at src/fuzzing/registry.rs:20:9",
            ),
            (
                "thread 'main' (77) panicked at src/fuzzing/registry.rs:20:9:\nthey differ\n",
                "panicked at src/fuzzing/registry.rs:20:9",
            ),
            (
                "panicked at /home/a/.cargo/registry/src/index.crates.io-1949cf8c/toml-1.2.1/src/de.rs:3:1:\nthey differ",
                "panicked at toml-1.2.1/src/de.rs:3:1",
            ),
        ] {
            assert_eq!(
                where_it_failed(said),
                (at.to_owned(), "they differ".to_owned())
            );
        }
        let summary = "==1== ERROR\nSUMMARY: libFuzzer: timeout\n";
        assert_eq!(where_it_failed(summary).0, "libFuzzer: timeout");
    }

    #[test]
    fn failures_at_one_place_look_alike_but_for_their_words() {
        let crash = |says: &str| Crash {
            kind: "crash",
            at: "panicked at src/fuzzing/lifecycle.rs:97:9".to_owned(),
            says: says.to_owned(),
            input: Vec::new(),
        };
        assert_eq!(crash("2 leaks").looks(), crash("31 leaks").looks());
        assert_ne!(crash("2 leaks").looks(), crash("it diverged").looks());
    }
}
