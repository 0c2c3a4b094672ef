//! What a candidate does about the lease's record: pure, no I/O and no clock.
//!
//! The times inside the record were written by another machine's clock and are never compared with ours. All that
//! counts is for how long, on our own monotonic clock, nobody has written to the record.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::MicroTime};

/// The next thing to do about the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// There is no record: write the first one.
    Create,
    /// The record names us: write a new renewal time.
    Renew,
    /// The record names nobody, or somebody who has been silent for as long as they promised not to be.
    TakeOver,
    /// Somebody else holds it; it may be taken after this long, should they stay silent.
    Wait(Duration),
}

/// Decides what `us` may do about a record that nobody has written to for `unchanged_for`.
///
/// The holder's own promise of how often it writes counts before `ours`, so that replicas with different settings (as
/// during an upgrade) still agree.
pub(super) fn decide(
    seen: Option<&LeaseSpec>,
    unchanged_for: Duration,
    us: &str,
    ours: Duration,
) -> Move {
    let Some(spec) = seen else {
        return Move::Create;
    };
    match holder(spec) {
        None => Move::TakeOver,
        Some(holder) if holder == us => Move::Renew,
        Some(_) => {
            let left = promised(spec).unwrap_or(ours).saturating_sub(unchanged_for);
            if left.is_zero() {
                Move::TakeOver
            } else {
                Move::Wait(left)
            }
        }
    }
}

/// Who holds the lease; an empty name is nobody.
pub(super) fn holder(spec: &LeaseSpec) -> Option<&str> {
    spec.holder_identity
        .as_deref()
        .filter(|name| !name.is_empty())
}

/// The record that claims the lease for `us`: a renewal when `before` names us already, else a new tenure.
pub(super) fn claim(
    before: Option<&LeaseSpec>,
    us: &str,
    duration: Duration,
    now: Timestamp,
) -> LeaseSpec {
    let mut spec = before.cloned().unwrap_or_default();
    if holder(&spec) != Some(us) {
        spec.holder_identity = Some(us.to_owned());
        spec.acquire_time = Some(MicroTime(now));
        let earlier = spec.lease_transitions.unwrap_or(0);
        spec.lease_transitions = Some(before.map_or(0, |_| earlier.saturating_add(1)));
    }
    spec.renew_time = Some(MicroTime(now));
    spec.lease_duration_seconds = Some(whole_seconds(duration));
    spec
}

/// The record that gives the lease up, so that the next candidate need not wait.
pub(super) fn release(before: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        renew_time: Some(MicroTime(now)),
        ..before.clone()
    }
}

/// How long the holder said it would be silent at most.
fn promised(spec: &LeaseSpec) -> Option<Duration> {
    let seconds = u64::try_from(spec.lease_duration_seconds?).ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Rounded up: the record holds whole seconds, and others must never wait for less than we count on.
fn whole_seconds(duration: Duration) -> i32 {
    let up = u64::from(duration.subsec_nanos() > 0);
    i32::try_from(duration.as_secs().saturating_add(up)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Duration = Duration::from_secs(5);

    fn record(holder: Option<&str>, seconds: Option<i32>) -> LeaseSpec {
        LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: seconds,
            lease_transitions: Some(7),
            acquire_time: Some(MicroTime(at("2020-01-01T00:00:00Z"))),
            renew_time: Some(MicroTime(at("2020-01-01T00:00:00Z"))),
            ..LeaseSpec::default()
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn decides_by_holder_and_observed_silence() {
        let millis = Duration::from_millis;
        let table = [
            (None, 0, Move::Create),
            (Some(record(None, Some(5))), 0, Move::TakeOver),
            (Some(record(Some(""), Some(5))), 0, Move::TakeOver),
            (Some(record(Some("us"), Some(5))), 0, Move::Renew),
            // Ours although it has run out: nobody else has taken it, and the write's precondition proves that.
            (Some(record(Some("us"), Some(5))), 60_000, Move::Renew),
            (
                Some(record(Some("them"), Some(5))),
                0,
                Move::Wait(millis(5000)),
            ),
            (
                Some(record(Some("them"), Some(5))),
                4999,
                Move::Wait(millis(1)),
            ),
            (Some(record(Some("them"), Some(5))), 5000, Move::TakeOver),
            // The holder's promise counts, whether longer or shorter than ours.
            (
                Some(record(Some("them"), Some(15))),
                5000,
                Move::Wait(millis(10_000)),
            ),
            (Some(record(Some("them"), Some(2))), 2000, Move::TakeOver),
            // No usable promise: ours.
            (
                Some(record(Some("them"), None)),
                4000,
                Move::Wait(millis(1000)),
            ),
            (
                Some(record(Some("them"), Some(0))),
                4000,
                Move::Wait(millis(1000)),
            ),
            (
                Some(record(Some("them"), Some(-3))),
                4000,
                Move::Wait(millis(1000)),
            ),
        ];
        for (seen, silent, expected) in table {
            assert_eq!(
                decide(seen.as_ref(), millis(silent), "us", OURS),
                expected,
                "{seen:?} silent for {silent} ms"
            );
        }
    }

    #[test]
    fn a_new_tenure_counts_a_transition_and_a_renewal_does_not() {
        let now = at("2026-11-22T03:00:00Z");
        let taken = claim(
            Some(&record(Some("them"), Some(15))),
            "us",
            Duration::from_millis(4200),
            now,
        );
        assert_eq!(holder(&taken), Some("us"));
        assert_eq!(taken.lease_transitions, Some(8));
        assert_eq!(taken.acquire_time, Some(MicroTime(now)));
        assert_eq!(taken.lease_duration_seconds, Some(5));

        let later = at("2026-11-22T03:00:01Z");
        let renewed = claim(Some(&taken), "us", OURS, later);
        assert_eq!(renewed.lease_transitions, Some(8));
        assert_eq!(renewed.acquire_time, Some(MicroTime(now)));
        assert_eq!(renewed.renew_time, Some(MicroTime(later)));

        assert_eq!(claim(None, "us", OURS, now).lease_transitions, Some(0));

        let released = release(&renewed, later);
        assert_eq!(holder(&released), None);
        assert_eq!(
            decide(Some(&released), Duration::ZERO, "them", OURS),
            Move::TakeOver
        );
    }
}
