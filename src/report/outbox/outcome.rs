//! What became of attempts to report: a closed set, fit for a metric's label.

/// What became of one attempt to report, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The message was taken.
    Delivered,
    /// The other side asked to wait.
    Limited,
    /// It failed without an effect, and is tried again.
    Retried,
    /// It may have had an effect, and is tried again.
    Unknown,
    /// It may have had an effect, and is not tried again.
    GivenUp,
    /// The message was out of reach; a new one is posted.
    Anew,
    /// A person must change something first.
    Refused,
    /// The message was taken, but the record of it could not be written.
    Unrecorded,
    /// There is nowhere to tell of the rollback.
    NoChannel,
}

// === impl Outcome ===

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 9] = [
        Self::Delivered,
        Self::Limited,
        Self::Retried,
        Self::Unknown,
        Self::GivenUp,
        Self::Anew,
        Self::Refused,
        Self::Unrecorded,
        Self::NoChannel,
    ];

    /// The outcome as a metric's label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Limited => "limited",
            Self::Retried => "retried",
            Self::Unknown => "unknown",
            Self::GivenUp => "given_up",
            Self::Anew => "anew",
            Self::Refused => "refused",
            Self::Unrecorded => "unrecorded",
            Self::NoChannel => "no_channel",
        }
    }
}
