//! Looks at health endpoints, and at numbers through [`Prometheus`]; sends the requests that warm pods up.

use std::time::Duration;

use futures_util::future::join_all;

use super::Clock;
use super::prometheus::{NoNumber, Prometheus};
use crate::target::call::Method;
use crate::target::effect::{Outcome, Verdict};
use crate::target::measure::rounded;
use crate::target::{Call, Health, Probe, Sighting};

/// How much of an answer is read.
const READ: usize = 256 * 1024;

/// Asks pods over HTTP, and Prometheus where there is one.
#[derive(Clone)]
pub struct Prober {
    client: reqwest::Client,
    clock: Clock,
    prometheus: Option<Prometheus>,
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
        Ok(Self {
            client,
            clock,
            prometheus: None,
        })
    }

    /// The same with a Prometheus.
    #[must_use]
    pub fn with(self, prometheus: Option<Prometheus>) -> Self {
        Self { prometheus, ..self }
    }

    /// The number that an expression has now.
    ///
    /// # Errors
    /// See [`NoNumber`].
    pub async fn measure(&self, query: &str) -> Result<f64, NoNumber> {
        match &self.prometheus {
            Some(prometheus) => prometheus.ask(query).await,
            None => Err(NoNumber::NotConfigured),
        }
    }

    /// Looks at all of these at once.
    pub async fn look(&self, probes: &[Probe]) -> Vec<Sighting> {
        join_all(probes.iter().map(|probe| self.look_at(probe))).await
    }

    /// Sends all of these at once, and says what each pod answered and what came of all.
    pub async fn call(&self, calls: &[Call]) -> (Vec<Sighting>, Outcome) {
        let answers = join_all(calls.iter().map(|call| self.send(call))).await;
        let bad = answers.iter().find(|answer| !answer.good);
        let good = answers.iter().filter(|answer| answer.good).count();
        let verdict = if bad.is_some() {
            Verdict::Failed
        } else {
            Verdict::Done
        };
        let bad = bad.map_or_else(String::new, |it| {
            format!("; {} answered {}", it.of, it.said)
        });
        let said = format!("{good} of {} answered as they should{bad}", answers.len());
        (answers, Outcome { verdict, said })
    }

    async fn send(&self, call: &Call) -> Sighting {
        let request = &call.request;
        let sent = self
            .client
            .request(method(request.method), &call.url)
            .timeout(request.timeout);
        let (good, said) = match sent.send().await {
            Ok(answer) => request.judge(answer.status().as_u16()),
            Err(error) if error.is_timeout() => {
                (false, format!("nothing within {:?}", request.timeout))
            }
            Err(error) => (false, plain(&error)),
        };
        Sighting {
            of: call.of.clone(),
            at: (self.clock)(),
            good,
            said,
            value: None,
        }
    }

    async fn look_at(&self, probe: &Probe) -> Sighting {
        let (of, good, said, value) = match probe {
            Probe::Health { of, url, health } => {
                let answer = self.answer(url, health).await;
                let (good, said) = answer.unwrap_or_else(|said| (false, said));
                (of, good, said, None)
            }
            Probe::Metric { of, query } => match self.measure(query).await {
                Ok(value) => (of, true, rounded(value), Some(value)),
                Err(none) => (of, false, none.to_string(), None),
            },
        };
        Sighting {
            of: of.clone(),
            at: (self.clock)(),
            good,
            said,
            value,
        }
    }

    /// Looks at one endpoint, and says whether its answer was good, and what it was.
    ///
    /// # Errors
    /// Why there was no answer.
    pub async fn answer(&self, url: &str, health: &Health) -> Result<(bool, String), String> {
        let (status, body) = self.get(url, health.timeout, READ).await?;
        Ok(health.judge(status, &body))
    }

    /// Reads what is at an address, up to so many bytes: the status and the body.
    ///
    /// # Errors
    /// Why there was no answer.
    pub async fn get(
        &self,
        url: &str,
        within: Duration,
        up_to: usize,
    ) -> Result<(u16, Vec<u8>), String> {
        match tokio::time::timeout(within, self.ask(url, up_to)).await {
            Ok(answer) => answer.map_err(|error| plain(&error)),
            Err(_) => Err(format!("no answer within {within:?}")),
        }
    }

    async fn ask(&self, url: &str, up_to: usize) -> reqwest::Result<(u16, Vec<u8>)> {
        let mut answer = self.client.get(url).send().await?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > up_to {
                body.truncate(up_to);
                break;
            }
        }
        Ok((answer.status().as_u16(), body))
    }
}

const fn method(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
    }
}

/// A transport error without the address, which is said elsewhere.
pub(super) fn plain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
