//! Reading a body, and saying what is wrong with one.
//!
//! A good body is read once. A bad one is read again, slowly: first for whether it is JSON at all and of version 4,
//! then for the path to what is wrong. So the first thing said is the one that explains the others.

use serde::Deserialize;
use serde_json::{Value, error::Category};

use super::{Notification, VERSION};

/// How many characters of a value an error may quote.
const EXCERPT: usize = 40;
/// How many characters of a path an error may show: label names are of any length.
const PATH: usize = 120;

/// Why a body is no notification. Lines and columns are where the reader stood: at the value, or at its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body is no JSON text.
    #[error("not JSON: {what} at line {line}, column {column}")]
    NotJson {
        /// What the JSON reader stumbled on.
        what: String,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// The body is JSON, but not a notification of version 4: a custom payload, or another sender.
    #[error("not an Alertmanager notification of version 4: {what}")]
    NotV4 {
        /// What it is instead.
        what: String,
    },
    /// A field that must be there is not.
    #[error("{path}: missing, in the object that ends at line {line}, column {column}")]
    Missing {
        /// The path to the field, such as `alerts[3].startsAt`.
        path: String,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// A field holds what it cannot hold.
    #[error("{path}: {what} at line {line}, column {column}")]
    Invalid {
        /// The path to the field, such as `alerts[3].startsAt`.
        path: String,
        /// What is wrong with it.
        what: String,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
}

/// Reads a notification.
///
/// Alerts that occur twice are kept twice. An alert that came without a fingerprint is given the one that
/// Alertmanager would have computed.
pub fn decode(body: &[u8]) -> Result<Notification, DecodeError> {
    // A struct would also be read from an array, field by field.
    let is_array = body.trim_ascii_start().first() == Some(&b'[');
    match serde_json::from_slice::<Notification>(body) {
        Ok(_) if is_array => Err(no_object()),
        Ok(mut notification) if notification.version == VERSION => {
            for alert in &mut notification.alerts {
                if !is_fingerprint(&alert.fingerprint) {
                    alert.fingerprint = alert.labels.fingerprint();
                }
            }
            Ok(notification)
        }
        Ok(notification) => Err(other_version(&excerpt(&notification.version))),
        Err(error) => Err(diagnose(body, error)),
    }
}

/// Whether this is a fingerprint as Alertmanager writes one.
fn is_fingerprint(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// The part of a body that says what it is.
#[derive(Deserialize)]
struct Head {
    version: Option<Value>,
}

/// Says what is wrong with a body that was refused with `error`.
fn diagnose(body: &[u8], error: serde_json::Error) -> DecodeError {
    if body.trim_ascii().is_empty() {
        return DecodeError::NotJson {
            what: "the body is empty".to_owned(),
            line: 1,
            column: 1,
        };
    }
    if error.classify() != Category::Data {
        return not_json(&error);
    }
    match serde_json::from_slice::<Head>(body) {
        Err(error) if error.classify() != Category::Data => not_json(&error),
        _ if body.trim_ascii_start().first() != Some(&b'{') => no_object(),
        // The head itself is at fault (a key twice): the path says more.
        Err(_) => locate(body, error),
        Ok(Head { version: None }) => DecodeError::NotV4 {
            what: "it has no `version`".to_owned(),
        },
        Ok(Head {
            version: Some(Value::String(version)),
        }) if version == VERSION => locate(body, error),
        Ok(Head {
            version: Some(Value::String(version)),
        }) => other_version(&excerpt(&version)),
        Ok(Head {
            version: Some(version),
        }) => other_version(&shorten(&version.to_string(), EXCERPT)),
    }
}

/// Reads the body once more, this time keeping the path.
fn locate(body: &[u8], error: serde_json::Error) -> DecodeError {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let (path, error) = match serde_path_to_error::deserialize::<_, Notification>(&mut reader) {
        Err(error) => (
            shorten(&plain(&error.path().to_string()), PATH),
            error.into_inner(),
        ),
        Ok(_) => (".".to_owned(), error),
    };
    let (line, column) = (error.line(), error.column());
    let what = message(&error);
    if let Some(field) = what
        .strip_prefix("missing field `")
        .and_then(|rest| rest.strip_suffix('`'))
    {
        let path = if path == "." {
            field.to_owned()
        } else {
            format!("{path}.{field}")
        };
        return DecodeError::Missing { path, line, column };
    }
    // serde quotes the whole value before saying what it wanted.
    let what = match what.rsplit_once(", expected ") {
        Some((found, expected)) => format!("{}, expected {expected}", shorten(found, EXCERPT + 20)),
        None => shorten(&what, EXCERPT + 60),
    };
    let path = if path == "." {
        "the body".to_owned()
    } else {
        path
    };
    DecodeError::Invalid {
        path,
        what,
        line,
        column,
    }
}

fn not_json(error: &serde_json::Error) -> DecodeError {
    DecodeError::NotJson {
        what: message(error),
        line: error.line(),
        column: error.column(),
    }
}

fn no_object() -> DecodeError {
    DecodeError::NotV4 {
        what: "the body is no JSON object".to_owned(),
    }
}

fn other_version(found: &str) -> DecodeError {
    DecodeError::NotV4 {
        what: format!("its `version` is {found}, not \"{VERSION}\""),
    }
}

/// The message without the place, which is told apart from it.
fn message(error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = error.to_string();
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

/// The start of a text from the body, quoted and escaped.
pub(super) fn excerpt(text: &str) -> String {
    if text.chars().nth(EXCERPT).is_none() {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(EXCERPT).collect();
    format!("{start:?}...")
}

/// The start of a text that is already fit to be shown.
fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// A text with every control character escaped.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}
