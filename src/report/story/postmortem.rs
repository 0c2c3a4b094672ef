//! The beginning of a postmortem in Markdown: what happened when, what was observed, and what is left to do.
//!
//! Only what is on record is stated or ticked; every judgement is left to people. Foreign text is made harmless.

use std::fmt::Write;

use jiff::Timestamp;

use super::after::when;
use super::{Case, clock, one_line};
use crate::procedure::StepPhase;
use crate::report::audience::Everyone;
use crate::report::page::Row;
use crate::report::text;
use crate::rollback::after::{Check, Number};
use crate::rollback::{Memory, Phase, Rollback};
use crate::target::Target;

/// What people do in the half hour after a rollback.
const SHORT_TERM: [&str; 4] = [
    "Analyze the metrics of the rollback",
    "Find the root cause of the failure",
    "Document the lessons learned",
    "Plan how the fix is validated in staging",
];
/// What people do after that.
const LONG_TERM: [&str; 4] = [
    "Implement the fix of the root cause",
    "Test it again in staging",
    "Update the deployment procedures",
    "Schedule the next deployment",
];

/// The postmortem of a rollback, as far as its record tells.
#[must_use]
pub fn postmortem(
    rollback: &Rollback,
    memory: Option<&Memory>,
    target: Option<&Target>,
    everyone: &Everyone,
) -> String {
    Case::of(rollback, memory, target, everyone).postmortem()
}

