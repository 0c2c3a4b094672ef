//! `ripcord check`: reads settings and policy as the service would, and says what is wrong with them.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use super::{Answer, Exit, Format, count, preflight, variables};
use crate::config::policy::{read_policy, read_sources};
use crate::config::{Diagnostic, Level, Settings};
use crate::intake::auth::AuthMode;
use crate::policy::Policy;
use crate::rollback::object::Mode;

/// Check settings and policy, and say what is wrong with them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Leave out the files that the settings name (tokens, kubeconfig) and the passwords that the policy names, which may be on
    /// another machine.
    #[arg(long)]
    pub no_files: bool,
}

/// What was found.
#[derive(Serialize)]
struct Report {
    valid: bool,
    errors: usize,
    warnings: usize,
    /// How senders are told from strangers, where the service would start.
    #[serde(skip_serializing_if = "Option::is_none")]
    senders: Option<&'static str>,
    /// Whether anything may be done at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    settings: Part,
    policy: PolicyPart,
}

#[derive(Serialize)]
struct Part {
    path: Option<String>,
    diagnostics: Vec<Diagnostic>,
}

#[derive(Serialize)]
struct PolicyPart {
    path: String,
    /// Which policy it is, in logs and metrics; none for one that cannot be run.
    digest: Option<String>,
    triggers: usize,
    targets: usize,
    /// The commands that are run in pods, each with what it needs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    commands: Vec<String>,
    diagnostics: Vec<Diagnostic>,
}

pub(super) fn run(args: &Args, settings: Option<&Path>, policy: &Path) -> Answer {
    let (policy, compiled) = read(policy);
    let (mut senders, mut mode) = (None, None);
    let settings = Part {
        path: settings.map(|path| path.display().to_string()),
        diagnostics: match Settings::load(settings, variables()) {
            Ok(settings) => {
                senders = compiled
                    .as_ref()
                    .and_then(|policy| preflight::senders(&settings, policy).ok())
                    .map(AuthMode::why);
                mode = Some(settings.engine.mode);
                preflight::inspect(&settings, compiled.as_ref(), !args.no_files)
            }
            Err(faults) => faults,
        },
    };
    let mut report = Report::new(settings, policy);
    (report.senders, report.mode) = (senders, mode);
    let mut answer = match args.format {
        Format::Text => report.text(),
        Format::Json => super::json(&report),
    };
    if answer.exit == Exit::Done && !report.valid {
        answer.exit = Exit::Invalid;
    }
    answer
}

fn read(path: &Path) -> (PolicyPart, Option<Policy>) {
    let mut part = PolicyPart {
        path: path.display().to_string(),
        digest: None,
        triggers: 0,
        targets: 0,
        commands: Vec::new(),
        diagnostics: Vec::new(),
    };
    let reading = match read_sources(path) {
        Ok(sources) => read_policy(sources),
        Err(diagnostic) => {
            part.diagnostics.push(diagnostic);
            return (part, None);
        }
    };
    part.digest = reading.policy.as_ref().map(|policy| policy.digest.clone());
    part.commands = reading.policy.as_ref().map(commands).unwrap_or_default();
    part.triggers = reading.triggers;
    part.targets = reading.targets;
    part.diagnostics = reading.diagnostics;
    (part, reading.policy)
}

/// What is run in pods: it needs a right that nothing else does.
fn commands(policy: &Policy) -> Vec<String> {
    let targets = policy.targets.values();
    let all = targets.flat_map(|target| {
        policy
            .commands_of(target)
            .into_iter()
            .map(move |name| (target, name))
    });
    all.map(|(target, name)| {
        format!(
            "`{name}` is run in pods of {}, which needs deploy/rbac/exec-targets in {}",
            target.name, target.workload.namespace
        )
    })
    .collect()
}

fn of(level: Level, diagnostics: &[Diagnostic]) -> usize {
    diagnostics.iter().filter(|one| one.level == level).count()
}

impl Report {
    fn new(settings: Part, policy: PolicyPart) -> Self {
        let both = |level| of(level, &settings.diagnostics) + of(level, &policy.diagnostics);
        let (errors, warnings) = (both(Level::Error), both(Level::Warning));
        Self {
            valid: errors == 0,
            errors,
            warnings,
            senders: None,
            mode: None,
            settings,
            policy,
        }
    }

    fn text(&self) -> Answer {
        let mut err = String::new();
        for diagnostic in self
            .settings
            .diagnostics
            .iter()
            .chain(&self.policy.diagnostics)
        {
            err.push_str(&diagnostic.render(true));
            err.push_str("\n\n");
        }
        let settings = self.settings.path.as_deref();
        let settings = settings.unwrap_or("settings (defaults and environment)");
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{settings}: {}", tally(&self.settings.diagnostics));
        let _ = writeln!(
            out,
            "{}: {} · {}, {} read",
            self.policy.path,
            tally(&self.policy.diagnostics),
            count(self.policy.triggers, "trigger"),
            count(self.policy.targets, "target"),
        );
        for command in &self.policy.commands {
            let _ = writeln!(out, "{command}");
        }
        if let Some(senders) = self.senders {
            let _ = writeln!(out, "{senders}");
        }
        if self.mode == Some(Mode::Shadow) {
            let _ = writeln!(out, "engine.mode is shadow: no trigger acts");
        }
        Answer {
            out,
            err,
            exit: Exit::Done,
        }
    }
}

/// `ok`, `1 error`, `ok, 2 warnings`.
fn tally(diagnostics: &[Diagnostic]) -> String {
    let (errors, warnings) = (
        of(Level::Error, diagnostics),
        of(Level::Warning, diagnostics),
    );
    let mut tally = if errors == 0 {
        "ok".to_owned()
    } else {
        count(errors, "error")
    };
    if warnings > 0 {
        tally = format!("{tally}, {}", count(warnings, "warning"));
    }
    tally
}
