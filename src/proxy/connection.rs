//! One connection: two sockets, what goes from each to the other, and what faults make of it.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use super::fault::Fault;
use crate::trace::capture::{CaptureEvent, FaultKind};
use crate::tracking::codec::{DecodedFrame, FrameDecoder};
use crate::tracking::wire::{HELLO_BYTES, HELLO_FIRST_BYTE, decode_hello};
use crate::tracking::{Layout, MessageKind, table};

/// The client's socket, as an index.
pub(super) const CLIENT: usize = 0;
/// The server's.
pub(super) const SERVER: usize = 1;

/// What both ways of every connection share.
pub(super) struct Shared<'a> {
    pub(crate) buffer: &'a mut [u8],
    pub(crate) faults: &'a [Fault],
    pub(crate) seed: u64,
    /// Takes what was forwarded and done.
    pub(crate) record: &'a mut dyn FnMut(CaptureEvent<'_>),
}

pub(super) struct ProxiedConnection {
    pub(crate) sockets: [OwnedFd; 2],
    /// Sockets whose other end is gone altogether; they are no longer waited for.
    pub(crate) gone: [bool; 2],
    /// What the event loop waits for at each socket.
    pub(crate) waits_for: [Option<(bool, bool)>; 2],
    number: u32,
    /// By their source.
    ways: [Way; 2],
    cutter: Option<Cutter>,
}

/// What goes in one direction.
#[derive(Default)]
struct Way {
    pieces: VecDeque<Piece>,
    /// The source has sent its last byte.
    at_end: bool,
    /// The destination knows that.
    ended: bool,
    /// The destination takes nothing any more.
    dead: bool,
}

/// Bytes to be forwarded.
struct Piece {
    bytes: Vec<u8>,
    sent: usize,
    not_before: Option<Instant>,
    /// The connection is closed instead.
    closes: bool,
}

impl Piece {
    fn of(bytes: Vec<u8>, not_before: Option<Instant>) -> Piece {
        Piece {
            bytes,
            sent: 0,
            not_before,
            closes: false,
        }
    }
}

impl Way {
    fn is_done(&self) -> bool {
        self.dead || self.ended
    }

    /// When the first piece may go, where that is later than now.
    fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.pieces
            .front()
            .and_then(|piece| piece.not_before)
            .filter(|due| *due > now)
    }
}

impl ProxiedConnection {
    /// Cuts what comes from the client into frames where there are faults to put in.
    pub(crate) fn new(
        number: u32,
        client: OwnedFd,
        server: OwnedFd,
        cuts: bool,
        layout: Option<Layout>,
    ) -> ProxiedConnection {
        ProxiedConnection {
            sockets: [client, server],
            gone: [false; 2],
            waits_for: [None; 2],
            number,
            ways: [Way::default(), Way::default()],
            cutter: cuts.then(|| Cutter::new(layout)),
        }
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Forwards what can be forwarded now from the socket `from`. `false`: the connection is over.
    pub(crate) fn forward(&mut self, from: usize, shared: &mut Shared<'_>) -> bool {
        loop {
            if !self.send(from, shared) {
                return false;
            }
            if !self.ways[from].pieces.is_empty() || self.ways[from].at_end {
                break;
            }
            match rustix::net::recv(
                &self.sockets[from],
                &mut *shared.buffer,
                RecvFlags::DONTWAIT,
            ) {
                Ok((0, _)) => {
                    self.ways[from].at_end = true;
                    self.finish_cutting(from, shared);
                }
                Ok((count, _)) => self.take(from, count, shared),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    self.ways[from].at_end = true;
                    self.gone[from] = true;
                }
            }
            // One read a turn; what is left of a source that is gone is all there will be.
            if !self.gone[from] && !self.ways[from].at_end {
                return self.send(from, shared) && !self.is_over();
            }
        }
        self.pass_on_end(from);
        !self.is_over()
    }

    /// What to wait for at socket `side`: readable, writable.
    pub(crate) fn interest(&self, side: usize, now: Instant) -> (bool, bool) {
        let (from, to) = (&self.ways[side], &self.ways[1 - side]);
        let reads = from.pieces.is_empty() && !from.at_end;
        let writes = !to.pieces.is_empty() && !to.dead && to.waits_until(now).is_none();
        (reads, writes)
    }

    /// When something that was held back on purpose is due, where that is later than `after`.
    pub(crate) fn due(&self, after: Instant) -> Option<Instant> {
        self.ways[CLIENT].waits_until(after)
    }

    /// Whether bytes wait for it to become clear what layout they are in.
    pub(crate) fn is_undecided(&self) -> bool {
        self.cutter
            .as_ref()
            .is_some_and(|cutter| cutter.decoder.is_undecided())
    }

