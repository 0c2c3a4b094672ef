//! Which of a target's open rollbacks runs next: one at a time.

use std::sync::Arc;

use crate::rollback::{Phase, Rollback};

/// The open rollback that is next: one that runs already, else the most severe, else the one received first; a
/// drill comes last. One that waits for a person keeps nobody else waiting: it has its turn once it is `due`.
#[must_use]
pub fn next(open: &[Arc<Rollback>], due: impl Fn(&Rollback) -> bool) -> Option<&Arc<Rollback>> {
    open.iter()
        .filter(|rollback| !rollback.phase().ended() && due(rollback))
        .min_by_key(|rollback| {
            let waiting = rollback.phase() != Phase::Running;
            (
                waiting,
                rollback.spec.drill,
                rollback.severity(),
                rollback.received(),
                rollback.name().to_owned(),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Severity;
    use crate::policy::decision::tests::{rollback, second};

    fn open(name: &str, phase: Phase, severity: Severity, received: i64) -> Arc<Rollback> {
        let mut open = rollback(1, phase);
        open.metadata.name = Some(name.into());
        open.spec.alerts[0].severity = severity;
        open.spec.received = Some(second(received));
        Arc::new(open)
    }

    #[test]
    fn what_runs_goes_on_and_severity_comes_before_age() {
        let p1 = open("p1", Phase::Pending, Severity::P1, 1);
        let p0 = open("p0", Phase::Pending, Severity::P0, 3);
        let earlier = open("earlier", Phase::Pending, Severity::P0, 2);
        let running = open("running", Phase::Running, Severity::P1, 9);
        let done = open("done", Phase::Succeeded, Severity::P0, 0);
        let name = |all: &[&Arc<Rollback>]| {
            let all: Vec<_> = all.iter().map(|r| Arc::clone(r)).collect();
            next(&all, |rollback| rollback.phase() != Phase::AwaitingApproval)
                .map(|r| r.name().to_owned())
        };
        assert_eq!(name(&[&p1, &p0, &running]).as_deref(), Some("running"));
        assert_eq!(name(&[&p1, &p0, &earlier]).as_deref(), Some("earlier"));
        assert_eq!(name(&[&done]), None);
        let mut drill = Rollback::clone(&open("drill", Phase::Pending, Severity::P0, 0));
        drill.spec.drill = true;
        let drill = Arc::new(drill);
        assert_eq!(name(&[&drill, &p1]).as_deref(), Some("p1"));
        assert_eq!(name(&[&drill]).as_deref(), Some("drill"));
        let asks = open("asks", Phase::AwaitingApproval, Severity::P0, 0);
        assert_eq!(name(&[&asks]), None);
        assert_eq!(name(&[&asks, &p1]).as_deref(), Some("p1"));
    }
}
