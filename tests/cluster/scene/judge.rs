//! What became of a scenario, as the API, the ready endpoints, the users and the audit log see it.

use jiff::Timestamp;
use serde_json::Value;

use super::{NAME, Scene};
use crate::plane::audit::Audited;
use crate::times::Times;

impl Scene {
    /// What must be true at the end: the good release is live, stable and alone, after one change of the template.
    pub(crate) async fn is_mended(&self) {
        self.rollout_is("Healthy").await;
        self.users_are_served().await;
        let rollout = self.rollout().await;
        assert_eq!(
            rollout
                .pointer("/spec/template/spec/containers/0/image")
                .unwrap(),
            "demo:v1-good"
        );
        assert_eq!(
            rollout["status"]["currentPodHash"],
            rollout["status"]["stableRS"]
        );
        assert_eq!(self.served_by().await, ["demo:v1-good"; 4]);
        let requests = self.requests();
        let refused: Vec<_> = requests.iter().filter(|it| it.code == 403).collect();
        assert!(
            refused.is_empty(),
            "`deploy/` grants all that is asked for: {refused:#?}"
        );
        let mut mutations = self.mutations();
        mutations.retain(|it| it.subresource.is_empty());
        assert_eq!(
            mutations.len(),
            1,
            "the template is restored once: {mutations:#?}"
        );
    }

    /// The images of the ready endpoints of the Service.
    pub(crate) async fn served_by(&self) -> Vec<String> {
        let namespace = &self.namespaces.release;
        let list = async |what: &str| {
            let list = self.plane.admin.get(what).await.expect("a list");
            list["items"].as_array().cloned().unwrap_or_default()
        };
        let selector = format!("labelSelector=kubernetes.io/service-name={NAME}");
        let slices = list(&format!(
            "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?{selector}"
        ))
        .await;
        let pods = list(&format!("/api/v1/namespaces/{namespace}/pods")).await;
        let endpoints = slices
            .iter()
            .flat_map(|it| it["endpoints"].as_array().into_iter().flatten());
        let ready = endpoints.filter(|it| it["conditions"]["ready"] == true);
        let image = |endpoint: &Value| {
            let pod = pods
                .iter()
                .find(|pod| pod["metadata"]["name"] == endpoint["targetRef"]["name"])?;
            Some(
                pod.pointer("/spec/containers/0/image")?
                    .as_str()?
                    .to_owned(),
            )
        };
        ready.filter_map(image).collect()
    }

    /// Ripcord's writes to the workload that had an effect, oldest first.
    pub(crate) fn mutations(&self) -> Vec<Audited> {
        let mut all = self.requests();
        all.retain(|it| it.is_write() && it.resource == "rollouts" && it.code < 300);
        all
    }

    /// Ripcord's requests in both namespaces, as the API server saw them.
    pub(crate) fn requests(&self) -> Vec<Audited> {
        let user = format!("system:serviceaccount:{}:ripcord", self.namespaces.ripcord);
        let namespaces = [&self.namespaces.release, &self.namespaces.ripcord];
        let all = namespaces.map(|it| self.plane.audit(it).unwrap());
        let mut all = all.concat();
        all.retain(|it| it.user == user);
        all
    }

    /// Puts the times of this scenario into the table.
    pub(crate) fn times(&self, posted: Timestamp, rollback: &Value) {
        let healthy = rollback
            .pointer("/status/run/healthy")
            .and_then(Value::as_str);
        let times = Times {
            scenario: self.name,
            posted,
            first_mutation: self.mutations().first().map(|it| it.received),
            last_bad: self.users.as_ref().and_then(|it| it.tally().last_bad),
            healthy: healthy.and_then(|at| at.parse().ok()),
        };
        times.note();
    }
}
