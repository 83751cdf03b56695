//! The input of a custom tool: a text for the client, `{"input": ".."}` for the model.
//!
//! The model's JSON comes in pieces that end anywhere. The text in it is passed on as it comes; what has another
//! form is passed on as it is at the end, so that nothing is lost.

use crate::json::write_escaped;

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct CustomInput {
    /// The JSON so far, as long as its text has not begun; afterwards what is not decoded yet.
    pending: String,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the text.
    #[default]
    Head,
    /// In the text.
    Text,
    /// After it.
    Done,
    /// It is not the object that was asked for.
    Other,
}

impl CustomInput {
    /// Takes the next piece, and appends the text that is in it, escaped.
    pub(super) fn push(&mut self, piece: &str, text: &mut Vec<u8>) {
        if self.state == State::Done {
            return;
        }
        self.pending.push_str(piece);
        if self.state == State::Head {
            match begin_of_text(&self.pending) {
                Begin::At(start) => {
                    self.pending.drain(..start);
                    self.state = State::Text;
                }
                Begin::Unknown => return,
                Begin::Never => self.state = State::Other,
            }
        }
        if self.state == State::Text {
            let (used, is_done) = decode(&self.pending, text);
            self.pending.drain(..used);
            if is_done {
                self.state = State::Done;
                self.pending = String::new();
            }
        }
    }

    /// Ends the input, and appends what is left of it.
    pub(super) fn finish(&mut self, text: &mut Vec<u8>) {
        if matches!(self.state, State::Head | State::Other) && self.pending.trim() != "{}" {
            write_escaped(text, &self.pending);
        }
        self.pending = String::new();
        self.state = State::Done;
    }

    /// The bytes that it holds.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }
}

/// The text in a whole input, escaped.
pub(super) fn text_of(json: &str) -> Vec<u8> {
    let mut input = CustomInput::default();
    let mut text = Vec::with_capacity(json.len());
    input.push(json, &mut text);
    input.finish(&mut text);
    text
}

enum Begin {
    At(usize),
    /// More must come.
    Unknown,
    Never,
}

/// Where the text begins in `{"input": "`.
fn begin_of_text(json: &str) -> Begin {
    let mut rest = json;
    for token in ["{", "\"input\"", ":", "\""] {
        rest = rest.trim_start();
        match rest.strip_prefix(token) {
            Some(after) => rest = after,
            None if token.starts_with(rest) => return Begin::Unknown,
            None => return Begin::Never,
        }
    }
    Begin::At(json.len() - rest.len())
}

/// Appends the text of a string up to its closing quote: how many bytes were used, and whether that quote came.
/// An escape that is not whole is left for later.
fn decode(json: &str, text: &mut Vec<u8>) -> (usize, bool) {
    let bytes = json.as_bytes();
    let mut used = 0;
    loop {
        let rest = bytes.get(used..).unwrap_or_default();
        let Some(at) = memchr::memchr2(b'"', b'\\', rest) else {
            write_escaped(text, json.get(used..).unwrap_or_default());
            return (bytes.len(), false);
        };
        write_escaped(text, json.get(used..used + at).unwrap_or_default());
        used += at;
        if rest.get(at) == Some(&b'"') {
            return (used + 1, true);
        }
        let Some((len, char)) = escape(rest.get(at..).unwrap_or_default()) else {
            return (used, false);
        };
        write_escaped(text, char.encode_utf8(&mut [0; 4]));
        used += len;
    }
}

