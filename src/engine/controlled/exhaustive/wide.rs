//! The long part of a search, in batches that several workers share.
//!
//! A search begins depth first, a choice at a time. What is left on its stack after
//! [`FROM_STATES`] states goes on here: the states on top of the stack, up to [`BATCH`] of them,
//! are taken off together, each worker follows all choices of some, and then one thread goes
//! through what they came to *in the order of the batch*: counts it, asks the oracle, and puts the
//! states that are new on the stack, so that the first choice of the first state is on top.
//!
//! *What is found does not depend on the workers.* How far the first part goes and what is in a
//! batch follow from the search alone. While a batch is worked on, the states that were met are
//! only read, and the states of a batch know nothing of each other; so what comes of each is the
//! same whoever follows it, and when. All that is counted, compared or kept is so in the order of
//! the batch. That holds for one worker, too, which takes the same batches.
//!
//! What is on the stack is a machine each. It is at most a batch times the choices of a schedule:
//! the newest states are taken first.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{PoisonError, RwLock};
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::engine::controlled::actors::Actor;

use super::findings::{Findings, RestingState};
use super::fingerprint::Fingerprints;
use super::{Frame, Search, SearchEnd, SearchOptions, Searched, Seen};

/// From so many states on a search is wide: most that are asked for end before, and what is found
/// first is then near to where a search begins.
pub(super) const FROM_STATES: u64 = 1 << 13;

/// States that are followed together: enough that waiting for each other costs little, and few
/// enough that the stack stays small.
const BATCH: usize = 256;

/// States of a batch that a worker takes at a time.
const CHUNK: usize = 16;

/// A state with choices that are left, and how it was reached.
struct Open {
    frame: Box<Frame>,
    path: Vec<Actor>,
}

/// What a choice led to.
struct Reached {
    steps: usize,
    depth: usize,
    /// The paths on which something may have diverged at their last step.
    alarms: Vec<Vec<Actor>>,
    end: End,
}

enum End {
    /// A state that was met before this batch.
    Known,
    /// One that was not, with its fingerprint.
    New(u128, Open),
    /// A loop had come to its last round.
    Cut,
    /// An allocation of which the address may matter.
    AddressesMatter,
    /// There was no choice: it is at rest, after this path.
    RestingState(RestingState, Vec<Actor>),
}

/// States of a batch for one worker.
struct Chunk {
    /// Which of the batch's chunks.
    number: usize,
    states: Vec<Open>,
    /// States that nobody needs any more, for their memory.
    spare: Vec<Open>,
}

/// What came of a chunk; or the panic that came of it.
type Done = (usize, thread::Result<Vec<Reached>>);

impl Search<'_> {
    /// Searches what the states on the stack lead to.
    pub(super) fn run_wide(&mut self, keep_going: &mut dyn FnMut(&Searched) -> bool) {
        if self.used == 0 || self.findings.has_ended() {
            return;
        }
        let mut stack = self.open();
        let seen = RwLock::new(std::mem::take(&mut self.seen));
        let follower = || Follower {
            fingerprints: self.fingerprints.clone(),
            options: self.options,
            seen: &seen,
            spare: Vec::new(),
        };
        thread::scope(|scope| {
            let (give, chunks) = unbounded();
            let (send, done) = unbounded();
            for _ in 1..self.options.workers {
                let (follower, chunks, send) = (follower(), chunks.clone(), send.clone());
                // Where there can be no more threads, the others do it.
                let _ = thread::Builder::new()
                    .spawn_scoped(scope, move || follower.work(&chunks, &send));
            }
            let mut crew = Crew {
                own: follower(),
                give,
                chunks,
                done,
                spare: Vec::new(),
                alone: self.options.workers <= 1,
            };
            while !stack.is_empty() && !self.findings.has_ended() {
                let mut batch = stack.split_off(stack.len().saturating_sub(BATCH));
                batch.reverse();
                let reached = crew.follow(batch);
                let mut new = Vec::new();
                let mut seen = seen.write().unwrap_or_else(PoisonError::into_inner);
                for reached in reached {
                    let most = self.options.max_states;
                    let twin = take_in(&mut self.findings, reached, most, &mut seen, &mut new);
                    crew.spare.extend(twin);
                    if self.findings.has_ended() {
                        break;
                    }
                }
                stack.extend(new.into_iter().rev());
                if !self.findings.has_ended() && !keep_going(&self.findings.found) {
                    self.findings.found.ended = SearchEnd::Abandoned;
                }
            }
        });
    }

    /// The states on the stack, each by itself.
    fn open(&mut self) -> Vec<Open> {
        let path = &self.findings.path;
        let frames = self.frames.drain(..).take(self.used);
        let stack = frames
            .map(|frame| Open {
                path: path[..frame.path].to_vec(),
                frame: Box::new(frame),
            })
            .collect();
        self.used = 0;
        stack
    }
}

