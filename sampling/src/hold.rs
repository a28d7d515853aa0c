//! Holding actors back: a few places of the code are chosen beforehand, and who comes there waits
//! until another place was passed, or until nobody else can go on.
//!
//! Most bugs need an order of two steps, or a preemption at one place. To hold everybody at the
//! first of two places until the second was passed turns their order round, however many actors
//! and steps there are (the reads-from constraints of Wolff, Shi, Duck, Mathur, Roychoudhury,
//! *Greybox Fuzzing for Concurrency Testing*, ASPLOS 2024, are met in this way). To hold
//! somebody at one place until nobody else can go on is a preemption there (as in Wen et al.,
//! *Controlled Concurrency Testing via Periodical Scheduling*, ICSE 2022).
//!
//! Who goes on of those that are not held is somebody else's to say.

/// A place of the code, and the object there. The object 0 is any; the place 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    /// The instruction or call.
    pub place: u64,
    /// What it is about.
    pub object: u64,
}

impl Spot {
    fn is_at(self, there: Spot) -> bool {
        self.place != 0
            && self.place == there.place
            && (self.object == 0 || self.object == there.object)
    }
}

/// Who is held where, and how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aim {
    /// Where actors are held.
    pub hold: Spot,
    /// Until somebody else has passed here.
    pub until: Spot,
    /// Only the first that comes, not each.
    pub once: bool,
    /// How many are let by first.
    pub skip: u32,
    /// It was reached, or the one that was to be held was.
    pub over: bool,
}

/// What is kept for an actor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The aim that holds it, from 1; 0: none.
    by: u32,
    since: u64,
    next: Spot,
    /// It waits in a loop for what another does.
    waits: bool,
}

impl Held {
    /// Of an actor that is not held.
    pub const NOBODY: Held = Held {
        by: 0,
        since: 0,
        next: Spot {
            place: 0,
            object: 0,
        },
        waits: false,
    };
}

/// Nobody is held for longer than others take so many steps: they may wait for it.
const PATIENCE: u64 = 20_000;
/// Nor longer than others take so many steps that are nothing but waiting in loops.
const IDLE: u32 = 32;

/// See the [module](self). `A` holds the aims, `H` what is kept for each actor.
#[derive(Clone, Debug, Default)]
pub struct Hold<A, H> {
    aims: A,
    held: H,
    step: u64,
    /// Steps in a row of actors that wait in a loop.
    idle: u32,
    /// The actors from here on never announced a step: there may be room for many more than are.
    known: usize,
}

impl<A: AsMut<[Aim]> + AsRef<[Aim]>, H: AsMut<[Held]> + AsRef<[Held]>> Hold<A, H> {
    /// Nobody is held yet: `held` says so of each.
    pub fn new(aims: A, held: H) -> Self {
        Hold {
            aims,
            held,
            step: 0,
            idle: 0,
            known: 0,
        }
    }

    /// `actor` is about to take a step.
    pub fn announce(&mut self, actor: usize, spot: Spot) {
        self.known = self.known.max(actor + 1);
        let mut by = 0;
        for (aim, number) in self.aims.as_mut().iter_mut().zip(1..) {
            if aim.over || !aim.hold.is_at(spot) {
                continue;
            }
            if aim.skip > 0 {
                aim.skip -= 1;
                continue;
            }
            if by == 0 {
                by = number;
                if aim.once {
                    // Nobody else is held by it.
                    aim.hold = Spot::default();
                }
            }
        }
        let waits = self.held.as_ref()[actor].waits;
        self.held.as_mut()[actor] = Held {
            by,
            since: self.step,
            next: spot,
            waits,
        };
    }

    /// `actor` waits in a loop: the step that it announces next brings nothing.
    pub fn fall(&mut self, actor: usize) {
        self.held.as_mut()[actor].waits = true;
    }

    /// Whether `actor` is to wait.
    pub fn is_held(&self, actor: usize) -> bool {
        let held = self.held.as_ref()[actor];
        held.by != 0 && self.step - held.since < PATIENCE && self.idle < IDLE
    }

    /// `actor` took the step that it announced.
    pub fn took(&mut self, actor: usize) {
        self.step += 1;
        let took = core::mem::take(&mut self.held.as_mut()[actor]);
        self.idle = if took.waits { self.idle + 1 } else { 0 };
        let took = took.next;
        for (aim, number) in self.aims.as_mut().iter_mut().zip(1..) {
            if !aim.over && aim.until.is_at(took) {
                aim.over = true;
                for held in &mut self.held.as_mut()[..self.known] {
                    if held.by == number {
                        held.by = 0;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Spot = Spot {
        place: 1,
        object: 7,
    };
    const B: Spot = Spot {
        place: 2,
        object: 7,
    };

    fn aim(once: bool, skip: u32) -> Aim {
        Aim {
            hold: A,
            until: B,
            once,
            skip,
            over: false,
        }
    }

    #[test]
    fn everybody_is_held_at_a_place_until_somebody_passed_the_other() {
        let mut hold = Hold::new([aim(false, 0)], [Held::NOBODY; 3]);
        hold.announce(0, A);
        hold.announce(1, A);
        hold.announce(2, B);
        assert_eq!(
            [0, 1, 2].map(|actor| hold.is_held(actor)),
            [true, true, false]
        );
        hold.took(2);
        assert_eq!([0, 1].map(|actor| hold.is_held(actor)), [false, false]);
        hold.announce(2, A);
        assert!(!hold.is_held(2), "once is enough");
    }

    #[test]
    fn only_the_first_is_held_where_one_is_to_be() {
        let mut hold = Hold::new([aim(true, 1)], [Held::NOBODY; 3]);
        for actor in 0..3 {
            hold.announce(actor, A);
        }
        let held = [0, 1, 2].map(|actor| hold.is_held(actor));
        assert_eq!(held, [false, true, false]);
    }

    #[test]
    fn another_object_is_another_place() {
        let mut hold = Hold::new([aim(false, 0)], [Held::NOBODY; 1]);
        hold.announce(0, Spot { object: 8, ..A });
        assert!(!hold.is_held(0));
    }

    #[test]
    fn who_is_waited_for_in_a_loop_is_let_go() {
        let mut hold = Hold::new([aim(false, 0)], [Held::NOBODY; 2]);
        hold.announce(0, A);
        for _ in 0..IDLE {
            assert!(hold.is_held(0));
            hold.fall(1);
            hold.announce(
                1,
                Spot {
                    place: 9,
                    object: 9,
                },
            );
            hold.took(1);
        }
        assert!(!hold.is_held(0));
    }

    #[test]
    fn nobody_is_held_for_ever() {
        let mut hold = Hold::new([aim(false, 0)], [Held::NOBODY; 2]);
        hold.announce(0, A);
        for _ in 0..PATIENCE {
            hold.announce(
                1,
                Spot {
                    place: 9,
                    object: 9,
                },
            );
            hold.took(1);
        }
        assert!(!hold.is_held(0));
    }
}
