//! When the next message may go to a channel: one a second, as Slack asks, and not before a `Retry-After` is over.
//!
//! Each channel has a pace of its own, so a channel that is told to wait slows no other. Nothing is sent or
//! queued from here, and the clock is given from outside.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// The longest `Retry-After` that is honoured; after it the service is asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// With more channels than this in memory, those that are idle are forgotten.
const REMEMBERED: usize = 64;

/// The pace of every channel.
#[derive(Debug)]
pub struct Pace<C: Clock = TokioClock> {
    turns: RateLimiter<String, HashMapStateStore<String>, C, NoOpMiddleware<C::Instant>>,
    paused: Mutex<HashMap<String, C::Instant>>,
    clock: C,
}

/// Tokio's monotonic clock, as time since it was made; it stands still in a test whose clock is paused.
#[derive(Clone, Debug)]
pub struct TokioClock {
    start: Instant,
}

// === impl Pace ===

impl<C: Clock + Clone> Pace<C> {
    /// One message a second for each channel, by this clock.
    #[must_use]
    pub fn new(clock: C) -> Self {
        // A period of one second is never zero, which is all that `with_period` refuses.
        let quota = Quota::with_period(Duration::from_secs(1))
            .unwrap_or_else(|| Quota::per_second(std::num::NonZeroU32::MIN));
        let turns = RateLimiter::new(quota, HashMapStateStore::default(), clock.clone());
        Self {
            turns,
            paused: Mutex::default(),
            clock,
        }
    }

    /// Takes the channel's next turn, or says how long there is none.
    pub fn take(&self, channel: &str) -> Result<(), Duration> {
        if self.turns.len() > REMEMBERED {
            self.forget_idle();
        }
        let now = self.clock.now();
        if let Some(until) = self.paused().get(channel)
            && *until > now
        {
            return Err(until.duration_since(now).into());
        }
        self.turns
            .check_key(&channel.to_owned())
            .map_err(|wait| wait.wait_time_from(now))
    }

    /// Waits for the channel's next turn and takes it. Dropping the future takes no turn.
    ///
    /// The waiting itself is by tokio's clock, so this is of use with [`TokioClock`] only.
    pub async fn wait(&self, channel: &str) {
        while let Err(left) = self.take(channel) {
            tokio::time::sleep(left).await;
        }
    }

    /// Gives the channel no turn for as long as the service asked, ten minutes at most. A shorter pause than
    /// the one that is on changes nothing.
    pub fn pause(&self, channel: &str, retry_after: Duration) {
        let until = self.clock.now() + retry_after.min(LONGEST_PAUSE).into();
        let mut paused = self.paused();
        paused
            .entry(channel.to_owned())
            .and_modify(|known| *known = until.max(*known))
            .or_insert(until);
    }

    /// Forgets the channels that could send at once anyway.
    fn forget_idle(&self) {
        let now = self.clock.now();
        self.paused().retain(|_, until| *until > now);
        self.turns.retain_recent();
    }

    fn paused(&self) -> MutexGuard<'_, HashMap<String, C::Instant>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new(TokioClock {
            start: Instant::now(),
        })
    }
}

// === impl TokioClock ===

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Self::Instant {
        self.start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace() -> (Pace<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Pace::new(clock.clone()), clock)
    }

    fn remembered(pace: &Pace<FakeRelativeClock>) -> usize {
        pace.turns.len().max(pace.paused().len())
    }

    #[test]
    fn a_channel_gets_one_turn_a_second() {
        let (pace, clock) = pace();
        assert_eq!(pace.take("C1"), Ok(()));
        assert_eq!(pace.take("C1"), Err(SECOND));
        clock.advance(Duration::from_millis(400));
        assert_eq!(pace.take("C1"), Err(Duration::from_millis(600)));
        clock.advance(Duration::from_millis(600));
        assert_eq!(pace.take("C1"), Ok(()));
    }

    #[test]
    fn an_idle_channel_saves_up_no_turns() {
        let (pace, clock) = pace();
        assert_eq!(pace.take("C1"), Ok(()));
        clock.advance(60 * SECOND);
        assert_eq!(pace.take("C1"), Ok(()));
        assert_eq!(pace.take("C1"), Err(SECOND));
    }

    #[test]
    fn a_pause_holds_one_channel_and_no_other() {
        let (pace, clock) = pace();
        pace.pause("C1", 30 * SECOND);
        assert_eq!(pace.take("C1"), Err(30 * SECOND));
        assert_eq!(pace.take("C2"), Ok(()));
        pace.pause("C1", SECOND);
        clock.advance(29 * SECOND);
        assert_eq!(
            pace.take("C1"),
            Err(SECOND),
            "a shorter pause must not end a longer one"
        );
        clock.advance(SECOND);
        assert_eq!(pace.take("C1"), Ok(()));
    }

    #[test]
    fn an_absurd_pause_is_bounded() {
        let (pace, _clock) = pace();
        pace.pause("C1", Duration::MAX);
        assert_eq!(pace.take("C1"), Err(LONGEST_PAUSE));
    }

    #[test]
    fn idle_channels_are_forgotten() {
        let (pace, clock) = pace();
        for n in 0..1_000 {
            let channel = format!("C{n}");
            pace.pause(&channel, SECOND);
            clock.advance(2 * SECOND);
            assert_eq!(pace.take(&channel), Ok(()));
            assert!(
                remembered(&pace) <= REMEMBERED + 1,
                "{} after {n}",
                remembered(&pace)
            );
        }
        pace.pause("busy", 10 * SECOND);
        clock.advance(5 * SECOND);
        pace.forget_idle();
        assert_eq!(remembered(&pace), 1);
        assert_eq!(pace.take("busy"), Err(5 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_follows_the_pause_and_the_pace() {
        let pace = Pace::default();
        let start = Instant::now();
        pace.wait("C1").await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        pace.wait("C1").await;
        assert!((SECOND..2 * SECOND).contains(&start.elapsed()));
        pace.pause("C1", 7 * SECOND);
        let paused = Instant::now();
        pace.wait("C1").await;
        assert!((7 * SECOND..8 * SECOND).contains(&paused.elapsed()));
    }
}
