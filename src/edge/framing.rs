//! The strict gate before the HTTP/1 server: it sees the raw bytes first and lets only unambiguous framing through.
//!
//! The server behind it repairs or hides what we must refuse (two lengths, bare LF, fragments). [`head`] is the pure part.

pub mod head;
