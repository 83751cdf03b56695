//! The shapes of Converse's requests, by the service model of Bedrock Runtime.

use super::super::shape::{Member, Pattern, Shape, optional, required};
use super::media_shapes::{AUDIO, FILE, IMAGE, VIDEO};

const ANY: usize = usize::MAX;

pub(super) static TEXT: Shape = Shape::Text { min: 0, max: ANY, pattern: None };
static NON_EMPTY_TEXT: Shape = text(1, ANY);
static DOCUMENT: Shape = Shape::Document;
static FLAG: Shape = Shape::Flag;
static COUNT: Shape = Shape::Integer { min: 0 };
static EMPTY: Shape = Shape::Structure(&[]);
pub(super) static BYTES: Shape = Shape::Blob { min: 1 };

pub(super) const fn text(min: usize, max: usize) -> Shape {
    Shape::Text { min, max, pattern: None }
}

pub(super) const fn list(item: &'static Shape) -> Shape {
    Shape::List { min: 0, max: ANY, item }
}

/// Converse.
pub(super) static CONVERSE: Shape = Shape::Structure(&CONVERSE_MEMBERS);
static CONVERSE_MEMBERS: [Member; 14] = converse_members(&GUARDRAIL);
/// ConverseStream.
pub(super) static CONVERSE_STREAM: Shape = Shape::Structure(&CONVERSE_STREAM_MEMBERS);
static CONVERSE_STREAM_MEMBERS: [Member; 14] = converse_members(&GUARDRAIL_OF_STREAM);
/// What CountTokens counts of a request to Converse.
pub(super) static COUNTED: Shape = Shape::Structure(&[
    optional("messages", &MESSAGES),
    optional("system", &SYSTEM),
    optional("toolConfig", &TOOL_CONFIG),
    optional("additionalModelRequestFields", &DOCUMENT),
]);

/// `modelId` is in the path, and the service lets a body repeat it.
const fn converse_members(guardrail: &'static Shape) -> [Member; 14] {
    [
        optional("modelId", &TEXT),
        optional("messages", &MESSAGES),
        optional("system", &SYSTEM),
        optional("inferenceConfig", &INFERENCE),
        optional("toolConfig", &TOOL_CONFIG),
        optional("guardrailConfig", guardrail),
        optional("additionalModelRequestFields", &DOCUMENT),
        optional("promptVariables", &PROMPT_VARIABLES),
        optional("additionalModelResponseFieldPaths", &FIELD_PATHS),
        optional("requestMetadata", &REQUEST_METADATA),
        optional("performanceConfig", &PERFORMANCE),
        optional("serviceTier", &SERVICE_TIER),
        optional("outputConfig", &OUTPUT),
        optional("projectIdentifier", &TEXT),
    ]
}

static INFERENCE: Shape = Shape::Structure(&[
    optional("maxTokens", &Shape::Integer { min: 1 }),
    optional("temperature", &SHARE),
    optional("topP", &SHARE),
    optional("stopSequences", &Shape::List { min: 0, max: 2500, item: &NON_EMPTY_TEXT }),
]);
static SHARE: Shape = Shape::Number { min: 0.0, max: 1.0 };
static FIELD_PATHS: Shape = Shape::List { min: 0, max: 10, item: &text(1, 256) };
static PERFORMANCE: Shape =
    Shape::Structure(&[optional("latency", &Shape::Name(&["standard", "optimized"]))]);
static SERVICE_TIER: Shape = Shape::Structure(&[required(
    "type",
    &Shape::Name(&["priority", "default", "flex", "reserved"]),
)]);
static PROMPT_VARIABLES: Shape = Shape::Map { min: 0, max: ANY, key: &TEXT, value: &TEXT_ALONE };
static TEXT_ALONE: Shape = Shape::Union("PromptVariableValues", &[optional("text", &TEXT)]);

static REQUEST_METADATA: Shape = Shape::Map {
    min: 1,
    max: 16,
    key: &Shape::Text { min: 1, max: 256, pattern: Some(&METADATA_KEY) },
    value: &Shape::Text { min: 0, max: 256, pattern: Some(&METADATA_VALUE) },
};
static METADATA_KEY: Pattern =
    Pattern { regex: r"[a-zA-Z0-9\s:_@$#=/+,-.]{1,256}", fits: is_metadata };
static METADATA_VALUE: Pattern =
    Pattern { regex: r"[a-zA-Z0-9\s:_@$#=/+,-.]{0,256}", fits: is_metadata };

fn is_metadata(text: &str) -> bool {
    let fits = |byte: u8| {
        byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b":_@$#=/+,-.".contains(&byte)
    };
    text.bytes().all(fits)
}

