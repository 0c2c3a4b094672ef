//! How one turn of a contender ended. It only says what was seen.

use std::fmt;

/// The end of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// The good release serves alone, is what the spec asks for, and the Rollout is Healthy.
    Healthy,
    /// The good release serves alone, and the spec still asks for the bad one: the Rollout is Degraded.
    Degraded,
    /// Nothing was touched, and a person was called with the reason.
    Called,
    /// No bad answer came at the end, and it is neither of these.
    Unfinished,
    /// The bad release still serves.
    Bad,
    /// Nobody serves.
    Nobody,
}

/// What was seen of a turn. Times are in seconds from its beginning.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    /// The first change that the contender made, as the audit log has it.
    pub(crate) first_change: Option<f64>,
    /// The last bad answer that came after the beginning, if one did.
    pub(crate) last_bad: Option<f64>,
    /// From when on the good release was live, stable and Healthy.
    pub(crate) healthy: Option<f64>,
    /// When a person had been called.
    pub(crate) called: Option<f64>,
    /// Who serves, and what the Rollout says of itself.
    pub(crate) seen: String,
    /// What people read last.
    pub(crate) said: String,
}

// === impl End ===

impl End {
    /// Whether the users are served by the good release.
    pub(crate) const fn is_back(self) -> bool {
        matches!(self, Self::Healthy | Self::Degraded)
    }

    /// The end in the table, of a turn that had this many seconds.
    pub(crate) fn text(self, bound: u16) -> String {
        match self {
            Self::Healthy => "back, Healthy".to_owned(),
            Self::Degraded => "back; Degraded, the spec stays bad".to_owned(),
            Self::Called => "not touched; a person is called".to_owned(),
            Self::Unfinished => format!("**not done** after {bound} s"),
            Self::Bad => format!("**still bad** after {bound} s"),
            Self::Nobody => format!("**nobody serves** after {bound} s"),
        }
    }
}

// === impl Outcome ===

impl fmt::Display for Outcome {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = [
            ("first change", self.first_change),
            ("last bad answer", self.last_bad),
            ("Healthy", self.healthy),
            ("called", self.called),
        ];
        write!(to, "{:?} ({})", self.end, self.seen)?;
        for (what, at) in times {
            if let Some(at) = at {
                write!(to, ", {what} {at:.2} s")?;
            }
        }
        if self.said.is_empty() {
            Ok(())
        } else {
            write!(to, "; said: {}", self.said)
        }
    }
}
