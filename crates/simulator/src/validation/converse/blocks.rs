//! The messages and content blocks of a request whose shape is right.

use serde_json::Value;

/// A message.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) at: usize,
    pub(super) role: &'a str,
    content: &'a [Value],
}

/// A content block: the one member that it has, and its value.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) at: usize,
    pub(super) kind: &'a str,
    pub(super) value: &'a Value,
}

impl<'a> Message<'a> {
    pub(super) fn blocks(&self) -> impl DoubleEndedIterator<Item = Block<'a>> + use<'a> {
        blocks(self.content)
    }

    /// Whether it has no block.
    pub(super) fn is_empty(&self) -> bool {
        self.content.is_empty()
    }

    /// The blocks of one kind.
    pub(super) fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = Block<'a>> + use<'a> {
        self.blocks().filter(move |block| block.kind == kind)
    }
}

impl<'a> Block<'a> {
    /// A text member of its value, empty if it is not there.
    pub(super) fn text_of(&self, name: &str) -> &'a str {
        self.value.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

/// The messages of a request.
pub(super) fn messages(body: &Value) -> Vec<Message<'_>> {
    let messages = body.get("messages").and_then(Value::as_array).into_iter().flatten();
    messages
        .enumerate()
        .map(|(at, message)| Message {
            at,
            role: message.get("role").and_then(Value::as_str).unwrap_or_default(),
            content: list_of(message, "content"),
        })
        .collect()
}

/// The blocks of a list. Each has one member that is not null.
pub(super) fn blocks(list: &[Value]) -> impl DoubleEndedIterator<Item = Block<'_>> {
    list.iter().enumerate().filter_map(|(at, block)| {
        let mut members = block.as_object()?.iter().filter(|(_, value)| !value.is_null());
        let (kind, value) = members.next()?;
        Some(Block { at, kind, value })
    })
}

/// The list that a member holds, empty if it is not there.
pub(super) fn list_of<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