    /// Tells the cutter that nothing came for a while.
    pub(crate) fn settle(&mut self, quiet: Duration, shared: &mut Shared<'_>) -> bool {
        if let Some(cutter) = &mut self.cutter
            && cutter.last_fed.is_some_and(|at| at.elapsed() >= quiet)
        {
            cutter.settle();
            self.queue_frames(shared);
        }
        self.send(CLIENT, shared) && !self.is_over()
    }

    /// Takes `count` bytes that were read into the buffer.
    fn take(&mut self, from: usize, count: usize, shared: &mut Shared<'_>) {
        if from == CLIENT
            && let Some(cutter) = &mut self.cutter
        {
            let start = cutter.feed(&shared.buffer[..count]);
            if let Some(start) = start {
                self.ways[CLIENT].pieces.push_back(Piece::of(start, None));
            }
            self.queue_frames(shared);
            return;
        }
        let way = &mut self.ways[from];
        let sent = if way.dead {
            count
        } else {
            match write(&self.sockets[1 - from], &shared.buffer[..count]) {
                Ok(sent) => {
                    (shared.record)(forwarded(from, &shared.buffer[..sent]));
                    sent
                }
                Err(()) => {
                    way.dead = true;
                    count
                }
            }
        };
        if sent < count {
            let rest = shared.buffer[sent..count].to_vec();
            way.pieces.push_back(Piece::of(rest, None));
        }
    }

    /// Sends pieces whose time has come. `false`: the connection is to be closed.
    fn send(&mut self, from: usize, shared: &mut Shared<'_>) -> bool {
        let way = &mut self.ways[from];
        let now = Instant::now();
        while let Some(piece) = way.pieces.front_mut() {
            if piece.not_before.is_some_and(|due| due > now) && !way.dead {
                break;
            }
            if piece.closes {
                return false;
            }
            if way.dead {
                way.pieces.pop_front();
                continue;
            }
            match write(&self.sockets[1 - from], &piece.bytes[piece.sent..]) {
                Ok(0) if piece.sent < piece.bytes.len() => break,
                Ok(sent) => {
                    let range = piece.sent..piece.sent + sent;
                    (shared.record)(forwarded(from, &piece.bytes[range]));
                    piece.sent += sent;
                    if piece.sent == piece.bytes.len() {
                        way.pieces.pop_front();
                    }
                }
                Err(()) => way.dead = true,
            }
        }
        self.pass_on_end(from);
        true
    }

    fn pass_on_end(&mut self, from: usize) {
        let way = &mut self.ways[from];
        if way.at_end && way.pieces.is_empty() && !way.ended {
            way.ended = true;
            // The other end may be gone already.
            let _ = rustix::net::shutdown(&self.sockets[1 - from], Shutdown::Write);
        }
    }

    /// Whether nothing can come any more that anybody takes.
    fn is_over(&self) -> bool {
        let [from_client, from_server] = &self.ways;
        let client_is_served = from_server.is_done() || self.gone[CLIENT];
        let server_is_gone = self.gone[SERVER] && from_server.is_done();
        (from_client.is_done() && client_is_served) || server_is_gone
    }

    fn finish_cutting(&mut self, from: usize, shared: &mut Shared<'_>) {
        if from == CLIENT
            && let Some(cutter) = &mut self.cutter
        {
            cutter.finish();
            self.queue_frames(shared);
        }
    }

    /// Queues the frames that were cut, with what faults make of them.
    fn queue_frames(&mut self, shared: &mut Shared<'_>) {
        let Some(cutter) = &mut self.cutter else {
            return;
        };
        let pieces = &mut self.ways[CLIENT].pieces;
        while let Some(cut) = cutter.frames.pop_front() {
            let number = cutter.count;
            cutter.count += 1;
            let fault = shared.faults.iter().enumerate().find(|(index, fault)| {
                cut.is_frame && fault.strikes(shared.seed, *index, self.number, number, cut.message)
            });
            match fault {
                None => pieces.push_back(Piece::of(cut.bytes, None)),
                Some((_, fault)) => {
                    (shared.record)(CaptureEvent::Fault(fault.kind, &cut.bytes));
                    if fault.kind == FaultKind::Reorder && cutter.reordered.is_none() {
                        cutter.reordered = Some(cut.bytes);
                        continue;
                    }
                    strike(fault, cut.bytes, pieces);
                }
            }
            if let Some(earlier) = cutter.reordered.take() {
                pieces.push_back(Piece::of(earlier, None));
            }
        }
        if cutter.finished
            && let Some(last) = cutter.reordered.take()
        {
            pieces.push_back(Piece::of(last, None));
        }
    }
}

