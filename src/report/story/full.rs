//! The same story for one who asks for it: with who asked, every time that is on record, and who was told.

use jiff::Timestamp;

use super::row::words;
use super::{Case, Story, clock, date, one_line};
use crate::report::audience::Everyone;
use crate::report::page::{Row, Span};
use crate::rollback::{Memory, Phase, Rollback};
use crate::target::Target;

/// The story of a rollback in full, also of one that is merely claimed.
#[must_use]
pub fn full(
    rollback: &Rollback,
    memory: Option<&Memory>,
    target: Option<&Target>,
    everyone: &Everyone,
) -> Story {
    let case = Case::of(rollback, memory, target, everyone);
    let mut story = case.story();
    let more = [case.each_alert(), Some(case.times()), Some(case.told())];
    story.parent.rows.extend(more.into_iter().flatten());
    if rollback.phase() == Phase::Pending {
        story.parent.headline = case.line("⏳", "", ": claimed, and waits for the leader");
    }
    story
}

impl Case<'_> {
    /// Every alert on record. The row `why` tells the most severe one alone.
    fn each_alert(&self) -> Option<Row> {
        let records = self.rollback.records();
        if records.len() < 2 {
            return None;
        }
        let lines = records.into_iter().map(|record| {
            let ended = record
                .ended
                .map_or_else(|| "fires".to_owned(), |at| format!("ended {}", clock(at)));
            let text = format!(
                "{} {} began {}, {ended}",
                record.severity,
                one_line(&record.name),
                clock(record.began)
            );
            vec![Span::Text(text)]
        });
        Some(Row {
            label: "each alert",
            lines: lines.collect(),
        })
    }

    fn times(&self) -> Row {
        let run = self.run();
        let asked = run.asked.as_ref();
        let all: [(&str, Option<Timestamp>); 8] = [
            ("planned", self.state.plan.as_ref().map(|plan| plan.made)),
            ("asked", asked.map(|asked| asked.at)),
            ("let go", asked.and_then(|asked| asked.released)),
            ("begun", run.started),
            ("first change", run.first_mutation),
            ("traffic back", run.traffic_back),
            ("healthy", run.healthy),
            ("ended", run.finished),
        ];
        let received = self.rollback.received();
        let received = received.map(|at| format!("received {}", date(at)));
        let later = all
            .into_iter()
            .filter_map(|(what, at)| Some(format!("{what} {}", clock(at?))));
        let all: Vec<_> = received.into_iter().chain(later).collect();
        Row::text("times", all.join(", "))
    }

    /// Who was told what, as far as it is on record.
    pub(super) fn told(&self) -> Row {
        let report = &self.state.report;
        let slack = &report.slack;
        let mut lines = Vec::new();
        if let (Some(channel), Some(_)) = (&slack.channel, &slack.ts) {
            let thread = keys(&slack.told);
            let thread = thread.map_or_else(String::new, |keys| format!("; in its thread: {keys}"));
            lines.push(format!("Slack, channel {}{thread}", one_line(channel)));
        }
        let mut refusals = vec![("Slack", &slack.refused)];
        for (name, record) in report.notices() {
            lines.extend(keys(&record.told).map(|keys| format!("{name}: {keys}")));
            refusals.push((name, &record.refused));
        }
        if lines.is_empty() {
            lines.push("nobody yet".to_owned());
        }
        let refusals = refusals.into_iter();
        lines.extend(refusals.filter_map(|(name, why)| {
            Some(format!("{name} refuses: {}", one_line(why.as_ref()?)))
        }));
        Row {
            label: "told",
            lines: lines.into_iter().map(words).collect(),
        }
    }
}

/// The keys of what was told; none where nothing was.
fn keys(told: &[String]) -> Option<String> {
    let keys: Vec<_> = told.iter().map(|key| one_line(key)).collect();
    (!keys.is_empty()).then(|| keys.join(", "))
}
