//! Coherence: whether a record can be what one server got, whole and in its order.
//!
//! Logs are shipped, filtered and joined. What they show then looks like a cause that nobody's
//! traffic had. A record tells it by what no server and no client leaves: lines that all stand
//! twice, no ALLOC or no FREE at all, answers that one table cannot have given, lives of which
//! hardly any begins and ends, FREEs that all name another device.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashSet, FxHasher};

use super::address::AddressKey;
use super::addresses::LivesAt;
use super::facts::Facts;
use super::seen_message::SeenMessage;
use super::senders::HeardSenders;
use crate::numbers::plural;
use crate::trace::observation::{RefsLeft, ServerAnswer};

/// Messages from which on a record shows what is normal.
const FEW: u64 = 16;
/// The share of the time that buffers live in which an address is used twice at once: more than
/// messages of threads are late.
const USED_TWICE: f64 = 0.2;
/// So many ALLOCs with another size, and hardly a FREE without ALLOC, are no losses by chance.
const FEW_RESIZED: u64 = 6;
/// Messages that are compared with each other; a longer record is not taken for two equal halves.
const MAX_COMPARED: usize = 1 << 20;
/// Addresses that are remembered as released by the server's own word.
const MAX_RELEASED: usize = 1 << 20;

/// What tells it.
#[derive(Debug, Default)]
pub(super) struct Coherence {
    allocs: u64,
    frees: u64,
    /// ALLOCs that say what the message before them says.
    repeated: u64,
    /// FREEs of what the record shows as live.
    whole: u64,
    /// FREEs of what is not live, and of these, those at whose address another device has a buffer.
    stray: u64,
    on_other_device: u64,
    /// FREEs of what the server knew from before the record.
    known_before: u64,
    /// One number a message, by what it says.
    said: Vec<u64>,
    is_long: bool,
    /// Addresses that the server released, and not allocated since.
    released: FxHashSet<AddressKey>,
    /// Addresses of which it counted several references: each FREE releases one.
    shared: FxHashSet<AddressKey>,
    /// FREEs by which it released once more what it had released.
    contradictions: u64,
    senders: HeardSenders,
    /// The server says that it counts references.
    pub counts_references: bool,
}

impl Coherence {
    /// Takes a message, before it takes effect. Whether it is an ALLOC right after another one of
    /// its address, from the same sender.
    pub(super) fn take(&mut self, key: AddressKey, seen: &SeenMessage<'_>, lives: LivesAt) -> bool {
        let directly = self.senders.take(key, seen);
        let says = says(seen);
        if seen.opens() {
            self.allocs += 1;
            self.repeated += u64::from(self.said.last() == Some(&says));
            self.released.remove(&key);
            let is_counted = matches!(
                seen.server_answer,
                Some(ServerAnswer::RefCount(_) | ServerAnswer::Incremented)
            );
            self.counts_references |= is_counted;
            let is_shared = matches!(seen.server_answer, Some(ServerAnswer::RefCount(2..)));
            if is_shared && self.shared.len() < MAX_RELEASED {
                self.shared.insert(key);
            }
        } else {
            self.frees += 1;
            match lives {
                LivesAt::OwnDevice => self.whole += 1,
                LivesAt::OtherDevice => self.on_other_device += 1,
                LivesAt::Nowhere => {}
            }
            self.stray += u64::from(lives != LivesAt::OwnDevice);
            self.known_before += u64::from(lives != LivesAt::OwnDevice && seen.was_known());
            self.note_answer(key, seen);
        }
        if self.said.len() < MAX_COMPARED {
            self.said.push(says);
        } else {
            self.is_long = true;
            // The last place serves for the comparison with the message before.
            self.said[MAX_COMPARED - 1] = says;
        }
        directly
    }

    /// Takes the same message: how many ALLOCs in a row said again what is live, if one more does.
    pub(super) fn announced_again(&mut self, seen: &SeenMessage<'_>, repeats: bool) -> u64 {
        self.senders.announced_again(seen, repeats)
    }

    /// A server starts: it knows of no release.
    pub(super) fn server_starts(&mut self) {
        self.released.clear();
        self.shared.clear();
    }

    fn note_answer(&mut self, key: AddressKey, seen: &SeenMessage<'_>) {
        let left = match seen.server_answer {
            Some(ServerAnswer::Freed(left)) => left,
            _ => return,
        };
        let is_gone = !matches!(left, RefsLeft::Remaining(1..));
        if self.shared.contains(&key) {
            // How many are left is the server's to say.
        } else if self.released.contains(&key) {
            self.contradictions += 1;
        } else if is_gone && self.released.len() < MAX_RELEASED {
            self.released.insert(key);
        }
    }

