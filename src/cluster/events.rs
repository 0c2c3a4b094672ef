//! Events on a rollback's object, so that `kubectl describe rollback` reads like a story.
//!
//! Best effort: they expire after an hour and prove nothing; the status is the record.

use kube::Resource as _;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use super::Cluster;
use super::client::MANAGER;
use crate::reason::Finding;
use crate::rollback::Rollback;

/// Publishes events.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// Events in the name of this replica.
    #[must_use]
    pub fn new(cluster: &Cluster, replica: &str) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: Some(replica.to_owned()),
        };
        Self {
            recorder: Recorder::new(cluster.client(), reporter),
        }
    }

    /// Says what happened to a rollback, without waiting for anybody to hear it.
    pub fn say(&self, rollback: &Rollback, action: &str, finding: &Finding, warning: bool) {
        let event = Event {
            type_: if warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: finding.reason.code().to_owned(),
            note: Some(finding.to_string().chars().take(900).collect()),
            action: action.to_owned(),
            secondary: None,
        };
        let (recorder, subject) = (self.recorder.clone(), rollback.object_ref(&()));
        tokio::spawn(async move {
            if let Err(error) = recorder.publish(&event, &subject).await {
                tracing::debug!(%error, "an event was not published");
            }
        });
    }
}
