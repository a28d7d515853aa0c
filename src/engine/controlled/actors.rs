//! Actors, who take the steps of a schedule, and sets of them.
//!
//! The threads come first, in order; then, where the server takes part, its connections.

/// Who takes a step: the number of a thread, or the number of threads plus that of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor(pub u16);

impl Actor {
    /// Who is never ready: what a schedule names and the scenario does not have.
    pub(crate) const NOBODY: Actor = Actor(63);
}

/// A set of actors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Actors(u64);

impl Actors {
    /// The most actors that there can be: a bit each, and one that is nobody's (see
    /// [`Actor::NOBODY`]).
    pub(crate) const MAX: usize = 63;

    /// The first `count` actors.
    pub(crate) fn first(count: u16) -> Actors {
        Actors(u64::MAX.checked_shr(64 - u32::from(count)).unwrap_or(0))
    }

    /// Whether there is none.
    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    #[inline]
    pub(crate) fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether `actor` is one of them.
    #[inline]
    pub(crate) fn contains(self, actor: Actor) -> bool {
        self.0 >> actor.0 & 1 == 1
    }

    /// The member with `index` members below it, of which there must be enough.
    #[inline]
    pub(crate) fn nth_member(self, index: u32) -> Actor {
        let mut bits = self.0;
        for _ in 0..index {
            bits &= bits - 1;
        }
        Actor(bits.trailing_zeros() as u16)
    }

    /// Without `actor`.
    #[inline]
    pub(crate) fn remove(&mut self, actor: Actor) {
        self.0 &= !(1 << actor.0);
    }

    /// With the actors whose bits are set.
    #[inline]
    pub(super) fn add(&mut self, bits: u64) {
        self.0 |= bits;
    }
}

/// In ascending order.
impl Iterator for Actors {
    type Item = Actor;

    #[inline]
    fn next(&mut self) -> Option<Actor> {
        if self.0 == 0 {
            return None;
        }
        let actor = Actor(self.0.trailing_zeros() as u16);
        self.0 &= self.0 - 1;
        Some(actor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_in_order_and_can_be_counted_off() {
        let mut actors = Actors::first(4);
        actors.remove(Actor(1));
        assert_eq!(actors.collect::<Vec<_>>(), [Actor(0), Actor(2), Actor(3)]);
        assert_eq!((actors.len(), actors.nth_member(1)), (3, Actor(2)));
        assert!(!actors.contains(Actor(1)) && actors.contains(Actor(3)));
    }

    #[test]
    fn as_many_as_there_are_bits_is_not_too_many() {
        assert_eq!(Actors::first(64).len(), 64);
        assert!(Actors::first(0).is_empty());
    }
}
