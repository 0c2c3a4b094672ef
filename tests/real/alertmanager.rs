//! From an alert in a real Alertmanager, by the shipped route, to a workload that is back and a story that is told.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::scene::{Bad, LIMIT, Scene, labels, now, told};
use crate::support::alertmanager::{Alertmanager, configuration};
use crate::support::proxy::{Act, Fault, Proxy};
use crate::support::replica::{Replica, TOKEN, until};

/// An Alertmanager that sends to two replicas and to a pager.
struct Sender {
    alertmanager: Alertmanager,
    /// What each replica was sent.
    to: [Proxy; 2],
    pager: Proxy,
}

// === impl Sender ===

impl Sender {
    async fn start(scene: &Scene, replicas: [&Replica; 2]) -> Self {
        let [one, two] = replicas.map(|replica| Proxy::start(replica.address()));
        let to = [one.await, two.await];
        // Whoever answers every request with 200 need not have anything behind it.
        let pager = Proxy::start("127.0.0.1:1".parse().unwrap()).await;
        pager.on(|_| Act::Before(Fault::Answer(200)));
        let token = scene.folder.path().join("token-for-ripcord");
        fs::write(&token, TOKEN).unwrap();
        let addresses = [to[0].addr(), to[1].addr()];
        let config = configuration(&addresses, pager.addr(), token.to_str().unwrap());
        let alertmanager = Alertmanager::start(scene.folder.path(), &config).await;
        Self {
            alertmanager,
            to,
            pager,
        }
    }

    /// Alerts that began a while ago and end at `ends`, or still fire.
    async fn tell(&self, names: &[&str], began: Timestamp, ends: Option<Timestamp>) {
        let alert = |name: &&str| {
            let mut labels = labels();
            labels["alertname"] = (*name).into();
            let mut alert = json!({"labels": labels, "startsAt": began.to_string(), "annotations": {"summary": "P95 412 ms > 260 ms"}});
            if let Some(ends) = ends {
                alert["endsAt"] = ends.to_string().into();
            }
            alert
        };
        let alerts: Value = names.iter().map(alert).collect();
        self.alertmanager.post(&alerts).await;
    }

    /// Waits until each of these got so many more notifications than now.
    async fn repeats(&self, to: &[&Proxy], more: usize) {
        let counts = || to.iter().map(|it| it.seen().len());
        let before: Vec<_> = counts().collect();
        let came = async || {
            counts()
                .zip(&before)
                .all(|(now, before)| now >= before + more)
                .then_some(())
        };
        until(came, LIMIT).await.expect("it is repeated");
    }
}

/// Everything that was written, apart from the lease and events, which go on for ever.
fn writes(scene: &Scene) -> usize {
    let all = scene.sandbox.requests().into_iter();
    all.filter(|it| {
        it.method != "GET"
            && !["/leases", "/events", "/selfsubjectaccessreviews"]
                .iter()
                .any(|what| it.path.contains(what))
    })
    .count()
}

/// An alert that began long enough ago that no route waits for more of its group.
fn a_while_ago() -> Timestamp {
    now() - SignedDuration::from_secs(45)
}

