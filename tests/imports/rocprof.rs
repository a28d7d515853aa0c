//! Memory allocations as rocprofv3 traces them.

use heisenbed::trace::file::ImportFormat;

use super::{Recording, assert_uncontradicted, buffer, cut_anywhere, records, refused_lines};

const HEADER: &str = "\"Kind\",\"Operation\",\"Agent_Id\",\"Allocation_Size\",\"Address\",\"Correlation_Id\",\"Start_Timestamp\",\"End_Timestamp\"\n";

fn row(operation: &str, agent: &str, size: u64, address: &str, start: u64) -> String {
    format!(
        "\"MEMORY_ALLOCATION\",\"MEMORY_ALLOCATION_{operation}\",\"{agent}\",{size},\"{address}\",7,{start},{}\n",
        start + 10
    )
}

fn trace() -> String {
    HEADER.to_owned()
        + &row("ALLOCATE", "Agent 1", 4096, "0x00007F0000001000", 100)
        + &row("ALLOCATE", "Agent 2", 1024, "0x00007F0000002000", 200)
        + &row("VMEM_ALLOCATE", "Agent 1", 512, "0x00007F0000001000", 250)
        + &row("FREE", "Agent 0", 0, "0x0000000000000000", 300)
        + &row("FREE", "", 0, "0x00007F0000002000", 400)
        + &row("VMEM_FREE", "Agent 0", 0, "0x00007F0000001000", 500)
        + "\"SCRATCH_MEMORY\",\"SCRATCH_MEMORY_ALLOC\",\"Agent 1\",1,\"0x1\",7,600,610\n"
}

#[test]
fn a_release_is_of_the_agent_that_its_address_was_allocated_on() {
    let text = trace();
    let (read, accounting) = records(ImportFormat::Rocprof, text.as_bytes());
    assert_eq!(
        (
            accounting.parsed,
            accounting.known_other,
            accounting.unrecognised
        ),
        (5, 3, 0)
    );
    let devices: Vec<i32> = read.iter().map(|record| buffer(record).device).collect();
    assert_eq!(devices, [1, 2, 1, 2, 1]);
    let log = Recording::new("rocprof", "1_memory_allocation_trace.csv", text);
    log.import();
    let (checked, code) = log.said("check");
    assert_uncontradicted(&checked, code);
    assert_eq!(
        (&checked["leaks"], &checked["devices"]),
        (&1.into(), &2.into())
    );
    let plain = HEADER.replace('"', "")
        + "MEMORY_ALLOCATION,MEMORY_ALLOCATION_ALLOCATE,4,64,0x1000,1,5,6\n";
    let (read, _) = records(ImportFormat::Rocprof, plain.as_bytes());
    assert_eq!((buffer(&read[0]).device, read[0].at_ns), (4, Some(6)));
}

#[test]
fn rows_that_are_not_by_time_are_sorted() {
    // The rows of one thread, then those of another that released before.
    let text = HEADER.to_owned()
        + &row("ALLOCATE", "Agent 1", 64, "0x1000", 100)
        + &row("ALLOCATE", "Agent 1", 64, "0x1000", 300)
        + &row("FREE", "", 0, "0x1000", 400)
        + "no row\n"
        + &row("FREE", "", 0, "0x1000", 200)
        + &row("ALLOCATE", "Agent 1", 64, "0x2000", 50);
    let log = Recording::new("rocprof", "1_memory_allocation_trace.csv", text);
    let account = log.import();
    assert_eq!(
        (&account["lines"], &account["unrecognised"]),
        (&7.into(), &1.into())
    );
    let (checked, code) = log.said("check");
    // One row was not understood.
    assert_eq!((code, &checked["divergences"]), (3, &serde_json::json!({})));
    assert_eq!(
        (&checked["leaks"], &checked["peak_bytes"], &checked["lines"]),
        (&1.into(), &128.into(), &7.into())
    );
}

#[test]
fn rows_that_are_none_are_reported_and_cuts_are_harmless() {
    let mut text = HEADER.to_owned();
    let wrong = [
        row("TELEPORT", "Agent 1", 1, "0x1", 1),
        row("ALLOCATE", "Agent", 1, "0x1", 1),
        row("ALLOCATE", "Agent 1", 1, "one", 1),
        "\"MEMORY_ALLOCATION\",\"MEMORY_ALLOCATION_FREE\"\n".to_owned(),
        "\"KERNEL_DISPATCH\",\"x\",\"Agent 1\",1,\"0x1\",1,1,1\n".to_owned(),
    ];
    text.extend(wrong.iter().map(String::as_str));
    assert_eq!(refused_lines(ImportFormat::Rocprof, &text), [2, 3, 4, 5, 6]);
    assert_eq!(
        refused_lines(ImportFormat::Rocprof, &row("FREE", "", 0, "0x1", 1)),
        [1]
    );
    cut_anywhere(ImportFormat::Rocprof, &trace());
}

#[test]
fn calls_that_overlap_are_in_the_order_in_which_they_can_have_had_their_effect() {
    let row = |operation: &str, size: u64, start: u64, end: u64| {
        format!(
            "\"MEMORY_ALLOCATION\",\"MEMORY_ALLOCATION_{operation}\",\"Agent 1\",{size},\"0x1000\",7,{start},{end}\n"
        )
    };
    // Another thread's allocation begins, waits for the release, and gets the address.
    let text = HEADER.to_owned()
        + &row("ALLOCATE", 64, 100, 110)
        + &row("ALLOCATE", 64, 190, 260)
        + &row("FREE", 0, 200, 250)
        + &row("FREE", 0, 300, 310);
    let log = Recording::new("rocprof", "1_memory_allocation_trace.csv", text.clone());
    log.import();
    let (checked, code) = log.said("check");
    assert_uncontradicted(&checked, code);
    // Twin: it ended before the release began.
    let text = text.replace("190,260", "190,195");
    let log = Recording::new("rocprof", "2_memory_allocation_trace.csv", text);
    log.import();
    let (checked, _) = log.said("check");
    assert_eq!(checked["divergences"]["duplicate-alloc"], 1, "{checked}");
}

#[test]
fn a_second_release_is_of_the_agent_of_the_first() {
    let text = HEADER.to_owned()
        + &row("ALLOCATE", "Agent 1", 64, "0x1000", 100)
        + &row("FREE", "Agent 0", 0, "0x1000", 200)
        + &row("FREE", "Agent 0", 0, "0x1000", 300);
    let log = Recording::new("rocprof", "1_memory_allocation_trace.csv", text);
    log.import();
    let (checked, _) = log.said("check");
    assert_eq!(checked["divergences"]["double-free"], 1, "{checked}");
    assert_eq!(checked["devices"], 1, "{checked}");
}