/// Takes in what a choice led to, as a search by one thread would on its way. Returns a state that
/// another of its batch came to first.
fn take_in(
    findings: &mut Findings<'_>,
    reached: Reached,
    max_states: u64,
    seen: &mut Seen,
    new: &mut Vec<Open>,
) -> Option<Open> {
    findings.count_steps(reached.steps, reached.depth);
    for path in reached.alarms {
        findings.path = path;
        findings.examine();
        if findings.has_ended() {
            return None;
        }
    }
    match reached.end {
        End::Known => {}
        End::Cut => findings.found.cut += 1,
        End::AddressesMatter => findings.begin_again(),
        End::RestingState(at_rest, path) => {
            findings.path = path;
            findings.rested(at_rest);
        }
        End::New(fingerprint, open) => {
            if !seen.insert(fingerprint) {
                return Some(open);
            }
            if findings.is_one_more(max_states) {
                new.push(open);
            }
        }
    }
    None
}

/// All workers, seen by the one that goes through what they come to.
struct Crew<'a> {
    own: Follower<'a>,
    give: Sender<Chunk>,
    chunks: Receiver<Chunk>,
    done: Receiver<Done>,
    /// As [`Chunk::spare`], for the next batch.
    spare: Vec<Open>,
    alone: bool,
}

impl Crew<'_> {
    /// What the choices of a batch lead to, in its order.
    fn follow(&mut self, batch: Vec<Open>) -> Vec<Reached> {
        if self.alone {
            self.own.keep(&mut self.spare);
            return self.own.follow(batch);
        }
        let count = batch.len().div_ceil(CHUNK);
        let share = self.spare.len() / count.max(1);
        let mut batch = batch.into_iter();
        for number in 0..count {
            let chunk = Chunk {
                number,
                states: batch.by_ref().take(CHUNK).collect(),
                spare: self.spare.split_off(self.spare.len() - share),
            };
            let given_away = self.give.send(chunk);
            given_away.expect("a receiver is kept beside the sender");
        }
        let mut reached: Vec<Vec<Reached>> = (0..count).map(|_| Vec::new()).collect();
        let mut left = count;
        while let Ok(mut chunk) = self.chunks.try_recv() {
            self.own.keep(&mut chunk.spare);
            reached[chunk.number] = self.own.follow(chunk.states);
            left -= 1;
        }
        for _ in 0..left {
            let (number, of_chunk) = self.done.recv().expect("each chunk that was taken is sent");
            reached[number] = of_chunk.unwrap_or_else(|panic| resume_unwind(panic));
        }
        reached.into_iter().flatten().collect()
    }
}

/// A worker.
struct Follower<'a> {
    fingerprints: Fingerprints,
    options: &'a SearchOptions,
    seen: &'a RwLock<Seen>,
    /// States that nobody needs any more, kept for their memory.
    spare: Vec<Open>,
}

impl Follower<'_> {
    fn work(mut self, chunks: &Receiver<Chunk>, send: &Sender<Done>) {
        for mut chunk in chunks {
            self.keep(&mut chunk.spare);
            // Who waits for it must not wait for ever.
            let reached = catch_unwind(AssertUnwindSafe(|| self.follow(chunk.states)));
            if send.send((chunk.number, reached)).is_err() {
                break;
            }
        }
    }

    /// Keeps states for their memory; not more than may be of use soon.
    fn keep(&mut self, spare: &mut Vec<Open>) {
        self.spare.append(spare);
        self.spare.truncate(2 * BATCH);
    }

    /// What all choices of these states lead to.
    fn follow(&mut self, chunk: Vec<Open>) -> Vec<Reached> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        let mut reached = Vec::new();
        for mut open in chunk {
            while let Some(actor) = open.frame.next_choice() {
                let preemptions = open.frame.preemptions_after(actor);
                if self.options.forbids(preemptions) {
                    open.frame.has_choice = true;
                    continue;
                }
                let mut next = self.next(&mut open);
                next.path.clone_from(&open.path);
                let Some(first) = next.frame.take(actor, preemptions, self.options) else {
                    self.spare.push(next);
                    continue;
                };
                open.frame.was_left_by(actor);
                let mut alarms = Vec::new();
                let mut addresses_matter = false;
                let mut took = Some(first);
                while let Some(step) = took {
                    addresses_matter = step.addresses_matter;
                    if addresses_matter {
                        break;
                    }
                    next.path.push(step.actor);
                    if next.frame.machine.alarmed() {
                        alarms.push(next.path.clone());
                    }
                    took = next.frame.take_safe(self.options);
                }
                let depth = next.path.len();
                let end = if addresses_matter {
                    End::AddressesMatter
                } else if next.frame.machine.world().is_cut() {
                    End::Cut
                } else {
                    let frame = &mut next.frame;
                    let fingerprint = frame.fingerprint(&mut self.fingerprints, self.options);
                    if seen.contains(&fingerprint) {
                        self.spare.push(next);
                        End::Known
                    } else {
                        next.frame.begin(depth);
                        End::New(fingerprint, next)
                    }
                };
                reached.push(Reached {
                    steps: depth - open.path.len(),
                    depth,
                    alarms,
                    end,
                });
            }
            if open.frame.has_choice {
                self.spare.push(open);
            } else {
                let at_rest = RestingState::of(&mut open.frame.machine);
                reached.push(Reached {
                    steps: 0,
                    depth: 0,
                    alarms: Vec::new(),
                    end: End::RestingState(at_rest, open.path),
                });
            }
        }
        reached
    }
}

