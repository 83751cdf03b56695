//! The documentation agrees with the program: links resolve, examples load, and everything that a page
//! names exists.
//!
//! A page is a Markdown file of the repository. Its code blocks and inline code are checked,
//! its prose is not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod examples;
mod iam;
mod links;
mod names;
mod page;
mod readme;
mod sdk_members;
mod stable_names;
