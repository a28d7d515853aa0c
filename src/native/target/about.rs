//! What a target can do: asked once, by the driver in a process of its own.

use std::collections::BTreeMap;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::{TargetFiles, TargetSetup, end_group};
use crate::device::Memory;
use crate::native::cores;

/// How long it may take to say so.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What `policy` may say that makes room of any hole.
const FILLS_HOLES: [&str; 4] = ["best-fit", "first-fit", "top-down", "any-hole"];

/// Bits of `enum hb_target_ability`.
mod ability {
    pub(super) const SHARED_RELEASE: u64 = 1;
    pub(super) const PUBLISHES_EARLY: u64 = 2;
    pub(super) const TRACKS: u64 = 4;
    pub(super) const SCATTERED: u64 = 8;
    pub(super) const CACHES: u64 = 16;
    pub(super) const TRIMS: u64 = 32;
    pub(super) const ALL: u64 =
        SHARED_RELEASE | PUBLISHES_EARLY | TRACKS | SCATTERED | CACHES | TRIMS;
}

/// See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TargetAbout {
    words: BTreeMap<String, String>,
    /// Of each memory that it was asked for: what `allocate` returned, and the largest buffer.
    memories: BTreeMap<u8, (i64, u64)>,
    /// How it crashed when it was asked.
    crash: Option<String>,
}

/// Why a library is no target.
#[derive(Debug, Error)]
pub(crate) enum TargetError {
    /// The system refused something.
    #[error("{what}: {error}")]
    System {
        /// What.
        what: &'static str,
        /// How.
        error: std::io::Error,
    },
    /// It cannot be loaded, or is none.
    #[error("{why}")]
    NoTarget {
        /// What the driver said.
        why: String,
    },
    /// It ended while it was asked.
    #[error(
        "{}: it was asked what it can do (open; a buffer of each memory, allocated and released; \
         close), and {how}", library.display()
    )]
    Ended {
        /// Which.
        library: PathBuf,
        /// How.
        how: String,
    },
    /// Its abilities have bits without a meaning.
    #[error(
        "{}: abilities says {abilities:#x}, of which {unknown:#x} is nothing that this version \
         knows: it is a sum of HB_TARGET_ words of heisenbed.h, HB_TARGET_TRACKS for one; what a \
         newer header adds takes a newer heisenbed", library.display()
    )]
    Abilities {
        /// Which.
        library: PathBuf,
        /// What it says.
        abilities: u64,
        /// What of it is unknown.
        unknown: u64,
    },
    /// `open` refused.
    #[error("{}: open: {why}", library.display())]
    Refused {
        /// Which.
        library: PathBuf,
        /// In its own words.
        why: String,
    },
}

impl TargetAbout {
    /// Asks the target at `library` what it can do with memories like those of `setup`.
    pub(crate) fn ask(library: &Path, setup: &TargetSetup) -> Result<TargetAbout, TargetError> {
        let about = TargetAbout::ask_as_far_as_it_goes(library, setup)?;
        match about.crash_of(library) {
            Some(crash) => Err(crash),
            None => Ok(about),
        }
    }

