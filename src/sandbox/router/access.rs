//! Who may do what: everything, except for what the sandbox was told to deny.

use axum::http::Method;
use serde_json::{Value, json};

use super::super::driver::State as Cluster;
use super::super::json::text;
use super::super::refusal::Refusal;
use super::{Call, Place};

/// Refuses a call that is denied.
pub(super) fn check(state: &Cluster, call: &Call, place: &Place) -> Result<(), Refusal> {
    let verb = match (&call.method, &place.name) {
        (&Method::GET, Some(_)) => "get",
        (&Method::GET, None) if call.parameters.is_true("watch") => "watch",
        (&Method::GET, None) => "list",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        _ => "delete",
    };
    let subresource = place.subresource.as_deref().unwrap_or_default();
    if !denied(
        state,
        [verb, &place.kind.group, &place.kind.plural, subresource],
    ) {
        return Ok(());
    }
    let (resource, name) = (
        place.kind.resource(),
        place.name.as_deref().unwrap_or_default(),
    );
    let message =
        format!("{resource} \"{name}\" is forbidden: the sandbox denies {verb} {subresource}");
    Err(Refusal::new(403, "Forbidden", message))
}

/// Answers an access review.
pub(super) fn review(state: &Cluster, mut review: Value) -> Result<Value, Refusal> {
    let attributes = &review["spec"]["resourceAttributes"];
    if !attributes.is_object() {
        return Err(Refusal::bad_request("spec.resourceAttributes is required"));
    }
    let asked = ["verb", "group", "resource", "subresource"].map(|field| text(&attributes[field]));
    let allowed = !denied(state, asked);
    review["status"] = json!({ "allowed": allowed });
    Ok(review)
}

fn denied(state: &Cluster, asked: [&str; 4]) -> bool {
    state.denied.iter().any(|denied| {
        denied
            .iter()
            .zip(asked)
            .all(|(denied, asked)| denied == asked)
    })
}
