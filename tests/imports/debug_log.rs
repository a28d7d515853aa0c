//! The runtime's debug log: blocks with call stacks.

use heisenbed::import::allocation::AllocationEvent;
use heisenbed::trace::file::ImportFormat;
use proptest::prelude::*;

use super::{Recording, buffer, records, reported};

const SEPARATOR: &str = "═══════════════════════════════════════════════════════════";
const ALLOCATED: &str = "BUFFER ALLOCATED";
const DEALLOCATED: &str = "BUFFER DEALLOCATED";
const DESTRUCTOR: &str = "BUFFER DESTRUCTOR (still ALLOCATED - will deallocate)";

/// A block as the runtime writes it: a line of it has the number that it has here.
pub fn block(heading: &str, address: u64, size_bytes: u64, frames: &[&str]) -> Vec<String> {
    let mut lines = vec![
        SEPARATOR.to_owned(),
        heading.to_owned(),
        "Time: 10:20:30".to_owned(),
        "Device: 1".to_owned(),
        format!("Address: 0x{address:x} ({address})"),
        format!(
            "Size: {size_bytes} bytes ({} KB)",
            size_bytes as f64 / 1024.0
        ),
        "Type: L1".to_owned(),
        format!("Buffer*: 0x7f{address:010x}"),
    ];
    if heading == ALLOCATED {
        lines.extend(["Owns Data: yes".to_owned(), "Hooked: no".to_owned()]);
    }
    lines.push("Call Stack:".to_owned());
    lines.extend(frames.iter().map(|frame| format!("    {frame}")));
    lines
}

pub fn allocated(address: u64, size_bytes: u64, frames: &[&str]) -> Vec<String> {
    block(ALLOCATED, address, size_bytes, frames)
}

pub fn deallocated(address: u64, size_bytes: u64) -> Vec<String> {
    block(DEALLOCATED, address, size_bytes, &["release()", "main"])
}

/// A log of these blocks, with a blank line after each.
pub fn log(blocks: &[Vec<String>]) -> String {
    let mut text = String::new();
    for line in blocks
        .iter()
        .flat_map(|block| block.iter().chain([const { &String::new() }]))
    {
        text += line;
        text.push('\n');
    }
    text
}

fn recorded(text: &str) -> Recording {
    Recording::new("debug-log", "tt_buffer_debug.log", text)
}

#[test]
fn the_call_stacks_of_what_was_never_released_are_shown() {
    let cache = ["Cache::insert()", "Model::forward()", "main"];
    let mut blocks = Vec::new();
    for index in 0..5 {
        blocks.push(allocated(0x1_0000 + index * 0x1000, 4096, &cache));
        blocks.push(allocated(0x8_0000, 64, &["Scratch::take()", "main"]));
        blocks.push(deallocated(0x8_0000, 64));
    }
    blocks.push(allocated(0x9_0000, 512, &["Table::grow()", "main"]));
    blocks.push(block(DESTRUCTOR, 0x9_0000, 512, &["~Table()", "main"]));
    blocks.push(deallocated(0x9_0000, 512));
    let log = recorded(&log(&blocks));
    let account = log.import();
    assert_eq!(account["unrecognised"], 0, "{account}");
    let forms = &account["forms"];
    assert_eq!(
        (
            &forms["allocated"],
            &forms["deallocated"],
            &forms["destructor"]
        ),
        (&11.into(), &6.into(), &1.into())
    );

    let (checked, code) = log.said("check");
    assert_eq!((code, &checked["verdict"]), (0, &"inconclusive".into()));
    assert_eq!(
        (&checked["leaks"], &checked["live_bytes"]),
        (&5.into(), &20_480.into())
    );
    let places = checked["live_by_stack"].as_array().expect("a list");
    assert_eq!(places.len(), 1, "{checked}");
    assert_eq!(
        (&places[0]["buffers"], &places[0]["stack"]),
        (&5.into(), &serde_json::json!(cache))
    );
    assert_eq!(places[0]["first"]["line"], 1);

    let (diagnosed, _) = log.said("diagnose");
    assert_eq!(diagnosed["causes"][0]["cause"], "real-leak", "{diagnosed}");
    assert_eq!(
        diagnosed["live_by_stack"][0]["stack"],
        serde_json::json!(cache)
    );
    for command in ["check", "diagnose"] {
        let shown = log.shown(command);
        assert!(
            cache.iter().all(|frame| shown.contains(frame)),
            "{command}: {shown}"
        );
        assert!(!shown.contains("Scratch"), "{command}: {shown}");
    }
}

