use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::device::Memory;
use crate::tracking::MessageKind;
use crate::tracking::message::Extension;

const PID: i32 = 100;

fn message(
    kind: MessageKind,
    device: i32,
    address: u64,
    size_bytes: u64,
    buffer_type: u8,
) -> Message {
    Message {
        kind,
        device,
        size_bytes,
        buffer_type,
        pid: PID,
        address,
        timestamp_ns: 0,
        extension: None,
    }
}

fn alloc(address: u64, size_bytes: u64, buffer_type: u8) -> Message {
    message(MessageKind::Alloc, 0, address, size_bytes, buffer_type)
}

fn free(address: u64) -> Message {
    message(MessageKind::Free, 0, address, 0, 0)
}

fn in_memory(message: Message, memory: Memory) -> Message {
    stamped(message, memory, 0)
}

fn stamped(message: Message, memory: Memory, sequence: u64) -> Message {
    let extension = Some(Extension {
        memory,
        sequence,
        generation: 7,
        thread: 3,
    });
    Message {
        extension,
        ..message
    }
}

fn registry(semantics: Semantics) -> Registry {
    Registry::new(semantics, Limits::default())
}

fn outcomes(registry: &mut Registry, message: &Message) -> Vec<Outcome> {
    let mut all = Vec::new();
    registry.apply(message, &mut |_, outcome| all.push(outcome));
    all
}

fn outcome(registry: &mut Registry, message: &Message) -> Outcome {
    let all = outcomes(registry, message);
    assert_eq!(all.len(), 1);
    all[0]
}

#[test]
fn overwrite_replaces_and_one_free_removes() {
    let mut r = registry(Semantics::Overwrite);
    assert_eq!(outcome(&mut r, &alloc(16, 100, 0)), Outcome::Inserted);
    let Outcome::Replaced { old } = outcome(&mut r, &alloc(16, 50, 1)) else {
        panic!("not replaced")
    };
    assert_eq!((old.size_bytes, old.buffer_type), (100, 0));
    assert_eq!(
        (
            r.totals(0).dram_bytes,
            r.totals(0).l1_bytes,
            r.totals(0).buffers
        ),
        (0, 50, 1)
    );
    assert!(
        matches!(outcome(&mut r, &free(16)), Outcome::Removed { entry } if entry.size_bytes == 50)
    );
    assert_eq!(outcome(&mut r, &free(16)), Outcome::UnknownFree);
    assert_eq!(r.totals(0), Totals::default());
}

#[test]
fn the_process_that_an_entry_is_shown_for_is_that_of_the_kept_alloc() {
    let first = alloc(0x1000, 512, 1);
    let second = Message { pid: 200, ..first };
    for (semantics, kept) in [(Semantics::Overwrite, 200), (Semantics::Refcount, PID)] {
        let mut registry = registry(semantics);
        let mut twin = registry.clone();
        outcomes(&mut registry, &first);
        let before = outcomes(&mut registry, &second);
        assert_eq!(registry.live()[0].pid, kept, "{semantics}");
        if let [Outcome::Replaced { old }] = before[..] {
            assert_eq!(old.pid, PID);
        }
        // Two registries that show other processes are not equal, though their keys are.
        for pid in [PID, 200] {
            twin.clear();
            outcomes(&mut twin, &Message { pid, ..first });
            let same = registry.live() == twin.live();
            assert_eq!(registry == twin, same, "{semantics} {pid}");
        }
        // The last FREE may be another process's; what ends is the entry as it was.
        let free = Message {
            pid: 300,
            ..free(0x1000)
        };
        let ended = [
            outcomes(&mut registry, &free),
            outcomes(&mut registry, &free),
        ]
        .concat();
        let removed = ended.iter().find_map(|outcome| match outcome {
            Outcome::Removed { entry } => Some(entry.pid),
            _ => None,
        });
        assert_eq!(removed, Some(kept), "{semantics}");
    }
}

