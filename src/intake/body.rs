//! Reading a body within bounds: of its size, of its time, and of the memory that all bodies take together.
//!
//! Room is taken before bytes are, from one budget for all requests, and given back when the notification in the body
//! has been dealt with. A body that is not wanted is thrown away piece by piece, so that its sender gets to read the
//! answer instead of a reset connection.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::telemetry::Metrics;

/// What is decoded from a body takes up to so many times the body's size: many alerts that say next to nothing take the
/// most. A body is charged with this.
pub(super) const DECODED: usize = 8;
/// The unit of the budget, in bytes.
const BLOCK: usize = 1024;
/// How much more room a body of unknown length takes at a time, in bytes.
const STRIDE: usize = 64 * BLOCK;
/// How much of an unwanted body is thrown away, in bytes.
const DISCARDED: usize = 64 * 1024 * 1024;
/// How long an unwanted body is thrown away.
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// The memory that bodies may take together.
#[derive(Debug)]
pub(super) struct Budget {
    free: Arc<Semaphore>,
    metrics: Metrics,
}

/// Room in the budget; given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    permits: OwnedSemaphorePermit,
    metrics: Metrics,
}

/// How a body is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The largest body, in bytes.
    pub(super) largest: usize,
    /// How long the whole body may take.
    pub(super) time: Duration,
    /// How long room is waited for.
    pub(super) patience: Duration,
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// It is too large.
    TooLarge,
    /// There was no room in time.
    Overloaded,
    /// It did not arrive in time.
    Slow,
    /// It broke off.
    Interrupted,
}

// === impl Budget ===

impl Budget {
    /// A budget of so many bytes, rounded down to whole KiB.
    pub(super) fn new(bytes: usize, metrics: Metrics) -> Self {
        let blocks = (bytes / BLOCK).min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(blocks)),
            metrics,
        }
    }

    /// Waits for room for so many bytes of a body and what is decoded from them.
    async fn room(&self, bytes: usize, patience: Duration) -> Result<Room, Refusal> {
        let blocks = bytes.div_ceil(BLOCK) * DECODED;
        let blocks = u32::try_from(blocks).map_err(|_| Refusal::TooLarge)?;
        let permits = self.free.clone().acquire_many_owned(blocks);
        match timeout(patience, permits).await {
            Ok(Ok(permits)) => {
                self.metrics.bytes_in_flight(size(&permits));
                Ok(Room {
                    permits,
                    metrics: self.metrics.clone(),
                })
            }
            Ok(Err(_)) | Err(_) => Err(Refusal::Overloaded),
        }
    }

    /// Reads a body. The room is to be kept for as long as anything made from the body is.
    pub(super) async fn read(
        &self,
        body: &mut Body,
        bounds: Bounds,
    ) -> Result<(Vec<u8>, Room), Refusal> {
        let length = HttpBody::size_hint(body).exact();
        let expected = match length.map(usize::try_from) {
            None => STRIDE.min(bounds.largest),
            Some(Ok(length)) if length <= bounds.largest => length,
            Some(_) => return Err(Refusal::TooLarge),
        };
        let mut room = self.room(expected, bounds.patience).await?;
        let bytes = timeout(bounds.time, self.collect(body, bounds, &mut room))
            .await
            .unwrap_or(Err(Refusal::Slow))?;
        Ok((bytes, room))
    }

    /// Puts the pieces together, with more room whenever they need it.
    async fn collect(
        &self,
        body: &mut Body,
        bounds: Bounds,
        room: &mut Room,
    ) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Refusal::Interrupted)?.into_data() else {
                continue; // trailers
            };
            let needed = bytes.len() + data.len();
            if needed > bounds.largest {
                return Err(Refusal::TooLarge);
            }
            if needed > room.bytes() {
                let missing = (needed - room.bytes()).max(STRIDE);
                let missing = missing.min(bounds.largest.next_multiple_of(BLOCK) - room.bytes());
                room.merge(self.room(missing, bounds.patience).await?);
            }
            if needed > bytes.capacity() {
                // As much as there is room for: growing by doubling would take memory that was not asked for.
                bytes.reserve_exact(room.bytes() - bytes.len());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }
}

// === impl Room ===

