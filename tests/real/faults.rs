//! A leader that is frozen, an API server that is away, and people who stop a rollback midway.

use std::time::Duration;

use serde_json::{Value, json};

use crate::scene::{Bad, LIMIT, Scene, names, rollback_path, rollout_path};
use crate::support::proxy::{Act, Fault, Proxy, Seen};
use crate::support::replica::{Replica, client, until};

/// Two replicas, the first of which leads, and reaches the API server through a proxy.
struct Pair {
    scene: Scene,
    proxy: Proxy,
    one: Replica,
    two: Replica,
    hash: String,
    lock: String,
}

// === impl Pair ===

impl Pair {
    /// With a bad release that the leader knows.
    async fn start(bad: Bad) -> Self {
        let scene = Scene::start().await;
        let api = scene
            .sandbox
            .url()
            .trim_start_matches("http://")
            .parse()
            .unwrap();
        let proxy = Proxy::start(api).await;
        let one = scene
            .replica("one", Some(format!("http://{}", proxy.addr())))
            .await;
        scene.leads(&one).await;
        let two = scene.replica("two", None).await;
        two.ready().await;
        scene.soaked().await;
        scene.deploy(bad).await;
        let (hash, lock) = (scene.live_hash(), scene.lock());
        Self {
            scene,
            proxy,
            one,
            two,
            hash,
            lock,
        }
    }

    /// Holds the leader's first request that is like this, once there was an alert.
    async fn hold(&self, like: impl Fn(&Seen) -> bool + Send + 'static) {
        let mut first = true;
        self.proxy.on(move |seen| {
            if first && like(seen) {
                first = false;
                return Act::Before(Fault::Hold);
            }
            Act::Forward
        });
        self.scene.alert(&[self.one.url()]).await;
        assert!(self.proxy.held(LIMIT).await, "it never came to that");
    }

    /// How the API server answered Ripcord's patches under this path.
    fn answers(&self, path: &str) -> Vec<u16> {
        let all = self.scene.sandbox.requests().into_iter();
        all.filter(|it| it.method == "PATCH" && it.path == path && it.user_agent != "person")
            .map(|it| it.status)
            .collect()
    }

    /// Freezes the leader while this request is on its way, lets the other finish, and thaws it: the request is refused.
    async fn freeze(
        bad: Bad,
        path: impl Fn(&str) -> String,
        like: impl Fn(&Seen) -> bool + Send + 'static,
    ) {
        let pair = Self::start(bad).await;
        pair.hold(like).await;
        pair.one.signal("STOP");
        pair.scene.ended(&pair.lock, "Succeeded").await;
        let path = path(&pair.lock);
        let before = pair.answers(&path);
        let state = pair.scene.rollback(&pair.lock).unwrap();
        // Its late request first, and only then the frozen process: nothing it could still think of comes in between.
        pair.proxy.release();
        let late = async || pair.answers(&path).get(before.len()).copied();
        assert_eq!(
            until(late, LIMIT).await,
            Some(422),
            "the late request is refused"
        );
        pair.one.signal("CONT");
        until(async || pair.one.said("no longer leading"), LIMIT)
            .await
            .expect("it sees that it was replaced");
        pair.scene.is_mended(bad, &pair.hash).await;
        assert_eq!(pair.scene.leader().as_deref(), Some("two"));
        let now = pair.scene.rollback(&pair.lock).unwrap();
        assert_eq!(now["status"]["run"], state["status"]["run"]);
        eprintln!("frozen at {path}: {:.1} s", pair.scene.seconds());
    }
}

fn body(seen: &Seen) -> Value {
    serde_json::from_slice(&seen.body).unwrap_or_default()
}

fn restores(seen: &Seen) -> bool {
    seen.method == "PATCH" && seen.path == rollout_path()
}

