//! `ripcord run`: asks for a rollback by hand, and follows it. It says what is wanted and never how: the steps come from
//! the policy, and Kubernetes decides who may ask.

use std::fmt::Write as _;

use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};

use super::reach::{self, Hands, Reach, Trouble, trouble};
use super::watch::{self, Patience};
use super::{Answer, Exit, Format};
use crate::alert::Severity;
use crate::report::text;
use crate::rollback::object::{Mode, RollbackSpec};
use crate::rollback::{Memory, Rollback, name};
use crate::target::Release;

/// Start a rollback by hand: the live release goes back to the one that is known to be good.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct Args {
    /// The procedure [default: the severity's own].
    #[arg(value_name = "PROCEDURE", conflicts_with = "named")]
    procedure: Option<String>,
    /// The target, as the policy and `ripcord targets` name it.
    #[arg(long, value_name = "NAME")]
    target: String,
    /// Why, for everybody who reads of it.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The procedure, in another way.
    #[arg(long = "procedure", value_name = "NAME")]
    named: Option<String>,
    /// How severe it is, which chooses the procedure where none is named.
    #[arg(long, value_name = "P0…P3", default_value = "P1", value_parser = severity)]
    severity: Severity,
    /// The release to leave, which must be the live one: its revision such as `r7`, or its hash. Needed for one that Ripcord
    /// itself restored.
    #[arg(long, value_name = "RELEASE")]
    release: Option<String>,
    /// Ask for an approval before anything is done.
    #[arg(long, conflicts_with = "shadow")]
    ask: bool,
    /// Plan and tell only; touch nothing.
    #[arg(long)]
    shadow: bool,
    /// Say what would be asked for, and whether it may be; ask for nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not follow it.
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    patience: Patience,
}

pub(super) fn severity(text: &str) -> Result<Severity, String> {
    let mut all = Severity::ALL.into_iter();
    all.find(|it| it.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| "expected P0, P1, P2 or P3".to_owned())
}

pub(super) async fn run(args: &Args) -> Answer {
    asked(args).await.unwrap_or_else(|trouble| trouble.answer())
}

async fn asked(args: &Args) -> Result<Answer, Trouble> {
    let hands = args.reach.connect().await?;
    let namespace = hands.namespace.as_str();
    let memory = hands.memory(namespace, &args.target).await?;
    let request = request(args, &hands, &memory).await?;
    let made = hands.cluster.request(&request, args.dry_run).await;
    let mut made = made.map_err(|error| trouble(error, "create", "rollbacks", Some(namespace)))?;
    if args.dry_run || args.detach {
        made.metadata.managed_fields = None;
        return Ok(match args.reach.output {
            Format::Json => super::json(&made),
            Format::Text if args.dry_run => Answer::done(preview(&made, &memory)),
            Format::Text => Answer::done(format!("{}\n", made.full_name())),
        });
    }
    let last = watch::follow(&hands, made, args.reach.output, args.patience).await?;
    Ok(watch::end(&last))
}

async fn request(args: &Args, hands: &Hands, memory: &Memory) -> Result<Rollback, Trouble> {
    let release = args.release.as_deref().map(|named| live(named, memory));
    let mode = match (args.ask, args.shadow) {
        (true, _) => Mode::Ask,
        (_, true) => Mode::Shadow,
        _ => Mode::Act,
    };
    let spec = RollbackSpec {
        target: args.target.clone(),
        release: release.transpose()?,
        procedure: args.procedure.as_ref().or(args.named.as_ref()).cloned(),
        trigger: None,
        severity: args.severity,
        mode,
        alerts: Vec::new(),
        alerts_omitted: 0,
        received: None,
        parent: None,
        rung: None,
        reason: Some(args.reason.clone()),
        requested_by: Some(hands.who().await),
        drill: false,
        unplaced: None,
        trace: None,
        cancel: None,
        approval: None,
    };
    let id = RandomIdGenerator::default().new_span_id().to_string();
    let id: String = id.chars().take(8).collect();
    let mut request = Rollback::new(&name::by_hand(&args.target, &id), spec);
    request.metadata.namespace = Some(hands.namespace.clone());
    Ok(request)
}

/// The live release, if it is the one that a person names.
fn live(named: &str, memory: &Memory) -> Result<Release, Trouble> {
    let state = memory.state();
    let live = state.live.as_ref().ok_or_else(|| {
        Trouble::new(Exit::Unknown, "no live release of this target is known yet")
    })?;
    if named != live.hash && named != format!("r{}", live.revision) {
        let said = format!("live is r{} {}, not {named}", live.revision, live.hash);
        return Err(Trouble::new(Exit::Unknown, said)
            .help("only the live release can be left; see ripcord targets"));
    }
    Ok(Release {
        uid: live.uid.clone(),
        revision: live.revision,
        hash: live.hash.clone(),
        images: Vec::new(),
    })
}

/// What would be asked for, and what is known of the target.
fn preview(request: &Rollback, memory: &Memory) -> String {
    let spec = &request.spec;
    let state = memory.state();
    let mut shown = String::new();
    // A string takes all that is written to it.
    let mut line = |label: &str, said: String| {
        let _ = writeln!(shown, "{label:<11}{}", text::clean(&said));
    };
    let what = format!("a rollback of {} in {}", spec.target, request.namespace());
    line("would ask", what);
    line("workload", state.workload.clone());
    let known = &state.shown;
    line(
        "release",
        format!("{} is live, known good is {}", known.live, known.known_good),
    );
    let severity = spec.severity;
    let procedure = spec.procedure.clone();
    line(
        "procedure",
        procedure.unwrap_or_else(|| format!("that of {severity}")),
    );
    line("mode", spec.mode.name().to_owned());
    let by = spec.requested_by.clone().unwrap_or_default();
    let reason = spec.reason.clone().unwrap_or_default();
    line("why", format!("{by} asked for it: {reason}"));
    if let Some(hold) = memory.hold(reach::now()) {
        line(
            "but",
            format!(
                "held by {}: {}; it would be declined",
                hold.owner, hold.reason
            ),
        );
    }
    if let Some(latch) = memory.latch() {
        line(
            "latched",
            format!(
                "by {}: {}; a person's request runs all the same",
                latch.rollback, latch.finding
            ),
        );
    }
    line("you", "may ask for it; nothing was asked for".to_owned());
    shown
}
