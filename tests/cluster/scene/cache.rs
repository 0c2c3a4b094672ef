//! What the shipped procedures reset besides the workload: a real Redis with keys of the target and of others.

use super::Scene;
use crate::support::redis::Redis;

/// What the shipped policy says of the alert.
pub(crate) const SHIPPED: &str = "procedure: emergency-canary";

impl Scene {
    /// A Redis with keys of the target and of others, which the shipped procedure is to reset.
    pub(crate) async fn redis(&mut self) -> Redis {
        let redis = self.filled().await;
        self.resets(&redis.address());
        redis
    }

    /// A Redis with keys of the target and of others.
    pub(crate) async fn filled(&self) -> Redis {
        let redis = Redis::start(self.folder.path()).await;
        fill(&redis).await;
        redis
    }

    /// Lets the alert ask for the shipped procedure, with a Redis at this address.
    pub(crate) fn resets(&mut self, address: &str) {
        self.policy_says(SHIPPED, "procedure: cache-reset");
        self.has_cache(address);
    }

    /// Lets the target have a Redis at this address, and a request that warms its pods up.
    pub(crate) fn has_cache(&mut self, address: &str) {
        let shipped = format!("address: redis.{}:6379", self.namespaces.release);
        self.policy_says(&shipped, &format!("address: \"{address}\""));
        self.policy_says(
            "path: /health/pinn/warmup, port: 8000, timeout: 10s",
            "path: /warmup, port: 8000, status: 200",
        );
    }
}

/// Puts keys of the target and of others into a Redis.
pub(crate) async fn fill(redis: &Redis) {
    let names = ["pinn:1", "pinn:2", "session:1"].map(str::to_owned);
    redis.holds(0, names).await;
    redis.holds(1, ["pinn:1".to_owned()]).await;
}
