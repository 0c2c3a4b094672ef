//! A release that has put bad values into a cache: pulled back, its last pod gone, the cache flushed in a real Redis, the
//! pods restarted and warmed up.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::app;
use crate::scene::cache::SHIPPED;
use crate::scene::release::{BAD, GOOD, pausing};
use crate::scene::{LIMIT, NAME, Scene};
use crate::support::redis::Redis;
use crate::support::replica::until;
use crate::support::story::prelude::*;

/// What stays in a pod's metadata until the test lets it go.
const HELD: &str = "tests.ripcord.dev/held";
/// The steps in the order of the shipped procedure.
pub(super) const GONE: usize = 1;
const FLUSH: usize = 2;
const READY: usize = 4;

/// Promoted, with pods that write bad values for as long as they run: nothing is flushed until the last of them is gone. Then
/// only the target's keys are, and each pod is from after that and warm. The last old pod ends when the controller has
/// long looked at the restart: it is made to look again.
pub(crate) async fn rollout() {
    let mut scene = Scene::start("cache, promoted").await;
    let redis = scene.redis().await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    for pod in scene.pods_of(&bad).await {
        scene.hold(&pod, true).await;
    }
    let name = format!("{NAME}-r2-{bad}");
    let posted = scene.alert(&ripcord).await;
    scene.waits_for(&name, GONE, "pods_remaining").await;
    scene.users_are_served().await;
    redis.holds(0, ["pinn:late".into()]).await;
    assert_eq!(
        redis.keys(0).await,
        ["pinn:1", "pinn:2", "pinn:late", "session:1"]
    );
    let old = scene.pods_of(&scene.live().await).await.remove(0);
    scene.hold(&old, true).await;
    for pod in scene.pods_of(&bad).await {
        scene.hold(&pod, false).await;
    }
    scene.waits_for(&name, READY, "pods_starting").await;
    let there = async || (scene.rollout().await["status"]["availableReplicas"] == 4).then_some(());
    until(there, LIMIT).await.expect("all others are there");
    scene.hold(&old, false).await;
    let rollback = scene.ended(&name, "Succeeded").await;
    let nudged = rollback.pointer("/status/run/steps/4/nudged");
    assert!(nudged.is_some(), "{rollback:#}");
    assert_eq!(redis.keys(0).await, ["session:1"], "others' keys stay");
    assert_eq!(redis.keys(1).await, ["pinn:1"], "and other databases");
    let said = format!(
        "flushed 3 keys of prefix pinn: in database 0 of {} (master)",
        redis.address()
    );
    scene.tells(&said).await;
    // The template is restored once, and restarted once.
    scene.is_mended_by(2).await;
    let rollout = scene.rollout().await;
    let moment: Timestamp = rollout["spec"]["restartAt"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(
        rollout["status"]["restartedAt"],
        rollout["spec"]["restartAt"]
    );
    let good = scene.live().await;
    let pods = scene.pods_of(&good).await;
    assert_eq!(pods.len(), 4);
    for pod in &pods {
        let created = pod["metadata"]["creationTimestamp"].as_str().unwrap();
        let created: Timestamp = created.parse().unwrap();
        assert!(created >= moment, "{created} {moment}");
        let name = pod["metadata"]["name"].as_str().unwrap();
        assert_eq!(app::warm_ups(name), 1, "{name}");
    }
    let traffic_back = rollback["status"]["run"]["trafficBack"].as_str().unwrap();
    let flushed = rollback.pointer("/status/run/steps/2/started").unwrap();
    let [traffic_back, flushed] =
        [traffic_back, flushed.as_str().unwrap()].map(|at| at.parse::<Timestamp>().unwrap());
    assert!(traffic_back < flushed, "traffic first");
    scene.times(posted, &rollback);
    // A restart is no release: what comes again is about the same.
    scene.alert(&ripcord).await;
    assert_eq!(scene.rollbacks().await, 1);
}

/// A Deployment goes on under another hash after its restart: it is the same release, nobody's to pull back, and the old
/// one is no less good.
pub(crate) async fn deployment() {
    let mut scene = Scene::start("cache, a Deployment").await;
    let redis = scene.redis().await;
    let ripcord = scene.good_deployment(&json!({})).await;
    let good = scene.template_hash().await;
    scene.push_deployment(BAD).await;
    scene.is_complete().await;
    let bad = scene.deployment_is_known().await;
    scene.users_are_hurt().await;
    let posted = scene.alert(&ripcord).await;
    let name = format!("{NAME}-r2-{bad}");
    let rollback = scene.ended(&name, "Succeeded").await;
    scene.is_complete().await;
    scene.users_are_served().await;
    assert_eq!(redis.keys(0).await, ["session:1"]);
    assert_eq!(scene.served_by().await, [GOOD; 4]);
    let mutations = scene.mutations();
    assert_eq!(mutations.len(), 2, "restored and restarted: {mutations:#?}");
    let deployment = scene.deployment().await;
    let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
    assert!(
        annotations["kubectl.kubernetes.io/restartedAt"].is_string(),
        "{annotations}"
    );
    // Good, bad, and good again as it was restarted.
    let sets = scene.replica_sets().await;
    assert_eq!(sets.len(), 3);
    let serving = sets
        .iter()
        .find(|it| it["status"]["replicas"] == 4)
        .unwrap();
    let restarted = &serving["metadata"]["labels"]["pod-template-hash"];
    assert!(*restarted != json!(good) && *restarted != json!(bad));
    let memory = scene.memory().await.unwrap()["status"].clone();
    let hashes = |key: &str| -> Vec<Value> {
        let all = memory[key].as_array().cloned().unwrap_or_default();
        all.into_iter().map(|it| it["hash"].clone()).collect()
    };
    assert_eq!(
        hashes("made"),
        [json!(good), restarted.clone()],
        "{memory:#}"
    );
    assert_eq!(hashes("blamed"), [json!(bad)]);
    assert_eq!(memory["live"]["hash"], *restarted, "{memory:#}");
    scene.times(posted, &rollback);
    scene.alert(&ripcord).await;
    assert_eq!(scene.rollbacks().await, 1);
    assert_eq!(scene.mutations().len(), 2);
}

/// The address leads to a replica, which takes no writes.
pub(crate) async fn replica() {
    let mut scene = Scene::start("cache, behind a replica").await;
    let master = scene.filled().await;
    let of = ["--replicaof", "127.0.0.1", &master.port.to_string()];
    let replica = Redis::with(scene.folder.path(), None, &of).await;
    let copied = async || (replica.keys(0).await.len() == 3).then_some(());
    until(copied, LIMIT)
        .await
        .expect("it has copied its master");
    scene.resets(&replica.address());
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.alert(&ripcord).await;
    scene.ended(&format!("{NAME}-r2-{bad}"), "Succeeded").await;
    assert_eq!(master.keys(0).await, ["session:1"]);
    scene
        .tells(&format!("of {} (master)", master.address()))
        .await;
}

/// Nobody answers: the release is back, what is left is said, and a person is called.
pub(crate) async fn redis_down() {
    let mut scene = Scene::start("cache, no Redis").await;
    let redis = scene.redis().await;
    scene.policy_says("mode: prefix, within: 1m", "mode: prefix, within: 3s");
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    drop(redis);
    scene.fails(&ripcord, &bad, "cache_unreachable").await;
    scene
        .tells("not reached: restart, wait-ready, http, healthy")
        .await;
}

/// It wants a password that nobody gave.
pub(crate) async fn no_password() {
    let mut scene = Scene::start("cache, a password").await;
    let redis = Redis::with(scene.folder.path(), Some("secret"), &[]).await;
    redis.holds(0, ["pinn:1".into()]).await;
    scene.resets(&redis.address());
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.fails(&ripcord, &bad, "cache_refused").await;
    scene.tells("NOAUTH").await;
    assert_eq!(redis.keys(0).await, ["pinn:1"]);
}

/// A disruption budget lets no pod go.
pub(crate) async fn restart_does_not_finish() {
    let mut scene = Scene::start("cache, pods that may not go").await;
    let redis = scene.redis().await;
    scene.policy_says("- restart: { within: 2m }", "- restart: { within: 5s }");
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": { "name": NAME, "namespace": scene.namespaces.release },
        "spec": { "maxUnavailable": 0, "selector": { "matchLabels": { "app": NAME } } },
    });
    scene.plane.admin.create(&budget).await.unwrap();
    scene.fails(&ripcord, &bad, "step_timeout").await;
    assert_eq!(
        redis.keys(0).await,
        ["session:1"],
        "what came before is done"
    );
    scene.tells("0 of 4 pods are from after").await;
    scene.tells("not reached: wait-ready, http, healthy").await;
}