fn promotes(seen: &Seen) -> bool {
    seen.method == "PATCH" && seen.path == format!("{}/status", rollout_path())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leaders_restore_comes_too_late() {
    Pair::freeze(Bad::Canary, |_| rollout_path(), restores).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leaders_promotion_comes_too_late() {
    Pair::freeze(
        Bad::Promoted,
        |_| format!("{}/status", rollout_path()),
        promotes,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leaders_journal_is_closed_to_it() {
    let journals = |seen: &Seen| {
        seen.method == "PATCH"
            && names(&body(seen), "/status/run")
            && body(seen).to_string().contains("restore_template")
    };
    Pair::freeze(
        Bad::Canary,
        |lock| format!("{}/status", rollback_path(lock)),
        journals,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_may_be_away_for_a_while() {
    let Pair {
        scene,
        proxy,
        one,
        two,
        hash,
        lock,
    } = Pair::start(Bad::Promoted).await;
    drop(two);
    scene.leads(&one).await;
    proxy.on(|seen| {
        if promotes(seen) {
            Act::Before(Fault::Hold)
        } else {
            Act::Forward
        }
    });
    scene.alert(&[one.url()]).await;
    assert!(proxy.held(LIMIT).await, "it is about to promote");
    proxy.cut();
    proxy.on(|_| Act::Forward);
    // This long is what is tested: the lease runs out, every kind of call fails more than once, and the caches are believed no
    // more.
    tokio::time::sleep(Duration::from_secs(45)).await;
    assert!(one.said("no longer leading").is_some());
    proxy.heal();
    one.ready().await;
    let done = scene.ended(&lock, "Succeeded").await;
    assert_eq!(
        done["status"]["run"]["epoch"], 2,
        "it went on in its next term"
    );
    scene.is_mended(Bad::Promoted, &hash).await;
    eprintln!("away for 45 s: {:.1} s", scene.seconds());
}

/// Stops a rollback between its restore and its promotion, where there is no safe point.
async fn stopped(pair: &Pair) {
    let scene = &pair.scene;
    scene.rollout_is("Healthy").await;
    assert_eq!(
        scene
            .rollout()
            .pointer("/spec/template/spec/containers/0/image")
            .unwrap(),
        "demo:v1-good"
    );
    assert_eq!(
        scene.rollout()["status"]["stableRS"],
        scene.rollout()["status"]["currentPodHash"],
        "promoted all the same"
    );
    assert_eq!(scene.restores().len(), 1);
    let free = async || {
        let status = &scene.memory()?["status"];
        (status["active"].is_null() && status["latch"].is_null()).then_some(())
    };
    until(free, LIMIT)
        .await
        .expect("nothing is active any more");
    assert_eq!(
        scene.memory().unwrap()["status"]["blamed"][0]["hash"],
        pair.hash
    );
    scene.users_are_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_is_cancelled_midway_ends_at_a_safe_point() {
    let pair = Pair::start(Bad::Promoted).await;
    pair.hold(promotes).await;
    let cancel = json!({"spec": {"cancel": {"by": "jo", "reason": "I do it by hand"}}});
    pair.scene.patch(&rollback_path(&pair.lock), &cancel).await;
    pair.proxy.release();
    let done = pair.scene.ended(&pair.lock, "Cancelled").await;
    assert_eq!(done["status"]["reason"]["reason"], "cancelled");
    stopped(&pair).await;
    eprintln!("cancelled midway: {:.1} s", pair.scene.seconds());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_is_deleted_midway_ends_at_a_safe_point() {
    let pair = Pair::start(Bad::Promoted).await;
    pair.hold(promotes).await;
    let url = format!("{}{}", pair.scene.sandbox.url(), rollback_path(&pair.lock));
    let answer = client()
        .delete(url)
        .header("user-agent", "person")
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success());
    let marked = pair
        .scene
        .rollback(&pair.lock)
        .expect("it is kept while it runs");
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    pair.proxy.release();
    let gone = |view: &ripcord::sandbox::Store| view.objects("rollbacks").next().is_none();
    assert!(
        pair.scene.sandbox.wait(gone, LIMIT).await,
        "{:#?}",
        pair.scene.rollback(&pair.lock)
    );
    stopped(&pair).await;
    drop(pair.two);
    eprintln!("deleted midway: {:.1} s", pair.scene.seconds());
}
