//! Flushes a Redis, over its own protocol: finds the master, checks each reply, and says what was taken away.
//!
//! A reply that was not checked proves nothing: a replica and a server that wants a password refuse in words alone. It
//! refuses a Redis Cluster, where each master holds a part, and a Sentinel. The password is read anew each time and shown
//! nowhere.

pub mod files;

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, ServerErrorKind, TlsCertificates, Value,
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::target::effect::{Outcome, Verdict};
use crate::target::redis::{Master, PasswordAt, Scope, Tls};
use crate::target::{Flush, Redis};

/// How long one reply may take, and a connection to come about.
const REPLY: Duration = Duration::from_secs(5);
/// About how many keys one reply of a scan lists.
const BATCH: usize = 1000;

/// Why a flush was not done.
#[derive(Debug)]
struct Failure {
    verdict: Verdict,
    said: String,
}

type Result<T> = std::result::Result<T, Failure>;

/// Empties a cache, and says what came of it. It takes no longer than the flush says.
pub async fn flush(flush: &Flush) -> Outcome {
    let (address, within) = (&flush.redis.address, flush.within);
    let end = Instant::now() + within;
    let found = timeout_at(end, master(&flush.redis)).await;
    let (mut master, place) = match found.unwrap_or_else(|_| Err(silent(&flush.redis, within))) {
        Ok(found) => found,
        Err(Failure { verdict, said }) => {
            let verdict = match verdict {
                Verdict::Failed => Verdict::NotBegun,
                verdict => verdict,
            };
            return Outcome { verdict, said };
        }
    };
    let (verdict, said) = match timeout_at(end, emptied(flush, &mut master, &place)).await {
        Ok(Ok(said)) => (Verdict::Done, said),
        Ok(Err(failure)) => (failure.verdict, failure.said),
        Err(_) => (
            Verdict::Failed,
            format!("{address} was flushed in part within {within:?}"),
        ),
    };
    Outcome { verdict, said }
}

/// Goes the way of a flush and takes nothing away: says what a flush would find.
///
/// # Errors
/// Why a flush would not be done, and whether that may pass.
pub async fn look(redis: &Redis, within: Duration) -> std::result::Result<String, Outcome> {
    let counted = async {
        let (mut master, place) = master(redis).await?;
        // A user who may flush by a prefix need not be one who may count.
        let held: Option<u64> = master.ask(&place, redis::cmd("DBSIZE")).await.ok();
        let held = held.map_or_else(String::new, |held| {
            format!(", with {} in database {}", keys(held), redis.database)
        });
        Ok(format!("{place} is a master{held}"))
    };
    let counted = timeout(within, counted).await;
    let counted = counted.unwrap_or_else(|_| Err(silent(redis, within)));
    counted.map_err(|Failure { verdict, said }| Outcome { verdict, said })
}

fn silent(redis: &Redis, within: Duration) -> Failure {
    Failure {
        verdict: Verdict::Failed,
        said: format!("{} did not answer within {within:?}", redis.address),
    }
}

/// Takes away what the flush says, and says what that was.
async fn emptied(flush: &Flush, master: &mut MultiplexedConnection, place: &str) -> Result<String> {
    let (said, database) = match &flush.scope {
        Scope::Prefix(prefix) => {
            let gone = unlink(master, place, prefix).await?;
            (format!("{} of prefix {prefix}", keys(gone)), true)
        }
        Scope::Database => {
            let held: u64 = master.ask(place, redis::cmd("DBSIZE")).await?;
            master.confirm(place, "FLUSHDB").await?;
            (format!("all {}", keys(held)), true)
        }
        Scope::All => {
            let listed: String = master
                .ask(place, redis::cmd("INFO").arg("keyspace").take())
                .await?;
            master.confirm(place, "FLUSHALL").await?;
            (
                format!("all {} in all databases", keys(held(&listed))),
                false,
            )
        }
    };
    let database = if database {
        format!(" in database {}", flush.redis.database)
    } else {
        String::new()
    };
    Ok(format!("flushed {said}{database} of {place} (master)"))
}

