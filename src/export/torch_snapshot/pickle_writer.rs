//! Writes plain data as a pickle of protocol 4: dicts, lists, texts and integers, with a memo for
//! what comes again. Only instructions that PyTorch's viewer and `import torch-snapshot` read.

use rustc_hash::FxHashMap;

const PROTO_4: [u8; 2] = [0x80, 4];
const STOP: u8 = b'.';
const MARK: u8 = b'(';
const EMPTY_DICT: u8 = b'}';
const SETITEMS: u8 = b'u';
const EMPTY_LIST: u8 = b']';
const APPENDS: u8 = b'e';
const BININT1: u8 = b'K';
const BININT2: u8 = b'M';
const BININT: u8 = b'J';
const LONG1: u8 = 0x8a;
const SHORT_BINUNICODE: u8 = 0x8c;
const BINUNICODE: u8 = b'X';
const BINPUT: u8 = b'q';
const LONG_BINPUT: u8 = b'r';
const BINGET: u8 = b'h';
const LONG_BINGET: u8 = b'j';

/// Appends instructions to bytes that its caller keeps.
#[derive(Debug, Default)]
pub(super) struct PickleWriter {
    words: FxHashMap<&'static str, u32>,
    next: u32,
}

impl PickleWriter {
    pub(super) fn begin(&mut self, to: &mut Vec<u8>) {
        to.extend_from_slice(&PROTO_4);
    }

    pub(super) fn stop(&mut self, to: &mut Vec<u8>) {
        to.push(STOP);
    }

    /// Begins a dict: keys and values follow, then [`PickleWriter::end_dict`].
    pub(super) fn dict(&mut self, to: &mut Vec<u8>) {
        to.extend_from_slice(&[EMPTY_DICT, MARK]);
    }

    pub(super) fn end_dict(&mut self, to: &mut Vec<u8>) {
        to.push(SETITEMS);
    }

    /// Begins a list: elements follow, then [`PickleWriter::end_list`].
    pub(super) fn list(&mut self, to: &mut Vec<u8>) {
        to.extend_from_slice(&[EMPTY_LIST, MARK]);
    }

    /// Puts the elements so far into the list, so that no reader has them all on its stack.
    pub(super) fn batch(&mut self, to: &mut Vec<u8>) {
        to.extend_from_slice(&[APPENDS, MARK]);
    }

    pub(super) fn end_list(&mut self, to: &mut Vec<u8>) {
        to.push(APPENDS);
    }

    pub(super) fn int(&mut self, to: &mut Vec<u8>, value: u64) {
        if let Ok(byte) = u8::try_from(value) {
            to.extend_from_slice(&[BININT1, byte]);
        } else if let Ok(short) = u16::try_from(value) {
            to.push(BININT2);
            to.extend_from_slice(&short.to_le_bytes());
        } else if let Ok(int) = i32::try_from(value) {
            to.push(BININT);
            to.extend_from_slice(&int.to_le_bytes());
        } else {
            // Two's complement: a byte more where the highest bit is set.
            let bytes = value.to_le_bytes();
            let length = 8 - value.leading_zeros() as usize / 8;
            let sign = usize::from(bytes[length - 1] & 0x80 != 0);
            to.extend_from_slice(&[LONG1, (length + sign) as u8]);
            to.extend_from_slice(&bytes[..length]);
            to.extend_from_slice(&[0][..sign]);
        }
    }

    /// A word that comes again and again: written once.
    pub(super) fn word(&mut self, to: &mut Vec<u8>, word: &'static str) {
        match self.words.get(word) {
            Some(place) => self.again(to, *place),
            None => {
                self.text(to, word);
                let place = self.remember(to);
                self.words.insert(word, place);
            }
        }
    }

    pub(super) fn text(&mut self, to: &mut Vec<u8>, text: &str) {
        match u8::try_from(text.len()) {
            Ok(length) => to.extend_from_slice(&[SHORT_BINUNICODE, length]),
            Err(_) => {
                to.push(BINUNICODE);
                to.extend_from_slice(&(text.len() as u32).to_le_bytes());
            }
        }
        to.extend_from_slice(text.as_bytes());
    }

    /// Keeps what was written last; returns its place for [`PickleWriter::again`].
    pub(super) fn remember(&mut self, to: &mut Vec<u8>) -> u32 {
        let place = self.next;
        self.next += 1;
        match u8::try_from(place) {
            Ok(byte) => to.extend_from_slice(&[BINPUT, byte]),
            Err(_) => {
                to.push(LONG_BINPUT);
                to.extend_from_slice(&place.to_le_bytes());
            }
        }
        place
    }

    /// What was kept at a place.
    pub(super) fn again(&mut self, to: &mut Vec<u8>, place: u32) {
        match u8::try_from(place) {
            Ok(byte) => to.extend_from_slice(&[BINGET, byte]),
            Err(_) => {
                to.push(LONG_BINGET);
                to.extend_from_slice(&place.to_le_bytes());
            }
        }
    }
}
