//! How far a rollback is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a rollback is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum Phase {
    /// Claimed, and not yet admitted by the leader.
    #[default]
    Pending,
    /// Planned; a person must approve it before anything is touched.
    AwaitingApproval,
    /// Admitted: its plan is frozen and its steps run.
    Running,
    /// Every step reached its state.
    Succeeded,
    /// A step could not reach its state: a person is needed, and the target is latched.
    Failed,
    /// Another release went live before or while it ran: somebody else acted, and theirs wins.
    Superseded,
    /// A person stopped it at a safe point.
    Cancelled,
    /// A guard refused it before anything was touched.
    Declined,
    /// It was planned in shadow mode; nothing was touched.
    Shadowed,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::AwaitingApproval,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Superseded,
        Self::Cancelled,
        Self::Declined,
        Self::Shadowed,
    ];

    /// Whether nothing more will happen.
    #[must_use]
    pub const fn ended(self) -> bool {
        !matches!(self, Self::Pending | Self::AwaitingApproval | Self::Running)
    }

    /// The phase as it stands in the object.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::AwaitingApproval => "AwaitingApproval",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Superseded => "Superseded",
            Self::Cancelled => "Cancelled",
            Self::Declined => "Declined",
            Self::Shadowed => "Shadowed",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
