//! Times of day without a date.

/// Half a day: a time that lies further back than this is the next day's.
const HALF_DAY_NS: u64 = 43_200_000_000_000;
const DAY_NS: u64 = 2 * HALF_DAY_NS;

/// Counts the midnights in a sequence of times of day. Times may go back a little, as those of
/// several writers do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DayClock {
    day_ns: u64,
    last_ns: Option<u64>,
}

impl DayClock {
    /// Before its first time: the first time of another clock that runs beside this one. Both count
    /// from the midnight before the day of it.
    pub(crate) fn begin_near(&mut self, of_day_ns: u64) {
        if self.last_ns.is_none() {
            self.day_ns = DAY_NS;
            self.last_ns = Some(of_day_ns);
        }
    }

    /// The time since the midnight before the first time.
    pub(crate) fn at(&mut self, of_day_ns: u64) -> u64 {
        let last_ns = self.last_ns.unwrap_or(of_day_ns);
        let mut at = self.day_ns.saturating_add(of_day_ns);
        if of_day_ns + HALF_DAY_NS < last_ns {
            self.day_ns = self.day_ns.saturating_add(DAY_NS);
            at = self.day_ns.saturating_add(of_day_ns);
        } else if last_ns + HALF_DAY_NS < of_day_ns && self.day_ns > 0 {
            // A straggler from before midnight.
            return at - DAY_NS;
        }
        self.last_ns = Some(of_day_ns);
        at
    }
}

/// A time of day, `HH:MM:SS` with or without a fraction after `.` or `:`, in ns.
pub(super) fn time_of_day(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.len() < 8 || bytes[2] != b':' || bytes[5] != b':' {
        return None;
    }
    let two = |at: usize, below: u64| {
        let digits = &bytes[at..at + 2];
        let value = digits.iter().try_fold(0, |value, digit| {
            digit
                .is_ascii_digit()
                .then(|| value * 10 + u64::from(digit - b'0'))
        })?;
        (value < below).then_some(value)
    };
    // A leap second is written as 60.
    let seconds = two(0, 24)? * 3600 + two(3, 60)? * 60 + two(6, 61)?;
    let fraction_ns = match bytes.get(8) {
        None => 0,
        Some(b'.' | b':') => fraction_ns(text.get(9..)?)?,
        Some(_) => return None,
    };
    Some(seconds * 1_000_000_000 + fraction_ns)
}

/// Seconds since 1970 with or without a fraction, in ns.
pub(super) fn epoch_ns(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: u64 = digits(whole).then(|| whole.parse().ok())??;
    seconds
        .checked_mul(1_000_000_000)?
        .checked_add(fraction_ns(fraction)?)
}

/// The digits after a decimal point, in ns.
fn fraction_ns(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept = &digits[..digits.len().min(9)];
    let value: u64 = kept.parse().ok()?;
    Some(value * 10_u64.pow(9 - kept.len() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_a_fraction() {
        assert_eq!(time_of_day("00:00:01"), Some(1_000_000_000));
        assert_eq!(time_of_day("01:00:00.5"), Some(3_600_500_000_000));
        assert_eq!(time_of_day("00:00:00:000001"), Some(1000));
        assert_eq!(epoch_ns("1700000000.25"), Some(1_700_000_000_250_000_000));
        for wrong in [
            "",
            "24:00:00",
            "0:00:00",
            "00:00:00.",
            "00:00:00.x",
            "00:00:00é",
        ] {
            assert_eq!(time_of_day(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn midnight_begins_a_day_and_stragglers_do_not() {
        let mut clock = DayClock::default();
        let hour = 3_600_000_000_000;
        assert_eq!(clock.at(23 * hour), 23 * hour);
        assert_eq!(clock.at(22 * hour), 22 * hour);
        assert_eq!(clock.at(hour), 25 * hour);
        assert_eq!(clock.at(23 * hour), 23 * hour);
        assert_eq!(clock.at(2 * hour), 26 * hour);
    }
}