/// One pod does not get warm.
pub(crate) async fn one_pod_stays_cold() {
    let mut scene = Scene::start("cache, a cold pod").await;
    let _redis = scene.redis().await;
    scene.policy_says("concurrency: 1, within: 2m", "concurrency: 1, within: 5s");
    scene.good = "demo:v1-onecold";
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.fails(&ripcord, &bad, "warm_up_failed").await;
    scene.tells("3 of 4 pods answered POST /warmup").await;
    scene.tells("HTTP 503").await;
}

/// The procedure needs what the target does not declare: it is declined before anything is touched.
pub(crate) async fn not_declared() {
    let mut scene = Scene::start("cache, of which nothing is known").await;
    scene.policy_says(SHIPPED, "procedure: cache-reset");
    scene.policy_says(", escalate_to: complete", "");
    let (from, to) = ("    redis:\n", "    # Who owns the workload's spec");
    let (_, declared) = scene.policy.split_once(from).unwrap();
    let (declared, _) = declared.split_once(to).unwrap();
    let declared = format!("{from}{declared}");
    scene.policy_says(&declared, "");
    scene.policy_says(
        "severity: P2\n    procedure: cache-reset",
        "severity: P2\n    procedure: revert-and-prove",
    );
    // A trigger that names the target would be an error of the policy.
    scene.policy_says(
        "target: options-api\n    severity: P0",
        "target_from: { namespace: namespace, workload: rollout }\n    severity: P0",
    );
    scene.policy_says(
        "target: options-api\n    severity: P0",
        "target_from: { namespace: namespace, workload: rollout }\n    severity: P0",
    );
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r2-{bad}"), "Declined").await;
    scene.is_let_be(&rollback, "procedure_not_applicable");
}

