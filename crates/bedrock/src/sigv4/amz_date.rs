//! SigV4's form of a time, `20261123T120000Z`, read and written.

use std::fmt;

use crate::date::Date;

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
    let midnight = Date::of_civil(year, month, day).unix_seconds();
    (shape && sane).then_some(midnight + hour * 3_600 + minute * 60 + second)
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

    /// The same in the form of RFC 3339, without its zone, which is UTC: `2026-11-23T12:00:00`, in ASCII.
    pub fn rfc3339(&self) -> [u8; 19] {
        let [y0, y1, y2, y3, m0, m1, d0, d1, t, h0, h1, n0, n1, s0, s1, _] = self.0;
        let (date, time) = (b'-', b':');
        [y0, y1, y2, y3, date, m0, m1, date, d0, d1, t, h0, h1, time, n0, n1, time, s0, s1]
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
    let (year, month, day) = Date::of_unix_seconds(seconds).civil();
    let time = seconds.rem_euclid(86_400);
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
