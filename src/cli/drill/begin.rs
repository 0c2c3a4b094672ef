//! Whether a drill with an effect may begin: by the guards, by what the service knows, and by what doctor finds.
//!
//! It changes nothing.

use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};

use super::{Facts, read};
use crate::cli::doctor::check::{Section, Verdict};
use crate::cli::doctor::drilled::DRILL;
use crate::cli::doctor::ground::Ground;
use crate::cli::doctor::{service, target};
use crate::cli::reach::{self, Trouble, trouble};
use crate::cli::{Answer, Exit};
use crate::policy::guard::Hold;
use crate::reason::{Finding, Reason};
use crate::report::text;
use crate::rollback::object::Mode;
use crate::target::{Release, Target};

/// What the guards are asked on.
pub(super) async fn facts(ground: &Ground<'_>, target: &Target) -> Result<Facts, Trouble> {
    let namespace = target.workload.namespace.as_str();
    let facts = read(ground, target).await;
    let mut facts = facts.map_err(|error| trouble(error, "get", "targets", Some(namespace)))?;
    let name = &ground.settings.cluster.hold_config_map;
    let hold = ground.cluster.hold(ground.home, name).await;
    // Where a person may not read it, the check of the off switch says so.
    facts.fresh.hold = match hold {
        Ok(Hold::Held(said)) => Hold::Held(said),
        _ => Hold::Free,
    };
    Ok(facts)
}

/// Whether a drill may begin: by the guards first, then by what doctor finds.
pub(super) async fn begin(
    ground: &Ground<'_>,
    target: &Target,
    facts: &Facts,
) -> Result<(Release, String), Finding> {
    let now = reach::now();
    let before = facts
        .fresh
        .drillable(ground.policy, target, &facts.rollbacks, now)?;
    if ground.settings.engine.mode == Mode::Shadow {
        let said = "engine.mode is shadow: the service would pull nothing back";
        return Err(Reason::DrillUnfit.because(said));
    }
    let memory = facts.fresh.memory.as_ref();
    if !memory.is_some_and(|memory| memory.state().shown.drills) {
        let said = format!(
            "the service does not know target {} as one that allows drills; does it run this policy?",
            target.name
        );
        return Err(Reason::DrillNotAllowed.because(said));
    }
    let (service, target) = tokio::join!(
        service::section(ground),
        target::section(ground, target, &[])
    );
    fit(&[service, target])?;
    Ok((before, random()))
}

/// Eight random hexadecimal digits.
pub(super) fn random() -> String {
    let id = RandomIdGenerator::default().new_span_id().to_string();
    id.chars().take(8).collect()
}

/// The first check that failed keeps a drill from beginning.
fn fit(sections: &[Section]) -> Result<(), Finding> {
    let mut checks = sections.iter().flat_map(|it| &it.checks);
    match checks.find(|check| check.verdict == Verdict::Failed && check.name != DRILL) {
        None => Ok(()),
        Some(check) => Err(Reason::DrillUnfit.because(format!("{}: {}", check.name, check.found))),
    }
}

/// What an earlier drill left: the release from before it, and its id.
pub(super) fn left_before(facts: &Facts) -> Result<(Release, String), Finding> {
    let at = &facts.fresh.at;
    let found = at.drilled().zip(at.rollout.as_ref());
    let Some((twin, rollout)) = found else {
        let said = "the live release is no drill's: there is nothing to put back";
        return Err(Reason::NoDrill.because(said));
    };
    if let Some(open) = facts.rollbacks.iter().find(|it| it.is_open()) {
        let said = format!("{} is {}", open.full_name(), open.phase().name());
        return Err(Reason::NotAtRest.because(said));
    }
    Ok((at.release(rollout, &twin.of), twin.id))
}

pub(super) fn refused(finding: &Finding) -> Answer {
    let said = format!(
        "error: the drill is refused: {}: {}\nhelp: nothing was touched; see ripcord doctor, and docs/reasons.md\n",
        finding.reason.code(),
        text::clean(&finding.to_string())
    );
    Answer::failed(Exit::RollbackDeclined, said)
}
