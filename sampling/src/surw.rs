//! SURW: a random walk that is uniform over the orders of *some* steps (Zhao, Wolff, Mathur,
//! Roychoudhury, *Selectively Uniform Concurrency Testing*, ASPLOS 2025).
//!
//! Of all steps a few are selected, such as those on one object. Which actor takes the next
//! selected step is drawn by how many of them each has left, so that every order of them is about
//! as likely; until that actor does, nobody else takes one. All other steps come as they come. So a
//! bug that needs a rare order on few objects does not drown in the steps between.
//!
//! Actors that do not exist yet count for the one that makes them.

use crate::stream::Stream;

/// What is kept for an actor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Selected steps that it is expected to have left.
    pub left: u32,
    /// The actor that makes it; itself, if nobody does.
    pub creator: u32,
    born: bool,
    ended: bool,
    /// Whether the step that it is about to take is selected.
    selects: bool,
    /// The step that it is about to take is one of a loop in which it waits for what another does.
    idles: bool,
    /// The same, and nobody has done anything since.
    waits: bool,
}

impl Share {
    /// Of an actor that does not exist, and that nobody is expected to make.
    pub const NONE: Share = Share {
        left: 0,
        creator: 0,
        born: false,
        ended: false,
        selects: false,
        idles: false,
        waits: false,
    };

    /// Of an actor that is expected to take so many selected steps, and is made by `creator`.
    pub fn new(left: u32, creator: u32) -> Share {
        Share {
            left,
            creator,
            ..Share::NONE
        }
    }
}

/// See the [module](self). `S` holds a [`Share`] for each actor.
#[derive(Clone, Debug, Default)]
pub struct Surw<S> {
    shares: S,
    /// Who takes the next selected step.
    intended: Option<usize>,
    /// Somebody waits in a loop.
    some_wait: bool,
    /// Of the actors from here on nothing was ever said.
    known: usize,
}

impl<S: AsMut<[Share]> + AsRef<[Share]>> Surw<S> {
    /// A walk over as many actors as there are `shares`, each of which is none; of the first ones
    /// this is expected. The first exists from the start.
    pub fn new(mut shares: S, expected: impl Iterator<Item = Share>) -> Self {
        let mut known = 0;
        for (share, expected) in shares.as_mut().iter_mut().zip(expected) {
            *share = expected;
            known += 1;
        }
        if let Some(first) = shares.as_mut().first_mut() {
            first.born = true;
        }
        Surw {
            shares,
            intended: None,
            some_wait: false,
            known,
        }
    }

    /// There may be room for many more actors than there are: they are not gone through.
    fn know(&mut self, actor: usize) -> &mut Share {
        self.known = self.known.max(actor + 1);
        &mut self.shares.as_mut()[actor]
    }

    /// `actor` is about to take a step, which is selected or not. One that had ended begins anew.
    pub fn announce(&mut self, actor: usize, selected: bool) {
        let share = self.know(actor);
        share.born = true;
        share.ended = false;
        share.selects = selected;
    }

    /// Picks one of `ready`, none if there is none.
    pub fn pick(
        &mut self,
        ready: impl Iterator<Item = usize> + Clone,
        stream: &mut Stream,
    ) -> Option<usize> {
        let shares = self.shares.as_ref();
        if self.intended.is_none_or(|actor| shares[actor].ended) {
            self.intended = draw_intended(shares, self.known, stream);
        }
        let intended = self.intended;
        // Who waits in a loop goes on if nobody else can.
        let works = |actor: &usize| !shares[*actor].waits;
        let some_work = ready.clone().any(|actor| works(&actor));
        let ready = ready.filter(move |actor| works(actor) || !some_work);
        let may = |actor: &usize| !shares[*actor].selects || intended == Some(*actor);
        let free = ready.clone().filter(may).count();
        if free > 0 {
            return ready.filter(may).nth(stream.below(free as u64) as usize);
        }
        // Whoever is to take the next one cannot: another does.
        stream.weighted(ready, |actor| u64::from(shares[actor].left.max(1)))
    }

    /// `actor` waits in a loop: the next selected step is another's.
    pub fn fall(&mut self, actor: usize) {
        let share = self.know(actor);
        share.idles = true;
        share.waits = true;
        self.some_wait = true;
        if self.intended == Some(actor) {
            self.intended = None;
        }
    }

    /// `actor` took its step.
    pub fn took(&mut self, actor: usize) {
        let all = self.shares.as_mut();
        let share = &mut all[actor];
        if share.idles {
            (share.idles, share.waits, share.selects) = (false, false, false);
            return;
        }
        if share.selects {
            share.selects = false;
            share.left = share.left.saturating_sub(1);
            if self.intended == Some(actor) {
                self.intended = None;
            }
        }
        // It may be what they wait for.
        if core::mem::take(&mut self.some_wait) {
            for share in &mut self.shares.as_mut()[..self.known] {
                share.waits = false;
            }
        }
    }