    /// Why it cannot be what one server got, in sentences.
    pub(super) fn doubts(&self, facts: &Facts) -> Vec<String> {
        let mut doubts = Vec::new();
        // Addresses come back, or FREEs name what is not there: the other kind was left out.
        if self.frees == 0 && self.allocs >= FEW && facts.reused > 0 {
            doubts.push(format!(
                "all {} are ALLOCs, and their addresses come back: FREEs were left out, or these \
                 clients send none",
                plural(self.allocs, "message")
            ));
        }
        if self.allocs == 0 && self.frees >= FEW && !facts.kinds.is_empty() {
            doubts.push(format!(
                "all {} are FREEs: ALLOCs were left out, or came before the record",
                plural(self.frees, "message")
            ));
        }
        if self.repeated >= 4 && self.repeated * 4 >= self.allocs {
            doubts.push(format!(
                "{} what the message before says: each line seems to stand twice",
                match self.repeated {
                    1 => "1 ALLOC says".to_owned(),
                    count => format!("{} say", plural(count, "ALLOC")),
                }
            ));
        } else if !facts.kinds.is_empty() && self.is_twice_the_same() {
            doubts.push("its second half says word by word what its first half says".to_owned());
        } else if self.contradictions > 0 && facts.aliased.count == 0 {
            doubts.push(format!(
                "{} the server says it released what it had released before: these are lines of \
                 several servers, or lines are missing",
                match self.contradictions {
                    1 => "once".to_owned(),
                    count => plural(count, "time"),
                }
            ));
        }
        // As often as a FREE alone can be lost between the two.
        let by_loss = self.senders.share_at_once(self.allocs, self.frees);
        let lost = facts.lost_frees.count + facts.far_late_frees.count;
        let echoed = facts.echoed as f64;
        let is_resized = resized(facts);
        if is_resized.is_none()
            && facts.echoed >= 4
            && facts.echoed * 2 >= lost
            && echoed > 3.0 * (by_loss * lost as f64 + 1.0)
        {
            doubts.push(format!(
                "{} of an address come right after its last one, from the same sender: sent twice \
                 (a proxy, a client that sends again), or resized in place, rather than without \
                 the FREE between",
                plural(facts.echoed, "ALLOC")
            ));
        }
        if let Some(says) = announced_again(facts).or_else(|| said_again(facts)) {
            doubts.push(says);
        }
        if let Some(says) = is_used_twice(facts) {
            doubts.push(says);
        }
        doubts.extend(another_order(facts));
        doubts.extend(is_resized);
        doubts.extend(held_twice(facts));
        if facts.refused.count > 0 && !facts.kinds.is_empty() {
            doubts.push(format!(
                "the server refused {} that {} sound, for a sequence number that is too far ahead \
                 or came before, or as its table was full: what is unknown may be of those",
                plural(facts.refused.count, "message"),
                if facts.refused.count == 1 {
                    "is"
                } else {
                    "are"
                },
            ));
        }
        if facts.twice.count >= 3 && facts.second_frees.count > 0 {
            doubts.push(
                "where ALLOCs come twice, second FREEs may be messages that were sent again, too"
                    .to_owned(),
            );
        }
        if facts.counted_anew > 0 {
            doubts.push(
                "generations come again over a connection that goes on: this client does not \
                 count the allocations of a device (include/heisenbed.h)"
                    .to_owned(),
            );
        }
        if facts.wrapped > 0 {
            doubts.push(
                "sequence numbers begin anew after high ones: they wrap, or are no count of \
                 messages"
                    .to_owned(),
            );
        }
        if facts.two_of_one_id > 0 {
            doubts.push(
                "a process id goes on over its old connections after another process of that id \
                 began: two processes have one id (as in containers)"
                    .to_owned(),
            );
        }
        let fewer = self.allocs.min(self.frees);
        if fewer >= FEW && self.whole * 10 < fewer && self.known_before * 10 >= self.frees * 9 {
            doubts.push(format!(
                "of {} hardly one has both its ALLOC and its FREE here, in this order: lines are \
                 missing, or stand in another order than they were written in",
                plural(self.allocs.max(self.frees), "buffer")
            ));
        }
        let is_elsewhere = self.on_other_device >= 4 && self.on_other_device * 5 >= self.stray * 4;
        if is_elsewhere && facts.lockstep_allocs == 0 && !facts.kinds.is_empty() {
            doubts.push(format!(
                "{} the address of a buffer that is live on another device: who sends them may \
                 mean that one",
                plural(self.on_other_device, "FREE") + " name"
            ));
        }
        doubts
    }

