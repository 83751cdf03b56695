//! Server-sent events: the form in which the APIs of OpenAI and Anthropic stream.
//!
//! Source: the HTML standard, section "Server-sent events".

use bytes::Bytes;

/// The content type of a stream of events.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// The data of the event that ends a stream of Chat Completions.
pub const DONE: &str = "[DONE]";

/// An event with this name, if it has one, and these data. A line break in the data begins a line of its own,
/// so that it can't begin another field.
pub fn event(name: Option<&str>, data: &str) -> Bytes {
    let mut text = String::with_capacity(data.len() + name.map_or(0, str::len) + 16);
    if let Some(name) = name {
        text.push_str("event: ");
        text.extend(name.chars().filter(|c| !matches!(c, '\n' | '\r')));
        text.push('\n');
    }
    for line in data.split(['\n', '\r']) {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    Bytes::from(text)
}
