//! A recorded run of many operations stays small: in memory, and on disk.

use crate::common::{piped, watch};

const OPS: u64 = 150_000;
const MAX_PEAK_KIB: u64 = 100 << 10;
const MAX_EVENT_BYTES: f64 = 4.0;

#[test]
fn memory_does_not_grow_with_the_length_of_a_recorded_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("t.hb");
    let mut stress = piped(&[
        "stress",
        "--threads",
        "2",
        "--ops",
        &OPS.to_string(),
        "--record",
        trace.to_str().expect("a path in ASCII"),
    ]);
    let (peak_kib, run) = watch(&mut stress);
    assert_eq!(run["verdict"], "clean");
    assert!(peak_kib > 0, "the peak was never seen");
    assert!(peak_kib < MAX_PEAK_KIB, "the run took {peak_kib} KiB");
    let events = run["events"].as_f64().expect("a number");
    let bytes = run["trace_bytes"].as_f64().expect("a number");
    assert!(events > 10.0 * OPS as f64, "{events} events are too few");
    assert!(
        bytes / events <= MAX_EVENT_BYTES,
        "{} bytes an event",
        bytes / events
    );

    let mut check = piped(&["check", trace.to_str().expect("a path in ASCII")]);
    let (peak_kib, checked) = watch(&mut check);
    assert!(peak_kib > 0, "the peak was never seen");
    assert!(peak_kib < MAX_PEAK_KIB, "the check took {peak_kib} KiB");
    for key in ["verdict", "divergences", "leaks", "events", "messages"] {
        assert_eq!(run[key], checked[key], "{key}");
    }
}
