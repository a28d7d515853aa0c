//! What one thread alone shows of a target: drawn programs in small memories.
//!
//! A schedule is about two threads with a few buffers, and real threads rarely fill a memory. What
//! goes wrong in splitting, joining, rounding, counting or at the end of memory needs neither: it
//! needs many sizes, and memory that is full. So each program here is some dozens of operations of
//! one thread, done at once by a driver that is served ([`ServedTarget`]); there are thousands in a
//! second. No runtime is there and nothing is scheduled, so it says nothing about races.
//!
//! What fails is made small, and must fail in a process of its own, too. A program that does not
//! end accuses nobody: an allocation may wait for what another thread releases.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::about::TargetError;
use super::served::ServedTarget;
use super::shrink::{SlotLife, lives, normalised, without};
use super::{TargetAbout, TargetSetup};
use crate::device::{BufferKind, DeviceId, Memory, Profile};
use crate::scenario::Scenario;
use crate::scenario::op::{Op, Request, SlotId};
use crate::scenario::random::{Purpose, Random};

/// Bytes of each memory; the programs are divided among them.
pub(crate) const MEMORIES: [u32; 2] = [1 << 16, 1 << 20];
/// Programs in each of them.
const PROGRAMS: u64 = 5_000;
/// Apart from the streams of programs of one thread.
const PAIR_STREAMS: u64 = 1 << 32;
/// Slots of a program.
const SLOTS: u64 = 16;
/// Programs that may be tried to make one small.
const MOST_TRIED: u64 = 2_000;
/// Of them so many may not end: each takes its whole time.
const MOST_HUNG: u64 = 5;
/// How long one of them may take, of which there are thousands in a second.
const CANDIDATE_TIMEOUT: Duration = Duration::from_secs(1);

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    /// Programs that were run.
    pub(crate) programs: u64,
    /// In memories of so many bytes.
    pub(crate) memories: Vec<u32>,
    /// The first that failed.
    pub(crate) failed: Option<SurveyFailure>,
    /// Programs of two threads for the same memories: whoever has a scheduler runs them.
    pub(crate) pairs: Vec<TargetSetup>,
    /// Why it was not done to the end.
    pub(crate) note: Option<String>,
}

/// A program that fails.
#[derive(Clone, Debug)]
pub(crate) struct SurveyFailure {
    /// Its number.
    pub(crate) program: u64,
    /// What is wrong, its kind first.
    pub(crate) what: String,
    /// How many operations it had as it was drawn.
    pub(crate) before: u64,
    /// It, made small.
    pub(crate) setup: TargetSetup,
}

impl Survey {
    /// Of the target at `library`, which can do what `known` says in larger memories, with what
    /// `scenario` and `options` say of it but for its workload. `keep_going` is told how many
    /// programs were run. For each memory `pairs` programs of two threads are drawn, too, each in
    /// one of the target's memories.
    pub(crate) fn run(
        (library, known): (&Path, &TargetAbout),
        options: &str,
        scenario: &Scenario,
        (seed, pairs): (u64, u64),
        keep_going: &mut dyn FnMut(u64) -> bool,
    ) -> io::Result<Survey> {
        let mut survey = Survey::default();
        for (geometry, bytes) in (0..).zip(MEMORIES) {
            let small = Scenario {
                profile: Profile::Custom {
                    devices: 1,
                    bank_bytes: bytes,
                },
                devices: 1,
                threads: 1,
                ..scenario.clone()
            };
            let bare = TargetSetup::new(&small, 0, options).with_ops(Vec::new());
            let about = match TargetAbout::ask(library, &bare) {
                Ok(about) => about,
                // The operations that it ended by are those of the programs, which show it.
                Err(TargetError::Ended { .. }) => known.without_whole(),
                // A target need not be able to do with so little.
                Err(_) => continue,
            };
            let memories = Memory::ALL.into_iter();
            let memories: Vec<Memory> = memories.filter(|one| about.has_memory(*one)).collect();
            if memories.is_empty() {
                continue;
            }
            let setup = TargetSetup {
                socket: None,
                ..bare.for_target(&about, &small)
            };
            survey.memories.push(bytes);
            // All memories begin at one address here. A server that goes by addresses would take
            // one memory's buffer for another's, which is no mistake of the target's.
            survey.pairs.extend(
                (0..pairs)
                    .zip(memories.iter().cycle())
                    .map(|(number, memory)| {
                        let random =
                            Random::new(seed, geometry + PAIR_STREAMS, Purpose::Survey, number);
                        setup.with_ops(drawn(random, 2, bytes.into(), &[*memory]))
                    }),
            );
            let mut served = ServedTarget::new(library, &setup)?;
            for number in 0..PROGRAMS {
                if !keep_going(survey.programs) {
                    survey.note = Some("it was interrupted".to_owned());
                    return Ok(survey);
                }
                let random = Random::new(seed, geometry, Purpose::Survey, number);
                let program = setup.with_ops(drawn(random, 1, bytes.into(), &memories));
                survey.programs += 1;
                let Err(what) = served.run(&program)? else {
                    continue;
                };
                survey.fails(&mut served, program, what)?;
                return Ok(survey);
            }
        }
        if survey.memories.is_empty() {
            survey.note = Some(format!(
                "it has no memory where each has {} bytes or less",
                MEMORIES[MEMORIES.len() - 1]
            ));
        }
        Ok(survey)
    }