/// The escape that begins here: its length and its character; `None` if it is not whole. Of one that is none,
/// only the backslash is taken.
fn escape(bytes: &[u8]) -> Option<(usize, char)> {
    const UNKNOWN: char = char::REPLACEMENT_CHARACTER;
    let char = match bytes.get(1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let Some(unit) = hex(bytes.get(2..6)?) else { return Some((2, UNKNOWN)) };
            if !(0xd800..0xdc00).contains(&unit) {
                return Some((6, char::from_u32(unit).unwrap_or(UNKNOWN)));
            }
            if *bytes.get(6)? != b'\\' || *bytes.get(7)? != b'u' {
                return Some((6, UNKNOWN));
            }
            return Some(match hex(bytes.get(8..12)?) {
                Some(low @ 0xdc00..=0xdfff) => {
                    let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                    (12, char::from_u32(code).unwrap_or(UNKNOWN))
                }
                _ => (6, UNKNOWN),
            });
        }
        _ => return Some((1, '\\')),
    };
    Some((2, char))
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| {
        char::from(*digit).to_digit(16).map(|digit| number << 4 | digit)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unescaped(text: &[u8]) -> String {
        let quoted = format!("\"{}\"", std::str::from_utf8(text).unwrap());
        serde_json::from_str(&quoted).unwrap()
    }

    fn pieces(json: &str, cuts: &[usize]) -> String {
        let (mut input, mut text, mut start) = (CustomInput::default(), Vec::new(), 0);
        for cut in cuts {
            let cut = json.floor_char_boundary(start + cut);
            input.push(&json[start..cut], &mut text);
            start = cut;
        }
        input.push(&json[start..], &mut text);
        input.finish(&mut text);
        unescaped(&text)
    }

    #[test]
    fn the_text_comes_as_soon_as_its_pieces_do() {
        let (mut input, mut text) = (CustomInput::default(), Vec::new());
        let mut seen = Vec::new();
        for piece in ["{\"inp", "ut\" : \"", "*** Begin", "\\", "n\\u00e", "9\"", "}"] {
            input.push(piece, &mut text);
            seen.push(unescaped(&text));
        }
        let begin = "*** Begin";
        assert_eq!(
            seen,
            ["", "", begin, begin, "*** Begin\n", "*** Begin\n\u{e9}", "*** Begin\n\u{e9}"]
        );
    }

    #[test]
    fn an_input_of_another_form_is_passed_on_as_it_is() {
        assert_eq!(unescaped(&text_of(r#"{"patch": "x"}"#)), r#"{"patch": "x"}"#);
        assert_eq!(unescaped(&text_of(r#"{"input": 1}"#)), r#"{"input": 1}"#);
        assert_eq!(unescaped(&text_of("{\"inp")), "{\"inp");
        assert_eq!(unescaped(&text_of("{}")), "");
        assert_eq!(unescaped(&text_of("")), "");
    }

    #[test]
    fn escapes_that_are_none_do_no_harm() {
        for (json, wanted) in [
            (r#"{"input":"\ud83d"}"#, "\u{fffd}"),
            (r#"{"input":"\ud83d\u0041"}"#, "\u{fffd}A"),
            (r#"{"input":"\ud83d\ude00"}"#, "\u{1f600}"),
            (r#"{"input":"\uzz\q\é"}"#, "\u{fffd}zz\\q\\é"),
            (r#"{"input":"cut \"#, "cut "),
        ] {
            assert_eq!(unescaped(&text_of(json)), wanted, "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_text_arrives_whole_however_it_is_cut(
            text in "(\\PC|[\\x00-\\x7f]){0,40}",
            cuts in prop::collection::vec(0_usize..9, 0..12),
        ) {
            let json = serde_json::json!({ "input": text }).to_string();
            let cuts: Vec<_> = cuts.into_iter().scan(0, |at, cut| {
                *at += cut;
                (*at <= json.len()).then_some(cut)
            }).collect();
            prop_assert_eq!(pieces(&json, &cuts), text);
        }

        #[test]
        fn no_pieces_make_it_panic_or_write_what_is_no_json(
            pieces in prop::collection::vec("[{}\":inputu\\\\d8c0 é]{0,9}", 0..9),
        ) {
            let (mut input, mut text) = (CustomInput::default(), Vec::new());
            pieces.iter().for_each(|piece| input.push(piece, &mut text));
            input.finish(&mut text);
            let _ = unescaped(&text);
        }
    }
}
