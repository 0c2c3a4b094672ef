//! The settings of the way to the cluster.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the cluster is reached.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The kubeconfig file to use. Left out, the pod's own service account is used, or outside a cluster `KUBECONFIG`.
    pub kubeconfig: Option<PathBuf>,
    /// The ConfigMap, in Ripcord's own namespace, whose annotation `ripcord.dev/hold` stops every start.
    pub hold_config_map: String,
    /// How long one request to the API server may take. A watch is not bounded by it.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub request_timeout: Duration,
}

/// Why [`Settings`] cannot work.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// The off switch would have no name.
    #[error("must name a ConfigMap")]
    NoHold,
    /// Every request would be too slow.
    #[error("must be longer than zero")]
    NoTime,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            hold_config_map: "ripcord-hold".to_owned(),
            request_timeout: Duration::from_secs(5),
        }
    }
}

impl Settings {
    /// Checks that the off switch has a name and that a request has some time.
    pub fn validate(&self) -> Result<(), SettingsError> {
        if self.hold_config_map.is_empty() {
            Err(SettingsError::NoHold)
        } else if self.request_timeout.is_zero() {
            Err(SettingsError::NoTime)
        } else {
            Ok(())
        }
    }
}

impl SettingsError {
    /// The key at fault.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::NoHold => "hold_config_map",
            Self::NoTime => "request_timeout",
        }
    }
}
