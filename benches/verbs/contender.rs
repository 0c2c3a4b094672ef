//! Who acts: two whose commands are those that people run, by the real programs, and Ripcord, which is sent an alert.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::person::approves;
use crate::plane::Frozen;
use crate::scene::now;
use crate::script::{self, Line};
use crate::state::State;
use crate::support::replica::until;
use crate::support::story::prelude::*;
use crate::turn::Turn;

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
    /// The best known command alone, where there is one.
    Bare,
    Ripcord,
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Act {
    /// The rollback that Ripcord made, as it ended.
    pub(crate) rollback: Value,
    /// The last line that people read, where it was commands.
    pub(crate) said: String,
    /// The line at which a script ended before its end.
    pub(crate) stopped: Option<String>,
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

/// Sends the alert as Alertmanager does, as often as the state says, and sees what came of it. The controller wakes once
/// Ripcord has changed something.
pub(crate) async fn alert(turn: &Turn<'_>, asleep: Option<Frozen<'static>>) -> Act {
    let scene = turn.scene;
    let body = scene.notification(now());
    let waking = async {
        if let Some(asleep) = asleep {
            until(async || scene.mutations().first().map(drop), ASLEEP).await;
            drop(asleep);
        }
    };
    let ((), name) = tokio::join!(waking, deliver(turn, &body));
    for _ in 1..turn.state.times {
        script::is_live(turn).await;
        deliver(turn, &body).await;
    }
    let mut rollback = Value::Null;
    let ended = async || {
        // No time is read off from this, and whoever is measured has the server to itself.
        sleep(LOOK).await;
        rollback = scene.rollback(&name).await?;
        let phase = rollback["status"]["phase"].as_str()?;
        // Whoever refuses to act has done all of it once a person was told.
        let told = rollback.pointer("/status/report/slack/ts").is_some();
        let ended = !["Pending", "AwaitingApproval", "Running"].contains(&phase);
        (ended && (told || phase != "Declined")).then_some(())
    };
    tokio::select! {
        _ = until(ended, crate::scene::LIMIT) => {}
        never = approves(scene, turn.mirrors, &name) => match never {},
    }
    Act {
        rollback,
        ..Act::default()
    }
}

/// Posts until it is taken; returns the name of the rollback that the answer names.
async fn deliver(turn: &Turn<'_>, body: &str) -> String {
    let mut pause = RETRY;
    loop {
        let (code, answer) = turn
            .scene
            .answer(&turn.ready.replica, body.to_owned())
            .await;
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
