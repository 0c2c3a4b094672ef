//! `ripcord drill`: what a rollback of a target would do now, by the guards of a request by hand, and each of its changes tried on
//! the API server, which takes back what it was only asked to try (`dryRun=All`).
//!
//! It changes nothing, unless it is told to (`--execute`). It refuses to promise: what the controllers would make of it is only
//! seen when it happens.

mod begin;
mod execute;
mod forbidden;
mod left;
mod stand;
mod walk;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::forbidden::{Forbidden, REFUSED};
use self::walk::{Foreseen, in_words, walk};
use super::Answer;
use super::doctor::check::{Check, Report, Section, expect};
use super::doctor::ground::{Files, Ground, Who};
use super::doctor::{self, Output};
use super::reach::{self, Trouble};
use super::watch::Patience;
use crate::alert::Severity;
use crate::cluster::Error;
use crate::engine::admission::{self, Fresh};
use crate::policy::admission::Admission;
use crate::policy::guard::Hold;
use crate::reason::Finding;
use crate::rollback::Rollback;
use crate::rollback::object::{Mode, Plan, RollbackSpec};
use crate::target::{Effect, Release, Snapshot, Target};

/// The mark that a restored template would carry.
const OPERATION: &str = "drill";

/// Try what a rollback would do now, without doing it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    who: Who,
    /// How the answer is written.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    /// The target of the policy.
    #[arg(long, value_name = "NAME")]
    target: String,
    /// The procedure [default: the severity's own].
    #[arg(long, value_name = "NAME")]
    procedure: Option<String>,
    /// How severe the alert would be, which chooses the procedure where none is named.
    #[arg(long, value_name = "P0…P3", default_value = "P0", value_parser = super::run::severity)]
    severity: Severity,
    /// Do it: ship the live release once more under a harmless mark, and have the service pull it back. Only where the policy
    /// says `drill: allowed`.
    #[arg(long)]
    execute: bool,
    /// Have the service pull back what an earlier drill left.
    #[arg(long, conflicts_with = "execute")]
    put_back: bool,
    /// How long the drill's release may take until it waits at a pause, or is promoted; then it is pulled back as it is.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "2m",
        value_parser = humantime::parse_duration
    )]
    stands_within: Duration,
    #[command(flatten)]
    patience: Patience,
}

/// What was read for the guards.
struct Facts {
    fresh: Fresh,
    rollbacks: Vec<Arc<Rollback>>,
}

pub(super) async fn run(args: &Args, settings: Option<&Path>, policy: &Path) -> Answer {
    let files = match Files::read(settings, policy) {
        Ok(files) => files,
        Err(answer) => return answer,
    };
    if args.execute || args.put_back {
        let done = execute::run(args, &files).await;
        return done.unwrap_or_else(|trouble| trouble.answer());
    }
    match looked(args, &files).await {
        Ok(report) => report.answer(args.output),
        Err(trouble) => trouble.answer(),
    }
}

async fn looked(args: &Args, files: &Files) -> Result<Report, Trouble> {
    let named = [args.target.clone()];
    let ground = Ground::of(&args.who, files, &named).await?;
    let mut sections = vec![doctor::service::section(&ground).await];
    for target in &ground.targets {
        sections.push(doctor::target::section(&ground, target, &[]).await);
        sections.push(drilled(args, &ground, target).await);
    }
    let digest = &ground.policy.digest;
    Ok(Report::of(ground.by.clone(), digest, sections))
}

async fn drilled(args: &Args, ground: &Ground<'_>, target: &Target) -> Section {
    let title = "what a rollback would do now";
    let asked = expect("decision", "the leader would let it begin");
    let facts = match read(ground, target).await {
        Ok(facts) => facts,
        Err(error) => {
            let right = "read what the checks above read";
            return Section::of(title, vec![asked.unread(&error, right)]);
        }
    };
    let plan = match plan(args, ground, target, &facts) {
        Ok(plan) => plan,
        Err(said) => {
            let help = "see the checks above; each reason code is in docs/reasons.md";
            return Section::of(title, vec![asked.failed(said, help)]);
        }
    };
    let mut checks = vec![asked.ok(admission::would(&plan))];
    let at = &facts.fresh.at;
    for foreseen in walk(&plan, OPERATION, at, reach::now()) {
        checks.extend(tried(ground, target, at, &plan, foreseen).await);
    }
    Section::of(title, checks)
}

