//! One row of a CSV text, split at its commas, and the numbers in it.

use csv_core::{ReadRecordResult, Reader};

use super::accounting::UnrecognisedReason;

/// Columns that a row has at most; what is beyond is no row.
const MAX_COLUMNS: usize = 64;

/// A row; its buffers are used again for the next.
#[derive(Debug, Default)]
pub(super) struct CsvRow {
    text: String,
    /// Where each field ends in the text, and where the next begins.
    fields: Vec<(usize, usize)>,
    /// For rows with quotes.
    quoted: Quoted,
}

#[derive(Debug, Default)]
struct Quoted {
    reader: Option<Box<Reader>>,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl CsvRow {
    /// Splits a line. `None` where it is no whole row of text.
    pub(crate) fn split(&mut self, line: &[u8]) -> Option<()> {
        self.text.clear();
        self.fields.clear();
        // Spreadsheets put a mark before the first row.
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        let line = line.trim_ascii_end();
        // Fields are short: a search for each comma would cost more than to look at all of them.
        let mut start = 0;
        let words = line.chunks_exact(WORD_BYTES);
        let rest = words.remainder();
        let rest_at = line.len() - rest.len();
        let of_words = words
            .enumerate()
            .flat_map(|(word, bytes)| low_bytes(bytes).map(move |at| WORD_BYTES * word + at));
        for at in of_words.chain(rest_at..line.len()) {
            match line[at] {
                b',' => {
                    self.fields.push((start, at));
                    start = at + 1;
                }
                // Lines that end so are no lines here: all of them would be one row.
                b'\r' => return None,
                b'"' => {
                    self.fields.clear();
                    return self.split_quoted(line);
                }
                _ => {}
            }
        }
        self.fields.push((start, line.len()));
        self.text.push_str(std::str::from_utf8(line).ok()?);
        (self.fields.len() <= MAX_COLUMNS).then_some(())
    }

    fn split_quoted(&mut self, line: &[u8]) -> Option<()> {
        let Quoted { reader, text, ends } = &mut self.quoted;
        let reader = reader.get_or_insert_with(|| Box::new(Reader::new()));
        reader.reset();
        text.resize(line.len() + 2, 0);
        ends.resize(MAX_COLUMNS, 0);
        let (mut result, read, mut written, mut fields) = reader.read_record(line, text, ends);
        if result == ReadRecordResult::InputEmpty {
            // The line's end. Within quotes it is text, and the row goes on in the next line: it is
            // no whole one.
            let rest = (&mut text[written..], &mut ends[fields..]);
            let more = reader.read_record(b"\n", rest.0, rest.1);
            (result, written, fields) = (more.0, written + more.2, fields + more.3);
        }
        if result != ReadRecordResult::Record || read < line.len() {
            return None;
        }
        self.text
            .push_str(std::str::from_utf8(&text[..written]).ok()?);
        let mut start = 0;
        for end in &ends[..fields] {
            self.fields.push((start, *end));
            start = *end;
        }
        Some(())
    }

    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// The field of a column, without blanks around it.
    pub(crate) fn field(&self, column: usize) -> Option<&str> {
        let (start, end) = *self.fields.get(column)?;
        let text = self.text.get(start..end)?;
        let is_bare = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_graphic);
        let bytes = text.as_bytes();
        match is_bare(bytes.first()) && is_bare(bytes.last()) {
            true => Some(text),
            false => Some(text.trim()),
        }
    }

    /// The column whose field is one of `names`, in any case.
    pub(crate) fn find(&self, names: &[&str]) -> Option<usize> {
        (0..self.len()).find(|column| {
            self.field(*column)
                .is_some_and(|text| names.iter().any(|name| text.eq_ignore_ascii_case(name)))
        })
    }
}

/// Bytes that are looked at at once.
const WORD_BYTES: usize = 8;
const ONES: u64 = u64::from_ne_bytes([1; WORD_BYTES]);

/// Where a word of bytes may have one that means something in a row: those are a comma and below,
/// and few others are.
fn low_bytes(bytes: &[u8]) -> impl Iterator<Item = usize> {
    const ABOVE: u64 = (b',' + 1) as u64;
    let word = bytes.try_into().map_or(0, u64::from_le_bytes);
    // The highest bit of each byte that is below, and perhaps of those after it.
    let mut low = word.wrapping_sub(ONES * ABOVE) & !word & (ONES << 7);
    std::iter::from_fn(move || {
        let at = low.trailing_zeros() / 8;
        let found = (low != 0).then_some(at as usize);
        low &= low.wrapping_sub(1);
        found
    })
}

/// The number that eight decimal digits are; `None` where one is none.
fn eight_digits(bytes: [u8; WORD_BYTES]) -> Option<u64> {
    let word = u64::from_le_bytes(bytes);
    let is_digits = (word & (ONES * 0xF0)) == ONES * 0x30
        && (word.wrapping_add(ONES * 6) & (ONES * 0xF0)) == ONES * 0x30;
    // Neighbours become one number: of two digits each, of four, of eight.
    let pairs = (word & (ONES * 0x0F)).wrapping_mul((10 << 8) | 1) >> 8;
    let fours = (pairs & 0x00FF_00FF_00FF_00FF).wrapping_mul((100 << 16) | 1) >> 16;
    let all = (fours & 0x0000_FFFF_0000_FFFF).wrapping_mul((10_000 << 32) | 1) >> 32;
    is_digits.then_some(all)
}