impl Case<'_> {
    fn postmortem(&self) -> String {
        let mut page = String::new();
        // A string takes all that is written to it.
        let mut line = |text: String| {
            let _ = writeln!(page, "{text}");
        };
        line(format!("# {}\n", markdown(&self.headline())));
        line(format!(
            "Rollback `{}`, phase {}. Times are UTC.\n",
            code(&self.rollback.full_name()),
            self.phase()
        ));
        if !self.phase().ended() {
            line(
                "**It has not ended yet: this is how it stood when it was asked for.**\n"
                    .to_owned(),
            );
        }
        let facts = ["where", "release", "why", "approval", "budget", "alerts"];
        for row in self.rows().iter().filter(|row| facts.contains(&row.label)) {
            line(format!("- **{}**: {}", row.label, in_one(row)));
        }
        line("\n## Timeline\n".to_owned());
        for (at, what) in self.timeline() {
            let at = at.strftime("%Y-%m-%d %H:%M:%S%.3f");
            line(format!("- {at}: {}", markdown(&what)));
        }
        line("\n## Evidence\n".to_owned());
        for row in self.rows() {
            if matches!(
                row.label,
                "observed" | "stopped at" | "refused" | "state now" | "since then"
            ) {
                for text in lines(&row) {
                    line(format!("- {}: {text}", row.label));
                }
            }
        }
        for text in self.seen_after() {
            line(format!("- {}", markdown(&text)));
        }
        line("\n## What was not done\n".to_owned());
        let not_done = self.rows().into_iter().find(|row| row.label == "not done");
        match not_done {
            Some(row) => lines(&row)
                .into_iter()
                .for_each(|text| line(format!("- {text}"))),
            None => line("- nothing was touched".to_owned()),
        }
        line("\n## Actions\n\n### Immediate (0-5 minutes)\n".to_owned());
        for (done, action) in self.immediate() {
            line(format!("- [{}] {action}", if done { 'x' } else { ' ' }));
        }
        for (title, actions) in [
            ("Short-term (5-30 minutes)", SHORT_TERM),
            ("Long-term (30+ minutes)", LONG_TERM),
        ] {
            line(format!("\n### {title}\n"));
            for action in actions {
                line(format!("- [ ] {action}"));
            }
        }
        line("\n## Root cause\n\nTo be found.".to_owned());
        page
    }

    /// What the runbook asks for at once, ticked where it is on record.
    fn immediate(&self) -> [(bool, String); 4] {
        let proved = self
            .run()
            .steps
            .iter()
            .any(|entry| entry.step == "healthy" && entry.phase == StepPhase::Done);
        let healthy = match self.run().healthy.filter(|_| proved) {
            Some(at) => format!(
                "Verify that the system is healthy (every pod was asked until {})",
                clock(at)
            ),
            None => "Verify that the system is healthy".to_owned(),
        };
        [
            (proved && self.phase() == Phase::Succeeded, healthy),
            self.error_rates(),
            ticked("Notify the stakeholders", &self.people()),
            ticked("Update the incident in the tracker", &self.trackers()),
        ]
    }

    /// The error rates, ticked where one was good when it was last looked at.
    fn error_rates(&self) -> (bool, String) {
        let action = "Check the error rates in the logs";
        let looks = self.state.after.checks.iter();
        let mut numbers = looks.filter_map(|check| {
            let errors = |it: &&Number| it.name.to_lowercase().contains("error");
            check.numbers.iter().find(errors).map(|it| (check, it))
        });
        match numbers.rfind(|(_, it)| it.value.is_some()) {
            Some((check, number)) => {
                let said = markdown(&one_line(&number.said));
                let verdict = if number.good {
                    ""
                } else {
                    ", which is not good"
                };
                let said = format!("{action} (Prometheus, {}: {said}{verdict})", when(check));
                (number.good, said)
            }
            None => (false, action.to_owned()),
        }
    }

    /// Who was told anything, of those that people read.
    fn people(&self) -> Vec<String> {
        let report = &self.state.report;
        let slack = &report.slack;
        let channel = slack.channel.as_ref().filter(|_| slack.ts.is_some());
        let channel = channel.map(|it| format!("Slack channel {}", markdown(&one_line(it))));
        let others = [
            ("Slack's webhook", &report.slack_webhook),
            ("e-mail", &report.email),
        ];
        let others = others.into_iter().filter(|(_, it)| !it.told.is_empty());
        let others = others.map(|(name, _)| name.to_owned());
        channel.into_iter().chain(others).collect()
    }

    /// Which trackers were told how it ended, or what was seen after that.
    fn trackers(&self) -> Vec<String> {
        let report = &self.state.report;
        let all = [
            ("PagerDuty", &report.pagerduty),
            ("the webhook", &report.webhook),
        ];
        let last = |key: &String| {
            key == "alone" || ["end/", "after/"].iter().any(|it| key.starts_with(it))
        };
        let told = all.into_iter().filter(|(_, it)| it.told.iter().any(last));
        told.map(|(name, _)| name.to_owned()).collect()
    }

    /// Each number that was looked at after the end, and why there was none.
    fn seen_after(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for check in &self.state.after.checks {
            let when = when(check);
            if let Some(why) = &check.skipped {
                lines.push(format!(
                    "{when}: not checked: {}",
                    one_line(&why.to_string())
                ));
            }
            lines.extend(check.numbers.iter().map(|number| {
                let verdict = if number.good { "good" } else { "not good" };
                format!("{when}: {verdict}: {}", one_line(&number.said))
            }));
        }
        lines
    }

    /// All that has a time, in order.
    fn timeline(&self) -> Vec<(Timestamp, String)> {
        let mut all: Vec<(Timestamp, String)> = Vec::new();
        let from = self.origin();
        all.extend(self.went_live().map(|at| (at, format!("{from} went live"))));
        for record in self.rollback.records() {
            let (name, severity) = (one_line(&record.name), record.severity);
            let summary = record.summary.as_deref().map(one_line);
            let summary = summary.map_or_else(String::new, |summary| format!(": {summary}"));
            all.push((record.began, format!("{name} ({severity}) began{summary}")));
            all.push((record.received, format!("{name} ({severity}) was received")));
            all.extend(record.ended.map(|at| (at, format!("{name} ended"))));
        }
        if self.alert().is_none() {
            let by = self
                .rollback
                .spec
                .requested_by
                .as_deref()
                .unwrap_or("somebody");
            let received = self.rollback.received();
            all.extend(received.map(|at| (at, format!("{} asked for it", one_line(by)))));
        }
        let run = self.run();
        if let Some(plan) = &self.state.plan {
            let said = format!(
                "planned: {} → {}, because {}",
                plan.from,
                plan.to,
                one_line(&plan.chosen)
            );
            all.push((plan.made, said));
        }
        if let Some(asked) = &run.asked {
            all.push((
                asked.at,
                format!("a person was asked: {}", one_line(&asked.why)),
            ));
            let answer = self.answer().unwrap_or_else(|| "let go".to_owned());
            all.extend(asked.released.map(|at| (at, answer)));
        }
        let to = self
            .destination()
            .unwrap_or_else(|| "the destination".to_owned());
        let points = [
            (
                run.first_mutation,
                "the first change was confirmed".to_owned(),
            ),
            (run.traffic_back, format!("all traffic was seen on {to}")),
            (run.over_budget, "the budget was over".to_owned()),
            (
                run.gave_up,
                "it was given up, between restore and promotion".to_owned(),
            ),
        ];
        all.extend(
            points
                .into_iter()
                .filter_map(|(at, said)| Some((at?, said))),
        );
        for (at, entry) in run.steps.iter().enumerate() {
            let line = self.step_line(at, entry);
            all.extend(
                entry
                    .finished
                    .zip(line)
                    .map(|(at, line)| (at, format!("step {line}"))),
            );
        }
        let end = format!("{}: {}", self.phase(), self.reason());
        all.extend(run.finished.map(|at| (at, end)));
        if let Some(persisting) = &self.state.alerts.persisting {
            all.push((
                persisting.noticed,
                one_line(&persisting.finding.to_string()),
            ));
        }
        let looks = self.state.after.checks.iter();
        all.extend(looks.map(|check| {
            (
                check.at,
                format!("looked at {}: {}", when(check), came(check)),
            )
        }));
        all.sort_by_key(|(at, _)| *at);
        all
    }
}

