//! The body of a request.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem;
use sluice_bedrock::json::{JsonError, Scanner, Type};

use super::tools;
use crate::json::{Array, write_str};
use crate::messages::settings::{
    CLEAR_THINKING, betas_of_edits, clears_thinking, without_clear_thinking,
};
use crate::report::{DropPolicy, Refusal, Report};

/// The version of Claude's schema that InvokeModel takes.
const VERSION: &str = "bedrock-2023-05-31";

/// A request as InvokeModel takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The body.
    pub body: Vec<u8>,
    /// What the client sent and Claude does not get, by its name in Messages.
    pub dropped: Vec<Cow<'static, str>>,
}

/// What is put in the place of a part of the client's body.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) place: Range<usize>,
    pub(super) with: Vec<u8>,
}

/// The members at the top, each with its value's place in the body.
#[derive(Debug, Default)]
struct Members<'a> {
    kept: Vec<(String, Range<usize>)>,
    betas: Vec<Cow<'a, str>>,
    thinks: bool,
    context_management: Option<Range<usize>>,
    output_config: Option<Range<usize>>,
    output_format: Option<Range<usize>>,
    has_version: bool,
}

/// Writes a request of Messages as the body of InvokeModel. `betas` are those of the client's header that the
/// target takes.
///
/// # Errors
/// If the body is not JSON, or has what InvokeModel does not take and the policy does not let drop.
pub fn request(body: &[u8], betas: &[String], policy: &DropPolicy) -> Result<Request, Refusal> {
    let mut report = Report::new(policy);
    let written = write(body, betas, &mut report);
    let body = written.unwrap_or_else(|error| {
        report.refuse(None, false, format!("the body is not valid JSON: {error}"));
        Vec::new()
    });
    Ok(Request { dropped: report.finish()?, body })
}

fn write(body: &[u8], betas: &[String], report: &mut Report<'_>) -> Result<Vec<u8>, JsonError> {
    let mut members = Members::default();
    let mut edits = Vec::new();
    let mut scanner = Scanner::new(body);
    if scanner.peek()? != Type::Object {
        report.refuse(None, false, "the body must be a JSON object");
        return Ok(Vec::new());
    }
    let has_scopes = memmem::find(body, b"\"scope\"").is_some();
    scanner.object(|key, scanner| {
        scanner.peek()?;
        let start = scanner.position();
        match key {
            "model" | "stream" => return scanner.skip(),
            "tools" => tools::read(scanner, has_scopes, report, &mut edits)?,
            "system" | "messages" if has_scopes => scopes(scanner, report, &mut edits)?,
            "thinking" => members.thinks = is_thinking(scanner)?,
            "anthropic_version" => members.has_version = true,
            "anthropic_beta" => {
                scanner.array(|scanner| {
                    if scanner.peek()? == Type::String {
                        members.betas.push(scanner.string()?);
                    }
                    Ok(())
                })?;
                return Ok(());
            }
            _ => {}
        }
        if scanner.position() == start {
            scanner.skip()?;
        }
        let place = start..scanner.position();
        let value = body.get(place.clone()).unwrap_or_default();
        match key {
            "context_management" => members.context_management = Some(place.clone()),
            "output_config" => members.output_config = Some(place.clone()),
            "output_format" => {
                if value != b"null" {
                    members.output_format = Some(place);
                }
                return Ok(());
            }
            _ if !goes_on(key, value, report) => return Ok(()),
            _ => {}
        }
        members.kept.push((key.to_owned(), place));
        Ok(())
    })?;
    scanner.end()?;
    let of_edits = edit_context(body, &mut members, report, &mut edits)?;
    for beta in betas.iter().map(String::as_str).chain(of_edits) {
        if !members.betas.iter().any(|listed| listed == beta) {
            members.betas.push(Cow::Borrowed(beta));
        }
    }
    edit_format(body, &mut members, report, &mut edits)?;
    Ok(assemble(body, &members, &edits))
}

/// Whether a member at the top goes on. What asks for nothing is left out without a word.
fn goes_on(key: &str, value: &[u8], report: &mut Report<'_>) -> bool {
    let why = match (key, value) {
        ("service_tier", b"\"auto\"" | b"\"standard_only\"" | b"null")
        | ("mcp_servers", b"[]")
        | ("speed", b"\"standard\"") => return false,
        ("service_tier", _) => "must be `auto` or `standard_only`",
        ("mcp_servers", _) => {
            "needs a connector that Bedrock does not have: call the servers yourself"
        }
        ("container", _) => "names a container at Anthropic, which Bedrock does not have",
        ("inference_geo", _) => "is decided by the target here, not by the request",
        ("speed", _) => "can only be `standard` on Bedrock",
        ("cache_control", _) => "can't be set for the whole on Bedrock: set it at the last block",
        (
            "diagnostics"
            | "fallbacks"
            | "fallback_credit_token"
            | "billing_policy"
            | "thread"
            | "user_profile_id"
            | "workspace_id",
            _,
        ) => "is taken by Anthropic's own service alone",
        _ => return true,
    };
    if value != b"null" {
        report.unsupported(key, true, why);
    }
    false
}

fn is_thinking(scanner: &Scanner<'_>) -> Result<bool, JsonError> {
    let mut thinks = false;
    scanner.clone().object(|key, scanner| {
        if key == "type" && scanner.peek()? == Type::String {
            thinks = scanner.string()? != "disabled";
        }
        Ok(())
    })?;
    Ok(thinks)
}

