//! The same story as plain lines for a terminal.
//!
//! Foreign text cannot move the cursor or change colours: control characters are dropped. It prints nothing itself.

use std::fmt::Write;

use super::blocks::{Mention, units, without_hidden};
use super::page::{Line, Page, Span};
use super::story::Story;

/// How wide the column of labels is.
const LABELS: usize = 11;

/// A story: the message that is kept up to date, then what was said in its thread.
#[must_use]
pub fn story(story: &Story) -> String {
    let mut text = page(&story.parent);
    for told in &story.further {
        for (at, line) in page(&told.page).lines().enumerate() {
            let indent = if at == 0 { "  ↳ " } else { "    " };
            push(&mut text, indent, line);
        }
    }
    text
}

/// One message.
#[must_use]
pub fn page(page: &Page) -> String {
    let mut text = String::new();
    let call: String = page.call.iter().map(called).collect();
    push(&mut text, "", &format!("{}{call}", clean(&page.headline)));
    for row in &page.rows {
        labelled(&mut text, row.label, &row.lines);
    }
    labelled(&mut text, "next", &page.next);
    if !page.footer.is_empty() {
        let spans: Vec<String> = page.footer.iter().map(span).collect();
        push(&mut text, "", &spans.join(" · "));
    }
    text
}

fn labelled(text: &mut String, label: &str, lines: &[Line]) {
    for (at, line) in lines.iter().enumerate() {
        let label = if at == 0 { label } else { "" };
        let pad = LABELS.saturating_sub(units(label));
        let content: String = line.iter().map(span).collect();
        push(text, &format!("{label}{:pad$}", ""), &content);
    }
}

fn called(who: &Mention) -> String {
    format!(" @{}", String::from(who.clone()))
}

fn span(span: &Span) -> String {
    match span {
        Span::Text(text) | Span::Code(text) => clean(text),
        Span::Link { url, label } => format!("{} {}", clean(label), clean(url)),
    }
}

/// Foreign text on one line that no terminal obeys.
#[must_use]
pub fn clean(text: &str) -> String {
    without_hidden(text).replace(['\n', '\t'], " ")
}

fn push(text: &mut String, start: &str, rest: &str) {
    // A string takes all that is written to it.
    let _ = writeln!(text, "{}", format!("{start}{rest}").trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::page::Row;

    #[test]
    fn a_page_is_aligned_lines_without_control_characters() {
        let shown = page(&Page {
            headline: "🛑 api\u{1b}[2J is NOT back".into(),
            call: vec![Mention::Here],
            rows: vec![Row {
                label: "why",
                lines: vec![
                    vec![Span::Text("P95 > 260 ms\nand rising".into())],
                    vec![Span::Code("a_b*c*".into())],
                ],
            }],
            next: vec![vec![Span::Code("kubectl get rb".into())]],
            footer: vec![
                Span::Text("times are UTC".into()),
                Span::Link {
                    url: "https://x.example/".into(),
                    label: "runbook".into(),
                },
            ],
        });
        assert_eq!(
            shown,
            "🛑 api[2J is NOT back @here\n\
             why        P95 > 260 ms and rising\n           \
             a_b*c*\n\
             next       kubectl get rb\n\
             times are UTC · runbook https://x.example/\n"
        );
    }
}
