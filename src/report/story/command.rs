//! The exact next commands, safe to copy: no name that stands in one can end it.

use std::borrow::Cow;

use super::{Case, one_line};
use crate::reason::Reason;
use crate::report::page::{Line, Span};
use crate::rollback::Phase;
use crate::target::Kind;

impl Case<'_> {
    pub(super) fn next(&self) -> Vec<Line> {
        if self.state.alerts.persisting.is_some() {
            return self.look_and_unlatch();
        }
        let touched = self.rollback.touched();
        let mut next: Vec<_> = self.in_git().into_iter().collect();
        next.extend(match self.phase() {
            Phase::Pending | Phase::Running => vec![self.cancel()],
            Phase::AwaitingApproval => self.answers(),
            Phase::Failed => {
                let rest = if self.drill() {
                    self.look()
                } else {
                    self.look_and_unlatch()
                };
                [self.describe()].into_iter().chain(rest).collect()
            }
            Phase::Superseded | Phase::Cancelled if touched => {
                [self.describe()].into_iter().chain(self.look()).collect()
            }
            Phase::Succeeded | Phase::Superseded | Phase::Cancelled => self.look(),
            Phase::Declined => self.after_refusal(),
            Phase::Shadowed => vec![self.describe()],
        });
        next
    }

    /// Whether the release was left in a spec that only a commit changes.
    pub(super) fn left_in_git(&self) -> bool {
        let reason = self.state.reason.as_ref().map(|finding| finding.reason);
        match self.phase() {
            Phase::Succeeded => self.aborted(),
            Phase::Failed => self.owner().is_some(),
            Phase::Declined => reason == Some(Reason::OwnedElsewhere),
            _ => false,
        }
    }

    /// What only a person can do about that.
    fn in_git(&self) -> Option<Line> {
        let from = self.rollback.from().filter(|_| self.left_in_git())?;
        let text = format!("revert {} in Git", one_line(&from.shown()));
        let mut line = vec![Span::Text(text)];
        if let Some(Ok(manifest)) = self.manifest() {
            line.extend([Span::Text(": ".to_owned()), manifest]);
        }
        Some(line)
    }

    fn look_and_unlatch(&self) -> Vec<Line> {
        self.look().into_iter().chain([self.unlatch()]).collect()
    }

    /// How to lift the latch that is on, which may be an earlier rollback's.
    fn unlatch(&self) -> Line {
        let latch = self
            .memory
            .and_then(|memory| memory.status.as_ref())
            .and_then(|status| status.latch.as_ref());
        let rollback = latch.map_or(self.rollback.name(), |latch| latch.rollback.as_str());
        let patch = serde_json::json!({"spec": {"acknowledge": rollback}});
        let command = self.patch_target(&patch);
        let anew = if self.phase() == Phase::Failed {
            "; an alert that still fires is then acted on anew"
        } else {
            ""
        };
        vec![
            Span::Text(format!(
                "nothing starts here again until you lift the latch{anew}: "
            )),
            Span::Code(command),
        ]
    }

    /// How to look at the workload; by the rollback where the policy no longer names one.
    pub(super) fn look(&self) -> Vec<Line> {
        let Some(target) = self.target else {
            return vec![self.describe()];
        };
        let name = word(&target.workload.name);
        let namespace = word(&target.workload.namespace);
        vec![code(match target.workload.kind {
            Kind::Rollout => format!("kubectl argo rollouts get rollout {name} -n {namespace}"),
            Kind::Deployment => {
                format!("kubectl rollout status deployment {name} -n {namespace} --watch=false")
            }
            Kind::Service => {
                format!("kubectl get service,deployment -n {namespace} -o wide")
            }
        })]
    }

    fn describe(&self) -> Line {
        let name = word(self.rollback.name());
        let namespace = word(self.rollback.namespace());
        code(format!(
            "kubectl describe rollback.ripcord.dev {name} -n {namespace}"
        ))
    }

    pub(super) fn cancel(&self) -> Line {
        let name = word(self.rollback.name());
        let namespace = word(self.rollback.namespace());
        let patch = serde_json::json!({"spec": {"cancel": {"by": "you", "reason": "why"}}});
        let command = format!(
            "kubectl patch rollback.ripcord.dev {name} -n {namespace} --type merge -p {}",
            word(&patch.to_string())
        );
        vec![Span::Text("to stop it: ".to_owned()), Span::Code(command)]
    }

    fn after_refusal(&self) -> Vec<Line> {
        let lift = |command| {
            vec![
                Span::Text("to lift the hold: ".to_owned()),
                Span::Code(command),
            ]
        };
        match self.state.reason.as_ref().map(|finding| finding.reason) {
            Some(Reason::Held) => {
                let namespace = word(&self.everyone.namespace);
                let hold = word(&self.everyone.hold);
                vec![lift(format!(
                    "kubectl annotate configmap {hold} -n {namespace} ripcord.dev/hold-"
                ))]
            }
            Some(Reason::TargetHeld) => {
                let patch = serde_json::json!({"spec": {"hold": null}});
                vec![lift(self.patch_target(&patch))]
            }
            Some(Reason::Latched | Reason::ReleaseIsOurs | Reason::AttemptsExhausted) => {
                self.look_and_unlatch()
            }
            _ => [self.describe()].into_iter().chain(self.look()).collect(),
        }
    }

    fn patch_target(&self, patch: &serde_json::Value) -> String {
        format!(
            "kubectl patch target.ripcord.dev {} -n {} --type merge -p {}",
            word(&self.rollback.spec.target),
            word(self.rollback.namespace()),
            word(&patch.to_string())
        )
    }
}

fn code(command: String) -> Line {
    vec![Span::Code(command)]
}

/// One word for a shell: as it is where that is safe, else in quotes.
pub(super) fn word(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !text.is_empty() && text.chars().all(plain) && !text.starts_with('-') {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("'{}'", one_line(text).replace('\'', r"'\''")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_ends_a_command() {
        assert_eq!(word("options-api"), "options-api");
        assert_eq!(word("x; rm -rf /"), "'x; rm -rf /'");
        assert_eq!(word("it's"), r"'it'\''s'");
        assert_eq!(word("--all"), "'--all'");
        assert_eq!(word("a\nb"), "'a b'");
        assert_eq!(word(""), "''");
    }
}
