//! Reads the token counts and the service tier of a JSON answer while its bytes pass, however long it is.
//!
//! Of the answer's own members the reader keeps those that can tell of tokens, which are small, and
//! forgets the rest as it comes. What it kept is JSON itself and is read by [`Usage::from_api_body`] at
//! the end. So its memory is bounded, its work is spread over the chunks, and it does not matter
//! where in the answer the counts stand.

use super::api::Api;
use super::usage::Usage;

/// Longest name of a member that is kept, in bytes.
const MAX_KEY: usize = 64;

/// Most bytes of one member that are kept.
const MAX_MEMBER: usize = 32 * 1024;

/// Most bytes that are kept in all.
const MAX_KEPT: usize = 64 * 1024;

/// Members whose counts stand within objects or lists.
const NESTED: [&[u8]; 5] =
    [b"usage", b"amazon-bedrock-invocationMetrics", b"results", b"event", b"serviceTier"];

/// A member whose text is kept.
const TEXT: &[u8] = b"service_tier";

/// Reads one answer; by default, one of Bedrock's own API.
#[derive(Debug, Default)]
pub struct UsageReader {
    api: Api,
    at: At,
    /// The name of the member that is being read, as it stands between its quotes.
    key: Vec<u8>,
    /// What was kept, as JSON.
    kept: Vec<u8>,
    /// Where the member that is being read begins in `kept`, if it is kept.
    member: Option<usize>,
}

/// Where the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Before the answer's opening bracket.
    #[default]
    Start,
    /// Before a member, or the end.
    Member,
    Key {
        escaped: bool,
    },
    /// Between a name and its value.
    Colon,
    Value,
    Scalar,
    String {
        escaped: bool,
    },
    /// Within `depth` brackets of a value.
    Nested {
        depth: u32,
    },
    NestedString {
        depth: u32,
        escaped: bool,
    },
    /// Behind a value.
    Behind,
    /// After the answer's closing bracket.
    End,
    /// The answer is not a JSON object.
    Lost,
}

impl UsageReader {
    /// A reader of an answer of this API.
    pub fn new(api: Api) -> UsageReader {
        UsageReader { api, ..UsageReader::default() }
    }

    /// Reads on.
    pub fn read(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while let Some((&byte, behind)) = rest.split_first() {
            if matches!(self.at, At::End | At::Lost) {
                return;
            }
            // Long texts are most of most answers.
            if let At::String { escaped: false } | At::NestedString { escaped: false, .. } = self.at
            {
                let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                if plain > 0 {
                    let (text, after) = rest.split_at(plain);
                    self.keep(text);
                    rest = after;
                    continue;
                }
            }
            self.step(byte);
            rest = behind;
        }
    }

    /// The counts, once the answer has ended; `None` if it has none, or broke off.
    pub fn usage(&self) -> Option<Usage> {
        (self.at == At::End).then(|| Usage::from_api_body(self.api, &self.kept)).flatten()
    }

    /// Whether the answer's closing bracket has not come yet. Of what is no JSON object nothing is said.
    pub fn is_incomplete(&self) -> bool {
        !matches!(self.at, At::End | At::Lost)
    }

