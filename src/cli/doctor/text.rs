//! What was found, for people: lines for a terminal, or a Markdown page with check boxes to sign.
//!
//! Only what was seen to be so is ticked; what no command can see is left for a person to tick.

use std::fmt::Write;

use owo_colors::OwoColorize;

use super::check::{Check, Report, Verdict};
use crate::cli::count;
use crate::report::text::clean;

/// What a person answers for.
const BY_A_PERSON: [&str; 4] = [
    "The images of the release are built and tagged",
    "The release was tested in staging, under load",
    "A rollback was tried on purpose, with somebody watching",
    "Whoever is on call knows of the deployment",
];

impl Report {
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for section in &self.sections {
            let _ = writeln!(out, "{}", clean(&section.title).bold());
            let widest = section.checks.iter().map(|it| it.name.chars().count());
            let width = widest.max().unwrap_or_default();
            for check in &section.checks {
                check.line(width, &mut out);
            }
        }
        let _ = writeln!(out, "{}", self.tally());
        out
    }

    pub(super) fn markdown(&self) -> String {
        let mut out = String::new();
        // A string takes all that is written to it.
        let mut line = |text: &str| {
            let _ = writeln!(out, "{text}");
        };
        let ready = if self.failed == 0 {
            "Ready to deploy"
        } else {
            "Not ready to deploy"
        };
        line(&format!("# {ready}\n"));
        line(&format!(
            "Checked {:.0} by {} with ripcord {}, policy `{}`: {}.",
            self.at,
            clean(&self.by),
            self.version,
            self.policy,
            self.tally()
        ));
        for section in &self.sections {
            line(&format!("\n## {}\n", clean(&section.title)));
            for check in &section.checks {
                line(&check.item());
            }
        }
        line("\n## By a person\n");
        for what in BY_A_PERSON {
            line(&format!("- [ ] {what}"));
        }
        line("\nSigned off by: ______________ at: ______________");
        out
    }

    /// `20 ok, 1 warning, 2 failed`.
    fn tally(&self) -> String {
        format!(
            "{} ok, {}, {} failed",
            self.ok,
            count(self.warnings, "warning"),
            self.failed
        )
    }
}

impl Check {
    fn line(&self, width: usize, out: &mut String) {
        let word = format!("{:<7}", self.verdict.word());
        let word = match self.verdict {
            Verdict::Ok => word.green().to_string(),
            Verdict::Warning => word.yellow().bold().to_string(),
            Verdict::Failed => word.red().bold().to_string(),
        };
        let found = clean(&self.found);
        let _ = writeln!(out, "  {word}  {:<width$}  {found}", clean(&self.name));
        if self.verdict == Verdict::Ok {
            return;
        }
        let help = self.help.as_deref().unwrap_or_default();
        for (label, said) in [("expected", self.expected.as_str()), ("do", help)] {
            let _ = writeln!(out, "           {label:<9}{}", clean(said));
        }
    }

    fn item(&self) -> String {
        let name = clean(&self.name);
        let found = clean(&self.found);
        if self.verdict == Verdict::Ok {
            return format!("- [x] {name}: {found}");
        }
        let help = clean(self.help.as_deref().unwrap_or_default());
        let (word, expected) = (self.verdict.word(), clean(&self.expected));
        format!("- [ ] {name}: **{word}** {found}. Expected: {expected}. Do: {help}.")
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{Section, expect};
    use super::*;
    use crate::cli::Exit;

    fn report() -> Report {
        let checks = vec![
            expect("leader", "somebody leads").ok("ripcord-0 leads"),
            expect("off switch", "nothing is held").failed("held: jo\u{1b}[2J", "let go"),
            expect("mode", "it acts").warning("it watches", "say act"),
        ];
        Report::of("jo".into(), "abc", vec![Section::of("the service", checks)])
    }

    #[test]
    fn a_terminal_gets_a_line_for_each_and_what_to_do_where_it_is_not_well() {
        let text = anstream::adapter::strip_str(&report().text()).to_string();
        assert_eq!(
            text,
            "the service\n\
             \x20 ok       leader      ripcord-0 leads\n\
             \x20 FAILED   off switch  held: jo[2J\n\
             \x20          expected nothing is held\n\
             \x20          do       let go\n\
             \x20 warning  mode        it watches\n\
             \x20          expected it acts\n\
             \x20          do       say act\n\
             1 ok, 1 warning, 1 failed\n"
        );
    }

    #[test]
    fn only_what_was_seen_to_be_so_is_ticked() {
        let page = report().markdown();
        assert!(page.starts_with("# Not ready to deploy\n"), "{page}");
        let ticked = page.lines().filter(|line| line.starts_with("- [x]"));
        assert_eq!(
            ticked.collect::<Vec<_>>(),
            ["- [x] leader: ripcord-0 leads"]
        );
        assert!(
            page.contains(
                "- [ ] off switch: **FAILED** held: jo[2J. Expected: nothing is held. Do: let go."
            ),
            "{page}"
        );
        let open = page.lines().filter(|line| line.starts_with("- [ ]"));
        assert_eq!(open.count(), 2 + BY_A_PERSON.len());
    }

    #[test]
    fn warnings_alone_do_not_fail_it() {
        let mut report = report();
        assert_eq!(report.exit(), Exit::NotReady);
        report.failed = 0;
        assert_eq!(report.exit(), Exit::Done);
    }
}
