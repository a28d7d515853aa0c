//! Schedules from bytes: how a fuzzer drives the machine.
//!
//! One byte a choice, and only where there is one. A byte that is 0, or one that is missing, lets
//! the current actor go on, so that short and zeroed inputs are schedules with few preemptions.

use crate::engine::controlled::actors::{Actor, Actors};

use super::Scheduler;

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Bytes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    /// The schedule of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Bytes<'a> {
        Bytes { bytes, at: 0 }
    }
}

impl Scheduler for Bytes<'_> {
    fn begin(&mut self, _index: u64) {
        self.at = 0;
    }

    fn pick(&mut self, ready: Actors, current: Option<Actor>) -> Option<Actor> {
        if ready.len() == 1 {
            return Some(ready.nth_member(0));
        }
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        match current.filter(|current| ready.contains(*current)) {
            Some(current) if byte == 0 => Some(current),
            _ => Some(ready.nth_member(u32::from(byte) % ready.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_mean_no_preemptions() {
        let mut bytes = Bytes::new(&[]);
        let ready = Actors::first(3);
        assert_eq!(bytes.pick(ready, None), Some(Actor(0)));
        assert_eq!(bytes.pick(ready, Some(Actor(2))), Some(Actor(2)));
    }

    #[test]
    fn a_byte_picks_modulo_the_number_of_candidates() {
        let mut bytes = Bytes::new(&[4, 5]);
        let ready = Actors::first(3);
        assert_eq!(bytes.pick(ready, None), Some(Actor(1)));
        assert_eq!(bytes.pick(ready, Some(Actor(1))), Some(Actor(2)));
    }
}
