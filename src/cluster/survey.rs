//! What an installation stands on, as the API server tells it: its version, the fields that it keeps, a Lease that lives.
//!
//! It reads and changes nothing. Clocks of two machines are never compared: a Lease lives if it is renewed while one looks.

use std::time::Duration;

use axum::http::Request;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::caches::resource;
use super::{Cluster, Error};
use crate::rollback::GROUP;
use crate::target::Workload;

/// How often a Lease is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long a holder is waited for that promises nothing.
const PROMISE: Duration = Duration::from_secs(15);
/// How long a holder is waited for, whatever it promises.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the API server says that it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Version {
    /// In full, such as `v1.34.1`.
    pub full: String,
    /// The second number, where it can be read; some write `34+`.
    pub minor: Option<u32>,
}

/// What was seen of a Lease while it was looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Pulse {
    /// Somebody renewed it.
    Alive {
        /// Who.
        holder: String,
    },
    /// Nobody did for longer than its holder promised.
    Silent {
        /// Who holds it.
        holder: String,
        /// When it was renewed at last, by the holder's clock.
        renewed: Option<Timestamp>,
    },
    /// It names nobody.
    Free,
    /// There is none.
    Absent,
}

impl Cluster {
    /// The version of the API server.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn version(&self) -> Result<Version, Error> {
        let info = self.call(self.client().apiserver_version()).await?;
        let digits = info.minor.trim_end_matches(|c: char| !c.is_ascii_digit());
        Ok(Version {
            minor: digits.parse().ok(),
            full: info.git_version,
        })
    }

    /// The schema of Ripcord's kind of this name, as the API server publishes it for everybody who may log in; none where it
    /// has no such kind.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn published(&self, version: &str, kind: &str) -> Result<Option<Value>, Error> {
        let path = format!("/openapi/v3/apis/{GROUP}/{version}");
        let request = Request::get(path).body(Vec::new());
        let request = request.map_err(|error| Error::Rejected(error.to_string()))?;
        let document: Value = match self.call(self.client().request(request)).await {
            Ok(document) => document,
            Err(Error::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let schemas = document.pointer("/components/schemas");
        let mut schemas = schemas.and_then(Value::as_object).into_iter().flatten();
        let found = schemas.find(|(_, schema)| {
            let kinds = schema["x-kubernetes-group-version-kind"].as_array();
            kinds.is_some_and(|all| {
                all.iter()
                    .any(|it| it["group"] == GROUP && it["kind"] == kind)
            })
        });
        Ok(found.map(|(_, schema)| schema.clone()))
    }

    /// Whether the API server knows the kind of this workload.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn serves(&self, workload: &Workload) -> Result<bool, Error> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client(), &workload.namespace, &resource(workload.kind));
        match self.call(api.list(&ListParams::default().limit(1))).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Looks at a Lease until it is renewed, or for as long as its holder promised to renew it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn pulse(&self, namespace: &str, name: &str) -> Result<Pulse, Error> {
        let api = self.api::<Lease>(namespace);
        let began = Instant::now();
        let mut first: Option<LeaseSpec> = None;
        loop {
            let lease = match self.call(api.get(name)).await {
                Ok(lease) => lease.spec.unwrap_or_default(),
                Err(Error::NotFound(_)) => return Ok(Pulse::Absent),
                Err(error) => return Err(error),
            };
            let holder = lease.holder_identity.clone().unwrap_or_default();
            let first = first.get_or_insert_with(|| lease.clone());
            if !holder.is_empty() && lease.renew_time != first.renew_time {
                return Ok(Pulse::Alive { holder });
            }
            if began.elapsed() > promised(first) {
                return Ok(if holder.is_empty() {
                    Pulse::Free
                } else {
                    let renewed = lease.renew_time.map(|at| at.0);
                    Pulse::Silent { holder, renewed }
                });
            }
            sleep(LOOK).await;
        }
    }
}

/// How long its holder may stay silent.
fn promised(lease: &LeaseSpec) -> Duration {
    let seconds = lease
        .lease_duration_seconds
        .and_then(|it| u64::try_from(it).ok());
    let promised = seconds
        .filter(|it| *it > 0)
        .map_or(PROMISE, Duration::from_secs);
    promised.min(PATIENCE) + LOOK
}
