//! The settings of the engine: who leads, how often it looks, and what it keeps.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lease;
use crate::rollback::object::Mode;

/// How rollbacks are run.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether anything may be done. `act`: what the policy says. `shadow`: every trigger is in shadow mode whatever the
    /// policy says, a request by hand only tells what would be done, and no workload is ever changed; rights to change one
    /// are not needed.
    pub mode: Mode,
    /// The election of the one replica that acts.
    pub lease: lease::Settings,
    /// The name of the Lease object.
    pub lease_name: String,
    /// Ripcord's own namespace, where the Lease and the off switch are. Left out, it is `POD_NAMESPACE`, or what the
    /// service account says.
    pub namespace: Option<String>,
    /// The name under which this replica leads. Left out, it is `POD_NAME`, or the host's name.
    pub identity: Option<String>,
    /// How often a running step looks again at the latest.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub tick: Duration,
    /// Which ended rollbacks are kept.
    pub retention: Retention,
}

/// Which ended rollbacks are kept: the newest of each target, those that are younger, and those whose release is live.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// How many of a target's ended rollbacks are kept however old they are.
    pub keep_per_target: usize,
    /// How long after its end a rollback beyond those is removed.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub ended_after: Duration,
}

/// Why [`Settings`] cannot work.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// The times of the election do not fit together.
    #[error(transparent)]
    Lease(#[from] lease::SettingsError),
    /// The Lease would have no name.
    #[error("must name a Lease")]
    NoLease,
    /// A step would look without a pause, or so rarely that a recovery takes needlessly long.
    #[error("must be between 10ms and 10s")]
    Tick,
    /// The memory of what was done would be lost at once.
    #[error("must be at least 1")]
    KeepNone,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Act,
            lease: lease::Settings::default(),
            lease_name: "ripcord".to_owned(),
            namespace: None,
            identity: None,
            tick: Duration::from_millis(200),
            retention: Retention::default(),
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            keep_per_target: 20,
            ended_after: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

impl Settings {
    /// Checks the election's times, the tick and that something is kept.
    pub fn validate(&self) -> Result<(), SettingsError> {
        self.lease.validate()?;
        if self.lease_name.is_empty() {
            return Err(SettingsError::NoLease);
        }
        if !(Duration::from_millis(10)..=Duration::from_secs(10)).contains(&self.tick) {
            return Err(SettingsError::Tick);
        }
        if self.retention.keep_per_target == 0 {
            return Err(SettingsError::KeepNone);
        }
        Ok(())
    }
}

// === impl SettingsError ===

impl SettingsError {
    /// The key at fault.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Lease(_) => "lease",
            Self::NoLease => "lease_name",
            Self::Tick => "tick",
            Self::KeepNone => "retention.keep_per_target",
        }
    }
}
