//! Figures of the screen as text.

/// The available part of a quota, as a bar and in figures.
pub(super) fn bar(available: Option<f64>, limit: Option<f64>) -> String {
    const CELLS: usize = 4;
    let (Some(available), Some(limit)) = (available, limit) else {
        return "not limited".to_owned();
    };
    let left = available.max(0.0);
    let share = if limit > 0.0 { (left / limit).min(1.0) } else { 0.0 };
    let full = (share * CELLS as f64).ceil() as usize;
    format!(
        "{}{} {}/{}",
        "█".repeat(full),
        "░".repeat(CELLS - full),
        short(left.floor()),
        short(limit)
    )
}

/// The requests and tokens of the available quota that this replica holds.
pub(super) fn held(requests: Option<f64>, tokens: Option<f64>) -> String {
    let figure = |held: Option<f64>| {
        held.map_or_else(|| "-".to_owned(), |held| short(held.max(0.0).floor()))
    };
    format!("{}, {}", figure(requests), figure(tokens))
}

/// A sum that is 0 of no numbers; `Iterator::sum` makes -0 of them.
pub(super) fn sum(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.fold(0.0, |total, number| total + number)
}

/// A count in about five characters.
pub(super) fn short(count: f64) -> String {
    for (from, unit) in [(1e9, "G"), (1e6, "M"), (1e4, "k")] {
        if count >= from {
            let in_units = count / if unit == "k" { 1e3 } else { from };
            return if in_units < 100.0 {
                format!("{in_units:.1}{unit}")
            } else {
                format!("{in_units:.0}{unit}")
            };
        }
    }
    format!("{count:.0}")
}

/// A length of time in its largest unit.
pub(super) fn age(seconds: f64) -> String {
    match seconds / 3600.0 {
        hours if hours < 1.0 => format!("{:.0} min", (seconds / 60.0).floor()),
        hours if hours < 48.0 => format!("{hours:.1} h"),
        hours => format!("{:.0} days", (hours / 24.0).floor()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quota_that_a_replica_holds_is_shown_in_figures() {
        assert_eq!(held(Some(2.7), Some(12_345.0)), "2, 12.3k");
        assert_eq!(held(Some(0.0), None), "0, -");
        assert_eq!(held(None, Some(-5.0)), "-, 0");
    }

    #[test]
    fn counts_are_abbreviated() {
        let counts = [0.0, 999.0, 9_999.0, 12_345.0, 123_456.0, 1_500_000.0, 2e9];
        assert_eq!(counts.map(short), ["0", "999", "9999", "12.3k", "123k", "1.5M", "2.0G"]);
    }
}
