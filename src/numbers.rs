//! Numbers for people.
//!
//! One form everywhere: counts, sizes and steps have their digits in groups of three. What may be
//! typed back has not (options, operations and TOML as they are written), nor what is a name and no
//! amount: addresses, ids, a place in a file.

use indicatif::HumanCount;
use serde_json::Value;

/// A number with its digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    HumanCount(number).to_string()
}

/// The same of a sum of sizes, which may be more than any of them can.
pub(crate) fn grouped_sum(sum: u128) -> String {
    let digits = sum.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 byte`, `2 bytes`, of a sum of sizes.
pub(crate) fn bytes_together(sum: u128) -> String {
    format!(
        "{} {}",
        grouped_sum(sum),
        if sum == 1 { "byte" } else { "bytes" }
    )
}

/// A sum of sizes in JSON: a number, and what 64 bits do not hold as text.
pub(crate) fn sum_in_json(sum: u128) -> Value {
    u64::try_from(sum).map_or_else(|_| sum.to_string().into(), Value::from)
}

/// A change between two figures, with its sign: `+4,096`, `-64`.
pub(crate) fn signed(change: i128) -> String {
    let sign = if change < 0 { '-' } else { '+' };
    format!("{sign}{}", grouped_sum(change.unsigned_abs()))
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
            assert_eq!(grouped_sum(number.into()), text);
        }
    }

    #[test]
    fn a_sum_of_more_than_64_bits_is_whole() {
        let sum = 3 * u128::from(u64::MAX);
        assert_eq!(bytes_together(sum), "55,340,232,221,128,654,845 bytes");
        assert_eq!(bytes_together(1), "1 byte");
        assert_eq!(sum_in_json(sum), "55340232221128654845");
        assert_eq!(sum_in_json(7), 7);
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
