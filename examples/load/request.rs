//! What is sent: heads made from a template, and one body.

use std::io::IoSlice;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::{Args, Failure};

/// Stands in path and headers for a line of the variants.
const HOLE: &str = "{}";

/// All that requests have in common.
pub(crate) struct Template {
    /// The head, cut at each hole.
    pieces: Vec<String>,
    variants: Vec<String>,
    body: Vec<u8>,
}

impl Template {
    pub(crate) fn new(args: &Args) -> Result<Template, Failure> {
        let body = std::fs::read(&args.body)?;
        let mut head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n",
            args.path,
            args.to,
            body.len()
        );
        for header in &args.headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        let variants = match &args.variants {
            Some(file) => std::fs::read_to_string(file)?.lines().map(str::to_owned).collect(),
            None => Vec::new(),
        };
        Ok(Template { pieces: head.split(HOLE).map(str::to_owned).collect(), variants, body })
    }

    /// Writes request `number`. `head` is room that is used again.
    pub(crate) async fn write(
        &self,
        socket: &mut TcpStream,
        head: &mut Vec<u8>,
        number: usize,
    ) -> Result<(), Failure> {
        let variant = number.checked_rem(self.variants.len()).and_then(|it| self.variants.get(it));
        head.clear();
        for (index, piece) in self.pieces.iter().enumerate() {
            if index > 0 {
                head.extend_from_slice(variant.map_or(HOLE, String::as_str).as_bytes());
            }
            head.extend_from_slice(piece.as_bytes());
        }
        let mut parts = [IoSlice::new(head), IoSlice::new(&self.body)];
        let mut left = parts.as_mut_slice();
        while !left.is_empty() {
            let written = socket.write_vectored(left).await?;
            if written == 0 {
                return Err("the connection takes no more bytes".into());
            }
            IoSlice::advance_slices(&mut left, written);
        }
        Ok(())
    }
}