    /// The same; of one that crashes it is taken that it has the memories that it was not asked for
    /// by then. To be run it must have them: then it is seen where it crashes.
    pub(crate) fn ask_as_far_as_it_goes(
        library: &Path,
        setup: &TargetSetup,
    ) -> Result<TargetAbout, TargetError> {
        let system = |what| move |error| TargetError::System { what, error };
        let bare = TargetSetup {
            socket: None,
            whole: [0; 4],
            ..setup.with_ops(Vec::new())
        };
        let files = TargetFiles::write(bare).map_err(system("the driver"))?;
        let (answer, said) = (files.beside("answer"), files.beside("said"));
        let stderr = std::fs::File::create(&said).map_err(system("a file for what it says"))?;
        cores::leave();
        let mut child = Command::new(files.driver())
            .arg("about")
            .args([library, &files.plan(), &answer])
            .env("TT_ALLOC_TRACKING_ENABLED", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .map_err(system("the driver"))?;
        let began = Instant::now();
        let status = loop {
            match child.try_wait().map_err(system("the driver"))? {
                Some(status) => break Some(status),
                None if began.elapsed() > TIMEOUT => {
                    let _ = child.kill();
                    let _ = child.wait();
                    break None;
                }
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        end_group(&child);
        let said = std::fs::read(&said).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        let ended = |how: String| TargetError::Ended {
            library: library.to_owned(),
            how,
        };
        match status {
            None => return Err(ended("did not come to an end within 10 s".to_owned())),
            Some(status) if status.code() == Some(86) => {
                let why = said.lines().last().unwrap_or_default();
                let why = why.strip_prefix("target-failed: ").unwrap_or(why);
                return Err(TargetError::NoTarget {
                    why: why.to_owned(),
                });
            }
            Some(_) => {}
        }
        let text = std::fs::read(&answer).map_err(system("what the target can do"))?;
        let mut about = TargetAbout::parse(&String::from_utf8_lossy(&text));
        // Who ends the process well has not answered all.
        if let Some(status) =
            status.filter(|status| !status.success() || !about.words.contains_key("complete"))
        {
            let how = match (status.signal(), status.code()) {
                (Some(signal), _) => {
                    let name = signal_hook::low_level::signal_name(signal);
                    format!("crashed ({})", name.unwrap_or("a signal"))
                }
                (None, code) => format!("ended the process with status {}", code.unwrap_or(0)),
            };
            let how = match said.lines().last() {
                Some(line) => format!("{how}: {line}"),
                None => how,
            };
            if status.signal().is_none() || !about.words.contains_key("totals") {
                return Err(ended(how));
            }
            about.crashed(how, setup);
        }
        let abilities = about.number("abilities").unwrap_or(0);
        if abilities & !ability::ALL != 0 {
            return Err(TargetError::Abilities {
                library: library.to_owned(),
                abilities,
                unknown: abilities & !ability::ALL,
            });
        }
        match about.words.get("refuses") {
            Some(why) => Err(TargetError::Refused {
                library: library.to_owned(),
                why: why.clone(),
            }),
            None => Ok(about),
        }
    }

    fn crashed(&mut self, how: String, setup: &TargetSetup) {
        self.crash = Some(how);
        let sizes = (0..).zip(setup.sizes).filter(|(_, size)| *size > 0);
        for (memory, _) in sizes {
            self.memories.entry(memory).or_insert((0, 0));
        }
    }

    /// How it crashed when it was asked what it can do.
    pub(crate) fn crash_of(&self, library: &Path) -> Option<TargetError> {
        self.crash.as_ref().map(|how| TargetError::Ended {
            library: library.to_owned(),
            how: how.clone(),
        })
    }

    fn parse(text: &str) -> TargetAbout {
        let mut about = TargetAbout::default();
        for line in text.lines() {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            let mut numbers = value.split(' ').map(str::parse::<u64>);
            if let ("memory", Some(Ok(memory)), Some(Ok(status)), Some(Ok(whole))) =
                (name, numbers.next(), numbers.next(), numbers.next())
            {
                about.memories.insert(memory as u8, (status as i64, whole));
            } else {
                about.words.insert(name.to_owned(), value.trim().to_owned());
            }
        }
        about
    }

    /// The same where it is not known how much room there is.
    pub(super) fn without_whole(&self) -> TargetAbout {
        let mut about = self.clone();
        about.memories.values_mut().for_each(|memory| memory.1 = 0);
        about
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.words.get(name)?.parse().ok()
    }

    fn has(&self, ability: u64) -> bool {
        self.number("abilities").unwrap_or(0) & ability != 0
    }

    /// What it calls itself.
    pub(crate) fn name(&self) -> &str {
        self.words.get("name").map_or("", String::as_str)
    }

    /// Whether it has this memory.
    pub(crate) fn has_memory(&self, memory: Memory) -> bool {
        self.memories
            .get(&(memory as u8))
            .is_some_and(|(status, _)| *status == 0)
    }

    /// What came of asking for a buffer in a memory that it does not have.
    pub(super) fn refusal_words(&self, memory: Memory) -> String {
        match self.memories.get(&(memory as u8)) {
            None => format!("{} has no bytes in this profile", memory.name()),
            Some((status, _)) => {
                let word = match status {
                    1 => " (HB_TARGET_NO_MEMORY)",
                    2 => " (HB_TARGET_UNSUPPORTED)",
                    3 => " (HB_TARGET_FAILED)",
                    _ => "",
                };
                format!("a small buffer in {}: {status}{word}", memory.name())
            }
        }
    }

    /// The largest buffer that a new memory has room for.
    pub(crate) fn whole(&self, memory: Memory) -> u64 {
        let known = self.memories.get(&(memory as u8));
        known.map_or(0, |(_, whole)| *whole)
    }

    /// Whether two threads may release one buffer.
    pub(crate) fn shares_releases(&self) -> bool {
        self.has(ability::SHARED_RELEASE)
    }

    /// Whether it publishes buffers before `allocate` returns.
    pub(crate) fn publishes_early(&self) -> bool {
        self.has(ability::PUBLISHES_EARLY)
    }

    /// Whether it has a tracking client.
    pub(crate) fn tracks(&self) -> bool {
        self.has(ability::TRACKS)
    }

    /// Whether its addresses are where it pleases.
    pub(crate) fn is_scattered(&self) -> bool {
        self.has(ability::SCATTERED)
    }

    /// Whether memory may not be whole when everything was released.
    pub(crate) fn keeps_memory(&self) -> bool {
        self.has(ability::CACHES) && !self.has(ability::TRIMS)
    }

    /// Whether it may find no room where nothing is live.
    pub(crate) fn has_caches(&self) -> bool {
        self.has(ability::CACHES)
    }

    /// Whether a hole that is large enough must be used.
    pub(crate) fn fills_holes(&self) -> bool {
        let policy = self.words.get("policy").map_or("", String::as_str);
        !self.has_caches() && FILLS_HOLES.contains(&policy)
    }

    /// What it says of its placement, where that is none of the words that there are.
    pub(crate) fn unknown_policy(&self) -> Option<&str> {
        let policy = self.words.get("policy")?.as_str();
        let is_known = policy.is_empty() || policy == "bump" || FILLS_HOLES.contains(&policy);
        (!is_known).then_some(policy)
    }

    /// Whether it has buffers over several devices.
    pub(crate) fn has_mesh(&self) -> bool {
        self.number("mesh") == Some(1) && self.number("mesh-status") == Some(0)
    }

    /// Whether it has circular buffers.
    pub(crate) fn has_circular(&self) -> bool {
        self.number("circular") == Some(0)
    }

    /// Whether it takes buffers at addresses that somebody else owns.
    pub(crate) fn has_preallocated(&self) -> bool {
        self.number("preallocated") == Some(0)
    }

    /// Whether it closes devices.
    pub(crate) fn closes_devices(&self) -> bool {
        self.number("close-device") == Some(1)
    }

    /// Whether it checks itself.
    pub(crate) fn checks_itself(&self) -> bool {
        self.number("check") == Some(1)
    }

    /// Whether it counts.
    pub(crate) fn has_totals(&self) -> bool {
        self.number("totals") == Some(1)
    }
}
