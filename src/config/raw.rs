//! The policy as it is written.
//!
//! Types only, strict, each with its place where a later check needs one. No untyped value, no untagged and no flattened
//! type: those would turn `off` into false and `1.10` into a number, and would lose the places.

mod command;
mod does;

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

pub use self::command::Command;
pub use self::does::Does;
use crate::alert::Severity;
use crate::procedure::StepSpec;
use crate::rollback::object::Mode;
use crate::target::call::Method;
use crate::target::redis::Master;
use crate::target::{Drills, Ownership};

/// One file of the policy.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Which cluster this is.
    pub cluster: Option<Spanned<Cluster>>,
    /// Namespaces in which nothing is ever done, besides those that always are.
    pub protected_namespaces: Vec<Spanned<String>>,
    /// The alert label that names a pod-template hash.
    pub release_label: Option<Spanned<String>>,
    /// What targets have in common.
    pub defaults: Option<Spanned<Limits>>,
    /// The targets by name.
    pub targets: Named<Target>,
    /// The triggers; the first that matches wins.
    pub triggers: Vec<Trigger>,
    /// What each severity does.
    pub severities: Option<Spanned<Severities>>,
    /// The procedures by name.
    pub procedures: Named<Procedure>,
}

/// Entries under names, in the order written.
#[derive(Debug)]
pub struct Named<T>(pub Vec<(Spanned<String>, T)>);

/// Which cluster this is, for alerts that say where they come from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// The alert label that names a cluster.
    pub label: String,
    /// The name of this one.
    pub name: String,
}

/// Times that a target has, or that all have which say nothing else; texts such as `30s` or `5m`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// How long before an alert began a change may lie to count as its cause.
    pub change_window: Option<Spanned<String>>,
    /// How long a release must have been stable to be known as good.
    pub min_soak: Option<Spanned<String>>,
    /// How long after a rollback alerts may still fire for what it has mended.
    pub settle: Option<Spanned<String>>,
    /// No first change later than this after the alert was received.
    pub start_within: Option<Spanned<String>>,
    /// For how long a person is asked where one must approve.
    pub approve_within: Option<Spanned<String>>,
    /// A rollback that has not ended after this is given up.
    pub give_up: Option<Spanned<String>>,
}

/// One release workload and what belongs to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The workload.
    pub workload: Spanned<Workload>,
    /// How a pod proves that it is healthy.
    #[serde(default)]
    pub health: Option<Health>,
    /// The Redis that belongs to it.
    #[serde(default)]
    pub redis: Option<Redis>,
    /// The request that warms a pod up.
    #[serde(default)]
    pub warm_up: Option<WarmUp>,
    /// What can be run in containers of its pods, by name.
    #[serde(default)]
    pub commands: Named<Command>,
    /// Who owns the workload's spec.
    #[serde(default)]
    pub owner: Ownership,
    /// Whether it may be drilled with an effect.
    #[serde(default)]
    pub drill: Drills,
    /// The template of the address of the workload's manifest.
    #[serde(default)]
    pub manifest: Option<Spanned<String>>,
    /// The release to return to, where a person pins one.
    #[serde(default)]
    pub known_good: Option<Spanned<Pin>>,
    /// As in the defaults.
    #[serde(default)]
    pub change_window: Option<Spanned<String>>,
    /// As in the defaults.
    #[serde(default)]
    pub min_soak: Option<Spanned<String>>,
    /// As in the defaults.
    #[serde(default)]
    pub settle: Option<Spanned<String>>,
    /// As in the defaults.
    #[serde(default)]
    pub start_within: Option<Spanned<String>>,
    /// As in the defaults.
    #[serde(default)]
    pub approve_within: Option<Spanned<String>>,
    /// As in the defaults.
    #[serde(default)]
    pub give_up: Option<Spanned<String>>,
    /// The Slack channel.
    #[serde(default)]
    pub channel: Option<Spanned<String>>,
    /// Who is mentioned when a person is needed.
    #[serde(default)]
    pub on_call: Vec<Spanned<String>>,
    /// Templates of addresses by name.
    #[serde(default)]
    pub links: Named<Spanned<String>>,
    /// What is asked for after a rollback that succeeded.
    #[serde(default)]
    pub after: Vec<Measure>,
}

/// A number of Prometheus, and when it is good.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// What it is called.
    pub name: Spanned<String>,
    /// The PromQL expression, as a template.
    pub query: Spanned<String>,
    /// The unit that is said behind the number.
    #[serde(default)]
    pub unit: Option<Spanned<String>>,
    /// It is good below this.
    #[serde(default)]
    pub good_below: Option<Spanned<f64>>,
    /// It is good above this.
    #[serde(default)]
    pub good_above: Option<Spanned<f64>>,
}

/// Names a workload.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// The Rollout's name; either this, `deployment` or `service`.
    #[serde(default)]
    pub rollout: Option<Spanned<String>>,
    /// The Deployment's name.
    #[serde(default)]
    pub deployment: Option<Spanned<String>>,
    /// The name of a Service that selects one of two Deployments.
    #[serde(default)]
    pub service: Option<Spanned<String>>,
    /// The names of those.
    #[serde(default)]
    pub deployments: Option<Spanned<Vec<Spanned<String>>>>,
    /// Its namespace.
    pub namespace: Spanned<String>,
}

