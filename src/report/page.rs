//! One message as people read it, before it becomes Slack's markup or a terminal's lines.
//!
//! Both come from the same [`Page`], so they cannot tell different things. Nothing is escaped in here: each way of
//! showing a page makes foreign text harmless in its own way.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::blocks::{Block, Mention, Message, Mrkdwn};

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The first line: all that a lock screen shows.
    pub headline: String,
    /// Whom it calls.
    pub call: Vec<Mention>,
    /// What is to be known, the most important first.
    pub rows: Vec<Row>,
    /// What to do next.
    pub next: Vec<Line>,
    /// Links and names, for those who look further.
    pub footer: Vec<Span>,
}

/// A labelled fact of one or more lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is about, in a word or two.
    pub label: &'static str,
    /// The lines.
    pub lines: Vec<Line>,
}

/// Some text in one line.
pub type Line = Vec<Span>;

/// A piece of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// Words.
    Text(String),
    /// Something to copy.
    Code(String),
    /// A link.
    Link {
        /// Where it leads.
        url: String,
        /// What it is called.
        label: String,
    },
}

// === impl Page ===

impl Page {
    /// The page as a Slack message.
    #[must_use]
    pub fn message(&self) -> Message {
        let call = self.call.iter().fold(Mrkdwn::new(), |all, who| {
            let gap = if all.is_blank() { "" } else { " " };
            all.text(gap).mention(who)
        });
        let gap = if call.is_blank() { "" } else { " " };
        let bare = self.rows.is_empty() && self.next.is_empty() && self.footer.is_empty();
        let first = Mrkdwn::new();
        let first = if bare {
            first.text(&self.headline)
        } else {
            first.bold(&self.headline)
        };
        let rows = self.rows.iter().fold(Mrkdwn::new(), |all, row| {
            let all = if all.is_blank() { all } else { all.line() };
            lines(all.bold(row.label).text("  "), &row.lines)
        });
        let next = if self.next.is_empty() {
            Mrkdwn::new()
        } else {
            lines(Mrkdwn::new().bold("next").line(), &self.next)
        };
        let footer = self.footer.iter().map(|span| span.add_to(Mrkdwn::new()));
        let blocks = [
            Block::section(&first.text(gap).append(&call)),
            Block::section(&rows),
            Block::section(&next),
            Block::context(footer),
        ];
        let fallback = Mrkdwn::new().text(&self.headline).text(gap).append(&call);
        Message::new(&fallback, blocks)
    }

    /// A digest of what a reader sees, 16 hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        // Strings, lists and nothing else: it cannot fail to be written as JSON.
        let shown = serde_json::to_vec(&self.message()).unwrap_or_default();
        let hash = Sha256::digest(shown);
        let mut digest = String::with_capacity(16);
        for byte in hash.iter().take(8) {
            // A string takes all that is written to it.
            let _ = write!(digest, "{byte:02x}");
        }
        digest
    }
}

// === impl Row ===

impl Row {
    /// A row of one line of words.
    #[must_use]
    pub fn text(label: &'static str, text: impl Into<String>) -> Self {
        Self {
            label,
            lines: vec![vec![Span::Text(text.into())]],
        }
    }
}

// === impl Span ===

impl Span {
    fn add_to(&self, markup: Mrkdwn) -> Mrkdwn {
        match self {
            Self::Text(text) => markup.text(text),
            Self::Code(code) => markup.code(code),
            Self::Link { url, label } => markup.link(url, label),
        }
    }
}

fn lines(mut markup: Mrkdwn, lines: &[Line]) -> Mrkdwn {
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            markup = markup.line();
        }
        markup = line.iter().fold(markup, |all, span| span.add_to(all));
    }
    markup
}