/// What each byte is as a digit, up to hexadecimal; others are above all.
const DIGITS: [u8; 256] = {
    let mut digits = [u8::MAX; 256];
    let mut digit = 0;
    while digit < 16 {
        let byte = b"0123456789abcdef"[digit];
        digits[byte as usize] = digit as u8;
        digits[byte.to_ascii_uppercase() as usize] = digit as u8;
        digit += 1;
    }
    digits
};

/// A number of digits only.
pub(super) fn number(digits: &str, radix: u32) -> Result<u64, UnrecognisedReason> {
    let few_digits = if radix == 16 { 16 } else { 19 };
    if (1..=few_digits).contains(&digits.len()) {
        // None of so many digits is out of range: most rows have several, so this is a hot path.
        let mut value = 0_u64;
        let mut rest = digits.as_bytes();
        while radix == 10
            && let Some((eight, others)) = rest.split_first_chunk()
        {
            let eight = eight_digits(*eight).ok_or(UnrecognisedReason::NoKnownForm)?;
            value = value.wrapping_mul(100_000_000).wrapping_add(eight);
            rest = others;
        }
        for byte in rest {
            let digit = DIGITS[usize::from(*byte)];
            if u32::from(digit) >= radix {
                return Err(UnrecognisedReason::NoKnownForm);
            }
            value = value.wrapping_mul(radix.into()).wrapping_add(digit.into());
        }
        return Ok(value);
    }
    let mut value = 0_u64;
    let mut is_out_of_range = false;
    for byte in digits.bytes() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' if radix == 16 => byte - b'a' + 10,
            b'A'..=b'F' if radix == 16 => byte - b'A' + 10,
            _ => return Err(UnrecognisedReason::NoKnownForm),
        };
        let next = value.checked_mul(radix.into());
        match next.and_then(|next| next.checked_add(digit.into())) {
            Some(next) => value = next,
            None => is_out_of_range = true,
        }
    }
    match is_out_of_range {
        _ if digits.is_empty() => Err(UnrecognisedReason::NoKnownForm),
        true => Err(UnrecognisedReason::NumberOutOfRange),
        false => Ok(value),
    }
}

/// A number, decimal, or hexadecimal after `0x`.
pub(super) fn any_number(text: &str) -> Result<u64, UnrecognisedReason> {
    match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => number(digits, 16),
        None => number(text, 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str) -> Option<Vec<String>> {
        let mut row = CsvRow::default();
        row.split(b"left,over")?;
        row.split(line.as_bytes())?;
        let of = |column| row.field(column).map(str::to_owned);
        Some((0..row.len()).filter_map(of).collect())
    }

    #[test]
    fn a_row_with_quotes_is_the_same_row() {
        for line in ["a, b ,c", "\"a\",b,c", "a,\"b\",\"c\"\r", "a,b,c\r\n"] {
            assert_eq!(
                fields(line).as_deref(),
                Some(&["a", "b", "c"].map(str::to_owned)[..])
            );
        }
        assert_eq!(
            fields("\"a,b\",\"say \"\"c\"\"\""),
            Some(vec!["a,b".to_owned(), "say \"c\"".to_owned()])
        );
        assert_eq!(fields("a,\"b"), None);
        assert_eq!(fields("a,b\rc,d"), None);
        assert_eq!(fields(&",".repeat(MAX_COLUMNS)), None);
    }

    #[test]
    fn rows_of_any_length_are_split_at_each_comma() {
        for length in 0..40 {
            for byte in ["x", " ", "-", "+", "ü", "\u{7f}"] {
                for comma in 0..=length {
                    let mut text = vec![byte; length];
                    text.insert(comma, ",");
                    let ends = [byte.repeat(comma), byte.repeat(length - comma)];
                    let ends = ends.map(|end| end.trim().to_owned());
                    // Blanks at the end of a line are none of it.
                    assert_eq!(fields(&text.concat()).as_deref(), Some(&ends[..]));
                }
            }
        }
    }

    #[test]
    fn decimal_numbers_of_all_lengths_are_read() {
        for text in [
            "12345678",
            "1234567890123456",
            "123456789012345678",
            "00000000",
        ] {
            assert_eq!(any_number(text), Ok(text.parse().expect("a number")));
        }
        for wrong in b"/:;\x00\x80 axX" {
            for at in 0..19 {
                let mut digits = [b'7'; 19];
                digits[at] = *wrong;
                if let Ok(text) = std::str::from_utf8(&digits) {
                    let read = any_number(text);
                    assert_eq!(read, Err(UnrecognisedReason::NoKnownForm), "{text}");
                }
            }
        }
    }

    #[test]
    fn numbers_have_digits_only() {
        assert_eq!(any_number("0x1F"), Ok(31));
        assert_eq!(any_number("31"), Ok(31));
        for wrong in ["", "0x", "+3", "-3", "3.0", "1e3", "١"] {
            assert_eq!(
                any_number(wrong),
                Err(UnrecognisedReason::NoKnownForm),
                "{wrong}"
            );
        }
        assert_eq!(
            any_number("9999999999999999999"),
            Ok(9_999_999_999_999_999_999)
        );
        assert_eq!(any_number("0xFFFFffffFFFFffff"), Ok(u64::MAX));
        assert_eq!(any_number("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(
            any_number("0x10000000000000000"),
            Err(UnrecognisedReason::NumberOutOfRange)
        );
        assert_eq!(
            any_number("18446744073709551616"),
            Err(UnrecognisedReason::NumberOutOfRange)
        );
    }
}
