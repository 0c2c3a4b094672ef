//! What a Rollout's spec asks for, as far as this controller understands it.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::super::json::{covers, items, short};
use super::HASH;

/// One step of the canary.
pub(super) enum Step {
    Weight(u64),
    /// `None`: until somebody promotes.
    Pause(Option<SignedDuration>),
}

/// The steps, or why the spec is invalid for this controller.
pub(super) fn steps(spec: &Value) -> Result<Vec<Step>, String> {
    let canary = &spec["strategy"]["canary"];
    let template = &spec["template"];
    if !spec["workloadRef"].is_null() || !spec["strategy"]["blueGreen"].is_null() {
        return Err("the sandbox knows neither workloadRef nor blue-green".to_owned());
    }
    if !canary["trafficRouting"].is_null() || !canary["analysis"].is_null() {
        return Err("the sandbox knows neither trafficRouting nor analysis".to_owned());
    }
    if !canary.is_object() {
        return Err("spec.strategy.canary is missing".to_owned());
    }
    let containers = items(&template["spec"]["containers"]);
    if containers.is_empty() || !containers.iter().all(Value::is_object) {
        return Err("spec.template.spec.containers is missing".to_owned());
    }
    let annotations = &template["metadata"]["annotations"];
    if !annotations.is_object() && !annotations.is_null() {
        return Err("spec.template.metadata.annotations is not a map".to_owned());
    }
    let labels = &template["metadata"]["labels"];
    if !covers(labels, &spec["selector"]["matchLabels"]) {
        return Err("spec.selector does not match spec.template.metadata.labels".to_owned());
    }
    items(&canary["steps"]).iter().map(step).collect()
}

/// The name that the controller gives a template: the same for the same template.
pub(super) fn template_hash(template: &Value) -> String {
    let mut template = template.clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH);
    }
    short(&template)
}

/// The real controller writes the API's defaults into the template; here it is `resources`.
pub(super) fn complete(template: &mut Value) -> bool {
    let mut changed = false;
    let containers = template["spec"]["containers"].as_array_mut();
    for container in containers.into_iter().flatten() {
        if container["resources"].is_null() {
            container["resources"] = json!({});
            changed = true;
        }
    }
    changed
}

/// A count or a percentage of the replicas, 25 % when not given.
pub(super) fn share(value: &Value, replicas: u64, up: bool) -> u64 {
    let percent = |text: &str| text.trim_end_matches('%').parse::<u64>().ok();
    let percent = value.as_str().and_then(percent).unwrap_or(25).min(100);
    let rounding = if up { 99 } else { 0 };
    value
        .as_u64()
        .unwrap_or((replicas * percent + rounding) / 100)
        .min(replicas)
}

fn step(step: &Value) -> Result<Step, String> {
    if let Some(weight) = step["setWeight"].as_u64().filter(|weight| *weight <= 100) {
        return Ok(Step::Weight(weight));
    }
    let unknown = || format!("the sandbox does not know the step {step}");
    match step.get("pause").ok_or_else(unknown)?.get("duration") {
        None => Ok(Step::Pause(None)),
        Some(duration) => {
            let duration = seconds(duration).ok_or_else(unknown)?;
            Ok(Step::Pause(Some(SignedDuration::from_secs(duration))))
        }
    }
}

fn seconds(duration: &Value) -> Option<i64> {
    let text = duration
        .as_str()
        .map_or_else(|| duration.to_string(), str::to_owned);
    let unit = match text.chars().last()? {
        'm' => 60,
        'h' => 3600,
        _ => 1,
    };
    let number: u32 = text.trim_end_matches(['s', 'm', 'h']).parse().ok()?;
    Some(i64::from(number) * unit)
}
