//! The list of a kept response's input items, page by page, as OpenAI's API gives it: each item has an id, and the
//! content of a message is a list of parts.
//!
//! An item that its client sent without an id gets one here, made from the response's id and its own position, so
//! that it is the same on every page.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::turns::{KeptResponse, TurnsError};

/// Items of a page, unless the request names a number; and the most.
const USUAL: usize = 20;
const MOST: usize = 100;

/// Which items a page has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageQuery<'q> {
    after: Option<Cow<'q, str>>,
    limit: usize,
    is_ascending: bool,
}

/// Why there is no such page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageQueryError {
    /// A parameter has a value that it can't have.
    #[error("`{name}` must be {must}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What it must be.
        must: &'static str,
    },
    /// `after` names no item of the list.
    #[error("`after` names no input item of this response")]
    After,
    /// The items can't be read.
    #[error(transparent)]
    Unreadable(#[from] TurnsError),
}

impl PageQueryError {
    /// The parameter that it is about.
    pub fn param(&self) -> Option<&'static str> {
        match self {
            PageQueryError::Value { name, .. } => Some(name),
            PageQueryError::After => Some("after"),
            PageQueryError::Unreadable(_) => None,
        }
    }
}

impl<'q> PageQuery<'q> {
    /// Reads the parameters of a request, names with their values. Others than those of pages have no effect.
    ///
    /// # Errors
    /// If one has a value that it can't have.
    pub fn read(
        parameters: impl Iterator<Item = (Cow<'q, str>, Cow<'q, str>)>,
    ) -> Result<PageQuery<'q>, PageQueryError> {
        let mut query = PageQuery { after: None, limit: USUAL, is_ascending: false };
        for (name, value) in parameters {
            match (&*name, &*value) {
                ("after", _) => query.after = Some(value),
                ("limit", text) => {
                    let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
                    let must = "a number from 1 to 100";
                    query.limit = limit.ok_or(PageQueryError::Value { name: "limit", must })?;
                }
                ("order", "asc") => query.is_ascending = true,
                ("order", "desc") => query.is_ascending = false,
                ("order", _) => {
                    let must = "`asc` or `desc`";
                    return Err(PageQueryError::Value { name: "order", must });
                }
                _ => {}
            }
        }
        Ok(query)
    }
}

/// A page of the input items of the response with this id.
///
/// # Errors
/// If the page can't be had.
pub fn input_items(
    kept: &KeptResponse,
    id: &str,
    query: &PageQuery<'_>,
) -> Result<String, PageQueryError> {
    let unreadable = || PageQueryError::Unreadable(TurnsError::Unreadable("what was kept"));
    let items: Vec<Value> = serde_json::from_str(&kept.input()).map_err(|_| unreadable())?;
    let marks: String = id.chars().filter(char::is_ascii_alphanumeric).skip("resp".len()).collect();
    let all = items.into_iter().enumerate();
    let mut all: Vec<Value> = all.map(|(index, item)| listed(item, &marks, index)).collect();
    if !query.is_ascending {
        all.reverse();
    }
    let begin = match &query.after {
        None => 0,
        Some(after) => {
            let found = all.iter().position(|item| item_id(item) == Some(after));
            found.ok_or(PageQueryError::After)? + 1
        }
    };
    let has_more = all.len().saturating_sub(begin) > query.limit;
    let page: Vec<Value> = all.into_iter().skip(begin).take(query.limit).collect();
    let list = json!({
        "object": "list",
        "first_id": page.first().and_then(item_id),
        "last_id": page.last().and_then(item_id),
        "has_more": has_more,
        "data": page,
    });
    Ok(list.to_string())
}

fn item_id(item: &Value) -> Option<&str> {
    item.get("id").and_then(Value::as_str)
}

/// An item as the list has it.
fn listed(item: Value, marks: &str, index: usize) -> Value {
    let Value::Object(mut item) = item else { return item };
    let text = |item: &Map<String, Value>, name: &str| {
        item.get(name).and_then(Value::as_str).map(str::to_owned)
    };
    let role = text(&item, "role");
    let kind = text(&item, "type").unwrap_or_else(|| "message".to_owned());
    let prefix = match kind.as_str() {
        "message" => "msg",
        "reasoning" => "rs",
        "function_call" => "fc",
        "function_call_output" => "fco",
        "custom_tool_call" => "ctc",
        "custom_tool_call_output" => "ctco",
        _ => "item",
    };
    if text(&item, "id").is_none() {
        item.insert("id".to_owned(), format!("{prefix}_{marks}in{index:04x}").into());
    }
    if kind == "message" {
        item.entry("status").or_insert_with(|| "completed".into());
        if let Some(content) = text(&item, "content") {
            let part = match role.as_deref() {
                Some("assistant") => {
                    json!({"type": "output_text", "text": content, "annotations": []})
                }
                _ => json!({"type": "input_text", "text": content}),
            };
            item.insert("content".to_owned(), json!([part]));
        }
    }
    item.insert("type".to_owned(), kind.into());
    Value::Object(item)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "resp_0123abc";

    fn query(text: &str) -> Result<PageQuery<'_>, PageQueryError> {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        PageQuery::read(pairs.map(|(name, value)| (name.into(), value.into())))
    }

    fn page(text: &str) -> Result<Value, PageQueryError> {
        let json =
            br#"{"input":[{"role":"user","content":"a"},{"id":"fc_1","type":"function_call"},
            {"role":"assistant","content":"b"}],"response":{"output":[]}}"#;
        let kept = KeptResponse::from_json(json).unwrap();
        let page = input_items(&kept, ID, &query(text)?)?;
        Ok(serde_json::from_str(&page).unwrap())
    }

    #[test]
    fn items_are_listed_with_ids_the_last_first() {
        let list = page("").unwrap();
        let item = |index: usize| &list["data"][index];
        assert_eq!((&list["object"], &list["has_more"]), (&json!("list"), &json!(false)));
        assert_eq!(
            *item(2),
            json!({"id": "msg_0123abcin0000", "type": "message", "status": "completed",
                "role": "user", "content": [{"type": "input_text", "text": "a"}]})
        );
        assert_eq!(item(1), &json!({"id": "fc_1", "type": "function_call"}));
        assert_eq!(item(0)["content"][0]["type"], "output_text");
        let ids = [&list["first_id"], &list["last_id"]];
        assert_eq!(ids, ["msg_0123abcin0002", "msg_0123abcin0000"]);
    }

    #[test]
    fn a_page_begins_after_the_item_that_it_names() {
        let first = page("limit=1&order=asc").unwrap();
        assert_eq!((&first["has_more"], &first["data"][0]["role"]), (&json!(true), &json!("user")));
        let last = first["last_id"].as_str().unwrap();
        let rest = page(&format!("order=asc&after={last}")).unwrap();
        assert_eq!((&rest["has_more"], &rest["first_id"]), (&json!(false), &json!("fc_1")));
        let empty = page("after=msg_0123abcin0000").unwrap();
        assert_eq!((&empty["data"], &empty["first_id"]), (&json!([]), &Value::Null));
    }

    #[test]
    fn a_page_that_can_not_be_is_refused_by_the_parameter() {
        for (text, param) in [
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("limit=x", "limit"),
            ("order=up", "order"),
            ("after=msg_none", "after"),
        ] {
            assert_eq!(page(text).unwrap_err().param(), Some(param), "{text}");
        }
    }
}
