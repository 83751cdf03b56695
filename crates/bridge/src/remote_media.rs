//! Images and documents at addresses: where a request has them, what they must be, and how the bytes that the
//! gateway fetched take their place.

use std::borrow::Cow;

use crate::conversation::{Block, BlockKind, Conversation, Media, MediaSource};
use crate::media::{self, MediaKind};

/// An image or a document that a request has by its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteMedia {
    /// Where it stands in the client's request, as errors name it: `messages[0].content[1]`.
    pub param: String,
    /// The address, as the client wrote it.
    pub url: String,
    /// What must be there.
    pub kind: RemoteKind,
}

/// What must be at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RemoteKind {
    /// An image that Converse takes.
    Image,
    /// A document that Converse takes.
    Document,
    /// A PDF: of documents, Messages takes no other by its address.
    Pdf,
}

/// What was fetched from an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedMedia {
    /// The address, as the client wrote it.
    pub url: String,
    /// What it was fetched as.
    pub kind: RemoteKind,
    /// Its format by its name in Converse.
    pub format: &'static str,
    /// Its bytes in base64.
    pub base64: String,
}

impl RemoteKind {
    /// The format of what was fetched, by its name in Converse: its media type must name one of this kind, and its
    /// first bytes must be those of the format. `None` if either is not so.
    pub fn format_of(self, content_type: &str, bytes: &[u8]) -> Option<&'static str> {
        let mime = content_type.split(';').next().unwrap_or_default().trim();
        let (kind, format) = media::of_mime(mime)?;
        let is_wanted = match self {
            RemoteKind::Image => kind == MediaKind::Image,
            RemoteKind::Document => kind == MediaKind::Document,
            RemoteKind::Pdf => format == "pdf",
        };
        (is_wanted && media::begins_like(format, bytes)).then_some(format)
    }

    /// A format of this kind, to find out what else is wrong with a request before anything is fetched.
    fn any_format(self) -> &'static str {
        match self {
            RemoteKind::Image => "png",
            RemoteKind::Document | RemoteKind::Pdf => "pdf",
        }
    }

    /// What it is called in a message: `is no ..`.
    pub fn name(self) -> &'static str {
        match self {
            RemoteKind::Image => "PNG, JPEG, GIF or WebP image",
            RemoteKind::Document => "PDF, CSV, DOC, DOCX, XLS, XLSX, HTML, TXT or MD document",
            RemoteKind::Pdf => "PDF",
        }
    }
}

impl<'a> Conversation<'a> {
    /// The images and documents that must be fetched before a body can be written, each address once for each
    /// kind.
    pub fn remote_media(&self) -> Vec<RemoteMedia> {
        let mut all: Vec<RemoteMedia> = Vec::new();
        for block in self.turns.iter().flat_map(|turn| &turn.blocks) {
            let within: &[Block<'_>] = match &block.kind {
                BlockKind::ToolResult { content, .. } => content,
                _ => &[],
            };
            for block in std::iter::once(block).chain(within) {
                let Some((url, kind)) = remote(&block.kind) else { continue };
                if !all.iter().any(|it| it.url == url && it.kind == kind) {
                    all.push(RemoteMedia { param: block.at.param(), url: url.to_owned(), kind });
                }
            }
        }
        all
    }

    /// Puts fetched bytes in the place of their address, everywhere.
    pub fn set_media(&mut self, fetched: &'a FetchedMedia) {
        self.each_remote(|media, kind| {
            if matches!(&media.source, MediaSource::Url(url) if *url == fetched.url)
                && kind == fetched.kind
            {
                media.format = Cow::Borrowed(fetched.format);
                media.source = MediaSource::Base64(Cow::Borrowed(&fetched.base64));
            }
        });
    }

    /// Puts nothing in the place of each address, so that all else of the request can be checked.
    pub fn set_no_media(&mut self) {
        self.each_remote(|media, kind| {
            media.format = Cow::Borrowed(kind.any_format());
            media.source = MediaSource::Base64(Cow::Borrowed(""));
        });
    }

    fn each_remote(&mut self, mut change: impl FnMut(&mut Media<'a>, RemoteKind)) {
        let mut visit = |block: &mut Block<'a>| {
            let found = remote(&block.kind).map(|(_, kind)| kind);
            if let BlockKind::Image(media) | BlockKind::Document { media, .. } = &mut block.kind
                && let Some(kind) = found
            {
                change(media, kind);
            }
        };
        for block in self.turns.iter_mut().flat_map(|turn| &mut turn.blocks) {
            if let BlockKind::ToolResult { content, .. } = &mut block.kind {
                content.iter_mut().for_each(&mut visit);
            }
            visit(block);
        }
    }
}

