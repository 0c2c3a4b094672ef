//! What people are asked to approve, how they answer, and what the answer was.

use super::command::word;
use super::row::words;
use super::{Case, clock, one_line};
use crate::report::page::{Line, Row, Span};
use crate::rollback::Phase;
use crate::rollback::object::Verdict;

impl Case<'_> {
    /// What people are asked to approve, why they are, and what came of it.
    pub(super) fn asked(&self) -> Option<Row> {
        let asked = self.run().asked.as_ref()?;
        let mut lines = vec![words(one_line(&asked.why))];
        if self.phase() == Phase::AwaitingApproval {
            lines.extend(self.would_do().map(words));
            let until = clock(asked.until);
            lines.push(words(format!(
                "without an answer by {until} nothing is done"
            )));
        } else {
            lines.extend(self.answer().map(words));
        }
        Some(Row {
            label: "approval",
            lines,
        })
    }

    fn would_do(&self) -> Option<String> {
        let plan = self.state.plan.as_ref()?;
        let steps: Vec<_> = plan
            .steps
            .iter()
            .map(crate::procedure::StepPlan::name)
            .collect();
        let how = plan.owner.as_ref().map_or_else(String::new, |owner| {
            format!(", by an abort, because the spec is {}'s", one_line(owner))
        });
        let name = one_line(&plan.procedure);
        Some(format!("would run {name}: {}{how}", steps.join(", ")))
    }

    /// Who answered what, or why no answer is needed any more.
    pub(super) fn answer(&self) -> Option<String> {
        let released = self.run().asked.as_ref()?.released;
        let Some(approval) = &self.rollback.spec.approval else {
            return released.map(|at| {
                format!(
                    "not needed any more: an alert that may act by itself came at {}",
                    clock(at)
                )
            });
        };
        let word = match approval.decision {
            Verdict::Approve => "approved",
            Verdict::Deny => "denied",
        };
        let at = released.map_or_else(String::new, |at| format!(" at {}", clock(at)));
        let reason = one_line(&approval.reason);
        let reason = if reason.is_empty() {
            reason
        } else {
            format!(": {reason}")
        };
        Some(format!("{word} by {}{at}{reason}", one_line(&approval.by)))
    }

    /// How to say yes or no to what is asked.
    pub(super) fn answers(&self) -> Vec<Line> {
        let name = word(self.rollback.name());
        let namespace = word(self.rollback.namespace());
        let to = self.rollback.to().map(|to| to.hash.as_str());
        let approval = serde_json::json!({"by": "you", "decision": "approve", "to": to});
        let patch = serde_json::json!({"spec": {"approval": approval}}).to_string();
        let said = |what: &str, command: String| {
            vec![Span::Text(format!("{what}: ")), Span::Code(command)]
        };
        vec![
            said(
                "to approve",
                format!("ripcord approve {name} -n {namespace}"),
            ),
            said(
                "the same",
                format!(
                    "kubectl patch rollback.ripcord.dev {name} -n {namespace} --type merge -p {}",
                    word(&patch)
                ),
            ),
            said(
                "to deny",
                format!("ripcord deny {name} -n {namespace} --reason 'why'"),
            ),
        ]
    }
}
