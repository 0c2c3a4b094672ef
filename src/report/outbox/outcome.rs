//! What became of attempts to report: a closed set, fit for a metric's label.

/// What became of one attempt to report, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Slack took the message.
    Delivered,
    /// Slack asked to wait.
    Limited,
    /// It failed without an effect, and is tried again.
    Retried,
    /// It may have had an effect, and is tried again once Slack answers.
    Unknown,
    /// The message was out of reach; a new one is posted.
    Anew,
    /// A person must change something first.
    Refused,
    /// The message is in Slack, but the record of it could not be written.
    Unrecorded,
    /// No channel is configured for the rollback.
    NoChannel,
}

// === impl Outcome ===

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 8] = [
        Self::Delivered,
        Self::Limited,
        Self::Retried,
        Self::Unknown,
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
            Self::Anew => "anew",
            Self::Refused => "refused",
            Self::Unrecorded => "unrecorded",
            Self::NoChannel => "no_channel",
        }
    }
}
