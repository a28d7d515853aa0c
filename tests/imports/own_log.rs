//! Anybody's own log: CSV and JSON Lines with the documented names.

use heisenbed::import::allocation::{AllocationEvent, AllocationRecord};
use heisenbed::trace::file::ImportFormat;
use proptest::prelude::*;

use super::{
    Recording, assert_uncontradicted, buffer, common, cut_anywhere, records, refused_lines,
};

const HEADER: &str = "time,op,device,memory,address,size,thread,process\n";
const CSV: &str = "time,op,device,memory,address,size,thread,process\n\
    1000,alloc,0,dram,0x1000,4096,1,4711\n\
    2000,alloc,1,l1,0x1000,64,2,4711\n\
    2500,fail,1,l1,,1048576,2,4711\n\
    # a comment\n\
    3000,free,0,dram,0x1000,,2,4711\n\
    4000,free,1,l1,4096,64,2,4711\n\
    5000,alloc,0,dram,null,0,2,4711\n\
    \n\
    6000,alloc,0,trace,0x2000,128,1,4711\n";
const JSONL: &str = "{\"time\":1000,\"op\":\"alloc\",\"device\":0,\"memory\":\"dram\",\"address\":\"0x1000\",\"size\":4096,\"thread\":1,\"process\":4711}\n\
    {\"time\":2000,\"op\":\"alloc\",\"device\":1,\"memory\":\"l1\",\"address\":4096,\"size\":\"64\",\"thread\":2,\"process\":4711}\n\
    {\"op\":\"fail\",\"time\":2500,\"device\":1,\"memory\":\"l1\",\"size\":1048576,\"thread\":2,\"process\":4711}\n\
    # a comment\n\
    {\"time\":3000,\"op\":\"free\",\"device\":0,\"memory\":\"dram\",\"address\":\"0x1000\",\"size\":null,\"thread\":2,\"process\":4711,\"why\":{\"a\":[1]}}\n\
    {\"time\":4000,\"op\":\"free\",\"device\":1,\"memory\":\"l1\",\"address\":\"0x1000\",\"size\":64,\"thread\":2,\"process\":4711}\n\
    {\"time\":5000,\"op\":\"alloc\",\"device\":0,\"memory\":\"dram\",\"address\":\"null\",\"size\":0,\"thread\":2,\"process\":4711}\n\
    \n\
    {\"time\":6000,\"op\":\"alloc\",\"device\":0,\"memory\":\"trace\",\"address\":\"0x2000\",\"size\":128,\"thread\":1,\"process\":4711}\n";

fn said(records: &[AllocationRecord]) -> Vec<(Option<u64>, Option<u64>, AllocationEvent)> {
    let of = |record: &AllocationRecord| (record.at_ns, record.thread, record.what);
    records.iter().map(of).collect()
}

