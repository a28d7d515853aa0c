//! RMM's allocation log: CSV rows with threads and times of day.

use heisenbed::import::allocation::AllocationEvent;
use heisenbed::trace::file::ImportFormat;
use proptest::prelude::*;

use super::{Recording, buffer, records, reported};

const HEADER: &str = "Thread,Time,Action,Pointer,Size,Stream\n";

#[test]
fn memory_that_is_handed_out_inside_of_a_live_buffer_is_in_use() {
    let rows = "1,00:00:00.000001,allocate,0x7f0000001000,4096,0\n\
                2,00:00:00.000002,allocate,0x7f0000001f00,256,0\n\
                2,00:00:00.000003,free,0x7f0000001f00,256,0\n\
                1,00:00:00.000004,free,0x7f0000001000,4096,0\n\
                2,00:00:00.000005,allocate,0x7f0000001f00,256,0\n\
                2,00:00:00.000006,free,0x7f0000001f00,256,0\n";
    let log = Recording::new("rmm-log", "rmm.csv", format!("{HEADER}{rows}"));
    log.import();
    let (checked, code) = log.said("check");
    assert_eq!((code, &checked["verdict"]), (1, &"diverged".into()));
    assert_eq!(
        (&checked["divergences"], &checked["first_line"]),
        (&serde_json::json!({ "duplicate-alloc": 1 }), &3.into()),
        "{checked}"
    );
}

#[test]
fn rows_of_several_threads_are_used_over_midnight() {
    let rows = "140001,23:59:59.999998,allocate,0x7f0000001000,4096,0\n\
                140002,23:59:59.999999,allocate,0x7f0000002000,64,0x55aa\n\
                140001,00:00:00.000001,allocate failure,(nil),99999999999,0\n\
                140002,00:00:00.000002,free,0x7f0000001000,4096,0\n\
                140003,00:00:00.000003,allocate,(nil),0,0\n\
                140003,00:00:00.000004,allocate,0x7f0000001000,256,0x55aa\n";
    let log = Recording::new("rmm-log", "rmm.dev3.csv", format!("{HEADER}{rows}"));
    let account = log.import();
    assert_eq!(
        (
            &account["parsed"],
            &account["known_other"],
            &account["unrecognised"]
        ),
        (&5.into(), &2.into(), &0.into()),
        "{account}"
    );
    let (checked, code) = log.said("check");
    assert_eq!(
        (code, &checked["verdict"]),
        (0, &"inconclusive".into()),
        "{checked}"
    );
    assert_eq!(
        (
            &checked["allocations"],
            &checked["releases"],
            &checked["failed"],
            &checked["threads"]
        ),
        (&3.into(), &1.into(), &1.into(), &3.into())
    );
    assert_eq!(
        (&checked["leaks"], &checked["peak_bytes"]),
        (&2.into(), &4160.into())
    );
    let live = checked["live"].as_array().expect("a list");
    assert_eq!(
        (&live[0]["thread"], &live[0]["line"]),
        (&140_002.into(), &3.into())
    );
    assert_eq!(
        (&live[1]["thread"], &live[1]["device"]),
        (&140_003.into(), &3.into())
    );
    let (read, _) = records(ImportFormat::RmmLog, format!("{HEADER}{rows}").as_bytes());
    let times: Vec<u64> = read
        .iter()
        .map(|record| record.at_ns.expect("a time") / 1000)
        .collect();
    let day_us = 86_400_000_000;
    assert_eq!(
        times,
        [day_us - 2, day_us - 1, day_us + 1, day_us + 2, day_us + 4]
    );
}

#[test]
fn other_shapes_of_the_same_log_say_the_same() {
    let rows = "1,10:00:00.000001,allocate,0x1000,4096,0\n1,10:00:00.000002,free,0x1000,4096,0\n";
    let plain = records(ImportFormat::RmmLog, format!("{HEADER}{rows}").as_bytes()).0;
    let without_header = records(ImportFormat::RmmLog, rows.as_bytes()).0;
    let quoted = format!("{HEADER}{rows}")
        .replace("allocate", "\"allocate\"")
        .replace("4096", "\"4096\"");
    let quoted = records(ImportFormat::RmmLog, quoted.as_bytes()).0;
    let crlf = records(
        ImportFormat::RmmLog,
        format!("{HEADER}{rows}").replace('\n', "\r\n").as_bytes(),
    )
    .0;
    let epoch = "Time,Thread,Action,Size,Pointer,Stream\n\
                 1700000000.000001,1,allocate,4096,0x1000,0\n1700000000.000002,1,deallocate,4096,0x1000,0\n";
    let epoch = records(ImportFormat::RmmLog, epoch.as_bytes()).0;
    let words = |records: &[_]| -> Vec<_> {
        let of =
            |record: &heisenbed::import::allocation::AllocationRecord| (record.what, record.thread);
        records.iter().map(of).collect()
    };
    for other in [without_header, quoted, crlf, epoch] {
        assert_eq!(words(&plain), words(&other));
    }
}

