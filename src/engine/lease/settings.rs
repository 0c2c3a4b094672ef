//! The times of an election, and what must hold between them.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How fast leadership changes hands.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// For how long the others wait after a leader's last sign of life. The record holds it in whole seconds, rounded up.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub duration: Duration,
    /// How long after its last successful renewal a leader steps down.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub renew_deadline: Duration,
    /// How often a leader renews and the others look.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub retry: Duration,
    /// How long a leader that was asked to stop waits for its work before it leaves without handing over.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub drain: Duration,
}

/// Why [`Settings`] cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A leader would still lead when another may take over.
    #[error("`renew_deadline` must be shorter than `duration`, or two replicas could lead at once")]
    DeadlineTooLong,
    /// A leader would step down before it tried to renew.
    #[error("`retry` must be shorter than `renew_deadline`, or no leader could renew in time")]
    RetryTooLong,
    /// The API server would be asked without a pause.
    #[error("`retry` must be longer than zero")]
    NoRetry,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(5),
            renew_deadline: Duration::from_secs(3),
            retry: Duration::from_secs(1),
            drain: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// Checks that `duration` > `renew_deadline` > `retry` > 0.
    pub fn validate(&self) -> Result<(), SettingsError> {
        if self.duration <= self.renew_deadline {
            Err(SettingsError::DeadlineTooLong)
        } else if self.renew_deadline <= self.retry {
            Err(SettingsError::RetryTooLong)
        } else if self.retry.is_zero() {
            Err(SettingsError::NoRetry)
        } else {
            Ok(())
        }
    }

    /// One call may use up half of the deadline, so that a leader survives one that hangs.
    pub(super) fn call_limit(&self) -> Duration {
        self.renew_deadline / 2
    }
}
