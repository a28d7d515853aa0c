//! RMM's logs of several devices, and its allocations of no bytes.

use serde_json::Value;

use super::{Recording, assert_uncontradicted, run_json};

const HEADER: &str = "Thread,Time,Action,Pointer,Size,Stream\n";

/// Files beside each other, and what importing them into one trace says.
fn imported(files: &[(&str, String)]) -> (tempfile::TempDir, Value, i32) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut words = "import rmm-log".to_owned();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writable");
        words += &format!(" {}", path.display());
    }
    words += &format!(" -o {}", folder.path().join("out.hb").display());
    let (account, code) = run_json(&words);
    (folder, account, code)
}

fn said(folder: &tempfile::TempDir, command: &str) -> (Value, i32) {
    run_json(&format!(
        "{command} {}",
        folder.path().join("out.hb").display()
    ))
}

#[test]
fn the_logs_of_several_devices_become_one_by_time() {
    // One device has released before the other allocates. The same address is on both.
    let zero = format!(
        "{HEADER}1,10:00:00.000001,allocate,0x1000,1000,0\n1,10:00:00.000005,free,0x1000,1000,0\n"
    );
    let one = format!(
        "{HEADER}2,10:00:00.000003,allocate,0x2000,8,0\n\
         1,10:00:00.000006,allocate,0x1000,900,0\nnot a row\n1,10:00:00.000007,free,0x1000,900,0\n"
    );
    for order in [
        ["rmm_log.dev0.txt", "rmm_log.dev1.txt"],
        ["rmm.dev4.csv", "rmm.dev7.csv"],
    ] {
        let files = [(order[0], zero.clone()), (order[1], one.clone())];
        let (folder, account, code) = imported(&files);
        assert_eq!(code, 0, "{account}");
        assert_eq!(
            (
                &account["lines"],
                &account["parsed"],
                &account["unrecognised"]
            ),
            (&8.into(), &5.into(), &1.into())
        );
        let excerpt = &account["unrecognised_lines"][0];
        assert_eq!(excerpt["line"], 4, "{account}");
        assert!(
            excerpt["excerpt"]
                .as_str()
                .is_some_and(|text| text.contains(order[1]))
        );
        let (checked, code) = said(&folder, "check");
        // One row was not understood.
        assert_eq!((code, &checked["divergences"]), (3, &serde_json::json!({})));
        assert_eq!(
            (
                &checked["devices"],
                &checked["threads"],
                &checked["peak_bytes"]
            ),
            (&2.into(), &2.into(), &1008.into()),
            "{checked}"
        );
        assert_eq!(
            (&checked["lines"], &checked["leaks"]),
            (&8.into(), &1.into())
        );
        let device = if order[0].contains("dev0") { 1 } else { 7 };
        assert_eq!(checked["live"][0]["device"], device);
        let (run, code) = run_json(&format!(
            "stress --ops 20 --runs 1 --workload import:{}",
            folder.path().join("out.hb").display()
        ));
        assert!(code < 2, "{run}");
    }
}

#[test]
fn midnight_between_the_first_rows_of_two_files_is_no_day_back() {
    let before = format!(
        "{HEADER}1,23:59:59.000000,allocate,0x1000,1000,0\n1,00:00:03.0,free,0x1000,1000,0\n"
    );
    let after = format!(
        "{HEADER}1,00:00:01.000000,allocate,0x1000,500,0\n1,00:00:02.0,free,0x1000,500,0\n"
    );
    for files in [
        [
            ("a.dev0.csv", before.clone()),
            ("a.dev1.csv", after.clone()),
        ],
        [("a.dev0.csv", after), ("a.dev1.csv", before)],
    ] {
        let (folder, account, code) = imported(&files);
        assert_eq!(code, 0, "{account}");
        let (checked, _) = said(&folder, "check");
        assert_eq!(checked["peak_bytes"], 1500, "{checked}");
    }
}

#[test]
fn several_logs_must_name_a_device_each() {
    let row = format!("{HEADER}1,10:00:00.000001,allocate,0x1000,1000,0\n");
    for (names, says) in [
        (["a.csv", "b.dev1.csv"], "says no device"),
        (["a.dev1.csv", "b.dev1.csv"], "both of device 1"),
    ] {
        let (_folder, account, code) = imported(&names.map(|name| (name, row.clone())));
        let error = account["error"].as_str().expect("an error");
        assert_eq!(code, 2);
        assert!(error.contains(says), "{error}");
    }
    let (said, code) = run_json("import csv a.csv b.csv");
    assert_eq!(code, 2);
    assert!(
        said["error"]
            .as_str()
            .is_some_and(|text| text.contains("rmm-log")),
        "{said}"
    );
}

#[test]
fn allocations_of_no_bytes_may_share_a_pointer() {
    let rows = "1,10:00:00.000001,allocate,0x1000,0,0\n\
                1,10:00:00.000002,allocate,0x1000,0,0\n\
                2,10:00:00.000003,allocate,0x1000,512,0\n\
                1,10:00:00.000004,free,0x1000,0,0\n\
                1,10:00:00.000005,free,0x1000,0,0\n\
                2,10:00:00.000006,free,0x1000,512,0\n\
                1,10:00:00.000007,allocate,0x2000,0,0\n\
                1,10:00:00.000008,allocate,0x3000,64,0\n\
                1,10:00:00.000009,free,0x3000,64,0\n";
    let log = Recording::new("rmm-log", "rmm.csv", format!("{HEADER}{rows}"));
    log.import();
    let (checked, code) = log.said("check");
    assert_uncontradicted(&checked, code);
    assert_eq!(
        (
            &checked["allocations"],
            &checked["leaks"],
            &checked["left_out"]
        ),
        (&2.into(), &0.into(), &5.into()),
        "{checked}"
    );
    let (diagnosed, _) = log.said("diagnose");
    assert_eq!(
        diagnosed["divergences"],
        serde_json::json!({}),
        "{diagnosed}"
    );
    let (run, code) = run_json(&format!(
        "stress --runs 1 --workload import:{}",
        log.trace().display()
    ));
    assert_eq!((code, &run["leaks"]), (0, &0.into()), "{run}");
    let output = super::run(&format!(
        "stress --runs 1 --workload import:{}",
        log.trace().display()
    ));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        shown.contains("2 of 2") || shown.contains("2 allocations"),
        "{shown}"
    );
    // Where a release says no size, it is of what was allocated there last.
    let rows = "time,op,address,size\n1,alloc,0x1000,0\n2,alloc,0x1000,64\n3,free,0x1000,\n4,free,0x1000,\n";
    let log = Recording::new("csv", "own.csv", rows);
    log.import();
    let (checked, code) = log.said("check");
    assert_uncontradicted(&checked, code);
    assert_eq!(checked["leaks"], 0);
}
