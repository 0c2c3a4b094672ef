//! How a person's command reaches the cluster: with the person's own rights, and with errors that say what to do.
//!
//! It grants nothing and knows no secret of the service: Kubernetes decides who may do what.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::{Answer, Exit, Format};
use crate::cluster::{Cluster, Error, clock};
use crate::config::nearest::{listed, nearest};
use crate::report::audience::Everyone;
use crate::report::story::{self, Story};
use crate::report::text;
use crate::rollback::{Memory, Phase, Rollback};
use crate::target::{Kind, Target, Workload};

/// How long one call of the API server may take.
const CALL: Duration = Duration::from_secs(10);
/// The namespace in which Ripcord itself usually runs.
const HOME: &str = "ripcord";
/// The ConfigMap there that holds everything, by its usual name.
const HOLD: &str = "ripcord-hold";

/// Which cluster, and how the answer is written.
#[derive(Clone, Debug, clap::Args)]
pub struct Reach {
    /// The kubeconfig file [default: as kubectl does].
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig [default: the current one].
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// The namespace of the workload [default: the context's].
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,
    /// How the answer is written.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// A cluster, as a person reaches it.
pub(super) struct Hands {
    pub(super) cluster: Cluster,
    pub(super) namespace: String,
}

/// Why a command could not do what it was asked for.
#[derive(Debug)]
pub(super) struct Trouble {
    exit: Exit,
    said: String,
    help: Option<String>,
}

// === impl Reach ===

impl Reach {
    pub(super) async fn connect(&self) -> Result<Hands, Trouble> {
        let kubeconfig = self.kubeconfig.as_deref();
        let connected = Cluster::connect_as(kubeconfig, self.context.as_deref(), CALL).await;
        let (cluster, usual) = connected.map_err(|error| Trouble::unconnected(&error))?;
        let namespace = self.namespace.clone().unwrap_or(usual);
        Ok(Hands { cluster, namespace })
    }
}

// === impl Hands ===

impl Hands {
    /// A name as people write it: `NAME`, or `NAMESPACE/NAME` as answers and messages show it.
    pub(super) fn place<'a>(&'a self, named: &'a str) -> (&'a str, &'a str) {
        named
            .split_once('/')
            .unwrap_or((self.namespace.as_str(), named))
    }

    /// The rollback of that name.
    pub(super) async fn rollback(&self, named: &str) -> Result<Rollback, Trouble> {
        let (namespace, name) = self.place(named);
        match self.cluster.rollback(namespace, name).await {
            Ok(found) => Ok(found),
            Err(Error::NotFound(_)) => Err(self.unknown_rollback(namespace, name).await),
            Err(error) => Err(trouble(error, "get", "rollbacks", Some(namespace))),
        }
    }

    /// Says that there is no such rollback: with the name that was probably meant, or where one of that name is.
    async fn unknown_rollback(&self, namespace: &str, name: &str) -> Trouble {
        let here = match self.cluster.list_rollbacks(Some(namespace)).await {
            Ok(here) => here.items,
            Err(error) => return trouble(error, "list", "rollbacks", Some(namespace)),
        };
        // Whoever may look elsewhere is told; whoever may not is not.
        let all = self.cluster.list_rollbacks(None).await;
        let all = all.map(|it| it.items).unwrap_or_default();
        let names = here.iter().map(Rollback::name);
        let places = all.iter().map(|it| (it.namespace(), it.name()));
        unknown("rollback", namespace, name, names, places)
    }

    /// The memory of a target.
    pub(super) async fn memory(&self, namespace: &str, name: &str) -> Result<Memory, Trouble> {
        match self.cluster.find_memory(namespace, name).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => return Err(trouble(error, "get", "targets", Some(namespace))),
        }
        let here = match self.cluster.list_memories(Some(namespace)).await {
            Ok(here) => here.items,
            Err(error) => return Err(trouble(error, "list", "targets", Some(namespace))),
        };
        let all = self.cluster.list_memories(None).await;
        let all = all.map(|it| it.items).unwrap_or_default();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let names: Vec<_> = here.iter().map(|it| text(&it.metadata.name)).collect();
        let places: Vec<_> = all
            .iter()
            .map(|it| (text(&it.metadata.namespace), text(&it.metadata.name)))
            .collect();
        let names = names.iter().map(String::as_str);
        let places = places.iter().map(|(ns, name)| (ns.as_str(), name.as_str()));
        Err(unknown("target", namespace, name, names, places))
    }

    /// The memory of a rollback's target, as far as it can be read.
    pub(super) async fn memory_of(&self, rollback: &Rollback) -> Option<Memory> {
        let found = self
            .cluster
            .find_memory(rollback.namespace(), &rollback.spec.target);
        found.await.ok().flatten()
    }

    /// Who this is: as the API server knows it, else as this machine does.
    pub(super) async fn who(&self) -> String {
        let known = self.cluster.who().await.ok().flatten();
        let local = || std::env::var("USER").ok().filter(|user| !user.is_empty());
        known
            .or_else(local)
            .unwrap_or_else(|| "somebody".to_owned())
            .chars()
            .take(253)
            .collect()
    }
}

