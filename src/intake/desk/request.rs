//! What an alert asks for, and what its sender is told.

use jiff::Timestamp;

use crate::alert::Alert;
use crate::intake::Answered;
use crate::policy::trigger::Ask;
use crate::policy::{Decision, Policy};
use crate::reason::{Finding, Reason};
use crate::rollback::object::AlertRecord;
use crate::target::Target;

/// How much of a summary is kept.
const SUMMARY: usize = 300;

/// One firing alert that asks for something.
pub(super) struct Request<'a> {
    pub(super) index: usize,
    pub(super) ask: Ask<'a>,
    pub(super) record: AlertRecord,
}

/// What a firing alert asks for, or the answer that it asks for nothing.
pub(super) fn asked<'a>(
    policy: &'a Policy,
    alert: &Alert,
    index: usize,
    received: Timestamp,
) -> Result<Request<'a>, Answered> {
    let (_, trigger) = policy.matching(&alert.labels);
    let name = trigger.map(|trigger| trigger.name.clone());
    let refuse = |finding: &Finding| {
        answer(
            alert.fingerprint.clone(),
            name.clone(),
            "decline",
            finding,
            None,
        )
    };
    let trigger = trigger.ok_or_else(|| refuse(&Reason::NoTrigger.into()))?;
    let ask = policy
        .ask_of(trigger, &alert.labels)
        .map_err(|finding| refuse(&finding))?;
    policy
        .in_scope(&alert.labels, ask.target)
        .map_err(|finding| refuse(&finding))?;
    if ask.procedure.is_none() {
        let finding = Reason::NoteOnly.because(format!("{} is a note", ask.severity));
        return Err(answer(
            alert.fingerprint.clone(),
            name,
            "note",
            &finding,
            None,
        ));
    }
    let text = |key: &str| alert.annotations.get(key).filter(|text| !text.is_empty());
    let record = AlertRecord {
        fingerprint: alert.fingerprint.clone(),
        name: alert
            .labels
            .name()
            .unwrap_or("(no alertname)")
            .chars()
            .take(SUMMARY)
            .collect(),
        began: alert.starts_at,
        received,
        severity: ask.severity,
        trigger: trigger.name.clone(),
        procedure: ask
            .procedure
            .map(|procedure| procedure.name.clone())
            .unwrap_or_default(),
        release_hash: alert
            .labels
            .get(&policy.hash_label)
            .filter(|hash| !hash.is_empty())
            .map(str::to_owned),
        summary: text("summary")
            .or_else(|| text("description"))
            .map(|text| text.chars().take(SUMMARY).collect()),
        runbook: text("runbook_url").filter(|url| url.len() <= 1000).cloned(),
        source: Some(&alert.generator_url)
            .filter(|url| !url.is_empty() && url.len() <= 1000)
            .cloned(),
        ended: None,
    };
    Ok(Request { index, ask, record })
}

/// Puts requests with the same decision together, so that each is recorded by one call.
pub(super) fn group(decided: Vec<(Decision, Request<'_>)>) -> Vec<(Decision, Vec<Request<'_>>)> {
    let mut groups: Vec<(Decision, Vec<Request<'_>>)> = Vec::new();
    for (decision, request) in decided {
        let same = groups.iter_mut().find(|(other, _)| alike(other, &decision));
        match same {
            Some((_, requests)) => requests.push(request),
            None => groups.push((decision, vec![request])),
        }
    }
    groups
}

/// Whether two decisions are recorded by the same call. Two claims of one release are, whatever their refusals say.
pub(super) fn alike(one: &Decision, other: &Decision) -> bool {
    match (one, other) {
        (Decision::Start { name, .. }, Decision::Start { name: second, .. }) => name == second,
        _ => one == other,
    }
}

/// What the senders of these requests are told.
pub(super) fn answers(
    target: &Target,
    decision: &Decision,
    requests: Vec<Request<'_>>,
) -> Vec<(usize, Answered)> {
    let finding = decision.finding();
    let by = decision
        .rollback()
        .map(|name| format!("{}/{name}", target.workload.namespace));
    let said = |request: Request<'_>| {
        let trigger = Some(request.ask.trigger.name.clone());
        let answer = answer(
            request.record.fingerprint,
            trigger,
            decision.word(),
            &finding,
            by.clone(),
        );
        (request.index, answer)
    };
    requests.into_iter().map(said).collect()
}

pub(super) fn answer(
    fingerprint: String,
    trigger: Option<String>,
    decision: &'static str,
    finding: &Finding,
    rollback: Option<String>,
) -> Answered {
    Answered {
        fingerprint,
        trigger,
        decision,
        reason: finding.reason,
        said: finding.said.clone(),
        rollback,
    }
}