    fn step(&mut self, byte: u8) {
        let is_space = matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        self.at = match self.at {
            At::Start | At::Member | At::Colon | At::Value | At::Behind if is_space => return,
            At::Start if byte == b'{' => {
                self.kept.push(byte);
                At::Member
            }
            At::Member => match byte {
                b'"' => {
                    self.key.clear();
                    At::Key { escaped: false }
                }
                b',' => At::Member,
                b'}' => self.end(),
                _ => At::Lost,
            },
            At::Key { escaped: false } if byte == b'"' => At::Colon,
            At::Key { escaped } => {
                if self.key.len() <= MAX_KEY {
                    self.key.push(byte);
                }
                At::Key { escaped: !escaped && byte == b'\\' }
            }
            At::Colon if byte == b':' => At::Value,
            At::Value => self.value(byte),
            At::Scalar | At::Behind if byte == b',' => self.behind(At::Member),
            At::Scalar | At::Behind if byte == b'}' => self.end(),
            At::Scalar => {
                self.keep(&[byte]);
                At::Scalar
            }
            At::String { escaped } => {
                self.keep(&[byte]);
                match (escaped, byte) {
                    (false, b'"') => At::Behind,
                    _ => At::String { escaped: !escaped && byte == b'\\' },
                }
            }
            At::NestedString { depth, escaped } => {
                self.keep(&[byte]);
                match (escaped, byte) {
                    (false, b'"') => At::Nested { depth },
                    _ => At::NestedString { depth, escaped: !escaped && byte == b'\\' },
                }
            }
            At::Nested { depth } => {
                self.keep(&[byte]);
                match byte {
                    b'"' => At::NestedString { depth, escaped: false },
                    b'{' | b'[' => At::Nested { depth: depth.saturating_add(1) },
                    b'}' | b']' if depth == 1 => At::Behind,
                    b'}' | b']' => At::Nested { depth: depth - 1 },
                    _ => At::Nested { depth },
                }
            }
            At::Start | At::Colon | At::Behind | At::End | At::Lost => At::Lost,
        };
    }

    /// Begins a value, and decides whether it is kept.
    fn value(&mut self, first: u8) -> At {
        let is_kept = match first {
            b'0'..=b'9' | b'-' => self.key.len() <= MAX_KEY,
            b'{' | b'[' => NESTED.contains(&self.key.as_slice()),
            b'"' => self.key == TEXT,
            _ => false,
        };
        if is_kept {
            self.member = Some(self.kept.len());
            if self.kept.len() > 1 {
                self.kept.push(b',');
            }
            self.kept.push(b'"');
            self.kept.extend_from_slice(&self.key);
            self.kept.extend_from_slice(b"\":");
        }
        self.keep(&[first]);
        match first {
            b'{' | b'[' => At::Nested { depth: 1 },
            b'"' => At::String { escaped: false },
            b',' | b'}' | b']' | b':' => At::Lost,
            _ => At::Scalar,
        }
    }

    /// Keeps bytes of the member that is being read, if it is kept, and forgets it if it is too
    /// long.
    fn keep(&mut self, bytes: &[u8]) {
        let Some(start) = self.member else { return };
        let length = self.kept.len() + bytes.len();
        if length > MAX_KEPT || length - start > MAX_MEMBER {
            self.kept.truncate(start);
            self.member = None;
        } else {
            self.kept.extend_from_slice(bytes);
        }
    }

    fn behind(&mut self, at: At) -> At {
        self.member = None;
        at
    }

    fn end(&mut self) -> At {
        self.kept.push(b'}');
        self.behind(At::End)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &[u8], cuts: &[usize]) -> UsageReader {
        read_in(Api::Bedrock, text, cuts)
    }

    fn read_in(api: Api, text: &[u8], cuts: &[usize]) -> UsageReader {
        let mut reader = UsageReader::new(api);
        let mut from = 0;
        for &cut in cuts.iter().chain([&text.len()]) {
            let cut = cut.clamp(from, text.len());
            reader.read(&text[from..cut]);
            from = cut;
        }
        reader
    }