#[test]
fn what_is_known_is_not_asked_for_again() {
    let log = recorded(&log(&[allocated(0x1000, 64, &["leak()", "main"])]));
    log.import();
    let shown = log.shown("diagnose");
    assert!(!shown.contains("TT_BUFFER_DEBUG_LOG"), "{shown}");
}

#[test]
fn buffers_that_own_no_memory_are_known_and_counted_apart() {
    let mut borrowed = allocated(0x1000, 64, &["view()"]);
    borrowed[8] = "Owns Data: no".to_owned();
    let log = recorded(&log(&[
        allocated(0x1000, 64, &["own()"]),
        borrowed,
        deallocated(0x1000, 64),
    ]));
    let account = log.import();
    assert_eq!(account["forms"]["other-borrowed"], 2, "{account}");
    assert_eq!(account["unrecognised"], 0, "{account}");
    assert_eq!(log.said("check").0["leaks"], 1);
}

/// A block in the middle of three is damaged by `damage`; the lines that are reported, counted from
/// the block's separator.
fn damaged(damage: impl FnOnce(&mut Vec<String>)) -> (Vec<u64>, usize) {
    let first = allocated(0x1000, 4096, &["first()", "main"]);
    let mut second = allocated(0x2000, 64, &["second()", "main"]);
    damage(&mut second);
    let last = deallocated(0x1000, 4096);
    let text = [first.clone(), second, last].concat().join("\n");
    let log = recorded(&text);
    let account = log.import();
    let lines = reported(&account)
        .iter()
        .map(|(line, _)| line - first.len() as u64 - 1)
        .collect::<std::collections::BTreeSet<_>>();
    let (read, _) = records(ImportFormat::DebugLog, text.as_bytes());
    let about = |address: u64| {
        read.iter()
            .filter(move |record| buffer(record).address == address)
    };
    assert_eq!(
        about(0x1000).count(),
        2,
        "its neighbours are used: {read:?}"
    );
    assert!(
        read.iter()
            .all(|record| [0x1000, 0x2000].contains(&buffer(record).address))
    );
    (lines.into_iter().collect(), about(0x2000).count())
}

#[test]
fn a_damaged_block_is_reported_with_its_lines_and_its_neighbours_are_used() {
    let whole: Vec<u64> = (0..13).collect();
    for (line, wrong) in [
        (1, "BUFFER MISLAID"),
        (2, "Time: 25:00:00"),
        (3, "Device: one"),
        (4, "Address: here (8192)"),
        (4, "Address: 0x2000 (8193)"),
        (5, "Size: -64 bytes (0.0625 KB)"),
        (6, "Type: L3"),
        (7, "Buffer*: null"),
    ] {
        let found = damaged(|block| wrong.clone_into(&mut block[line]));
        assert_eq!(found, (whole.clone(), 0), "{wrong}");
        let found = damaged(|block| drop(block.remove(line)));
        assert_eq!(found, ((0..12).collect(), 0), "without line {line}");
    }
    // What only adds to a buffer that is known costs the buffer nothing.
    assert_eq!(
        damaged(|block| block[9] = "Hooked: perhaps".to_owned()),
        (vec![9], 1)
    );
    assert_eq!(damaged(|block| drop(block.remove(9))), (vec![], 1));
    assert_eq!(
        damaged(|block| block[10] = "Call Slack:".to_owned()),
        (vec![10, 11, 12], 1)
    );
    // Lines of others.
    for line in [2, 5, 8, 10, 12] {
        let other = "2026-01-01 INFO the model is loaded".to_owned();
        assert_eq!(
            damaged(|block| block.insert(line, other)),
            (vec![line as u64], 1),
            "{line}"
        );
    }
    // A block that ends early.
    for length in 2..8 {
        let found = damaged(|block| block.truncate(length));
        assert_eq!(found, ((0..length as u64).collect(), 0));
    }
    for length in 8..12 {
        assert_eq!(
            damaged(|block| block.truncate(length)),
            (vec![], 1),
            "{length} lines"
        );
    }
}

#[test]
fn damaged_blocks_are_not_made_into_one_that_was_never_written() {
    let with = |line: usize, wrong: &str, mut block: Vec<String>| {
        wrong.clone_into(&mut block[line]);
        block
    };
    let first = allocated(0x1000, 4096, &["first()"]);
    let cases = [
        with(4, "Address: here (4096)", first.clone()),
        // The program was killed here, and another run appended.
        first[..4].to_vec(),
    ];
    for before in cases {
        let after = with(3, "Device: one", allocated(0x2000, 64, &["second()"]));
        let text = [before, after, deallocated(0x1000, 4096)]
            .concat()
            .join("\n");
        let (read, accounting) = records(ImportFormat::DebugLog, text.as_bytes());
        assert_eq!(read.len(), 1, "{read:?}");
        assert!(matches!(read[0].what, AllocationEvent::Released(_)));
        assert_eq!(accounting.forms["cut-block"], 2, "{accounting:?}");
    }
}

