//! Refusals in the form in which a Kubernetes API server writes them: a `Status` object.

use serde_json::{Value, json};

use super::json::text;
use super::kind::Kind;

/// The API server's refusal of a request.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code} {reason}: {message}")]
pub struct Refusal {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason, such as `AlreadyExists`.
    pub reason: &'static str,
    /// What went wrong, for people.
    pub message: String,
    /// `details` of the `Status` object; null when there are none.
    pub details: Value,
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Value::Null,
        }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        self.details = json!({ "name": name, "group": kind.group, "kind": kind.plural });
        self
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(super) fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} \"{name}\" not found", kind.resource()),
        )
        .about(kind, name)
    }

    pub(super) fn no_such_resource() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    pub(super) fn already_exists(kind: &Kind, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{} \"{name}\" already exists", kind.resource()),
        )
        .about(kind, name)
    }

    /// A precondition on a field of the metadata that does not hold.
    pub(super) fn conflict(kind: &Kind, name: &str, field: &str) -> Self {
        let what = kind.resource();
        let why = match field {
            "resourceVersion" => {
                "the object has been modified; please apply your changes to the latest version and try again"
            }
            _ => "Precondition failed: UID in precondition does not match",
        };
        let message = format!("Operation cannot be fulfilled on {what} \"{name}\": {why}");
        Self::new(409, "Conflict", message).about(kind, name)
    }

    /// A JSON patch that does not apply. The server says the same for a failed test, a missing path and a malformed patch.
    pub(super) fn unpatchable() -> Self {
        Self::new(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )
    }

    /// An object that its schema refuses; `causes` as `schema::check` returns them.
    pub(super) fn invalid(kind: &Kind, name: &str, causes: &[Value]) -> Self {
        let line =
            |cause: &Value| format!("{}: {}", text(&cause["field"]), text(&cause["message"]));
        let list: Vec<String> = causes.iter().map(line).collect();
        let (what, group, list) = (&kind.name, &kind.group, list.join(", "));
        let message = format!("{what}.{group} \"{name}\" is invalid: {list}");
        let mut refusal = Self::new(422, "Invalid", message).about(kind, name);
        refusal.details["causes"] = json!(causes);
        refusal
    }

    /// The `Status` object that is sent.
    pub(super) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}
