//! Responses that the gateway keeps for models whose upstream stores none, so that their clients can go on with
//! `previous_response_id`: what is kept of a request and its answer, and how it gets before the next input.
//!
//! What is kept is the whole conversation so far as items of `input`, byte for byte as the client and the
//! gateway wrote them, and the response. Instructions and tools are not: each request has its own, as in OpenAI's
//! API.

use std::ops::Range;

use sluice_bedrock::json::Scanner;

use crate::fields;

/// A response, and the input that it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptResponse {
    /// The JSON of the input's items, with commas between them. Those of earlier turns are among them.
    input: String,
    /// The JSON of the response.
    response: String,
    /// Where its output is there: the items, with commas between them.
    output: Range<usize>,
}

/// Why a response can't be kept, or put before an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TurnsError {
    /// It is not the JSON that it should be.
    #[error("{0} can't be read")]
    Unreadable(&'static str),
    /// They are longer than the bound.
    #[error("the conversation is longer than {0} bytes")]
    TooLong(usize),
}

impl KeptResponse {
    /// What to keep of a request and its response. The request is the body that was translated, with the turns
    /// before it already in it.
    ///
    /// # Errors
    /// If one of them can't be read, or they are longer than `most` bytes.
    pub fn of(request: &[u8], response: &[u8], most: usize) -> Result<KeptResponse, TurnsError> {
        let unreadable = TurnsError::Unreadable("the request");
        let document = fields::document(request).map_err(|_| unreadable)?;
        let members = fields::members(document).ok_or(unreadable)?;
        let input = members.get("input").map(|input| items_of(input.get())).unwrap_or_default();
        if input.len().saturating_add(response.len()) > most {
            return Err(TurnsError::TooLong(most));
        }
        let unreadable = TurnsError::Unreadable("the response");
        let response = std::str::from_utf8(response).map_err(|_| unreadable)?;
        KeptResponse::new(input, response.to_owned())
    }

    /// What was kept, from where it was stored.
    ///
    /// # Errors
    /// If it is not what [`KeptResponse::to_json`] gave.
    pub fn from_json(json: &[u8]) -> Result<KeptResponse, TurnsError> {
        let unreadable = TurnsError::Unreadable("what was kept");
        let document = fields::document(json).map_err(|_| unreadable)?;
        let members = fields::members(document).ok_or(unreadable)?;
        let input = members.get("input").filter(|input| fields::is_array(*input));
        let (input, response) = input.zip(members.get("response")).ok_or(unreadable)?;
        KeptResponse::new(inner(input.get()).to_owned(), response.get().to_owned())
    }

    fn new(input: String, response: String) -> Result<KeptResponse, TurnsError> {
        let output = member(&response, "output").filter(|range| {
            response.get(range.clone()).is_some_and(|output| output.starts_with('['))
        });
        let output = output.ok_or(TurnsError::Unreadable("the response"))?;
        let output = output.start + 1..output.end - 1;
        Ok(KeptResponse { input, response, output })
    }

