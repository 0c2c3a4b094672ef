//! A flush of a real Redis: what is taken away and what stays, and every way in which a server says no.

use std::fs;
use std::time::Duration;

use ripcord::cluster::redis::flush;
use ripcord::target::effect::{Outcome, Verdict};
use ripcord::target::redis::{Master, PasswordAt, Scope, Tls};
use ripcord::target::{Flush, Redis as Server};
use tempfile::TempDir;

use crate::support::redis::Redis;
use crate::support::replica::until;

const LIMIT: Duration = Duration::from_secs(30);
const PASSWORD: &str = "not-to-be-shown";

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn server(address: String) -> Server {
    Server {
        address,
        database: 0,
        username: None,
        password: None,
        tls: None,
        master: Master::Follow,
        prefix: None,
        allow_flush_all: false,
    }
}

async fn flushed(redis: Server, scope: Scope) -> Outcome {
    let asked = Flush {
        redis,
        scope,
        within: Duration::from_secs(20),
    };
    flush(&asked).await
}

fn prefix() -> Scope {
    Scope::Prefix("pinn:".into())
}

#[track_caller]
fn is(outcome: &Outcome, verdict: Verdict, said: &str) {
    assert_eq!(outcome.verdict, verdict, "{outcome:?}");
    assert!(outcome.said.contains(said), "{outcome:?}");
    assert!(!outcome.said.contains(PASSWORD), "{outcome:?}");
}

#[tokio::test]
async fn only_the_keys_of_the_prefix_in_the_one_database_are_taken_away() {
    let folder = folder();
    let redis = Redis::start(folder.path()).await;
    redis.holds(0, (0..2500).map(|n| format!("pinn:{n}"))).await;
    redis.holds(0, ["pinn".into(), "session:1".into()]).await;
    redis.holds(1, ["pinn:1".into()]).await;
    let outcome = flushed(server(redis.address()), prefix()).await;
    let said = format!(
        "flushed 2,500 keys of prefix pinn: in database 0 of {} (master)",
        redis.address()
    );
    assert_eq!(
        outcome,
        Outcome {
            verdict: Verdict::Done,
            said
        }
    );
    assert_eq!(redis.keys(0).await, ["pinn", "session:1"]);
    assert_eq!(redis.keys(1).await, ["pinn:1"]);
    // Signs that a pattern has stand for themselves.
    redis
        .holds(
            0,
            [
                "a*b:1".into(),
                "axb:1".into(),
                "a[x]:1".into(),
                "ax:1".into(),
            ],
        )
        .await;
    for name in ["a*b:", "a[x]:"] {
        let outcome = flushed(server(redis.address()), Scope::Prefix(name.into())).await;
        is(&outcome, Verdict::Done, "flushed 1 key of");
    }
    assert_eq!(redis.keys(0).await, ["ax:1", "axb:1", "pinn", "session:1"]);
}

#[tokio::test]
async fn a_database_or_all_of_them_are_emptied() {
    let folder = folder();
    let redis = Redis::start(folder.path()).await;
    for database in [0, 1, 2] {
        redis.holds(database, ["one".into(), "two".into()]).await;
    }
    let mut second = server(redis.address());
    second.database = 1;
    let outcome = flushed(second, Scope::Database).await;
    is(
        &outcome,
        Verdict::Done,
        "flushed all 2 keys in database 1 of",
    );
    assert_eq!(redis.keys(1).await, [""; 0]);
    assert_eq!(redis.keys(0).await, ["one", "two"]);
    let outcome = flushed(server(redis.address()), Scope::All).await;
    is(
        &outcome,
        Verdict::Done,
        "flushed all 4 keys in all databases of",
    );
    assert_eq!(redis.keys(2).await, [""; 0]);
}

#[tokio::test]
async fn a_password_is_asked_for_and_never_shown() {
    let folder = folder();
    let redis = Redis::with(folder.path(), Some(PASSWORD), &[]).await;
    redis.holds(0, ["pinn:1".into()]).await;
    for database in [0, 3] {
        let mut without = server(redis.address());
        without.database = database;
        is(
            &flushed(without, prefix()).await,
            Verdict::Refused,
            "NOAUTH",
        );
    }
    let file = folder.path().join("password");
    let mut with = server(redis.address());
    with.password = Some(PasswordAt::File(file.display().to_string()));
    is(
        &flushed(with.clone(), prefix()).await,
        Verdict::Refused,
        "cannot be read from the file",
    );
    fs::write(&file, "\n").unwrap();
    is(
        &flushed(with.clone(), prefix()).await,
        Verdict::Refused,
        "it is empty",
    );
    fs::write(&file, format!("{PASSWORD}-but-wrong\n")).unwrap();
    is(
        &flushed(with.clone(), prefix()).await,
        Verdict::Refused,
        "WRONGPASS",
    );
    assert_eq!(redis.keys(0).await, ["pinn:1"]);
    // It is read anew: whoever mends the file needs no restart.
    fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    is(
        &flushed(with, prefix()).await,
        Verdict::Done,
        "flushed 1 key of",
    );
    assert_eq!(redis.keys(0).await, [""; 0]);
    let mut from = server(redis.address());
    from.password = Some(PasswordAt::Env("RIPCORD_TEST_OF_NO_PASSWORD".into()));
    is(
        &flushed(from, prefix()).await,
        Verdict::Refused,
        "variable RIPCORD_TEST_OF_NO_PASSWORD",
    );
}

