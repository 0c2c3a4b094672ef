//! `ripcord list`: the rollbacks of a namespace, or of all, newest first.

use super::reach::{self, Reach, Trouble, nothing, trouble};
use super::table::table;
use super::{Answer, Format, json};
use crate::rollback::history::rough;
use crate::rollback::{Phase, Rollback};

/// List rollbacks, newest first.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    reach: Reach,
    /// In all namespaces.
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Only those of this target.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Only those in this phase, such as `running`; can be given several times.
    #[arg(long, value_name = "PHASE", value_parser = phase)]
    phase: Vec<Phase>,
}

/// A phase, whatever its case.
fn phase(text: &str) -> Result<Phase, String> {
    let mut all = Phase::ALL.into_iter();
    all.find(|phase| phase.name().eq_ignore_ascii_case(text))
        .ok_or_else(|| format!("expected one of {}", Phase::ALL.map(Phase::name).join(", ")))
}

pub(super) async fn run(args: &Args) -> Answer {
    found(args).await.unwrap_or_else(|trouble| trouble.answer())
}

async fn found(args: &Args) -> Result<Answer, Trouble> {
    let hands = args.reach.connect().await?;
    let namespace = (!args.all_namespaces).then_some(hands.namespace.as_str());
    let all = hands.cluster.list_rollbacks(namespace).await;
    let all = all.map_err(|error| trouble(error, "list", "rollbacks", namespace))?;
    let answer = shown(args, all.items, namespace);
    Ok(reach::without(answer, "rollbacks", all.unreadable))
}

fn shown(args: &Args, mut all: Vec<Rollback>, namespace: Option<&str>) -> Answer {
    all.retain(|it| {
        let target = args.target.as_ref();
        target.is_none_or(|target| *target == it.spec.target)
            && (args.phase.is_empty() || args.phase.contains(&it.phase()))
    });
    all.sort_by_key(|it| std::cmp::Reverse((it.received(), it.full_name())));
    if args.reach.output == Format::Json {
        for rollback in &mut all {
            rollback.metadata.managed_fields = None;
        }
        return json(&all);
    }
    if all.is_empty() {
        return nothing("rollbacks", namespace);
    }
    let heads = [
        "NAMESPACE",
        "NAME",
        "TARGET",
        "SEV",
        "PROCEDURE",
        "PHASE",
        "STEP",
        "FROM",
        "TO",
        "RECOVERY",
        "AGE",
        "REASON",
    ];
    Answer::done(table(&heads, all.iter().map(row)))
}

fn row(rollback: &Rollback) -> Vec<String> {
    let state = rollback.state();
    let run = &state.run;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let plan = state.plan.as_ref();
    let procedure = plan.map(|plan| plan.procedure.clone());
    let age = rollback
        .received()
        .map(|received| rough(reach::now().duration_since(received)));
    let reason = state.reason.as_ref().map(|finding| finding.reason.code());
    vec![
        rollback.namespace().to_owned(),
        rollback.name().to_owned(),
        rollback.spec.target.clone(),
        rollback.severity().to_string(),
        procedure
            .or_else(|| rollback.spec.procedure.clone())
            .unwrap_or_default(),
        state.phase.name().to_owned(),
        text(&run.progress),
        rollback
            .from()
            .map(crate::target::Release::name)
            .unwrap_or_default(),
        text(&run.to),
        text(&run.recovery),
        age.unwrap_or_default(),
        reason.unwrap_or_default().to_owned(),
    ]
}
