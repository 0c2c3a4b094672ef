//! Slack's Block Kit, as far as Ripcord needs it: header, section, context and divider.
//!
//! Every [`Message`] that can be built is one that Slack takes: what is too long is cut, what is blank is left
//! out. Text can only get in through [`Mrkdwn`], which escapes it. Pure: nothing is sent from here.

use serde::Serialize;

pub use self::mention::{MemberId, Mention, MentionError};
use self::mrkdwn::cut_markup;
pub use self::mrkdwn::{Mrkdwn, escape, link};
pub(super) use self::mrkdwn::{cut_plain, units, without_hidden};

mod mention;
mod mrkdwn;

/// Most blocks in one message.
pub const MAX_BLOCKS: usize = 50;
/// Longest text of a section or of one element of a context.
pub const MAX_SECTION: usize = 3_000;
/// Most fields in a section, and most elements in a context.
pub const MAX_ITEMS: usize = 10;
/// Longest text of one field.
pub const MAX_FIELD: usize = 2_000;
/// Longest header.
pub const MAX_HEADER: usize = 150;
/// Longest fallback text; longer ones are refused or split into several messages.
pub const MAX_TEXT: usize = 4_000;
/// Longest message, counted as JSON. The real limit is not documented and lies a little above 13,000.
pub const MAX_MESSAGE: usize = 12_900;

/// A section that would have to be cut shorter than this is left out.
const LEAST_SECTION: usize = 40;

/// One message within all of Slack's limits.
///
/// Lengths are counted in UTF-16 units, the strictest of the usual ways to count characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    text: String,
    blocks: Vec<Block>,
}

/// One block of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Block(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Kind {
    Header {
        text: Text,
    },
    Section {
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<Text>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        fields: Vec<Text>,
    },
    Context {
        elements: Vec<Text>,
    },
    Divider,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Text {
    PlainText {
        text: String,
        emoji: bool,
    },
    /// `verbatim` keeps Slack from turning bare names, channels and addresses into mentions and links.
    Mrkdwn {
        text: String,
        verbatim: bool,
    },
}

// === impl Message ===

impl Message {
    /// A message of `blocks`, with `fallback` for lock screens and screen readers.
    ///
    /// Blocks are taken in order. When they do not all fit, those that do not are cut or left out and a last
    /// line says so. Blank blocks are skipped; a blank fallback becomes an ellipsis, for Slack wants one.
    #[must_use]
    pub fn new(fallback: &Mrkdwn, blocks: impl IntoIterator<Item = Block>) -> Self {
        let text = if fallback.is_blank() {
            "…".to_owned()
        } else {
            cut_markup(fallback.as_str(), MAX_TEXT)
        };
        let all: Vec<Block> = blocks
            .into_iter()
            .filter(|block| !block.is_blank())
            .collect();
        let whole = Self { text, blocks: all };
        if whole.blocks.len() <= MAX_BLOCKS && size(&whole) <= MAX_MESSAGE {
            whole
        } else {
            whole.shortened()
        }
    }

    /// The fallback text, as Slack markup.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The blocks, in order.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    fn shortened(self) -> Self {
        let note =
            Block::context(
                [Mrkdwn::new().text("Shortened: the whole is longer than Slack takes.")],
            );
        let mut kept = Self {
            text: self.text,
            blocks: Vec::new(),
        };
        let mut room = MAX_MESSAGE.saturating_sub(size(&kept) + size(&note));
        for block in self.blocks {
            if kept.blocks.len() + 1 == MAX_BLOCKS {
                break;
            }
            // One more for the comma that follows it.
            if let Some(block) = block.within(room.saturating_sub(1)) {
                room = room.saturating_sub(size(&block) + 1);
                kept.blocks.push(block);
            }
        }
        kept.blocks.push(note);
        kept
    }
}

// === impl Block ===

