//! What Alertmanager sends, and what it is answered.

use ripcord::alert::payload::{Status, VERSION};
use ripcord::alert::{Alert, Labels, Notification};
use ripcord::cluster::clock;
use serde_json::Value;

use crate::support::stage::{NAME, NAMESPACE};

/// What Alertmanager was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// An alert that began to fire just now.
pub(crate) fn firing(name: &str) -> Alert {
    labelled(name, &[])
}

/// An alert with more labels.
pub(crate) fn labelled(name: &str, more: &[(&str, &str)]) -> Alert {
    let own = [
        ("alertname", name),
        ("namespace", NAMESPACE),
        ("severity", "critical"),
    ];
    let labels: Labels = own.into_iter().chain(more.iter().copied()).collect();
    Alert {
        status: Status::Firing,
        annotations: [("summary".to_owned(), format!("{name} on {NAME}"))].into(),
        starts_at: clock::system()(),
        ends_at: None,
        generator_url: "http://prometheus.example/graph?g0.expr=a%3E1".into(),
        fingerprint: labels.fingerprint(),
        labels,
    }
}

/// The same alert, ended.
pub(crate) fn resolved(alert: &Alert) -> Alert {
    Alert {
        status: Status::Resolved,
        ends_at: Some(clock::system()()),
        ..alert.clone()
    }
}

/// A group as Alertmanager sends it.
pub(crate) fn group(alerts: &[Alert]) -> Notification {
    let fires = alerts.iter().any(Alert::is_firing);
    Notification {
        receiver: "ripcord\\.prod".into(),
        status: Some(if fires {
            Status::Firing
        } else {
            Status::Resolved
        }),
        alerts: alerts.to_vec(),
        notification_reason: None,
        group_labels: Labels::default(),
        common_labels: Labels::default(),
        common_annotations: [].into(),
        route_labels: None,
        external_url: "http://am-1.example:9093".into(),
        version: VERSION.into(),
        group_key: "{}:{}".into(),
        truncated_alerts: 0,
    }
}

// === impl Answer ===

impl Answer {
    /// The decisions, each with its reason code.
    pub(crate) fn decisions(&self) -> Vec<(&str, &str)> {
        let all = self.body["decisions"].as_array();
        let all = all.into_iter().flatten();
        all.map(|told| {
            (
                told["decision"].as_str().unwrap_or_default(),
                told["reason"].as_str().unwrap_or_default(),
            )
        })
        .collect()
    }

    /// Whether so many decisions were made, and all are this one.
    pub(crate) fn all(&self, count: usize, decision: (&str, &str)) -> bool {
        let all = self.decisions();
        self.status == 200 && all.len() == count && all.iter().all(|one| *one == decision)
    }

    /// The only decision, of an answer that says that everything is on record.
    pub(crate) fn one(&self) -> (&str, &str) {
        assert_eq!(self.status, 200, "{}", self.body);
        let all = self.decisions();
        assert_eq!(all.len(), 1, "{}", self.body);
        all[0]
    }
}
