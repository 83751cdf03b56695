//! The time that is left until something happens, as text.

/// Seconds in the largest unit that fits, rounded up: "42 s", "12 min", "4 h", "3 days".
pub(super) fn rest(seconds: f64) -> String {
    let hours = seconds / 3600.0;
    match hours {
        _ if seconds < 600.0 => format!("{} s", seconds.max(0.0).ceil()),
        _ if hours < 1.0 => format!("{} min", (seconds / 60.0).ceil()),
        _ if hours < 48.0 => format!("{} h", (hours * 10.0).round() / 10.0),
        _ => format!("{} days", (hours / 24.0).ceil()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_fits_the_length() {
        let lengths = [0.0, 41.2, 599.5, 600.0, 3599.0, 14_394.0, 9_000.0, 200_000.0];
        let wanted = ["0 s", "42 s", "600 s", "10 min", "60 min", "4 h", "2.5 h", "3 days"];
        assert_eq!(lengths.map(rest), wanted);
    }
}
