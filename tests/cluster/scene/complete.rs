//! A release for which a revert is not enough: its image is pinned, and no replica set of a good one may be left.

use serde_json::{Value, json};

use super::cache::SHIPPED;
use super::release::{BAD, GOOD};
use super::{LIMIT, Scene};
use crate::support::redis::Redis;
use crate::support::replica::{Replica, until};
use crate::support::story::prelude::*;

/// The known good image, by its digest.
pub(crate) const PINNED: &str =
    "demo:v1-good@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

impl Scene {
    pub(crate) fn pins(&mut self, image: &str) {
        let pin = format!("known_good: {{ image: {{ container: app, reference: \"{image}\" }} }}");
        self.target_has(&pin);
    }

    /// Lets the alert ask for the shipped procedure, with this image pinned and a Redis that has bad values.
    pub(crate) async fn completes(&mut self, image: &str) -> Redis {
        let redis = self.filled().await;
        self.completes_with(image, &redis.address());
        redis
    }

    /// The same with a Redis at this address.
    pub(crate) fn completes_with(&mut self, image: &str, address: &str) {
        self.pins(image);
        self.policy_says(SHIPPED, "procedure: complete");
        self.has_cache(address);
    }

    /// A bad release that is promoted, and no replica set of another.
    pub(crate) async fn bad_without_history(&mut self, strategy: &Value) -> (Replica, String) {
        let spec = json!({ "strategy": strategy, "revisionHistoryLimit": 0 });
        self.first(GOOD, &spec).await;
        let ripcord = self.ripcord().await;
        self.soaked().await;
        self.deploy(BAD).await;
        let bad = self.promoted_by_hand().await;
        self.users_are_hurt().await;
        let path = format!(
            "/apis/apps/v1/namespaces/{}/replicasets",
            self.namespaces.release
        );
        // Deployments may stand beside it.
        let of_rollout =
            |it: &&Value| it.pointer("/metadata/ownerReferences/0/kind") == Some(&json!("Rollout"));
        let gone = async || {
            let all = self.plane.admin.get(&path).await?;
            let left = all["items"].as_array()?.iter().filter(of_rollout);
            (left.count() == 1).then_some(())
        };
        until(gone, LIMIT).await.expect("it is cleaned up");
        (ripcord, bad)
    }
}
