//! `ripcord doctor`: whether a deployment may begin, as far as a command can see: the cluster, the service, each target, and
//! what stands around.
//!
//! It reads with a person's own rights and changes nothing. It refuses to call well what it could not look at.

mod alertmanager;
mod around;
pub(super) mod check;
pub(super) mod drilled;
pub(super) mod ground;
mod health;
mod platform;
mod routes;
pub(super) mod service;
pub(super) mod target;
mod text;

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use futures_util::future::join_all;

use self::check::{Report, Section, expect};
use self::ground::{Files, Ground, Who};
use super::reach::Trouble;
use super::{Answer, Exit, count, preflight};
use crate::config::Level;

/// Check everything that a deployment and a rollback stand on; nothing is changed.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    who: Who,
    /// How the answer is written.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    /// Only this target of the policy; can be given several times.
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// A further health path that each pod of the live release must answer with 2xx; can be given several times.
    #[arg(long, value_name = "PATH")]
    also: Vec<String>,
    /// Where Alertmanager is, such as `http://alertmanager.monitoring:9093`; it is asked whether it has a route to Ripcord.
    #[arg(long, value_name = "URL")]
    alertmanager: Option<String>,
    /// What Ripcord's receiver is called there.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "ripcord",
        requires = "alertmanager"
    )]
    receiver: String,
    /// How long the last good drill may lie back, on targets that allow drills with an effect.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "30d",
        value_parser = humantime::parse_duration
    )]
    drilled_within: Duration,
    /// The namespace of the Rollouts controller, whose Lease is looked at where it has one.
    #[arg(long, value_name = "NAME", default_value = "argo-rollouts")]
    rollouts_namespace: String,
}

/// How the answer is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum Output {
    /// A line for each check.
    #[default]
    Text,
    /// For programs.
    Json,
    /// A page with check boxes, to be signed.
    Markdown,
}

pub(super) async fn run(args: &Args, settings: Option<&Path>, policy: &Path) -> Answer {
    let files = match Files::read(settings, policy) {
        Ok(files) => files,
        Err(answer) => return answer,
    };
    match looked(args, &files).await {
        Ok(report) => report.answer(args.output),
        Err(trouble) => trouble.answer(),
    }
}

async fn looked(args: &Args, files: &Files) -> Result<Report, Trouble> {
    let mut ground = Ground::of(&args.who, files, &args.target).await?;
    ground.drilled_within = args.drilled_within;
    let targets = ground.targets.iter();
    let targets = targets.map(|target| target::section(&ground, target, &args.also));
    let (platform, service, targets, around) = tokio::join!(
        platform::section(&ground, &args.rollouts_namespace),
        service::section(&ground),
        join_all(targets),
        around::section(&ground, args.alertmanager.as_deref(), &args.receiver),
    );
    let mut sections = vec![read(files), platform, service];
    sections.extend(targets);
    sections.push(around);
    let digest = &ground.policy.digest;
    Ok(Report::of(ground.by.clone(), digest, sections))
}

/// The two files: that they are read is what everything else stands on.
fn read(files: &Files) -> Section {
    let loaded = &files.loaded;
    let mut remarks = preflight::inspect(&files.settings, Some(&loaded.policy), false);
    remarks.extend(loaded.warnings.iter().cloned());
    remarks.sort_by_key(|it| it.level != Level::Error);
    let asked = expect(
        "both files",
        "ripcord check has nothing to say against them",
    );
    let read = format!(
        "policy {} with {}",
        loaded.policy.digest,
        count(loaded.policy.targets.len(), "target")
    );
    let check = match remarks.first() {
        None => asked.ok(read),
        Some(first) => {
            let all = count(remarks.len(), "remark");
            let found = format!("{read}; {all}: {}", first.one_line());
            if first.level == Level::Error {
                asked.failed(found, "see ripcord check")
            } else {
                asked.warning(found, "see ripcord check")
            }
        }
    };
    Section::of("the configuration", vec![check])
}

// === impl Report ===

impl Report {
    /// The report as it was asked for, and how the command ends.
    pub(super) fn answer(&self, output: Output) -> Answer {
        let mut answer = match output {
            Output::Text => Answer::done(self.text()),
            Output::Json => super::json(self),
            Output::Markdown => Answer::done(self.markdown()),
        };
        if answer.exit == Exit::Done {
            answer.exit = self.exit();
        }
        answer
    }
}
