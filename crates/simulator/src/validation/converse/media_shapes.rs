//! The shapes of images, documents, video and audio, by the service model of Bedrock Runtime.

use super::super::shape::{Member, Pattern, Shape, optional, required};
use super::shapes::{BYTES, CITING, TEXT, list, text};

static ERROR: Shape = Shape::Structure(&[optional("message", &TEXT)]);
pub(super) static IMAGE: Shape = Shape::Structure(&[
    required("format", &Shape::Name(&["png", "jpeg", "gif", "webp"])),
    required("source", &Shape::Union("ImageSource", &BYTES_OR_S3)),
    optional("error", &ERROR),
]);
pub(super) static FILE: Shape = Shape::Structure(&[
    optional(
        "format",
        &Shape::Name(&["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"]),
    ),
    required("name", &text(1, 200)),
    required("source", &FILE_SOURCE),
    optional("context", &TEXT),
    optional("citations", &CITING),
]);
static FILE_SOURCE: Shape = Shape::Union(
    "DocumentSource",
    &[
        optional("bytes", &BYTES),
        optional("s3Location", &S3),
        optional("text", &TEXT),
        optional(
            "content",
            &list(&Shape::Union("DocumentContentBlock", &[optional("text", &TEXT)])),
        ),
    ],
);
pub(super) static VIDEO: Shape = Shape::Structure(&[
    required(
        "format",
        &Shape::Name(&["mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"]),
    ),
    required("source", &Shape::Union("VideoSource", &BYTES_OR_S3)),
]);
pub(super) static AUDIO: Shape = Shape::Structure(&[
    required(
        "format",
        &Shape::Name(&[
            "mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a",
            "mpeg", "mpga", "pcm", "webm",
        ]),
    ),
    required("source", &Shape::Union("AudioSource", &BYTES_OR_S3)),
    optional("error", &ERROR),
]);
static BYTES_OR_S3: [Member; 2] = [optional("bytes", &BYTES), optional("s3Location", &S3)];
static S3: Shape = Shape::Structure(&[
    required("uri", &S3_URI),
    optional(
        "bucketOwner",
        &Shape::Text {
            min: 12,
            max: 12,
            pattern: Some(&Pattern {
                regex: "[0-9]{12}",
                fits: |text| text.bytes().all(|byte| byte.is_ascii_digit()),
            }),
        },
    ),
]);
static S3_URI: Shape = Shape::Text {
    min: 1,
    max: 1024,
    pattern: Some(&Pattern {
        regex: r"s3://[a-z0-9][\.\-a-z0-9]{1,61}[a-z0-9](/.*)?",
        fits: is_in_s3,
    }),
};

fn is_in_s3(uri: &str) -> bool {
    let bucket = uri.strip_prefix("s3://").and_then(|rest| rest.split('/').next());
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    bucket.is_some_and(|bucket| {
        (3..=63).contains(&bucket.len())
            && bucket.bytes().all(|byte| is_plain(byte) || b".-".contains(&byte))
            && bucket.bytes().next().is_some_and(is_plain)
            && bucket.bytes().last().is_some_and(is_plain)
    })
}
