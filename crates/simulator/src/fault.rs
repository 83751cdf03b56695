//! Scripted faults: what goes wrong, for which requests, and how often.
//!
//! A rule names a model and an operation (or any), how many matching requests pass untouched
//! first and how many it then hits. The first rule that hits a request wins; a rule that is used
//! up is forgotten. What a fault does on the wire is in `stream` and `inject`.
//!
//! Errors are described in Bedrock's dialect; on a path of OpenAI's or Anthropic's they are in that one. A
//! frame of a stream of server-sent events is an event.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

/// Rules kept at one time.
pub const MAX_RULES: usize = 1024;

/// What goes wrong. In JSON an object with `kind`, for example `{"kind": "slow_head", "ms": 200}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// 429 ThrottlingException for requests.
    Throttle,
    /// 429 ThrottlingException for tokens.
    ThrottleTokens,
    /// 429 ThrottlingException for tokens per day.
    ThrottleDaily,
    /// 400 ServiceQuotaExceededException.
    ServiceQuotaExceeded,
    /// 429 ModelNotReadyException.
    ModelNotReady,
    /// 503 ServiceUnavailableException.
    ServiceUnavailable,
    /// 500 InternalServerException.
    Internal,
    /// 408 ModelTimeoutException.
    ModelTimeout,
    /// 424 ModelErrorException.
    ModelError,
    /// 400 ValidationException.
    Validation,
    /// 403 AccessDeniedException.
    AccessDenied,
    /// 404 ResourceNotFoundException.
    NotFound,
    /// 403 ExpiredTokenException.
    ExpiredToken,
    /// 403 InvalidSignatureException.
    InvalidSignature,
    /// Any other error in Bedrock's form.
    Error {
        /// The exception's name.
        name: String,
        /// The HTTP status.
        status: u16,
        /// The message.
        #[serde(default)]
        message: String,
    },
    /// An error whose name stands only in the body's `__type`.
    ErrorAsTypeInBody {
        /// The exception's name.
        #[serde(default = "throttling")]
        name: String,
        /// The HTTP status.
        #[serde(default = "too_many_requests")]
        status: u16,
    },
    /// 502 with a load balancer's HTML.
    #[serde(rename = "html_502")]
    Html502,
    /// A stream operation answered with 200 and a JSON error. Streams only.
    #[serde(rename = "json_200_on_stream")]
    Json200OnStream,
    /// Never answers.
    HangBeforeHead,
    /// Answers as usual, `ms` milliseconds later.
    SlowHead {
        /// Milliseconds.
        ms: u64,
    },
    /// A TCP reset instead of an answer.
    ResetBeforeHead,
    /// The connection is closed instead of an answer.
    CloseBeforeHead,
    /// Bytes that are not HTTP instead of an answer.
    GarbageHead,
    /// A body shorter than its content length, then the connection is closed; a stream's
    /// connection is closed in its first frame.
    ShortBody,
    /// A TCP reset in the middle of the body; in a stream, in the middle of the first frame.
    ResetMidBody,
    /// A TCP reset after some frames. Streams only, as all below.
    ResetAfterFrames {
        /// How many frames come first.
        frames: u64,
    },
    /// The connection is closed after some frames, without the end of the body.
    CloseAfterFrames {
        /// How many frames come first.
        frames: u64,
    },
    /// The stream ends well, but early, after some frames.
    EndAfterFrames {
        /// How many frames come first.
        frames: u64,
    },
    /// The stream goes silent after some frames and stays open.
    StallAfterFrames {
        /// How many frames come first.
        frames: u64,
    },
    /// A frame is cut in its middle, then the body ends well.
    TruncatedFrame {
        /// Which frame, from 1.
        #[serde(default = "first")]
        frame: u64,
    },
    /// An exception in place of the first frame.
    ExceptionFirstFrame {
        /// The exception's name as in a stream (`throttlingException`).
        #[serde(default = "throttling_in_stream")]
        name: String,
    },
    /// An exception in place of a later frame.
    ExceptionFrame {
        /// The exception's name as in a stream.
        #[serde(default = "throttling_in_stream")]
        name: String,
        /// Which frame, from 1.
        frame: u64,
    },
    /// An unmodelled `error` message in place of a frame.
    ErrorFrame {
        /// Which frame, from 1.
        #[serde(default = "first")]
        frame: u64,
    },
    /// A frame with a wrong message checksum, or an event whose data are no JSON, after which the stream
    /// continues.
    BadCrcFrame {
        /// Which frame, from 1.
        #[serde(default = "first")]
        frame: u64,
    },
    /// Every frame in pieces of a few bytes, with a pause before each piece.
    SlowTrickle {
        /// Bytes of a piece.
        #[serde(default = "a_few_bytes")]
        bytes: usize,
        /// Milliseconds before each piece.
        #[serde(default)]
        ms: u64,
    },
    /// A 200 with the right content type and no frame at all.
    EmptyStream,
    /// The stream ends well, but without its last frame: the one that says that the answer is complete.
    EndBeforeLastFrame,
    /// `response.failed` in place of a frame, in a stream of OpenAI's Responses. In other streams an
    /// exception.
    ResponseFailed {
        /// The exception's name as in a stream.
        #[serde(default = "internal_in_stream")]
        name: String,
        /// Which frame, from 1.
        #[serde(default = "first")]
        frame: u64,
    },
}

impl Fault {
    /// Whether only a stream can have this fault. Other operations never use up such a rule.
    pub fn is_for_streams(&self) -> bool {
        matches!(
            self,
            Self::Json200OnStream
                | Self::ResetAfterFrames { .. }
                | Self::CloseAfterFrames { .. }
                | Self::EndAfterFrames { .. }
                | Self::StallAfterFrames { .. }
                | Self::TruncatedFrame { .. }
                | Self::ExceptionFirstFrame { .. }
                | Self::ExceptionFrame { .. }
                | Self::ErrorFrame { .. }
                | Self::BadCrcFrame { .. }
                | Self::SlowTrickle { .. }
                | Self::EmptyStream
                | Self::EndBeforeLastFrame
                | Self::ResponseFailed { .. }
        )
    }