/// An action with a box, ticked where somebody was told.
fn ticked(action: &str, told: &[String]) -> (bool, String) {
    let word = if told.len() == 1 { "was" } else { "were" };
    match told {
        [] => (false, action.to_owned()),
        _ => (true, format!("{action} ({} {word} told)", told.join(", "))),
    }
}

/// What came of a look, in a few words.
fn came(check: &Check) -> String {
    if check.skipped.is_some() {
        return "not checked".to_owned();
    }
    let bad = check.numbers.iter().filter(|number| !number.good);
    let bad: Vec<_> = bad.map(|number| one_line(&number.name)).collect();
    if bad.is_empty() {
        "all is well".to_owned()
    } else {
        format!("not good: {}", bad.join(", "))
    }
}

fn lines(row: &Row) -> Vec<String> {
    let page = crate::report::page::Page {
        rows: vec![row.clone()],
        ..crate::report::page::Page::default()
    };
    let text = text::page(&page);
    let text = text.trim_start();
    let text = text.strip_prefix(row.label).unwrap_or(text);
    text.lines()
        .map(|line| markdown(line.trim()))
        .filter(|line| !line.is_empty())
        .collect()
}

fn in_one(row: &Row) -> String {
    lines(row).join("; ")
}

/// Text in which Markdown sees nothing but words.
fn markdown(raw: &str) -> String {
    let mut safe = String::with_capacity(raw.len());
    for c in text::clean(raw).chars() {
        if matches!(
            c,
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '!' | '~'
        ) {
            safe.push('\\');
        }
        safe.push(c);
    }
    safe
}

/// A name between two back ticks, of which it has none itself.
fn code(raw: &str) -> String {
    text::clean(raw).replace('`', "'")
}
