//! Turns that the gateway keeps for models that store no responses, so that their clients can go on with
//! `previous_response_id`: what to keep of a request and its answer, and how it gets before the next input.
//!
//! What is kept is the whole conversation so far as items of `input`, byte for byte as the client and the
//! gateway wrote them. Instructions and tools are not: each request has its own, as in OpenAI's API.

use sluice_bedrock::json::Scanner;

use crate::fields;

/// A conversation so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// The JSON of the items, with commas between them.
    items: String,
}

/// Why turns can't be kept, or put before an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TurnsError {
    /// It is not the JSON that it should be.
    #[error("{0} can't be read")]
    Unreadable(&'static str),
    /// They are longer than the bound.
    #[error("the conversation is longer than {0} bytes")]
    TooLong(usize),
}

impl Turns {
    /// What to keep of a request and its answer. The request is the body that was translated, with what was kept
    /// before it already in it. The output is that of [`Turns::output_of`], or of
    /// [`crate::StreamTranslator::response_output`] for a stream.
    ///
    /// # Errors
    /// If one of them can't be read, or they are longer than `most` bytes.
    pub fn of(request: &[u8], output: &str, most: usize) -> Result<Turns, TurnsError> {
        let unreadable = TurnsError::Unreadable("the request");
        let document = fields::document(request).map_err(|_| unreadable)?;
        let members = fields::members(document).ok_or(unreadable)?;
        let mut items = String::new();
        if let Some(input) = members.get("input") {
            items = items_of(input.get());
        }
        join(&mut items, output);
        if items.len() > most { Err(TurnsError::TooLong(most)) } else { Ok(Turns { items }) }
    }

    /// The output of a response: its items, with commas between them.
    ///
    /// # Errors
    /// If it is no response.
    pub fn output_of(response: &[u8]) -> Result<&str, TurnsError> {
        let unreadable = TurnsError::Unreadable("the response");
        let document = fields::document(response).map_err(|_| unreadable)?;
        let members = fields::members(document).ok_or(unreadable)?;
        let output = members.get("output").filter(|output| fields::is_array(*output));
        output.map(|output| inner(output.get())).ok_or(unreadable)
    }

    /// What was kept, from where it was stored.
    ///
    /// # Errors
    /// If it is not what [`Turns::to_json`] gave.
    pub fn from_json(json: &[u8]) -> Result<Turns, TurnsError> {
        let unreadable = TurnsError::Unreadable("what was kept");
        let document = fields::document(json).map_err(|_| unreadable)?;
        match fields::is_array(document) {
            true => Ok(Turns { items: inner(document.get()).to_owned() }),
            false => Err(unreadable),
        }
    }

    /// For a store: a JSON array.
    pub fn to_json(&self) -> String {
        format!("[{}]", self.items)
    }

