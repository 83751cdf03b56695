//! The hour in a Markdown table.

use std::fmt::Write;
use std::time::Duration;

use super::Hour;

const HEAD: &str = "\
| | requests | answered | refused | of these with room | wait, median | wait, p95 | attempts | throttled | after 5 min | quota used in overload |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
";

pub(crate) fn table(hours: &[Hour]) -> String {
    let mut text = HEAD.to_owned();
    for hour in hours {
        let share = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.1} s | {:.1} s | {} | {} ({:.1} %) | {:.2} % | {:.1} % |",
            hour.mode.name(),
            hour.requests,
            hour.answered,
            hour.refused,
            hour.refused_with_room,
            quantile(&hour.waits, 0.5).as_secs_f64(),
            quantile(&hour.waits, 0.95).as_secs_f64(),
            hour.attempts,
            hour.throttled,
            share(hour.throttled, hour.attempts),
            100.0 * hour.later_throttles(),
            100.0 * hour.share_used(),
        );
    }
    text
}

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}
