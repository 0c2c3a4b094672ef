//! Refusals, and how the API server writes them: as `Status` objects.

use kube::core::Status;
use serde_json::{Value, json};

/// The API server's refusal of a request.
pub type Refusal = Box<Status>;

pub(super) fn refuse(code: u16, reason: &str, message: &str) -> Refusal {
    Status::failure(message, reason).with_code(code).boxed()
}

pub(super) fn not_found(what: &str) -> Refusal {
    refuse(404, "NotFound", &format!("{what} not found"))
}

/// A `Status` with the kind by which clients know it.
pub(super) fn body(status: &Status) -> Value {
    let mut body = json!(status);
    body["apiVersion"] = json!("v1");
    body["kind"] = json!("Status");
    body
}
