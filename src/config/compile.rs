//! From the policy as it is written to the one that the service runs by.
//!
//! Every name is resolved, every matcher and template is parsed, every time is looked at. It goes on after an error, so
//! that a person sees all of them at once; a policy comes out only if there is none.

mod command;
mod companion;
mod ladder;
mod measure;
mod order;
mod procedure;
mod target;
mod trigger;
mod words;
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::diagnostic::{Diagnostic, Level, Place, Source};
use super::nearest::{listed, nearest};
use super::raw;
use crate::alert::Severity;
use crate::policy::{Cluster, Policy};
use crate::procedure::{BUILT_IN, Procedure};
use crate::target::Target;

/// Namespaces in which nothing is ever done, whatever the policy says.
pub const ALWAYS_PROTECTED: [&str; 4] = [
    "argo-rollouts",
    "kube-node-lease",
    "kube-public",
    "kube-system",
];
/// The alert label that names a pod-template hash, as kube-state-metrics writes it.
pub const RELEASE_LABEL: &str = "rollouts_pod_template_hash";

/// Compiles the files of a policy; what is wrong or worth a look is added to `out`.
pub(super) fn compile(
    mut files: Vec<(Arc<Source>, raw::File)>,
    digest: String,
    out: &mut Vec<Diagnostic>,
) -> Option<Policy> {
    let mut check = Check { out };
    let protected = check.protected(&files);
    let cluster = check.once(&mut files, "cluster", |file| file.cluster.take());
    let label = check.once(&mut files, "release_label", |file| {
        file.release_label.take()
    });
    let defaults = check.once(&mut files, "defaults", |file| file.defaults.take());
    let severities = check.once(&mut files, "severities", |file| file.severities.take());
    let targets = check.named(&mut files, "target", |file| {
        std::mem::take(&mut file.targets)
    });
    let procedures = check.named(&mut files, "procedure", |file| {
        std::mem::take(&mut file.procedures)
    });
    let triggers: Vec<_> = files
        .into_iter()
        .flat_map(|(source, file)| {
            let all = file.triggers.into_iter();
            all.map(move |trigger| (Arc::clone(&source), trigger))
        })
        .collect();

    let cluster = cluster.map(|(source, cluster)| check.cluster(&source, cluster));
    let label = label.map(|(source, label)| check.label(&source, &label));
    let targets = target::compile(&mut check, defaults, targets, &protected);
    let procedures = procedure::compile(&mut check, procedures);
    let Severities {
        does: severities,
        asks,
        escalations,
    } = check.severities(severities, &procedures);
    ladder::check(&mut check, &procedures);
    let triggers = trigger::compile(&mut check, triggers, &targets, &procedures);
    let ladder = ladder::Ladder {
        procedures: &procedures,
        severities: &severities,
        escalations: &escalations,
    };
    trigger::cross_check(&mut check, &triggers, &targets, &ladder);
    check.is_whole(targets.len(), triggers.len());

    if check.out.iter().any(|one| one.level == Level::Error) {
        return None;
    }
    Some(Policy {
        digest,
        cluster,
        protected: protected.into_keys().collect(),
        hash_label: label.unwrap_or_else(|| RELEASE_LABEL.to_owned()),
        targets: taken(targets),
        triggers: triggers.into_iter().map(|found| found.trigger).collect(),
        severities,
        asks,
        escalations,
        procedures: procedures
            .into_iter()
            .map(|(name, found)| (name, found.procedure))
            .collect(),
    })
}

/// A target, and where it stands.
struct FoundTarget {
    place: Place,
    target: Target,
}

/// A procedure, and where it stands; the built-in one stands nowhere.
struct FoundProcedure {
    place: Option<Place>,
    /// Where it says what is tried after it.
    escalate_to: Option<Place>,
    procedure: Procedure,
}

/// What the severities do.
#[derive(Default)]
struct Severities {
    does: BTreeMap<Severity, String>,
    asks: BTreeSet<Severity>,
    escalations: BTreeMap<Severity, String>,
}

/// Where what is wrong is put.
struct Check<'a> {
    out: &'a mut Vec<Diagnostic>,
}

