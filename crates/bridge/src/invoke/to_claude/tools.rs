//! The tools of a request: each as it is, unless InvokeModel refuses the form of a member.

use sluice_bedrock::json::{JsonError, Scanner, Type};

use super::request::{Edit, cache_control};
use crate::json::write_str;
use crate::messages::tools::{is_run_by_client, why_refused, without_custom_types};
use crate::report::Report;

/// What of a tool must change.
#[derive(Debug, Default)]
struct Changes {
    /// It has a member `custom`, whose members belong into the tool.
    has_custom: bool,
    /// It says how its input is streamed.
    has_eager_streaming: bool,
    /// Its schema has a type that is none.
    has_custom_type: bool,
}

/// Reads the list of tools: adds the edits that they need, and refuses those that Bedrock does not have.
pub(super) fn read(
    scanner: &mut Scanner<'_>,
    has_scopes: bool,
    report: &mut Report<'_>,
    edits: &mut Vec<Edit>,
) -> Result<(), JsonError> {
    let mut index = 0_u32;
    scanner.array(|scanner| {
        let number = index;
        index += 1;
        if scanner.peek()? != Type::Object {
            return Ok(());
        }
        let before = scanner.clone();
        let start = scanner.position();
        let mut changes = Changes::default();
        let own = edits.len();
        scanner.object(|key, scanner| {
            match (key, scanner.peek()?) {
                ("type", Type::String) => {
                    let kind = scanner.string()?;
                    if kind != "custom" && !is_run_by_client(&kind) {
                        let param = format!("tools[{number}]");
                        let message = why_refused(&param, &kind);
                        report.refuse(Some(param), true, message);
                    }
                }
                ("custom", Type::Object) => changes.has_custom = true,
                ("eager_input_streaming", _) => changes.has_eager_streaming = true,
                ("input_schema", Type::Object) => {
                    let (schema, _) = scanner.value()?;
                    changes.has_custom_type = without_custom_types(schema).is_some();
                }
                ("cache_control", Type::Object) if has_scopes => {
                    cache_control(scanner, report, edits)?;
                }
                _ => {}
            }
            Ok(())
        })?;
        let Changes { has_custom, has_eager_streaming, has_custom_type } = changes;
        if has_custom || has_eager_streaming || has_custom_type {
            let scopes: Vec<Edit> = edits.drain(own..).collect();
            let with = rewrite(before, &scopes, report)?;
            edits.push(Edit { place: start..scanner.position(), with });
        }
        Ok(())
    })
}

/// Writes a tool anew, with the order of its members.
fn rewrite(
    mut scanner: Scanner<'_>,
    scopes: &[Edit],
    report: &mut Report<'_>,
) -> Result<Vec<u8>, JsonError> {
    let mut members: Vec<(String, Vec<u8>)> = Vec::new();
    let mut hoisted: Vec<(String, Vec<u8>)> = Vec::new();
    scanner.object(|key, scanner| {
        match (key, scanner.peek()?) {
            ("custom", Type::Object) => {
                return scanner.object(|key, scanner| {
                    let (value, _) = scanner.value()?;
                    hoisted.push((key.to_owned(), value.to_vec()));
                    Ok(())
                });
            }
            ("eager_input_streaming", _) => {
                let (value, _) = scanner.value()?;
                if value == b"true" {
                    report.dropped("tools.eager_input_streaming");
                }
                return Ok(());
            }
            _ => {}
        }
        let (value, place) = scanner.value()?;
        let mut value = value.to_vec();
        if key == "input_schema"
            && let Some(fixed) = without_custom_types(&value)
        {
            value = fixed;
        }
        if let Some(edit) = scopes.iter().find(|edit| edit.place == place) {
            value.clone_from(&edit.with);
        }
        members.push((key.to_owned(), value));
        Ok(())
    })?;
    for (key, value) in hoisted {
        if !members.iter().any(|(known, _)| *known == key) {
            members.push((key, value));
        }
    }
    let mut out = vec![b'{'];
    for (number, (key, value)) in members.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        write_str(&mut out, key);
        out.push(b':');
        out.extend_from_slice(value);
    }
    out.push(b'}');
    Ok(out)
}
