//! The locks that a thread holds.

use crate::scenario::objects::LockId;

/// The locks that a thread holds, in the order in which it took them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct HeldLocks {
    locks: [LockId; HeldLocks::MAX],
    len: u8,
}

impl HeldLocks {
    /// No program may hold more at a time. A thread that never
    /// unlocks on many devices may come to more: those it does not release when it ends.
    const MAX: usize = crate::lifecycle::MAX_HELD;
    /// Marks locks that are held together with others: no scenario has so many.
    const SHARED: u16 = 1 << 15;

    #[inline]
    pub(crate) fn push(&mut self, lock: LockId) {
        if let Some(place) = self.locks.get_mut(usize::from(self.len)) {
            *place = lock;
            self.len += 1;
        }
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<LockId> {
        self.len = self.len.checked_sub(1)?;
        Some(std::mem::replace(
            &mut self.locks[usize::from(self.len)],
            LockId(0),
        ))
    }

    #[inline]
    pub(crate) fn remove(&mut self, lock: LockId) {
        match self.as_slice() {
            [.., last] if *last == lock => {
                self.pop();
            }
            _ => self.remove_inner(lock),
        }
    }

    /// Not the last one taken: its order in a program is not that of a stack.
    #[cold]
    fn remove_inner(&mut self, lock: LockId) {
        if let Some(index) = self.as_slice().iter().position(|held| *held == lock) {
            self.locks[index..].rotate_left(1);
            self.pop();
        }
    }

    /// A lock that is held together with others.
    pub(crate) fn push_shared(&mut self, lock: LockId) {
        self.push(LockId(lock.0 | HeldLocks::SHARED));
    }

    /// As [`HeldLocks::remove`], of such a lock.
    pub(crate) fn remove_shared(&mut self, lock: LockId) {
        self.remove(LockId(lock.0 | HeldLocks::SHARED));
    }

    /// The lock itself, where it is held together with others.
    pub(crate) fn is_shared(held: LockId) -> Option<LockId> {
        (held.0 & HeldLocks::SHARED != 0).then_some(LockId(held.0 & !HeldLocks::SHARED))
    }

    pub(crate) fn as_slice(&self) -> &[LockId] {
        &self.locks[..usize::from(self.len)]
    }
}

impl Default for HeldLocks {
    fn default() -> HeldLocks {
        HeldLocks {
            locks: [LockId(0); HeldLocks::MAX],
            len: 0,
        }
    }
}