#[tokio::test]
async fn a_user_that_may_not_is_refused() {
    let folder = folder();
    let redis = Redis::start(folder.path()).await;
    redis.holds(0, ["pinn:1".into()]).await;
    let rules = [
        "ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@all", "-unlink", "-flushdb",
    ];
    let () = redis.ask(0, &rules).await;
    let file = folder.path().join("password");
    fs::write(&file, "secret").unwrap();
    let mut reader = server(redis.address());
    reader.username = Some("reader".into());
    reader.password = Some(PasswordAt::File(file.display().to_string()));
    is(
        &flushed(reader.clone(), prefix()).await,
        Verdict::Refused,
        "UNLINK",
    );
    is(
        &flushed(reader, Scope::Database).await,
        Verdict::Refused,
        "FLUSHDB",
    );
    assert_eq!(redis.keys(0).await, ["pinn:1"]);
}

#[tokio::test]
async fn a_replica_is_followed_to_its_master_or_waited_for() {
    let folder = folder();
    let master = Redis::start(folder.path()).await;
    let of = ["--replicaof", "127.0.0.1", &master.port.to_string()];
    let replica = Redis::with(folder.path(), None, &of).await;
    master.holds(0, ["pinn:1".into(), "session:1".into()]).await;
    let copied = async || (replica.keys(0).await.len() == 2).then_some(());
    until(copied, LIMIT)
        .await
        .expect("it has copied its master");
    let mut here = server(replica.address());
    here.master = Master::Here;
    let said = format!("is a replica of {}", master.address());
    is(&flushed(here, prefix()).await, Verdict::NotBegun, &said);
    assert_eq!(master.keys(0).await.len(), 2);
    let outcome = flushed(server(replica.address()), prefix()).await;
    let said = format!(
        "flushed 1 key of prefix pinn: in database 0 of {} (master)",
        master.address()
    );
    is(&outcome, Verdict::Done, &said);
    assert_eq!(master.keys(0).await, ["session:1"]);
    let gone = async || (replica.keys(0).await == ["session:1"]).then_some(());
    until(gone, LIMIT).await.expect("the replica follows");
}

#[tokio::test]
async fn one_that_is_down_or_silent_may_come_back() {
    let folder = folder();
    let redis = Redis::start(folder.path()).await;
    let address = redis.address();
    drop(redis);
    is(
        &flushed(server(address), prefix()).await,
        Verdict::NotBegun,
        "refused",
    );
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let asked = Flush {
        redis: server(silent.local_addr().unwrap().to_string()),
        scope: prefix(),
        within: Duration::from_secs(1),
    };
    is(&flush(&asked).await, Verdict::NotBegun, "within 1s");
}

#[tokio::test]
async fn a_node_of_a_redis_cluster_holds_a_part_alone_and_is_refused() {
    let folder = folder();
    let settings = [
        "--cluster-enabled",
        "yes",
        "--cluster-require-full-coverage",
        "no",
    ];
    let redis = Redis::with(folder.path(), None, &settings).await;
    let outcome = flushed(server(redis.address()), Scope::Database).await;
    is(&outcome, Verdict::Refused, "Redis Cluster");
}

#[tokio::test]
async fn tls_is_checked_against_the_certificates_that_are_named() {
    // Another test of this process may have been first.
    drop(rustls::crypto::ring::default_provider().install_default());
    let folder = folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(path("crt"), made.cert.pem()).unwrap();
    fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let settings = [
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &path("crt"),
        "--tls-key-file",
        &path("key"),
        "--tls-ca-cert-file",
        &path("crt"),
        "--tls-auth-clients",
        "no",
    ];
    let redis = Redis::with(folder.path(), None, &settings).await;
    redis.holds(0, ["pinn:1".into()]).await;
    let mut with = server(format!("localhost:{port}"));
    with.tls = Some(Tls::default());
    let outcome = flushed(with.clone(), prefix()).await;
    assert_ne!(
        outcome.verdict,
        Verdict::Done,
        "nobody vouches for it: {outcome:?}"
    );
    assert_eq!(redis.keys(0).await, ["pinn:1"]);
    with.tls = Some(Tls {
        ca_file: Some(path("crt")),
    });
    is(
        &flushed(with, prefix()).await,
        Verdict::Done,
        "flushed 1 key of",
    );
}
