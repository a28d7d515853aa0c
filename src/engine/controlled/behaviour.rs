//! Behaviours: how many of the schedules that were drawn differ in what can be told from outside.
//!
//! A *behaviour* is who got which address, and what the server heard, in order; schedules that
//! differ only in steps that nobody else sees show the same one. How many behaviours were met
//! exactly once says how likely the next schedule shows one that none before did: Good and Turing's
//! estimate, singletons / observations (Good 1953).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::scenario::random::mix;
use crate::trace::event::Event;

use super::machine::{Machine, Setup};
use super::sample::{Estimate, Strategy, pct};
use super::schedulers::{RandomWalk, Scheduler, Urw};
use super::world::EventSink;

/// How many schedules were told apart, and how they differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Behaviours {
    /// Schedules.
    pub(crate) observations: u64,
    /// Behaviours among them.
    pub(crate) distinct: u64,
    /// Behaviours that one schedule alone showed.
    pub(crate) singletons: u64,
}

/// Tells the first `schedules` schedules apart that `strategy` draws.
pub(crate) fn distinguish(
    setup: &Arc<Setup>,
    strategy: Strategy,
    seed: u64,
    schedules: u64,
    max_steps: u64,
) -> Behaviours {
    match strategy {
        Strategy::Random => distinguish_by(setup, RandomWalk::new(seed), schedules, max_steps),
        Strategy::Pct { depth } => {
            distinguish_by(setup, pct(setup, seed, depth), schedules, max_steps)
        }
        Strategy::Urw => {
            let urw = Urw::new(seed, Estimate::of(setup).steps);
            distinguish_by(setup, urw, schedules, max_steps)
        }
    }
}

fn distinguish_by<S: Scheduler>(
    setup: &Arc<Setup>,
    mut scheduler: S,
    schedules: u64,
    max_steps: u64,
) -> Behaviours {
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    let mut machine = Machine::new(setup);
    for index in 0..schedules {
        machine.reset();
        scheduler.begin(index);
        let mut behaviour = Behaviour(0);
        machine.run(&mut scheduler, &mut behaviour, max_steps);
        *seen.entry(behaviour.0).or_default() += 1;
    }
    Behaviours {
        observations: schedules,
        distinct: seen.len() as u64,
        singletons: seen.values().filter(|count| **count == 1).count() as u64,
    }
}

/// The hash of what was visible so far.
struct Behaviour(u64);

impl EventSink for Behaviour {
    #[inline]
    fn record(&mut self, stream: u16, event: &Event) {
        let what = match *event {
            Event::Alloc {
                device, address, ..
            } => address << 16 ^ u64::from(device.0) ^ 1 << 62,
            Event::Send { kind, chunk, .. } => (kind as u64) << 8 | u64::from(chunk),
            Event::Receive { code, .. } => 1 << 32 | code as u64,
            Event::Free { outcome, .. } => 2 << 32 | outcome as u64,
            _ => return,
        };
        self.0 = mix(self.0 ^ mix(what ^ u64::from(stream) << 48));
    }
}
