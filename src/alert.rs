//! What Alertmanager says, and the words that rules about it are written in.
//!
//! This room reads a notification ([`payload`]), names what an alert carries ([`labels`]), tests it with
//! Alertmanager's own matchers ([`matcher`]) and says how bad it is ([`severity`]). It is pure: it refuses to know
//! about the network, about Kubernetes, about the time, and about what an alert leads to.

pub mod labels;
pub mod matcher;
pub mod payload;
pub mod severity;

pub use labels::Labels;
pub use matcher::{Matcher, Matchers, Op, ParseError, Reading};
pub use payload::{Alert, DecodeError, Episode, Notification, Status, decode};
pub use severity::{Severity, UnknownSeverity};