/// Queues what `fault` makes of a frame.
fn strike(fault: &Fault, mut bytes: Vec<u8>, pieces: &mut VecDeque<Piece>) {
    let later = Instant::now() + Duration::from_micros(fault.pause_us);
    match fault.kind {
        FaultKind::Delay => pieces.push_back(Piece::of(bytes, Some(later))),
        FaultKind::Drop => {}
        FaultKind::Duplicate => {
            pieces.push_back(Piece::of(bytes.clone(), None));
            pieces.push_back(Piece::of(bytes, None));
        }
        // Another one is held back already: this one goes on its way.
        FaultKind::Reorder => pieces.push_back(Piece::of(bytes, None)),
        FaultKind::Truncate => {
            bytes.truncate(bytes.len() / 2);
            pieces.push_back(Piece::of(bytes, None));
        }
        FaultKind::Split => {
            let rest = bytes.split_off(bytes.len() / 2);
            pieces.push_back(Piece::of(bytes, None));
            pieces.push_back(Piece::of(rest, Some(later)));
        }
        FaultKind::Close => pieces.push_back(Piece {
            closes: true,
            ..Piece::of(Vec::new(), None)
        }),
    }
}

/// Cuts a client's bytes into frames, and keeps every byte.
struct Cutter {
    decoder: FrameDecoder,
    /// What may be a hello.
    start: Option<Vec<u8>>,
    /// Bytes of no whole frame yet.
    rest: Vec<u8>,
    frames: VecDeque<Cut>,
    /// Frames that were cut before those.
    count: u64,
    /// Held back until the next frame is through.
    reordered: Option<Vec<u8>>,
    last_fed: Option<Instant>,
    finished: bool,
}

/// A frame, or the last bytes, which are none.
struct Cut {
    bytes: Vec<u8>,
    message: Option<MessageKind>,
    is_frame: bool,
}

impl Cutter {
    fn new(layout: Option<Layout>) -> Cutter {
        Cutter {
            decoder: layout.map_or_else(FrameDecoder::detecting, FrameDecoder::fixed),
            start: Some(Vec::new()),
            rest: Vec::new(),
            frames: VecDeque::new(),
            count: 0,
            reordered: None,
            last_fed: None,
            finished: false,
        }
    }

    /// Takes bytes; returns those that belong to no frame and go through at once: a hello.
    fn feed(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.last_fed = Some(Instant::now());
        let Some(start) = &mut self.start else {
            self.cut(bytes);
            return None;
        };
        start.extend_from_slice(bytes);
        if start.first() == Some(&HELLO_FIRST_BYTE) && start.len() < HELLO_BYTES {
            return None;
        }
        let mut start = self.start.take().expect("just seen");
        let is_hello = start
            .first_chunk::<HELLO_BYTES>()
            .is_some_and(|hello| decode_hello(hello).is_some());
        if !is_hello {
            self.cut(&start);
            return None;
        }
        let frames = start.split_off(HELLO_BYTES);
        self.decoder.feed(&start, &mut |_| ());
        self.cut(&frames);
        Some(start)
    }

    fn cut(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let (rest, frames) = (&mut self.rest, &mut self.frames);
        self.decoder
            .feed(bytes, &mut |frame| frames.push_back(cut(frame, rest)));
    }

    fn settle(&mut self) {
        let (rest, frames) = (&mut self.rest, &mut self.frames);
        self.decoder
            .settle(&mut |frame| frames.push_back(cut(frame, rest)));
    }

    fn finish(&mut self) {
        if let Some(start) = self.start.take() {
            self.cut(&start);
        }
        let (rest, frames) = (&mut self.rest, &mut self.frames);
        self.decoder
            .finish(&mut |frame| frames.push_back(cut(frame, rest)));
        if !rest.is_empty() {
            frames.push_back(Cut {
                bytes: std::mem::take(rest),
                message: None,
                is_frame: false,
            });
        }
        self.finished = true;
    }
}

/// Takes the bytes of `frame` off the front of `rest`.
fn cut(frame: DecodedFrame<'_>, rest: &mut Vec<u8>) -> Cut {
    let (length, message) = match frame {
        DecodedFrame::Message(message, raw) => (raw.len(), Some(message.kind)),
        DecodedFrame::TableRequest => (table::TABLE_FRAME_BYTES, None),
        DecodedFrame::Unknown(raw) => (raw.len(), None),
    };
    Cut {
        bytes: rest.drain(..length.min(rest.len())).collect(),
        message,
        is_frame: true,
    }
}

fn forwarded(from: usize, bytes: &[u8]) -> CaptureEvent<'_> {
    if from == CLIENT {
        CaptureEvent::ToServer(bytes)
    } else {
        CaptureEvent::ToClient(bytes)
    }
}

/// Writes as much as the socket takes without waiting. An error: it will never take anything again.
fn write(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, ()> {
    loop {
        match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) => return Ok(sent),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(0),
            Err(_) => return Err(()),
        }
    }
}
