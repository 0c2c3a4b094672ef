//! Why a change that was tried is forbidden: whoever tries it lacks the right, or somebody's rule keeps it out. The API server
//! answers both alike, so that the rights are asked for.

use crate::cli::doctor::check::{Check, Expected};
use crate::cluster::{Cluster, Error};
use crate::target::Workload;
use crate::target::effect::EffectKind;

/// What to do about a rule that refuses what is wanted.
pub(super) const REFUSED: &str =
    "see what refuses it, such as an admission webhook or an admission policy";

/// Why.
#[derive(Debug)]
pub(super) enum Forbidden {
    /// Whoever tries it lacks the right.
    Lacking,
    /// Whoever tries it has the right, and somebody's rule refuses this change.
    KeptOut,
    /// What the rights are cannot be asked.
    Unknown(Error),
}

// === impl Forbidden ===

impl Forbidden {
    /// Asks why such a change of this workload was forbidden.
    pub(super) async fn ask(cluster: &Cluster, workload: &Workload, effect: EffectKind) -> Self {
        Self::of(cluster.missing_to_change(workload, effect).await)
    }

    /// By the rights that are missing.
    fn of(missing: Result<Vec<String>, Error>) -> Self {
        match missing {
            Ok(missing) if missing.is_empty() => Self::KeptOut,
            Ok(_) => Self::Lacking,
            Err(error) => Self::Unknown(error),
        }
    }

    /// What the trial comes to. Whoever lacks the right has tried nothing; a rule would refuse the service as well.
    pub(super) fn check(self, asked: Expected, would: &str, error: &Error) -> Check {
        match self {
            Self::Lacking => asked.warning(
                format!("{would}; not tried: {error}"),
                "run this in a pod of the service, whose rights are those that count",
            ),
            Self::KeptOut => asked.failed(
                format!("{would}; the API server refuses it: {error}"),
                REFUSED,
            ),
            Self::Unknown(unknown) => asked.failed(
                format!("{would}; {error}; whether a right is missing cannot be asked: {unknown}"),
                "try again",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::check::{Verdict, expect};

    fn came_to(missing: Result<Vec<String>, Error>) -> Check {
        let asked = expect("revert", "the API server would take the change");
        let error = Error::Forbidden("no".into());
        Forbidden::of(missing).check(asked, "would write", &error)
    }

    #[test]
    fn only_whoever_lacks_the_right_is_sent_to_a_pod_of_the_service() {
        let lacking = came_to(Ok(vec!["patch rollouts.argoproj.io in shop".into()]));
        assert_eq!(lacking.verdict, Verdict::Warning);
        assert_eq!(lacking.found, "would write; not tried: forbidden: no");
        assert!(lacking.help.unwrap().contains("in a pod of the service"));
    }

    #[test]
    fn what_a_rule_refuses_has_failed() {
        let refused = came_to(Ok(vec![]));
        assert_eq!(refused.verdict, Verdict::Failed);
        let found = "would write; the API server refuses it: forbidden: no";
        assert_eq!(refused.found, found);
        assert_eq!(refused.help.as_deref(), Some(REFUSED));
    }

    #[test]
    fn what_cannot_be_told_apart_is_not_well() {
        let unknown = came_to(Err(Error::Unavailable("gone".into())));
        assert_eq!(unknown.verdict, Verdict::Failed);
        assert!(unknown.found.contains("gone"), "{}", unknown.found);
    }
}
