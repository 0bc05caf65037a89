//! The strict gate before the HTTP/1 server: it sees the raw bytes first and lets only unambiguous framing through.
//!
//! The server behind it repairs or hides what we must refuse (two lengths, bare LF, fragments). [`head`] and [`chunked`] are the pure
//! parts, [`gate`] the stream that calls them, [`state`] what the listener knows of it.

pub mod chunked;
pub mod gate;
pub mod head;
pub mod state;