static OUTPUT: Shape =
    Shape::Structure(&[optional("textFormat", &TEXT_FORMAT), optional("effort", &text(0, 16))]);
static TEXT_FORMAT: Shape = Shape::Structure(&[
    required("type", &Shape::Name(&["json_schema"])),
    required(
        "structure",
        &Shape::Union("OutputFormatStructure", &[optional("jsonSchema", &JSON_SCHEMA)]),
    ),
]);
static JSON_SCHEMA: Shape = Shape::Structure(&[
    required("schema", &TEXT),
    optional("name", &TEXT),
    optional("description", &TEXT),
]);

static GUARDRAIL: Shape = Shape::Structure(&[
    optional("guardrailIdentifier", &GUARDRAIL_ID),
    optional("guardrailVersion", &GUARDRAIL_VERSION),
    optional("trace", &TRACE),
]);
static GUARDRAIL_OF_STREAM: Shape = Shape::Structure(&[
    optional("guardrailIdentifier", &GUARDRAIL_ID),
    optional("guardrailVersion", &GUARDRAIL_VERSION),
    optional("trace", &TRACE),
    optional("streamProcessingMode", &Shape::Name(&["sync", "async"])),
]);
static TRACE: Shape = Shape::Name(&["enabled", "disabled", "enabled_full"]);
static GUARDRAIL_ID: Shape = Shape::Text {
    min: 0,
    max: 2048,
    pattern: Some(&Pattern {
        regex: "(|([a-z0-9]+)|(arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:guardrail/[a-z0-9]+))",
        fits: is_guardrail,
    }),
};
static GUARDRAIL_VERSION: Shape = Shape::Text {
    min: 0,
    max: ANY,
    pattern: Some(&Pattern { regex: "(|([1-9][0-9]{0,7})|(DRAFT))", fits: is_version }),
};

fn is_guardrail(text: &str) -> bool {
    let is_plain =
        |id: &str| id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    match text.strip_prefix("arn:aws").and_then(|rest| rest.split_once(":guardrail/")) {
        Some((place, id)) => place.contains(":bedrock:") && !id.is_empty() && is_plain(id),
        None => is_plain(text),
    }
}

fn is_version(text: &str) -> bool {
    let is_number =
        text.len() <= 8 && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    text == "DRAFT" || is_number
}

static SYSTEM: Shape = list(&SYSTEM_BLOCK);
static SYSTEM_BLOCK: Shape = Shape::Union(
    "SystemContentBlock",
    &[
        optional("text", &NON_EMPTY_TEXT),
        optional("guardContent", &GUARD_CONTENT),
        optional("cachePoint", &CACHE_POINT),
    ],
);
static CACHE_POINT: Shape = Shape::Structure(&[
    required("type", &Shape::Name(&["default"])),
    optional("ttl", &Shape::Name(&["5m", "1h"])),
]);
static GUARD_CONTENT: Shape = Shape::Union(
    "GuardrailConverseContentBlock",
    &[optional("text", &GUARDED_TEXT), optional("image", &GUARDED_IMAGE)],
);
static GUARDED_TEXT: Shape = Shape::Structure(&[
    required("text", &TEXT),
    optional("qualifiers", &list(&Shape::Name(&["grounding_source", "query", "guard_content"]))),
]);
static GUARDED_IMAGE: Shape = Shape::Structure(&[
    required("format", &Shape::Name(&["png", "jpeg"])),
    required("source", &Shape::Union("GuardrailConverseImageSource", &[optional("bytes", &BYTES)])),
]);

static TOOL_CONFIG: Shape = Shape::Structure(&[
    required("tools", &Shape::List { min: 1, max: ANY, item: &TOOL }),
    optional("toolChoice", &TOOL_CHOICE),
]);
static TOOL: Shape = Shape::Union(
    "Tool",
    &[
        optional("toolSpec", &TOOL_SPEC),
        optional("systemTool", &Shape::Structure(&[required("name", &TOOL_NAME)])),
        optional("cachePoint", &CACHE_POINT),
    ],
);
static TOOL_SPEC: Shape = Shape::Structure(&[
    required("name", &TOOL_NAME),
    optional("description", &NON_EMPTY_TEXT),
    required("inputSchema", &Shape::Union("ToolInputSchema", &[optional("json", &DOCUMENT)])),
    optional("strict", &FLAG),
]);
static TOOL_CHOICE: Shape = Shape::Union(
    "ToolChoice",
    &[
        optional("auto", &EMPTY),
        optional("any", &EMPTY),
        optional("tool", &Shape::Structure(&[required("name", &TOOL_NAME)])),
    ],
);
static TOOL_NAME: Shape = Shape::Text {
    min: 1,
    max: 64,
    pattern: Some(&Pattern {
        regex: "[a-zA-Z0-9_-]+",
        fits: |text| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)),
    }),
};
static TOOL_USE_ID: Shape = Shape::Text {
    min: 1,
    max: 64,
    pattern: Some(&Pattern {
        regex: "[a-zA-Z0-9_.:-]+",
        fits: |text| {
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte))
        },
    }),
};

