//! A command in a pod, as it is written.

use serde::Deserialize;
use serde_saphyr::Spanned;

/// A command that can be run in a container of a pod.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The container.
    pub container: Spanned<String>,
    /// The labels of the pods, where those are not the target's own.
    #[serde(default)]
    pub selector: Option<Spanned<String>>,
    /// The program and its arguments.
    pub command: Spanned<Vec<String>>,
    /// What the whole of its output must match.
    #[serde(default)]
    pub expect: Option<Spanned<String>>,
    /// How long it may take in one pod.
    #[serde(default)]
    pub timeout: Option<Spanned<String>>,
    /// Whether it may be run again.
    #[serde(default)]
    pub repeatable: bool,
}
