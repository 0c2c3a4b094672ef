//! `ripcord explain`: what a notification would lead to, and why: by the policy alone, or by the cluster's facts too.
//!
//! It runs the code that the service runs, and changes nothing. It refuses to pretend: what only the cluster knows (a hold, a
//! duplicate, whether a release changed) is asked there with `--live`, and otherwise named as a question that the service
//! asks further.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::{Answer, Exit, Format, preflight};
use crate::alert::{Alert, Labels, decode};
use crate::cluster::Cluster;
use crate::config::{Diagnostic, Settings, load_policy};
use crate::policy::trigger::SeverityChoice;
use crate::policy::{Ask, Policy};
use crate::procedure::Procedure;
use crate::reason::{Finding, Reason};
use crate::rollback::object::Mode;

mod live;
mod text;

/// What the service asks besides the policy, in this order.
const ASKED_FURTHER: &str = "is there a hold; does a rollback run that it joins; was this release pulled back before; \
     is the target latched; was something released within the change window before the alert began; is a good release \
     known to return to; does GitOps own the spec, so that an update in flight is aborted and anything else left to a \
     person; may Ripcord do what the plan needs";

/// Say what a notification would lead to, and why.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The body of a webhook as Alertmanager sends it; `-` reads standard input.
    #[arg(value_name = "PAYLOAD.json")]
    pub payload: PathBuf,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Ask the cluster too, with your own rights; nothing is changed there.
    #[arg(long)]
    pub live: bool,
    /// The kubeconfig to ask the cluster with [default: as kubectl].
    #[arg(long, value_name = "PATH", requires = "live")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig [default: the current one].
    #[arg(long, value_name = "NAME", requires = "live")]
    pub context: Option<String>,
    /// Ripcord's service account, in its own namespace, whose rights are asked for.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "ripcord",
        requires = "live"
    )]
    pub account: String,
}

/// The whole explanation.
#[derive(Debug, Serialize)]
struct Explanation<'a> {
    policy: &'a str,
    receiver: String,
    /// How many alerts Alertmanager cut off.
    truncated: u64,
    alerts: Vec<Explained<'a>>,
    /// What the service asks that was not asked here.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_further: Option<&'static str>,
    /// What the cluster says of each target, where it was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    targets: Vec<live::Sight>,
}

/// What one alert leads to.
#[derive(Debug, Serialize)]
struct Explained<'a> {
    alert: &'a str,
    fingerprint: &'a str,
    labels: &'a Labels,
    status: &'static str,
    since: String,
    /// The triggers that did not match, and what they want.
    missed: Vec<Missed<'a>>,
    trigger: Option<Named<'a>>,
    severity: Option<Severe>,
    target: Option<Aimed<'a>>,
    decision: Decision,
    reason: Option<Reason>,
    said: String,
    procedure: Option<Planned<'a>>,
    /// What the service would decide by what the cluster says now.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<live::Verdict>,
}

#[derive(Debug, Serialize)]
struct Missed<'a> {
    trigger: &'a str,
    place: &'a str,
    wants: String,
}

#[derive(Debug, Serialize)]
struct Named<'a> {
    name: &'a str,
    place: &'a str,
}

#[derive(Debug, Serialize)]
struct Severe {
    is: &'static str,
    from: String,
}

#[derive(Debug, Serialize)]
struct Aimed<'a> {
    name: &'a str,
    workload: String,
}

#[derive(Debug, Serialize)]
struct Planned<'a> {
    name: &'a str,
    budget: String,
    steps: Vec<String>,
}

/// What the policy makes of an alert.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Decision {
    /// A rollback is started, if the cluster has nothing against it.
    Start,
    /// A rollback is planned, and a person is asked.
    Ask,
    /// What would be started is put on record.
    Shadow,
    /// It is put on record.
    Note,
    /// Nothing is done.
    Decline,
    /// The end of an alert is put on record.
    Resolve,
}

pub(super) async fn run(args: &Args, settings: Option<&Path>, policy: &Path) -> Answer {
    let body = match read(&args.payload).await {
        Ok(body) => body,
        Err(error) => {
            let said = format!("error: cannot read {}: {error}\n", args.payload.display());
            return Answer::failed(Exit::NoInput, said);
        }
    };
    let mut loaded = match load_policy(policy) {
        Ok(loaded) => loaded,
        Err(diagnostics) => return refused(&diagnostics),
    };
    let notification = match decode(&body) {
        Ok(notification) => notification,
        Err(error) => {
            // The decoder may repeat what it did not expect.
            let said = format!("{}: {error}", args.payload.display());
            let said = format!("error: {}\n", text::escaped(&said));
            return Answer::failed(Exit::BadPayload, said);
        }
    };
    let seen = if args.live {
        let settings = match Settings::load(settings, super::variables()) {
            Ok(settings) => settings,
            Err(diagnostics) => return refused(&diagnostics),
        };
        let namespace = preflight::own_namespace(&settings);
        preflight::tame(&mut loaded.policy, &settings);
        if let Err(fault) = preflight::protect(&mut loaded.policy, &namespace) {
            return refused(&[fault]);
        }
        match live(args, &settings, &loaded.policy, &notification.alerts).await {
            Ok(seen) => Some(seen),
            Err(error) => {
                let said = format!("error: {}\n", text::escaped(&super::in_full(&error)));
                return Answer::failed(Exit::Failed, said);
            }
        }
    } else {
        None
    };
    let (verdicts, targets) =
        seen.map_or_else(Default::default, |seen| (seen.verdicts, seen.sights));
    let mut verdicts = verdicts.into_iter();
    let alerts = notification.alerts.iter().map(|alert| {
        let mut explained = explain(&loaded.policy, alert);
        explained.live = verdicts.next();
        explained
    });
    let explanation = Explanation {
        policy: &loaded.policy.digest,
        receiver: notification.receiver_name(),
        truncated: notification.truncated_alerts,
        alerts: alerts.collect(),
        asked_further: (!args.live).then_some(ASKED_FURTHER),
        targets,
    };
    match args.format {
        Format::Text => Answer::done(explanation.text()),
        Format::Json => super::json(&explanation),
    }
}