/// How a pod, and optionally a shared address, proves that it is healthy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The path on every pod.
    pub path: Spanned<String>,
    /// The port on every pod.
    pub port: Spanned<u16>,
    /// A JSON pointer into the answer.
    #[serde(default)]
    pub pointer: Option<Spanned<String>>,
    /// What must stand there.
    #[serde(default)]
    pub equals: Option<Spanned<String>>,
    /// A shared address that must answer as healthy too.
    #[serde(default)]
    pub url: Option<Spanned<String>>,
    /// How long one answer may take.
    #[serde(default)]
    pub timeout: Option<Spanned<String>>,
}

/// A Redis, and what of it is the target's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// Host and port.
    pub address: Spanned<String>,
    /// The number of the database.
    #[serde(default)]
    pub database: Option<u32>,
    /// The user of its access lists.
    #[serde(default)]
    pub username: Option<Spanned<String>>,
    /// The file that holds the password.
    #[serde(default)]
    pub password_file: Option<Spanned<String>>,
    /// The variable that holds the password.
    #[serde(default)]
    pub password_env: Option<Spanned<String>>,
    /// TLS, where it speaks it.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// What is done where the address leads to a replica.
    #[serde(default)]
    pub master: Master,
    /// What the names of the target's keys begin with.
    #[serde(default)]
    pub prefix: Option<Spanned<String>>,
    /// Whether all databases may be emptied.
    #[serde(default)]
    pub allow_flush_all: bool,
}

/// How TLS is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The certificates of who may vouch for the server.
    pub ca_file: Option<String>,
}

/// A request that warms a pod up.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmUp {
    /// The method.
    #[serde(default)]
    pub method: Method,
    /// The path on every pod.
    pub path: Spanned<String>,
    /// The port on every pod.
    pub port: Spanned<u16>,
    /// The status that must be answered.
    #[serde(default)]
    pub status: Option<Spanned<u16>>,
    /// How long one answer may take.
    #[serde(default)]
    pub timeout: Option<Spanned<String>>,
}

/// A release that a person declares as good.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pin {
    /// By the pod-template hash of its replica set.
    Hash(String),
    /// By the revision of its replica set.
    Revision(i64),
    /// By the image of one of its containers.
    Image(Image),
}

/// An image, and the container that it belongs to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The container's name.
    pub container: Spanned<String>,
    /// The image's name, with its digest.
    pub reference: Spanned<String>,
}

/// A rule: matchers on labels, and what a match asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// Its name.
    pub name: Spanned<String>,
    /// Matchers, all of which must hold.
    #[serde(rename = "match")]
    pub matchers: Spanned<Vec<Spanned<String>>>,
    /// The target it is about.
    #[serde(default)]
    pub target: Option<Spanned<String>>,
    /// The labels that name the target's workload.
    #[serde(default)]
    pub target_from: Option<Spanned<TargetFrom>>,
    /// How severe it is.
    #[serde(default)]
    pub severity: Option<Spanned<Severity>>,
    /// The label that says how severe it is.
    #[serde(default)]
    pub severity_from: Option<Spanned<SeverityFrom>>,
    /// Whether it may act.
    #[serde(default)]
    pub mode: Option<Spanned<Mode>>,
    /// The procedure, where it is not the severity's own.
    #[serde(default)]
    pub procedure: Option<Spanned<String>>,
}

/// The labels that name a workload.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetFrom {
    /// The label that carries the namespace.
    pub namespace: Spanned<String>,
    /// The label that carries the workload's name.
    pub workload: Spanned<String>,
}

/// The label that says how severe an alert is, and what its values mean.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeverityFrom {
    /// The label.
    pub label: Spanned<String>,
    /// From its values to severities.
    pub map: Named<Severity>,
}

/// What each severity does.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the names are the severities' own")]
pub struct Severities {
    #[serde(rename = "P0")]
    pub p0: Option<Spanned<Does>>,
    #[serde(rename = "P1")]
    pub p1: Option<Spanned<Does>>,
    #[serde(rename = "P2")]
    pub p2: Option<Spanned<Does>>,
    #[serde(rename = "P3")]
    pub p3: Option<Spanned<Does>>,
}

/// Steps with a budget.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Procedure {
    /// How long recovery should take.
    #[serde(default)]
    pub budget: Option<Spanned<String>>,
    /// Whether a person must approve it each time; where it is left out, its steps say.
    #[serde(default)]
    pub approval: Option<Approval>,
    /// The procedure that is tried where its revert fails.
    #[serde(default)]
    pub escalate_to: Option<Spanned<String>>,
    /// The steps, in order.
    pub steps: Spanned<Vec<Spanned<StepSpec>>>,
}

/// Whether a person must approve a procedure.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// Nobody has to.
    None,
    /// Somebody has to, each time.
    Required,
}

// === impl Named ===

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("entries under their names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Named(entries))
            }

            /// `targets:` with nothing under it.
            fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Named::default())
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Named::default())
            }

            fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
                from.deserialize_map(self)
            }
        }

        from.deserialize_option(Entries(PhantomData))
    }
}
