//! What the failures that only targets have mean, and what to do next.

use crate::native::execution::FailureKind;

/// What it means, and what to do next; nothing for a failure that any program may have.
pub(crate) fn explained(kind: FailureKind) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        FailureKind::Overlap => (
            "the allocator handed out memory that somebody still has",
            "Two threads got the same piece (a search outside of the lock, a flag written after \
             it), or a piece is recorded larger than it is. `heisenbed run --target` shows the \
             smallest schedule; where one thread is enough, the fault is in splitting or joining.",
        ),
        FailureKind::Misaligned => (
            "an address is no multiple of the alignment that was asked for",
            "Sizes are rounded to another unit than addresses, or a header stands before the \
             buffer. Round both to hb_target_config.alignment.",
        ),
        FailureKind::OutOfBounds => (
            "addresses of one memory lie further apart than the memory is long",
            "The last piece is longer than the memory has room for, or memory that was freed is \
             read as a piece. A target whose addresses are where it pleases says \
             HB_TARGET_SCATTERED.",
        ),
        FailureKind::Fragmented => (
            "everything was released, and memory is not whole",
            "A release that joins neighbours loses something, an allocation that found no room \
             keeps what it had taken, or a release was lost. The smallest workload names the \
             operations. A target that keeps what was released, for its thread or its size, \
             says HB_TARGET_CACHES.",
        ),
        FailureKind::Exhausted => (
            "an allocation found no room where there is room",
            "As fragmented, seen earlier: pieces that are free are not joined, or are lost. It is \
             said only of a call that no other call ran beside.",
        ),
        FailureKind::Misplaced => (
            "a buffer is not where the policy that the target declares puts it",
            "The search for a hole passes over one, or takes another than it should: a list out of \
             order, a comparison the wrong way round, a hole that was not put back. A target that \
             places buffers as it pleases declares no policy.",
        ),
        FailureKind::Invariant => (
            "the target's own `check` found something wrong",
            "Its words are in the summary. The timeline shows what was done before.",
        ),
        FailureKind::WrongTotals => (
            "the target believes something else to be live than what it handed out",
            "A count is changed outside of the lock, or not on every path. Whatever reports \
             memory by it is wrong by as much.",
        ),
        FailureKind::TargetFailed => (
            "the target said that it failed, or is none",
            "What it said is in the summary; docs/targets.md has what each function owes.",
        ),
        _ => return None,
    })
}