/// Connects to the master that the address leads to, and says where that is.
async fn master(redis: &Redis) -> Result<(MultiplexedConnection, String)> {
    let (host, port) = redis.host_and_port().ok_or_else(|| Failure {
        verdict: Verdict::Refused,
        said: format!("{} is no host and port", redis.address),
    })?;
    let mut found = connect(redis, host, port).await?;
    let place = redis.address.clone();
    let (master, master_port) = match role(&mut found, &place).await? {
        Role::Master => {
            whole(&mut found, &place).await?;
            return Ok((found, place));
        }
        Role::Replica(host, port) => (host, port),
    };
    let named = format!("{master}:{master_port}");
    if redis.master == Master::Here {
        // A failover may be under way.
        return Err(Failure {
            verdict: Verdict::Failed,
            said: format!("{place} is a replica of {named}, and takes no writes"),
        });
    }
    let mut found = connect(redis, &master, master_port).await?;
    match role(&mut found, &named).await? {
        Role::Master => {
            whole(&mut found, &named).await?;
            Ok((found, named))
        }
        Role::Replica(host, port) => Err(Failure {
            verdict: Verdict::Failed,
            said: format!("{named}, the master of {place}, is a replica of {host}:{port} itself"),
        }),
    }
}

async fn connect(of: &Redis, host: &str, port: u16) -> Result<MultiplexedConnection> {
    let place = format!("{host}:{port}");
    let addr = match &of.tls {
        None => ConnectionAddr::Tcp(host.to_owned(), port),
        Some(_) => ConnectionAddr::TcpTls {
            host: host.to_owned(),
            port,
            insecure: false,
            tls_params: None,
        },
    };
    let refused = |error: &RedisError| failure(&place, "the connection", error);
    let info = addr.into_connection_info();
    let info = info.map_err(|error| refused(&error))?;
    let login = RedisConnectionInfo::default().set_skip_set_lib_name();
    let info = info.set_redis_settings(login);
    let client = match &of.tls {
        None => Client::open(info),
        Some(tls) => Client::build_with_tls(info, certificates(tls).await?),
    };
    let client = client.map_err(|error| refused(&error))?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(REPLY))
        .set_response_timeout(Some(REPLY));
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    let mut server = connection.await.map_err(|error| refused(&error))?;
    // Asked here and not by the library, so that what the server says against it is known word for word.
    if let Some(at) = &of.password {
        let mut login = redis::cmd("AUTH");
        login.arg(of.username.as_deref()).arg(password(at).await?);
        let () = server.ask(&place, login).await?;
    }
    if of.database > 0 {
        let select = redis::cmd("SELECT").arg(of.database).take();
        let () = server.ask(&place, select).await?;
    }
    Ok(server)
}

/// The password. A file may lie on a slow volume.
async fn password(at: &PasswordAt) -> Result<String> {
    let at = at.clone();
    blocking(move || files::password(&at)).await
}

/// Reads what may be on a slow volume.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> std::result::Result<T, String> + Send + 'static,
) -> Result<T> {
    let read = tokio::task::spawn_blocking(read).await;
    let read = read.unwrap_or_else(|error| Err(error.to_string()));
    read.map_err(|said| Failure {
        verdict: Verdict::Refused,
        said,
    })
}

async fn certificates(tls: &Tls) -> Result<TlsCertificates> {
    let root_cert = match tls.ca_file.clone() {
        None => None,
        Some(path) => Some(blocking(move || files::certificates(&path)).await?),
    };
    Ok(TlsCertificates {
        client_tls: None,
        root_cert,
    })
}

/// What a server is to others.
enum Role {
    Master,
    Replica(String, u16),
}

async fn role(server: &mut MultiplexedConnection, place: &str) -> Result<Role> {
    let answer: Vec<Value> = server.ask(place, redis::cmd("ROLE")).await?;
    let text =
        |at: usize| -> Option<String> { redis::from_redis_value(answer.get(at)?.clone()).ok() };
    let number =
        |at: usize| -> Option<u16> { redis::from_redis_value(answer.get(at)?.clone()).ok() };
    match text(0).as_deref() {
        Some("master") => Ok(Role::Master),
        Some("slave") => match (text(1), number(2)) {
            (Some(host), Some(port)) => Ok(Role::Replica(host, port)),
            _ => Err(Failure {
                verdict: Verdict::Failed,
                said: format!("{place} is a replica, and does not say of whom"),
            }),
        },
        other => Err(Failure {
            verdict: Verdict::Refused,
            said: format!("{place} is no master but a {}", other.unwrap_or("stranger")),
        }),
    }
}

/// Whether one master holds everything.
async fn whole(server: &mut MultiplexedConnection, place: &str) -> Result<()> {
    let info: String = server
        .ask(place, redis::cmd("INFO").arg("cluster").take())
        .await?;
    if info.lines().any(|line| line.trim() == "cluster_enabled:1") {
        return Err(Failure {
            verdict: Verdict::Refused,
            said: format!(
                "{place} is a node of a Redis Cluster, of which each master holds a part: that is not supported"
            ),
        });
    }
    Ok(())
}