impl Check<'_> {
    fn say(&mut self, diagnostic: Diagnostic) {
        self.out.push(diagnostic);
    }

    /// A file that was cut off while it was written still reads as a policy: one in which nothing is ever done. Said only
    /// where nothing else is wrong, as a part that cannot be read is missing too.
    fn is_whole(&mut self, targets: usize, triggers: usize) {
        if self.out.iter().any(|one| one.level == Level::Error) {
            return;
        }
        for (what, found) in [("target", targets), ("trigger", triggers)] {
            if found == 0 {
                let title = format!("the policy has no {what}");
                self.say(Diagnostic::error(title).help("is a file empty, or cut off?"));
            }
        }
    }

    /// A key that may stand in one of the files only.
    fn once<T>(
        &mut self,
        files: &mut [(Arc<Source>, raw::File)],
        key: &str,
        take: impl Fn(&mut raw::File) -> Option<Spanned<T>>,
    ) -> Option<(Arc<Source>, Spanned<T>)> {
        let mut first: Option<(Arc<Source>, Spanned<T>)> = None;
        for (source, file) in files {
            let Some(found) = take(file) else { continue };
            match &first {
                None => first = Some((Arc::clone(source), found)),
                Some((before, earlier)) => {
                    let title = format!("`{key}` stands in two files");
                    let here = place(source, &found);
                    let there = place(before, earlier);
                    self.say(
                        Diagnostic::error(title)
                            .at(here, "expected in one file only")
                            .with(there, "it stands here too"),
                    );
                }
            }
        }
        first
    }

    /// Entries under names, over all files; a name that stands twice is said with both places.
    fn named<T>(
        &mut self,
        files: &mut [(Arc<Source>, raw::File)],
        kind: &str,
        take: impl Fn(&mut raw::File) -> raw::Named<T>,
    ) -> Vec<(Place, String, T)> {
        let mut all: Vec<(Place, String, T)> = Vec::new();
        for (source, file) in files {
            for (name, entry) in take(file).0 {
                let here = place(source, &name);
                self.dns(&here, kind, &name.value);
                if let Some((there, ..)) = all.iter().find(|(_, other, _)| *other == name.value) {
                    self.twice(kind, &name.value, here, there.clone());
                } else {
                    all.push((here, name.value, entry));
                }
            }
        }
        all
    }

    fn twice(&mut self, kind: &str, name: &str, here: Place, there: Place) {
        self.say(
            Diagnostic::error(format!("{kind} `{name}` is defined twice"))
                .at(here, "expected another name")
                .with(there, "it is defined here first"),
        );
    }

    /// Names become names of Kubernetes objects and values of metric labels.
    fn dns(&mut self, at: &Place, kind: &str, name: &str) {
        if !words::is_dns_label(name) {
            let title = format!("`{name}` is no name for a {kind}");
            let label = "expected at most 63 of a-z, 0-9 and `-`, beginning and ending with a letter or digit";
            self.say(Diagnostic::error(title).at(at.clone(), label));
        }
    }

    /// A name that must be one of those known.
    fn dangling<'n>(
        &mut self,
        at: Place,
        title: String,
        name: &str,
        kind: &str,
        known: impl Iterator<Item = &'n str> + Clone,
    ) {
        let label = match nearest(name, known.clone()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("expected one of the {kind}: {}", listed(known)),
        };
        self.say(Diagnostic::error(title).at(at, label));
    }

    /// A time within bounds; `None` for what is none.
    fn period(
        &mut self,
        source: &Arc<Source>,
        key: &str,
        written: &Spanned<String>,
        bounds: &RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let shown = written.value.as_str();
        let label = match humantime::parse_duration(shown) {
            Ok(found) if bounds.contains(&found) => return Some(found),
            Ok(_) => format!(
                "expected between {} and {}",
                humantime::format_duration(*bounds.start()),
                humantime::format_duration(*bounds.end())
            ),
            Err(_) => "expected a length of time such as `30s`, `5m` or `1h 30m`".to_owned(),
        };
        let title = format!("`{key}` cannot be {shown}");
        self.say(Diagnostic::error(title).at(place(source, written), label));
        None
    }

    /// The protected namespaces, each with the place that says so, where it is in the policy.
    fn protected(&mut self, files: &[(Arc<Source>, raw::File)]) -> BTreeMap<String, Option<Place>> {
        let mut protected: BTreeMap<_, _> =
            ALWAYS_PROTECTED.map(|name| (name.to_owned(), None)).into();
        for (source, file) in files {
            for name in &file.protected_namespaces {
                let here = place(source, name);
                self.dns(&here, "namespace", &name.value);
                protected.entry(name.value.clone()).or_insert(Some(here));
            }
        }
        protected
    }

    fn cluster(&mut self, source: &Arc<Source>, cluster: Spanned<raw::Cluster>) -> Cluster {
        let here = place(source, &cluster);
        let raw::Cluster { label, name } = cluster.value;
        if label.is_empty() || name.is_empty() {
            let title = "`cluster` needs a label and a name";
            self.say(Diagnostic::error(title).at(here, "expected both, and neither empty"));
        }
        Cluster { label, name }
    }

    fn label(&mut self, source: &Arc<Source>, label: &Spanned<String>) -> String {
        if label.value.is_empty() {
            let title = "a label's name cannot be empty";
            self.say(Diagnostic::error(title).at(place(source, label), "expected a label"));
        }
        label.value.clone()
    }

    fn severities(
        &mut self,
        severities: Option<(Arc<Source>, Spanned<raw::Severities>)>,
        procedures: &BTreeMap<String, FoundProcedure>,
    ) -> Severities {
        let mut found = Severities {
            does: [Severity::P0, Severity::P1]
                .map(|severity| (severity, BUILT_IN.to_owned()))
                .into(),
            ..Severities::default()
        };
        let Some((source, raw)) = severities else {
            return found;
        };
        let raw::Severities { p0, p1, p2, p3 } = raw.value;
        for (severity, wanted) in Severity::ALL.into_iter().zip([p0, p1, p2, p3]) {
            let Some(wanted) = wanted else { continue };
            let here = place(&source, &wanted);
            match wanted.value {
                raw::Does::Note => {
                    found.does.remove(&severity);
                    if severity == Severity::P0 {
                        let title = "severity P0 has no procedure";
                        let label = "an alert of the highest severity starts nothing";
                        self.say(Diagnostic::warning(title).at(here, label));
                    }
                }
                raw::Does::Run {
                    procedure,
                    ask,
                    escalate_to,
                } => {
                    let what = format!("severity {severity}");
                    self.names_procedure(&source, &what, &procedure, procedures);
                    if let Some(next) = escalate_to {
                        self.names_procedure(&source, &what, &next, procedures);
                        found.escalations.insert(severity, next.value);
                    }
                    if ask {
                        found.asks.insert(severity);
                    }
                    found.does.insert(severity, procedure.value);
                }
            }
        }
        found
    }

    /// A procedure that something names must exist.
    fn names_procedure(
        &mut self,
        source: &Arc<Source>,
        what: &str,
        named: &Spanned<String>,
        procedures: &BTreeMap<String, FoundProcedure>,
    ) {
        if procedures.contains_key(&named.value) {
            return;
        }
        let title = format!("{what} names a procedure that does not exist");
        let known = procedures.keys().map(String::as_str);
        let at = place(source, named);
        self.dangling(at, title, &named.value, "procedures", known);
    }
}

/// Where a value stands.
fn place<T>(source: &Arc<Source>, spanned: &Spanned<T>) -> Place {
    Place::from_location(source, &spanned.referenced)
}

fn taken(targets: BTreeMap<String, FoundTarget>) -> BTreeMap<String, Target> {
    let all = targets.into_iter();
    all.map(|(name, found)| (name, found.target)).collect()
}

/// The names of what was found.
fn names<T>(found: &BTreeMap<String, T>) -> impl Iterator<Item = &str> + Clone {
    found.keys().map(String::as_str)
}

/// Values without repetition.
fn distinct<T: Ord>(values: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    values.into_iter().collect()
}