    /// The `kind` of its JSON form.
    pub fn kind(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        value.get("kind").and_then(|kind| kind.as_str()).unwrap_or_default().to_owned()
    }
}

fn throttling() -> String {
    "ThrottlingException".to_owned()
}

fn throttling_in_stream() -> String {
    "throttlingException".to_owned()
}

fn internal_in_stream() -> String {
    "internalServerException".to_owned()
}

fn too_many_requests() -> u16 {
    429
}

fn first() -> u64 {
    1
}

fn a_few_bytes() -> usize {
    7
}

/// Which requests a fault hits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// The model id as called, or the last part of its ARN; any model when left out.
    #[serde(default)]
    pub model: Option<String>,
    /// The operation's name (`Converse`); any when left out.
    #[serde(default)]
    pub operation: Option<String>,
    /// How many matching requests pass first.
    #[serde(default)]
    pub skip: u64,
    /// How many matching requests are hit then; all when left out.
    #[serde(default)]
    pub times: Option<u64>,
    /// What happens to them.
    pub fault: Fault,
}

impl FaultRule {
    /// A fault for every request of every model.
    pub fn always(fault: Fault) -> Self {
        Self { model: None, operation: None, skip: 0, times: None, fault }
    }

    /// A fault for the next `times` requests.
    pub fn next(times: u64, fault: Fault) -> Self {
        Self { times: Some(times), ..Self::always(fault) }
    }

    /// The same for one model only.
    pub fn on(self, model: &str) -> Self {
        Self { model: Some(model.to_owned()), ..self }
    }

    /// The same after `skip` matching requests.
    pub fn after(self, skip: u64) -> Self {
        Self { skip, ..self }
    }
}

/// No room for another rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are {MAX_RULES} fault rules already")]
pub struct TooManyRules;

/// The rules in force. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    rules: Arc<Mutex<Vec<FaultRule>>>,
}

impl Faults {
    /// Adds a rule after those that are there.
    ///
    /// # Errors
    /// [`TooManyRules`] when [`MAX_RULES`] are in force.
    pub fn add(&self, rule: FaultRule) -> Result<(), TooManyRules> {
        let mut rules = self.lock();
        if rules.len() >= MAX_RULES {
            return Err(TooManyRules);
        }
        rules.push(rule);
        Ok(())
    }

    /// Forgets all rules.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The rules in force, with what is left of `skip` and `times`.
    pub fn rules(&self) -> Vec<FaultRule> {
        self.lock().clone()
    }

    /// What hits this request, if anything; counts it.
    pub(super) fn take(&self, models: &[&str], operation: &str, is_stream: bool) -> Option<Fault> {
        let mut rules = self.lock();
        let mut hit = None;
        for rule in rules.iter_mut() {
            let fits = rule.model.as_deref().is_none_or(|model| models.contains(&model))
                && rule.operation.as_deref().is_none_or(|name| name == operation)
                && (is_stream || !rule.fault.is_for_streams())
                && rule.times != Some(0);
            if !fits {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times = rule.times.map(|times| times - 1);
            hit = Some(rule.fault.clone());
            break;
        }
        rules.retain(|rule| rule.times != Some(0));
        hit
    }

    fn lock(&self) -> MutexGuard<'_, Vec<FaultRule>> {
        self.rules.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_skips_then_hits_then_is_forgotten() {
        let faults = Faults::default();
        faults.add(FaultRule::next(2, Fault::Throttle).on("m").after(1)).unwrap();
        let is_faulty = |model| faults.take(&[model], "Converse", false).is_some();
        assert!(!is_faulty("other"));
        assert_eq!(
            [is_faulty("m"), is_faulty("m"), is_faulty("m"), is_faulty("m")],
            [false, true, true, false]
        );
        assert!(faults.rules().is_empty());
    }

    #[test]
    fn a_streams_fault_waits_for_a_stream() {
        let faults = Faults::default();
        faults.add(FaultRule::next(1, Fault::EmptyStream)).unwrap();
        assert_eq!(faults.take(&["m"], "Converse", false), None);
        assert_eq!(faults.take(&["m"], "ConverseStream", true), Some(Fault::EmptyStream));
    }

    #[test]
    fn the_json_form_has_defaults_and_refuses_what_it_does_not_know() {
        let rule: FaultRule =
            serde_json::from_str(r#"{"fault": {"kind": "exception_first_frame"}}"#).unwrap();
        assert_eq!(
            rule.fault,
            Fault::ExceptionFirstFrame { name: "throttlingException".to_owned() }
        );
        assert_eq!(rule.fault.kind(), "exception_first_frame");
        assert_eq!(Fault::Json200OnStream.kind(), "json_200_on_stream");
        assert_eq!(Fault::Html502.kind(), "html_502");
        for wrong in [
            r#"{"fault": {"kind": "no_such_fault"}}"#,
            r#"{"fault": {"kind": "slow_head", "ms": 1, "x": 2}}"#,
            r#"{"fault": {"kind": "throttle"}, "modle": "m"}"#,
        ] {
            assert!(serde_json::from_str::<FaultRule>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rules_are_bounded() {
        let faults = Faults::default();
        for _ in 0..MAX_RULES {
            faults.add(FaultRule::always(Fault::Throttle)).unwrap();
        }
        assert_eq!(faults.add(FaultRule::always(Fault::Throttle)), Err(TooManyRules));
    }
}
