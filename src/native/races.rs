//! Data races: what the runtime saw of them, and which of them are the same.

use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum;
use heisenbed_runtime::protocol as wire;
use serde::Deserialize;

use super::execution::{Execution, Failure, FailureKind, kind_name};
use super::plan::RunPlan;
use super::race_text::RaceText;

/// How an execution treats data races.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RacePlan {
    /// Whether they are looked for.
    pub(crate) look: bool,
    /// Whether one is a failure, where nothing else is.
    pub(crate) fails: RaceFails,
    /// The steps whose accesses are recorded as visible actions; 0: none.
    pub(crate) watch: [u64; 2],
}

/// What a data race of a program is: `--data-races`, and `data_races` of a list of programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DataRaces {
    /// Go on; report one as the failure where nothing else failed in the end
    #[default]
    Last,
    /// The first one is a failure as any other
    First,
    /// Do not look for them
    Ignore,
}

impl DataRaces {
    pub(crate) fn plan(self) -> RacePlan {
        match self {
            DataRaces::Last => RacePlan::LOOK,
            DataRaces::First => RacePlan::FAIL,
            DataRaces::Ignore => RacePlan::default(),
        }
    }
}

/// Which data race is a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RaceFails {
    /// None.
    #[default]
    Never,
    /// Any.
    Any,
    /// That of these two instructions.
    Only(RacePair),
}

/// Two instructions, the lower number first. They are numbered by the files that they are in, so
/// that the same program has the same numbers wherever it is loaded.
pub(crate) type RacePair = (u64, u64);

impl RacePlan {
    /// Looks, and goes on.
    pub(crate) const LOOK: RacePlan = RacePlan {
        look: true,
        fails: RaceFails::Never,
        watch: [0, 0],
    };

    /// Looks; the first is a failure.
    pub(crate) const FAIL: RacePlan = RacePlan {
        fails: RaceFails::Any,
        ..RacePlan::LOOK
    };

    /// To see an execution's failure again: its race, or nothing of races.
    pub(crate) fn of(execution: &Execution) -> RacePlan {
        execution
            .race
            .as_ref()
            .map_or(RacePlan::default(), |accused| RacePlan {
                fails: RaceFails::Only(accused.race.pair()),
                ..RacePlan::LOOK
            })
    }

    /// The same, with the accesses of this race as visible actions.
    pub(crate) fn watching(self, race: &DataRace) -> RacePlan {
        RacePlan {
            watch: [race.first.step, race.second.step],
            ..self
        }
    }

    /// What heisenbed writes of it into the page, and zeroes where the runtime answers.
    pub(super) fn bytes(&self) -> [u8; wire::RACES_LIST] {
        let mut bytes = [0; wire::RACES_LIST];
        bytes[0] = u8::from(self.look);
        bytes[8..16].copy_from_slice(&self.watch[0].to_le_bytes());
        bytes[16..24].copy_from_slice(&self.watch[1].to_le_bytes());
        bytes
    }
}

/// One of the two accesses of a race.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RacingAccess {
    kind: u16,
    /// Who made it.
    pub(crate) thread: u32,
    /// Where it returns to.
    pub(crate) pc: u64,
    /// The same as a number that does not depend on where the program was loaded.
    pub(crate) instruction: u64,
    /// When: which step of the execution.
    pub(crate) step: u64,
    /// How many bytes, of eight at most.
    pub(crate) size: u32,
    /// It is a part of a larger access.
    pub(crate) is_part: bool,
}

impl RacingAccess {
    /// `read`, `write`, `atomic-load`, `atomic-store`, `atomic-update`.
    pub(crate) fn action(&self) -> &'static str {
        kind_name(self.kind)
    }

    /// Whether it is atomic.
    pub(crate) fn is_atomic(&self) -> bool {
        self.action().starts_with("atomic")
    }
}

/// Two accesses that nothing orders, the one that was made first first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataRace {
    /// The first byte that both touch.
    pub(crate) address: u64,
    pub(crate) first: RacingAccess,
    pub(crate) second: RacingAccess,
}

