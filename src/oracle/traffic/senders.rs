//! Who sent which frame: the bytes of each connection, cut into frames, with the threads that wrote
//! them.

use std::collections::{BTreeMap, VecDeque};

use super::TrafficEvent;
use super::words;
use crate::numbers::plural;
use crate::trace::sends::Sent;
use crate::tracking::codec::{DecodedFrame, Detection, FrameDecoder, looks_sent};
use crate::tracking::wire::HELLO_BYTES;
use crate::tracking::{Layout, Message};

/// A frame as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SentFrame {
    /// Where it ends in the bytes of its connection.
    pub(super) end: u64,
    /// The thread that sent the end of it.
    pub(super) thread: u16,
    /// What it says; `None`: it is no message.
    pub(super) message: Option<Message>,
    /// It is made of pieces that several threads sent, and no client sends what came of it.
    pub(super) torn: bool,
    /// What its sender meant.
    pub(super) about: Option<Sent>,
}

/// A message that had no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unsent {
    /// Who wanted to send it.
    pub(super) thread: u16,
    /// What it says.
    pub(super) message: Option<Message>,
    bytes: Vec<u8>,
}

/// One connection.
#[derive(Debug, Default)]
pub(super) struct SentStream {
    /// How its bytes are read.
    pub(super) layout: Option<Layout>,
    /// Why that cannot be right.
    pub(super) doubt: Option<String>,
    /// A torn frame was taken: what follows means nothing.
    pub(super) torn: bool,
    /// Frames that were sent and not taken.
    pub(super) untold: VecDeque<SentFrame>,
    /// Bytes that were sent and not taken.
    pub(super) untaken: VecDeque<Vec<u8>>,
    /// Who sent last.
    pub(super) last_sender: Option<u16>,
    frames: VecDeque<SentFrame>,
    sent: u64,
    unsent: Vec<Unsent>,
}

/// The connections of `events`, with their layouts: what was stated, what they say, what they look
/// like.
pub(super) fn connections(events: &[TrafficEvent], stated: Option<Layout>) -> Vec<SentStream> {
    let mut sends: Vec<Vec<(u16, &[u8])>> = Vec::new();
    for event in events {
        match event {
            TrafficEvent::Opened => sends.push(Vec::new()),
            TrafficEvent::Sent {
                thread,
                conn,
                bytes,
                ..
            } => {
                if let Some(sends) = sends.get_mut(*conn as usize) {
                    sends.push((*thread, bytes));
                }
            }
            _ => {}
        }
    }
    let connections = sends.iter().map(|sends| connection(sends, stated));
    connections.collect()
}

fn connection(sends: &[(u16, &[u8])], stated: Option<Layout>) -> SentStream {
    let (mut looks, mut detection) = detect(sends);
    if let Some(layout) = of_each_thread(sends)
        && matches!(detection, None | Some(Detection::Fallback))
    {
        // Each thread sends whole messages; together they do not.
        (looks, detection) = (Some(layout), Some(Detection::Content));
    }
    let layout = match (stated, detection) {
        (Some(stated), detection) if detection != Some(Detection::Hello) => Some(stated),
        _ => looks,
    };
    let Some(layout) = layout else {
        return SentStream::default();
    };
    let frames = frames(sends, layout, detection == Some(Detection::Hello));
    let sound = frames.iter().take_while(|frame| !frame.torn);
    let strange = sound
        .clone()
        .filter(|frame| frame.message.is_none())
        .count() as u64;
    let all = sound.count() as u64;
    let is_guess = matches!(detection, None | Some(Detection::Fallback));
    let fits_other = looks.filter(|looks| {
        let other = || self::frames(sends, *looks, false);
        // One that was stated and fits is the one.
        let is_bad = strange > 0 || frames.is_empty() || frames.iter().any(|frame| frame.torn);
        is_bad
            && *looks != layout
            && !is_guess
            && other()
                .iter()
                .all(|frame| frame.message.is_some() && !frame.torn)
    });
    let no_fit = strange > 0 || fits_other.is_some() || (stated.is_none() && is_guess);
    let doubt = no_fit.then(|| {
        if frames.is_empty() {
            return format!("it sent no whole message of layout {layout}: nothing was checked");
        }
        if let Some(looks) = fits_other {
            return format!(
                "its messages do not fit layout {layout}: they look like layout {looks}"
            );
        }
        let other = match stated {
            Some(_) => "they fit no layout",
            None => "--layout names theirs",
        };
        format!(
            "its messages do not fit layout {layout}: {strange} of {} could not be one; {other}",
            plural(all, "frame"),
        )
    });
    SentStream {
        layout: Some(layout),
        doubt,
        frames,
        ..SentStream::default()
    }
}

/// The layout that the bytes of each thread have by themselves, if there are several threads.
fn of_each_thread(sends: &[(u16, &[u8])]) -> Option<Layout> {
    let mut threads: BTreeMap<u16, Vec<(u16, &[u8])>> = BTreeMap::new();
    for (thread, bytes) in sends {
        threads.entry(*thread).or_default().push((*thread, bytes));
    }
    let mut layouts = threads.values().map(|sends| match detect(sends) {
        (Some(layout), Some(Detection::Content | Detection::Quiet)) => Some(layout),
        _ => None,
    });
    let first = layouts.next()??;
    (threads.len() > 1 && layouts.all(|layout| layout == Some(first))).then_some(first)
}

