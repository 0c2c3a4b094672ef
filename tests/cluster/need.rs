//! What a scenario needs beyond an API server with Argo Rollouts. The run's own cluster gives all of it; of somebody's, it
//! is found out before the first scenario, and what is lacking is said.

use std::collections::BTreeMap;

/// Something that a cluster may lack.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Need {
    /// Pods live and answer by the words of their image's tag.
    Pods,
    /// Pods and Services can be reached from here.
    Network,
    /// The status of a pod can be written: no kubelet puts it right.
    PodStatus,
    /// The Rollouts controller can be made to stand still.
    Freeze,
    /// Little else goes on: scrapes that come late would be lost on rules that count in tenths of their time.
    Quiet,
    /// What others than Ripcord write can be read, too.
    AuditLog,
    /// The node can be labelled.
    NodeLabels,
    /// What holds for a whole cluster can be made, such as a rule of admission.
    ClusterRules,
    /// What is run in a pod runs on this machine, and tells an exit status of 0 alone.
    LocalExec,
    /// The pods answer in this run's own process, which counts how often each was warmed up.
    WarmUps,
    /// Namespaces can have the names that `ripcord demo` gives them.
    DemoNames,
}

/// What a cluster lacks, and why.
#[derive(Debug, Default)]
pub(crate) struct Lacks(BTreeMap<Need, String>);

// === impl Lacks ===

impl Lacks {
    /// Notes that something is lacking; the first reason counts.
    pub(crate) fn note(&mut self, need: Need, reason: impl Into<String>) {
        self.0.entry(need).or_insert_with(|| reason.into());
    }

    /// Why a scenario with these needs cannot be played.
    pub(crate) fn of(&self, needs: &[Need]) -> Option<&str> {
        needs
            .iter()
            .find_map(|it| self.0.get(it))
            .map(String::as_str)
    }

    /// All that is lacking.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Need, &str)> {
        self.0.iter().map(|(need, reason)| (*need, reason.as_str()))
    }
}