impl DataRace {
    /// Both instructions.
    pub(crate) fn pair(&self) -> RacePair {
        let (one, other) = (self.first.instruction, self.second.instruction);
        (one.min(other), one.max(other))
    }
}

/// The race that is an execution's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccusedRace {
    /// It.
    pub(crate) race: DataRace,
    /// In words, once there are symbols.
    pub(crate) text: Option<RaceText>,
}

/// What the page says of races.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SeenRaces {
    /// They, in the order in which they showed. Each pair of instructions once.
    pub(crate) races: Vec<DataRace>,
    /// How many pairs there were beyond those.
    pub(crate) more: u64,
    /// Why they were not looked for to the end.
    pub(crate) gave_up: Option<&'static str>,
    /// The visible actions that the accesses became which were watched for.
    pub(crate) watched: [Option<usize>; 2],
}

impl SeenRaces {
    /// Of the page's bytes from `AT_RACES`.
    pub(super) fn parse(bytes: &[u8], code: &CodeMap) -> SeenRaces {
        let word = |at| word(bytes, at);
        let long = |at| long(bytes, at);
        let count = word(wire::RACES_STOPPED + 4) as usize;
        let kept = count.min(wire::MAX_RACES);
        let access = |at: usize| {
            let kind_and_size = word(at + 20);
            let size = (kind_and_size >> 16) as u16;
            let pc = long(at);
            RacingAccess {
                pc,
                instruction: code.number(pc),
                step: long(at + 8),
                thread: word(at + 16).min(wire::MAX_THREADS as u32 - 1),
                kind: kind_and_size as u16,
                size: u32::from(size & !wire::RACE_RANGE).min(8),
                is_part: size & wire::RACE_RANGE != 0,
            }
        };
        let races = (0..kept).map(|number| {
            let at = wire::RACES_LIST + number * wire::RACE_BYTES;
            DataRace {
                address: long(at),
                first: access(at + 8),
                second: access(at + 32),
            }
        });
        let event = |at| (word(at) as usize).checked_sub(1);
        SeenRaces {
            races: races.collect(),
            more: (count - kept) as u64,
            gave_up: match word(wire::RACES_STOPPED) {
                wire::races_stopped::GO_ON => None,
                wire::races_stopped::MEMORY => {
                    Some("it touches more memory than heisenbed can keep account of")
                }
                wire::races_stopped::THREADS => Some(
                    "it has more threads than heisenbed can keep account of, whose ends nobody \
                     waits for",
                ),
                _ => Some(
                    "it brings an allocator of its own, so that memory which is given back and \
                     used again could not be told from memory that is shared",
                ),
            },
            watched: [event(wire::RACES_SEEN), event(wire::RACES_SEEN + 4)],
        }
    }

    /// The race that the plan takes for a failure.
    pub(super) fn accused(&self, plan: &RacePlan) -> Option<AccusedRace> {
        let race = match plan.fails {
            RaceFails::Never => None,
            RaceFails::Any => self.races.first(),
            RaceFails::Only(pair) => self.races.iter().find(|race| race.pair() == pair),
        };
        race.cloned().map(|race| AccusedRace { race, text: None })
    }
}

/// The little-endian number at an offset; zero beyond the end.
fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u32::from_le_bytes(*word))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

impl AccusedRace {
    /// As a failure.
    pub(super) fn failure(&self) -> Failure {
        Failure {
            kind: FailureKind::DataRace,
            summary: self.text.as_ref().map_or_else(
                || "two accesses to the same memory that nothing orders".to_owned(),
                RaceText::summary,
            ),
            thread: Some(self.race.second.thread),
            waits: Vec::new(),
            stack: Vec::new(),
        }
    }
}

/// Which file an address is in, as a number that is the same each time.
#[derive(Clone, Debug, Default)]
pub(super) struct CodeMap(Vec<(u64, u64, u64)>);

/// Room for a file of any size.
const FILE_BITS: u32 = 44;

