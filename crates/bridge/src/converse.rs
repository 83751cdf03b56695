//! Converse, the hub's form at targets: its requests and answers are written and read here, whole and in streams.

mod answer;
mod json_answer;
mod params;
mod read;
mod shapes;
mod stop;
mod stream_reader;
mod stream_writer;
mod write;

pub(crate) use self::answer::{read_answer, write_answer};
pub(crate) use self::read::read_request;
pub(crate) use self::stream_reader::StreamReader;
pub(crate) use self::stream_writer::StreamWriter;
pub(crate) use self::write::write_request;

#[cfg(test)]
mod tests;
