//! The demo's acts, in order. Each waits for what it tells.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::show;
use super::stage::{LIMIT, PATIENCE, Stage, phase};
use crate::alert::{Alert, Status};
use crate::rollback::{Phase, Rollback};

/// How many bad answers the client must have before an alert would fire.
const PAIN: u64 = 40;

/// A bad canary in flight: the alert, the claim, the steps, and what was refused.
pub(super) async fn canary(stage: &mut Stage) -> anyhow::Result<()> {
    show::act(1, "a bad canary");
    stage.deploy("options-optimizer:v1.0.0-half500").await?;
    show::line("v1.0.0 is released as a canary; half of its answers are HTTP 500");
    suffer(stage).await?;

    let firing = stage.alert(
        "PinnErrorRateHigh",
        "12 % of requests fail (> 5 % for 2 min)",
    );
    let unrelated = stage.alert("NodeDiskFilling", "disk of node-3 is 81 % full");
    let resolved = Alert {
        status: Status::Resolved,
        ends_at: Some(stage.now()),
        ..stage.alert("PinnLatencyP95High", "P95 was 300 ms")
    };
    show::line(
        "Alertmanager posts three alerts: one that a trigger knows, an unrelated one, and one that has ended",
    );
    let posted = [firing.clone(), unrelated, resolved];
    let name = post(stage, &posted)
        .await?
        .context("no rollback was claimed")?;
    show::line("and the same notification again, as a second Alertmanager would");
    post(stage, &posted).await?;
    let done = follow(stage, &name).await?;
    stage
        .until_rollout("the Rollout ends Healthy", |rollout| {
            phase(rollout) == "Healthy"
        })
        .await?;
    relief(stage, &done).await?;
    show::line("the alert is still firing for a while, and is sent again:");
    post(stage, &[firing]).await?;
    show::thread(stage, &done);
    Ok(())
}

/// A bad release that was promoted: `abort` does nothing.
pub(super) async fn promoted(stage: &mut Stage) -> anyhow::Result<()> {
    show::act(2, "a bad release that was promoted before anybody noticed");
    stage.deploy("options-optimizer:v1.1.0-half500").await?;
    promote(stage).await?;
    show::line("v1.1.0 is fully promoted; phase Healthy, half of its answers are HTTP 500");
    show::command(&format!(
        "kubectl argo rollouts abort {} -n {}",
        super::stage::ROLLOUT,
        super::stage::NAMESPACE
    ));
    stage.request(json!({"abort": true})).await?;
    let before = stage.client.tally().bad;
    stage
        .until("the client still gets bad answers", |stage| {
            stage.client.tally().bad >= before + PAIN
        })
        .await?;
    let rollout = stage.rollout().await?;
    anyhow::ensure!(
        rollout["status"]["abort"] != true && is_promoted(&rollout),
        "abort had an effect"
    );
    show::line(&format!(
        "\"aborted\", it says; the Rollout is still {} on v1.1.0, and {} more answers were bad",
        phase(&rollout),
        stage.client.tally().bad - before
    ));
    suffer(stage).await?;
    let firing = stage.alert(
        "PinnErrorRateHigh",
        "50 % of requests fail (> 5 % for 2 min)",
    );
    show::line("Alertmanager posts the alert");
    let name = post(stage, &[firing])
        .await?
        .context("no rollback was claimed")?;
    let done = follow(stage, &name).await?;
    relief(stage, &done).await?;
    show::thread(stage, &done);
    Ok(())
}

/// Promotes what is live past all its steps, as a person does: who sees that the controller has lost the request, asks again.
async fn promote(stage: &Stage) -> anyhow::Result<()> {
    let asking = async {
        loop {
            stage.request(json!({"promoteFull": true})).await?;
            let promoted = stage.until_rollout("it is promoted", is_promoted);
            if let Ok(promoted) = tokio::time::timeout(PATIENCE, promoted).await {
                return promoted;
            }
            // Where the request is still there, making it again changes nothing, and nobody would look.
            stage.touch().await?;
        }
    };
    let promoted = tokio::time::timeout(LIMIT, asking).await;
    promoted.with_context(|| format!("it was not promoted within {LIMIT:?}"))?
}

fn is_promoted(rollout: &Value) -> bool {
    let status = &rollout["status"];
    status["stableRS"] == status["currentPodHash"] && phase(rollout) == "Healthy"
}

/// The tables at the end.
pub(super) async fn closing(stage: &Stage) -> anyhow::Result<()> {
    show::act(3, "what is on record");
    let written = |stage: &Stage| {
        let memories = stage.service.caches.memories.all();
        memories
            .iter()
            .any(|memory| memory.state().made.len() == 2 && memory.state().shown.state == "ok")
    };
    stage.until("the memory is written", written).await?;
    show::tables(stage);
    Ok(())
}

/// Another bad release, for people to play with.
pub(super) async fn encore(stage: &mut Stage) -> anyhow::Result<()> {
    stage.deploy("options-optimizer:v1.2.0-half500").await?;
    show::encore(stage);
    Ok(())
}

/// The client meets bad answers until an alert would fire.
async fn suffer(stage: &Stage) -> anyhow::Result<()> {
    let before = stage.client.tally().bad;
    let mut bar = show::Bar::default();
    for _ in 0..100 {
        let tally = stage.client.tally();
        bar.draw(&tally);
        if tally.bad >= before + PAIN && tally.recent.iter().any(|good| !good) {
            bar.end(&tally);
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the client met no bad answers")
}

/// The client's answers are good again: a row of them after the last bad one.
async fn relief(stage: &Stage, done: &Rollback) -> anyhow::Result<()> {
    let good = |stage: &Stage| stage.client.tally().recent.iter().all(|good| *good);
    stage
        .until("the client's answers are good again", good)
        .await?;
    show::relief(&stage.client.tally(), done);
    Ok(())
}

/// Posts alerts, shows the decisions, and returns the rollback that was claimed.
async fn post(stage: &Stage, alerts: &[Alert]) -> anyhow::Result<Option<String>> {
    let answer = stage.post(alerts).await?;
    let decisions = answer["decisions"]
        .as_array()
        .context("the answer tells no decisions")?;
    anyhow::ensure!(
        decisions.len() == alerts.len(),
        "not every alert was decided"
    );
    show::decisions(alerts, decisions);
    let started = decisions
        .iter()
        .find(|decision| decision["decision"] == "start");
    let rollback = started.and_then(|decision| decision["rollback"].as_str());
    Ok(rollback
        .and_then(|rollback| rollback.split_once('/'))
        .map(|(_, name)| name.to_owned()))
}

/// Tells a rollback's journal as it is written, to its end.
async fn follow(stage: &Stage, name: &str) -> anyhow::Result<Rollback> {
    let mut told = show::Told::default();
    let mut changes = stage.service.caches.changes();
    let ended = async {
        loop {
            if let Some(rollback) = stage.rollback(name) {
                told.tell(&rollback);
                if rollback.phase().ended() {
                    return Rollback::clone(&rollback);
                }
            }
            let _ = tokio::time::timeout(Duration::from_millis(50), changes.changed()).await;
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(60), ended)
        .await
        .context("the rollback did not end")?;
    let reason = done
        .state()
        .reason
        .clone()
        .map(|reason| reason.to_string())
        .unwrap_or_default();
    anyhow::ensure!(
        done.phase() == Phase::Succeeded,
        "the rollback ended {}: {reason}",
        done.phase()
    );
    Ok(done)
}