impl Follower<'_> {
    /// The state of `open`, to take a choice in: its own machine where that is the last one, and
    /// nobody will ask whether it is at rest; else a copy.
    fn next(&mut self, open: &mut Open) -> Open {
        let Some(mut next) = self.spare.pop() else {
            return Open::after(open);
        };
        if open.frame.has_choice && open.frame.todo.is_empty() {
            std::mem::swap(&mut next.frame.machine, &mut open.frame.machine);
        } else {
            next.frame.machine.clone_from(&open.frame.machine);
        }
        next
    }
}

impl Open {
    /// A state to be made from a copy of `before`.
    fn after(before: &Open) -> Open {
        Open {
            frame: Box::new(Frame::at(before.frame.machine.clone())),
            path: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Goal;
    use super::*;
    use crate::engine::controlled::machine::Setup;
    use crate::lifecycle::{Order, Publication};
    use crate::scenario::ScenarioFile;

    fn setup(workload: &str, discipline: &str, threads: u16, ops: u64) -> Arc<Setup> {
        let mut file = ScenarioFile::load(workload).expect("built in");
        discipline.clone_into(&mut file.discipline);
        (file.order, file.publish) = (Some(Order::FreeFirst), Some(Publication::Early));
        let scenario = file.condensed(Some(threads), Some(ops)).resolve();
        Setup::new(scenario.expect("it resolves"), 0).expect("it is small")
    }

    /// A search that is wide from so many states on: all that it found, as text.
    fn searched(setup: &Arc<Setup>, options: SearchOptions, from: u64) -> String {
        let mut search = Search::new(setup, &options);
        search.enter_first();
        search.run(from, &mut |_| true);
        search.run_wide(&mut |_| true);
        format!("{:?}", search.findings.end())
    }

    const CASES: [(&str, &str, u16, u64); 5] = [
        ("own-buffers", "unlocked", 2, 4),
        ("own-buffers", "lifecycle-wide", 3, 4),
        ("handoff", "lifecycle-narrow", 2, 4),
        ("mesh", "claimed-wide", 2, 2),
        ("dontwait-loss", "lifecycle-wide", 2, 4),
    ];

    /// To the letter: the counts, the first divergence with its schedule, what was seen at rest.
    #[test]
    fn what_is_found_does_not_depend_on_the_number_of_workers() {
        let small = CASES.map(|(workload, discipline, ..)| (workload, discipline, 2, 2, false));
        // Without reductions there are states enough for several at once.
        let cases = CASES
            .map(|(workload, discipline, threads, ops)| (workload, discipline, threads, ops, true));
        for (workload, discipline, threads, ops, reduced) in cases.into_iter().chain(small) {
            let setup = setup(workload, discipline, threads, ops);
            for (goal, max_states) in [
                (Goal::First, u64::MAX),
                (Goal::AllKinds, u64::MAX),
                (Goal::AllKinds, 150),
            ] {
                for preemptions in [None, Some(2)] {
                    let by = |workers| {
                        let options = SearchOptions {
                            goal,
                            max_states,
                            preemptions,
                            workers,
                            partial_order: reduced,
                            symmetry: reduced,
                            dead_slots: reduced,
                            addresses: reduced,
                        };
                        searched(&setup, options, 5)
                    };
                    let one = by(1);
                    for workers in [2, 3, 7] {
                        let more = by(workers);
                        assert!(more == one, "{workload}, {discipline}, {workers} workers");
                    }
                }
            }
        }
    }

    /// Without reductions nothing depends on who reaches a state first: a wide search then meets
    /// what a narrow one does, finds the same kinds, and takes as many steps.
    #[test]
    fn a_wide_search_meets_what_a_narrow_one_meets() {
        for (workload, discipline, ..) in CASES {
            let setup = setup(workload, discipline, 2, 2);
            for preemptions in [None, Some(1)] {
                let options = SearchOptions {
                    partial_order: false,
                    symmetry: false,
                    dead_slots: false,
                    addresses: false,
                    preemptions,
                    goal: Goal::AllKinds,
                    workers: 2,
                    ..SearchOptions::default()
                };
                let whole = |from| {
                    let mut search = Search::new(&setup, &options);
                    search.enter_first();
                    search.run(from, &mut |_| true);
                    search.run_wide(&mut |_| true);
                    let found = search.findings.end();
                    let kinds: Vec<_> = found.divergences.into_keys().collect();
                    (found.ended, found.states, found.steps, found.leaks, kinds)
                };
                let narrow = whole(u64::MAX);
                assert_eq!(narrow.0, SearchEnd::Exhausted);
                for from in [1, 40] {
                    assert_eq!(whole(from), narrow, "{workload}, {discipline}, from {from}");
                }
            }
        }
    }
}