    fn is_twice_the_same(&self) -> bool {
        let (first, second) = self.said.split_at(self.said.len() / 2);
        !self.is_long && first.len() as u64 >= FEW && first == second
    }
}

/// Where ALLOCs say again what is live, and no new process explains it.
fn announced_again(facts: &Facts) -> Option<String> {
    (facts.is_announced_again() && !is_explained_by_new_processes(facts)).then(|| {
        format!(
            "{} of one sender say again what is live, several in a row: sent again by a client \
             that connected again, or their FREEs are lost",
            plural(facts.announced_again, "ALLOC")
        )
    })
}

/// Where ALLOCs alone are too many, and no new process explains it.
fn said_again(facts: &Facts) -> Option<String> {
    (facts.is_said_again() && !is_explained_by_new_processes(facts)).then(|| {
        format!(
            "{} say again what is live, and hardly a FREE lacks its ALLOC, although what loses \
             FREEs loses ALLOCs as well: sent again by a client, one by one, or their FREEs are \
             lost",
            plural(facts.overlaps.repeats, "ALLOC")
        )
    })
}

/// Whether moments at which a process began anew explain nearly all lives without FREE.
fn is_explained_by_new_processes(facts: &Facts) -> bool {
    let lost = facts.lost_frees.count + facts.far_late_frees.count;
    let lives = facts.cuts.iter().map(|cut| cut.lives.len() as u64);
    lives.sum::<u64>() * 10 >= lost * 9
}

/// Where messages are late in the record, and not by its own times.
fn another_order(facts: &Facts) -> Option<String> {
    facts.is_in_time().then(|| {
        format!(
            "times go back in this record, and by them {} that are late where they stand came in \
             their turn: sort it by time, and diagnose that",
            plural(facts.in_time.count, "message")
        )
    })
}

/// Where ALLOCs that are too many state another size right after the last ALLOC of their address,
/// and hardly a FREE lacks its ALLOC.
fn resized(facts: &Facts) -> Option<String> {
    let lost = facts.lost_frees.inferred();
    let without_alloc = facts.second_frees.count + facts.lost_allocs.count;
    let is_resized = facts.resized >= FEW_RESIZED
        && facts.resized * 4 >= lost * 3
        && without_alloc * 8 <= facts.resized;
    is_resized.then(|| {
        format!(
            "{} of an address come right after its last one with another size, and hardly a FREE \
             lacks its ALLOC: resized in place, rather than without the FREE between",
            plural(facts.resized, "ALLOC")
        )
    })
}

/// Where a server counts references, and buffers are live twice with one size.
fn held_twice(facts: &Facts) -> Option<String> {
    let late = facts.late_frees.inferred();
    let shared = facts.late_sizes.same_beyond(facts.sizes);
    (facts.counts_references && shared * 10.0 >= late as f64 * 9.0 && shared > 0.0).then(|| {
        format!(
            "{} of what is live come with its size, though addresses come back with any: two hold \
             these buffers, each with an ALLOC and a FREE of its own, which the server counts; or \
             messages came twice, or late",
            plural(late, "ALLOC")
        )
    })
}

/// Where two seem to have each address, each for itself.
fn is_used_twice(facts: &Facts) -> Option<String> {
    let (near, far) = (facts.late_frees.inferred(), facts.far_late_frees.inferred());
    let late = near + far;
    let early = facts.early_frees.inferred() + facts.far_early_frees.inferred();
    let doubled = (facts.late_gaps.length() + facts.far_lateness) as f64;
    let share = doubled / (facts.lives.length() as f64 + doubled).max(1.0);
    // A thread that is preempted is late by many lives; two processes are so by few most often.
    let is_mostly_near = near >= FEW && near * 2 >= far;
    (is_mostly_near && early * 8 <= late && share >= USED_TWICE).then(|| {
        format!(
            "an address was allocated while it was live {}, and used twice for {:.0} % of the time \
             that buffers are: two processes with one id and one device number (as in containers), \
             each of which has the address for itself, leave that as well as messages that are \
             late",
            plural(late, "time"),
            100.0 * share,
        )
    })
}

/// What a message says, as a number.
fn says(seen: &SeenMessage<'_>) -> u64 {
    let mut hasher = FxHasher::default();
    let message = seen.message;
    (seen.opens(), message.device, message.address).hash(&mut hasher);
    (message.pid, message.size_bytes, message.buffer_type).hash(&mut hasher);
    message.timestamp_ns.hash(&mut hasher);
    let numbers = message.extension.map(|own| (own.sequence, own.generation));
    numbers.hash(&mut hasher);
    hasher.finish()
}
