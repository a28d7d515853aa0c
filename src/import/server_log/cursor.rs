//! A cursor over one line, for parsers that read literals and numbers from left to right.

use super::UnrecognisedReason;

/// The result of reading a part of a form.
pub(super) type Parsed<T> = Result<T, UnrecognisedReason>;

const NO_FORM: UnrecognisedReason = UnrecognisedReason::NoKnownForm;
const OUT_OF_RANGE: UnrecognisedReason = UnrecognisedReason::NumberOutOfRange;

/// What is still to be read of a line.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(rest: &'a str) -> Cursor<'a> {
        Cursor { rest }
    }

    /// Reads `literal`, or nothing.
    pub(super) fn take(&mut self, literal: &str) -> bool {
        match self.rest.strip_prefix(literal) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    pub(super) fn expect(&mut self, literal: &str) -> Parsed<()> {
        if self.take(literal) {
            Ok(())
        } else {
            Err(NO_FORM)
        }
    }

    pub(super) fn end(self) -> Parsed<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(NO_FORM)
        }
    }

    /// Reads one or more characters of a kind.
    pub(super) fn word(&mut self, of: impl Fn(char) -> bool) -> Parsed<&'a str> {
        let end = self.rest.find(|c| !of(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.is_empty() {
            Err(NO_FORM)
        } else {
            Ok(word)
        }
    }

    pub(super) fn decimal(&mut self) -> Parsed<u64> {
        self.word(|c| c.is_ascii_digit())?
            .parse()
            .map_err(|_| OUT_OF_RANGE)
    }

    /// Reads an integer whose value does not matter.
    pub(super) fn integer(&mut self) -> Parsed<()> {
        self.take("-");
        self.decimal().map(drop)
    }

    /// Reads a device or process id, which may be negative.
    pub(super) fn id(&mut self) -> Parsed<i32> {
        let before = self.rest;
        self.take("-");
        let digits = self.word(|c| c.is_ascii_digit())?;
        let sign = before.len() - self.rest.len() - digits.len();
        before[..sign + digits.len()]
            .parse()
            .map_err(|_| OUT_OF_RANGE)
    }

    /// Reads a buffer id, `0x` and hexadecimal digits or decimal digits.
    pub(super) fn address(&mut self) -> Parsed<u64> {
        if self.take("0x") {
            let digits = self.word(|c| c.is_ascii_hexdigit())?;
            u64::from_str_radix(digits, 16).map_err(|_| OUT_OF_RANGE)
        } else {
            self.decimal()
        }
    }

    /// Reads which buffer it is: its id, and the device that it is on.
    pub(super) fn key(&mut self) -> Parsed<(u64, i32)> {
        let address = self.address()?;
        self.expect(" on device ")?;
        Ok((address, self.id()?))
    }

    /// Reads a figure as C++ streams print it, such as `0.25` and `1.75922e+13`, in units of `unit`
    /// bytes.
    pub(super) fn figure(&mut self, unit: f64) -> Parsed<u64> {
        let text = self.word(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | '+' | '-'))?;
        let figure: f64 = text.parse().map_err(|_| NO_FORM)?;
        let bytes = (figure * unit).round();
        // 6 digits: the largest u64 may be printed as a figure just above it.
        if (0.0..=u64::MAX as f64 * 1.000_01).contains(&bytes) {
            Ok(bytes as u64)
        } else {
            Err(OUT_OF_RANGE)
        }
    }
}
