//! SigV4's form of a time, `20261123T120000Z`, read and written.
//!
//! The calendar is the proleptic Gregorian one, counted in years that begin in March, so that the
//! leap day is a year's last.

use std::fmt;

/// `20261123T120000Z` as seconds since the Unix epoch; `None` when it is not such a date.
pub fn parse_amz_date(text: &str) -> Option<i64> {
    let digits = |range: std::ops::Range<usize>| -> Option<i64> {
        let part = text.get(range)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let shape = text.len() == 16 && text.get(8..9) == Some("T") && text.ends_with('Z');
    let (year, month, day) = (digits(0..4)?, digits(4..6)?, digits(6..8)?);
    let (hour, minute, second) = (digits(9..11)?, digits(11..13)?, digits(13..15)?);
    let sane = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    // Days since the epoch in the proleptic Gregorian calendar, years beginning in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * m + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    (shape && sane).then_some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// A time in this form, as long as its year has four digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmzDate([u8; 16]);

impl AmzDate {
    /// The whole of it.
    pub fn as_str(&self) -> &str {
        #[expect(clippy::expect_used, reason = "digits and two letters are ASCII")]
        std::str::from_utf8(&self.0).expect("a date is ASCII")
    }

    /// The day, `20261123`.
    pub fn day(&self) -> &str {
        &self.as_str()[..8]
    }
}

impl fmt::Display for AmzDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Seconds since the Unix epoch as `20261123T120000Z`.
pub fn amz_date(seconds: i64) -> AmzDate {
    let (days, time) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * m + 2) / 5 + 1;
    let month = if m < 10 { m + 3 } else { m - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    let digit = |number: i64, place: i64| b'0' + u8::try_from(number / place % 10).unwrap_or(0);
    let tens = |number| [digit(number, 10), digit(number, 1)];
    let ([y0, y1], [y2, y3]) = (tens(year / 100), tens(year));
    let ([m0, m1], [d0, d1], [h0, h1]) = (tens(month), tens(day), tens(hour));
    let ([n0, n1], [s0, s1]) = (tens(minute), tens(second));
    AmzDate([y0, y1, y2, y3, m0, m1, d0, d1, b'T', h0, h1, n0, n1, s0, s1, b'Z'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times_and_what_is_none() {
        assert_eq!(parse_amz_date("19700101T000000Z"), Some(0));
        assert_eq!(parse_amz_date("20240229T235959Z"), Some(1_709_251_199));
        for wrong in
            ["", "20261123", "2026-11-23T12:00:00Z", "20261323T120000Z", "20261123T120000+"]
        {
            assert_eq!(parse_amz_date(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn times_survive_the_round_trip(seconds in 0_i64..4_102_444_800) {
            prop_assert_eq!(parse_amz_date(amz_date(seconds).as_str()), Some(seconds));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,20}") {
            let _ = parse_amz_date(&text);
        }
    }
}