/// What a step would do: each change of the workload is tried, anything else is said.
async fn tried(
    ground: &Ground<'_>,
    target: &Target,
    at: &Snapshot,
    plan: &Plan,
    foreseen: Foreseen,
) -> Vec<Check> {
    let step = foreseen.step;
    if foreseen.effects.is_empty() {
        let asked = expect(step, "it looks, and changes nothing");
        return vec![asked.ok("would look, and change nothing")];
    }
    let mut checks = Vec::new();
    for effect in foreseen.effects {
        let would = format!("would {}", in_words(&effect, plan));
        let asked = expect(step, "the API server would take the change");
        let Some(effect) = of_now(effect, at) else {
            checks.push(asked.ok(format!(
                "{would}; not tried, it is no change of the workload"
            )));
            continue;
        };
        let tried = ground
            .cluster
            .rehearse(&target.workload, at, &effect, OPERATION);
        checks.push(match tried.await {
            Ok(()) => asked.ok(format!("{would}; the API server would take it")),
            Err(error @ Error::Forbidden(_)) => {
                let why = Forbidden::ask(&ground.cluster, &target.workload, effect.kind());
                why.await.check(asked, &would, &error)
            }
            Err(error @ (Error::Precondition(_) | Error::Unavailable(_))) => {
                asked.failed(format!("{would}; {error}"), "try again")
            }
            Err(error) => asked.failed(
                format!("{would}; the API server refuses it: {error}"),
                REFUSED,
            ),
        });
    }
    checks
}

/// A change of the workload as it can be tried now: what is asked for on the condition that a later release is live is tried on
/// the condition that this one is. None for what is no change of the workload.
fn of_now(effect: Effect, at: &Snapshot) -> Option<Effect> {
    match effect {
        Effect::PromoteFull { .. } => at
            .live()
            .map(|live| Effect::PromoteFull { hash: live.hash }),
        Effect::Flush(_) | Effect::Call(_) | Effect::Exec(_) => None,
        other => Some(other),
    }
}

async fn read(ground: &Ground<'_>, target: &Target) -> Result<Facts, Error> {
    let (cluster, workload) = (&ground.cluster, &target.workload);
    let mode = ground.settings.engine.mode;
    let rights = async {
        match ground.service() {
            Some(account) => {
                let missing = cluster.missing_permissions_of(&account, workload, mode);
                missing.await
            }
            None => cluster.missing_permissions(workload, mode).await,
        }
    };
    let account = ground.service();
    let commands =
        admission::missing_to_exec(cluster, account.as_ref(), ground.policy, target, mode);
    let (at, memory, rollbacks, missing, missing_to_exec) = tokio::join!(
        cluster.snapshot(workload, &ground.clock),
        cluster.recall(target),
        cluster.rollbacks(&workload.namespace),
        rights,
        commands,
    );
    let known = |missing| match missing {
        // The check of the rights has said so.
        Err(Error::Forbidden(_)) => Ok(Vec::new()),
        missing => missing,
    };
    let (missing, missing_to_exec) = (known(missing)?, known(missing_to_exec)?);
    let rollbacks = rollbacks?.into_iter();
    let rollbacks = rollbacks.filter(|it| it.spec.target == target.name);
    Ok(Facts {
        fresh: Fresh {
            at: at?,
            // The check of the off switch says what it holds: here it is asked what would be done without it.
            hold: Hold::Free,
            memory: memory?,
            missing,
            missing_to_exec,
        },
        rollbacks: rollbacks.map(Arc::new).collect(),
    })
}

/// The plan that the leader would make, or why it would make none.
fn plan(args: &Args, ground: &Ground<'_>, target: &Target, facts: &Facts) -> Result<Plan, String> {
    let (fresh, policy, now) = (&facts.fresh, ground.policy, reach::now());
    let live = fresh.at.live();
    let mut claim = claim(args, target, live, &ground.by, OPERATION);
    claim.metadata.uid = Some(OPERATION.to_owned());
    match fresh.judge(policy, target, &claim, &facts.rollbacks, now) {
        Admission::Wait(finding)
        | Admission::Supersede(finding)
        | Admission::Decline { finding, .. } => Err(coded(&finding)),
        Admission::Go {
            from,
            destination,
            procedure,
        } => {
            let at = &fresh.at;
            let journey = admission::journey(&claim, target, at, from, &destination.release);
            admission::plan(&claim, target, at, &journey, destination, &procedure, now)
                .map_err(|finding| coded(&finding))
        }
    }
}

/// A refusal with its code, as `ripcord explain` says it.
fn coded(finding: &Finding) -> String {
    format!("{}: {finding}", finding.reason.code())
}

/// The request that would be made by hand for the live release.
fn claim(args: &Args, target: &Target, live: Option<Release>, by: &str, name: &str) -> Rollback {
    let spec = RollbackSpec {
        target: target.name.clone(),
        release: live,
        procedure: args.procedure.clone(),
        trigger: None,
        severity: args.severity,
        mode: Mode::Act,
        alerts: Vec::new(),
        alerts_omitted: 0,
        received: None,
        parent: None,
        rung: None,
        reason: Some("drill".to_owned()),
        requested_by: Some(by.to_owned()),
        drill: false,
        unplaced: None,
        trace: None,
        cancel: None,
        approval: None,
    };
    let mut claim = Rollback::new(name, spec);
    claim.metadata.namespace = Some(target.workload.namespace.clone());
    claim
}