#[test]
fn refcount_keeps_the_first_size_type_and_owner() {
    let mut r = registry(Semantics::Refcount);
    outcome(&mut r, &alloc(16, 100, 0));
    let second = Message {
        pid: 200,
        ..alloc(16, 50, 1)
    };
    let Outcome::Incremented { kept } = outcome(&mut r, &second) else {
        panic!("not incremented")
    };
    assert_eq!(
        (kept.size_bytes, kept.buffer_type, kept.pid, kept.refcount),
        (100, 0, PID, 2)
    );
    assert!(
        matches!(outcome(&mut r, &free(16)), Outcome::Decremented { left } if left.refcount == 1)
    );
    assert!(
        matches!(outcome(&mut r, &free(16)), Outcome::Removed { entry } if entry.size_bytes == 100)
    );
    assert_eq!(outcome(&mut r, &free(16)), Outcome::UnknownFree);
}

#[test]
fn typed_keeps_memories_and_processes_apart() {
    let mut r = registry(Semantics::Typed);
    assert_eq!(outcome(&mut r, &alloc(16, 100, 0)), Outcome::Inserted);
    assert_eq!(outcome(&mut r, &alloc(16, 50, 1)), Outcome::Inserted);
    assert_eq!(
        outcome(
            &mut r,
            &Message {
                pid: 200,
                ..alloc(16, 9, 0)
            }
        ),
        Outcome::Inserted
    );
    let l1 = in_memory(free(16), Memory::L1);
    assert!(matches!(outcome(&mut r, &l1), Outcome::Removed { entry } if entry.size_bytes == 50));
    assert_eq!(outcome(&mut r, &l1), Outcome::UnknownFree);
    assert_eq!(
        outcome(
            &mut r,
            &Message {
                pid: 300,
                ..free(16)
            }
        ),
        Outcome::UnknownFree
    );
    assert_eq!(r.len(), 2);
}

#[test]
fn typed_free_without_memory_takes_the_lowest_buffer_type_that_is_live() {
    let mut r = registry(Semantics::Typed);
    for (buffer_type, size_bytes) in [(4, 4), (1, 1), (3, 3)] {
        outcome(&mut r, &alloc(16, size_bytes, buffer_type));
    }
    for size_bytes in [1, 3, 4] {
        assert!(
            matches!(outcome(&mut r, &free(16)), Outcome::Removed { entry } if entry.size_bytes == size_bytes)
        );
    }
    assert_eq!(outcome(&mut r, &free(16)), Outcome::UnknownFree);
}

#[test]
fn releases_of_circular_buffers_and_kernels_use_the_remembered_size() {
    for semantics in [
        Semantics::Overwrite,
        Semantics::Refcount,
        Semantics::Typed,
        Semantics::Sequenced,
    ] {
        let mut r = registry(semantics);
        outcome(&mut r, &alloc(16, 1, 1));
        outcome(&mut r, &message(MessageKind::CbAlloc, 0, 16, 300, 0));
        outcome(&mut r, &message(MessageKind::KernelLoad, 0, 16, 40, 2));
        assert_eq!(
            (
                r.totals(0).l1_bytes,
                r.totals(0).cb_bytes,
                r.totals(0).kernel_bytes
            ),
            (1, 300, 40)
        );
        outcome(&mut r, &message(MessageKind::CbFree, 0, 16, u64::MAX, 0));
        outcome(&mut r, &message(MessageKind::KernelUnload, 0, 16, 0, 0));
        assert_eq!(
            (
                r.totals(0).l1_bytes,
                r.totals(0).cb_bytes,
                r.totals(0).kernel_bytes
            ),
            (1, 0, 0)
        );
        assert_eq!(
            outcome(&mut r, &message(MessageKind::CbFree, 0, 16, 5, 0)),
            Outcome::UnknownFree
        );
    }
}

