//! The texts of a pickle, each kept once.

use rustc_hash::FxHashMap;

use super::value::TextId;

/// The most that is kept, in bytes of texts and their places.
const MAX_TEXTS_BYTES: usize = 64 << 20;
const OVERHEAD_BYTES: usize = 64;

/// The texts that are looked for have fixed numbers: their places here.
const KNOWN: [&str; 20] = [
    "action",
    "addr",
    "size",
    "stream",
    "time_us",
    "frames",
    "filename",
    "line",
    "name",
    "device_traces",
    "segments",
    "blocks",
    "device",
    "address",
    "requested_size",
    "state",
    "active_allocated",
    "active_awaiting_free",
    "active_pending_free",
    "inactive",
];

pub(super) const ACTION: TextId = TextId(0);
pub(super) const ADDR: TextId = TextId(1);
pub(super) const SIZE: TextId = TextId(2);
pub(super) const STREAM: TextId = TextId(3);
pub(super) const TIME_US: TextId = TextId(4);
pub(super) const FRAMES: TextId = TextId(5);
pub(super) const FILENAME: TextId = TextId(6);
pub(super) const LINE: TextId = TextId(7);
pub(super) const NAME: TextId = TextId(8);
pub(super) const DEVICE_TRACES: TextId = TextId(9);
pub(super) const SEGMENTS: TextId = TextId(10);
pub(super) const BLOCKS: TextId = TextId(11);
pub(super) const DEVICE: TextId = TextId(12);
pub(super) const ADDRESS: TextId = TextId(13);
pub(super) const REQUESTED_SIZE: TextId = TextId(14);
pub(super) const STATE: TextId = TextId(15);
pub(super) const ACTIVE_ALLOCATED: TextId = TextId(16);
pub(super) const ACTIVE_AWAITING_FREE: TextId = TextId(17);
pub(super) const ACTIVE_PENDING_FREE: TextId = TextId(18);
pub(super) const INACTIVE: TextId = TextId(19);

/// Distinct texts by number.
#[derive(Debug)]
pub(super) struct Texts {
    texts: Vec<Box<str>>,
    ids: FxHashMap<Box<str>, TextId>,
    bytes: usize,
}

impl Texts {
    pub(crate) fn new() -> Texts {
        let mut texts = Texts {
            texts: Vec::new(),
            ids: FxHashMap::default(),
            bytes: 0,
        };
        for known in KNOWN {
            texts.id(known.as_bytes());
        }
        texts
    }

    /// The number of a text; `None` where there is no more room.
    pub(crate) fn id(&mut self, bytes: &[u8]) -> Option<TextId> {
        // Python writes lone surrogates too, which are no UTF-8.
        let text = String::from_utf8_lossy(bytes);
        if let Some(id) = self.ids.get(&*text) {
            return Some(*id);
        }
        let cost = 2 * text.len() + OVERHEAD_BYTES;
        if self.bytes + cost > MAX_TEXTS_BYTES {
            return None;
        }
        self.bytes += cost;
        let id = TextId(self.texts.len() as u32);
        self.texts.push(text.as_ref().into());
        self.ids.insert(text.into(), id);
        Some(id)
    }

    pub(crate) fn text(&self, id: TextId) -> &str {
        &self.texts[id.0 as usize]
    }
}