impl CodeMap {
    /// Of a process, by its `/proc/PID/maps`.
    pub(super) fn new(maps: &str) -> CodeMap {
        let mut files: BTreeMap<&str, u64> = BTreeMap::new();
        let parts = maps.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (begin, end) = words.next()?.split_once('-')?;
            let (offset, path) = (words.nth(1)?, words.nth(2)?);
            let number = |text| u64::from_str_radix(text, 16).ok();
            let next = files.len() as u64 + 1;
            let file = *files.entry(path).or_insert(next);
            let base = (file << FILE_BITS) + number(offset)?;
            path.starts_with('/')
                .then_some((number(begin)?, number(end)?, base))
        });
        CodeMap(parts.collect())
    }

    fn number(&self, pc: u64) -> u64 {
        let part = self
            .0
            .iter()
            .find(|(begin, end, _)| (*begin..*end).contains(&pc));
        part.map_or(pc, |(begin, _, base)| base + (pc - begin))
    }
}

/// A race, and the schedule in which it showed first.
#[derive(Clone, Debug)]
pub(crate) struct FoundRace {
    pub(crate) race: DataRace,
    pub(crate) schedule: u64,
}

/// The races of a search.
#[derive(Clone, Debug, Default)]
pub(crate) struct RaceTally {
    /// Each pair of instructions once, in the order in which they showed.
    pub(crate) found: Vec<FoundRace>,
    known: BTreeSet<RacePair>,
    /// Pairs that are not kept.
    pub(crate) more: u64,
    /// Schedules in which there was one.
    pub(crate) schedules: u64,
    /// The first schedule in which there was one.
    pub(crate) first: Option<(RunPlan, Execution)>,
    /// Why they were not looked for to the end.
    pub(crate) gave_up: Option<&'static str>,
}

/// The most pairs that are kept of a search: several may be one place in the source.
const MAX_PAIRS: usize = 256;

impl RaceTally {
    /// Adds those of an execution.
    pub(super) fn add(&mut self, plan: &RunPlan, execution: &Execution) {
        let seen = execution.seen_races();
        // Where no load or store is seen there is nothing to be looked for.
        if execution.accesses > 0 {
            self.gave_up = self.gave_up.or(seen.gave_up);
        }
        self.more = self.more.max(seen.more);
        if seen.races.is_empty() {
            return;
        }
        self.schedules += 1;
        if self.first.is_none() && execution.failure.is_none() {
            self.first = Some((plan.clone(), execution.clone()));
        }
        for race in &seen.races {
            if !self.known.insert(race.pair()) {
                continue;
            }
            if self.found.len() < MAX_PAIRS {
                self.found.push(FoundRace {
                    race: race.clone(),
                    schedule: plan.index,
                });
            } else {
                self.known.remove(&race.pair());
                self.more = self.more.max(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d0c0a00000-55d0c0a01000 r--p 00000000 08:01 17 /home/me/program
55d0c0a01000-55d0c0a05000 r-xp 00001000 08:01 17 /home/me/program
55d0c0b00000-55d0c0b21000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000010000 r-xp 00002000 08:01 18 /lib/libc.so.6
";

    #[test]
    fn instructions_have_the_same_number_wherever_the_program_is_loaded() {
        let one = CodeMap::new(MAPS);
        let other = CodeMap::new(&MAPS.replace("55d0c0", "562233"));
        assert_eq!(one.number(0x55d0_c0a0_1234), other.number(0x5622_33a0_1234));
        assert_ne!(one.number(0x55d0_c0a0_1234), one.number(0x55d0_c0a0_1238));
        assert_ne!(one.number(0x55d0_c0a0_2000), one.number(0x7f00_0000_0000));
    }

    #[test]
    fn what_a_program_scribbles_is_no_length_and_no_thread() {
        let bytes = vec![0xff; wire::RACES_LIST + wire::MAX_RACES * wire::RACE_BYTES];
        let seen = SeenRaces::parse(&bytes, &CodeMap::default());
        assert_eq!(seen.races.len(), wire::MAX_RACES);
        assert!(seen.races.iter().all(|race| race.first.thread < 1024));
        assert_eq!(seen.races[0].first.action(), "unknown");
    }
}
