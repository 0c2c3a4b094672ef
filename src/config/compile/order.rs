//! The order that heals: a procedure in which a step would undo or spoil what another one does is refused.

use super::Check;
use crate::config::diagnostic::{Diagnostic, Place};
use crate::procedure::StepSpec;
use crate::procedure::exec::Pods;

/// Says what is wrong with the order of a procedure's steps, each with its place.
pub(super) fn check(check: &mut Check<'_>, procedure: &str, steps: &[(Place, StepSpec)]) {
    for (index, (at, step)) in steps.iter().enumerate() {
        let before = |name: &str| steps[..index].iter().any(|(_, it)| it.name() == name);
        let after = |name: &str| steps[index..].iter().any(|(_, it)| it.name() == name);
        let other_pods = steps[index..].iter().any(|(_, it)| is_in_other_pods(it));
        let changed_later = || {
            let later = ["flush-redis", "restart"];
            let later = later.into_iter().find(|later| after(later));
            later.or(other_pods.then_some("exec"))
        };
        let mut wrong = |title: &str, label: String| {
            let title = format!("procedure `{procedure}` {title}");
            check.say(Diagnostic::error(title).at(at.clone(), label));
        };
        match step {
            StepSpec::RestoreImage(_) if index > 0 => wrong(
                "brings up in the middle",
                "expected `restore-image` once, as the first step before `revert`".to_owned(),
            ),
            StepSpec::RestoreImage(_) => {
                let next = steps.get(1).map(|(_, next)| next);
                if !matches!(next, Some(StepSpec::Revert(_))) {
                    let label = "expected `revert` right behind it: nothing leads the traffic there";
                    wrong("brings up and moves nothing", label.to_owned());
                }
            }
            StepSpec::Revert(_) if index == 1 && before("restore-image") => {}
            StepSpec::Restart(_) if before("restore-image") => wrong(
                "restarts what it brings up",
                "expected no `restart` behind `restore-image`: another template could not be told from it".to_owned(),
            ),
            StepSpec::Revert(_) | StepSpec::SwitchService(_) if index > 0 => wrong(
                "pulls back in the middle",
                format!("expected `{}` once, as the first step", step.name()),
            ),
            StepSpec::Revert(_) | StepSpec::SwitchService(_) => {}
            _ if index == 0 => wrong(
                "does not begin with `revert`",
                "expected `revert` before this: nothing has been pulled back yet".to_owned(),
            ),
            StepSpec::Scale(_) if !before("healthy") => wrong(
                "scales down before the destination is proved",
                "expected `healthy` before this: until then it may be needed again".to_owned(),
            ),
            StepSpec::FlushRedis(_) if !before("gone") => wrong(
                "flushes before the bad pods are gone",
                "expected `gone` before this: until then they can fill the cache again".to_owned(),
            ),
            StepSpec::Exec(_) if is_in_other_pods(step) && !before("gone") => wrong(
                "changes what is shared before the bad pods are gone",
                "expected `gone` before this: until then they can put back what it takes away".to_owned(),
            ),
            StepSpec::Restart(_) if after("flush-redis") => wrong(
                "restarts before it flushes",
                "expected after `flush-redis`: new pods would read what is taken away later"
                    .to_owned(),
            ),
            StepSpec::Restart(_) if other_pods => wrong(
                "restarts before it changes what is shared",
                "expected after `exec`: new pods would read what it takes away".to_owned(),
            ),
            StepSpec::Http(_) => {
                if let Some(later) = changed_later() {
                    let label = format!("expected after `{later}`, which takes away what is warm");
                    wrong("warms up too early", label);
                }
            }
            StepSpec::Metric(_) => {
                if let Some(later) = changed_later() {
                    let label = format!("expected after `{later}`, which changes what it measures");
                    wrong("measures too early", label);
                }
            }
            StepSpec::Healthy(_) => {
                let proved_again = steps[index + 1..]
                    .iter()
                    .any(|(_, it)| matches!(it, StepSpec::Healthy(_)));
                let later = ["flush-redis", "restart", "exec"];
                let later = later.into_iter().find(|later| after(later));
                if let Some(later) = later.filter(|_| !proved_again) {
                    let label = format!("expected after `{later}`, or once more at the end");
                    wrong("proves what it changes later", label);
                }
            }
            _ => {}
        }
    }
}

/// Whether a command is run in what others share with the release, such as a cache.
fn is_in_other_pods(step: &StepSpec) -> bool {
    matches!(step, StepSpec::Exec(exec) if exec.pods == Pods::Other)
}