    #[test]
    fn counts_are_found_at_the_end_of_an_answer_of_any_length() {
        let text = "x \\\" } ".repeat(1_000_000);
        let floats = vec!["0.123"; 1_000_000].join(",");
        for long in [format!("\"{text}\""), format!("[{floats}]"), format!("{{\"a\":[{floats}]}}")]
        {
            let usage = r#"{"inputTokens":3,"outputTokens":4}"#;
            let answer = format!(r#"{{"output":{long},"usage":{usage}}}"#);
            let cuts: Vec<usize> = (0..answer.len()).step_by(8192).collect();
            let reader = read(answer.as_bytes(), &cuts);
            assert_eq!(reader.usage().map(|usage| (usage.input, usage.output)), Some((3, 4)));
            assert!(reader.kept.capacity() < MAX_KEPT);
        }
    }

    #[test]
    fn the_kept_bytes_are_bounded_for_any_names() {
        let long = format!(r#"{{"usage":{{"a":"{}"}},"inputTokens":3}}"#, "x".repeat(1_000_000));
        let reader = read(long.as_bytes(), &[]);
        assert_eq!(reader.usage().map(|usage| usage.input), Some(3));
        let many: Vec<String> = (0..100_000).map(|n| format!("\"{n}\":{n}")).collect();
        let reader = read(format!("{{{}}}", many.join(",")).as_bytes(), &[]);
        assert!(reader.kept.len() <= MAX_KEPT + 1);
        let key = format!("{{\"{}\":1}}", "k".repeat(1_000_000));
        assert!(read(key.as_bytes(), &[]).key.len() <= MAX_KEY + 1);
    }

    #[test]
    fn a_truncated_answer_or_no_object_has_no_usage() {
        for text in
            ["", "{", r#"{"inputTokens":3"#, "[1]", "nonsense", r#"{"inputTokens" 3}"#, "}{"]
        {
            assert_eq!(read(text.as_bytes(), &[]).usage(), None, "{text}");
        }
        // Counts of something within the answer are not its own.
        let inner = r#"{"content":[{"input":{"usage":{"input_tokens":9}}}],"x":{"inputTokens":9}}"#;
        assert_eq!(read(inner.as_bytes(), &[]).usage(), None);
    }

    fn member() -> impl Strategy<Value = (String, Value)> {
        let key = prop_oneof![
            "[a-z\"\\\\]{0,4}",
            Just("usage".to_owned()),
            Just("results".to_owned()),
            Just("serviceTier".to_owned()),
            Just("service_tier".to_owned()),
            Just("event".to_owned()),
            Just("inputTokens".to_owned()),
            Just("output_tokens".to_owned()),
            Just("amazon-bedrock-invocationMetrics".to_owned()),
        ];
        let value = prop_oneof![
            any::<u32>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z\"\\\\{}\\[\\]]{0,8}".prop_map(Value::from),
            Just(Value::Null),
            Just(Value::from("flex")),
            Just(json!({"type": "priority"})),
            any::<(u32, u32)>().prop_map(|(i, o)| json!({"inputTokens": i, "outputTokens": o})),
            any::<(u32, u32)>().prop_map(|(i, c)| json!({"input_tokens": i, "output_tokens": 1,
                "input_tokens_details": {"cached_tokens": c}, "service_tier": "priority"})),
            any::<u32>().prop_map(|n| json!([{"tokenCount": n}, {"x": "}]"}, 3])),
            any::<u32>().prop_map(|n| json!({"usageEvent": {"totalInputTokens": n}})),
        ];
        (key, value)
    }

    proptest! {
        #[test]
        fn the_usage_does_not_depend_on_how_the_body_is_split(
            members in prop::collection::vec(member(), 0..8),
            mut cuts in prop::collection::vec(0usize..300, 0..10),
            pretty: bool,
        ) {
            let members: Vec<String> =
                members.iter().map(|(key, value)| format!("{}:{value}", json!(key))).collect();
            let separator = if pretty { " ,\n " } else { "," };
            let text = format!("{{{}}}", members.join(separator));
            cuts.sort_unstable();
            for api in Api::ALL {
                let whole = Usage::from_api_body(api, text.as_bytes());
                prop_assert_eq!(read_in(api, text.as_bytes(), &cuts).usage(), whole);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in r#"[\[\]{}",:a1\\ ]{0,40}"#) {
            _ = read(&bytes, &[]).usage();
            _ = read(text.as_bytes(), &[3, 7]).usage();
        }
    }
}