impl Room {
    /// How much of a body there is room for.
    fn bytes(&self) -> usize {
        self.permits.num_permits() / DECODED * BLOCK
    }

    fn merge(&mut self, mut other: Self) {
        if let Some(permits) = other.permits.split(other.permits.num_permits()) {
            self.permits.merge(permits);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.metrics.bytes_in_flight(-size(&self.permits));
    }
}

/// Throws a body away, within bounds, while the answer goes out.
pub(super) fn discard(mut body: Body) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(timeout(DISCARD_TIME, async move {
        let mut left = DISCARDED;
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(size) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    }));
}

/// The bytes that permits stand for, as the gauge counts them.
fn size(permits: &OwnedSemaphorePermit) -> i64 {
    i64::try_from(permits.num_permits() * BLOCK).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        largest: 200 * BLOCK,
        time: Duration::from_secs(5),
        patience: Duration::from_millis(50),
    };

    fn gauge(metrics: &Metrics) -> i64 {
        let text = metrics.encode();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("ripcord_bytes_in_flight "));
        line.unwrap().parse().unwrap()
    }

    /// A body of unknown length.
    fn pieces(count: usize, size: usize) -> Body {
        let piece = move |n: usize| Ok::<_, Infallible>(vec![u8::try_from(n % 251).unwrap(); size]);
        Body::from_stream(stream::iter((0..count).map(piece)))
    }

    #[tokio::test]
    async fn room_is_taken_before_bytes_and_given_back() {
        let metrics = Metrics::new("1");
        let budget = Budget::new(300 * BLOCK * DECODED, metrics.clone());
        let mut body = Body::from(vec![b'x'; 1500]);
        let (bytes, room) = budget.read(&mut body, BOUNDS).await.unwrap();
        assert_eq!(
            (bytes.len(), room.bytes(), gauge(&metrics)),
            (1500, 2048, 2048 * 8)
        );
        assert!(bytes.capacity() <= 2048);

        let (bytes, more) = budget.read(&mut pieces(100, 2000), BOUNDS).await.unwrap();
        assert_eq!(bytes.len(), 200_000);
        assert_eq!(bytes[2000..2002], [1, 1]);
        assert!(bytes.capacity() <= more.bytes(), "{}", bytes.capacity());
        assert!(more.bytes() <= BOUNDS.largest);
        drop(more);
        assert_eq!(gauge(&metrics), 2048 * 8);
        drop(room);
        assert_eq!(gauge(&metrics), 0);
    }

    #[tokio::test]
    async fn a_body_of_unknown_length_is_cut_off_at_the_bound() {
        let metrics = Metrics::new("1");
        let budget = Budget::new(1000 * BLOCK * DECODED, metrics.clone());
        let found = budget.read(&mut pieces(300, BLOCK), BOUNDS).await;
        assert_eq!(found.unwrap_err(), Refusal::TooLarge);
        let found = budget.read(&mut pieces(200, BLOCK), BOUNDS).await;
        assert_eq!(found.unwrap().0.len(), BOUNDS.largest);
        assert_eq!(gauge(&metrics), 0);
    }

    #[tokio::test]
    async fn a_body_waits_for_room_and_not_forever() {
        let budget = Budget::new(100 * BLOCK * DECODED, Metrics::new("1"));
        let (_, held) = budget
            .read(&mut Body::from(vec![0; 60 * BLOCK]), BOUNDS)
            .await
            .unwrap();
        let found = budget
            .read(&mut Body::from(vec![0; 60 * BLOCK]), BOUNDS)
            .await;
        assert_eq!(found.unwrap_err(), Refusal::Overloaded);
        // One of unknown length gets its first room, and not its second.
        let found = budget.read(&mut pieces(90, BLOCK), BOUNDS).await;
        assert_eq!(found.unwrap_err(), Refusal::Overloaded);

        let mut patient = BOUNDS;
        patient.patience = Duration::from_secs(5);
        let mut body = Body::from(vec![0; 60 * BLOCK]);
        let (found, ()) = tokio::join!(budget.read(&mut body, patient), async move {
            tokio::task::yield_now().await;
            drop(held);
        });
        assert_eq!(found.unwrap().0.len(), 60 * BLOCK);
    }
}
