//! Looks at health endpoints.

use std::time::Duration;

use futures_util::future::join_all;

use super::Clock;
use crate::target::{Probe, Sighting};

/// How much of an answer is read.
const READ: usize = 256 * 1024;

/// Asks health endpoints.
#[derive(Clone)]
pub struct Prober {
    client: reqwest::Client,
    clock: Clock,
}

impl Prober {
    /// A prober. It follows no redirect: another address's answer proves nothing about the one that was asked.
    ///
    /// # Errors
    /// Where the TLS set-up of this machine cannot be used.
    pub fn new(clock: Clock) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("ripcord/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(2))
            .no_proxy()
            .build()?;
        Ok(Self { client, clock })
    }

    /// Looks at all of these at once.
    pub async fn look(&self, probes: &[Probe]) -> Vec<Sighting> {
        join_all(probes.iter().map(|probe| self.look_at(probe))).await
    }

    async fn look_at(&self, probe: &Probe) -> Sighting {
        let (good, said) = match tokio::time::timeout(probe.health.timeout, self.ask(probe)).await {
            Ok(Ok((status, body))) => probe.health.judge(status, &body),
            Ok(Err(error)) => (false, plain(&error)),
            Err(_) => (
                false,
                format!("no answer within {:?}", probe.health.timeout),
            ),
        };
        Sighting {
            of: probe.of.clone(),
            at: (self.clock)(),
            good,
            said,
        }
    }

    async fn ask(&self, probe: &Probe) -> reqwest::Result<(u16, Vec<u8>)> {
        let mut answer = self.client.get(&probe.url).send().await?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > READ {
                body.truncate(READ);
                break;
            }
        }
        Ok((answer.status().as_u16(), body))
    }
}

/// A transport error without the address, which is said elsewhere.
fn plain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