    /// A program that failed: whether it does so alone, and what is left of it.
    fn fails(
        &mut self,
        served: &mut ServedTarget,
        program: TargetSetup,
        what: String,
    ) -> io::Result<()> {
        if kind(&what) == HANGS {
            self.note = Some("one program did not end, so that no other was run".to_owned());
            return Ok(());
        }
        // What failed ended its process.
        let Err(alone) = served.run(&program)? else {
            let kind = kind(&what);
            self.note = Some(format!(
                "one program failed ({kind}) after others in its process, and not in a new one: \
                 close leaves something behind"
            ));
            return Ok(());
        };
        let before = program.count();
        let (setup, what) = smaller(served, program, alone)?;
        self.failed = Some(SurveyFailure {
            program: self.programs - 1,
            what,
            before,
            setup,
        });
        Ok(())
    }

    /// In words.
    pub(crate) fn words(&self) -> String {
        let sizes: Vec<String> = self
            .memories
            .iter()
            .map(|bytes| crate::numbers::grouped((*bytes).into()))
            .collect();
        let said = format!(
            "one thread alone: {} of some dozen operations in memories of {} bytes",
            crate::numbers::plural(self.programs, "drawn program"),
            sizes.join(" and "),
        );
        match (&self.failed, &self.note) {
            (Some(failed), _) => format!("{said}: number {} fails", failed.program),
            (None, Some(note)) if self.programs == 0 => {
                format!("one thread alone was not looked at: {note}")
            }
            (None, Some(note)) => format!("{said}: {note}"),
            (None, None) => format!("{said}: nothing failed"),
        }
    }
}

/// Of a program that did not end.
pub(super) const HANGS: &str = "livelock";

/// The kind that stands first.
fn kind(what: &str) -> &str {
    what.split_once(':').map_or(what, |(kind, _)| kind)
}

