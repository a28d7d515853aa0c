//! The state of a slot in one word, so that every touch of it is one atomic step with a version.
//!
//! Pure bit arithmetic: the threads runtime keeps the word in an atomic, the controlled one in its
//! world.
//!
//! | bits | what |
//! |---|---|
//! | 0–15 | status of each part, two bits each |
//! | 16–23 | whether each part's handle is visible |
//! | 24–31 | epoch, modulo 256 |
//! | 32–34 | releases that the epoch still waits for |
//! | 35–63 | version, modulo 2²⁹ |

use crate::device::Status;
use crate::scenario::objects::SLOT_VERSION_MASK;

const VERSION_SHIFT: u32 = 35;
const STATE_MASK: u64 = (1 << VERSION_SHIFT) - 1;

/// A slot's state and version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct SlotWord(pub(crate) u64);

impl SlotWord {
    /// The version of the last touch.
    #[inline]
    pub(crate) fn version(self) -> u64 {
        self.0 >> VERSION_SHIFT & SLOT_VERSION_MASK
    }

    /// The state without the version.
    #[inline]
    pub(crate) fn state(self) -> u64 {
        self.0 & STATE_MASK
    }

    /// The same state, touched.
    #[inline]
    pub(crate) fn touched(self) -> SlotWord {
        SlotWord(self.0.wrapping_add(1 << VERSION_SHIFT))
    }

    /// Whether epoch `epoch` may begin: the one before has ended.
    #[inline]
    pub(crate) fn may_allocate(self, epoch: u32) -> bool {
        self.releases_left() == 0 && self.epoch().wrapping_add(1) == epoch as u8
    }

    /// Whether the handle of `part` in `epoch` is visible.
    #[inline]
    pub(crate) fn may_release(self, epoch: u32, part: u8) -> bool {
        self.epoch() == epoch as u8 && self.0 >> (16 + part) & 1 == 1
    }

    /// Whether the handle of `part` in `epoch` was ever visible: it is, or a later epoch has begun.
    #[inline]
    pub(crate) fn may_run(self, epoch: u32, part: u8) -> bool {
        let later = self.epoch().wrapping_sub(epoch as u8);
        (later != 0 && later < 128) || self.may_release(epoch, part)
    }

    /// Epoch `epoch` begins: nothing is live or visible.
    #[inline]
    pub(crate) fn opened(self, epoch: u32, releases: u8) -> SlotWord {
        let version = self.0 & !STATE_MASK;
        SlotWord(version | u64::from(epoch as u8) << 24 | u64::from(releases & 7) << 32)
    }

    /// The handles of the parts in `mask` become visible.
    #[inline]
    pub(crate) fn published(self, mask: u8) -> SlotWord {
        SlotWord(self.0 | u64::from(mask) << 16)
    }

    /// One release less to wait for.
    #[inline]
    pub(crate) fn vacated(self) -> SlotWord {
        if self.releases_left() == 0 {
            self
        } else {
            SlotWord(self.0 - (1 << 32))
        }
    }

    /// The status of a part.
    #[inline]
    pub(crate) fn status(self, part: u8) -> Status {
        match self.0 >> (2 * part) & 3 {
            1 => Status::Live,
            2 => Status::Dying,
            _ => Status::Dead,
        }
    }

    /// With another status of a part.
    #[inline]
    pub(crate) fn with_status(self, part: u8, status: Status) -> SlotWord {
        let shift = 2 * u32::from(part);
        SlotWord(self.0 & !(3 << shift) | (status as u64) << shift)
    }

    /// Whether all promised releases are done.
    #[inline]
    pub(crate) fn is_vacant(self) -> bool {
        self.releases_left() == 0
    }

    /// The epoch, modulo 256.
    pub(crate) fn epoch(self) -> u8 {
        (self.0 >> 24) as u8
    }

    fn releases_left(self) -> u8 {
        (self.0 >> 32 & 7) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_runs_from_allocate_over_publish_to_its_last_release() {
        let word = SlotWord::default();
        assert!(word.may_allocate(1) && !word.may_allocate(2) && !word.may_release(1, 0));
        let open = word.opened(1, 2).touched();
        assert!(!open.may_allocate(2) && !open.may_release(1, 0));
        let visible = open.published(1).with_status(0, Status::Live).touched();
        assert!(
            visible.may_release(1, 0) && !visible.may_release(1, 1) && !visible.may_release(2, 0)
        );
        assert_eq!(visible.status(0), Status::Live);
        let once = visible.vacated().touched();
        assert!(!once.may_allocate(2));
        assert!(once.vacated().may_allocate(2));
        assert_eq!(once.version(), 3);
    }

    #[test]
    fn versions_wrap_without_touching_the_state() {
        let word = SlotWord(u64::MAX << VERSION_SHIFT)
            .opened(5, 1)
            .published(3);
        assert_eq!(word.touched().version(), 0);
        assert_eq!(word.touched().state(), word.state());
    }
}