    /// `actor` takes no more steps.
    pub fn ended(&mut self, actor: usize) {
        self.shares.as_mut()[actor].ended = true;
    }
}

/// Drawn by what each has left, which is nothing but for the first `known`; for one that does not
/// exist yet, who makes it.
fn draw_intended(shares: &[Share], known: usize, stream: &mut Stream) -> Option<usize> {
    let weight = |share: &Share| {
        if share.ended || share.waits {
            0
        } else {
            u64::from(share.left)
        }
    };
    let all = shares[..known].iter().map(weight).sum();
    if all == 0 {
        return None;
    }
    let mut at = stream.below(all);
    let drawn = shares[..known].iter().position(|share| {
        let own = weight(share);
        let here = at < own;
        at = at.saturating_sub(own);
        here
    });
    let mut actor = drawn?;
    // No longer chain of makers than there are actors.
    for _ in 0..shares.len() {
        let share = shares[actor];
        if share.born || share.creator as usize == actor || share.creator as usize >= shares.len() {
            break;
        }
        actor = share.creator as usize;
    }
    Some(actor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk_of<const N: usize>(expected: [Share; N]) -> Surw<[Share; N]> {
        Surw::new([Share::NONE; N], expected.into_iter())
    }

    /// Two actors of two steps each, all selected: six orders.
    #[test]
    fn every_order_of_the_selected_steps_is_about_as_likely() {
        let mut counts = [0u32; 16];
        for seed in 0..6_000 {
            let mut stream = Stream::seed(seed);
            let mut walk = walk_of([Share::new(1, 0), Share::new(3, 1)]);
            let (mut left, mut order) = ([1u32, 3], 0usize);
            for step in 0..4 {
                for (actor, left) in left.iter().enumerate() {
                    walk.announce(actor, *left > 0);
                }
                let ready = (0..2).filter(|actor| left[*actor] > 0);
                let actor = walk.pick(ready, &mut stream).unwrap_or(0);
                walk.took(actor);
                left[actor] -= 1;
                if left[actor] == 0 {
                    walk.ended(actor);
                }
                order |= actor << step;
            }
            counts[order] += 1;
        }
        let seen: [u32; 4] = [0b1110, 0b1101, 0b1011, 0b0111].map(|order: usize| counts[order]);
        for count in seen {
            assert!((1_300..1_700).contains(&count), "{seen:?}");
        }
    }

    #[test]
    fn nobody_else_takes_a_selected_step_before_the_one_that_was_drawn() {
        let mut stream = Stream::seed(1);
        // Only the second has selected steps left, and the first is about to take one, too.
        let mut walk = walk_of([Share::new(0, 0), Share::new(1, 0)]);
        walk.announce(0, true);
        walk.announce(1, true);
        assert_eq!(walk.pick(0..2, &mut stream), Some(1));
    }

    #[test]
    fn who_waits_in_a_loop_does_not_keep_others_from_their_steps() {
        let mut stream = Stream::seed(1);
        // The first is to take the next selected step, and cannot; the others spin.
        let mut walk = walk_of([Share::new(9, 0), Share::new(0, 1), Share::new(0, 2)]);
        walk.announce(0, true);
        walk.fall(0);
        for actor in [1, 2, 1, 2] {
            walk.fall(actor);
            walk.announce(actor, false);
            walk.took(actor);
        }
        walk.fall(1);
        walk.announce(1, false);
        walk.announce(2, true);
        assert_eq!(walk.pick(1..3, &mut stream), Some(2));
    }

    #[test]
    fn room_for_more_actors_changes_nothing() {
        let expected = [Share::new(1, 0), Share::new(3, 0), Share::new(2, 1)];
        let mut exact = walk_of(expected);
        let mut roomy = Surw::new([Share::NONE; 64], expected.into_iter());
        let (mut first, mut second) = (Stream::seed(1), Stream::seed(1));
        for step in 0..200 {
            let actor = step % 3;
            exact.announce(actor, step % 2 == 0);
            roomy.announce(actor, step % 2 == 0);
            if step % 7 == 0 {
                exact.fall(actor);
                roomy.fall(actor);
            }
            let picked = exact.pick(0..3, &mut first);
            assert_eq!(picked, roomy.pick(0..3, &mut second), "step {step}");
            exact.took(picked.unwrap_or(0));
            roomy.took(picked.unwrap_or(0));
        }
    }

    #[test]
    fn who_does_not_exist_yet_counts_for_its_maker() {
        let mut stream = Stream::seed(1);
        let mut walk = walk_of([Share::new(0, 0), Share::new(5, 1), Share::new(5, 0)]);
        walk.announce(1, true);
        walk.announce(0, false);
        let picked: [u32; 2] = (0..200).fold([0; 2], |mut counts, _| {
            walk.intended = None;
            if walk.pick([0, 1].into_iter(), &mut stream) == Some(1) {
                counts[1] += 1;
            } else {
                counts[0] += 1;
            }
            counts
        });
        assert!(picked[0] > 100 && picked[1] > 20, "{picked:?}");
    }
}
