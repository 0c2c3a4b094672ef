//! What the demo prints. Plain lines on a pipe, colours and a moving bar on a terminal.

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};

use comfy_table::{Table, presets};
use jiff::{SignedDuration, Timestamp};
use owo_colors::OwoColorize as _;
use serde_json::Value;

use super::client::Tally;
use super::stage::{NAMESPACE, OWN, RATE, ROLLOUT, Stage};
use crate::alert::Alert;
use crate::procedure::StepPhase;
use crate::report::audience::Everyone;
use crate::report::{story, text};
use crate::rollback::Rollback;

/// How wide the client's bar is.
const BAR: usize = 50;

/// What is simulated, and what is real.
pub(super) fn opening(stage: &Stage) {
    let door = stage.service.addr;
    anstream::println!("{}", "ripcord demo".bold());
    if stage.ground.sandbox.is_some() {
        anstream::println!(
            "Simulated, in this process: a Kubernetes API with a small canary controller, four pods of a demo application, and a\n\
             client that asks them {RATE} times a second. Real: Ripcord itself, its HTTP door on {door}, its decisions, its\n\
             Kubernetes client, what it writes, and every time that is shown. It is no evidence about Argo Rollouts."
        );
    } else {
        anstream::println!(
            "On the cluster of the kubeconfig, with its Argo Rollouts, its pods and its Services, in the namespaces {NAMESPACE}\n\
             and {OWN}, which go away with the demo. In this process: Ripcord itself, with the rights of the kubeconfig and its\n\
             HTTP door on {door}, and a client that asks the Service {RATE} times a second."
        );
    }
    line("v0.9.0 is released and good");
}

/// The title of an act.
pub(super) fn act(number: u32, title: &str) {
    anstream::println!("\n{}", format!("{number}. {title}").bold());
}

/// One line of the story.
pub(super) fn line(said: &str) {
    anstream::println!("  {said}");
}

/// A command that a person would type.
pub(super) fn command(typed: &str) {
    anstream::println!("  $ {}", typed.cyan());
}

/// The client's answers, live.
#[derive(Default)]
pub(super) struct Bar {
    drawn: bool,
}

impl Bar {
    /// Draws the bar over the one before; on a pipe only the last one is shown.
    pub(super) fn draw(&mut self, tally: &Tally) {
        if std::io::stdout().is_terminal() {
            anstream::print!("\r  client  {}", answers(tally));
            let _ = std::io::stdout().flush();
            self.drawn = true;
        }
    }

    /// Ends the line.
    pub(super) fn end(&mut self, tally: &Tally) {
        let start = if self.drawn { "\r" } else { "" };
        anstream::println!("{start}  client  {}", answers(tally));
    }
}

fn answers(tally: &Tally) -> String {
    let latest: Vec<_> = tally.recent.iter().rev().take(BAR).collect();
    let marks: String = latest
        .iter()
        .rev()
        .map(|good| {
            if **good {
                "·".green().to_string()
            } else {
                "✗".red().to_string()
            }
        })
        .collect();
    format!("{marks}  {} good, {} bad", tally.good, tally.bad)
}

/// What the service decided about each alert.
pub(super) fn decisions(alerts: &[Alert], decisions: &[Value]) {
    for (alert, decision) in alerts.iter().zip(decisions) {
        let word = decision["decision"].as_str().unwrap_or_default();
        let reason = decision["reason"].as_str().unwrap_or_default();
        let rollback = decision["rollback"]
            .as_str()
            .map(|name| format!(" → {name}"))
            .unwrap_or_default();
        let name = alert.labels.name().unwrap_or_default();
        let status = alert.status.as_str();
        let word = if word == "start" {
            word.green().to_string()
        } else {
            word.yellow().to_string()
        };
        anstream::println!("    {name} ({status})  {word} {reason}{rollback}");
    }
}

/// What was told of a rollback's journal.
#[derive(Default)]
pub(super) struct Told {
    keys: BTreeSet<String>,
}

impl Told {
    /// Tells what is new.
    pub(super) fn tell(&mut self, rollback: &Rollback) {
        let state = rollback.state();
        let Some(received) = rollback.received() else {
            return;
        };
        let mut say = |key: &str, at: Option<Timestamp>, said: String| {
            if let Some(at) = at
                && self.keys.insert(key.to_owned())
            {
                let after = at.duration_since(received);
                anstream::println!(
                    "  {:>7}  {said}",
                    format!("+{:.2} s", after.as_secs_f64()).dimmed()
                );
            }
        };
        if let Some(plan) = &state.plan {
            let said = format!(
                "plan {}: {} ({}) → {} ({}), because {}",
                plan.procedure,
                plan.from,
                plan.from.tags(),
                plan.to,
                plan.to.tags(),
                plan.chosen
            );
            say("plan", Some(plan.made), said);
        }
        say(
            "mutation",
            state.run.first_mutation,
            "first change: the template of the destination is written back".to_owned(),
        );
        say(
            "traffic",
            state.run.traffic_back,
            "all traffic is back".to_owned(),
        );
        for (index, step) in state.run.steps.iter().enumerate() {
            if step.phase == StepPhase::Done {
                let observed = step
                    .observed
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                let said = format!(
                    "step {}/{} {}: {observed}",
                    index + 1,
                    state.run.steps.len(),
                    step.step
                );
                say(&format!("step {index}"), step.finished, said);
            }
        }
        say(
            "end",
            state.run.finished,
            format!("{} {}", state.phase.name().bold(), rollback.name()),
        );
    }
}

