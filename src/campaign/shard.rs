//! Shards: which of several machines this is.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Shard `number` of `of`, written `3/8`; numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shard {
    number: u32,
    of: u32,
}

/// A text is no shard.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{0}` is no shard: use I/N with I from 1 to N, as in 3/8 (N at most {MAX}; where machines are numbered from 0, add 1)"
)]
pub(crate) struct ShardError(String);

/// The most shards.
const MAX: u32 = 100_000;

impl Shard {
    /// Shard `number` of `of`, if there is one.
    pub(crate) fn new(number: u32, of: u32) -> Option<Shard> {
        (of <= MAX && (1..=of).contains(&number)).then_some(Shard { number, of })
    }

    /// Its number, from 1.
    pub(crate) fn number(self) -> u32 {
        self.number
    }

    /// How many there are.
    pub(crate) fn of(self) -> u32 {
        self.of
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Shard, ShardError> {
        text.split_once('/')
            .and_then(|(number, of)| Shard::new(number.parse().ok()?, of.parse().ok()?))
            .ok_or_else(|| ShardError(text.to_owned()))
    }
}

serde_as_text!(Shard);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_numbered_from_one() {
        assert_eq!("3/8".parse(), Ok(Shard { number: 3, of: 8 }));
        for text in [
            "0/8",
            "9/8",
            "3",
            "3/",
            "/8",
            "-1/2",
            "1/0",
            "a/b",
            "1/999999999",
        ] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
