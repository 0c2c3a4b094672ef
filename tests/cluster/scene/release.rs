//! What belongs to a scenario's release besides the workload, and what its owner commands.

use ripcord::cli::demo::fixture;
use serde_json::Value;

use super::{NAME, Scene};

pub(crate) use crate::support::story::ground::{BAD, GOOD, containers, pausing};

impl Scene {
    /// A Service over all pods of the workload, as its owner writes it.
    pub(crate) async fn service(&self, name: &str) -> Value {
        let mut service = fixture::service(&self.namespaces.release, name, 80);
        service["spec"]["selector"]["app"] = NAME.into();
        self.plane.admin.create(&service).await.unwrap()
    }

    /// What a person's plugin of Argo Rollouts says to a command, in the release's namespace.
    pub(crate) fn argo(&self, words: &[&str]) -> String {
        let words = [words, &["-n", &self.namespaces.release]].concat();
        self.plane.plugin(&words).unwrap()
    }
}
