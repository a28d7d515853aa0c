//! From captured bytes to messages: a decoder a connection, and an account of every byte.

use std::collections::BTreeMap;

use crate::numbers::{grouped, plural};
use crate::tracking::Layout;
use crate::tracking::codec::{DecodedFrame, Detection, FrameDecoder};
use crate::tracking::resync::{self, HoleFinder, StreamPart};

use super::{CaptureEvent, CaptureReader, FaultKind};
use crate::trace::file::{CaptureHeader, CaptureSource, TraceFile};
use crate::trace::observation::{Observation, Observed};

/// Troubles that an account lists one by one; more are counted.
pub(crate) const MAX_LISTED: usize = 100;

/// Bytes that are cut at a time while it is not known where holes are.
const FEW_BYTES: usize = 512;

/// What became of the bytes of a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CaptureAccount {
    /// Bytes to the server.
    pub(crate) to_server_bytes: u64,
    /// Bytes to the clients.
    pub(crate) to_client_bytes: u64,
    /// Connections that were opened.
    pub(crate) connections: u64,
    /// Messages.
    pub(crate) messages: u64,
    /// Requests for the whole table.
    pub(crate) table_requests: u64,
    /// Frames that are no message.
    pub(crate) unknown_frames: u64,
    /// Bytes before the first frame, and in streams whose start is damaged.
    pub(crate) skipped_bytes: u64,
    /// Of those: in streams where it was more than the rest of one frame: messages are lost.
    pub(crate) lost_bytes: u64,
    /// Bytes of frames that never became whole.
    pub(crate) torn_bytes: u64,
    /// Faults that were put in on purpose.
    pub(crate) faults: BTreeMap<FaultKind, u64>,
    /// Connections by their layout, and how it was found out.
    pub(crate) layouts: BTreeMap<(Layout, Detection), u64>,
    /// The first [`MAX_LISTED`] troubles.
    pub(crate) troubles: Vec<(u32, CaptureTrouble)>,
    /// What is wrong with the file, if anything.
    pub(crate) damage: Option<String>,
}

impl CaptureAccount {
    /// What keeps the messages from being all that the clients sent, if anything does.
    pub(crate) fn incompleteness(&self) -> Option<String> {
        let frames = self.messages + self.table_requests + self.unknown_frames;
        let mostly_unknown = self.unknown_frames >= 4 && self.unknown_frames * 2 > frames;
        let lost = || {
            (self.lost_bytes > 0).then(|| {
                let bytes = grouped(self.lost_bytes);
                format!("{bytes} bytes were passed over: what they say is not known")
            })
        };
        let unknown = || {
            mostly_unknown.then(|| {
                let (unknown, frames) = (grouped(self.unknown_frames), plural(frames, "frame"));
                format!("{unknown} of {frames} are of no known type: what they say is not known")
            })
        };
        self.damage.clone().or_else(lost).or_else(unknown)
    }
}

/// Bytes that are no message. Offsets count the bytes of the connection to the server, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaptureTrouble {
    /// The stream began within a frame, or is damaged near its start.
    Skipped {
        /// So many bytes were passed over.
        bytes: u64,
        /// Where they begin.
        offset: u64,
    },
    /// A frame of a type that is no message's.
    UnknownFrame {
        /// Its type.
        kind: u8,
        /// Where it begins.
        offset: u64,
    },
    /// The stream ended within a frame.
    Torn {
        /// So many bytes of it were there.
        bytes: u64,
        /// Where it begins.
        offset: u64,
    },
}

/// Hands every message of a capture to `sink`, in the order of the capture. Positions count frames,
/// from 1.
pub(crate) fn messages(
    trace: &TraceFile,
    header: &CaptureHeader,
    sink: &mut dyn FnMut(Observation),
) -> CaptureAccount {
    let mut reading = Reading {
        header,
        account: CaptureAccount::default(),
        position: 0,
        streams: BTreeMap::new(),
    };
    let mut records = CaptureReader::new(trace);
    while let Some(record) = records.next() {
        let (at_ns, conn) = (record.at_ns, record.conn);
        match record.what {
            CaptureEvent::Opened => {
                reading.account.connections += 1;
                // A number that comes again is another connection.
                reading.close(conn, at_ns, sink);
                reading.streams.insert(conn, Stream::new(header));
                sink(reading.seen(at_ns, conn, Observed::Opened));
            }
            CaptureEvent::ToServer(bytes) => reading.feed(conn, at_ns, bytes, sink),
            CaptureEvent::ToClient(bytes) => {
                reading.account.to_client_bytes += bytes.len() as u64;
                reading.settle(conn, at_ns, sink);
            }
            CaptureEvent::Fault(kind, frame) => {
                *reading.account.faults.entry(kind).or_default() += 1;
                reading.fault(conn, at_ns, kind, frame, sink);
            }
            CaptureEvent::Closed => {
                reading.close(conn, at_ns, sink);
                sink(reading.seen(at_ns, conn, Observed::Closed));
            }
        }
    }
    reading.account.damage = records.damage().map(ToOwned::to_owned);
    // What was open at the end of the capture.
    let open: Vec<u32> = reading.streams.keys().copied().collect();
    let last_ns = reading.last_ns();
    for conn in open {
        reading.close(conn, last_ns, sink);
    }
    reading.account
}