/// The leader is killed while the flush is under way and its answer is not there: the next one flushes again, and says so.
pub(crate) async fn leader_killed() {
    let mut scene = Scene::start("cache, leader killed in the flush").await;
    let redis = scene.filled().await;
    let (address, mut reached) = hold_the_first_flush(redis.port).await;
    scene.resets(&address);
    let (mut ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let name = format!("{NAME}-r2-{bad}");
    let second = scene.replica("second").await;
    scene.alert(&ripcord).await;
    let held = tokio::time::timeout(LIMIT, reached.recv()).await;
    held.expect("it flushes").expect("it flushes");
    ripcord.kill();
    let rollback = scene.ended(&name, "Succeeded").await;
    drop(second);
    assert_eq!(redis.keys(0).await, ["session:1"]);
    let flush = &rollback["status"]["run"]["steps"][FLUSH];
    assert_eq!(flush["attempts"], 2, "{flush:#}");
    scene.tells("it was begun 2 times").await;
    // The template is restored once, and restarted once.
    scene.is_mended_by(2).await;
}

/// A way to a Redis on which the first answer to a taking away is never seen. Says where it is, and when that happens.
pub(super) async fn hold_the_first_flush(port: u16) -> (String, mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, reached) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        // Both ends stay open: no answer is not the same as a closed connection.
        let mut held = None;
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            if held.is_some() {
                let (mut client, mut server) = (client, server);
                tokio::spawn(async move {
                    // Whoever closes first ends it.
                    drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
                });
                continue;
            }
            held = relay_until_unlink(client, server).await;
            if held.is_some() {
                tell.send(()).unwrap();
            }
        }
    });
    (address, reached)
}