// === impl Trouble ===

impl Trouble {
    pub(super) fn new(exit: Exit, said: impl Into<String>) -> Self {
        Self {
            exit,
            said: said.into(),
            help: None,
        }
    }

    /// There is no cluster that could be asked.
    pub(super) fn unconnected(error: &anyhow::Error) -> Self {
        let said = format!("no cluster is configured: {}", super::in_full(error));
        Self::new(Exit::NoCluster, said)
            .help("name one with --kubeconfig and --context, or with KUBECONFIG, as for kubectl")
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn answer(&self) -> Answer {
        let mut said = format!("error: {}\n", text::clean(&self.said));
        if let Some(help) = &self.help {
            said = format!("{said}help: {}\n", text::clean(help));
        }
        Answer::failed(self.exit, said)
    }
}

/// What a list says that has nothing in it.
pub(super) fn nothing(what: &str, namespace: Option<&str>) -> Answer {
    let place = namespace.map_or_else(String::new, |namespace| {
        format!(" in namespace {namespace}; -A looks in all")
    });
    Answer {
        err: format!("no {what}{place}\n"),
        ..Answer::done(String::new())
    }
}

/// What a failed call means to a person: what was asked for, and what to do.
pub(super) fn trouble(error: Error, verb: &str, what: &str, namespace: Option<&str>) -> Trouble {
    let place = namespace.map_or_else(
        || "in the whole cluster".to_owned(),
        |namespace| format!("in namespace {namespace}"),
    );
    match error {
        Error::Forbidden(said) => {
            let trouble = Trouble::new(
                Exit::Forbidden,
                format!("you may not {verb} {what}.ripcord.dev {place}: {said}"),
            );
            let role = if matches!(verb, "get" | "list" | "watch") {
                "ripcord-view, which belongs to `view`, or ripcord-operator"
            } else {
                "ripcord-operator"
            };
            let binding = namespace.map_or_else(String::new, |namespace| {
                format!(
                    ": kubectl create rolebinding <name> -n {namespace} --clusterrole=ripcord-operator --user=<you>"
                )
            });
            trouble.help(format!("the right is in the ClusterRole {role}{binding}"))
        }
        Error::NotFound(said) => {
            let said = format!("the cluster does not know {what}.ripcord.dev: {said}");
            Trouble::new(Exit::NoCluster, said)
                .help("is Ripcord installed there? Its definitions: ripcord crd | kubectl apply --server-side -f -")
        }
        Error::Unavailable(said) if said.starts_with("401") => Trouble::new(
            Exit::NoCluster,
            format!("the cluster does not accept your login: {said}"),
        )
        .help("log in again, as for kubectl"),
        Error::Unavailable(said) => Trouble::new(
            Exit::NoCluster,
            format!("the cluster cannot be reached: {said}"),
        )
        .help("is the context the right one? see --kubeconfig and --context"),
        Error::Exists(said) | Error::Precondition(said) | Error::Rejected(said) => {
            Trouble::new(Exit::Failed, format!("the API server refuses it: {said}"))
        }
    }
}

/// Says that something is not there, and what was probably meant.
fn unknown<'a>(
    what: &str,
    namespace: &str,
    name: &str,
    here: impl Iterator<Item = &'a str> + Clone,
    everywhere: impl Iterator<Item = (&'a str, &'a str)>,
) -> Trouble {
    let said = format!("there is no {what} {name} in namespace {namespace}");
    let trouble = Trouble::new(Exit::Unknown, said);
    let mut elsewhere = everywhere.filter(|(ns, it)| *it == name && *ns != namespace);
    if let Some((ns, _)) = elsewhere.next() {
        return trouble.help(format!("there is one in namespace {ns}: -n {ns}"));
    }
    let begun = |it: &&str| it.starts_with(name) && !name.is_empty();
    if let Some(meant) = nearest(name, here.clone()).or_else(|| here.clone().find(begun)) {
        return trouble.help(format!("did you mean `{meant}`?"));
    }
    match here.clone().take(6).count() {
        0 => trouble.help(format!(
            "there is no {what} in that namespace; -n names another"
        )),
        1..=5 => trouble.help(format!("there is {}", listed(here))),
        _ => trouble,
    }
}