fn remote<'b>(block: &'b BlockKind<'_>) -> Option<(&'b str, RemoteKind)> {
    let (media, kind) = match block {
        BlockKind::Image(media) => (media, RemoteKind::Image),
        BlockKind::Document { media, .. } if media.format == "pdf" => (media, RemoteKind::Pdf),
        BlockKind::Document { media, .. } => (media, RemoteKind::Document),
        _ => return None,
    };
    match &media.source {
        MediaSource::Url(url) => Some((url, kind)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DropPolicy, Hub, Source};

    const BODY: &str = r#"{"model":"m","max_tokens":5,"messages":[
        {"role":"user","content":[
            {"type":"image","source":{"type":"url","url":"https://x/a"}},
            {"type":"document","source":{"type":"url","url":"https://x/a"}},
            {"type":"text","text":"?"}]},
        {"role":"assistant","content":[{"type":"tool_use","id":"t","name":"n","input":{}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[
            {"type":"image","source":{"type":"url","url":"https://x/a"}},
            {"type":"image","source":{"type":"url","url":"https://x/b"}}]}]}]}"#;

    #[test]
    fn each_address_is_listed_once_for_each_kind_and_replaced_everywhere() {
        let fetched = FetchedMedia {
            url: "https://x/a".to_owned(),
            kind: RemoteKind::Image,
            format: "webp",
            base64: "UklG".to_owned(),
        };
        let policy = DropPolicy::default();
        let mut hub = Hub::read(Source::Messages, BODY.as_bytes(), &policy).unwrap();
        let listed = |hub: &Hub<'_>| -> Vec<_> {
            let all = hub.conversation.remote_media();
            all.into_iter().map(|it| (it.param, it.url, it.kind)).collect()
        };
        let of = |param: &str, url: &str, kind| (param.to_owned(), url.to_owned(), kind);
        let image = of("messages[0].content[0]", "https://x/a", RemoteKind::Image);
        let pdf = of("messages[0].content[1]", "https://x/a", RemoteKind::Pdf);
        let [first, second, third] = &listed(&hub)[..] else { panic!("{:?}", listed(&hub)) };
        assert_eq!((first, second), (&image, &pdf));
        assert_eq!((third.1.as_str(), third.2), ("https://x/b", RemoteKind::Image));
        hub.conversation.set_media(&fetched);
        assert_eq!(listed(&hub).len(), 2, "{:?}", listed(&hub));
        let text = format!("{:?}", hub.conversation);
        assert_eq!(text.matches("UklG").count(), 2, "{text}");
        hub.conversation.set_no_media();
        assert!(listed(&hub).is_empty());
    }

    #[test]
    fn what_was_fetched_must_be_of_the_kind_by_its_type_and_by_its_bytes() {
        let image = |content_type, bytes: &[u8]| RemoteKind::Image.format_of(content_type, bytes);
        assert_eq!(image("image/png", b"\x89PNG\r\n\x1a\n.."), Some("png"));
        assert_eq!(image("IMAGE/JPG; q=1", b"\xff\xd8\xff\xe0"), Some("jpeg"));
        assert_eq!(image("image/gif", b"GIF89a.."), Some("gif"));
        assert_eq!(image("image/webp", b"RIFF\x10\0\0\0WEBPVP8 "), Some("webp"));
        for (content_type, bytes) in [
            ("image/png", &b"\xff\xd8\xff\xe0"[..]),
            ("image/png", b"<html>"),
            ("image/png", b""),
            ("image/webp", b"RIFF\x10\0\0\0WAVEfmt "),
            ("image/svg+xml", b"<svg/>"),
            ("text/html", b"\x89PNG\r\n\x1a\n"),
            ("application/octet-stream", b"\x89PNG\r\n\x1a\n"),
            ("", b"\x89PNG\r\n\x1a\n"),
            ("application/pdf", b"%PDF-1.7"),
        ] {
            assert_eq!(image(content_type, bytes), None, "{content_type} {bytes:?}");
        }
        let document =
            |content_type, bytes: &[u8]| RemoteKind::Document.format_of(content_type, bytes);
        assert_eq!(document("application/pdf", b"%PDF-1.7"), Some("pdf"));
        assert_eq!(document("text/plain; charset=utf-8", "Grüße".as_bytes()), Some("txt"));
        assert_eq!(document("text/csv", b"a,b"), Some("csv"));
        assert_eq!(
            document("application/msword", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
            Some("doc")
        );
        assert_eq!(document("text/plain", b"a\0b"), None, "no text");
        assert_eq!(document("text/plain", b"\xff\xfe"), None, "no UTF-8");
        assert_eq!(document("image/png", b"\x89PNG\r\n\x1a\n"), None);
        assert_eq!(RemoteKind::Pdf.format_of("text/plain", b"a"), None);
        assert_eq!(RemoteKind::Pdf.format_of("application/pdf", b"%PDF-1.7"), Some("pdf"));
    }
}
