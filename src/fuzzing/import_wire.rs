//! Bytes as what a client sent: a capture of one connection, read back, checked and diagnosed.
//!
//! Input: one byte for the layout (0: it is to be found out), then the stream. Demanded: no panic,
//! every byte in the capture, the same messages for the check and the diagnosis, and no more bytes
//! skipped or torn than there are.

use std::io::Seek;

use crate::diagnosis::{Circumstances, Diagnoser};
use crate::import::wire;
use crate::oracle::observation_check::ObservationCheck;
use crate::trace::capture::{self, CaptureAccount};
use crate::trace::file::{CaptureHeader, CaptureSource, Header, TraceFile};
use crate::trace::observation::Observed;
use crate::tracking::Layout;

const LAYOUTS: [Option<Layout>; 7] = [
    None,
    Some(Layout::V72),
    Some(Layout::V112),
    Some(Layout::V128),
    Some(Layout::V144),
    Some(Layout::V648),
    Some(Layout::Extended),
];

/// Runs the target.
pub fn run(bytes: &[u8]) {
    let Some((layout, stream)) = bytes.split_first() else {
        return;
    };
    let mut check = ObservationCheck::default();
    let mut diagnoser = Diagnoser::default();
    let mut messages = 0;
    let account = read(*layout, stream, &mut |observation| {
        messages += u64::from(matches!(observation.what, Observed::Message { .. }));
        check.observe(&observation);
        diagnoser.observe(&observation);
    });
    assert_eq!(account.damage, None);
    assert_eq!(account.to_server_bytes, stream.len() as u64);
    assert!(account.skipped_bytes + account.torn_bytes <= stream.len() as u64);
    assert_eq!(account.messages, messages);
    assert_eq!(check.finish().messages, messages);
    diagnoser.finish(Circumstances::default());
}

/// The account of the stream.
pub(crate) fn decode(bytes: &[u8]) -> String {
    match bytes.split_first() {
        Some((layout, stream)) => format!("{:#?}\n", read(*layout, stream, &mut |_| ())),
        None => String::new(),
    }
}

fn read(
    layout: u8,
    mut stream: &[u8],
    visit: &mut dyn FnMut(crate::trace::observation::Observation),
) -> CaptureAccount {
    let header = CaptureHeader {
        version: "0".to_owned(),
        source: CaptureSource::Wire,
        layout: LAYOUTS[usize::from(layout) % LAYOUTS.len()],
        started_unix_ns: 0,
    };
    let mut file = tempfile::tempfile().expect("a temporary file");
    let copy = file.try_clone().expect("a second handle");
    wire::capture(copy, header, &mut stream).expect("writable");
    file.rewind().expect("seekable");
    let trace = TraceFile::from_file(file, "fuzz".as_ref()).expect("readable");
    let Header::Capture(header) = trace.header() else {
        unreachable!("it was just written as a capture")
    };
    capture::messages(&trace, header, visit)
}
