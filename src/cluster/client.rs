//! The connection to the API server.

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde::de::DeserializeOwned;

use super::Error;

/// Who Ripcord is in the audit log and in managed fields.
pub const MANAGER: &str = "ripcord";

/// How long a connection may be silent on which an answer is waited for: longer than a quiet watch, which ends after a minute, and
/// than a quiet command, whose connection is pinged once a minute. One that a gateway has dropped says nothing for ever.
const SILENCE: Duration = Duration::from_secs(75);

/// A connection to the API server with a bound on every call.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    timeout: Duration,
}

impl Cluster {
    /// Connects: to the cluster of this file, else as kubectl and pods do.
    ///
    /// # Errors
    /// What is wrong with the configuration. Nothing is called yet.
    pub async fn connect(kubeconfig: Option<&Path>, timeout: Duration) -> anyhow::Result<Self> {
        match kubeconfig {
            Some(path) => Self::connect_by(Kubeconfig::read_from(path)?, timeout).await,
            None => Self::of(Config::infer().await?, timeout),
        }
    }

    /// Connects as a person's kubectl does: to a context of this file, else of the files that `KUBECONFIG` names, else of
    /// `~/.kube/config`; the current context where none is named.
    ///
    /// # Errors
    /// What is wrong with the configuration. Nothing is called yet.
    pub async fn connect_as_person(
        kubeconfig: Option<&Path>,
        context: Option<&str>,
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let options = KubeConfigOptions {
            context: context.map(str::to_owned),
            ..KubeConfigOptions::default()
        };
        let config = match kubeconfig {
            Some(path) => {
                let read = Kubeconfig::read_from(path)?;
                Config::from_custom_kubeconfig(read, &options).await?
            }
            None => Config::from_kubeconfig(&options).await?,
        };
        Self::of(config, timeout)
    }

    /// Connects as a kubeconfig says that was read already.
    ///
    /// # Errors
    /// What is wrong with it. Nothing is called yet.
    pub async fn connect_by(kubeconfig: Kubeconfig, timeout: Duration) -> anyhow::Result<Self> {
        let options = KubeConfigOptions::default();
        Self::of(
            Config::from_custom_kubeconfig(kubeconfig, &options).await?,
            timeout,
        )
    }

    /// Connects as a person's kubectl does, in this context where one is named; with the namespace that the context names.
    ///
    /// # Errors
    /// What is wrong with the configuration. Nothing is called yet.
    pub async fn connect_as(
        kubeconfig: Option<&Path>,
        context: Option<&str>,
        timeout: Duration,
    ) -> anyhow::Result<(Self, String)> {
        let options = KubeConfigOptions {
            context: context.map(str::to_owned),
            ..KubeConfigOptions::default()
        };
        let config = match kubeconfig {
            Some(path) => {
                let read = Kubeconfig::read_from(path)?;
                Config::from_custom_kubeconfig(read, &options).await?
            }
            None if context.is_some() => Config::from_kubeconfig(&options).await?,
            None => Config::infer().await?,
        };
        let namespace = config.default_namespace.clone();
        Ok((Self::of(config, timeout)?, namespace))
    }

    fn of(mut config: Config, timeout: Duration) -> anyhow::Result<Self> {
        // The library would send a write again after a 503 or 504, for minutes, and not tell.
        config.default_retry = false;
        config.connect_timeout = Some(timeout);
        config.read_timeout = Some(SILENCE);
        config.reset_reader_on_write = true;
        Ok(Self {
            client: Client::try_from(config)?,
            timeout,
        })
    }

    /// The plain client, for watches and for the lease, which bound their own calls.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The API of a namespaced kind.
    #[must_use]
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client(), namespace)
    }

    /// Waits for a call, for as long as a call may take.
    ///
    /// # Errors
    /// What the answer means; [`Error::Unavailable`] where there was none in time.
    pub async fn call<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer.map_err(Error::from),
            Err(_) => Err(Error::Unavailable(format!(
                "no answer within {:?}",
                self.timeout
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_given_up() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let accepting = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((stream, _)) = silent.accept().await {
                open.push(stream);
            }
        });
        let config = Config::new(url.parse().unwrap());
        let cluster = Cluster::of(config, Duration::from_secs(5)).unwrap();
        let began = Instant::now();
        assert!(cluster.client().apiserver_version().await.is_err());
        let waited = began.elapsed();
        assert!((SILENCE..SILENCE * 2).contains(&waited), "after {waited:?}");
        accepting.abort();
    }
}