/// A capture, as far as it was read.
struct Reading<'a> {
    header: &'a CaptureHeader,
    account: CaptureAccount,
    position: u64,
    streams: BTreeMap<u32, Stream>,
}

/// One connection's bytes to the server.
struct Stream {
    decoder: FrameDecoder,
    /// The first bytes, until it is known where the first frame is.
    start: Option<Vec<u8>>,
    /// Where bytes may be missing in the middle.
    holes: Option<HoleFinder>,
    /// Where the next frame begins.
    offset: u64,
    last_ns: u64,
}

impl Stream {
    fn new(header: &CaptureHeader) -> Stream {
        Stream {
            decoder: decoder(header.layout),
            // A proxy sees connections from their first byte on.
            start: (header.source == CaptureSource::Wire).then(Vec::new),
            holes: (header.source == CaptureSource::Wire).then(HoleFinder::default),
            offset: 0,
            last_ns: 0,
        }
    }
}

fn decoder(layout: Option<Layout>) -> FrameDecoder {
    layout.map_or_else(FrameDecoder::detecting, FrameDecoder::fixed)
}

impl Reading<'_> {
    fn seen(&self, at_ns: u64, conn: u32, what: Observed) -> Observation {
        Observation {
            position: self.position.max(1),
            at_ns: Some(at_ns),
            conn: Some(conn),
            what,
        }
    }

    fn last_ns(&self) -> u64 {
        self.streams
            .values()
            .map(|stream| stream.last_ns)
            .max()
            .unwrap_or(0)
    }

    fn feed(&mut self, conn: u32, at_ns: u64, bytes: &[u8], sink: &mut dyn FnMut(Observation)) {
        self.account.to_server_bytes += bytes.len() as u64;
        let header = self.header;
        let mut stream = self
            .streams
            .remove(&conn)
            .unwrap_or_else(|| Stream::new(header));
        stream.last_ns = at_ns;
        match &mut stream.start {
            Some(start) => {
                start.extend_from_slice(bytes);
                if start.len() >= resync::ENOUGH_BYTES {
                    self.begin(conn, &mut stream, at_ns, sink);
                }
            }
            None => self.align(conn, &mut stream, at_ns, bytes, sink),
        }
        self.streams.insert(conn, stream);
    }

    /// Finds the first frame in the first bytes.
    fn begin(
        &mut self,
        conn: u32,
        stream: &mut Stream,
        at_ns: u64,
        sink: &mut dyn FnMut(Observation),
    ) {
        let Some(start) = stream.start.take() else {
            return;
        };
        let Some(found) =
            resync::first_frame(&start, self.header.layout).filter(|found| !is_at_start(found))
        else {
            return self.align(conn, stream, at_ns, &start, sink);
        };
        stream.decoder = decoder(Some(found.layout));
        self.cut(conn, stream, at_ns, &start[..found.sound], sink);
        let bytes = (found.offset - found.sound) as u64;
        stream.offset = found.sound as u64;
        // At the start, less than a frame is the rest of one that began before the capture.
        let is_rest = found.sound == 0 && found.offset < found.layout.frame_bytes();
        self.pass_over(conn, stream, bytes, is_rest);
        self.align(conn, stream, at_ns, &start[found.offset..], sink);
    }

    fn pass_over(&mut self, conn: u32, stream: &mut Stream, bytes: u64, is_rest: bool) {
        if bytes == 0 {
            return;
        }
        let offset = stream.offset;
        self.trouble(conn, CaptureTrouble::Skipped { bytes, offset });
        self.account.skipped_bytes += bytes;
        self.account.lost_bytes += if is_rest { 0 } else { bytes };
        stream.offset += bytes;
    }

    /// Cuts bytes into frames, and passes over what is left of those that a hole is in.
    fn align(
        &mut self,
        conn: u32,
        stream: &mut Stream,
        at_ns: u64,
        bytes: &[u8],
        sink: &mut dyn FnMut(Observation),
    ) {
        let Some(mut holes) = stream.holes.take() else {
            return self.cut(conn, stream, at_ns, bytes, sink);
        };
        let mut rest = bytes;
        // Which layout it is must be known first, and where a frame begins.
        while !rest.is_empty() {
            let few = match stream.decoder.layout() {
                None => FEW_BYTES,
                Some(_) => stream.decoder.missing_bytes(),
            };
            if few == 0 {
                break;
            }
            let (first, after) = rest.split_at(few.min(rest.len()));
            self.cut(conn, stream, at_ns, first, sink);
            rest = after;
        }
        if let Some(layout) = stream.decoder.layout() {
            let given = (at_ns, rest, false);
            self.find_holes(conn, stream, (&mut holes, layout), given, sink);
        }
        stream.holes = Some(holes);
    }

    fn find_holes(
        &mut self,
        conn: u32,
        stream: &mut Stream,
        (holes, layout): (&mut HoleFinder, Layout),
        (at_ns, bytes, at_end): (u64, &[u8], bool),
        sink: &mut dyn FnMut(Observation),
    ) {
        holes.feed(bytes, layout, at_end, &mut |part| match part {
            StreamPart::Frames(frames) => self.cut(conn, stream, at_ns, frames, sink),
            StreamPart::Damaged(count) => self.pass_over(conn, stream, count as u64, false),
        });
    }

    fn cut(
        &mut self,
        conn: u32,
        stream: &mut Stream,
        at_ns: u64,
        bytes: &[u8],
        sink: &mut dyn FnMut(Observation),
    ) {
        let mut decoder = std::mem::take(&mut stream.decoder);
        decoder.feed(bytes, &mut |frame| {
            self.frame(conn, stream, at_ns, frame, sink)
        });
        stream.decoder = decoder;
    }

    fn settle(&mut self, conn: u32, at_ns: u64, sink: &mut dyn FnMut(Observation)) {
        let Some(mut stream) = self.streams.remove(&conn) else {
            return;
        };
        self.begin(conn, &mut stream, at_ns, sink);
        let mut decoder = std::mem::take(&mut stream.decoder);
        decoder.settle(&mut |frame| self.frame(conn, &mut stream, at_ns, frame, sink));
        stream.decoder = decoder;
        self.streams.insert(conn, stream);
    }

    fn close(&mut self, conn: u32, at_ns: u64, sink: &mut dyn FnMut(Observation)) {
        let Some(mut stream) = self.streams.remove(&conn) else {
            return;
        };
        self.begin(conn, &mut stream, at_ns, sink);
        if let (Some(mut holes), Some(layout)) = (stream.holes.take(), stream.decoder.layout()) {
            self.find_holes(
                conn,
                &mut stream,
                (&mut holes, layout),
                (at_ns, &[], true),
                sink,
            );
        }
        let mut decoder = std::mem::take(&mut stream.decoder);
        let tail = decoder.finish(&mut |frame| self.frame(conn, &mut stream, at_ns, frame, sink));
        if tail.torn_bytes > 0 {
            let bytes = tail.torn_bytes as u64;
            self.account.torn_bytes += bytes;
            let offset = stream.offset;
            self.trouble(conn, CaptureTrouble::Torn { bytes, offset });
            sink(self.seen(at_ns, conn, Observed::TornFrame { bytes }));
        }
        if let (Some(layout), Some(detection)) = (decoder.layout(), decoder.detection()) {
            *self.account.layouts.entry((layout, detection)).or_default() += 1;
        }
    }

    fn frame(
        &mut self,
        conn: u32,
        stream: &mut Stream,
        at_ns: u64,
        frame: DecodedFrame<'_>,
        sink: &mut dyn FnMut(Observation),
    ) {
        self.position += 1;
        let offset = stream.offset;
        let what = match frame {
            DecodedFrame::Message(message, raw) => {
                self.account.messages += 1;
                stream.offset += raw.len() as u64;
                Observed::Message {
                    message: message.clone(),
                    complete: true,
                    server_answer: None,
                }
            }
            DecodedFrame::TableRequest => {
                self.account.table_requests += 1;
                stream.offset += Layout::Extended.frame_bytes() as u64;
                return;
            }
            DecodedFrame::Unknown(raw) => {
                self.account.unknown_frames += 1;
                stream.offset += raw.len() as u64;
                let kind = raw.first().copied().unwrap_or(0);
                self.trouble(conn, CaptureTrouble::UnknownFrame { kind, offset });
                Observed::UnknownFrame {
                    kind: u64::from(kind),
                }
            }
        };
        sink(self.seen(at_ns, conn, what));
    }

    /// A frame that was dropped on purpose is a message that the server never got.
    fn fault(
        &mut self,
        conn: u32,
        at_ns: u64,
        kind: FaultKind,
        frame: &[u8],
        sink: &mut dyn FnMut(Observation),
    ) {
        let layout = Layout::from_frame_bytes(frame.len());
        if let (FaultKind::Drop, Some(layout)) = (kind, layout)
            && let Ok(message) = crate::tracking::wire::decode(layout, frame)
        {
            self.position += 1;
            sink(self.seen(at_ns, conn, Observed::Dropped { message }));
        }
    }

    fn trouble(&mut self, conn: u32, trouble: CaptureTrouble) {
        if self.account.troubles.len() < MAX_LISTED {
            self.account.troubles.push((conn, trouble));
        }
    }
}

/// A stream that needs no more than to be read from its first byte: what no client says in a hello
/// is found out there.
fn is_at_start(found: &resync::FirstFrame) -> bool {
    found.offset == 0 && found.layout != Layout::Extended
}
