//! What cannot be told, and what to record to tell it.

use super::super::facts::Facts;
use super::super::outcome::CONFIDENT;
use super::super::suspect::{Cause, Suspect};
use super::real_leak::is_drained;
use super::reordering;
use crate::numbers::{grouped, plural};

/// What tells lost, late and second messages apart.
const WHICH_LIFE: &str = "which life a message means: send extended messages \
                          (include/heisenbed.h), whose generation and sequence number tell a \
                          second FREE from a lost ALLOC and a late message from a lost one";

/// What to record, where the diagnosis is not settled.
pub(super) fn advice(facts: &Facts, causes: &[Suspect], trouble: bool) -> Vec<String> {
    let mut advice = Vec::new();
    let circumstances = facts.circumstances;
    let open_end = facts.live.count > 0
        && !circumstances.complete
        && !circumstances.begins_in_the_middle
        && !is_drained(facts);
    if open_end {
        advice.push(format!(
            "{} live at the end, in use or leaked: record until the clients have ended \
             (`serve --record`, `proxy --record`), or import the runtime's debug log, which has \
             the call stack of each",
            match facts.live.count {
                1 => "1 buffer is".to_owned(),
                count => format!("{} are", plural(count, "buffer")),
            }
        ));
    }
    let settled = causes.first().is_some_and(|first| first.score >= CONFIDENT);
    if settled || !trouble {
        return advice;
    }
    if facts.is_in_time() {
        advice.push("the same in the order of its times".to_owned());
        return advice;
    }
    if !facts.doubts.is_empty() {
        if facts.is_held_twice() || facts.resized > 0 {
            advice.push(WHICH_LIFE.to_owned());
        }
        advice.push(
            "the record as one server wrote it, every line once, in its order: not filtered, not \
             joined with another (`serve --record`)"
                .to_owned(),
        );
        return advice;
    }
    let suspected = |cause| causes.iter().any(|suspect| suspect.cause == cause);
    if !facts.generations
        && (suspected(Cause::Loss)
            || suspected(Cause::DoubleRelease)
            || suspected(Cause::Reordering))
    {
        advice.push(WHICH_LIFE.to_owned());
    }
    if suspected(Cause::Loss) && suspected(Cause::Reordering) && !circumstances.complete {
        advice.push(
            "the end: record until the clients have ended (`proxy --record`, `serve --record`): by \
             then what was late has come, and what was lost has not"
                .to_owned(),
        );
    }
    if suspected(Cause::LateAttach) {
        advice.push("the beginning: start the server and the record before the clients".to_owned());
    }
    if suspected(Cause::LayoutMismatch) {
        advice.push(
            "the bytes: put `heisenbed proxy --record` between client and server, which shows \
             each connection's layout"
                .to_owned(),
        );
    }
    if suspected(Cause::PidReuse) {
        advice
            .push("the connections: a capture or a journal shows which process speaks".to_owned());
    }
    if suspected(Cause::RealLeak) && !circumstances.knows_stacks {
        advice.push(
            "where the buffers come from: the runtime's debug log (TT_BUFFER_DEBUG_LOG=1), \
             imported, has the call stacks"
                .to_owned(),
        );
    }
    if advice.is_empty() {
        advice.push(
            "more of it: a longer record, from the start of the server to the end of its clients, \
             with `serve --record`"
                .to_owned(),
        );
    }
    advice
}