    /// The bytes that it holds.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// A request with these turns before its input, and without the `previous_response_id` that stands for them.
/// Every other byte stays.
///
/// # Errors
/// If the body is no JSON object.
pub fn with_previous(body: &[u8], turns: &Turns) -> Result<Vec<u8>, TurnsError> {
    let unreadable = TurnsError::Unreadable("the request");
    let text = fields::document(body).map_err(|_| unreadable)?.get();
    if !text.starts_with('{') {
        return Err(unreadable);
    }
    let (mut inputs, mut ids) = (Vec::new(), Vec::new());
    let read = Scanner::new(text.as_bytes()).object(|key, scanner| {
        match key {
            "input" => inputs.push(scanner.value()?.1),
            "previous_response_id" => ids.push(scanner.value()?.1),
            _ => {}
        }
        Ok(())
    });
    read.map_err(|_| unreadable)?;
    let last = inputs.last().cloned();
    let input = last.clone().and_then(|range| text.get(range)).unwrap_or("null");
    let mut items = turns.items.clone();
    join(&mut items, &items_of(input));
    let items = format!("[{items}]");
    // Of two members with one name the last counts.
    let mut places: Vec<_> = inputs.into_iter().chain(ids).collect();
    places.sort_by_key(|range| range.start);
    let mut changed = Vec::with_capacity(text.len() + items.len() + 16);
    let mut from = 0;
    if last.is_none() {
        let is_alone = text.get(1..).unwrap_or_default().trim_start() == "}";
        let comma = if is_alone { "" } else { "," };
        changed.extend_from_slice(format!("{{\"input\":{items}{comma}").as_bytes());
        from = 1;
    }
    for range in places {
        changed.extend_from_slice(text.get(from..range.start).unwrap_or_default().as_bytes());
        let is_last = last.as_ref() == Some(&range);
        changed.extend_from_slice(if is_last { items.as_bytes() } else { b"null" });
        from = range.end;
    }
    changed.extend_from_slice(text.get(from..).unwrap_or_default().as_bytes());
    Ok(changed)
}

/// The items of an input: a text is the user's message.
fn items_of(input: &str) -> String {
    match input.as_bytes().first() {
        Some(b'"') => {
            format!(r#"{{"type":"message","role":"user","content":{input}}}"#)
        }
        Some(b'[') => inner(input).to_owned(),
        _ => String::new(),
    }
}

/// What is between the brackets of an array.
fn inner(array: &str) -> &str {
    array.get(1..array.len().saturating_sub(1)).unwrap_or_default().trim()
}

fn join(items: &mut String, more: &str) {
    if !items.is_empty() && !more.is_empty() {
        items.push(',');
    }
    items.push_str(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(body: &str, turns: &Turns) -> String {
        String::from_utf8(with_previous(body.as_bytes(), turns).unwrap()).unwrap()
    }

    #[test]
    fn a_conversation_goes_on_where_it_ended() {
        let first = r#"{"model":"m","input":"What is 6 x 7?"}"#;
        let answer =
            r#"{"id":"resp_1","output": [ {"type":"message","role":"assistant","content":[]} ]}"#;
        let output = Turns::output_of(answer.as_bytes()).unwrap();
        let turns = Turns::of(first.as_bytes(), output, 1000).unwrap();
        let turns = Turns::from_json(turns.to_json().as_bytes()).unwrap();
        let second = r#"{"previous_response_id":"resp_1","input":[{"role":"user","content":"Why?"}],"model":"m"}"#;
        let body = put(second, &turns);
        assert_eq!(
            body,
            concat!(
                r#"{"previous_response_id":null,"input":[{"type":"message","role":"user","content":"What is 6 x 7?"},"#,
                r#"{"type":"message","role":"assistant","content":[]},{"role":"user","content":"Why?"}],"model":"m"}"#,
            )
        );
        // What is kept of the second has the first in it.
        let kept = Turns::of(body.as_bytes(), r#"{"id":"x"}"#, 1000).unwrap();
        assert!(kept.to_json().starts_with(turns.to_json().trim_end_matches(']')));
        assert!(kept.to_json().ends_with(r#"{"role":"user","content":"Why?"},{"id":"x"}]"#));
    }

    #[test]
    fn a_request_without_input_goes_on_all_the_same() {
        let turns = Turns::from_json(br#"[{"a":1}]"#).unwrap();
        assert_eq!(put("{ }", &turns), r#"{"input":[{"a":1}] }"#);
        assert_eq!(put(r#"{"model":"m"}"#, &turns), r#"{"input":[{"a":1}],"model":"m"}"#);
        assert_eq!(put(r#"{"input":null}"#, &turns), r#"{"input":[{"a":1}]}"#);
        let twice = r#"{"input":"a","input":[]}"#;
        assert_eq!(put(twice, &turns), r#"{"input":null,"input":[{"a":1}]}"#);
        assert_eq!(put(r#"{"input":[]}"#, &Turns::default()), r#"{"input":[]}"#);
    }

    #[test]
    fn a_conversation_that_is_too_long_is_not_kept() {
        let kept = Turns::of(br#"{"input":"0123456789"}"#, "", 20);
        assert_eq!(kept, Err(TurnsError::TooLong(20)));
        assert_eq!(Turns::of(b"[]", "", 20), Err(TurnsError::Unreadable("the request")));
        assert!(Turns::output_of(br#"{"error":{}}"#).is_err());
        assert!(Turns::from_json(br#"{}"#).is_err());
        assert!(with_previous(b"[]", &Turns::default()).is_err());
    }
}
