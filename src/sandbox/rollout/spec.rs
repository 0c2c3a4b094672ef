//! What a Rollout's spec asks for, as far as this controller understands it.

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::object::selects;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Canary {
    #[serde(default)]
    steps: Vec<Step>,
}

/// One step of the canary.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum Step {
    SetWeight(u64),
    /// Without a duration, which is a text such as `10s`: until somebody promotes.
    Pause {
        duration: Option<SignedDuration>,
    },
}

/// The steps; `None` when this is no basic canary with steps that are known.
pub(super) fn steps(spec: &Value) -> Option<Vec<Step>> {
    let labels = &spec["template"]["metadata"]["labels"];
    let canary = Canary::deserialize(&spec["strategy"]["canary"]).ok()?;
    selects(&spec["selector"]["matchLabels"], labels).then_some(canary.steps)
}

/// The real controller writes the API's defaults into the template; here it is `resources`.
pub(super) fn complete(rollout: &mut Value) -> bool {
    let containers = rollout.pointer_mut("/spec/template/spec/containers");
    let containers = containers.and_then(Value::as_array_mut);
    let mut changed = false;
    for container in containers.into_iter().flatten() {
        if container["resources"].is_null() {
            container["resources"] = json!({});
            changed = true;
        }
    }
    changed
}

impl Step {
    pub(super) fn weight(&self) -> Option<u64> {
        match self {
            Self::SetWeight(weight) => Some(*weight.min(&100)),
            Self::Pause { .. } => None,
        }
    }
}
