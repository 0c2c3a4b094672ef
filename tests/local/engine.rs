//! The engine against the sandbox: what it does to a workload, and what it remembers.

use jiff::Timestamp;
use ripcord::alert::Severity;
use ripcord::cluster::claims::Claimed;
use ripcord::policy::guard::Hold;
use ripcord::procedure::BUILT_IN;
use ripcord::reason::Reason;
use ripcord::rollback::object::{AlertRecord, Mode, RollbackSpec};
use ripcord::rollback::{Phase, Rollback};
use ripcord::sandbox::{Sandbox, Store};
use ripcord::target::Release;
use serde_json::{Value, json};

use crate::support::stage::{self, LIMIT, NAME, NAMESPACE, Replica};

/// The live release as the controller names it.
pub(crate) fn live(sandbox: &Sandbox) -> Release {
    let object = sandbox.object("rollouts", NAMESPACE, NAME).unwrap();
    Release {
        uid: object["metadata"]["uid"].as_str().unwrap().into(),
        revision: object["metadata"]["annotations"]["rollout.argoproj.io/revision"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap(),
        hash: object["status"]["currentPodHash"].as_str().unwrap().into(),
        images: vec![],
    }
}

pub(crate) fn image(sandbox: &Sandbox) -> String {
    let object = sandbox.object("rollouts", NAMESPACE, NAME).unwrap();
    object
        .pointer("/spec/template/spec/containers/0/image")
        .and_then(Value::as_str)
        .unwrap()
        .into()
}

/// A claim on the live release, as intake makes it.
fn claim(sandbox: &Sandbox, now: Timestamp) -> Rollback {
    let release = live(sandbox);
    let name = ripcord::rollback::name::lock(NAME, &release, 1);
    let alert = AlertRecord {
        fingerprint: "f1".into(),
        name: "LatencyHigh".into(),
        began: now,
        received: now,
        severity: Severity::P0,
        trigger: "latency".into(),
        procedure: BUILT_IN.into(),
        release_hash: None,
        summary: None,
        runbook: None,
        source: None,
        ended: None,
    };
    let spec = RollbackSpec {
        target: NAME.into(),
        release: Some(release),
        procedure: Some(BUILT_IN.into()),
        trigger: Some("latency".into()),
        severity: Severity::P0,
        mode: Mode::Act,
        alerts: vec![alert],
        alerts_omitted: 0,
        received: Some(now),
        parent: None,
        rung: None,
        reason: None,
        requested_by: None,
        drill: false,
        unplaced: None,
        trace: None,
        cancel: None,
        approval: None,
    };
    let mut rollback = Rollback::new(&name, spec);
    rollback.metadata.namespace = Some(NAMESPACE.into());
    rollback
}

async fn claimed(replica: &Replica, sandbox: &Sandbox) -> String {
    let claim = claim(sandbox, ripcord::cluster::clock::system()());
    let Claimed::New(found) = replica.cluster.claim(&claim).await.unwrap() else {
        panic!("taken")
    };
    found.name().to_owned()
}

/// The writes to the workload, as method and path.
pub(crate) fn changes(sandbox: &Sandbox) -> Vec<String> {
    let all = sandbox.requests().into_iter();
    let ours = all.filter(|r| {
        r.method == "PATCH"
            && r.user_agent != "person"
            && r.path.contains("/rollouts/")
            && r.status == 200
    });
    ours.map(|r| r.path.rsplit('/').next().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_canary_is_pulled_back_proved_and_remembered() {
    let sandbox = stage::sandbox().await;
    stage::good_release(&sandbox).await;
    let replica = Replica::start(&sandbox, "one", stage::policy()).await;
    replica
        .until_memory(|memory| memory.state().history.len() == 1)
        .await;
    stage::bad_canary(&sandbox).await;
    let bad = live(&sandbox);
    let name = claimed(&replica, &sandbox).await;
    let done = replica
        .until(&name, |rollback| rollback.phase().ended())
        .await;
    let state = done.state();
    assert_eq!(state.phase, Phase::Succeeded, "{:#?}", done.status);
    assert_eq!(image(&sandbox), "demo:v1-good");
    assert_eq!(
        stage::phase(sandbox.object("rollouts", NAMESPACE, NAME).as_ref()),
        "Healthy"
    );
    assert_eq!(
        changes(&sandbox),
        [NAME],
        "one change of the template, and nothing else"
    );
    let run = &state.run;
    assert!(
        run.first_mutation.is_some()
            && run.first_mutation <= run.traffic_back
            && run.traffic_back <= run.healthy
    );
    assert_eq!(run.progress.as_deref(), Some("2/2"));
    let reasons: Vec<_> = run
        .steps
        .iter()
        .map(|step| step.observed.as_ref().unwrap().reason)
        .collect();
    assert_eq!(reasons, [Reason::Restored, Reason::Healthy]);
    let memory = replica
        .until_memory(|memory| memory.state().active.is_none() && !memory.state().made.is_empty())
        .await;
    assert!(memory.state().blames(&bad.hash));
    let now_live = live(&sandbox);
    assert!(
        memory
            .state()
            .made(&now_live.hash, now_live.revision)
            .is_some(),
        "{:#?}",
        memory.state().made
    );
    let let_go = |object: Option<&Value>| {
        let finalizers = object.and_then(|o| o.pointer("/metadata/finalizers"));
        finalizers
            .and_then(Value::as_array)
            .is_none_or(Vec::is_empty)
    };
    assert!(
        sandbox
            .wait(
                |view| let_go(view.object("rollbacks", NAMESPACE, &name)),
                LIMIT
            )
            .await
    );
    replica.finish().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_bad_release_is_restored_and_promoted_although_a_request_is_lost() {
    let sandbox = stage::sandbox().await;
    stage::good_release(&sandbox).await;
    let replica = Replica::start(&sandbox, "one", stage::policy()).await;
    replica
        .until_memory(|memory| memory.state().history.len() == 1)
        .await;
    stage::bad_canary(&sandbox).await;
    promote(&sandbox).await;
    replica
        .until_memory(|memory| memory.state().history.len() == 2)
        .await;
    sandbox.lose_status_requests(1);
    let name = claimed(&replica, &sandbox).await;
    let done = replica
        .until(&name, |rollback| rollback.phase().ended())
        .await;
    assert_eq!(done.phase(), Phase::Succeeded, "{:#?}", done.status);
    assert_eq!(image(&sandbox), "demo:v1-good");
    assert_eq!(
        changes(&sandbox)[..3],
        [NAME, "status", "status"],
        "the lost promotion was asked for again"
    );
    replica.finish().await;
    sandbox.stop().await;
}

/// Promotes the update in flight, as a pipeline would.
pub(crate) async fn promote(sandbox: &Sandbox) {
    request(sandbox, &json!({"promoteFull": true})).await;
    let promoted = |object: Option<&Value>| {
        object.is_some_and(|o| {
            o["status"]["currentPodHash"] == o["status"]["stableRS"]
                && o["status"]["phase"] == "Healthy"
        })
    };
    assert!(
        sandbox
            .wait(
                |view| promoted(view.object("rollouts", NAMESPACE, NAME)),
                LIMIT
            )
            .await
    );
}

/// Sends a status request, as a person with the plugin does.
async fn request(sandbox: &Sandbox, status: &Value) {
    let url = format!(
        "{}/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/rollouts/{NAME}/status",
        sandbox.url()
    );
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = json!({"status": status}).to_string();
    let request = client
        .patch(url)
        .header("content-type", "application/merge-patch+json")
        .header("user-agent", "person")
        .body(body);
    assert!(request.send().await.unwrap().status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_declines_and_nothing_is_touched() {
    let sandbox = stage::sandbox().await;
    stage::good_release(&sandbox).await;
    let replica = Replica::start(&sandbox, "one", stage::policy()).await;
    stage::bad_canary(&sandbox).await;
    let mut held = stage::hold_config_map();
    held["metadata"]["annotations"] = json!({"ripcord.dev/hold": "jo: freeze"});
    sandbox.apply(held).unwrap();
    assert_eq!(
        replica
            .cluster
            .hold("ripcord", "ripcord-hold")
            .await
            .unwrap(),
        Hold::Held("jo: freeze".into())
    );
    let name = claimed(&replica, &sandbox).await;
    let done = replica
        .until(&name, |rollback| rollback.phase().ended())
        .await;
    assert_eq!(
        (done.phase(), done.state().reason.as_ref().unwrap().reason),
        (Phase::Declined, Reason::Held)
    );
    assert!(changes(&sandbox).is_empty());
    replica.finish().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_is_let_go_although_its_leader_was_killed_before_it_did() {
    let sandbox = stage::sandbox().await;
    stage::good_release(&sandbox).await;
    let replica = Replica::start(&sandbox, "one", stage::policy()).await;
    let mut held = stage::hold_config_map();
    held["metadata"]["annotations"] = json!({"ripcord.dev/hold": "jo: freeze"});
    sandbox.apply(held).unwrap();
    stage::bad_canary(&sandbox).await;
    let name = claimed(&replica, &sandbox).await;
    let ended = replica
        .until(&name, |rollback| rollback.phase().ended())
        .await;
    replica.cluster.pin(&ended, true).await.unwrap();
    let free = |object: &Value| object.pointer("/metadata/finalizers/0").is_none();
    let let_go = |view: &Store| view.object("rollbacks", NAMESPACE, &name).is_some_and(free);
    assert!(sandbox.wait(let_go, LIMIT).await);
    let changes = sandbox.requests().into_iter();
    let pins =
        changes.filter(|r| r.method == "PATCH" && r.path.ends_with(&name) && r.status == 200);
    assert_eq!(pins.count(), 2, "it was bound, and let go");
    replica.finish().await;
    sandbox.stop().await;
}
