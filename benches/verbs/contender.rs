//! Who acts: two whose commands are those that people run, by the real programs, and Ripcord, which is sent an alert.

use std::time::Duration;

use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::plane::Frozen;
use crate::scene::{Scene, now};
use crate::state::State;
use crate::support::replica::{Replica, until};
use crate::support::story::prelude::*;

/// How long the controller stands still at most, where it does, while Ripcord has changed nothing.
const ASLEEP: Duration = Duration::from_secs(1);
/// After how long Alertmanager comes back to who answered 503, the first time; each time after that, half as long again.
const RETRY: Duration = Duration::from_millis(500);
/// Between two looks whether Ripcord has ended.
const LOOK: Duration = Duration::from_millis(200);

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// The commands of the runbook.
    Runbook,
    /// The best known command alone.
    Bare,
    Ripcord,
}

/// A line of a script, by its words. The first is `argo` for the plugin, `kubectl`, or `effect`, which waits until the good
/// release is live.
pub(crate) type Line = &'static [&'static str];

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Act {
    /// The rollback that Ripcord made, as it ended.
    pub(crate) rollback: Value,
    /// The last line that people read, where it was commands.
    pub(crate) said: String,
}

// === impl Contender ===

impl Contender {
    /// In the order of their turns.
    pub(crate) const ALL: [Self; 3] = [Self::Runbook, Self::Bare, Self::Ripcord];

    /// What it is called.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Runbook => "runbook",
            Self::Bare => "bare command",
            Self::Ripcord => "Ripcord",
        }
    }

    /// What it runs in a state.
    pub(crate) const fn script(self, state: &State) -> &'static [Line] {
        match self {
            Self::Runbook => state.runbook,
            Self::Bare => state.bare,
            Self::Ripcord => &[],
        }
    }
}

/// Runs the commands, up to the first that fails. The controller wakes after the first of them.
pub(crate) async fn script(
    scene: &Scene,
    good: &str,
    lines: &[Line],
    asleep: Option<Frozen<'static>>,
) -> Act {
    let mut asleep = asleep;
    let mut act = Act::default();
    for line in lines {
        let (program, words) = line.split_first().expect("a line has words");
        if *program == "effect" {
            is_live(scene, good).await;
            continue;
        }
        let program = match *program {
            "argo" => "kubectl-argo-rollouts",
            other => other,
        };
        let mut words: Vec<_> = words.iter().map(|&it| it.to_owned()).collect();
        words.extend(["-n".to_owned(), scene.namespaces.release.clone()]);
        let plane = scene.plane;
        let run = spawn_blocking(move || {
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            plane.person(program, &words)
        });
        let (content, said) = run.await.expect("it runs").expect("it is there");
        drop(asleep.take());
        said.trim()
            .lines()
            .last()
            .unwrap_or_default()
            .clone_into(&mut act.said);
        if !content {
            break;
        }
    }
    act
}

/// Sends the alert as Alertmanager does, `times` times, and sees what came of it. The controller wakes once Ripcord has
/// changed something.
pub(crate) async fn alert(
    scene: &Scene,
    replica: &Replica,
    good: &str,
    times: usize,
    asleep: Option<Frozen<'static>>,
) -> Act {
    let body = scene.notification(now());
    let waking = async {
        if let Some(asleep) = asleep {
            until(async || scene.mutations().first().map(drop), ASLEEP).await;
            drop(asleep);
        }
    };
    let ((), name) = tokio::join!(waking, deliver(scene, replica, &body));
    for _ in 1..times {
        is_live(scene, good).await;
        deliver(scene, replica, &body).await;
    }
    let mut rollback = Value::Null;
    let ended = async || {
        // No time is read off from this, and whoever is measured has the server to itself.
        sleep(LOOK).await;
        rollback = scene.rollback(&name).await?;
        let phase = rollback["status"]["phase"].as_str()?;
        // Whoever refuses to act has done all of it once a person was told.
        let told = rollback.pointer("/status/report/slack/ts").is_some();
        let ended = !["Pending", "Running"].contains(&phase);
        (ended && (told || phase != "Declined")).then_some(())
    };
    until(ended, crate::scene::LIMIT).await;
    Act {
        rollback,
        said: String::new(),
    }
}

/// Posts until it is taken; returns the name of the rollback that the answer names.
async fn deliver(scene: &Scene, replica: &Replica, body: &str) -> String {
    let mut pause = RETRY;
    loop {
        let (code, answer) = scene.answer(replica, body.to_owned()).await;
        if code == 200 {
            let name = answer
                .pointer("/decisions/0/rollback")
                .and_then(Value::as_str);
            let name = name.unwrap_or_default();
            return name.rsplit('/').next().unwrap_or_default().to_owned();
        }
        assert_eq!(code, 503, "{answer}");
        sleep(pause).await;
        pause = pause * 3 / 2;
    }
}

/// Waits until the good release is live.
async fn is_live(scene: &Scene, good: &str) {
    until(
        async || (scene.live().await == good).then_some(()),
        crate::scene::LIMIT,
    )
    .await;
}