/// Takes away the keys whose names begin with `prefix`, and counts them.
async fn unlink(server: &mut MultiplexedConnection, place: &str, prefix: &str) -> Result<u64> {
    let pattern = pattern(prefix);
    let (mut cursor, mut gone) = (0_u64, 0_u64);
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor)
            .arg("MATCH")
            .arg(&pattern)
            .arg("COUNT")
            .arg(BATCH);
        let (next, names): (u64, Vec<Vec<u8>>) = server.ask(place, scan).await?;
        if !names.is_empty() {
            let taken: u64 = server
                .ask(place, redis::cmd("UNLINK").arg(names).take())
                .await?;
            gone += taken;
        }
        if next == 0 {
            return Ok(gone);
        }
        cursor = next;
    }
}

/// A pattern that matches the names that begin with `prefix`, whatever signs it has.
fn pattern(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for sign in prefix.chars() {
        if matches!(sign, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(sign);
    }
    pattern.push('*');
    pattern
}

/// How many keys all databases hold, by `INFO keyspace`.
fn held(keyspace: &str) -> u64 {
    let keys = keyspace.lines().filter_map(|line| {
        let (_, rest) = line.trim().split_once(":keys=")?;
        rest.split(',').next()?.parse::<u64>().ok()
    });
    keys.sum()
}

/// A number of keys for people: `1,204 keys`.
fn keys(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    let noun = if count == 1 { "key" } else { "keys" };
    format!("{shown} {noun}")
}

trait Ask {
    /// Sends a command, and reads its reply as what it should be.
    async fn ask<T: redis::FromRedisValue>(
        &mut self,
        place: &str,
        command: redis::Cmd,
    ) -> Result<T>;
    /// Sends a flush that the server does in the background, and believes it by `OK` alone.
    async fn confirm(&mut self, place: &str, command: &str) -> Result<()>;
}

impl Ask for MultiplexedConnection {
    async fn ask<T: redis::FromRedisValue>(
        &mut self,
        place: &str,
        command: redis::Cmd,
    ) -> Result<T> {
        let name = command.args_iter().next();
        let name = match name {
            Some(redis::Arg::Simple(name)) => String::from_utf8_lossy(name).into_owned(),
            _ => String::new(),
        };
        let reply = command.query_async(self).await;
        reply.map_err(|error| {
            let mut failure = failure(place, &name, &error);
            // A server that does not know the command repeats what it was given: the password.
            if name == "AUTH" {
                let code = error.code().unwrap_or("no answer");
                failure.said = format!("{place}: AUTH: {code}");
            }
            failure
        })
    }

    async fn confirm(&mut self, place: &str, command: &str) -> Result<()> {
        let reply: String = self
            .ask(place, redis::cmd(command).arg("ASYNC").take())
            .await?;
        if reply == "OK" {
            return Ok(());
        }
        Err(Failure {
            verdict: Verdict::Failed,
            said: format!("{place} answered {command} with {reply:?} instead of OK"),
        })
    }
}

/// What an error means: whether the same may do later.
fn failure(place: &str, what: &str, error: &RedisError) -> Failure {
    let passes = match error.kind() {
        ErrorKind::Io => true,
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::TryAgain
        ),
        _ => error.code() == Some("BUSY"),
    };
    let verdict = if passes || error.is_timeout() {
        Verdict::Failed
    } else {
        Verdict::Refused
    };
    Failure {
        verdict,
        said: format!("{place}: {what}: {}", super::error::chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_a_prefix_stand_for_themselves() {
        assert_eq!(pattern("pinn:"), "pinn:*");
        assert_eq!(pattern("a*b?[c]\\"), "a\\*b\\?\\[c\\]\\\\*");
    }

    #[test]
    fn keys_are_counted_for_people() {
        assert_eq!(keys(0), "0 keys");
        assert_eq!(keys(1), "1 key");
        assert_eq!(keys(1204), "1,204 keys");
        assert_eq!(keys(1_234_567), "1,234,567 keys");
        let keyspace =
            "# Keyspace\r\ndb0:keys=12,expires=0,avg_ttl=0\r\ndb3:keys=5,expires=0,avg_ttl=0\r\n";
        assert_eq!(held(keyspace), 17);
    }
}