/// Relays until the client takes keys away: that still reaches the server, and its answer goes nowhere.
async fn relay_until_unlink(
    mut client: TcpStream,
    mut server: TcpStream,
) -> Option<(TcpStream, TcpStream)> {
    let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let read = read.ok().filter(|read| *read > 0)?;
                server.write_all(&asked[..read]).await.unwrap();
                if String::from_utf8_lossy(&asked[..read]).contains("UNLINK") {
                    let answer = server.read(&mut answered).await.unwrap();
                    assert!(answer > 0, "it was done");
                    return Some((client, server));
                }
            }
            read = server.read(&mut answered) => {
                let read = read.ok().filter(|read| *read > 0)?;
                client.write_all(&answered[..read]).await.unwrap();
            }
        }
    }
}

impl Scene {
    /// Lets a pod that is told to stop run on, or no longer.
    pub(super) async fn hold(&self, pod: &Value, held: bool) {
        let namespace = &self.namespaces.release;
        let name = pod["metadata"]["name"].as_str().unwrap();
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let finalizers = if held { json!([HELD]) } else { json!(null) };
        let patch = json!({ "metadata": { "finalizers": finalizers } });
        self.plane.admin.patch(&path, &patch).await.unwrap();
    }

    /// Waits until a step of a rollback waits for this reason.
    pub(super) async fn waits_for(&self, name: &str, step: usize, reason: &str) {
        let mut seen = Value::Null;
        let waits = async || {
            seen = self.rollback(name).await?["status"].clone();
            let step = &seen["run"]["steps"][step];
            (step["phase"] == "Running" && step["observed"]["reason"] == reason).then_some(())
        };
        assert!(until(waits, LIMIT).await.is_some(), "{reason}: {seen:#}");
    }

    /// Sends the alert: the release is pulled back, and a later step fails for this reason, with a person called.
    pub(super) async fn fails(
        &self,
        ripcord: &crate::support::replica::Replica,
        bad: &str,
        reason: &str,
    ) -> Value {
        self.alert(ripcord).await;
        self.is_failed(bad, reason).await
    }

    /// The release is pulled back, and a later step fails for this reason, with a person called; the rollback.
    pub(super) async fn is_failed(&self, bad: &str, reason: &str) -> Value {
        let rollback = self.ended(&format!("{NAME}-r2-{bad}"), "Failed").await;
        assert_eq!(
            rollback["status"]["reason"]["reason"], reason,
            "{rollback:#}"
        );
        assert!(
            rollback["status"]["run"]["trafficBack"].is_string(),
            "{rollback:#}"
        );
        self.users_are_served().await;
        let latch = self.memory().await.unwrap()["status"]["latch"].clone();
        assert_eq!(latch["rollback"], rollback["metadata"]["name"]);
        self.tells("you are needed").await;
        rollback
    }

    /// Waits until Slack shows this somewhere.
    pub(super) async fn tells(&self, said: &str) {
        let shown = async || {
            let messages = self.slack.messages();
            let mut shown = messages
                .iter()
                .map(|it| format!("{} {}", it.text, json!(it.blocks)));
            shown.any(|it| it.contains(said)).then_some(())
        };
        let shown = until(shown, Duration::from_secs(20)).await;
        assert!(shown.is_some(), "{said}: {:#?}", self.slack.messages());
    }

    /// How many rollbacks there are.
    async fn rollbacks(&self) -> usize {
        let namespace = &self.namespaces.release;
        let path = format!("/apis/ripcord.dev/v1alpha1/namespaces/{namespace}/rollbacks");
        let list = self.plane.admin.get(&path).await.expect("a list");
        list["items"].as_array().map_or(0, Vec::len)
    }
}