/// What the service would decide by what the cluster says now.
async fn live(
    args: &Args,
    settings: &Settings,
    policy: &Policy,
    alerts: &[Alert],
) -> anyhow::Result<live::Seen> {
    let kubeconfig = args.kubeconfig.as_deref();
    let kubeconfig = kubeconfig.or(settings.cluster.kubeconfig.as_deref());
    let timeout = settings.cluster.request_timeout;
    let cluster = Cluster::connect_as_person(kubeconfig, args.context.as_deref(), timeout)
        .await
        .context("the cluster cannot be reached as configured")?;
    live::Witness::new(cluster, settings, &args.account)
        .see(policy, alerts)
        .await
}

async fn read(path: &Path) -> io::Result<Vec<u8>> {
    if path != Path::new("-") {
        return tokio::fs::read(path).await;
    }
    let all = tokio::task::spawn_blocking(|| {
        let mut all = Vec::new();
        io::stdin().read_to_end(&mut all).map(|_| all)
    });
    all.await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// What is said where a file cannot be read as what it should be.
pub(super) fn refused(diagnostics: &[Diagnostic]) -> Answer {
    let drawn = diagnostics.iter().map(|one| one.render(true));
    let drawn: Vec<_> = drawn.collect();
    Answer::failed(Exit::Invalid, format!("{}\n", drawn.join("\n\n")))
}

fn explain<'a>(policy: &'a Policy, alert: &'a Alert) -> Explained<'a> {
    let (misses, trigger) = policy.matching(&alert.labels);
    let missed = misses.iter().map(|miss| Missed {
        trigger: &miss.trigger.name,
        place: &miss.trigger.place,
        wants: miss.matcher.to_string(),
    });
    let ask = trigger.map(|trigger| policy.ask_of(trigger, &alert.labels));
    let asked = ask.as_ref().and_then(|ask| ask.as_ref().ok());
    let (decision, finding) = decide(policy, alert, ask.as_ref());
    let acts = matches!(decision, Decision::Start | Decision::Ask | Decision::Shadow);
    Explained {
        alert: alert.labels.name().unwrap_or("(no alertname)"),
        fingerprint: &alert.fingerprint,
        labels: &alert.labels,
        status: alert.status.as_str(),
        since: format!("{:.0}", alert.starts_at),
        missed: missed.collect(),
        trigger: trigger.map(|trigger| Named {
            name: &trigger.name,
            place: &trigger.place,
        }),
        severity: asked.map(|ask| Severe {
            is: ask.severity.as_str(),
            from: source_of(&ask.trigger.severity, &alert.labels),
        }),
        target: asked.map(|ask| Aimed {
            name: &ask.target.name,
            workload: ask.target.workload.to_string(),
        }),
        decision,
        reason: finding.as_ref().map(|finding| finding.reason),
        said: finding
            .map(|finding| finding.to_string())
            .unwrap_or_default(),
        procedure: asked
            .filter(|_| acts)
            .and_then(|ask| ask.procedure)
            .map(planned),
        live: None,
    }
}

/// What the policy alone makes of an alert, in the order in which the service asks. The end of an alert is looked up among
/// the rollbacks, whatever the policy says by now.
fn decide(
    policy: &Policy,
    alert: &Alert,
    ask: Option<&Result<Ask<'_>, Finding>>,
) -> (Decision, Option<Finding>) {
    if !alert.is_firing() {
        let said = "the alert has ended: it starts nothing; its end is recorded with the rollback that knows this firing, \
             and is resolved_unknown where there is none";
        let finding = Reason::ResolvedRecorded.because(said);
        return (Decision::Resolve, Some(finding));
    }
    let ask = match ask {
        None => return (Decision::Decline, Some(Reason::NoTrigger.into())),
        Some(Err(finding)) => return (Decision::Decline, Some(finding.clone())),
        Some(Ok(ask)) => ask,
    };
    if let Err(finding) = policy.unprotected(ask.target) {
        return (Decision::Decline, Some(finding));
    }
    if ask.procedure.is_none() {
        let said = format!("{} is a note: it starts nothing", ask.noted_by());
        return (Decision::Note, Some(Reason::NoteOnly.because(said)));
    }
    match ask.trigger.mode {
        Mode::Shadow => {
            let said = "the trigger is in shadow mode: this is put on record, nothing is touched";
            (Decision::Shadow, Some(Reason::Shadow.because(said)))
        }
        Mode::Act | Mode::Ask => match policy.must_ask(ask.trigger, ask.severity, ask.procedure) {
            Some(why) => {
                let finding = Reason::AwaitingApproval.because(why);
                (Decision::Ask, Some(finding))
            }
            None => (Decision::Start, None),
        },
    }
}

fn source_of(choice: &SeverityChoice, labels: &Labels) -> String {
    match choice {
        SeverityChoice::Fixed(_) => "the trigger".to_owned(),
        SeverityChoice::FromLabel { label, .. } => {
            format!("label {label}={:?}", labels.get_or_empty(label))
        }
    }
}

fn planned(procedure: &Procedure) -> Planned<'_> {
    Planned {
        name: &procedure.name,
        budget: humantime::format_duration(procedure.budget).to_string(),
        steps: procedure
            .steps
            .iter()
            .map(crate::procedure::StepSpec::label)
            .collect(),
    }
}
