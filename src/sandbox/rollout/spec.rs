//! What a Rollout's spec asks for, as far as this controller understands it.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::super::object::{items, selects};

/// One step of the canary.
pub(super) enum Step {
    Weight(u64),
    /// `None`: until somebody promotes.
    Pause(Option<SignedDuration>),
}

/// The steps; `None` when this is no basic canary with steps that are known.
pub(super) fn steps(spec: &Value) -> Option<Vec<Step>> {
    let canary = spec["strategy"]["canary"].as_object()?;
    let unknown = ["trafficRouting", "analysis"]
        .iter()
        .any(|field| canary.contains_key(*field));
    let labels = &spec["template"]["metadata"]["labels"];
    if unknown || !selects(&spec["selector"]["matchLabels"], labels) {
        return None;
    }
    let steps = canary.get("steps").map_or(&[][..], items);
    steps.iter().map(Step::of).collect()
}

/// The real controller writes the API's defaults into the template; here it is `resources`.
pub(super) fn complete(rollout: &mut Value) -> bool {
    let containers = rollout.pointer_mut("/spec/template/spec/containers");
    let containers = containers
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten();
    let mut changed = false;
    for container in containers.filter_map(Value::as_object_mut) {
        changed |= !container.contains_key("resources");
        container.entry("resources").or_insert(json!({}));
    }
    changed
}

impl Step {
    fn of(step: &Value) -> Option<Self> {
        if let Some(weight) = step["setWeight"].as_u64().filter(|weight| *weight <= 100) {
            return Some(Self::Weight(weight));
        }
        Some(Self::Pause(match &step.get("pause")?["duration"] {
            Value::Null => None,
            Value::String(text) => Some(text.parse().ok()?),
            number => Some(SignedDuration::from_secs(number.as_i64()?)),
        }))
    }

    pub(super) fn weight(&self) -> Option<u64> {
        match self {
            Self::Weight(weight) => Some(*weight),
            Self::Pause(_) => None,
        }
    }
}