    /// For a store.
    pub fn to_json(&self) -> String {
        format!(r#"{{"input":[{}],"response":{}}}"#, self.input, self.response)
    }

    /// The JSON of the response.
    pub fn response(&self) -> &str {
        &self.response
    }

    /// The JSON of the input's items, as an array.
    pub(super) fn input(&self) -> String {
        format!("[{}]", self.input)
    }

    /// The items of the conversation so far, with commas between them.
    fn items(&self) -> String {
        let mut items = self.input.clone();
        let output = self.response.get(self.output.clone()).unwrap_or_default();
        join(&mut items, output.trim());
        items
    }
}

/// A request with the turns of what was kept before its input, and without the `previous_response_id` that stands
/// for them. Every other byte stays.
///
/// # Errors
/// If the body is no JSON object.
pub fn with_previous(body: &[u8], kept: &KeptResponse) -> Result<Vec<u8>, TurnsError> {
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
    let mut items = kept.items();
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

/// A response that says that it is not stored. `None` if it does not say whether it is.
pub fn not_stored(response: &str) -> Option<String> {
    let place = member(response, "store")?;
    let mut changed = response.to_owned();
    changed.replace_range(place, "false");
    Some(changed)
}

/// Where the value of an object's member is; of several with the name the last one's.
fn member(object: &str, name: &str) -> Option<Range<usize>> {
    let mut found = None;
    let read = Scanner::new(object.as_bytes()).object(|key, scanner| {
        if key == name {
            found = Some(scanner.value()?.1);
        }
        Ok(())
    });
    read.ok().and(found)
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

    const ANSWER: &str = r#"{"id":"resp_1","output": [ {"type":"message","role":"assistant","content":[]} ],"store":true}"#;

    fn put(body: &str, kept: &KeptResponse) -> String {
        String::from_utf8(with_previous(body.as_bytes(), kept).unwrap()).unwrap()
    }

    fn kept(input: &str, output: &str) -> KeptResponse {
        let json = format!(r#"{{"input":{input},"response":{{"output":{output}}}}}"#);
        KeptResponse::from_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_conversation_goes_on_where_it_ended() {
        let first = r#"{"model":"m","input":"What is 6 x 7?"}"#;
        let turn = KeptResponse::of(first.as_bytes(), ANSWER.as_bytes(), 1000).unwrap();
        let turn = KeptResponse::from_json(turn.to_json().as_bytes()).unwrap();
        assert_eq!(turn.response(), ANSWER);
        let second = r#"{"previous_response_id":"resp_1","input":[{"role":"user","content":"Why?"}],"model":"m"}"#;
        let body = put(second, &turn);
        assert_eq!(
            body,
            concat!(
                r#"{"previous_response_id":null,"input":[{"type":"message","role":"user","content":"What is 6 x 7?"},"#,
                r#"{"type":"message","role":"assistant","content":[]},{"role":"user","content":"Why?"}],"model":"m"}"#,
            )
        );
        // What is kept of the second has the first in it.
        let kept = KeptResponse::of(body.as_bytes(), br#"{"output":[{"id":"x"}]}"#, 1000).unwrap();
        let third = put(r#"{"input":"So?"}"#, &kept);
        assert!(
            third.starts_with(r#"{"input":[{"type":"message","role":"user","content":"What is"#)
        );
        let end = r#"{"role":"user","content":"Why?"},{"id":"x"},{"type":"message","role":"user","content":"So?"}]}"#;
        assert!(third.ends_with(end), "{third}");
    }

    #[test]
    fn a_request_without_input_goes_on_all_the_same() {
        let turns = kept(r#"[{"a":1}]"#, "[]");
        assert_eq!(put("{ }", &turns), r#"{"input":[{"a":1}] }"#);
        assert_eq!(put(r#"{"model":"m"}"#, &turns), r#"{"input":[{"a":1}],"model":"m"}"#);
        assert_eq!(put(r#"{"input":null}"#, &turns), r#"{"input":[{"a":1}]}"#);
        let twice = r#"{"input":"a","input":[]}"#;
        assert_eq!(put(twice, &turns), r#"{"input":null,"input":[{"a":1}]}"#);
        assert_eq!(put(r#"{"input":[]}"#, &kept("[]", "[ ]")), r#"{"input":[]}"#);
    }

    #[test]
    fn a_conversation_that_is_too_long_is_not_kept() {
        let request = br#"{"input":"0123456789"}"#;
        let response = br#"{"output":[]}"#;
        assert_eq!(KeptResponse::of(request, response, 20), Err(TurnsError::TooLong(20)));
        assert!(KeptResponse::of(request, response, 200).is_ok());
        let unreadable = |what| Err(TurnsError::Unreadable(what));
        assert_eq!(KeptResponse::of(b"[]", response, 20), unreadable("the request"));
        assert_eq!(KeptResponse::of(b"{}", br#"{"error":{}}"#, 20), unreadable("the response"));
        assert_eq!(KeptResponse::of(b"{}", br#"{"output":"x"}"#, 20), unreadable("the response"));
        assert!(KeptResponse::from_json(br#"{}"#).is_err());
        assert!(with_previous(b"[]", &kept("[]", "[]")).is_err());
    }

    #[test]
    fn a_response_that_could_not_be_kept_says_so() {
        let changed = not_stored(ANSWER).unwrap();
        assert_eq!(changed, ANSWER.replace("true", "false"));
        assert_eq!(not_stored(r#"{"output":[{"store":true}]}"#), None);
    }
}
