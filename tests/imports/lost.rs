//! Records that could not be read: that the others fit together says nothing then, and one that is
//! missing may be all that makes them contradict each other.

use super::Recording;

const CSV: &str = "op,address,size\nalloc,0x1000,64\nfree,0x1000,64\n";
const JSONL: &str =
    "{\"op\":\"alloc\",\"address\":1,\"size\":64}\n{\"op\":\"free\",\"address\":1}\n";
const LOG: &str = "✓ [PID 7] Allocated 64 bytes of DRAM on device 0 (buffer_id=0x1000)\n\
    ✗ [PID 7] Freed buffer 0x1000 on device 0 (64 bytes)\n";

/// The exit codes of a check of its trace and of a diagnosis of the text itself.
fn exit_codes(format: &'static str, text: &str) -> [i32; 2] {
    let recording = Recording::new(format, "own", text);
    recording.import();
    let (checked, code) = recording.said("check");
    let (diagnosed, of_diagnosis) = recording.diagnosed();
    for said in [&checked, &diagnosed] {
        assert_eq!(
            said["divergences"].as_object().map(|kinds| kinds.len()),
            Some(0)
        );
        let note = said["note"].as_str().unwrap_or_default();
        assert_eq!(note.contains("not understood"), code == 3, "{said}");
    }
    [code, of_diagnosis]
}

#[test]
fn silence_is_undecided_where_a_record_could_not_be_read() {
    let cases = [
        ("csv", CSV, "gone,0x1000,64\n"),
        ("csv", CSV, "alloc,0x10000000000000000,64\n"),
        ("jsonl", JSONL, "{\"op\":\"alloc\",\"addr"),
        ("server-log", LOG, "✓ [PID 7] Allocated 64 bytes of DR"),
        (
            "server-log",
            LOG,
            "⚠ [PID 7] Invalid buffer_type 99999999999999999999999\n",
        ),
    ];
    for (format, sound, lost) in cases {
        assert_eq!(exit_codes(format, sound), [0, 0], "{sound}");
        assert_eq!(
            exit_codes(format, &format!("{sound}{lost}")),
            [3, 3],
            "{lost}"
        );
    }
}

#[test]
fn lines_of_others_in_a_server_s_log_are_no_records() {
    assert_eq!(
        exit_codes("server-log", &format!("{LOG}INFO the model is loaded\n")),
        [0, 0]
    );
}

#[test]
fn what_a_lost_message_explains_is_no_divergence() {
    let alloc = LOG.lines().next().expect("a line");
    let free = LOG.lines().nth(1).expect("a line");
    let log = |between: &str| {
        let log = [alloc, between, alloc, free, ""].join("\n");
        let recording = Recording::new("server-log", "server.log", log);
        recording.import();
        let (checked, code) = recording.said("check");
        assert_eq!(
            checked["divergences"]["duplicate-alloc"], 1,
            "it is told all the same"
        );
        (
            code,
            checked["verdict"].as_str().expect("a word").to_owned(),
        )
    };
    assert_eq!(log("✗ [PID 7] Freed buf✓"), (3, "inconclusive".to_owned()));
    assert_eq!(log("INFO the model is loaded"), (1, "diverged".to_owned()));
}
