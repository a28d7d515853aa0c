//! The codec of a stream: bytes in any pieces in, whole frames out.
//!
//! [`FrameDecoder`] is what every reader of tracking bytes uses: the server for each connection,
//! importers for raw captures, tests. It owns reassembly: a partial read is never taken for a
//! message. Whole frames inside a piece are decoded in place; only a frame that straddles two
//! pieces is copied, into a buffer that is reused.
//!
//! Which layout a connection speaks is decided by, in this order: a hello; the layout that the
//! reader was told; the content (see the page of `detect.rs`). Bytes that don't tell yet are held
//! until they do, until the reader says that the stream has gone quiet ([`FrameDecoder::settle`])
//! or that it has ended ([`FrameDecoder::finish`]).
//!
//! A frame that is no message is reported as [`DecodedFrame::Unknown`] and skipped whole, as the
//! reference servers do: frames have a fixed size, so the next frame still starts where it should.

use super::detect::{self, LayoutVerdict};
use super::message::Message;
use super::table;
use super::wire::{self, HELLO_BYTES, HELLO_FIRST_BYTE, Layout};

pub(crate) use super::detect::{Detection, looks_sent};

/// One whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodedFrame<'a> {
    /// A message, with its bytes.
    Message(&'a Message, &'a [u8]),
    /// A request for the whole live table; in the extended layout only.
    TableRequest,
    /// A frame that is no message, with its bytes; the first is the type.
    Unknown(&'a [u8]),
}

/// What was left when a stream ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamTail {
    /// Bytes of a last frame that never became whole.
    pub(crate) torn_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing decided; `held` has everything so far.
    Start,
    /// As `Start`, and there is no hello.
    Detecting,
    /// `held` has the beginning of a frame, less than a whole one.
    Framing(Layout),
}

/// The layout that wins when the content leaves several open or none.
const FALLBACK: Layout = Layout::V112;

/// Cuts one connection's bytes into frames. See the module's page.
#[derive(Clone, Debug)]
pub(crate) struct FrameDecoder {
    state: State,
    expected: Option<Layout>,
    detection: Option<Detection>,
    held: Vec<u8>,
    unknown: u64,
}

impl Default for FrameDecoder {
    fn default() -> FrameDecoder {
        FrameDecoder::detecting()
    }
}

impl FrameDecoder {
    /// A decoder that finds out the layout for itself.
    pub(crate) fn detecting() -> FrameDecoder {
        FrameDecoder {
            state: State::Start,
            expected: None,
            detection: None,
            held: Vec::new(),
            unknown: 0,
        }
    }

    /// A decoder for connections that speak `layout` unless a hello says otherwise.
    pub(crate) fn fixed(layout: Layout) -> FrameDecoder {
        FrameDecoder {
            expected: Some(layout),
            ..FrameDecoder::detecting()
        }
    }

    /// The layout, once decided.
    pub(crate) fn layout(&self) -> Option<Layout> {
        match self.state {
            State::Framing(layout) => Some(layout),
            State::Start | State::Detecting => None,
        }
    }

    /// How the layout was decided, once it is.
    pub(crate) fn detection(&self) -> Option<Detection> {
        self.detection
    }

    /// Whether bytes are held only because the layout isn't decided.
    pub(crate) fn is_undecided(&self) -> bool {
        self.layout().is_none() && !self.held.is_empty()
    }

    /// How many bytes the frame lacks that has begun; 0: none has, or the layout isn't decided.
    pub(crate) fn missing_bytes(&self) -> usize {
        match self.layout() {
            Some(layout) if !self.held.is_empty() => layout.frame_bytes() - self.held.len(),
            _ => 0,
        }
    }

    /// How many unknown frames were skipped.
    pub(crate) fn unknown_frames(&self) -> u64 {
        self.unknown
    }

    /// Takes the next bytes, in order, and hands every frame that is now whole to `sink`.
    #[inline]
    pub(crate) fn feed(&mut self, bytes: &[u8], sink: &mut impl FnMut(DecodedFrame<'_>)) {
        match self.state {
            State::Framing(layout) => self.cut(layout, bytes, sink),
            State::Start | State::Detecting => self.start(bytes, sink),
        }
    }

    /// Tells that nothing came for a while: decides the layout from whole frames that are held, if
    /// there are any.
    pub(crate) fn settle(&mut self, sink: &mut impl FnMut(DecodedFrame<'_>)) {
        if self.state == State::Detecting
            && let Some((layout, why)) = detect::settle(&self.held, FALLBACK)
        {
            self.decide(layout, why, sink);
        }
    }

    /// Tells that nothing more will come: decides the layout anyhow, and reports what is left over.
    pub(crate) fn finish(&mut self, sink: &mut impl FnMut(DecodedFrame<'_>)) -> StreamTail {
        self.settle(sink);
        if self.is_undecided() {
            self.decide(FALLBACK, Detection::Fallback, sink);
        }
        let torn_bytes = self.held.len();
        self.held.clear();
        StreamTail { torn_bytes }
    }

    fn start(&mut self, bytes: &[u8], sink: &mut impl FnMut(DecodedFrame<'_>)) {
        self.held.extend_from_slice(bytes);
        if self.state == State::Start {
            match self.held.first() {
                None => return,
                Some(&HELLO_FIRST_BYTE) => match self.held.first_chunk::<HELLO_BYTES>() {
                    None => return,
                    Some(hello) => {
                        if let Some(layout) = wire::decode_hello(hello) {
                            self.held.drain(..HELLO_BYTES);
                            return self.decide(layout, Detection::Hello, sink);
                        }
                    }
                },
                Some(_) => {}
            }
            if let Some(layout) = self.expected {
                return self.decide(layout, Detection::Stated, sink);
            }
            self.state = State::Detecting;
        }
        match detect::judge(&self.held, FALLBACK) {
            LayoutVerdict::Undecided => {}
            LayoutVerdict::Decided(layout, why) => self.decide(layout, why, sink),
        }
    }

    fn decide(&mut self, layout: Layout, why: Detection, sink: &mut impl FnMut(DecodedFrame<'_>)) {
        self.state = State::Framing(layout);
        self.detection = Some(why);
        let held = std::mem::take(&mut self.held);
        self.cut(layout, &held, sink);
    }

    /// Frames `bytes`, the first of which continue what is held.
    #[inline]
    fn cut(&mut self, layout: Layout, mut bytes: &[u8], sink: &mut impl FnMut(DecodedFrame<'_>)) {
        let size = layout.frame_bytes();
        if !self.held.is_empty() {
            let missing = size - self.held.len();
            let taken = missing.min(bytes.len());
            self.held.extend_from_slice(&bytes[..taken]);
            if taken < missing {
                return;
            }
            bytes = &bytes[taken..];
            let mut held = std::mem::take(&mut self.held);
            self.unknown += u64::from(!emit(layout, &held, sink));
            held.clear();
            self.held = held;
        }
        let frames = bytes.chunks_exact(size);
        let rest = frames.remainder();
        for frame in frames {
            self.unknown += u64::from(!emit(layout, frame, sink));
        }
        self.held.extend_from_slice(rest);
    }
}

/// Hands out one whole frame; returns whether it was known.
#[inline]
fn emit(layout: Layout, frame: &[u8], sink: &mut impl FnMut(DecodedFrame<'_>)) -> bool {
    match wire::decode(layout, frame) {
        Ok(message) => sink(DecodedFrame::Message(&message, frame)),
        Err(_) if layout == Layout::Extended && table::is_request(frame) => {
            sink(DecodedFrame::TableRequest)
        }
        Err(_) => {
            sink(DecodedFrame::Unknown(frame));
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests;
