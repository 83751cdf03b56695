//! What clients call the formats of images, documents, sounds and films, and what Converse calls them.

use std::borrow::Cow;

/// Which block of Converse holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaKind {
    Image,
    Document,
    Audio,
    Video,
}

use MediaKind::{Audio, Document, Image, Video};

/// Format in Converse, its kind, its media types, other extensions of file names.
type Format = (&'static str, MediaKind, &'static [&'static str], &'static [&'static str]);

const FORMATS: &[Format] = &[
    ("png", Image, &["image/png"], &[]),
    ("jpeg", Image, &["image/jpeg", "image/jpg"], &["jpg"]),
    ("gif", Image, &["image/gif"], &[]),
    ("webp", Image, &["image/webp"], &[]),
    ("pdf", Document, &["application/pdf"], &[]),
    ("csv", Document, &["text/csv"], &[]),
    ("doc", Document, &["application/msword"], &[]),
    (
        "docx",
        Document,
        &["application/vnd.openxmlformats-officedocument.wordprocessingml.document"],
        &[],
    ),
    ("xls", Document, &["application/vnd.ms-excel"], &[]),
    ("xlsx", Document, &["application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"], &[]),
    ("html", Document, &["text/html"], &["htm"]),
    ("txt", Document, &["text/plain"], &["text"]),
    ("md", Document, &["text/markdown", "text/x-markdown"], &["markdown"]),
    ("mp3", Audio, &["audio/mpeg", "audio/mp3"], &[]),
    ("opus", Audio, &["audio/opus"], &[]),
    ("wav", Audio, &["audio/wav", "audio/x-wav", "audio/wave"], &[]),
    ("aac", Audio, &["audio/aac"], &[]),
    ("flac", Audio, &["audio/flac", "audio/x-flac"], &[]),
    ("ogg", Audio, &["audio/ogg"], &[]),
    ("m4a", Audio, &["audio/mp4", "audio/m4a", "audio/x-m4a"], &[]),
    ("mka", Audio, &["audio/x-matroska"], &[]),
    ("mp4", Video, &["video/mp4"], &[]),
    ("mov", Video, &["video/quicktime"], &[]),
    ("mkv", Video, &["video/x-matroska"], &[]),
    ("webm", Video, &["video/webm"], &[]),
    ("flv", Video, &["video/x-flv"], &[]),
    ("mpeg", Video, &["video/mpeg"], &[]),
    ("mpg", Video, &[], &[]),
    ("wmv", Video, &["video/x-ms-wmv"], &[]),
    ("three_gp", Video, &["video/3gpp"], &["3gp"]),
];

/// The kind and the format of a media type, in whatever case.
pub(crate) fn of_mime(mime: &str) -> Option<(MediaKind, &'static str)> {
    let is_it = |known: &&str| known.eq_ignore_ascii_case(mime);
    let found = FORMATS.iter().find(|(_, _, mimes, _)| mimes.iter().any(is_it));
    found.map(|(format, kind, ..)| (*kind, *format))
}

/// The kind and the format of a file name or a bare extension, in whatever case.
pub(crate) fn of_name(name: &str) -> Option<(MediaKind, &'static str)> {
    let extension = name.rsplit('.').next().unwrap_or(name);
    let is_it = |known: &str| known.eq_ignore_ascii_case(extension);
    let found = FORMATS.iter().find(|(format, _, _, others)| {
        (is_it(format) && *format != "three_gp") || others.iter().any(|it| is_it(it))
    });
    found.map(|(format, kind, ..)| (*kind, *format))
}

/// Whether bytes begin as those of an image or a document of this format do. A text is UTF-8 and has no zero byte.
pub(crate) fn begins_like(format: &str, bytes: &[u8]) -> bool {
    const ZIP: &[u8] = b"PK\x03\x04";
    const OLE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";
    match format {
        "png" => bytes.starts_with(b"\x89PNG\r\n\x1a\n"),
        "jpeg" => bytes.starts_with(b"\xff\xd8\xff"),
        "gif" => bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a"),
        "webp" => bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP"),
        "pdf" => bytes.starts_with(b"%PDF-"),
        "docx" | "xlsx" => bytes.starts_with(ZIP),
        "doc" | "xls" => bytes.starts_with(OLE),
        "csv" | "html" | "txt" | "md" => {
            std::str::from_utf8(bytes).is_ok() && memchr::memchr(0, bytes).is_none()
        }
        _ => false,
    }
}

/// The media type and the base64 of a data URL; `None` for every other text, also for a data URL in another
/// encoding or without data.
pub(crate) fn data_url<'a>(url: &Cow<'a, str>) -> Option<(String, Cow<'a, str>)> {
    let comma = memchr::memchr(b',', url.as_bytes().get(..MAX_HEAD.min(url.len()))?)?;
    let head = url.get(..comma)?.strip_prefix("data:")?;
    let mut parts = head.split(';');
    let mime = parts.next().unwrap_or_default().trim().to_owned();
    if !parts.any(|part| part.trim().eq_ignore_ascii_case("base64")) {
        return None;
    }
    let data = match url {
        Cow::Borrowed(url) => Cow::Borrowed(url.get(comma + 1..)?),
        Cow::Owned(url) => Cow::Owned(url.get(comma + 1..)?.to_owned()),
    };
    (!data.is_empty()).then_some((mime, data))
}

/// A data URL's head is short.
const MAX_HEAD: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_url_is_divided_into_type_and_data() {
        let read = |url: &'static str| data_url(&Cow::Borrowed(url));
        let of = |mime: &str, data| Some((mime.to_owned(), Cow::Borrowed(data)));
        assert_eq!(read("data:image/png;base64,AA=="), of("image/png", "AA=="));
        assert_eq!(read("data:text/plain;charset=utf-8;BASE64,AA"), of("text/plain", "AA"));
        for url in ["data:image/png,AA", "data:image/png;base64,", "data:", "", "x,y", "https://a"]
        {
            assert_eq!(read(url), None, "{url}");
        }
    }

    #[test]
    fn formats_are_known_by_type_and_by_name() {
        assert_eq!(of_mime("IMAGE/JPG"), Some((Image, "jpeg")));
        assert_eq!(of_name("a.b.JPG"), Some((Image, "jpeg")));
        assert_eq!(of_name("x.3gp"), Some((Video, "three_gp")));
        assert_eq!(of_name("wav"), Some((Audio, "wav")));
        assert_eq!(of_mime("image/svg+xml"), None);
        assert_eq!(of_name("notes"), None);
        assert_eq!(of_mime(""), None);
    }

    #[test]
    fn no_two_formats_share_a_name() {
        for (format, kind, mimes, others) in FORMATS {
            assert!(mimes.iter().all(|mime| of_mime(mime) == Some((*kind, *format))));
            assert!(others.iter().all(|name| of_name(name) == Some((*kind, *format))));
        }
    }
}
