//! What is under Ripcord's care: exactly one release workload and its named companions.
//!
//! A [`Target`] is what the policy says of it, a [`Snapshot`] is what the cluster says of it at one instant. This room
//! reads; it decides nothing and calls nobody.

pub mod call;
pub mod colours;
pub mod command;
pub mod deployment;
pub mod drill;
pub mod effect;
pub mod kind;
pub mod link;
pub mod measure;
pub mod owner;
pub mod probe;
pub mod redis;
pub mod release;
pub mod restart;
pub mod snapshot;
pub mod template;
pub mod workload;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use call::{Call, WarmUp};
pub use colours::{Colour, Colours};
pub use command::{Command, Exec};
pub use drill::Drills;
pub use effect::Effect;
pub use kind::Kind;
pub use link::LinkFacts;
pub use measure::Measure;
pub use owner::{Owner, Ownership};
pub use probe::{Probe, Sighting};
pub use redis::{Flush, Redis};
pub use release::{Image, Release};
pub use snapshot::Snapshot;
pub use workload::Workload;

/// One release workload under Ripcord's care, as the policy declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The target's name, unique in the policy; also the name of its `Target` object.
    pub name: String,
    /// The one workload whose releases are pulled back.
    pub workload: Workload,
    /// How a destination pod proves that it is healthy.
    pub health: Option<Health>,
    /// The Redis that belongs to it.
    pub redis: Option<Redis>,
    /// The request that warms a pod up.
    pub warm_up: Option<WarmUp>,
    /// What can be run in containers of its pods, by name.
    pub commands: BTreeMap<String, Command>,
    /// Who owns the workload's spec, where the policy says so.
    pub ownership: Ownership,
    /// Whether it may be drilled with an effect.
    pub drills: Drills,
    /// Where the workload's manifest is, as the template of an address.
    pub manifest: Option<Link>,
    /// The release to return to, where a person pinned one; otherwise the target's own history decides.
    pub known_good: Option<Pin>,
    /// How long before an alert began a change may lie to count as its cause.
    pub change_window: Duration,
    /// How long a release must have been stable to be known as good.
    pub min_soak: Duration,
    /// How long after a rollback alerts may still fire for what it has mended.
    pub settle: Duration,
    /// No first change later than this after the alert was received.
    pub start_within: Duration,
    /// For how long a person is asked where one must approve.
    pub approve_within: Duration,
    /// A rollback that has not ended after this is given up.
    pub give_up: Duration,
    /// Who is told.
    pub audience: Audience,
    /// Links for people, as templates over the report's facts.
    pub links: Vec<Link>,
    /// What is asked for after a rollback that succeeded.
    pub after: Vec<Measure>,
}

/// How a pod, and optionally a shared address, proves that it is healthy.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Path of the health endpoint on every pod.
    pub path: String,
    /// Port of the health endpoint on every pod.
    pub port: u16,
    /// JSON pointer into the answer; absent means that the HTTP status alone counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The text that the value at the pointer must equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
    /// A shared address that must answer as healthy too, such as the one that users call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How long one answer may take.
    #[serde(default = "Health::default_timeout", with = "humantime_serde")]
    pub timeout: Duration,
}

/// A release that a person declared as good.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Pin {
    /// The pod-template hash of its replica set.
    Hash(String),
    /// The revision of its replica set.
    Revision(i64),
    /// The image of one of its containers, by digest: it can be brought up where no replica set of it is left.
    Image(Image),
}

/// Who is told about a target's rollbacks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Audience {
    /// The Slack channel; the service's default channel where absent.
    pub channel: Option<String>,
    /// Who is mentioned when a person is needed, as Slack ids.
    pub on_call: Vec<String>,
}

/// A link that helps a person, such as a dashboard or a runbook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// What the link is called.
    pub name: String,
    /// The URL, as a template.
    pub url: String,
}

impl Target {
    /// A target of which only the workload is known. Nothing can start on it.
    #[must_use]
    pub fn bare(name: &str, workload: Workload) -> Self {
        Self {
            name: name.to_owned(),
            workload,
            health: None,
            redis: None,
            warm_up: None,
            commands: BTreeMap::new(),
            ownership: Ownership::Auto,
            drills: Drills::Refused,
            manifest: None,
            known_good: None,
            change_window: Duration::ZERO,
            min_soak: Duration::MAX,
            settle: Duration::ZERO,
            start_within: Duration::ZERO,
            approve_within: Duration::ZERO,
            give_up: Duration::MAX,
            audience: Audience::default(),
            links: Vec::new(),
            after: Vec::new(),
        }
    }
}

impl Health {
    /// How long one answer may take where the policy does not say.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);

    fn default_timeout() -> Duration {
        Self::DEFAULT_TIMEOUT
    }
}
