//! What belongs to a scenario's release besides the workload, and what its owner commands.

use ripcord::cli::demo::fixture;
use serde_json::{Value, json};

use super::{NAME, Scene};
use crate::support::story::prelude::*;

/// How often the users of a test ask, in a second.
pub(super) const RATE: u32 = 20;
pub(crate) use crate::support::story::ground::{BAD, GOOD, containers, pausing};

impl Scene {
    /// A Service over all pods of the workload, as its owner writes it.
    pub(crate) async fn service(&self, name: &str) -> Value {
        let mut service = fixture::service(&self.namespaces.release, name, 80);
        service["spec"]["selector"]["app"] = NAME.into();
        self.plane.admin.create(&service).await.unwrap()
    }

    /// What Argo CD leaves on what it tracks.
    pub(crate) async fn is_tracked_by(&self, application: &str) {
        let id = format!(
            "{application}:argoproj.io/Rollout:{}/{NAME}",
            self.namespaces.release
        );
        let annotations = json!({ "argocd.argoproj.io/tracking-id": id });
        self.edit(&json!({ "metadata": { "annotations": annotations } }))
            .await;
    }

    /// What a person's plugin of Argo Rollouts says to a command, in the release's namespace.
    pub(crate) fn argo(&self, words: &[&str]) -> String {
        let words = [words, &["-n", &self.namespaces.release]].concat();
        self.plane.plugin(&words).unwrap()
    }
}