#[test]
fn what_is_out_of_limits_is_rejected_and_changes_nothing() {
    let limits = Limits {
        devices: 8,
        buffers: 2,
        size_bytes: 1000,
        ..Limits::default()
    };
    let mut r = Registry::new(Semantics::Typed, limits);
    let cases = [
        (
            message(MessageKind::Alloc, 8, 1, 1, 0),
            RejectReason::DeviceOutOfRange,
        ),
        (
            message(MessageKind::Free, -1, 1, 0, 0),
            RejectReason::DeviceOutOfRange,
        ),
        (alloc(1, 0, 0), RejectReason::SizeZero),
        (alloc(1, 1001, 0), RejectReason::SizeOverLimit),
        (alloc(1, 1, 5), RejectReason::InvalidBufferType),
    ];
    for (bad, reason) in cases {
        assert_eq!(outcome(&mut r, &bad), Outcome::Rejected(reason));
        assert_eq!(r, Registry::new(Semantics::Typed, limits));
    }
    outcome(&mut r, &alloc(1, 1, 0));
    outcome(&mut r, &alloc(2, 1, 0));
    assert_eq!(
        outcome(&mut r, &alloc(3, 1, 0)),
        Outcome::Rejected(RejectReason::TableFull)
    );
    assert!(matches!(
        outcome(&mut r, &alloc(2, 5, 0)),
        Outcome::Replaced { .. }
    ));
}

#[test]
fn sums_of_the_largest_sizes_are_exact() {
    let limits = Limits {
        buffers: 4,
        size_bytes: u64::MAX,
        ..Limits::default()
    };
    let mut r = Registry::new(Semantics::Overwrite, limits);
    let largest = r.limits().size_bytes;
    for address in 0..4 {
        assert_eq!(
            outcome(&mut r, &alloc(address, largest, 0)),
            Outcome::Inserted
        );
    }
    assert_eq!(r.totals(0).dram_bytes, largest * 4);
    for address in 0..4 {
        outcome(&mut r, &free(address));
    }
    assert_eq!(r.totals(0), Totals::default());
}

#[test]
fn queries_and_dumps_are_ignored() {
    let mut r = registry(Semantics::Sequenced);
    for kind in [
        MessageKind::Query,
        MessageKind::Response,
        MessageKind::DumpRemaining,
        MessageKind::DumpKernels,
    ] {
        assert_eq!(
            outcome(&mut r, &message(kind, 0, 0, 0, 0)),
            Outcome::Ignored
        );
    }
}

#[test]
fn sequenced_applies_in_the_order_of_the_stamps() {
    let mut r = registry(Semantics::Sequenced);
    let reuse = stamped(alloc(16, 20, 0), Memory::Dram, 3);
    let release = stamped(free(16), Memory::Dram, 2);
    let first = stamped(alloc(16, 10, 0), Memory::Dram, 1);
    assert_eq!(outcomes(&mut r, &reuse), [Outcome::Held]);
    assert_eq!(outcomes(&mut r, &release), [Outcome::Held]);
    assert_eq!(r.held(), 2);
    let all = outcomes(&mut r, &first);
    assert!(matches!(
        all[..],
        [
            Outcome::Inserted,
            Outcome::Removed { .. },
            Outcome::Inserted
        ]
    ));
    assert_eq!((r.held(), r.live()[0].size_bytes), (0, 20));
    assert_eq!(
        outcome(&mut r, &first),
        Outcome::Rejected(RejectReason::SequenceRepeated)
    );
}

#[test]
fn flush_applies_what_is_held_and_names_the_gaps() {
    let mut r = registry(Semantics::Sequenced);
    for sequence in [2, 5, 6] {
        outcome(
            &mut r,
            &stamped(alloc(sequence * 16, sequence, 0), Memory::Dram, sequence),
        );
    }
    let mut sizes = Vec::new();
    let gaps = r.flush(&mut |message, _| sizes.push(message.size_bytes));
    assert_eq!(sizes, [2, 5, 6]);
    let gap = |first, last| SequenceGap {
        pid: PID,
        device: DeviceId(0),
        first,
        last,
    };
    assert_eq!(gaps, [gap(1, 1), gap(3, 4)]);
    assert_eq!(
        outcome(&mut r, &stamped(alloc(1, 1, 0), Memory::Dram, 7)),
        Outcome::Inserted
    );
}