/// What else should be known.
pub(super) fn notes(facts: &Facts, causes: &[Suspect]) -> Vec<String> {
    let mut notes = facts.doubts.clone();
    let is_open = facts.doubts.is_empty() && !causes.iter().any(|it| it.score >= CONFIDENT);
    let suspected = |cause| is_open && causes.iter().any(|suspect| suspect.cause == cause);
    if suspected(Cause::Loss) && facts.strays.pairs(facts.messages).are_no_chance() {
        notes.push(
            "while a buffer gets no FREE, a FREE of what is not live comes, again and again: \
             messages that are lost, or FREEs that name another buffer than they mean (a wrong \
             address or device), leave that"
                .to_owned(),
        );
    }
    if suspected(Cause::Reordering) && reordering::may_be_two(facts) {
        notes.push(
            "what is late is hardly earlier than buffers end: two that have the same addresses, each \
             for itself (two processes with one id, addresses that were cut off, an allocator that \
             hands out what is in use), leave that as well as messages that are late"
                .to_owned(),
        );
    }
    if facts.known_before > 0 {
        notes.push(format!(
            "the server knew {} that the record does not show: it began before the record",
            plural(facts.known_before, "buffer")
        ));
    }
    if facts.kept_in_sweep.count > 0 {
        notes.push(format!(
            "after the server held their process for dead, {} released what it knew still: it had \
             dropped none",
            plural(facts.kept_in_sweep.count, "FREE")
        ));
    }
    // A FREE that comes after the next ALLOC of its address takes that one's entry, so that the
    // server does not know it later.
    let late = facts.late_frees.count + facts.far_late_frees.count;
    let forgotten = facts.forgotten.saturating_sub(late);
    if forgotten > 0 {
        notes.push(format!(
            "the server did not know {} that this record shows as live, allocated up to {}: it \
             began anew or dropped them, and the record does not say so, or lines are missing",
            plural(forgotten, "buffer"),
            grouped(facts.forgotten_until),
        ));
    }
    if facts.circumstances.begins_in_the_middle && facts.first_frees.count > 0 {
        notes.push(format!(
            "{} of buffers from before the record, which begins in the middle",
            plural(facts.first_frees.count, "release")
        ));
    }
    if facts.overtaken > 0 {
        notes.push(format!(
            "{} before one with a lower sequence number, and {} judged in the order of the numbers, \
             in which a server that uses them (`serve --semantics sequenced`) takes them; any other \
             server saw them out of order",
            match facts.overtaken {
                1 => "1 message came".to_owned(),
                count => format!("{} came", plural(count, "message")),
            },
            if facts.overtaken == 1 { "is" } else { "are" }
        ));
    }
    if facts.apart.count > 0 {
        notes.push(format!(
            "{} at once by two processes, each for itself: each has a device of its own under that \
             number (as in containers), or they share the buffer",
            match facts.apart.count {
                1 => "1 address was used".to_owned(),
                count => format!("{} addresses were used", grouped(count)),
            }
        ));
    }
    if facts.twice.count > 0 {
        notes.push(format!(
            "{} twice, by its number or its time: sent again on the way, and no second release",
            match facts.twice.count {
                1 => "1 message came".to_owned(),
                count => format!("{} came", plural(count, "message")),
            }
        ));
    }
    if facts.doubts.is_empty() && !facts.cuts.is_empty() && facts.is_announced_again() {
        notes.push(format!(
            "{} say again what is live, several in a row: a process that began anew, or a client \
             that connected again and announces what it holds",
            plural(facts.announced_again, "ALLOC")
        ));
    }
    if facts.doubts.is_empty() && !facts.cuts.is_empty() && facts.is_said_again() {
        notes.push(format!(
            "{} say again what is live: a process that began anew, or a client that announces what \
             it holds, one by one",
            plural(facts.overlaps.repeats, "ALLOC")
        ));
    }
    if let Some(share) = facts.share_of_two().filter(|_| facts.doubts.is_empty()) {
        notes.push(format!(
            "addresses are used twice for {:.0} % of the time that buffers are: two processes with \
             one id and one device number (as in containers), or two servers in one log, leave \
             that as well as messages that are late",
            100.0 * share,
        ));
    }
    if facts.one_thread.count > 0 {
        notes.push(format!(
            "{} again before {} released, and one thread did both, which does not overtake itself: \
             the allocator hands out what is live, or rows are missing",
            match facts.one_thread.count {
                1 => "1 address was handed out".to_owned(),
                count => format!("{} addresses were handed out", grouped(count)),
            },
            if facts.one_thread.count == 1 {
                "it was"
            } else {
                "they were"
            },
        ));
    }
    if facts.torn.count > 0 {
        notes.push(format!(
            "{} inside a frame: the message that was under way there is missing",
            match facts.torn.count {
                1 => "1 connection ended".to_owned(),
                count => format!("{} ended", plural(count, "connection")),
            }
        ));
    }
    if facts.not_followed > 0 {
        notes.push(format!(
            "{} not followed: too many addresses were live at once",
            plural(facts.not_followed, "message")
        ));
    }
    notes
}
