//! What watches a scenario's release, as a team has it: a Prometheus with the shipped jobs and rules, and an Alertmanager
//! under the shipped route that tells Ripcord.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{LIMIT, Scene};
use crate::prometheus::Prometheus;
use crate::support::alertmanager::{Alertmanager, configuration};
use crate::support::replica::{Replica, TOKEN, client, until};
use crate::support::story::prelude::*;

/// How long what the rules say may take where their times are not divided.
pub(crate) const MINUTES: Duration = Duration::from_mins(8);

/// Both, while they run.
pub(crate) struct Monitoring {
    pub(crate) prometheus: Prometheus,
    alertmanager: Alertmanager,
}

/// What of a release is a bad sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    /// Matchers besides the release, each with its comma.
    pub(crate) more: &'static str,
    /// The value that is bad, where not every one is.
    pub(crate) value: Option<&'static str>,
}

// === impl Monitoring ===

impl Monitoring {
    /// Waits until the rules have been asked for so many seconds about a release with enough traffic.
    pub(crate) async fn watches(&self, hash: &str, seconds: u32) {
        let busy = format!(
            r#"count_over_time((release:requests:rate{{rollouts_pod_template_hash="{hash}"}} > 2)[5m:1s]) >= {seconds}"#
        );
        let watched = async || (!self.prometheus.ask(&busy).await.is_empty()).then_some(());
        let watched = until(watched, LIMIT).await;
        let seen = self.prometheus.ask("http_requests_total").await;
        assert!(watched.is_some(), "{hash}: {seen:#?}");
    }

    /// The alerts that have ever been more than pending, each with its release.
    pub(crate) async fn fired(&self) -> Vec<(String, String)> {
        let ever = r#"count by (alertname, rollouts_pod_template_hash) (count_over_time(ALERTS{alertstate="firing"}[1h]))"#;
        let fired = self.prometheus.ask(ever).await;
        let pair = |it: &Value| {
            ["alertname", "rollouts_pod_template_hash"]
                .map(|label| it["metric"][label].as_str().unwrap_or_default().to_owned())
                .into()
        };
        fired.iter().map(pair).collect()
    }

    /// When the first sample came of those that this says of a release.
    pub(crate) async fn first(&self, sample: Sample, hash: &str) -> Timestamp {
        let Sample { name, more, value } = sample;
        let all = format!(r#"{name}{{{more}rollouts_pod_template_hash="{hash}"}}[1h]"#);
        let series = self.prometheus.ask(&all).await;
        let samples = series.iter().filter_map(|it| it["values"].as_array());
        let times = samples.flatten().filter_map(|it| {
            let counts = value.is_none_or(|value| it[1] == value);
            it[0].as_f64().filter(|_| counts)
        });
        let first = times.reduce(f64::min);
        let first = first.unwrap_or_else(|| panic!("{all}: {series:#?}"));
        #[expect(clippy::cast_possible_truncation, reason = "a time of this year")]
        Timestamp::from_millisecond((first * 1000.0) as i64).unwrap()
    }

    /// Waits until neither knows of an alert any more.
    pub(crate) async fn is_quiet(&self) {
        let alerts = format!("{}/api/v2/alerts", self.alertmanager.url);
        let quiet = async || {
            let known = client().get(&alerts).send().await.ok()?;
            let known: Vec<Value> = known.json().await.ok()?;
            let firing = self.prometheus.ask("ALERTS").await;
            (known.is_empty() && firing.is_empty()).then_some(())
        };
        until(quiet, MINUTES).await.expect("no alert is left");
    }
}

impl Scene {
    /// Starts both, with the times of the rules divided by `factor`, and waits until what is live now is watched.
    pub(crate) async fn monitored(&self, ripcord: &Replica, factor: u64) -> Monitoring {
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
            factor,
        );
        let monitoring = Monitoring {
            prometheus: prometheus.await,
            alertmanager,
        };
        monitoring.watches(&self.live().await, 2).await;
        monitoring
    }
}
