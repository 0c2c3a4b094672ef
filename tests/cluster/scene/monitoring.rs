//! What watches a scenario's release, as a team has it: a Prometheus with a rule, and an Alertmanager under the shipped
//! route that tells Ripcord.

use std::fs;

use serde_json::Value;

use super::{LIMIT, Scene};
use crate::prometheus::Prometheus;
use crate::support::alertmanager::{Alertmanager, configuration};
use crate::support::replica::{Replica, TOKEN, client, until};
use crate::support::story::prelude::*;

/// For how many seconds there must have been enough traffic for the rule.
const WATCHED: u32 = 10;

/// Both, while they run.
pub(crate) struct Monitoring {
    pub(crate) prometheus: Prometheus,
    alertmanager: Alertmanager,
}

// === impl Monitoring ===

impl Monitoring {
    /// Waits until the rule has been asked about a release with enough traffic, again and again.
    pub(crate) async fn watches(&self, hash: &str) {
        let busy = format!(
            r#"count_over_time((release:http_requests:rate{{rollouts_pod_template_hash="{hash}"}} > 1)[5m:1s]) >= {WATCHED}"#
        );
        let watched = async || (!self.prometheus.ask(&busy).await.is_empty()).then_some(());
        let watched = until(watched, LIMIT).await;
        let seen = self.prometheus.ask("http_requests_total").await;
        assert!(watched.is_some(), "{hash}: {seen:#?}");
    }

    /// The releases of which an alert has ever been more than pending.
    pub(crate) async fn fired(&self) -> Vec<String> {
        let ever = r#"count by (rollouts_pod_template_hash) (count_over_time(ALERTS{alertstate="firing"}[1h]))"#;
        let fired = self.prometheus.ask(ever).await;
        let hash = |it: &Value| {
            it["metric"]["rollouts_pod_template_hash"]
                .as_str()
                .map(str::to_owned)
        };
        fired
            .iter()
            .map(|it| hash(it).unwrap_or_default())
            .collect()
    }

    /// Waits until neither knows of an alert any more.
    pub(crate) async fn is_quiet(&self) {
        let alerts = format!("{}/api/v2/alerts", self.alertmanager.url);
        let quiet = async || {
            let known = client().get(&alerts).send().await.ok()?;
            let known: Vec<Value> = known.json().await.ok()?;
            // Without this series, Prometheus itself has not answered.
            let works = !self.prometheus.ask("up").await.is_empty();
            let firing = self.prometheus.ask("ALERTS").await;
            (works && known.is_empty() && firing.is_empty()).then_some(())
        };
        until(quiet, LIMIT).await.expect("no alert is left");
    }
}

impl Scene {
    /// Starts both, and waits until what is live now is watched.
    pub(crate) async fn monitored(&self, ripcord: &Replica) -> Monitoring {
        let folder = self.folder.path();
        let token = folder.join("token-for-ripcord");
        fs::write(&token, TOKEN).unwrap();
        // People are paged at an address where nobody listens: that holds up nothing.
        let pager = "127.0.0.1:1".parse().unwrap();
        let route = configuration(&[ripcord.address()], pager, token.to_str().unwrap());
        let route = route.replace("options-production", &self.namespaces.release);
        let alertmanager = Alertmanager::start(folder, &route).await;
        let prometheus = Prometheus::start(
            folder,
            self.plane.admin.client(),
            &self.namespaces.release,
            alertmanager.url.trim_start_matches("http://"),
        );
        let monitoring = Monitoring {
            prometheus: prometheus.await,
            alertmanager,
        };
        monitoring.watches(&self.live().await).await;
        monitoring
    }
}
