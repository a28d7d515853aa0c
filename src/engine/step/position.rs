//! Where a thread is, as drivers and searches ask it: what it holds, whether two threads are at the
//! same place, and whether its next step can be taken at once. Nothing here lets a thread go on.

use crate::engine::backend::PartAt;
use crate::engine::code::{Safe, SafeSteps};
use crate::lifecycle::ProgramKind;
use crate::scenario::objects::LockId;
use crate::scenario::op::Op;

use super::{At, SendPhase, Thread};

impl Thread {
    /// Whether it has come to its end.
    pub fn has_ended(&self) -> bool {
        self.at == At::Ended
    }

    /// It was ended from outside.
    pub(crate) fn kill(&mut self) {
        self.at = At::Ended;
    }

    /// Whether it has begun its operation; `false` between two, also while it waits to begin the
    /// next.
    pub(crate) fn is_inside(&self) -> bool {
        !matches!(self.at, At::Idle | At::Opening | At::Ended)
    }

    /// Whether it has taken up its next operation and waits to begin it.
    pub(crate) fn has_taken_up(&self) -> bool {
        self.at == At::Opening
    }

    /// Whether it is closing a device.
    pub(crate) fn is_closing(&self) -> bool {
        self.is_inside() && matches!(self.op, Op::Close { .. })
    }

    /// The locks that it holds, in the order in which it took them.
    pub(crate) fn held(&self) -> &[LockId] {
        self.held.as_slice()
    }

    /// The buffer at hand.
    pub(crate) fn place(&self) -> PartAt {
        self.place
    }

    /// Where it is, in words that decide all that it does from here on, given its operations, the
    /// slots and the locks that it holds: phase, program, instruction, the connection and chunk of
    /// a send, the part at hand, and the sequence number.
    pub(crate) fn position(&self) -> [u64; 3] {
        let (phase, conn, chunk) = match self.at {
            At::Idle | At::Opening => return [0; 3],
            At::NextPart => (1, 0, 0),
            At::Program => (2, 0, 0),
            At::Sending(_, SendPhase::Connect) => (3, 0, 0),
            At::Sending(_, SendPhase::Share(conn)) => (4, conn.0, 0),
            At::Sending(_, SendPhase::Write { conn, chunk }) => (5, conn.0, chunk),
            At::Closing => (6, 0, 0),
            At::Waiting(lock) => (8, lock.0, 0),
            At::Ended => return [7, 0, 0],
        };
        let [pc_low, pc_high] = self.pc.to_le_bytes();
        let bytes = [
            phase,
            self.program as u8,
            pc_low,
            pc_high,
            chunk,
            self.place.part,
            0,
            0,
        ];
        [u64::from_le_bytes(bytes), u64::from(conn), self.sequence]
    }

    /// Whether its next step is one of those in `safe`; `upcoming` is the operation after the one
    /// at hand.
    #[inline]
    pub(crate) fn is_safe<'op>(
        &self,
        safe: &SafeSteps,
        upcoming: impl FnOnce() -> Option<&'op Op>,
    ) -> bool {
        if self.at == At::Program {
            let instruction = safe.at(self.pc);
            if instruction != Safe::AtEnd {
                return safe.is_safe_on(instruction, self.place.slot);
            }
        }
        self.goes_on_safely(safe, upcoming)
    }

    /// As [`Thread::is_safe`], of a thread that is not about to run an instruction.
    #[inline(never)]
    fn goes_on_safely<'op>(
        &self,
        safe: &SafeSteps,
        upcoming: impl FnOnce() -> Option<&'op Op>,
    ) -> bool {
        match self.at {
            At::Program if matches!(self.op, Op::Close { .. }) => false,
            At::Program if !self.has_next_part() && self.program == ProgramKind::Allocate => {
                safe.opens(upcoming())
            }
            // A release ends: whoever waited for the slot may have it.
            At::Program if !self.has_next_part() => {
                safe.in_turn || safe.is_private(self.place.slot)
            }
            At::Program | At::NextPart => safe.is_private(self.place.slot),
            At::Sending(..) => safe.sends_in_pieces && safe.at(self.pc) == Safe::Always,
            At::Idle => safe.opens(upcoming()),
            At::Opening => safe.opens(Some(&self.op)),
            At::Closing | At::Waiting(_) | At::Ended => false,
        }
    }
}
