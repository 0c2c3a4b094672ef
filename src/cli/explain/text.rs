//! An explanation in words.

use std::fmt::Write;

use owo_colors::OwoColorize;

use super::live::{Leader, Sight, Verdict};
use super::{Decision, Explained, Explanation};

impl Explanation<'_> {
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let all = self.alerts.len();
        for (index, alert) in self.alerts.iter().enumerate() {
            let title = format!("alert {}/{all}", index + 1);
            let _ = writeln!(out, "{}  {}", title.bold(), alert.heading());
            alert.body(&mut out);
        }
        if all == 0 {
            out.push_str("no alert in the notification\n");
        }
        if self.truncated > 0 {
            let _ = writeln!(
                out,
                "Alertmanager cut off {} more (max_alerts): what they say is unknown",
                self.truncated
            );
        }
        for sight in &self.targets {
            sight.text(&mut out);
        }
        let starts =
            |alert: &Explained<'_>| matches!(alert.decision, Decision::Start | Decision::Ask);
        if self.alerts.iter().any(starts)
            && let Some(asked_further) = self.asked_further
        {
            let said = format!(
                "This is what the policy says. Before it acts, the service asks the cluster (as --live does): {asked_further}."
            );
            let _ = writeln!(out, "{}", said.dimmed());
        }
        if self.asked_further.is_none() {
            let said = "This is what the service would decide now. Nothing was changed.";
            let _ = writeln!(out, "{}", said.dimmed());
        }
        out
    }
}

impl Explained<'_> {
    fn heading(&self) -> String {
        let labels = self.labels.iter().filter(|(name, _)| *name != "alertname");
        let labels: crate::alert::Labels = labels.collect();
        let since = if self.status == "firing" {
            "firing since"
        } else {
            "resolved, fired since"
        };
        escaped(&format!("{}{labels} {since} {}", self.alert, self.since))
    }

    fn body(&self, out: &mut String) {
        // Writing to a String cannot fail.
        let mut line = |key: &str, value: String| {
            let _ = writeln!(out, "  {key:<10} {value}");
        };
        for missed in &self.missed {
            let said = format!(
                "{} ({}) wants {}",
                missed.trigger, missed.place, missed.wants
            );
            line("not", said);
        }
        if let Some(trigger) = &self.trigger {
            line("trigger", format!("{} ({})", trigger.name, trigger.place));
        }
        if let Some(severity) = &self.severity {
            line(
                "severity",
                format!("{} (from {})", severity.is, escaped(&severity.from)),
            );
        }
        if let Some(target) = &self.target {
            line("target", format!("{} → {}", target.name, target.workload));
        }
        match &self.live {
            None => line("decision", self.verdict()),
            Some(live) => {
                line("decision", live.text());
                if let Some(leader) = &live.leader {
                    line("leader", leader.text());
                }
            }
        }
    }

    fn verdict(&self) -> String {
        let plan = self.procedure.as_ref().map(|procedure| {
            let steps = procedure.steps.join(", ");
            format!("{} (budget {}): {steps}", procedure.name, procedure.budget)
        });
        let plan = plan.unwrap_or_default();
        let code = self
            .reason
            .map(crate::reason::Reason::code)
            .unwrap_or_default();
        let said = escaped(&self.said);
        match self.decision {
            Decision::Start => format!("{} {plan}", "START".green().bold()),
            Decision::Ask => format!("{} {plan}; {said}", "ASK".yellow().bold()),
            Decision::Shadow => format!("{} {plan}; {said}", "SHADOW".yellow().bold()),
            Decision::Note => format!("{} {code}: {said}", "NOTE".bold()),
            Decision::Decline => format!("{} {code}: {said}", "DECLINE".red().bold()),
            Decision::Resolve => format!("{} {code}: {said}", "RECORD".bold()),
        }
    }
}

impl Verdict {
    fn text(&self) -> String {
        let word = self.decision.to_uppercase();
        let word = match self.decision {
            "start" => word.green().bold().to_string(),
            "shadow" | "join" => word.yellow().bold().to_string(),
            "note" => word.bold().to_string(),
            _ => word.red().bold().to_string(),
        };
        let by = self.rollback.as_ref().map(|name| format!(" ({name})"));
        let (code, by) = (self.reason.code(), by.unwrap_or_default());
        format!("{word} {code}: {}{by}", escaped(&self.said))
    }
}

impl Leader {
    fn text(&self) -> String {
        let word = self.would.to_uppercase();
        let word = match self.would {
            "run" => word.green().bold().to_string(),
            "shadow" => word.yellow().bold().to_string(),
            _ => word.red().bold().to_string(),
        };
        format!("{word} {}: {}", self.reason.code(), escaped(&self.said))
    }
}

impl Sight {
    fn text(&self, out: &mut String) {
        let open = if self.open.is_empty() {
            "none".to_owned()
        } else {
            self.open.join(", ")
        };
        let _ = writeln!(out, "{}  {}", "target".bold(), self.target);
        for (key, value) in [
            ("live", &self.live),
            ("change", &self.cause),
            ("hold", &self.hold),
            ("latch", &self.latch),
            ("owner", &self.owner),
            ("running", &open),
            ("rights", &self.rights),
        ] {
            let _ = writeln!(out, "  {key:<10} {}", escaped(value));
        }
    }
}

/// A text from a payload as a terminal may be given it: what would move the cursor, change colours or turn the direction
/// of reading is shown, not sent.
pub(super) fn escaped(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_nothing_that_it_would_obey() {
        assert_eq!(
            escaped("Latency hoch, P95 ≥ 1 s"),
            "Latency hoch, P95 ≥ 1 s"
        );
        assert_eq!(escaped("\u{1b}[2Jgone\r\n"), "\\u{1b}[2Jgone\\u{d}\\u{a}");
        assert_eq!(escaped("a\u{9b}31mb\u{202e}c"), "a\\u{9b}31mb\\u{202e}c");
    }
}
