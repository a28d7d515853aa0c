use super::*;

/// A region of `version`, in the words that it has.
struct Written {
    bytes: Vec<u8>,
    counters: usize,
}

impl Written {
    fn new(version: u32, counters: usize, size: usize) -> Written {
        let mut bytes = vec![0; size];
        bytes[..4].copy_from_slice(&version.to_le_bytes());
        let mut written = Written { bytes, counters };
        if version > 1 {
            for slot in 0..CHIPS {
                let at = written.chip(slot);
                written.word(at, NO_CHIP);
            }
        }
        if version >= 4 {
            let end = written.process(PROCESSES);
            written.word(end, READY);
        }
        written
    }

    fn word(&mut self, at: usize, word: u32) {
        self.bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }

    fn long(&mut self, at: usize, long: u64) {
        self.bytes[at..at + 8].copy_from_slice(&long.to_le_bytes());
    }

    fn chip(&self, slot: usize) -> usize {
        HEADER_BYTES + 8 * self.counters + slot * (8 + 8 * self.counters)
    }

    fn process(&self, slot: usize) -> usize {
        self.chip(CHIPS) + slot * (80 + 8 * self.counters)
    }

    /// 4,096 bytes of L1 of process `pid`, counted everywhere.
    fn one_buffer(mut self, pid: i32) -> Written {
        let (chip, process) = (self.chip(0), self.process(3));
        self.long(HEADER_BYTES + 8, 4096);
        self.word(chip, 2);
        self.long(chip + 16, 4096);
        self.word(process, pid as u32);
        self.long(process + 16, 4096);
        self
    }

    fn kinds(&self) -> Vec<FindingKind> {
        let region = Region::parse(&self.bytes).expect("a region");
        let found = findings(&region, &|pid| pid == 7);
        found.iter().map(|finding| finding.kind).collect()
    }
}

/// Versions with their counters and their sizes.
const LAYOUTS: [(u32, usize, usize); 6] = [
    (1, 6, 9280),
    (1, 5, 8640),
    (2, 6, 9280),
    (2, 5, 8640),
    (3, 5, 8640),
    (4, 5, 8576),
];

#[test]
fn each_version_is_read_in_its_layout() {
    for (version, counters, size) in LAYOUTS {
        let written = Written::new(version, counters, size).one_buffer(7);
        let region = Region::parse(&written.bytes).expect("a region");
        assert_eq!(
            region.totals.len(),
            counters,
            "version {version}, {size} bytes"
        );
        assert_eq!(region.totals[1], 4096, "version {version}");
        assert_eq!((region.chips.len(), region.chips[0].chip), (1, 2));
        assert_eq!((region.processes.len(), region.processes[0].slot), (1, 3));
        assert_eq!(region.processes[0].pid, 7);
        assert_eq!(written.kinds(), [], "version {version}: nothing is wrong");
    }
}

#[test]
fn what_cannot_be_is_found_and_nothing_else() {
    use FindingKind::*;
    let sound = || Written::new(4, 5, 8576).one_buffer(7);
    let mut drifted = sound();
    drifted.long(HEADER_BYTES + 8, 4000);
    assert_eq!(
        drifted.kinds(),
        [DriftedTotal, DriftedTotal],
        "of chips and of processes"
    );
    let mut below = sound();
    let at = below.process(3) + 8;
    below.long(at, 64_u64.wrapping_neg());
    assert!(below.kinds().contains(&Underflow));
    let mut twice = sound();
    let at = twice.process(9);
    twice.word(at, 7);
    assert_eq!(twice.kinds(), [SlotConflict]);
    assert_eq!(
        Written::new(4, 5, 8576).one_buffer(8).kinds(),
        [DeadProcess]
    );
    let mut unready = sound();
    let end = unready.process(PROCESSES);
    unready.word(end, 1);
    assert_eq!(unready.kinds(), [NotReady]);
    let mut released = sound();
    let at = released.process(5);
    released.word(at, u32::MAX);
    assert_eq!(released.kinds(), [], "a slot that is being released");
}

#[test]
fn what_is_no_region_is_refused() {
    let parse = |bytes: &[u8]| Region::parse(bytes).expect_err("no region").to_string();
    assert!(parse(&[]).contains("0 bytes are too few"));
    assert!(parse(&[0; 64]).contains("version 0"));
    assert!(parse(b"HBTRACE and more").contains("not known"));
    let whole = Written::new(4, 5, 8576).one_buffer(7).bytes;
    for length in 4..whole.len() {
        let end = 8540;
        assert_eq!(
            Region::parse(&whole[..length]).is_ok(),
            length >= end,
            "{length}"
        );
    }
}