impl Block {
    /// A large line of plain text, at most 150 long. It cannot hold mentions or links.
    #[must_use]
    pub fn header(text: &str) -> Self {
        let line = without_hidden(text).replace('\n', " ");
        let text = Text::PlainText {
            text: cut_plain(&line, MAX_HEADER),
            emoji: true,
        };
        Self(Kind::Header { text })
    }

    /// A paragraph, at most 3,000 long.
    #[must_use]
    pub fn section(text: &Mrkdwn) -> Self {
        Self(Kind::Section {
            text: Some(Text::mrkdwn(text, MAX_SECTION)),
            fields: Vec::new(),
        })
    }

    /// Up to ten short texts in two columns, each at most 2,000 long; blank ones are skipped, and when there
    /// are more than ten the last says how many are missing.
    #[must_use]
    pub fn fields(fields: impl IntoIterator<Item = Mrkdwn>) -> Self {
        Self(Kind::Section {
            text: None,
            fields: items(fields, MAX_FIELD),
        })
    }

    /// Up to ten small grey texts, with the same rules as [`Block::fields`] but each at most 3,000 long.
    #[must_use]
    pub fn context(elements: impl IntoIterator<Item = Mrkdwn>) -> Self {
        Self(Kind::Context {
            elements: items(elements, MAX_SECTION),
        })
    }

    /// A thin line.
    #[must_use]
    pub fn divider() -> Self {
        Self(Kind::Divider)
    }

    fn is_blank(&self) -> bool {
        match &self.0 {
            Kind::Header { text } => text.is_blank(),
            Kind::Section { text, fields } => {
                text.as_ref().is_none_or(Text::is_blank) && fields.is_empty()
            }
            Kind::Context { elements } => elements.is_empty(),
            Kind::Divider => false,
        }
    }

    /// This block cut to at most `room` as JSON, or nothing when too little of it would be left.
    fn within(mut self, room: usize) -> Option<Self> {
        loop {
            let over = size(&self).saturating_sub(room);
            if over == 0 {
                return Some(self);
            }
            match &mut self.0 {
                Kind::Section { fields: items, .. } | Kind::Context { elements: items }
                    if !items.is_empty() =>
                {
                    items.pop();
                }
                Kind::Section {
                    text: Some(Text::Mrkdwn { text, .. }),
                    ..
                } => {
                    let most = units(text)
                        .checked_sub(over)
                        .filter(|most| *most >= LEAST_SECTION)?;
                    *text = cut_markup(text, most);
                }
                _ => return None,
            }
            if self.is_blank() {
                return None;
            }
        }
    }
}

// === impl Text ===

impl Text {
    fn mrkdwn(text: &Mrkdwn, most: usize) -> Self {
        Self::Mrkdwn {
            text: cut_markup(text.as_str(), most),
            verbatim: true,
        }
    }

    fn is_blank(&self) -> bool {
        let (Self::PlainText { text, .. } | Self::Mrkdwn { text, .. }) = self;
        text.trim().is_empty()
    }
}

/// At most ten texts; the tenth gives way to a count when there are more.
fn items(texts: impl IntoIterator<Item = Mrkdwn>, most: usize) -> Vec<Text> {
    let texts: Vec<Mrkdwn> = texts.into_iter().filter(|text| !text.is_blank()).collect();
    if texts.len() <= MAX_ITEMS {
        return texts.iter().map(|text| Text::mrkdwn(text, most)).collect();
    }
    let kept = MAX_ITEMS - 1;
    let rest = Mrkdwn::new().text(&format!("… and {} more", texts.len() - kept));
    texts
        .iter()
        .take(kept)
        .chain([&rest])
        .map(|text| Text::mrkdwn(text, most))
        .collect()
}

/// How long something is as JSON, which is how Slack seems to measure a whole message.
fn size(value: &impl Serialize) -> usize {
    serde_json::to_string(value).map_or(usize::MAX, |json| units(&json))
}

#[cfg(test)]
mod tests;