#[test]
fn what_is_not_understood_is_named_with_the_field_or_the_header_that_is_missing() {
    for (text, why) in [
        ("1,alloc,0x1000,64\n", "no header above it names"),
        (
            "time;op;address;size\n1;alloc;0x1000;64\n",
            "with commas between",
        ),
        ("op,address,op\nalloc,1,free\n", "once each"),
        ("op,address,size\nalloc,0x1000,4 KiB\n", "its `size` is not"),
        ("op,address,size\nalloc,7f00zz,4\n", "its `address` is not"),
        ("op,address,time\nalloc,1,noon\n", "its `time` is not"),
        ("op,address\nrealloc,1\n", "its `op` is none of alloc, free"),
        ("op,address\nalloc,1,7\n", "another number of columns"),
    ] {
        let error = Recording::new("csv", "own", text).refused();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn a_log_that_is_not_by_time_is_taken_in_its_order_and_that_is_noted() {
    let rows = "5,alloc,0,dram,0x1000,64,1,1\n\
                1,free,0,dram,0x1000,64,1,1\n\
                3,alloc,0,dram,0x1000,64,1,1\n";
    let log = Recording::new("csv", "own", format!("{HEADER}{rows}"));
    log.import();
    let noted = serde_json::json!({ "count": 1, "first_line": 3 });
    assert_eq!(log.said("check").0["notes"]["time-goes-back"], noted);
}

/// Of a device with banks, an address and a size are no range: nobody can tell here.
#[test]
fn live_buffers_that_overlap_are_noted_with_the_line() {
    let rows = "1,alloc,0,dram,0x1000,4096,1,1\n\
                2,alloc,0,dram,0x1800,64,1,1\n\
                3,free,0,dram,0x1800,64,1,1\n\
                4,alloc,0,l1,0x1800,64,1,1\n\
                5,free,0,dram,0x1000,4096,1,1\n\
                6,alloc,0,dram,0x1800,64,1,1\n";
    let log = Recording::new("csv", "own", format!("{HEADER}{rows}"));
    log.import();
    let (checked, code) = log.said("check");
    assert_uncontradicted(&checked, code);
    let noted = serde_json::json!({ "count": 1, "first_line": 3 });
    assert_eq!(checked["notes"]["overlapping"], noted, "{checked}");
    let shown = log.shown("check");
    assert!(shown.contains("overlap"), "{shown}");
}

#[test]
fn csv_and_json_lines_say_the_same() {
    let csv = records(ImportFormat::Csv, CSV.as_bytes()).0;
    let jsonl = records(ImportFormat::Jsonl, JSONL.as_bytes()).0;
    assert_eq!(csv.len(), 6);
    assert_eq!(said(&csv), said(&jsonl));
    for (format, text) in [("csv", CSV), ("jsonl", JSONL)] {
        let log = Recording::new(format, "own", text);
        let account = log.import();
        assert_eq!(
            (&account["parsed"], &account["unrecognised"]),
            (&6.into(), &0.into())
        );
        let (checked, code) = log.said("check");
        assert_uncontradicted(&checked, code);
        assert_eq!(
            (
                &checked["devices"],
                &checked["threads"],
                &checked["failed"],
                &checked["leaks"]
            ),
            (&2.into(), &2.into(), &1.into(), &1.into()),
            "{checked}"
        );
        assert_eq!(checked["live"][0]["memory"], "trace");
        assert_eq!(checked["peak_bytes"], 4160);
        let (diagnosed, code) = log.said("diagnose");
        assert!(code < 2, "{diagnosed}");
        let (run, code) = super::run_json(&format!(
            "explore --schedules 3 --workload import:{}",
            log.trace().display()
        ));
        assert!(code < 2, "{run}");
    }
}

#[test]
fn columns_may_have_any_order_and_usual_names() {
    let text = "\u{feff}PTR,Action,size_bytes,note,tid,time_us,pid,gpu\n\
        0x1000,Allocate,4096,\"a, note\",main,1.5,7,cuda:2\n\
        0x2000,malloc,1,,0x1f,2,8,3\n\
        0x1000,deallocate,4096,,worker,3,7,gpu2\n";
    let (read, _) = records(ImportFormat::Csv, text.as_bytes());
    let devices: Vec<i32> = read.iter().map(|record| buffer(record).device).collect();
    assert_eq!(devices, [2, 3, 2]);
    let processes: Vec<_> = read.iter().map(|record| buffer(record).process).collect();
    assert_eq!(processes, [Some(7), Some(8), Some(7)]);
    let times: Vec<_> = read.iter().filter_map(|record| record.at_ns).collect();
    assert_eq!(times, [1500, 2000, 3000]);
    let threads: Vec<_> = read.iter().filter_map(|record| record.thread).collect();
    assert_eq!(threads, [0, 31, 1], "names are numbered as they appear");
}

#[test]
fn times_are_ns_or_seconds_or_of_the_day() {
    let text = format!(
        "{HEADER}0.5,alloc,,,0x10,1,,\n17,alloc,,,0x20,1,,\n,alloc,,,0x30,1,,\n10:00:00.5,alloc,,,0x40,1,,\n"
    );
    let (read, _) = records(ImportFormat::Csv, text.as_bytes());
    let times: Vec<_> = read.iter().map(|record| record.at_ns).collect();
    let of_day = 36_000_500_000_000;
    assert_eq!(times, [Some(500_000_000), Some(17), None, Some(of_day)]);
}

#[test]
fn an_address_belongs_to_a_process_a_device_and_a_memory() {
    let rows = "1,alloc,0,dram,0x1000,64,1,7\n\
                2,alloc,0,dram,0x1000,64,1,8\n\
                3,alloc,1,dram,0x1000,64,1,7\n\
                4,alloc,0,scratchpad,0x1000,64,1,7\n\
                5,free,0,scratchpad,0x1000,64,1,7\n\
                6,free,0,scratchpad,0x1000,64,1,7\n\
                7,alloc,0,dram,0,64,1,7\n";
    let log = Recording::new("csv", "own.csv", format!("{HEADER}{rows}"));
    log.import();
    let (checked, code) = log.said("check");
    assert_eq!(
        (code, &checked["divergences"]),
        (1, &serde_json::json!({ "double-free": 1 })),
        "{checked}"
    );
    assert_eq!(
        (&checked["leaks"], &checked["first_line"]),
        (&4.into(), &7.into())
    );
}

#[test]
fn rows_that_are_no_rows_are_reported() {
    let wrong = [
        "1,alloc,0,dram,0x1000",
        "1,alloc,0,dram,0x1000,64,1,7,more",
        "1,grow,0,dram,0x1000,64,1,7",
        "1,,0,dram,0x1000,64,1,7",
        "1,alloc,0,dram,,64,1,7",
        "1,alloc,0,dram,1000h,64,1,7",
        "1,alloc,0,dram,0x1000,-64,1,7",
        "1,alloc,0,dram,0x1000,6.4,1,7",
        "1,alloc,0,dram,0x1000,99999999999999999999,1,7",
        "1,alloc,zero,dram,0x1000,64,1,7",
        "1,alloc,0,dram,0x1000,64,1,seven",
        "1,alloc,0,dram,0x1000,64,1,99999999999",
        "soon,alloc,0,dram,0x1000,64,1,7",
        "25:00:00,alloc,0,dram,0x1000,64,1,7",
        "\u{0}\u{1}",
    ];
    let text = HEADER.to_owned() + &wrong.join("\n") + "\n";
    let lines: Vec<u64> = (2..2 + wrong.len() as u64).collect();
    assert_eq!(refused_lines(ImportFormat::Csv, &text), lines);
    let wrong = [
        "{}",
        "[]",
        "7",
        "no JSON",
        "{\"op\":\"alloc\"}",
        "{\"op\":\"alloc\",\"address\":[1]}",
        "{\"op\":\"alloc\",\"address\":1.5}",
        "{\"op\":\"alloc\",\"address\":true}",
        "{\"op\":\"alloc\",\"address\":-1}",
        "{\"op\":\"alloc\",\"address\":1,\"size\":-1}",
        "{\"op\":\"alloc\",\"address\":1,\"size\":{}}",
        "{\"op\":\"alloc\",\"address\":1} more",
        "{\"op\":\"alloc\",\"address\":1",
    ];
    let text = wrong.join("\n") + "\n";
    let lines: Vec<u64> = (1..=wrong.len() as u64).collect();
    assert_eq!(refused_lines(ImportFormat::Jsonl, &text), lines);
    // Before the header nothing has a meaning.
    assert_eq!(refused_lines(ImportFormat::Csv, "1,alloc,0x1000\n"), [1]);
    assert_eq!(refused_lines(ImportFormat::Csv, "op,op,address\n"), [1]);
}

#[test]
fn a_long_log_takes_no_more_memory_than_a_short_one() {
    let mut text = HEADER.to_owned();
    for row in 0..150_000_u64 {
        let (address, op) = (0x1000 * (row / 2 + 1), ["alloc", "free"][row as usize % 2]);
        text += &format!(
            "{row},{op},{},dram,{address:#x},4096,{},4711\n",
            row % 2,
            row % 5
        );
    }
    // A release is on the device of its allocation.
    let text = text.replace(",free,1,", ",free,0,");
    assert!(text.len() > 5 << 20);
    let log = Recording::new("csv", "own.csv", text);
    let words = log.words();
    let arguments: Vec<&str> = words.split_whitespace().collect();
    let (peak_kib, account) = common::watch(&mut common::piped(&arguments));
    assert_eq!(account["parsed"], 150_000, "{account}");
    assert!(peak_kib < 32 << 10, "{peak_kib} KiB");
    let (checked, code) = log.said("check");
    assert_uncontradicted(&checked, code);
}

#[test]
fn logs_that_are_cut_anywhere_are_read_up_to_there() {
    cut_anywhere(ImportFormat::Csv, CSV);
    cut_anywhere(ImportFormat::Jsonl, JSONL);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lines_of_any_text_add_up(
        lines in proptest::collection::vec(
            prop_oneof![
                2 => (0..4_u64, any::<bool>()).prop_map(|(slot, allocates)| {
                    let op = if allocates { "alloc" } else { "free" };
                    format!("{slot},{op},0,dram,0x{:x},{},1,7", slot * 4096, slot * 64)
                }),
                1 => "[0-9a-z,:x.\"(){}#-]{0,40}",
                1 => ".{0,20}",
                1 => Just(HEADER.trim_end().to_owned()),
            ],
            0..40,
        ),
    ) {
        let text = HEADER.to_owned() + &lines.join("\n");
        for format in ImportFormat::ALL {
            let is_lines = !matches!(
                format,
                ImportFormat::ServerLog | ImportFormat::TorchSnapshot | ImportFormat::GraphCapture
            );
            if is_lines {
                records(format, text.as_bytes());
            }
        }
    }
}

#[test]
fn a_line_that_says_a_field_twice_is_not_understood() {
    let fields = ["\"op\":\"alloc\"", "\"address\":1", "\"size\":64"];
    let line = |more: &str| format!("{{{}{more}}}\n", fields.join(","));
    assert_eq!(records(ImportFormat::Jsonl, line("").as_bytes()).0.len(), 1);
    for more in [
        "\"op\":\"free\"",
        "\"address\":2",
        "\"ptr\":1",
        "\"bytes\":4",
    ] {
        let (read, accounting) = records(ImportFormat::Jsonl, line(&format!(",{more}")).as_bytes());
        assert_eq!((read.len(), accounting.unrecognised), (0, 1), "{more}");
    }
}

#[test]
fn what_may_be_read_in_two_ways_is_not_understood() {
    let refused = |format: &'static str, name: &str, text: &str| {
        let log = Recording::new(format, name, text);
        let why = log.refused();
        assert!(why.contains("not understood"), "{text:?}: {why}");
    };
    for header in [
        "op,address,device,gpu",
        "op,address,pool,heap",
        "op,address,pid,process",
        "op,address,holder,holder",
    ] {
        refused(
            "csv",
            "own",
            &format!("{header}\nalloc,0x10,0,1\nfree,0x10,0,1\n"),
        );
    }
    refused(
        "jsonl",
        "own",
        "{\"op\":\"alloc\",\"address\":16,\"device\":0,\"gpu\":1}\n",
    );
    // All lines end as those of an old Macintosh: it would be one row.
    refused("csv", "own", "op,address,size\ralloc,0x10,8\rfree,0x10,8\r");
    // Text within quotes goes on in the next line, whatever that looks like.
    let text = "op,address,size,why\nalloc,0x10,8,\"a\nfree,0x10,8,b\"\n";
    let (_, accounting) = records(ImportFormat::Csv, text.as_bytes());
    assert_eq!((accounting.parsed, accounting.unrecognised), (1, 1));
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_line() {
    let log = "{\"op\":\"alloc\",\"address\":16}\n{\"op\":\"free\",\"address\":16}\n";
    let marked = format!("\u{feff}{log}");
    for text in [log, &marked] {
        let (read, accounting) = records(ImportFormat::Jsonl, text.as_bytes());
        assert_eq!((read.len(), accounting.unrecognised), (2, 0));
    }
}
