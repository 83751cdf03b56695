//! Reads the content of a message: a text, or a list of parts.

use std::borrow::Cow;

use super::request::Reader;
use crate::conversation::{At, Block, BlockKind, Media, MediaSource, Role};
use crate::fields;
use crate::media::{self, MediaKind};
use crate::value::{Members, Value};

impl<'a> Reader<'_, '_, 'a> {
    pub(super) fn content(
        &mut self,
        at: At,
        value: Value<'a>,
        role: Role,
        blocks: &mut Vec<Block<'a>>,
    ) -> Option<()> {
        if fields::is_text(value) {
            let Some(text) = fields::prompt_text(value) else {
                return self.refuse(format!("{}.content", at.param()), "must be a text");
            };
            // An assistant that only used tools says nothing.
            if role != Role::Assistant || !text.is_empty() {
                blocks.push(Block { at, kind: BlockKind::Text(text) });
            }
            return Some(());
        }
        let Some(elements) = fields::elements(value) else {
            let why = "must be a text or a list of parts";
            return self.refuse(format!("{}.content", at.param()), why);
        };
        for (index, element) in elements.into_iter().enumerate() {
            let at = At { part: u32::try_from(index).ok(), ..at };
            self.part(at, element, role, blocks)?;
        }
        Some(())
    }

    fn part(
        &mut self,
        at: At,
        value: Value<'a>,
        role: Role,
        blocks: &mut Vec<Block<'a>>,
    ) -> Option<()> {
        let members = self.object(value, || at.param())?;
        let kind = self.text_in(&members, "type", || at.param())?;
        let is_user = role == Role::User;
        let (name, kind) = match kind.as_ref() {
            "text" => {
                ("text", BlockKind::Text(self.prompt_text_in(&members, "text", || at.param())?))
            }
            "refusal" if role == Role::Assistant => {
                let text = self.prompt_text_in(&members, "refusal", || at.param())?;
                ("refusal", BlockKind::Text(text))
            }
            "image_url" if is_user => ("image_url", self.image(at, &members)?),
            "file" if is_user => ("file", self.file(at, &members)?),
            "input_audio" if is_user => ("input_audio", self.audio(at, &members)?),
            _ => {
                let why = match role {
                    Role::User => "must be `text`, `image_url`, `file` or `input_audio`",
                    Role::Assistant => "must be `text` or `refusal`",
                    Role::System => "must be `text`",
                };
                return self.refuse(format!("{}.type", at.param()), why);
            }
        };
        let known = ["type", name, "cache_control", "prompt_cache_breakpoint"];
        self.only(&members, &known, || at.param())?;
        blocks.push(Block { at, kind });
        self.cache_point(at, &members, blocks)
    }

    /// The prompt is to be cached up to the end of the part: `cache_control`, as clients of Claude write it, or
    /// OpenAI's own `prompt_cache_breakpoint`.
    fn cache_point(
        &mut self,
        at: At,
        members: &Members<'a>,
        blocks: &mut Vec<Block<'a>>,
    ) -> Option<()> {
        let ttl = if let Some(value) = members.get("cache_control") {
            self.cache_ttl(value, || format!("{}.cache_control", at.param()))?
        } else if let Some(value) = members.get("prompt_cache_breakpoint") {
            let place = || format!("{}.prompt_cache_breakpoint", at.param());
            let members = self.object(value, place)?;
            self.only(&members, &["mode"], place)?;
            if members.get("mode").and_then(fields::text).as_deref() != Some("explicit") {
                return self.refuse(format!("{}.mode", place()), "must be `explicit`");
            }
            self.breakpoint_ttl
        } else {
            return Some(());
        };
        blocks.push(Block { at, kind: BlockKind::CachePoint(ttl) });
        Some(())
    }

