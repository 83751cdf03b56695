//! Writes JSON into bytes: texts with the escapes of serde_json, objects and arrays that close themselves when
//! they go out of scope. Nothing is built up in between.

use crate::text::Text;

/// A JSON object that is being written.
#[derive(Debug)]
pub(crate) struct Object<'o> {
    out: &'o mut Vec<u8>,
    has_members: bool,
}

/// A JSON array that is being written.
#[derive(Debug)]
pub(crate) struct Array<'o> {
    out: &'o mut Vec<u8>,
    has_elements: bool,
}

#[allow(dead_code, reason = "the translations use what they need")]
impl<'o> Object<'o> {
    /// Opens an object at the end of `out`. It closes when it is dropped.
    pub(crate) fn new(out: &'o mut Vec<u8>) -> Object<'o> {
        out.push(b'{');
        Object { out, has_members: false }
    }

    /// Writes a key. The caller writes exactly one value after it.
    pub(crate) fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if std::mem::replace(&mut self.has_members, true) {
            self.out.push(b',');
        }
        write_str(self.out, name);
        self.out.push(b':');
        self.out
    }

    /// A text.
    pub(crate) fn str(&mut self, name: &str, text: &str) {
        write_str(self.key(name), text);
    }

    /// A text of a prompt.
    pub(crate) fn text(&mut self, name: &str, text: &Text<'_>) {
        text.write(self.key(name));
    }

    /// A text, or `null`.
    pub(crate) fn str_or_null(&mut self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.str(name, text),
            None => self.raw(name, "null"),
        }
    }

    /// A whole number.
    pub(crate) fn number(&mut self, name: &str, number: u64) {
        write_number(self.key(name), number);
    }

    /// `true` or `false`.
    pub(crate) fn bool(&mut self, name: &str, value: bool) {
        self.raw(name, if value { "true" } else { "false" });
    }

    /// JSON text that is known to be valid, as it is.
    pub(crate) fn raw(&mut self, name: &str, json: &str) {
        self.key(name).extend_from_slice(json.as_bytes());
    }

    /// Members that are written already, without braces, as they are.
    pub(crate) fn members(&mut self, members: &str) {
        if !members.is_empty() {
            if std::mem::replace(&mut self.has_members, true) {
                self.out.push(b',');
            }
            self.out.extend_from_slice(members.as_bytes());
        }
    }

    /// An object.
    pub(crate) fn object(&mut self, name: &str) -> Object<'_> {
        Object::new(self.key(name))
    }

    /// An array.
    pub(crate) fn array(&mut self, name: &str) -> Array<'_> {
        Array::new(self.key(name))
    }

    /// Whether it has no member so far.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_members
    }
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        self.out.push(b'}');
    }
}

#[allow(dead_code, reason = "the translations use what they need")]
impl<'o> Array<'o> {
    /// Opens an array at the end of `out`. It closes when it is dropped.
    pub(crate) fn new(out: &'o mut Vec<u8>) -> Array<'o> {
        out.push(b'[');
        Array { out, has_elements: false }
    }

    /// Begins an element. The caller writes exactly one value.
    pub(crate) fn element(&mut self) -> &mut Vec<u8> {
        if std::mem::replace(&mut self.has_elements, true) {
            self.out.push(b',');
        }
        self.out
    }

    /// A text.
    pub(crate) fn str(&mut self, text: &str) {
        write_str(self.element(), text);
    }

    /// JSON text that is known to be valid, as it is.
    pub(crate) fn raw(&mut self, json: &str) {
        self.element().extend_from_slice(json.as_bytes());
    }

    /// An object.
    pub(crate) fn object(&mut self) -> Object<'_> {
        Object::new(self.element())
    }

    /// Whether its last element is a cache point of Converse.
    pub(crate) fn ends_with_cache_point(&self) -> bool {
        const ENDS: [&[u8]; 2] = [
            br#"{"cachePoint":{"type":"default"}}"#,
            br#"{"cachePoint":{"type":"default","ttl":"1h"}}"#,
        ];
        self.has_elements && ENDS.iter().any(|end| self.out.ends_with(end))
    }

    /// Whether it has no element so far.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_elements
    }
}

impl Drop for Array<'_> {
    fn drop(&mut self) {
        self.out.push(b']');
    }
}

/// Writes a whole number.
pub(crate) fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes a text in quotes.
pub(crate) fn write_str(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    write_escaped(out, text);
    out.push(b'"');
}

/// Writes a text as it stands between quotes.
pub(crate) fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(at) = first_escaped(rest) {
        let (plain, after) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((&byte, after)) = after.split_first() else { return };
        write_escape(out, byte);
        rest = after;
    }
    out.extend_from_slice(rest);
}

fn needs_escape(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// Where the first byte is that needs an escape. Blocks are compared without branches, so that the compiler
/// does it many bytes at once: bodies hold megabytes of base64.
fn first_escaped(bytes: &[u8]) -> Option<usize> {
    const BLOCK: usize = 32;
    let mut start = 0;
    for block in bytes.chunks(BLOCK) {
        if block.iter().fold(false, |found, &byte| found | needs_escape(byte)) {
            return block.iter().position(|&byte| needs_escape(byte)).map(|at| start + at);
        }
        start += BLOCK;
    }
    None
}

/// Whether there are bytes that JSON never has between quotes.
pub(crate) fn has_control_bytes(bytes: &[u8]) -> bool {
    bytes.chunks(64).any(|block| block.iter().fold(false, |found, &byte| found | (byte < 0x20)))
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let hex = |digit: u8| if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn objects_and_arrays_close_and_separate_their_parts() {
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        object.str("a", "x\n");
        object.str_or_null("b", None);
        object.number("c", 7);
        object.bool("d", true);
        {
            let mut array = object.array("e");
            array.str("y");
            array.raw("[1]");
            array.object().raw("z", "{}");
        }
        drop(object.object("f"));
        drop(object);
        let text = String::from_utf8(out).unwrap();
        let expected = r#"{"a":"x\n","b":null,"c":7,"d":true,"e":["y",[1],{"z":{}}],"f":{}}"#;
        assert_eq!(text, expected);
    }

    proptest! {
        #[test]
        fn texts_are_escaped_as_serde_json_does(text in "([\\x00-\\x7f]|\\PC|[a-z]{40}){0,60}") {
            let mut out = Vec::new();
            write_str(&mut out, &text);
            prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
        }
    }
}