/// What the bytes look like, and why.
fn detect(sends: &[(u16, &[u8])]) -> (Option<Layout>, Option<Detection>) {
    let mut decoder = FrameDecoder::detecting();
    for (_, bytes) in sends {
        decoder.feed(bytes, &mut |_| {});
        if decoder.layout().is_some() {
            return (decoder.layout(), decoder.detection());
        }
    }
    if !decoder.is_undecided() {
        return (None, None);
    }
    decoder.finish(&mut |_| {});
    (decoder.layout(), decoder.detection())
}

fn frames(sends: &[(u16, &[u8])], layout: Layout, has_hello: bool) -> VecDeque<SentFrame> {
    let mut decoder = FrameDecoder::fixed(layout);
    let mut frames = VecDeque::new();
    // The bytes of the frame that is not whole yet: who sent how many.
    let mut parts: VecDeque<(u16, usize)> = VecDeque::new();
    let mut skip = if has_hello { HELLO_BYTES } else { 0 };
    let mut end = skip as u64;
    for (thread, bytes) in sends {
        let own = bytes.len() - skip.min(bytes.len());
        skip -= bytes.len() - own;
        parts.push_back((*thread, own));
        decoder.feed(bytes, &mut |frame| {
            let (message, raw) = match frame {
                DecodedFrame::Message(message, raw) => (Some(message.clone()), raw),
                DecodedFrame::Unknown(raw) => (None, raw),
                DecodedFrame::TableRequest => (None, &[][..]),
            };
            let is_request = raw.is_empty();
            let mixed = several(&mut parts, layout.frame_bytes());
            end += layout.frame_bytes() as u64;
            let looks = is_request || looks_sent(raw, layout, false);
            frames.push_back(SentFrame {
                end,
                thread: *thread,
                torn: mixed && !is_request && !looks_sent(raw, layout, true),
                message: message.filter(|_| looks).or_else(|| {
                    // A request for the table is nothing to judge, and nothing strange.
                    is_request.then(words::nothing)
                }),
                about: None,
            });
        });
    }
    frames
}

/// Takes the parts of a frame off the front; whether several threads sent them.
fn several(parts: &mut VecDeque<(u16, usize)>, mut bytes: usize) -> bool {
    let first = parts.iter().find(|(_, left)| *left > 0).map(|part| part.0);
    let mut mixed = false;
    while bytes > 0 {
        let Some((thread, left)) = parts.front_mut() else {
            return mixed;
        };
        let taken = bytes.min(*left);
        mixed |= taken > 0 && Some(*thread) != first;
        *left -= taken;
        bytes -= taken;
        if *left == 0 {
            parts.pop_front();
        }
    }
    mixed
}

impl SentStream {
    /// Whether what it says means nothing.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubt.is_some() || self.torn
    }

    /// The frames that are whole now that these bytes were sent.
    pub(super) fn send(&mut self, thread: u16, bytes: &[u8]) -> Vec<SentFrame> {
        self.sent += bytes.len() as u64;
        self.last_sender = Some(thread);
        let mut whole = Vec::new();
        while let Some(frame) = self.frames.pop_front_if(|frame| frame.end <= self.sent) {
            whole.push(frame);
        }
        whole
    }

    /// A single message, if these bytes are one.
    pub(super) fn decode_one(&self, bytes: &[u8]) -> Option<Message> {
        let layout = self.layout.or(Layout::from_frame_bytes(bytes.len()))?;
        let mut message = None;
        FrameDecoder::fixed(layout).feed(bytes, &mut |frame| {
            if let DecodedFrame::Message(found, _) = frame {
                message.get_or_insert_with(|| found.clone());
            }
        });
        message
    }

    /// A message had no room. The one before it that had none is lost, if it is another.
    pub(super) fn drop_of(
        &mut self,
        thread: u16,
        bytes: &[u8],
        message: Option<Message>,
    ) -> Option<Unsent> {
        let earlier = self.next_send_of(thread, bytes);
        self.unsent.push(Unsent {
            thread,
            message,
            bytes: bytes.to_vec(),
        });
        earlier
    }

    /// A thread sends these bytes: what it wanted to send before is lost, unless it is this.
    pub(super) fn next_send_of(&mut self, thread: u16, bytes: &[u8]) -> Option<Unsent> {
        let at = self
            .unsent
            .iter()
            .position(|unsent| unsent.thread == thread)?;
        let unsent = self.unsent.remove(at);
        let again = without_time(&unsent.bytes).starts_with(&without_time(bytes));
        (!again).then_some(unsent)
    }

    /// At the end: what had no room and was not sent again.
    pub(super) fn never_sent(&mut self) -> Vec<Unsent> {
        std::mem::take(&mut self.unsent)
    }
}

/// A message that is made anew has another time in it.
fn without_time(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(time) = bytes.get_mut(32..40) {
        time.fill(0);
    }
    bytes
}
