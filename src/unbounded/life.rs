//! What is known of the watched address: the lives of the buffers at it, and how many of each.

use smallvec::SmallVec;

use super::program::{LockSet, Programs};
use crate::device::Status;

/// Past the end of a program, or not begun.
pub(super) const IDLE: u8 = u8::MAX;

/// The most releases of one buffer that are followed.
pub(super) const MAX_RELEASES: usize = 2;

/// Where a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Whereabouts {
    /// It has no address yet.
    Nowhere,
    /// It has the watched address.
    Current,
    /// It gave the watched address back.
    Ended,
}

/// A buffer that is, or was, or may come to be at the watched address, with all the operations on
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Life {
    pub(super) place: Whereabouts,
    /// The step that its allocation takes next; [`IDLE`]: it has returned.
    pub(super) allocate: u8,
    /// The step that each release takes next, in order; [`IDLE`]: not under way.
    pub(super) releases: [u8; MAX_RELEASES],
    /// Releases that have not begun.
    pub(super) to_come: u8,
    pub(super) status: u8,
    pub(super) published: bool,
    /// The server's entry for the address is this buffer's.
    pub(super) entered: bool,
}

/// What is known of the watched address at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct WatchedAddress {
    /// Each with whether there are many; in order.
    pub(super) lives: SmallVec<[(Life, bool); 4]>,
    /// The server has an entry of a buffer that is gone for good.
    pub(super) orphan: bool,
}

impl Life {
    /// One whose allocation is about to take step `at`, with the status that it has there.
    pub(super) fn beginning(at: u8, status: Status, releases: u8) -> Life {
        Life {
            place: Whereabouts::Nowhere,
            allocate: at,
            releases: [IDLE; MAX_RELEASES],
            to_come: releases,
            status: status as u8,
            published: false,
            entered: false,
        }
    }

    /// What its operations hold.
    pub(super) fn held(&self, programs: &Programs) -> LockSet {
        let of = |held: &[LockSet], at: u8| held.get(usize::from(at)).copied().unwrap_or(0);
        self.releases
            .iter()
            .fold(of(&programs.allocate.held, self.allocate), |sum, at| {
                sum | of(&programs.deallocate.held, *at)
            })
    }

    /// Whether nothing is under way on it.
    pub(super) fn is_idle(&self) -> bool {
        self.allocate == IDLE && self.releases == [IDLE; MAX_RELEASES]
    }

    /// Whether nothing will be done to it any more.
    fn is_over(&self) -> bool {
        self.is_idle() && self.place == Whereabouts::Ended && self.to_come == 0
    }

    /// Whether it is as if it had not begun: without an address, it may wait before any step that
    /// it holds nothing at.
    fn is_forgotten(&self, programs: &Programs) -> bool {
        self.place == Whereabouts::Nowhere && self.held(programs) == 0
    }
}

impl WatchedAddress {
    /// What everybody's operations hold.
    pub(super) fn held(&self, programs: &Programs) -> LockSet {
        self.lives
            .iter()
            .fold(0, |held, (life, _)| held | life.held(programs))
    }

    /// Whether the watched address is taken.
    pub(super) fn is_taken(&self) -> bool {
        self.lives
            .iter()
            .any(|(life, _)| life.place == Whereabouts::Current)
    }

    /// Whether the server has an entry for it.
    pub(super) fn is_entered(&self) -> bool {
        self.orphan || self.lives.iter().any(|(life, _)| life.entered)
    }

    /// Whether nothing is under way on any buffer.
    pub(super) fn is_at_rest(&self) -> bool {
        self.lives.iter().all(|(life, _)| life.is_idle())
    }

    /// Without one of the lives at `index`: of many, one is left, or still many.
    pub(super) fn without(&self, index: usize) -> SmallVec<[WatchedAddress; 2]> {
        let mut less = self.clone();
        if !self.lives[index].1 {
            less.lives.remove(index);
            return SmallVec::from_iter([less]);
        }
        less.lives[index].1 = false;
        SmallVec::from_iter([less, self.clone()])
    }

    /// With one more; a life that is over, or as if it had not begun, is none.
    pub(super) fn with(mut self, life: Life, programs: &Programs) -> WatchedAddress {
        if life.is_forgotten(programs) {
            return self;
        }
        if life.is_over() {
            self.orphan |= life.entered;
            return self;
        }
        match self.lives.binary_search_by(|(other, _)| other.cmp(&life)) {
            Ok(index) => self.lives[index].1 = true,
            Err(index) => self.lives.insert(index, (life, false)),
        }
        self
    }
}