#[test]
fn what_could_not_be_read_is_no_divergence_of_the_program() {
    let mut lost = allocated(0x2000, 64, &["second()"]);
    lost[4] = "Address: here".to_owned();
    let free = deallocated(0x2000, 64);
    let log_of = |blocks: &[Vec<String>]| recorded(&log(blocks));
    let explained = log_of(&[lost.clone(), free.clone()]);
    explained.import();
    let (checked, code) = explained.said("check");
    assert_eq!(
        (code, &checked["verdict"]),
        (3, &"inconclusive".into()),
        "{checked}"
    );
    assert_eq!(
        checked["divergences"]["unknown-free"], 1,
        "it is told all the same"
    );
    assert!(
        checked["note"]
            .as_str()
            .is_some_and(|note| note.contains("not understood")),
        "{checked}"
    );
    // One record that was lost explains one finding, and not two.
    let more = log_of(&[lost, free.clone(), deallocated(0x5000, 64)]);
    more.import();
    let (checked, code) = more.said("check");
    assert_eq!(
        (code, &checked["verdict"]),
        (1, &"diverged".into()),
        "{checked}"
    );
    // Lines of others are no records.
    let other = log_of(&[vec!["INFO the model is loaded".to_owned()], free]);
    assert_eq!(other.import()["unrecognised"], 1);
    assert_eq!(other.said("check").1, 1);
}

#[test]
fn a_log_that_is_cut_anywhere_yields_whole_blocks_and_no_others() {
    let text = log(&[
        allocated(0x1000, 4096, &["first()", "main"]),
        allocated(0x2000, 64, &["second()", "main"]),
        deallocated(0x1000, 4096),
    ]);
    let (all, _) = records(ImportFormat::DebugLog, text.as_bytes());
    assert_eq!(all.len(), 3);
    for end in 0..text.len() {
        let (read, _) = records(ImportFormat::DebugLog, &text.as_bytes()[..end]);
        for (record, whole) in read.iter().zip(&all) {
            let (mut record, mut whole) = (buffer(record), buffer(whole));
            (record.stack, whole.stack) = (None, None);
            assert_eq!(record, whole, "cut at {end}");
        }
    }
}

/// What can happen to a block.
#[derive(Clone, Debug)]
enum Damage {
    None,
    Wrong(usize),
    Missing(usize),
    Other(usize),
}

fn any_damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        3 => Just(Damage::None),
        1 => (1..8_usize).prop_map(Damage::Wrong),
        1 => (1..8_usize).prop_map(Damage::Missing),
        1 => (1..12_usize).prop_map(Damage::Other),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_invents_a_record_or_loses_a_line(
        damages in proptest::collection::vec((any_damage(), any::<bool>()), 1..20),
        kept in 0.5..1.0,
    ) {
        let mut lines = Vec::new();
        let mut sound = Vec::new();
        for (index, (damage, allocates)) in damages.iter().enumerate() {
            let (address, size_bytes) = (0x1000 * (index as u64 + 1), 64 * (index as u64 + 1));
            let heading = if *allocates { ALLOCATED } else { DEALLOCATED };
            let mut block = block(heading, address, size_bytes, &["here()", "main"]);
            match damage {
                Damage::None => sound.push(address),
                Damage::Wrong(line) => {
                    let start = block[*line].find(' ').expect("a word and a value");
                    block[*line].replace_range(start.., " ?");
                }
                Damage::Missing(line) => drop(block.remove(*line)),
                Damage::Other(line) => {
                    sound.push(address);
                    block.insert((*line).min(block.len()), "some other line".to_owned());
                }
            }
            lines.extend(block);
        }
        let whole = lines.join("\n");
        let (read, _) = records(ImportFormat::DebugLog, whole.as_bytes());
        for record in &read {
            let buffer = buffer(record);
            prop_assert_eq!(buffer.size_bytes, Some(buffer.address / 0x1000 * 64));
            prop_assert_eq!(buffer.holder, Some(0x7f00_0000_0000 | buffer.address));
        }
        let addresses: Vec<u64> = read.iter().map(|record| buffer(record).address).collect();
        prop_assert_eq!(addresses, sound);
        let end = (whole.len() as f64 * kept) as usize;
        records(ImportFormat::DebugLog, &whole.as_bytes()[..end]);
    }
}
