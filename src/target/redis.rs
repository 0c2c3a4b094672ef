//! The Redis that belongs to a target, and what a flush of it takes away.
//!
//! It says where the password is and never holds it: what is said here is frozen in plans, which people may read.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The Redis of a target, as the policy declares it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Redis {
    /// Host and port, such as `redis.options-production:6379`.
    pub address: String,
    /// The number of the database.
    pub database: u32,
    /// The user of its access lists; the default one where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Where the password is, where it asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordAt>,
    /// TLS, where it speaks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// What is done where the address leads to a replica.
    pub master: Master,
    /// What the names of the target's keys begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Whether all databases may be emptied.
    pub allow_flush_all: bool,
}

/// Where a password is read, each time that it is needed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PasswordAt {
    /// In this file.
    File(String),
    /// In this variable of the environment.
    Env(String),
}

/// How TLS is checked.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// The certificates of who may vouch for the server; the machine's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
}

/// What is done where the address leads to a replica, which takes no writes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Master {
    /// Go to the master that the replica names.
    #[default]
    Follow,
    /// Wait until the address leads to a master.
    Here,
}

/// What is taken away.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// The keys whose names begin with this, in one database.
    Prefix(String),
    /// One database.
    Database,
    /// All databases.
    All,
}

/// One flush, with everything that it needs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Flush {
    /// The server.
    pub redis: Redis,
    /// What is taken away.
    pub scope: Scope,
    /// How long it may take.
    #[serde(with = "humantime_serde")]
    pub within: Duration,
}

impl Redis {
    /// Host and port of the address.
    #[must_use]
    pub fn host_and_port(&self) -> Option<(&str, u16)> {
        let (host, port) = self.address.rsplit_once(':')?;
        let bare = host.strip_prefix('[').map(|it| it.strip_suffix(']'));
        let host = bare.unwrap_or(Some(host))?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        (!host.is_empty()).then_some((host, port))
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Prefix(prefix) => write!(f, "the keys of prefix {prefix}"),
            Self::Database => f.write_str("the database"),
            Self::All => f.write_str("all databases"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn redis() -> Redis {
        Redis {
            address: "redis:6379".into(),
            database: 0,
            username: None,
            password: None,
            tls: None,
            master: Master::Follow,
            prefix: Some("pinn:".into()),
            allow_flush_all: false,
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let of = |address: &str| {
            let redis = Redis {
                address: address.into(),
                ..redis()
            };
            redis
                .host_and_port()
                .map(|(host, port)| (host.to_owned(), port))
        };
        assert_eq!(of("redis.prod:6379"), Some(("redis.prod".into(), 6379)));
        assert_eq!(of("[fd00::1]:6379"), Some(("fd00::1".into(), 6379)));
        for wrong in [
            "redis",
            ":6379",
            "redis:0",
            "redis:x",
            "redis:65536",
            "[fd00::1:6379",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
