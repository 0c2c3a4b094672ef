//! What an alert asks for, and what its sender is told.

use jiff::Timestamp;

use crate::alert::{Alert, Severity};
use crate::intake::Answered;
use crate::policy::trigger::{Ask, Trigger};
use crate::policy::{Decision, Policy};
use crate::procedure::Procedure;
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

/// One firing alert that asks for nothing.
pub(super) struct Refused {
    pub(super) answer: Answered,
    /// Where people must learn of it: what is put on record, and why it leads nowhere.
    pub(super) unplaced: Option<Unplaced>,
}

/// A severe alert that a trigger matched and that leads to no workload.
#[derive(Clone, Debug)]
pub(super) struct Unplaced {
    pub(super) index: usize,
    pub(super) finding: Finding,
    pub(super) record: AlertRecord,
}

/// What a firing alert asks for, or the answer that it asks for nothing.
pub(super) fn asked<'a>(
    policy: &'a Policy,
    alert: &Alert,
    index: usize,
    received: Timestamp,
) -> Result<Request<'a>, Box<Refused>> {
    let (_, trigger) = policy.matching(&alert.labels);
    let name = trigger.map(|trigger| trigger.name.clone());
    let refuse = |decision, finding: &Finding| {
        let fingerprint = alert.fingerprint.clone();
        Box::new(Refused {
            answer: answer(fingerprint, name.clone(), decision, finding, None),
            unplaced: None,
        })
    };
    let trigger = trigger.ok_or_else(|| refuse("decline", &Reason::NoTrigger.into()))?;
    let ask = match policy.ask_of(trigger, &alert.labels) {
        Ok(ask) => ask,
        Err(finding) => {
            let mut refused = refuse("decline", &finding);
            // Another cluster's alert is another Ripcord's to tell of, and a trigger that only watches calls nobody.
            let told = finding.reason != Reason::OtherCluster && trigger.mode.acts();
            let severity = policy.severity_unplaced(trigger, &alert.labels);
            let severity = severity.filter(|_| told);
            refused.unplaced = severity.map(|severity| {
                let record = record(policy, alert, trigger, severity, None, received);
                Unplaced {
                    index,
                    finding,
                    record,
                }
            });
            return Err(refused);
        }
    };
    policy
        .unprotected(ask.target)
        .map_err(|finding| refuse("decline", &finding))?;
    let Some(procedure) = ask.procedure else {
        let finding = Reason::NoteOnly.because(format!("{} is a note", ask.noted_by()));
        return Err(refuse("note", &finding));
    };
    let procedure = Some(procedure);
    let record = record(policy, alert, trigger, ask.severity, procedure, received);
    Ok(Request { index, ask, record })
}

/// What is put on record of an alert.
fn record(
    policy: &Policy,
    alert: &Alert,
    trigger: &Trigger,
    severity: Severity,
    procedure: Option<&Procedure>,
    received: Timestamp,
) -> AlertRecord {
    let text = |key: &str| alert.annotations.get(key).filter(|text| !text.is_empty());
    let name = alert.labels.name().unwrap_or("(no alertname)");
    AlertRecord {
        fingerprint: alert.fingerprint.clone(),
        name: name.chars().take(SUMMARY).collect(),
        began: alert.starts_at,
        received,
        severity,
        trigger: trigger.name.clone(),
        procedure: procedure.map_or_else(String::new, |procedure| procedure.name.clone()),
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
    }
}

/// Puts requests with the same decision together, so that each is recorded by one call.
pub(super) fn group(decided: Vec<(Decision, Request<'_>)>) -> Vec<(Decision, Vec<Request<'_>>)> {
    let mut groups: Vec<(Decision, Vec<Request<'_>>)> = Vec::new();
    for (decision, request) in decided {
        let mut all = groups.iter_mut();
        let same = all.find(|(other, _)| alike(other, &decision));
        match same {
            Some((first, requests)) => {
                // One of them that may act by itself is enough.
                if let (Decision::Start { ask, .. }, Decision::Start { ask: None, .. }) =
                    (first, &decision)
                {
                    *ask = None;
                }
                requests.push(request);
            }
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
