//! The body of a bidirectional stream, on its way from the client to the attempt that sends it.

use std::fmt;

use parking_lot::Mutex;

use crate::bedrock::sigv4::EventChain;
use crate::upstream::events::Source;

/// A body that is read while its request is answered, and the signatures that its events must have,
/// if the client signs them.
///
/// The mutex is never locked. It only makes the type `Sync`, so that references to a request may
/// cross threads.
pub(super) struct StreamingBody(Mutex<(Source, Option<EventChain>)>);

impl StreamingBody {
    pub(super) fn new(source: Source, chain: Option<EventChain>) -> StreamingBody {
        StreamingBody(Mutex::new((source, chain)))
    }

    /// The body, and the signatures that its events must have.
    pub(super) fn into_inner(self) -> (Source, Option<EventChain>) {
        self.0.into_inner()
    }
}

impl fmt::Debug for StreamingBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamingBody(..)")
    }
}
