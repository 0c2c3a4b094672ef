//! What the runbook says, command by command, and the bare commands. Names and paths are those of the scenes; what its
//! scripts take for granted and a scene can have, the scene has. Nothing is put right.

use crate::scene::NAME;
use crate::script::Line::{self, Effect, Healthy, Post, Run, Sleep, Try};

pub(crate) const ABORT: Line = Run(&["argo", "abort", NAME]);
pub(crate) const UNDO: Line = Run(&["argo", "undo", NAME]);

/// The quick reference for a canary.
pub(crate) const CANARY: &[Line] = &[ABORT, UNDO];
/// The script for a canary.
pub(crate) const CANARY_SCRIPT: &[Line] = &[
    ABORT,
    Sleep(5),
    Run(&["argo", "get", "rollout", NAME]),
    Healthy("/health/pinn"),
];
/// The script for blue-green, up to its waiting. It goes no further than the first command that fails.
pub(crate) const BLUE_GREEN: &[Line] = &[
    ABORT,
    Run(&["kubectl", "patch", "service", NAME, "-p", NO_SUCH_PODS]),
    Run(&[
        "kubectl",
        "scale",
        "deployment",
        "options-api-green",
        "--replicas=0",
    ]),
];
/// The script that resets a cache.
pub(crate) const CACHE_RESET: &[Line] = &[
    UNDO,
    Run(&[
        "kubectl",
        "exec",
        "deployment/redis",
        "--",
        "redis-cli",
        "FLUSHDB",
    ]),
    Run(&["kubectl", "rollout", "restart", STABLE]),
    Run(&["kubectl", "rollout", "status", STABLE, "--timeout=120s"]),
    Sleep(30),
    Post("/warmup"),
];
/// The script for all of it.
pub(crate) const COMPLETE: &[Line] = &[
    Try(&["kubectl", "scale", "deployment", NAME, "--replicas=0"]),
    Try(&[
        "kubectl",
        "scale",
        "deployment",
        "options-api-canary",
        "--replicas=0",
    ]),
    Try(&[
        "kubectl",
        "scale",
        "deployment",
        "options-api-green",
        "--replicas=0",
    ]),
    Run(&[
        "kubectl",
        "set",
        "image",
        STABLE,
        "options-api=options-optimizer:stable-v0.9.0",
    ]),
    Run(&["kubectl", "rollout", "status", STABLE, "--timeout=180s"]),
    Run(&["kubectl", "patch", "service", NAME, "-p", STABLE_PODS]),
    Run(&[
        "kubectl",
        "exec",
        "deployment/redis",
        "--",
        "redis-cli",
        "FLUSHALL",
    ]),
    Sleep(30),
    Healthy("/health"),
];

/// Somebody runs it, and so does somebody else once it has worked.
pub(crate) const TWICE: &[Line] = &[UNDO, Effect, UNDO];
pub(crate) const CANARY_TWICE: &[Line] = &[ABORT, UNDO, Effect, ABORT, UNDO];

/// The Deployment that the last two scripts work on.
const STABLE: &str = "deployment/options-api-stable";
/// What leads to its pods.
const STABLE_PODS: &str = r#"{"spec":{"selector":{"app":"options-api","version":"stable"}}}"#;
/// The same in a scene without it.
const NO_SUCH_PODS: &str =
    r#"{"spec":{"selector":{"app":"options-api-pinn-fixes","version":"stable"}}}"#;