/// Waits until an alert of the rollback has ended on record, and Slack was told.
async fn resolved(scene: &Scene, lock: &str) {
    let resolved = async || {
        let rollback = scene.rollback(lock)?;
        let items = rollback.pointer("/status/alerts/items")?.as_array()?;
        let ended = !items.is_empty() && items.iter().all(|item| item["ended"].is_string());
        (ended && told(&rollback).contains(&"resolved".to_owned())).then_some(())
    };
    let came = until(resolved, LIMIT).await;
    assert!(came.is_some(), "{:#}", scene.rollback(lock).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_alert_to_two_replicas_leads_to_one_rollback() {
    let scene = Scene::start().await;
    let one = scene.replica("one", None).await;
    scene.leads(&one).await;
    let two = scene.replica("two", None).await;
    two.ready().await;
    scene.soaked().await;
    scene.deploy(Bad::Canary).await;
    let (hash, lock) = (scene.live_hash(), scene.lock());
    assert!(scene.users.tally().bad > 0, "the users suffer");
    let sender = Sender::start(&scene, [&one, &two]).await;
    let began = a_while_ago();
    let names = ["PinnLatencyP95High", "PinnErrorRateHigh"];
    sender.tell(&names, began, None).await;

    let done = scene.ended(&lock, "Succeeded").await;
    scene.is_mended(Bad::Canary, &hash).await;
    assert_eq!(done["status"]["run"]["epoch"], 1, "one leader did it all");
    let (heads, thread) = scene.messages();
    assert_eq!(heads.len(), 1, "{heads:#?}");
    let ends = thread.iter().filter(|it| it.broadcast).count();
    assert_eq!((ends, thread.len()), (1, told(&done).len()), "{thread:#?}");
    let paged = async || {
        sender
            .pager
            .seen()
            .iter()
            .any(|it| String::from_utf8_lossy(&it.body).contains("PinnLatencyP95High"))
            .then_some(())
    };
    until(paged, LIMIT)
        .await
        .expect("people are paged as they always were");

    let before = writes(&scene);
    sender.repeats(&[&sender.to[0], &sender.to[1]], 3).await;
    assert_eq!(writes(&scene), before, "a repeat costs no write");

    sender.tell(&names, began, Some(now())).await;
    resolved(&scene, &lock).await;
    scene.is_mended(Bad::Canary, &hash).await;
    eprintln!("end to end: {:.1} s", scene.seconds());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_answers_nothing_holds_nobody_up() {
    let scene = Scene::start().await;
    let one = scene.replica("one", None).await;
    scene.leads(&one).await;
    let two = scene.replica("two", None).await;
    two.ready().await;
    scene.soaked().await;
    scene.deploy(Bad::Canary).await;
    let (hash, lock) = (scene.live_hash(), scene.lock());
    let sender = Sender::start(&scene, [&one, &two]).await;
    one.signal("STOP");
    let began = a_while_ago();
    sender.tell(&["PinnLatencyP95High"], began, None).await;
    scene.ended(&lock, "Succeeded").await;
    assert_eq!(scene.leader().as_deref(), Some("two"));
    one.signal("CONT");
    sender.repeats(&[&sender.to[0], &sender.to[1]], 2).await;
    sender
        .tell(&["PinnLatencyP95High"], began, Some(now()))
        .await;
    resolved(&scene, &lock).await;
    scene.is_mended(Bad::Canary, &hash).await;
    assert_eq!(scene.messages().0.len(), 1);
    eprintln!("a silent replica: {:.1} s", scene.seconds());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_told_to_stop_midway_hands_over() {
    let scene = Scene::start().await;
    let api = scene
        .sandbox
        .url()
        .trim_start_matches("http://")
        .parse()
        .unwrap();
    let proxy = Proxy::start(api).await;
    let mut one = scene
        .replica("one", Some(format!("http://{}", proxy.addr())))
        .await;
    scene.leads(&one).await;
    let two = scene.replica("two", None).await;
    two.ready().await;
    scene.soaked().await;
    scene.deploy(Bad::Promoted).await;
    let (hash, lock) = (scene.live_hash(), scene.lock());
    let sender = Sender::start(&scene, [&one, &two]).await;
    proxy.on(|seen| {
        let promotes = seen.method == "PATCH"
            && seen.path.ends_with("/status")
            && seen.path.contains("/rollouts/");
        if promotes {
            Act::Before(Fault::Hold)
        } else {
            Act::Forward
        }
    });
    let began = a_while_ago();
    sender.tell(&["PinnLatencyP95High"], began, None).await;
    assert!(proxy.held(LIMIT).await, "it is about to promote");
    one.signal("TERM");
    until(async || one.said("draining"), LIMIT)
        .await
        .expect("it drains");
    sender.tell(&["PinnErrorRateHigh"], began, None).await;
    let joined = async || {
        let rollback = scene.rollback(&lock)?;
        let items = rollback.pointer("/status/alerts/items")?.as_array()?;
        items
            .iter()
            .any(|item| item["name"] == "PinnErrorRateHigh")
            .then_some(())
    };
    until(joined, LIMIT)
        .await
        .expect("the other replica takes what comes now");
    proxy.release();
    one.ended().await;
    assert!(
        one.said("lease released").is_some(),
        "nobody had to wait for the lease to run out"
    );
    let done = scene.ended(&lock, "Succeeded").await;
    assert!(
        done["status"]["run"]["leader"]
            .as_str()
            .unwrap()
            .starts_with("two-")
    );
    scene.is_mended(Bad::Promoted, &hash).await;
    assert_eq!(scene.messages().0.len(), 1);
    sender
        .tell(
            &["PinnLatencyP95High", "PinnErrorRateHigh"],
            began,
            Some(now()),
        )
        .await;
    resolved(&scene, &lock).await;
    eprintln!("terminated midway: {:.1} s", scene.seconds());
}
