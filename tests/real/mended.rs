//! What must be true after every rollback that succeeded, whatever went wrong on its way.

use crate::order;
use crate::scene::{Bad, LIMIT, Scene, rollout_path};
use crate::support::replica::until;

impl Scene {
    /// Checks the workload, the record, the log of the API server and the users of a release that was pulled back.
    pub(crate) async fn is_mended(&self, bad: Bad, hash: &str) {
        assert_eq!(self.rollout()["status"]["phase"], "Healthy");
        assert_eq!(
            self.rollout()
                .pointer("/spec/template/spec/containers/0/image")
                .unwrap(),
            "demo:v1-good"
        );
        let rollbacks = self.sandbox.objects("rollbacks");
        let ends = rollbacks.iter().map(|it| {
            let (name, status) = (&it["metadata"]["name"], &it["status"]);
            format!("{name} {} {}", status["phase"], status["reason"])
        });
        let ends: Vec<_> = ends.collect();
        assert_eq!(ends.len(), 1, "{ends:#?}");
        assert_eq!(self.restores().len(), 1, "the template changed once");
        order::announced(self);
        let requests = self.changes(&format!("{}/status", rollout_path()));
        let wanted = usize::from(bad == Bad::Promoted);
        assert_eq!(
            requests.len(),
            wanted,
            "promoted as often as needed: {requests:#?}"
        );
        let settled = async || {
            let status = &self.memory()?["status"];
            (status["shown"]["state"] == "ok"
                && status["active"].is_null()
                && status["latch"].is_null())
            .then_some(())
        };
        assert!(
            until(settled, LIMIT).await.is_some(),
            "{:#?}",
            self.memory()
        );
        let blamed = self.memory().unwrap()["status"]["blamed"].clone();
        assert_eq!(blamed.as_array().unwrap().len(), 1, "{blamed:#}");
        assert_eq!(blamed[0]["hash"], hash);
        self.users_are_served().await;
    }

    /// Waits until the users' latest answers are all good.
    pub(crate) async fn users_are_served(&self) {
        let served = async || {
            self.users
                .tally()
                .recent
                .iter()
                .all(|good| *good)
                .then_some(())
        };
        let served = until(served, LIMIT).await;
        assert!(served.is_some(), "{:?}", self.users.tally());
    }
}
