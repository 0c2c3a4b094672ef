//! What was seen of the release after the end: a quiet line where all is well, and a message that the channel sees where
//! it is not, or where nobody could look. It calls nobody: whether users are hurt is for the alerts to say.

use jiff::Timestamp;

use super::thread::{line, ring};
use super::{Case, Told, one_line};
use crate::report::page::{Page, Row, Span};
use crate::rollback::after::{Check, Number};

impl Case<'_> {
    /// One message for each look.
    pub(super) fn looks(&self) -> Vec<(Option<Timestamp>, Told)> {
        let checks = self.state.after.checks.iter();
        checks
            .map(|check| (Some(check.at), self.look_after(check)))
            .collect()
    }

    fn look_after(&self, check: &Check) -> Told {
        let key = format!("after/{}m", check.minutes);
        let when = when(check);
        if let Some(why) = &check.skipped {
            let why = one_line(why.to_string().trim_end_matches('.'));
            if check.is_last() {
                return line(key, format!("{when}: not checked: {why}"));
            }
            let page = Page {
                headline: self.line("⚠️", "", &format!(": not checked {when}")),
                rows: vec![Row::text("why", why)],
                ..Page::default()
            };
            return seen(key, page);
        }
        let said = |numbers: &[&Number]| {
            let numbers = numbers.iter().map(|number| one_line(&number.said));
            numbers.collect::<Vec<_>>().join(" · ")
        };
        let (good, bad): (Vec<_>, Vec<_>) = check.numbers.iter().partition(|number| number.good);
        if bad.is_empty() {
            return line(key, format!("{when}, all is well: {}", said(&good)));
        }
        let rows = [("not good", bad), ("good", good)];
        let rows = rows.into_iter().filter(|(_, numbers)| !numbers.is_empty());
        let page = Page {
            headline: self.line("⚠️", "", &format!(": {when}, not all is well")),
            rows: rows
                .map(|(label, numbers)| Row {
                    label,
                    lines: numbers
                        .iter()
                        .map(|number| vec![Span::Text(one_line(&number.said))])
                        .collect(),
                })
                .collect(),
            next: self.look(),
            ..Page::default()
        };
        seen(key, page)
    }
}

/// After which time a look was due.
pub(super) fn when(check: &Check) -> String {
    match check.minutes {
        0 => "right after the end".to_owned(),
        minutes => format!("{minutes} min after the end"),
    }
}

/// A message that the channel sees, and that needs nobody by itself.
fn seen(key: String, page: Page) -> Told {
    Told {
        needs: false,
        ..ring(key, page)
    }
}
