//! The API server's audit log: each request with who asked for what, and what became of it. Reads are those of
//! `ServiceAccount`s alone. It is written by the server itself, so it is the witness of what was done how often.

use jiff::Timestamp;
use serde_json::Value;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Audited {
    pub(crate) user: String,
    pub(crate) verb: String,
    /// The plural, without the group.
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The object, or the patch.
    pub(crate) body: Value,
    pub(crate) code: u64,
    pub(crate) received: Timestamp,
    pub(crate) answered: Timestamp,
}

// === impl Audited ===

impl Audited {
    /// Whether it was to change something.
    pub(crate) fn is_write(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb.as_str())
    }

    /// Whether it was only to make a controller look: a write that changes nothing that anybody asks for.
    pub(crate) fn is_nudge(&self) -> bool {
        let mut operations = self.body.as_array().into_iter().flatten();
        operations.any(|it| it["path"] == "/metadata/annotations/ripcord.dev~1nudged")
    }
}

/// The requests in a log that are about a namespace. The last line may be half written.
pub(crate) fn read(log: &str, namespace: &str) -> Vec<Audited> {
    // Most lines are about others, and need not be understood.
    let lines = log.lines().filter(|line| line.contains(namespace));
    let lines = lines.filter_map(|line| serde_json::from_str(line).ok());
    let all = lines.filter_map(|line| audited(&line));
    all.filter(|it| it.namespace == namespace).collect()
}

fn audited(line: &Value) -> Option<Audited> {
    let at = |pointer: &str| {
        line.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    Some(Audited {
        user: at("/user/username"),
        verb: at("/verb"),
        resource: at("/objectRef/resource"),
        subresource: at("/objectRef/subresource"),
        namespace: at("/objectRef/namespace"),
        name: at("/objectRef/name"),
        body: line["requestObject"].clone(),
        code: line.pointer("/responseStatus/code")?.as_u64()?,
        received: at("/requestReceivedTimestamp").parse().ok()?,
        answered: at("/stageTimestamp").parse().ok()?,
    })
}
