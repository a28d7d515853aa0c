//! Columns: the numbers behind the pictures, packed so that a million events are a few megabytes.
//!
//! A column is deflated bytes in base64, and says how they were laid out: `u8`, `u16`, `u32` and
//! `u64` are little-endian numbers, `delta` are differences to the number before, `varint` the
//! numbers themselves, both as LEB128. What reads them is `assets/data.js`. Same numbers, same
//! bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use miniz_oxide::deflate::compress_to_vec_zlib;
use serde::Serialize;

/// Of the ten levels of deflate: little is gained by a higher one, and it takes far longer.
const LEVEL: u8 = 3;

/// One packed column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Column {
    /// How its numbers are laid out.
    form: &'static str,
    /// How many numbers it has.
    count: usize,
    /// Deflated, in base64.
    data: String,
}

impl Column {
    fn new(form: &'static str, count: usize, raw: &[u8]) -> Column {
        Column {
            form,
            count,
            data: STANDARD.encode(compress_to_vec_zlib(raw, LEVEL)),
        }
    }

    /// Bytes as they are.
    pub(crate) fn bytes(numbers: &[u8]) -> Column {
        Column::new("u8", numbers.len(), numbers)
    }

    /// Numbers of 16 bits.
    pub(crate) fn shorts(numbers: &[u16]) -> Column {
        let raw: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        Column::new("u16", numbers.len(), &raw)
    }

    /// Numbers of 32 bits.
    pub(crate) fn words(numbers: &[u32]) -> Column {
        let raw: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        Column::new("u32", numbers.len(), &raw)
    }

    /// Addresses and sizes.
    pub(crate) fn longs(numbers: &[u64]) -> Column {
        let raw: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        Column::new("u64", numbers.len(), &raw)
    }

    /// What was packed as varints already.
    pub(crate) fn varints(count: usize, raw: &[u8]) -> Column {
        Column::new("varint", count, raw)
    }

    /// Numbers that grow slowly.
    pub(crate) fn deltas(numbers: impl IntoIterator<Item = u64>) -> Column {
        let mut raw = Vec::new();
        let (mut count, mut last) = (0, 0u64);
        for number in numbers {
            put_signed(&mut raw, number.wrapping_sub(last) as i64);
            last = number;
            count += 1;
        }
        Column::new("delta", count, &raw)
    }
}

/// Appends a LEB128 varint.
#[inline]
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a number of either sign, small ones short.
#[inline]
pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)) as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_holds_its_numbers() {
        let unpacked = |column: &Column| {
            let bytes = STANDARD.decode(&column.data).expect("base64");
            miniz_oxide::inflate::decompress_to_vec_zlib(&bytes).expect("deflated")
        };
        let words = Column::words(&[1, u32::MAX]);
        assert_eq!(unpacked(&words), [1, 0, 0, 0, 255, 255, 255, 255]);
        let deltas = Column::deltas([5, 7, 4]);
        assert_eq!((deltas.count, unpacked(&deltas)), (3, vec![10, 4, 5]));
    }
}