/// The answer, with how many of these objects are not in it.
pub(super) fn without(mut answer: Answer, what: &str, unreadable: usize) -> Answer {
    if unreadable > 0 {
        answer.err = format!(
            "{unreadable} {what} are not shown: they are of newer definitions than this program's, which should be as new as the \
             service\n"
        );
    }
    answer
}

/// How a command ends whose rollback is in this phase.
pub(super) const fn exit_of(phase: Phase) -> Exit {
    match phase {
        Phase::Succeeded | Phase::Shadowed => Exit::Done,
        Phase::Failed => Exit::RollbackFailed,
        Phase::Declined => Exit::RollbackDeclined,
        Phase::Superseded => Exit::RollbackSuperseded,
        Phase::Cancelled => Exit::RollbackCancelled,
        Phase::Pending | Phase::AwaitingApproval | Phase::Running => Exit::StillOpen,
    }
}

/// The story of a rollback in full, in the words in which Slack tells it. What only the policy knows is left out.
pub(super) fn told(rollback: &Rollback, memory: Option<&Memory>) -> Story {
    story::full(
        rollback,
        memory,
        bare(rollback, memory).as_ref(),
        &everyone(),
    )
}

/// The same as Markdown, for a review afterwards.
pub(super) fn postmortem(rollback: &Rollback, memory: Option<&Memory>) -> String {
    let target = bare(rollback, memory);
    story::postmortem(rollback, memory, target.as_ref(), &everyone())
}

fn everyone() -> Everyone {
    Everyone {
        namespace: HOME.to_owned(),
        hold: HOLD.to_owned(),
        ..Everyone::default()
    }
}

/// The target as far as its objects tell of it.
fn bare(rollback: &Rollback, memory: Option<&Memory>) -> Option<Target> {
    let plan = rollback
        .status
        .as_ref()
        .and_then(|status| status.plan.as_ref());
    let planned = plan.map(|plan| (plan.kind, plan.workload.clone()));
    let (kind, name) = planned.or_else(|| workload(memory?))?;
    let workload = Workload {
        kind,
        namespace: rollback.namespace().to_owned(),
        name,
        deployments: Vec::new(),
    };
    Some(Target::bare(&rollback.spec.target, workload))
}

/// The workload that a memory is about.
fn workload(memory: &Memory) -> Option<(Kind, String)> {
    let state = memory.state();
    let (kind, name) = state.workload.split_once('/')?;
    let kind = [Kind::Rollout, Kind::Deployment, Kind::Service]
        .into_iter()
        .find(|it| it.name() == kind)?;
    Some((kind, name.to_owned()))
}

/// The time by this machine's clock.
pub(super) fn now() -> Timestamp {
    clock::system()()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(trouble: &Trouble) -> String {
        trouble.answer().err
    }

    #[test]
    fn what_is_not_there_is_said_with_what_was_meant() {
        let here = ["api-r7-abc", "api-r8-def"];
        let everywhere = [("shop", "api-r7-abc"), ("prod", "ledger-r1-x")];
        let say = |name| {
            said(&unknown(
                "rollback",
                "shop",
                name,
                here.into_iter(),
                everywhere.into_iter(),
            ))
        };
        assert!(say("api-r7-abd").contains("did you mean `api-r7-abc`?"));
        assert!(say("api-r8").contains("did you mean `api-r8-def`?"));
        assert!(say("ledger-r1-x").contains("in namespace prod: -n prod"));
        assert!(say("zzz").contains("there is `api-r7-abc` or `api-r8-def`"));
    }

    #[test]
    fn each_failure_says_what_to_do() {
        for (error, exit, words) in [
            (
                Error::Forbidden("User \"jo\"".into()),
                Exit::Forbidden,
                "you may not patch rollbacks.ripcord.dev in namespace shop",
            ),
            (Error::NotFound("x".into()), Exit::NoCluster, "ripcord crd"),
            (
                Error::Unavailable("401 Unauthorized".into()),
                Exit::NoCluster,
                "log in again",
            ),
            (
                Error::Unavailable("no answer within 10s".into()),
                Exit::NoCluster,
                "--context",
            ),
            (
                Error::Rejected("bad\u{1b}[2J".into()),
                Exit::Failed,
                "refuses it: bad[2J",
            ),
        ] {
            let answer = trouble(error, "patch", "rollbacks", Some("shop")).answer();
            assert_eq!(answer.exit, exit);
            assert!(answer.err.contains(words), "{}", answer.err);
        }
    }
}