static MESSAGES: Shape = list(&MESSAGE);
static MESSAGE: Shape = Shape::Structure(&[
    required("role", &Shape::Name(&["user", "assistant", "system"])),
    required("content", &list(&CONTENT_BLOCK)),
]);
static CONTENT_BLOCK: Shape = Shape::Union(
    "ContentBlock",
    &[
        optional("text", &TEXT),
        optional("image", &IMAGE),
        optional("document", &FILE),
        optional("video", &VIDEO),
        optional("audio", &AUDIO),
        optional("toolUse", &TOOL_USE),
        optional("toolResult", &TOOL_RESULT),
        optional("guardContent", &GUARD_CONTENT),
        optional("cachePoint", &CACHE_POINT),
        optional("reasoningContent", &REASONING),
        optional("citationsContent", &CITATIONS_CONTENT),
        optional("searchResult", &SEARCH_RESULT),
        optional("toolAddition", &TOOL_CHANGE),
        optional("toolRemoval", &TOOL_CHANGE),
    ],
);
static TOOL_USE: Shape = Shape::Structure(&[
    required("toolUseId", &TOOL_USE_ID),
    required("name", &TOOL_NAME),
    required("input", &DOCUMENT),
    optional("type", &Shape::Name(&["server_tool_use"])),
]);
static TOOL_RESULT: Shape = Shape::Structure(&[
    required("toolUseId", &TOOL_USE_ID),
    required("content", &list(&RESULT_BLOCK)),
    optional("status", &Shape::Name(&["success", "error"])),
    optional("type", &TEXT),
]);
static RESULT_BLOCK: Shape = Shape::Union(
    "ToolResultContentBlock",
    &[
        optional("json", &DOCUMENT),
        optional("text", &TEXT),
        optional("image", &IMAGE),
        optional("document", &FILE),
        optional("video", &VIDEO),
        optional("searchResult", &SEARCH_RESULT),
    ],
);
static REASONING: Shape = Shape::Union(
    "ReasoningContentBlock",
    &[
        optional(
            "reasoningText",
            &Shape::Structure(&[required("text", &TEXT), optional("signature", &TEXT)]),
        ),
        optional("redactedContent", &Shape::Blob { min: 0 }),
    ],
);
static TOOL_CHANGE: Shape = Shape::Structure(&[required(
    "tool",
    &Shape::Structure(&[
        optional("type", &text(1, 64)),
        optional("name", &text(1, 128)),
        optional("serverName", &text(1, 128)),
    ]),
)]);
static SEARCH_RESULT: Shape = Shape::Structure(&[
    required("source", &TEXT),
    required("title", &TEXT),
    required("content", &list(&Shape::Structure(&[required("text", &TEXT)]))),
    optional("citations", &CITING),
]);
pub(super) static CITING: Shape = Shape::Structure(&[required("enabled", &FLAG)]);

static CITATIONS_CONTENT: Shape = Shape::Structure(&[
    optional(
        "content",
        &list(&Shape::Union("CitationGeneratedContent", &[optional("text", &TEXT)])),
    ),
    optional("citations", &list(&CITATION)),
]);
static CITATION: Shape = Shape::Structure(&[
    optional("title", &TEXT),
    optional("source", &TEXT),
    optional(
        "sourceContent",
        &list(&Shape::Union("CitationSourceContent", &[optional("text", &TEXT)])),
    ),
    optional("location", &LOCATION),
]);
static LOCATION: Shape = Shape::Union(
    "CitationLocation",
    &[
        optional("web", &Shape::Structure(&[optional("url", &TEXT), optional("domain", &TEXT)])),
        optional("documentChar", &IN_DOCUMENT),
        optional("documentPage", &IN_DOCUMENT),
        optional("documentChunk", &IN_DOCUMENT),
        optional(
            "searchResultLocation",
            &Shape::Structure(&[
                optional("searchResultIndex", &COUNT),
                optional("start", &COUNT),
                optional("end", &COUNT),
            ]),
        ),
    ],
);
static IN_DOCUMENT: Shape = Shape::Structure(&[
    optional("documentIndex", &COUNT),
    optional("start", &COUNT),
    optional("end", &COUNT),
]);