#[test]
fn the_sequence_window_and_the_number_of_sequences_are_bounded() {
    let limits = Limits {
        sequence_window: 10,
        sequences: 1,
        ..Limits::default()
    };
    let mut r = Registry::new(Semantics::Sequenced, limits);
    let far = stamped(alloc(1, 1, 0), Memory::Dram, 12);
    assert_eq!(
        outcome(&mut r, &far),
        Outcome::Rejected(RejectReason::SequenceTooFarAhead)
    );
    let other = Message {
        pid: 200,
        ..stamped(alloc(1, 1, 0), Memory::Dram, 1)
    };
    assert_eq!(
        outcome(&mut r, &other),
        Outcome::Rejected(RejectReason::TooManySequences)
    );
}

#[test]
fn equality_and_hash_depend_on_the_content_only() {
    use std::hash::BuildHasher;
    let hash = |r: &Registry| FxBuildHasher.hash_one(r);
    let (mut a, mut b) = (registry(Semantics::Typed), registry(Semantics::Typed));
    for address in 0..200 {
        outcome(&mut a, &alloc(address, 8, 0));
        outcome(&mut b, &alloc(199 - address, 8, 0));
    }
    assert_eq!((&a, hash(&a)), (&b, hash(&b)));
    outcome(&mut a, &free(3));
    assert_ne!((&a, hash(&a)), (&b, hash(&b)));
    outcome(&mut a, &alloc(3, 8, 0));
    assert_eq!((&a, hash(&a)), (&b, hash(&b)));
}

/// The naive model: a sorted map by a literal key, sums recomputed each time.
#[derive(Default)]
struct Model(BTreeMap<ModelKey, (u64, u8, u32)>);

/// Device, memory, process, address: the order in which the registry sorts.
type ModelKey = (i32, u8, i32, u64);

impl Model {
    fn step(&mut self, semantics: Semantics, m: &Message) {
        let typed = semantics == Semantics::Typed;
        let pid = if typed { m.pid } else { 0 };
        let memory = if typed { m.buffer_type } else { 0 };
        let key = (m.device, memory, pid, m.address);
        if m.kind == MessageKind::Alloc {
            if m.buffer_type > 4 || m.size_bytes == 0 {
                return;
            }
            match self.0.get_mut(&key) {
                Some(live) if semantics == Semantics::Refcount => live.2 += 1,
                _ => drop(self.0.insert(key, (m.size_bytes, m.buffer_type, 1))),
            }
            return;
        }
        let found = (0..=4)
            .map(|memory| (m.device, memory, pid, m.address))
            .find(|k| self.0.contains_key(k));
        let Some(key) = found else { return };
        let live = self.0.get_mut(&key).unwrap();
        live.2 -= 1;
        if live.2 == 0 {
            self.0.remove(&key);
        }
    }
}

proptest! {
    #[test]
    fn the_registry_agrees_with_a_naive_model(
        semantics in prop_oneof![
            Just(Semantics::Overwrite), Just(Semantics::Refcount), Just(Semantics::Typed)
        ],
        steps in prop::collection::vec((any::<bool>(), 0..2i32, 0..4u64, 0..4u64, 0..6u8, 1..3i32), 0..120),
    ) {
        let mut r = registry(semantics);
        let mut model = Model::default();
        for (is_alloc, device, address, size, buffer_type, pid) in steps {
            let kind = if is_alloc { MessageKind::Alloc } else { MessageKind::Free };
            let m = Message { pid, ..message(kind, device, address, size, buffer_type) };
            outcome(&mut r, &m);
            model.step(semantics, &m);
            let live: Vec<_> = r.live().iter().map(|e| (e.size_bytes, e.buffer_type, e.refcount)).collect();
            prop_assert_eq!(live, model.0.values().copied().collect::<Vec<_>>());
            for device in 0..2 {
                let of_device = model.0.iter().filter(|(k, _)| k.0 == device);
                let sum = |t: u8| of_device.clone().filter(|(_, v)| v.1 == t).map(|(_, v)| v.0).sum::<u64>();
                let totals = r.totals(device);
                prop_assert_eq!(
                    [totals.dram_bytes, totals.l1_bytes, totals.system_bytes, totals.l1_small_bytes,
                     totals.trace_bytes],
                    [sum(0), sum(1), sum(2), sum(3), sum(4)]
                );
                prop_assert_eq!(totals.buffers, of_device.clone().count() as u64);
            }
        }
    }
}
