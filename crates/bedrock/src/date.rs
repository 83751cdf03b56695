//! Days of the calendar, in UTC: read, written, compared and counted.
//!
//! The calendar is the proleptic Gregorian one, counted in years that begin in March, so that the
//! leap day is a year's last.

use std::borrow::Cow;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A day in UTC. The default is 1 January 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// Days since the Unix epoch.
    days: i64,
}

impl Date {
    /// The day of a time; 1 January 1970 for an earlier one.
    pub fn of(time: SystemTime) -> Date {
        let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Date { days: i64::try_from(seconds / 86_400).unwrap_or(i64::MAX) }
    }

    /// Reads `2026-03-01`; `None` if the text is no such day.
    pub fn parse(text: &str) -> Option<Date> {
        let mut parts = text.splitn(3, '-');
        let mut number = |width: usize| {
            let part = parts.next()?;
            let is_number = part.len() == width && part.bytes().all(|b| b.is_ascii_digit());
            is_number.then(|| part.parse::<i64>().ok())?
        };
        let (year, month, day) = (number(4)?, number(2)?, number(2)?);
        let date = Date::of_civil(year, month, day);
        // A day or month that does not exist comes back as another one.
        (date.civil() == (year, month, day)).then_some(date)
    }

    /// The days from this day to `later`; negative if that is earlier.
    pub fn days_until(self, later: Date) -> i64 {
        later.days - self.days
    }

    /// When it begins, in seconds since the Unix epoch.
    pub fn unix_seconds(self) -> i64 {
        self.days.saturating_mul(86_400)
    }

    /// The day that is so many days later.
    pub fn plus_days(self, days: i64) -> Date {
        Date { days: self.days.saturating_add(days) }
    }

    /// The day in which this second since the Unix epoch lies.
    pub(crate) fn of_unix_seconds(seconds: i64) -> Date {
        Date { days: seconds.div_euclid(86_400) }
    }

    /// The day with these numbers. One that does not exist, such as 31 February, counts on into the
    /// next month.
    pub(crate) fn of_civil(year: i64, month: i64, day: i64) -> Date {
        let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let (era, year_of_era) = (y.div_euclid(400), y.rem_euclid(400));
        let day_of_year = (153 * m + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Date { days: era * 146_097 + day_of_era - 719_468 }
    }

    /// Year, month and day.
    pub(crate) fn civil(self) -> (i64, i64, i64) {
        let days = self.days.saturating_add(719_468);
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let m = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * m + 2) / 5 + 1;
        let month = if m < 10 { m + 3 } else { m - 9 };
        (year_of_era + era * 400 + i64::from(month <= 2), month, day)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Date, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        Date::parse(&text).ok_or_else(|| D::Error::custom("no day such as 2026-03-01"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_day_reads_as_it_is_written() {
        for text in ["1970-01-01", "2024-02-29", "2026-03-01", "2026-12-31", "2100-03-01"] {
            assert_eq!(Date::parse(text).unwrap().to_string(), text);
        }
        for wrong in [
            "2026-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-04-31",
            "26-01-01",
            "2026-1-1",
            "2026-01",
            "x",
        ] {
            assert_eq!(Date::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_day_ends_at_midnight_in_utc() {
        let midnight = UNIX_EPOCH + Duration::from_secs(1_772_323_200);
        let before = midnight - Duration::from_millis(1);
        assert_eq!(Date::of(midnight).to_string(), "2026-03-01");
        assert_eq!(Date::of(before).to_string(), "2026-02-28");
        assert_eq!(Date::of(before).days_until(Date::of(midnight)), 1);
        assert_eq!(Date::of(before).plus_days(1), Date::of(midnight));
        assert_eq!(Date::of(midnight).unix_seconds(), 1_772_323_200);
    }
}
