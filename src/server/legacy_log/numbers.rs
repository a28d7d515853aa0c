//! Numbers as C++ streams print them.

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * 1024.0;

pub(super) fn megabytes(bytes: u64) -> String {
    general(bytes as f64 / MIB)
}

pub(super) fn kilobytes(bytes: u64) -> String {
    general(bytes as f64 / KIB)
}

/// A finite number as C's `%g` and a C++ stream print it: six significant digits, no trailing
/// zeros, an exponent below 1e-4 and from 1e6 on.
pub(super) fn general(value: f64) -> String {
    const DIGITS: i32 = 6;
    let scientific = format!("{value:.5e}");
    let (mantissa, exponent) = scientific
        .split_once('e')
        .expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    if (-4..DIGITS).contains(&exponent) {
        let decimals =
            usize::try_from(DIGITS - 1 - exponent).expect("the exponent is below the digits");
        return without_trailing_zeros(&format!("{value:.decimals$}")).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!(
        "{}e{sign}{:02}",
        without_trailing_zeros(mantissa),
        exponent.abs()
    )
}

fn without_trailing_zeros(digits: &str) -> &str {
    if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        digits
    }
}
