//! The documentation and the program say the same: links resolve, examples load, and what a page names
//! exists.
//!
//! A page is a Markdown file of the repository. Its code blocks and inline code are read as they
//! stand; prose is not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod examples;
mod links;
mod names;
mod page;
mod readme;