#[test]
fn rows_that_are_no_rows_are_reported_with_their_line() {
    let wrong = [
        "1,10:00:00.000001,allocate",
        // Cut in its size: that would be a size of its own.
        "1,10:00:00.000001,allocate,0x2000,40",
        "1,10:00:00.000001,allocate,0x2000,many,0",
        "1,10:00:00.000001,allocate,0x2000,-1,0",
        "1,10:00:00.000001,allocate,0x2000,99999999999999999999,0",
        "1,10:00:00.000001,allocate,8192,64,0",
        "1,10:00:00.000001,reallocate,0x2000,64,0",
        "one,10:00:00.000001,allocate,0x2000,64,0",
        "1,quarter past,allocate,0x2000,64,0",
        // Two writers on one line.
        "1,10:00:00.000001,allocate,0x2000,641,10:00:00.000001,allocate,0x3000,64,0",
        "1,10:00:00.000001,\"allocate,0x2000,64,0",
        "\u{fffd}\u{0}\u{1}",
    ];
    let mut text = HEADER.to_owned() + "1,10:00:00.000000,allocate,0x1000,4096,0\n";
    for row in wrong {
        text += row;
        text += "\n";
    }
    text += "1,10:00:01.000000,free,0x1000,4096,0\n";
    let log = Recording::new("rmm-log", "rmm.csv", &text);
    let account = log.import();
    let lines: Vec<u64> = reported(&account).iter().map(|(line, _)| *line).collect();
    assert_eq!(
        lines,
        (3..3 + wrong.len() as u64).collect::<Vec<_>>(),
        "{account}"
    );
    for ((_, excerpt), row) in reported(&account).iter().zip(wrong) {
        assert_eq!(*excerpt, row);
    }
    let (checked, _) = log.said("check");
    assert_eq!(
        (&checked["allocations"], &checked["leaks"]),
        (&1.into(), &0.into()),
        "{checked}"
    );
    let shown = super::run(&log.words());
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("rmm.csv:3: not understood"), "{shown}");
}

#[test]
fn a_row_that_is_not_understood_does_not_set_the_clock() {
    let text = format!(
        "{HEADER}1,01:00:00.0,allocate,0x1000,64,0\n1,23:00:00.0,sideways,0x1000,64,0\n1,01:00:01.0,free,0x1000,64,0\n"
    );
    let (read, _) = records(ImportFormat::RmmLog, text.as_bytes());
    let times: Vec<u64> = read
        .iter()
        .map(|record| record.at_ns.expect("a time") / 1_000_000_000)
        .collect();
    assert_eq!(times, [3600, 3601]);
}

#[test]
fn a_lost_row_explains_one_finding() {
    let text = format!("{HEADER}1,10:00:00.0,allocate,0x10\n1,10:00:01.0,free,0x1000,64,0\n");
    let log = Recording::new("rmm-log", "rmm.csv", text);
    log.import();
    let (checked, code) = log.said("check");
    assert_eq!(
        (code, &checked["verdict"]),
        (3, &"inconclusive".into()),
        "{checked}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_of_any_text_add_up(
        rows in proptest::collection::vec(
            prop_oneof![
                3 => (0..4_u64, 1..100_u64, any::<bool>()).prop_map(|(thread, slot, allocates)| {
                    let action = if allocates { "allocate" } else { "free" };
                    format!("{thread},10:00:00.0,{action},0x{:x},{},0", slot * 4096, slot * 64)
                }),
                1 => "[0-9a-z,:x.\"() ]{0,40}",
                1 => ".{0,20}",
            ],
            0..40,
        ),
        kept in 0.0..=1.0,
    ) {
        let text = HEADER.to_owned() + &rows.join("\n");
        let bytes = text.as_bytes();
        for bytes in [bytes, &bytes[..(bytes.len() as f64 * kept) as usize]] {
            let (read, _) = records(ImportFormat::RmmLog, bytes);
            for record in &read {
                if !matches!(record.what, AllocationEvent::Failed { .. }) {
                    let buffer = buffer(record);
                    prop_assert_eq!(buffer.size_bytes, Some(buffer.address / 64));
                }
            }
        }
    }
}
