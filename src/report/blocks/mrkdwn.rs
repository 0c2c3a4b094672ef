//! Slack's markup ("mrkdwn"), built so that foreign text stays text.
//!
//! Alert annotations are written by many hands and may hold `<!channel>` or a link that lies. Everything here
//! escapes first; markup comes from the builder alone. What a style cannot show is shown plain, never altered,
//! because people copy commands out of these messages.

use std::fmt;

use super::Mention;

/// The longest address that becomes a link; a link cannot be cut, so a longer one stays out.
const MAX_URL: usize = 1_000;
/// The most that a cut adds: the ellipsis and the end of a code block.
const CUT_ADDS: usize = 4;

/// Text in Slack's markup, well-formed by construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mrkdwn(String);

// === impl Mrkdwn ===

impl Mrkdwn {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds plain text, escaped.
    #[must_use]
    pub fn text(mut self, raw: &str) -> Self {
        self.0.push_str(&escape(raw));
        self
    }

    /// Adds bold text; plain when it holds an asterisk or a line break.
    #[must_use]
    pub fn bold(self, raw: &str) -> Self {
        self.styled(raw, "*", |text| !text.contains(['*', '\n']))
    }

    /// Adds inline code; plain when it holds a backtick or a line break.
    #[must_use]
    pub fn code(self, raw: &str) -> Self {
        self.styled(raw, "`", |text| !text.contains(['`', '\n']))
    }

    /// Adds a block of code; plain when it holds a backtick.
    #[must_use]
    pub fn preformatted(self, raw: &str) -> Self {
        self.styled(raw, "```", |text| !text.contains('`'))
    }

    /// Adds a link. An address that [`link`] refuses is left out and the label stays, as text.
    #[must_use]
    pub fn link(mut self, url: &str, label: &str) -> Self {
        match link(url, label) {
            Some(link) => self.0.push_str(&link),
            None => return self.text(label),
        }
        self
    }

    /// Adds a mention, which notifies people when the message is *posted*; an edit notifies nobody.
    #[must_use]
    pub fn mention(mut self, who: &Mention) -> Self {
        self.0.push_str(&who.markup());
        self
    }

    /// Adds a line break.
    #[must_use]
    pub fn line(mut self) -> Self {
        self.0.push('\n');
        self
    }

    /// Adds what `other` holds.
    #[must_use]
    pub fn append(mut self, other: &Self) -> Self {
        self.0.push_str(&other.0);
        self
    }

    /// The markup.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing to see.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.0.trim().is_empty()
    }

    fn styled(mut self, raw: &str, mark: &str, can: impl Fn(&str) -> bool) -> Self {
        let text = escape(raw);
        let styled = !text.trim().is_empty() && can(&text);
        let mark = if styled { mark } else { "" };
        self.0.push_str(mark);
        self.0.push_str(&text);
        self.0.push_str(mark);
        self
    }
}

impl fmt::Display for Mrkdwn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes text harmless: `&`, `<` and `>` as entities, and no characters that hide or reorder others.
#[must_use]
pub fn escape(raw: &str) -> String {
    let mut safe = String::with_capacity(raw.len());
    for c in without_hidden(raw).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            c => safe.push(c),
        }
    }
    safe
}

/// `<url|label>`, or nothing unless the address is plain http or https: with a host, without a user name (which
/// makes one host look like another), without blanks, and at most 1,000 long.
#[must_use]
pub fn link(url: &str, label: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let web = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let odd = url
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || is_hidden(c));
    if !web || authority.is_empty() || authority.starts_with(':') || authority.contains('@') || odd
    {
        return None;
    }
    let mut target = String::with_capacity(url.len());
    for c in url.chars() {
        match c {
            '|' => target.push_str("%7C"),
            '<' => target.push_str("%3C"),
            '>' => target.push_str("%3E"),
            '`' => target.push_str("%60"),
            '&' => target.push_str("&amp;"),
            c => target.push(c),
        }
    }
    if units(&target) > MAX_URL {
        return None;
    }
    // The label of a link ends at the line, and a second bar has no escape.
    let label = escape(label.trim())
        .replace('\n', " ")
        .replace('|', "¦")
        .replace('`', "'");
    let label = cut_markup(&label, MAX_URL);
    if label.is_empty() {
        Some(format!("<{target}>"))
    } else {
        Some(format!("<{target}|{label}>"))
    }
}

/// The text without control characters (line breaks and tabs stay) and without those that change the direction
/// of writing, with which a shown command could differ from the copied one.
pub(in crate::report) fn without_hidden(raw: &str) -> String {
    raw.chars().filter(|c| !is_hidden(*c)).collect()
}

fn is_hidden(c: char) -> bool {
    let control = c.is_control() && !matches!(c, '\n' | '\t');
    control
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Length in UTF-16 units.
pub(in crate::report) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// At most `most` units of plain text, with an ellipsis when something was cut.
pub(in crate::report) fn cut_plain(text: &str, most: usize) -> String {
    if units(text) <= most {
        text.to_owned()
    } else {
        format!("{}…", prefix(text, most.saturating_sub(1)))
    }
}

/// At most `most` units of markup: never inside an entity, link or mention, and with code closed again.
pub(super) fn cut_markup(markup: &str, most: usize) -> String {
    if units(markup) <= most {
        return markup.to_owned();
    }
    let mut head = prefix(markup, most.saturating_sub(CUT_ADDS));
    // All foreign `<`, `>` and `&` are escaped, so what is left of them is markup of ours.
    if let Some((before, inside)) = head.rsplit_once('<')
        && !inside.contains('>')
    {
        head = before;
    }
    if let Some((before, inside)) = head.rsplit_once('&')
        && !inside.contains(';')
    {
        head = before;
    }
    let close = if head.matches("```").count() % 2 == 1 {
        "```"
    } else if head.matches('`').count() % 2 == 1 {
        "`"
    } else {
        ""
    };
    format!("{head}…{close}")
}

/// The longest start of `text` that is at most `most` units long.
fn prefix(text: &str, most: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, c)| {
        used += c.len_utf16();
        used > most
    });
    end.map_or(text, |(at, _)| &text[..at])
}
