//! When it does not matter which address a buffer gets.
//!
//! Where all buffers of a memory have one size, an allocation fails or not by how many there are,
//! and what it gets is one free block or another. Which one matters only where something is left of
//! who had it before: an entry at the server, a message under way, a release that has given it back
//! and goes on. As long as no buffer is allocated while something is left of *any* past life, every
//! free block is as good as another, and states that differ by addresses only have the same futures
//! up to names: lives are told apart by who has them.
//!
//! So a search may leave addresses out of its fingerprints and look at each allocation whether that
//! holds. Where it does not, it begins again with them. Up to the first such allocation on a path
//! the states that were taken for the same have the same futures, so that it is met if there is
//! one.

use rustc_hash::FxHashMap;

use crate::device::BufferKind;
use crate::engine::controlled::machine::{Machine, Setup};
use crate::engine::step::Thread;
use crate::registry::Semantics;
use crate::scenario::op::Op;
use crate::tracking::Layout;

/// Whether addresses may be left out of the fingerprints of `setup`'s machines.
pub(super) fn may_be_left_out(setup: &Setup) -> bool {
    let scenario = &setup.scenario;
    let mut sizes = FxHashMap::default();
    let alike = setup.ops().iter().flatten().all(|op| match op {
        Op::Allocate { request, .. } => {
            let size = sizes
                .entry((request.device, request.memory))
                .or_insert(request.size_bytes);
            request.kind == BufferKind::Owned
                && request.parts == 1
                && request.releases <= 1
                && *size == request.size_bytes
        }
        Op::Release { .. } => true,
        // Cells and ledgers may know of addresses.
        _ => false,
    });
    alike
        && setup.is_served_at_once()
        && scenario.planted.is_none()
        && !scenario.discipline.shares()
        && scenario.semantics != Semantics::Sequenced
        && scenario.transport.layout == Layout::Extended
}

/// Whether something is left of a life that has ended.
pub(super) fn has_past_lives(machine: &Machine) -> bool {
    let world = machine.world();
    let goes_on_after_its_life = |thread: &Thread| {
        let handle = world.handle(thread.place());
        thread.is_inside() && handle.is_some_and(|handle| !world.is_live(&handle))
    };
    machine.server().has_past_lives(world) || machine.threads().iter().any(goes_on_after_its_life)
}