/// Leaves out the edit that clears thinking where there is none. Returns the flags that the others need.
fn edit_context(
    body: &[u8],
    members: &mut Members<'_>,
    report: &mut Report<'_>,
    edits: &mut Vec<Edit>,
) -> Result<Vec<&'static str>, JsonError> {
    let Some(place) = members.context_management.clone() else { return Ok(Vec::new()) };
    let value = body.get(place.clone()).unwrap_or_default();
    if members.thinks || !clears_thinking(value) {
        return Ok(betas_of_edits(value));
    }
    report.dropped(CLEAR_THINKING);
    let Some(with) = without_clear_thinking(value)? else {
        members.kept.retain(|(key, _)| key != "context_management");
        return Ok(Vec::new());
    };
    let betas = betas_of_edits(&with);
    edits.push(Edit { place, with });
    Ok(betas)
}

/// Moves the form of the answer from `output_format`, its first name, into `output_config`.
fn edit_format(
    body: &[u8],
    members: &mut Members<'_>,
    report: &mut Report<'_>,
    edits: &mut Vec<Edit>,
) -> Result<(), JsonError> {
    let Some(format) = members.output_format.clone() else { return Ok(()) };
    let config = match members.output_config.clone() {
        // Alone it gets the new name where it stands at the end.
        None => {
            members.kept.push(("output_config".to_owned(), format.clone()));
            format.clone()
        }
        Some(config) => config,
    };
    let value = body.get(config.clone()).unwrap_or_default();
    let mut with = b"{\"format\":".to_vec();
    with.extend_from_slice(body.get(format.clone()).unwrap_or_default());
    if config != format {
        Scanner::new(value).object(|key, scanner| {
            let (value, _) = scanner.value()?;
            if key == "format" && value != b"null" {
                let why = "is given twice, in `output_config` too: leave it out";
                report.refuse(
                    Some("output_format".to_owned()),
                    false,
                    format!("`output_format` {why}"),
                );
            } else if key != "format" {
                with.push(b',');
                write_str(&mut with, key);
                with.push(b':');
                with.extend_from_slice(value);
            }
            Ok(())
        })?;
    }
    with.push(b'}');
    edits.push(Edit { place: config, with });
    Ok(())
}

/// Leaves `scope` out of each `cache_control` in blocks, and in blocks within blocks.
pub(super) fn scopes(
    scanner: &mut Scanner<'_>,
    report: &mut Report<'_>,
    edits: &mut Vec<Edit>,
) -> Result<(), JsonError> {
    match scanner.peek()? {
        Type::Array => scanner.array(|scanner| scopes(scanner, report, edits)),
        Type::Object => scanner.object(|key, scanner| match (key, scanner.peek()?) {
            ("cache_control", Type::Object) => cache_control(scanner, report, edits),
            ("content", _) => scopes(scanner, report, edits),
            _ => Ok(()),
        }),
        Type::String | Type::Scalar => scanner.skip(),
    }
}

/// Reads an object but for one member: its text without the closing brace, empty if nothing else is in it, and
/// the value of that member.
pub(super) fn object_without<'a>(
    scanner: &mut Scanner<'a>,
    name: &str,
) -> Result<(Vec<u8>, Option<&'a [u8]>), JsonError> {
    let (mut with, mut found) = (Vec::new(), None);
    scanner.object(|key, scanner| {
        let (value, _) = scanner.value()?;
        if key == name {
            found = Some(value);
            return Ok(());
        }
        with.push(if with.is_empty() { b'{' } else { b',' });
        write_str(&mut with, key);
        with.push(b':');
        with.extend_from_slice(value);
        Ok(())
    })?;
    Ok((with, found))
}

/// Leaves `scope` out of a `cache_control`: among whom Anthropic shares a cache is not for Bedrock's.
pub(super) fn cache_control(
    scanner: &mut Scanner<'_>,
    report: &mut Report<'_>,
    edits: &mut Vec<Edit>,
) -> Result<(), JsonError> {
    let start = scanner.position();
    let (mut with, scope) = object_without(scanner, "scope")?;
    if scope.is_some() {
        report.dropped("cache_control.scope");
        if with.is_empty() {
            with.push(b'{');
        }
        with.push(b'}');
        edits.push(Edit { place: start..scanner.position(), with });
    }
    Ok(())
}

fn assemble(body: &[u8], members: &Members<'_>, edits: &[Edit]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 128);
    out.push(b'{');
    let begin = |out: &mut Vec<u8>, key: &str| {
        if out.len() > 1 {
            out.push(b',');
        }
        write_str(out, key);
        out.push(b':');
    };
    if !members.has_version {
        begin(&mut out, "anthropic_version");
        write_str(&mut out, VERSION);
    }
    if !members.betas.is_empty() {
        begin(&mut out, "anthropic_beta");
        let mut list = Array::new(&mut out);
        members.betas.iter().for_each(|beta| list.str(beta));
    }
    for (key, place) in &members.kept {
        begin(&mut out, key);
        let within = |edit: &&Edit| edit.place.start >= place.start && edit.place.end <= place.end;
        let mut at = place.start;
        for edit in edits.iter().filter(within) {
            out.extend_from_slice(body.get(at..edit.place.start).unwrap_or_default());
            out.extend_from_slice(&edit.with);
            at = edit.place.end;
        }
        out.extend_from_slice(body.get(at..place.end).unwrap_or_default());
    }
    out.push(b'}');
    out
}