/// A program: sizes of one of several sorts, so that some programs have few large ones, some many
/// of a few sizes, some such as are nobody's multiple. Two threads have two sorts more: all of one
/// size, as what one releases is what the other gets then, and small ones beside large ones, so
/// that memory is full where something of a small size is kept.
/// Each slot is one thread's.
fn drawn(mut random: Random, threads: usize, bytes: u64, memories: &[Memory]) -> Vec<Vec<Op>> {
    let sort = random.below(if threads == 1 { 5 } else { 7 });
    let few: Vec<u64> = (0..3).map(|_| random.between(1, bytes / 8)).collect();
    let memory_count = random.between(1, memories.len() as u64);
    let allocates = random.between(45, 75) as u8;
    // What is scheduled is to be short: where two meet is one place of few then.
    let length = random.between(4, if threads == 1 { 64 } else { 14 });
    let releases_all = random.percent(75);
    let (mut ops, mut live) = (vec![Vec::new(); threads], Vec::new());
    let of = |slot: u32| slot as usize % threads;
    let mut epochs = [0u32; SLOTS as usize];
    let mut free: Vec<u32> = (0..SLOTS as u32).collect();
    for _ in 0..length {
        let allocate = live.is_empty() || !free.is_empty() && random.percent(allocates);
        if !allocate {
            let at = random.below(live.len() as u64) as usize;
            let slot: u32 = live.swap_remove(at);
            ops[of(slot)].push(release(slot, epochs[slot as usize]));
            free.push(slot);
            continue;
        }
        let slot = free.swap_remove(random.below(free.len() as u64) as usize);
        epochs[slot as usize] += 1;
        let size = match sort {
            0 => random.between(1, bytes / 4),
            1 => random.between(1, 512),
            2 => ((1 << random.below(bytes.ilog2().into())) + random.below(3)).saturating_sub(1),
            3 => few[random.below(few.len() as u64) as usize],
            5 => few[0],
            6 if random.percent(50) => random.between(1, 512),
            6 => random.between(bytes / 8, bytes / 2),
            _ => random.between(bytes / 16, bytes),
        };
        let memory = memories[random.below(memory_count) as usize];
        ops[of(slot)].push(Op::Allocate {
            slot: SlotId(slot),
            epoch: epochs[slot as usize],
            request: Request {
                kind: BufferKind::Owned,
                device: DeviceId(0),
                parts: 1,
                memory,
                size_bytes: size.max(1),
                releases: 1,
            },
        });
        live.push(slot);
    }
    while let Some(slot) = live.pop().filter(|_| releases_all) {
        ops[of(slot)].push(release(slot, epochs[slot as usize]));
    }
    normalised(ops)
}

fn release(slot: u32, epoch: u32) -> Op {
    Op::Release {
        slot: SlotId(slot),
        epoch,
    }
}

/// The program with as few operations as show the same kind, and what it shows then.
fn smaller(
    served: &mut ServedTarget,
    program: TargetSetup,
    what: String,
) -> io::Result<(TargetSetup, String)> {
    served.set_timeout(CANDIDATE_TIMEOUT);
    let mut best = (program, what);
    let (mut tried, mut hung) = (0, 0);
    let mut offer = |best: &mut (TargetSetup, String), ops: Vec<Vec<Op>>| {
        let ops = normalised(ops);
        tried += 1;
        if tried > MOST_TRIED || hung >= MOST_HUNG || ops.is_empty() {
            return io::Result::Ok(false);
        }
        let setup = best.0.with_ops(ops);
        let Err(what) = served.run(&setup)? else {
            return Ok(false);
        };
        hung += u64::from(kind(&what) == HANGS);
        let same = kind(&what) == kind(&best.1);
        if same {
            *best = (setup, what);
        }
        Ok(same)
    };
    let mut before = u64::MAX;
    while best.0.count() < before {
        before = best.0.count();
        let mut length = lives(&best.0.ops).len().div_ceil(2);
        while length > 0 {
            let mut begin = 0;
            while let Some(rest) = lives(&best.0.ops)
                .get(begin..)
                .filter(|rest| !rest.is_empty())
            {
                let out: BTreeSet<SlotLife> = rest.iter().take(length).copied().collect();
                let ops = without(&best.0.ops, &out);
                if !offer(&mut best, ops)? {
                    begin += length;
                }
            }
            length /= 2;
        }
        let mut at = best.0.ops.first().map_or(0, Vec::len);
        while at > 0 {
            at -= 1;
            let mut ops = best.0.ops.clone();
            if let Some(Op::Release { .. }) = ops[0].get(at) {
                ops[0].remove(at);
                offer(&mut best, ops)?;
            }
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::target::can_be_done;

    #[test]
    fn drawn_programs_can_be_done_and_are_not_alike() {
        let program = |number| {
            let threads = 1 + number as usize % 2;
            let random = Random::new(1, 0, Purpose::Survey, number);
            drawn(random, threads, 1 << 16, &[Memory::Dram, Memory::L1])
        };
        let mut all = BTreeSet::new();
        for number in 0..500 {
            let ops = program(number);
            assert_eq!(ops, program(number));
            assert!(!ops.is_empty() && can_be_done(&ops), "{ops:?}");
            let texts: Vec<String> = ops.iter().flatten().map(Op::to_string).collect();
            all.insert(texts.join("; "));
        }
        assert!(all.len() > 490, "{}", all.len());
    }
}
