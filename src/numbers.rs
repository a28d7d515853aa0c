//! Numbers for people.
//!
//! One form everywhere: counts, sizes and steps have their digits in groups of three. What may be
//! typed back has not (options, operations and TOML as they are written), nor what is a name and no
//! amount: addresses, ids, a place in a file.

use indicatif::HumanCount;

/// A number with its digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    HumanCount(number).to_string()
}

/// A change between two figures, with its sign: `+4,096`, `-64`.
pub(crate) fn signed(change: i128) -> String {
    let sign = if change < 0 { '-' } else { '+' };
    // What lies between two figures of 64 bits is one.
    let size = u64::try_from(change.unsigned_abs()).unwrap_or(u64::MAX);
    format!("{sign}{}", grouped(size))
}

/// `1 run`, `2 runs`.
pub(crate) fn plural(count: u64, noun: &str) -> String {
    let (stem, end) = match noun.strip_suffix('y') {
        _ if count == 1 => (noun, ""),
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => (stem, "ies"),
        _ => (noun, "s"),
    };
    format!("{} {stem}{end}", grouped(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_change_has_its_sign() {
        for (change, text) in [
            (0, "+0"),
            (4096, "+4,096"),
            (-(u64::MAX as i128), "-18,446,744,073,709,551,615"),
        ] {
            assert_eq!(signed(change), text);
        }
    }
}