    fn image(&mut self, at: At, members: &Members<'a>) -> Option<BlockKind<'a>> {
        let place = || format!("{}.image_url", at.param());
        let Some(value) = members.get("image_url") else {
            return self.refuse(place(), "must be an object");
        };
        let image = self.object(value, place)?;
        self.only(&image, &["url", "detail"], place)?;
        self.detail(at, &image)?;
        let url = self.text_in(&image, "url", place)?;
        let param = || format!("{}.url", place());
        if url.starts_with("https://") {
            let (format, source) = (Cow::Borrowed(""), MediaSource::Url(url));
            return Some(BlockKind::Image(Media { format, source }));
        }
        if url.starts_with("s3://") {
            let format = media::of_name(&url).filter(|(kind, _)| *kind == MediaKind::Image);
            let Some((_, format)) = format else {
                return self.refuse(param(), "must end with `.png`, `.jpeg`, `.gif` or `.webp`");
            };
            let source = MediaSource::S3 { uri: url, owner: None };
            return Some(BlockKind::Image(Media { format: Cow::Borrowed(format), source }));
        }
        let Some((mime, base64)) = media::data_url(&url) else {
            let why = "must be a data URL in base64, an https:// address or an s3:// URI";
            return self.refuse(param(), why);
        };
        match media::of_mime(&mime) {
            Some((MediaKind::Image, format)) => {
                let source = MediaSource::Base64(base64);
                Some(BlockKind::Image(Media { format: Cow::Borrowed(format), source }))
            }
            _ => self.refuse(param(), "must be a PNG, JPEG, GIF or WebP image"),
        }
    }

    /// Models on Bedrock see images as they are. A wish for less is not left out in silence.
    fn detail(&mut self, at: At, image: &Members<'a>) -> Option<()> {
        match image.get("detail").map(|value| fields::text(value).unwrap_or_default()).as_deref() {
            None | Some("auto" | "high") => Some(()),
            Some("low") => {
                let why = format!(
                    "`low` of {} is not served by models on Bedrock; leave it out or set it to `auto`",
                    at.param()
                );
                self.report.unsupported("image_url.detail", false, &why);
                Some(())
            }
            Some(_) => {
                let param = format!("{}.image_url.detail", at.param());
                self.refuse(param, "must be `auto`, `low` or `high`")
            }
        }
    }

    /// A file: mostly a document. Its media type says what it is, or else its name.
    fn file(&mut self, at: At, members: &Members<'a>) -> Option<BlockKind<'a>> {
        let place = || format!("{}.file", at.param());
        let Some(value) = members.get("file") else {
            return self.refuse(place(), "must be an object");
        };
        let file = self.object(value, place)?;
        self.only(&file, &["file_data", "filename", "file_id"], place)?;
        if file.get("file_id").is_some() {
            let why = "is not served: this gateway keeps no files; send `file_data`";
            return self.refuse(format!("{}.file_id", place()), why);
        }
        let name = match file.get("filename") {
            Some(_) => Some(self.text_in(&file, "filename", place)?),
            None => None,
        };
        let data = self.text_in(&file, "file_data", place)?;
        let by_name = || name.as_deref().and_then(media::of_name);
        let (found, base64) = match media::data_url(&data) {
            Some((mime, base64)) => (media::of_mime(&mime).or_else(by_name), base64),
            None if data.starts_with("data:") => (None, data),
            None => (by_name(), data),
        };
        let Some((kind, format)) = found else {
            let why = "must be a data URL in base64 of a type that Converse takes: PDF, CSV, DOC, \
                       DOCX, XLS, XLSX, HTML, TXT, MD, or an image, a sound or a film";
            return self.refuse(format!("{}.file_data", place()), why);
        };
        let media = Media { format: Cow::Borrowed(format), source: MediaSource::Base64(base64) };
        Some(match kind {
            MediaKind::Image => BlockKind::Image(media),
            MediaKind::Document => BlockKind::Document { media, name, context: None, cites: false },
            MediaKind::Audio => BlockKind::Audio(media),
            MediaKind::Video => BlockKind::Video(media),
        })
    }

    fn audio(&mut self, at: At, members: &Members<'a>) -> Option<BlockKind<'a>> {
        let place = || format!("{}.input_audio", at.param());
        let Some(value) = members.get("input_audio") else {
            return self.refuse(place(), "must be an object");
        };
        let audio = self.object(value, place)?;
        self.only(&audio, &["data", "format"], place)?;
        let data = self.text_in(&audio, "data", place)?;
        let format = self.text_in(&audio, "format", place)?;
        match media::of_name(&format) {
            Some((MediaKind::Audio, format)) => {
                let source = MediaSource::Base64(data);
                Some(BlockKind::Audio(Media { format: Cow::Borrowed(format), source }))
            }
            _ => self.refuse(format!("{}.format", place()), "must be `wav` or `mp3`"),
        }
    }
}
