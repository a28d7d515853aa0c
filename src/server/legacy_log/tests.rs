use super::numbers::general;
use super::*;
use crate::registry::{Limits, Semantics};

const BASIC: &str = include_str!("../../../corpus/imports/01_basic.log");
const SAME_ADDRESS: &str = include_str!("../../../corpus/imports/04_dram_l1_same_addr.log");
const V144: &str = include_str!("../../../corpus/imports/20_v144_basic.log");
const V72: &str = include_str!("../../../corpus/imports/40_v72.log");

struct Run {
    registry: Registry,
    log: LegacyLog<Vec<u8>>,
    pid: i32,
}

impl Run {
    fn new(semantics: Semantics, pid: i32) -> Run {
        let limits = Limits {
            devices: 8,
            ..Limits::default()
        };
        Run {
            registry: Registry::new(semantics, limits),
            log: LegacyLog::new(Vec::new()),
            pid,
        }
    }

    fn send(
        &mut self,
        kind: MessageKind,
        device: i32,
        address: u64,
        size_bytes: u64,
        buffer_type: u8,
    ) {
        let pid = self.pid;
        let message = Message {
            kind,
            device,
            size_bytes,
            buffer_type,
            pid,
            address,
            timestamp_ns: 0,
            extension: None,
        };
        let log = &mut self.log;
        self.registry
            .apply(&message, &mut |m, outcome| log.write_outcome(m, &outcome));
    }

    fn dump(&mut self, kind: MessageKind) {
        self.log.write_dump(kind, &self.registry);
    }

    /// The lines so far are lines of `sample`, one after the other.
    fn assert_part_of(&mut self, sample: &str) {
        let lines = self.log.take_lines();
        assert!(sample.contains(&lines), "not in the sample:\n{lines}");
    }
}

use MessageKind::{
    Alloc, CbAlloc, CbFree, DumpKernels, DumpRemaining, Free, KernelLoad, KernelUnload,
};

#[test]
fn reference_counted_lines_are_those_of_the_sample() {
    let mut run = Run::new(Semantics::Refcount, 26880);
    run.send(Alloc, 0, 0x18b20, 4096, 1);
    run.send(Alloc, 0, 0x18b20, 32768, 1);
    run.send(Alloc, 0, 0x18b20, 1_048_576, 0);
    for _ in 0..4 {
        run.send(Free, 0, 0x18b20, 0, 0);
    }
    for buffer_type in 0..5 {
        run.send(
            Alloc,
            1,
            0x1000 + buffer_type,
            1000 + buffer_type,
            buffer_type as u8,
        );
    }
    for (address, buffer_type) in [(4101, 5), (4102, 6), (4103, 7), (65535, 255)] {
        run.send(Alloc, 1, address, 1, buffer_type);
    }
    run.assert_part_of(BASIC);
}

#[test]
fn dram_and_l1_at_one_address_are_those_of_the_sample() {
    let mut run = Run::new(Semantics::Refcount, 26880);
    run.send(Alloc, 0, 0x20000, 1_048_576, 0);
    run.send(Alloc, 0, 0x20000, 4096, 1);
    run.send(Free, 0, 0x20000, 0, 0);
    run.send(Free, 0, 0x20000, 0, 0);
    run.assert_part_of(SAME_ADDRESS);
}

#[test]
fn rejections_are_those_of_the_sample() {
    let mut run = Run::new(Semantics::Refcount, 26105);
    run.send(Alloc, 8, 1, 4096, 1);
    run.send(Alloc, -1, 1, 4096, 1);
    run.send(Alloc, 0, 1, 0, 1);
    run.send(Alloc, 0, 1, 107_374_182_401, 1);
    run.assert_part_of(V144);
}

#[test]
fn circular_buffers_and_kernels_are_those_of_the_sample() {
    let mut run = Run::new(Semantics::Typed, 26105);
    run.send(CbAlloc, 0, 1, 1 << 18, 0);
    run.send(CbAlloc, 0, 2, 1 << 17, 0);
    run.send(CbFree, 0, 2, 0, 0);
    run.assert_part_of(V144);
    for kernel in 0..4 {
        run.send(KernelLoad, 1, 0x700 + u64::from(kernel), 56 << 10, kernel);
    }
    run.assert_part_of(V144);
    run.send(KernelUnload, 1, 0x700, 0, 0);
    assert_eq!(
        run.log.take_lines(),
        "✗ [KERNEL_UNLOAD] Application kernel on Device 1: -0.0546875 MB (Total: 0.164062 MB)\n"
    );
}

#[test]
fn the_dump_of_buffers_is_the_sample_s() {
    let mut run = Run::new(Semantics::Refcount, 27638);
    run.send(Alloc, 0, 0x1887000, 512, 0);
    run.log.take_lines();
    run.dump(DumpRemaining);
    run.assert_part_of(V72);
    run.send(Free, 0, 0x1887000, 0, 0);
    run.log.take_lines();
    run.dump(DumpRemaining);
    run.assert_part_of(V72);
}

#[test]
fn a_dump_lists_up_to_ten_buffers_of_a_memory() {
    let mut run = Run::new(Semantics::Refcount, 26880);
    for index in 0..11 {
        run.send(Alloc, 3, 0x50000 + index * 0x1000, 1024, 0);
    }
    run.log.take_lines();
    run.dump(DumpRemaining);
    let dump = run.log.take_lines();
    let end = "Device 3:\n  DRAM: 11 buffers, 0.0107422 MB total\n\nTotal remaining buffers: ";
    assert!(dump.contains(end) && BASIC.contains(end), "{dump}");
}

#[test]
fn the_dump_of_kernels_is_the_sample_s_but_for_age() {
    let mut run = Run::new(Semantics::Typed, 26105);
    run.send(KernelLoad, 1, 0x702, 56 << 10, 2);
    run.log.take_lines();
    run.dump(DumpKernels);
    for line in run
        .log
        .take_lines()
        .lines()
        .filter(|line| !line.contains("otal"))
    {
        assert!(
            V144.lines().any(|sample| sample == line),
            "not in the sample: {line}"
        );
    }
}

#[test]
fn numbers_are_printed_as_a_c_stream_prints_them() {
    let cases = [
        (0.0, "0"),
        (0.25, "0.25"),
        (1.0, "1"),
        (100.0, "100"),
        (0.164_062_5, "0.164062"),
        (0.0107421875, "0.0107422"),
        (1.0 / 1_048_576.0, "9.53674e-07"),
        (0.0001, "0.0001"),
        (17_592_186_044_415.0, "1.75922e+13"),
        (999_999.0, "999999"),
        (999_999.6, "1e+06"),
        (123_456.7, "123457"),
    ];
    for (value, text) in cases {
        assert_eq!(general(value), text);
    }
}
