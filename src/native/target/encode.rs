//! The plan as the driver reads it: `runtime/driver/driver.h` says the same.

use std::collections::BTreeMap;

use super::TargetSetup;
use crate::device::{BufferKind, Memory};
use crate::scenario::op::{Op, SlotId};

/// `PLAN_MAGIC`.
const MAGIC: u64 = 0x3130_6e61_6c70_6268;
/// `PLAN_EARLY`.
const EARLY: u32 = 1;
/// `PLAN_NEXT`.
const NEXT: u32 = 2;

/// Bytes of an operation.
const OP_BYTES: usize = 24;

/// The plan of `setup`; `in_turn`: one thread does all of it.
pub(crate) fn encode(setup: &TargetSetup, in_turn: bool) -> Vec<u8> {
    let slots = Slots::of(&setup.ops);
    let socket = setup.socket.as_deref().unwrap_or_default().as_bytes();
    let options = setup.options.as_bytes();
    let flags = if setup.early { EARLY } else { 0 } | if in_turn { NEXT } else { 0 };
    let mut bytes = Vec::with_capacity(128 + setup.count() as usize * OP_BYTES);
    bytes.extend(MAGIC.to_le_bytes());
    for number in [
        flags,
        setup.ops.len() as u32,
        u32::from(setup.devices),
        slots.count,
    ] {
        bytes.extend(number.to_le_bytes());
    }
    for number in setup.sizes.into_iter().chain(setup.whole) {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(setup.alignment.to_le_bytes());
    bytes.extend((socket.len() as u32).to_le_bytes());
    bytes.extend((options.len() as u32).to_le_bytes());
    bytes.extend(socket);
    bytes.extend(options);
    for ops in &setup.ops {
        bytes.extend((ops.len() as u64).to_le_bytes());
        for op in ops {
            put(&mut bytes, op, &slots);
        }
    }
    bytes
}

/// Which slots several threads use.
struct Slots {
    count: u32,
    users: BTreeMap<SlotId, Users>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Users {
    One(usize),
    Several,
}

impl Slots {
    fn of(ops: &[Vec<Op>]) -> Slots {
        let mut slots = Slots {
            count: 0,
            users: BTreeMap::new(),
        };
        for (thread, ops) in ops.iter().enumerate() {
            for op in ops {
                let (Op::Allocate { slot, .. } | Op::Release { slot, .. }) = op else {
                    continue;
                };
                slots.count = slots.count.max(slot.0 + 1);
                let users = slots.users.entry(*slot).or_insert(Users::One(thread));
                if *users != Users::One(thread) {
                    *users = Users::Several;
                }
            }
        }
        slots
    }

    fn is_shared(&self, slot: SlotId) -> bool {
        self.users.get(&slot) == Some(&Users::Several)
    }
}

fn put(bytes: &mut Vec<u8>, op: &Op, slots: &Slots) {
    let (mut small, mut device, mut numbers, mut size) = ([0u8; 6], 0u16, [0u32; 2], 0u64);
    match *op {
        Op::Allocate {
            slot,
            epoch,
            request,
        } => {
            let shared = u8::from(slots.is_shared(slot));
            small = [
                1,
                kind(request.kind),
                request.memory as u8,
                request.parts,
                request.releases,
                shared,
            ];
            (device, numbers, size) = (request.device.0, [slot.0, epoch], request.size_bytes);
        }
        Op::Release { slot, epoch } => {
            (small[0], small[5]) = (2, u8::from(slots.is_shared(slot)));
            numbers = [slot.0, epoch];
        }
        Op::AwaitOthers => small[0] = 3,
        Op::Close { device: closed } => (small[0], device) = (4, closed.0),
        Op::Throw => small[0] = 5,
        // Refused before: see `fits`.
        Op::Run { .. } | Op::Kill { .. } => {}
    }
    bytes.extend(small);
    bytes.extend(device.to_le_bytes());
    for number in numbers {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(size.to_le_bytes());
}

fn kind(kind: BufferKind) -> u8 {
    match kind {
        BufferKind::Owned => 0,
        BufferKind::Preallocated => 1,
        BufferKind::Circular => 2,
        BufferKind::Mesh => 3,
    }
}

// The memories are numbered as in the client's header.
const _: () = assert!(Memory::Dram as u8 == 0 && Memory::Trace as u8 == 3);