/// How it looked from outside.
pub(super) fn relief(tally: &Tally, done: &Rollback) {
    anstream::println!("  client  {}", answers(tally));
    if let (Some(last), Some(received)) = (tally.last_bad, done.received()) {
        line(&format!(
            "last bad answer {} after the alert was received",
            seconds(last.duration_since(received))
        ));
    }
}

/// What people would read in Slack.
pub(super) fn thread(stage: &Stage, done: &Rollback) {
    let target = stage.policy.targets.get(&done.spec.target);
    let memory = target.and_then(|target| stage.service.caches.memory(target));
    let everyone = Everyone {
        namespace: OWN.to_owned(),
        hold: "ripcord-hold".to_owned(),
        ..Everyone::default()
    };
    let Some(story) = story::tell(done, memory.as_deref(), target, &everyone) else {
        return;
    };
    anstream::println!("  {}", "the Slack thread, as text".dimmed());
    for row in text::story(&story).lines() {
        anstream::println!("  │ {row}");
    }
}

/// What `kubectl get rb` and `kubectl get rt` would show, and what was refused.
pub(super) fn tables(stage: &Stage) {
    command("kubectl get rb -A");
    let mut table = table(&[
        "NAMESPACE",
        "NAME",
        "SEV",
        "PROCEDURE",
        "PHASE",
        "STEP",
        "FROM",
        "TO",
        "RECOVERY",
    ]);
    for rollback in stage.service.caches.rollbacks.all() {
        let state = rollback.state();
        let procedure = state.plan.as_ref().map(|plan| plan.procedure.clone());
        table.add_row([
            rollback.namespace().to_owned(),
            rollback.name().to_owned(),
            rollback.severity().to_string(),
            procedure.unwrap_or_default(),
            state.phase.to_string(),
            state.run.progress.clone().unwrap_or_default(),
            state.run.from.clone().unwrap_or_default(),
            state.run.to.clone().unwrap_or_default(),
            state.run.recovery.clone().unwrap_or_default(),
        ]);
    }
    print(&table);
    command("kubectl get rt -A");
    let mut table = self::table(&[
        "NAMESPACE",
        "NAME",
        "WORKLOAD",
        "LIVE",
        "KNOWN GOOD",
        "MODE",
        "STATE",
        "LAST",
    ]);
    for memory in stage.service.caches.memories.all() {
        let state = memory.state();
        let shown = &state.shown;
        let name = memory.metadata.name.clone().unwrap_or_default();
        table.add_row([
            NAMESPACE.to_owned(),
            name,
            state.workload.clone(),
            shown.live.clone(),
            shown.known_good.clone(),
            shown.mode.clone(),
            shown.state.clone(),
            shown.last.clone(),
        ]);
    }
    print(&table);
    line("decisions, from /metrics:");
    for row in stage
        .service
        .metrics
        .encode()
        .lines()
        .filter(|row| row.starts_with("ripcord_alerts_total{"))
    {
        anstream::println!("    {row}");
    }
}

/// How to go on.
pub(super) fn try_it() {
    anstream::println!("\n  Try it yourself: {}", "ripcord demo --serve".cyan());
}

/// The exact line to post with.
pub(super) fn encore(stage: &Stage) {
    let alert = stage.alert("PinnErrorRateHigh", "half of the requests fail");
    let body = serde_json::json!({"version": "4", "alerts": [alert]});
    anstream::println!(
        "\n  v1.2.0 is in flight and bad. Alertmanager can post to http://{}/api/v1/alerts, or you:",
        stage.service.addr
    );
    anstream::println!(
        "  curl -s http://{}/api/v1/alerts -H 'Content-Type: application/json' -d '{body}'",
        stage.service.addr
    );
    if let Some(sandbox) = &stage.ground.sandbox {
        let url = sandbox.url();
        anstream::println!(
            "  then: curl -s {url}/apis/ripcord.dev/v1alpha1/namespaces/{NAMESPACE}/rollbacks"
        );
        anstream::println!(
            "  and:  curl -s {url}/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/rollouts/{ROLLOUT}"
        );
    } else {
        anstream::println!("  then: kubectl describe rb -n {NAMESPACE}");
        anstream::println!("  and:  kubectl get rollout {ROLLOUT} -n {NAMESPACE} -o yaml");
    }
    anstream::println!("  Ctrl-C ends it.");
}

fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(columns.to_vec());
    table
}

fn print(table: &Table) {
    for row in table.lines() {
        anstream::println!("  {}", row.trim_end());
    }
}

fn seconds(time: SignedDuration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
