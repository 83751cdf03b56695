//! Which form of the metrics a scraper gets: the one of the two that its `accept` prefers.
//!
//! Prometheus names both with weights. Who names none, or neither, gets the older text, which every
//! scraper reads (RFC 9110, section 12.5.1, lets a server do so).

use http::HeaderMap;
use http::header::ACCEPT;

use crate::telemetry::Exposition;

/// The form for a request with these headers.
pub(super) fn wanted(headers: &HeaderMap) -> Exposition {
    let ranges: Vec<Range<'_>> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(Range::read)
        .collect();
    let open = weight(&ranges, "application", "openmetrics-text", "1.0.0");
    let text = weight(&ranges, "text", "plain", "0.0.4");
    // By name: who takes anything takes what has always been there.
    let is_better = open.specificity > 1 && open.weight > 0 && open.weight >= text.weight;
    if is_better { Exposition::OpenMetrics } else { Exposition::Text }
}

/// What is said of a media type by the range that names it most exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    /// 0: nothing, 1: any type or any text, 2: the type, 3: its version too.
    specificity: u8,
    /// In thousandths.
    weight: u16,
}

fn weight(ranges: &[Range<'_>], kind: &str, subtype: &str, version: &str) -> Said {
    let said = ranges.iter().filter_map(|range| {
        let is = |own: &str, wanted: &str| own.eq_ignore_ascii_case(wanted);
        let specificity = match (range.kind, range.subtype, range.version) {
            ("*", "*", None) => 1,
            (own, "*", None) if is(own, kind) => 1,
            (own, sub, own_version) if is(own, kind) && is(sub, subtype) => match own_version {
                None => 2,
                Some(own_version) if own_version == version => 3,
                Some(_) => return None,
            },
            _ => return None,
        };
        Some(Said { specificity, weight: range.weight })
    });
    said.max().unwrap_or_default()
}

/// A media range of an `accept` header, as far as it counts here.
#[derive(Debug)]
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    version: Option<&'a str>,
    weight: u16,
}

impl<'a> Range<'a> {
    fn read(text: &'a str) -> Option<Range<'a>> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let mut range = Range { kind, subtype, version: None, weight: 1000 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim() {
                "version" => range.version = Some(value),
                "q" | "Q" => range.weight = thousandths(value)?,
                _ => {}
            }
        }
        Some(range)
    }
}

/// A weight of at most three decimal places, in thousandths.
fn thousandths(text: &str) -> Option<u16> {
    let weight: f32 = text.parse().ok()?;
    (0.0..=1.0).contains(&weight).then(|| (weight * 1000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn for_accept(values: &[&str]) -> Exposition {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT, value.parse().unwrap());
        }
        wanted(&headers)
    }

    #[test]
    fn scrapers_get_what_they_prefer() {
        for (accept, wanted) in [
            // Prometheus 2.5 to 2.48, 3 with its escaping, and without OpenMetrics.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                 version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Exposition::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;\
                 escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,/;q=0.1",
                Exposition::OpenMetrics,
            ),
            ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", Exposition::Text),
            // Weights.
            ("application/openmetrics-text; version=\"1.0.0\"", Exposition::OpenMetrics),
            ("Application/OpenMetrics-Text", Exposition::OpenMetrics),
            ("application/openmetrics-text;q=0.3, text/plain;q=0.4", Exposition::Text),
            ("application/openmetrics-text;q=0.4, text/plain;q=0.4", Exposition::OpenMetrics),
            ("application/openmetrics-text;q=0, */*", Exposition::Text),
            ("application/openmetrics-text;q=0", Exposition::Text),
            ("application/openmetrics-text;q=0.5, */*", Exposition::Text),
            ("application/openmetrics-text;q=0.5, */*, text/plain;q=0.1", Exposition::OpenMetrics),
            // Others.
            ("application/openmetrics-text;version=0.0.1", Exposition::Text),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily",
                Exposition::Text,
            ),
            ("*/*", Exposition::Text),
            ("application/*", Exposition::Text),
            ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", Exposition::Text),
            ("application/openmetrics-text;q=2", Exposition::Text),
            ("application/openmetrics-text;q=NaN", Exposition::Text),
            ("", Exposition::Text),
        ] {
            assert_eq!(for_accept(&[accept]), wanted, "{accept}");
        }
        assert_eq!(for_accept(&[]), Exposition::Text);
        let two = ["text/plain;q=0.5", "application/openmetrics-text"];
        assert_eq!(for_accept(&two), Exposition::OpenMetrics);
    }

    proptest! {
        #[test]
        fn any_header_gets_one_of_the_two(accept in "[ -~]{0,80}") {
            for_accept(&[&accept]);
        }
    }
}
