//! Receiving a body: not more of it than is wanted, and not for longer than a sender needs.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// Longest wait for a whole body; shorter than the wait for the answer of the page that reads it.
const ARRIVES_WITHIN: Duration = Duration::from_secs(20);

/// Why a body is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveFault {
    /// More than is read.
    #[error("the body is too long")]
    TooLong,
    /// It did not arrive in time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The client went away.
    #[error("the body is broken off")]
    BrokenOff,
}

/// At most `limit` bytes, in time.
pub async fn body(body: Body, limit: usize) -> Result<Bytes, ReceiveFault> {
    let receiving = Limited::new(body, limit).collect();
    match tokio::time::timeout(ARRIVES_WITHIN, receiving).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ReceiveFault::TooLong),
        Ok(Err(_)) => Err(ReceiveFault::BrokenOff),
        Err(_) => Err(ReceiveFault::TooSlow),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::{ReceiveFault, body};

    #[tokio::test(start_paused = true)]
    async fn d10_a_body_that_does_not_arrive_is_not_waited_for() {
        let began = tokio::time::Instant::now();
        let pieces = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>("a"), ()))
        });
        let received = body(Body::from_stream(pieces), 1024).await;
        assert_eq!(received.err(), Some(ReceiveFault::TooSlow));
        assert_eq!(began.elapsed().as_secs(), 20);
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_the_limit() {
        assert_eq!(body(Body::from("abc"), 3).await.unwrap(), "abc");
        let longer = body(Body::from("abcd"), 3).await;
        assert_eq!(longer, Err(ReceiveFault::TooLong));
        let pieces = [Ok("a"), Err(std::io::Error::other("gone"))];
        let broken = Body::from_stream(futures_util::stream::iter(pieces));
        assert_eq!(body(broken, 3).await, Err(ReceiveFault::BrokenOff));
    }
}
