//! Frames of any bytes: read within their bounds, or not at all.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::bedrock::Usage;
use sluice::bedrock::event_stream::Frame;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some(frame)) = Frame::read(rest) {
        assert!(frame.payload.len() < frame.len);
        frame.kind();
        Usage::from_frame(&frame);
        rest = rest.get(frame.len..).expect("a frame that was read is all there");
    }
});
