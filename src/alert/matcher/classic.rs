//! Alertmanager's older parser: lenient, and with no sense of where it failed.
//!
//! It is only asked whether it can read a text, and how; what is wrong with one, the newer parser says. Names are
//! ASCII. A value may lack its quotes, and then holds anything but a double quote. A backslash that escapes nothing
//! stands for itself.

use super::{Matcher, Op};

/// The operators, the longer before the shorter that they begin with.
const OPS: [Op; 4] = [Op::Match, Op::Equal, Op::NotEqual, Op::NotMatch];

/// Reads one matcher.
pub(super) fn parse(text: &str) -> Option<Matcher> {
    let text = text.trim_start_matches(is_space);
    let (name, rest) = text.split_at(text.find(|c| !is_name(c))?);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let rest = rest.trim_start_matches(is_space);
    let (op, rest) = OPS
        .into_iter()
        .find_map(|op| Some((op, rest.strip_prefix(op.as_str())?)))?;
    let value = unescape(rest.trim_matches(is_space))?;
    Matcher::new(name, op, value).ok()
}

/// Reads any number of matchers, separated by commas outside of quotes. Each brace at the ends is optional by itself.
pub(super) fn parse_all(text: &str) -> Option<Vec<Matcher>> {
    let text = text.strip_prefix('{').unwrap_or(text);
    let text = text.strip_suffix('}').unwrap_or(text);
    let (mut start, mut in_quotes, mut escaped) = (0, false, false);
    let mut found = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            ',' if !in_quotes => {
                found.push(parse(&text[start..at])?);
                start = at + 1;
            }
            // A comma leaves a pending escape pending, as it does there.
            ',' => {}
            '"' if escaped => escaped = false,
            '"' => in_quotes = !in_quotes,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    let last = text[start..].trim();
    if !last.is_empty() {
        found.push(parse(last)?);
    }
    Some(found)
}

/// Takes quotes and escapes off a value; none when a double quote is left over or missing.
fn unescape(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"').unwrap_or(text);
    let mut open = inner.len() < text.len();
    let mut value = String::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('n') => value.push('\n'),
                Some(c @ ('"' | '\\')) => value.push(c),
                Some(c) => value.extend(['\\', c]),
                None => value.push('\\'),
            },
            '"' if open && rest.as_str().is_empty() => open = false,
            '"' => return None,
            c => value.push(c),
        }
    }
    (!open).then_some(value)
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// What Go's regular expressions take for a space.
fn is_space(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\x0c' | '\r' | ' ')
}
