//! `ripcord targets`: the fleet at a glance, from the targets' memories.

use super::reach::{self, Reach, Trouble, nothing, trouble};
use super::table::table;
use super::{Answer, Format, json};
use crate::report::text;
use crate::rollback::Memory;
use crate::rollback::history::rough;

/// Show what is under care: live, known good, blamed, latched, held.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    reach: Reach,
    /// In all namespaces.
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    all_namespaces: bool,
}

pub(super) async fn run(args: &Args) -> Answer {
    found(args).await.unwrap_or_else(|trouble| trouble.answer())
}

async fn found(args: &Args) -> Result<Answer, Trouble> {
    let hands = args.reach.connect().await?;
    let namespace = (!args.all_namespaces).then_some(hands.namespace.as_str());
    let all = hands.cluster.list_memories(namespace).await;
    let all = all.map_err(|error| trouble(error, "list", "targets", namespace))?;
    let answer = shown(args, all.items, namespace);
    Ok(reach::without(answer, "targets", all.unreadable))
}

fn shown(args: &Args, mut all: Vec<Memory>, namespace: Option<&str>) -> Answer {
    if args.reach.output == Format::Json {
        for memory in &mut all {
            memory.metadata.managed_fields = None;
        }
        return json(&all);
    }
    if all.is_empty() {
        return nothing("targets", namespace);
    }
    let heads = [
        "NAMESPACE",
        "NAME",
        "WORKLOAD",
        "LIVE",
        "KNOWN GOOD",
        "BLAMED",
        "MODE",
        "STATE",
        "LAST",
        "WHEN",
    ];
    let mut shown = table(&heads, all.iter().map(row));
    // What keeps a start is worth a line of its own: why, and by whom.
    for memory in &all {
        shown.extend(kept(memory));
    }
    Answer::done(shown)
}

fn row(memory: &Memory) -> Vec<String> {
    let state = memory.state();
    let shown = &state.shown;
    let known = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut blamed: Vec<_> = state
        .blamed
        .iter()
        .rev()
        .map(|it| format!("r{}", it.revision))
        .collect();
    blamed.dedup();
    if blamed.len() > 3 {
        blamed.truncate(3);
        blamed.push("…".to_owned());
    }
    let when = shown
        .when
        .map(|when| rough(reach::now().duration_since(when)));
    vec![
        known(&memory.metadata.namespace),
        known(&memory.metadata.name),
        state.workload.clone(),
        shown.live.clone(),
        shown.known_good.clone(),
        blamed.join(" "),
        shown.mode.clone(),
        shown.state.clone(),
        shown.last.clone(),
        when.unwrap_or_default(),
    ]
}

/// Why nothing starts on a target, if something keeps it.
fn kept(memory: &Memory) -> Vec<String> {
    let name = memory.metadata.name.as_deref().unwrap_or_default();
    let mut lines = Vec::new();
    if let Some(latch) = memory.latch() {
        lines.push(format!(
            "{name}: latched since {:.0} by {}: {}",
            latch.since, latch.rollback, latch.finding
        ));
    }
    if let Some(hold) = memory.hold(reach::now()) {
        let until = hold
            .until
            .map_or_else(String::new, |until| format!(" until {until:.0}"));
        lines.push(format!(
            "{name}: held{until} by {}: {}",
            hold.owner, hold.reason
        ));
    }
    lines
        .into_iter()
        .map(|line| format!("{}\n", text::clean(&line)))
        .collect()
}
