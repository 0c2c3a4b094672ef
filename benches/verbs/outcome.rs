//! How one turn of a contender ended. It only says what was seen.

use std::fmt;

use crate::cache::Left;

/// The end of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// The good release serves alone, is what the spec asks for, and the Rollout is Healthy.
    Healthy,
    /// The good release serves alone, and the spec still asks for the bad one: the Rollout is Degraded.
    Degraded,
    /// Good pods of something else than the Rollout serve alone, and the Rollout is as it was.
    Elsewhere,
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
    /// When a person was asked for an approval, which was given at once.
    pub(crate) asked: Option<f64>,
    /// When the script or the procedure had ended.
    pub(crate) ended: Option<f64>,
    /// The line at which a script ended before its end.
    pub(crate) stopped: Option<String>,
    /// What Ripcord ran.
    pub(crate) ran: Option<Ran>,
    /// What is left besides the release, where there is something.
    pub(crate) left: Option<Left>,
    /// Who serves, and what the Rollout says of itself.
    pub(crate) seen: String,
    /// What people read last.
    pub(crate) said: String,
}

/// The procedure that Ripcord ran.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    pub(crate) procedure: String,
    /// Its budget, in seconds.
    pub(crate) budget: f64,
    pub(crate) succeeded: bool,
    /// How long each step took, in seconds.
    pub(crate) steps: Vec<(String, f64)>,
}

// === impl End ===

impl End {
    /// Whether the users are served by a good release.
    pub(crate) const fn is_back(self) -> bool {
        matches!(self, Self::Healthy | Self::Degraded | Self::Elsewhere)
    }

    /// The end in the table, of a turn that had this many seconds.
    pub(crate) fn text(self, bound: u16) -> String {
        match self {
            Self::Healthy => "back, Healthy".to_owned(),
            Self::Degraded => "back; Degraded, the spec stays bad".to_owned(),
            Self::Elsewhere => {
                "back, from a Deployment; the Rollout and its spec stay bad".to_owned()
            }
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
            ("asked", self.asked),
            ("ended", self.ended),
        ];
        write!(to, "{:?} ({})", self.end, self.seen)?;
        for (what, at) in times {
            if let Some(at) = at {
                write!(to, ", {what} {at:.2} s")?;
            }
        }
        if let Some(ran) = &self.ran {
            write!(
                to,
                ", by {}, which may take {} s",
                ran.procedure, ran.budget
            )?;
            for (step, took) in &ran.steps {
                write!(to, ", {step} {took:.2} s")?;
            }
        }
        if let Some(left) = self.left {
            write!(to, "; {}", left.text())?;
        }
        if let Some(stopped) = &self.stopped {
            write!(to, "; stopped at {stopped}")?;
        }
        if self.said.is_empty() {
            Ok(())
        } else {
            write!(to, "; said: {}", self.said)
        }
    }
}
