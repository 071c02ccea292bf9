//! Bodies of requests: each within a limit, and all that are held at once within another.
//!
//! A body is held from its first byte to the answer, which waits for the look-up of a session, and so
//! is its index. Without the second limit a few hundred large ones would take all memory. A body of
//! the usual size needs no permission: connections are limited, so these are too, and large ones, or
//! such as never come to an end, don't keep the small ones waiting.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Largest body, in bytes. etcd takes objects of 1.5 MiB by default, a review holds little else.
pub const MAX_BODY: usize = 8 << 20;

/// Bytes of all larger bodies together.
pub const MAX_BODIES: usize = 3 * MAX_BODY;

/// Largest body that is read without asking, in bytes; the platform's pods make half of it.
const SMALL: usize = 16 << 10;

/// Why a body is not read: status and message for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Larger than one may be.
    #[error("the body is larger than {MAX_BODY} bytes, the limit here")]
    TooLarge,
    /// No room beside the others.
    #[error("other large bodies are being read, {MAX_BODIES} bytes in all is the limit here; try again")]
    NoRoom,
    /// The connection broke.
    #[error("the body ended early")]
    Incomplete,
}

impl BodyError {
    /// The status to answer with.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            Self::Incomplete => StatusCode::BAD_REQUEST,
        }
    }
}

/// Room for bodies.
#[derive(Debug)]
pub struct Bodies {
    room: Semaphore,
    patience: Duration,
}

/// A body, and the room that it takes as long as this lives.
#[derive(Debug)]
pub struct Held<'r> {
    /// All of it.
    pub bytes: Bytes,
    _room: Option<SemaphorePermit<'r>>,
}

impl Bodies {
    /// Room for [`MAX_BODIES`]; a body that finds none waits so long.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self { room: Semaphore::new(MAX_BODIES), patience }
    }

    /// Reads a request's body.
    ///
    /// # Errors
    /// Where it is too large, alone or beside others, or does not come to its end.
    pub async fn read(&self, request: Request<Body>) -> Result<Held<'_>, BodyError> {
        let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        // What does not say how long it is may be as long as any.
        let length = announced.and_then(|length| length.parse().ok()).unwrap_or(MAX_BODY);
        if length > MAX_BODY {
            return Err(BodyError::TooLarge);
        }
        let room = if length > SMALL { Some(self.room(length).await?) } else { None };
        let bytes = whole(request.into_body(), length).await?;
        Ok(Held { bytes, _room: room })
    }

    async fn room(&self, length: usize) -> Result<SemaphorePermit<'_>, BodyError> {
        let permits = u32::try_from(length).map_err(|_| BodyError::TooLarge)?;
        match tokio::time::timeout(self.patience, self.room.acquire_many(permits)).await {
            Ok(Ok(room)) => Ok(room),
            _ => Err(BodyError::NoRoom),
        }
    }
}

/// All frames of a body. One that comes in one piece is not copied.
async fn whole(mut body: Body, most: usize) -> Result<Bytes, BodyError> {
    let mut first = Bytes::new();
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Incomplete)?.into_data() else { continue };
        if first.len().max(all.len()) + data.len() > most {
            return Err(BodyError::TooLarge);
        }
        if first.is_empty() {
            first = data;
            if body.is_end_stream() {
                break;
            }
        } else {
            if all.is_empty() {
                all.reserve(most.min(body.size_hint().lower().try_into().unwrap_or(most)) + first.len());
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.into() })
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn announced(length: usize) -> Request<Body> {
        Request::post("/").header(header::CONTENT_LENGTH, length).body(vec![b' '; length].into()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_wait_for_each_other_and_not_for_ever() {
        let bodies = Bodies::new(Duration::from_millis(500));
        let mut held = Vec::new();
        for _ in 0..MAX_BODIES / MAX_BODY {
            held.push(bodies.read(announced(MAX_BODY)).await.unwrap());
        }
        let one_more = bodies.read(announced(SMALL + 1)).await.unwrap_err();
        assert_eq!((one_more, one_more.status()), (BodyError::NoRoom, StatusCode::SERVICE_UNAVAILABLE));
        held.pop();
        assert!(bodies.read(announced(MAX_BODY)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn small_bodies_wait_for_nobody() {
        let bodies = Bodies::new(Duration::ZERO);
        let _all = bodies.room.acquire_many(u32::try_from(MAX_BODIES).unwrap()).await.unwrap();
        assert_eq!(bodies.read(announced(SMALL)).await.unwrap().bytes.len(), SMALL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_say_its_length_takes_the_room_of_the_largest() {
        let bodies = Bodies::new(Duration::from_millis(500));
        let rest = u32::try_from(MAX_BODIES - MAX_BODY + 1).unwrap();
        let _rest = bodies.room.acquire_many(rest).await.unwrap();
        let unannounced =
            Request::post("/").body(Body::from_stream(stream::pending::<Result<Bytes, BodyError>>()));
        assert_eq!(bodies.read(unannounced.unwrap()).await.unwrap_err(), BodyError::NoRoom);
    }

    #[tokio::test]
    async fn pieces_are_put_together_in_order() {
        let pieces: Vec<_> =
            ["", "a", "", "bc", "d"].map(|text| Ok::<_, BodyError>(Bytes::from(text))).into();
        let request = Request::post("/").body(Body::from_stream(stream::iter(pieces))).unwrap();
        assert_eq!(Bodies::new(Duration::ZERO).read(request).await.unwrap().bytes, "abcd");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_told_from_a_large_one() {
        let pieces = vec![Ok(Bytes::from("a")), Err(BodyError::Incomplete)];
        let request = Request::post("/").body(Body::from_stream(stream::iter(pieces))).unwrap();
        assert_eq!(Bodies::new(Duration::ZERO).read(request).await.unwrap_err(), BodyError::Incomplete);
        assert_eq!(
            Bodies::new(Duration::ZERO).read(announced(MAX_BODY + 1)).await.unwrap_err(),
            BodyError::TooLarge
        );
    }
}
