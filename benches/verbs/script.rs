//! What people do by hand: the lines of a script, and how they are run, by the real programs. It stops where `set -e` stops.

use std::time::Duration;

use axum::http::Method;
use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::contender::Act;
use crate::plane::Frozen;
use crate::scene::LIMIT;
use crate::support::replica::{client, until};
use crate::support::story::prelude::*;
use crate::turn::Turn;

/// The words of a command. The first is `kubectl`, or `argo` for the plugin.
type Words = &'static [&'static str];

/// A line of a script.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Line {
    /// A command. Where it fails, the script ends.
    Run(Words),
    /// A command that may fail: `|| true`.
    Try(Words),
    /// Waits until the good release is live.
    Effect,
    /// Waits for so many seconds.
    Sleep(u64),
    /// A POST to the Service that takes the traffic. As with `curl`, every answer will do.
    Post(&'static str),
    /// A GET there. Where the answer does not say that it is healthy, the script ends.
    Healthy(&'static str),
}

/// Runs a script. The controller wakes after its first command.
pub(crate) async fn run(turn: &Turn<'_>, lines: &[Line], asleep: Option<Frozen<'static>>) -> Act {
    let mut asleep = asleep;
    let mut act = Act::default();
    for line in lines {
        let content = match line {
            Line::Run(words) | Line::Try(words) => {
                let (content, said) = command(turn, words).await;
                drop(asleep.take());
                said.trim()
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .clone_into(&mut act.said);
                content || matches!(line, Line::Try(_))
            }
            Line::Effect => {
                is_live(turn).await;
                true
            }
            Line::Sleep(seconds) => {
                sleep(Duration::from_secs(*seconds)).await;
                true
            }
            Line::Post(path) => ask(turn, Method::POST, path).await.is_some(),
            Line::Healthy(path) => {
                let answer = ask(turn, Method::GET, path).await;
                answer.is_some_and(|it| it["overall_status"] == "healthy")
            }
        };
        if !content {
            act.stopped = line.text();
            break;
        }
    }
    act
}

/// Waits until the good release is live.
pub(crate) async fn is_live(turn: &Turn<'_>) {
    until(
        async || turn.good.is_live(&turn.scene.rollout().await).then_some(()),
        LIMIT,
    )
    .await;
}

/// All lines in one cell of a table.
pub(crate) fn text(lines: &[Line]) -> String {
    let texts: Vec<_> = lines.iter().filter_map(Line::text).collect();
    texts.join(", ")
}

/// Whether a program was content with a command in the scene's namespace, and what it said.
async fn command(turn: &Turn<'_>, words: &[&'static str]) -> (bool, String) {
    let (program, words) = words.split_first().expect("a line has words");
    let program = match *program {
        "argo" => "kubectl-argo-rollouts",
        other => other,
    };
    let namespace = turn.scene.namespaces.release.clone();
    let (plane, words) = (turn.scene.plane, words.to_vec());
    let run = spawn_blocking(move || {
        // Behind a `--` it would be the container's.
        let within = ["-n", namespace.as_str()];
        plane.person(program, &[&within[..], &words[..]].concat())
    });
    run.await.expect("it runs").expect("it is there")
}

/// What the Service that takes the traffic answers, if it does; null where that is no JSON.
async fn ask(turn: &Turn<'_>, method: Method, path: &str) -> Option<Value> {
    let scene = turn.scene;
    let service = format!(
        "/api/v1/namespaces/{}/services/{}",
        scene.namespaces.release, scene.front
    );
    let service = scene.plane.admin.get(&service).await.expect("a Service");
    let address = service["spec"]["clusterIP"].as_str().expect("an address");
    let request = client().request(method, format!("http://{address}{path}"));
    let answer = request.send().await.ok()?;
    Some(answer.json().await.unwrap_or_default())
}

// === impl Line ===

impl Line {
    fn text(&self) -> Option<String> {
        let text = match self {
            Self::Run(words) | Self::Try(words) => match words {
                ["argo", verb, ..] => (*verb).to_owned(),
                ["kubectl", "exec", .., program, what] => format!("exec {program} {what}"),
                ["kubectl", verb, what, ..] => format!("{verb} {what}"),
                _ => return None,
            },
            Self::Effect => return None,
            Self::Sleep(seconds) => format!("sleep {seconds}"),
            Self::Post(_) => "curl -X POST".to_owned(),
            Self::Healthy(_) => "curl".to_owned(),
        };
        Some(format!("`{text}`"))
    }
}
