//! Text to matchers, as Alertmanager reads it in its default mode.
//!
//! Alertmanager has two parsers. The newer one (UTF-8) is asked first; what it refuses, the older one (classic) may
//! still accept. This differs from Alertmanager in three places, all on purpose:
//!
//! - Where both accept a text and read it differently, Alertmanager warns and follows the older; here the newer one
//!   wins, and [`Matcher::reading`] says `Disputed`. An example is `a="\t"`: a tab, or a backslash and a `t`.
//! - Where one matcher is asked for and the text is a list of several, Alertmanager's older parser makes one matcher of
//!   it (`a=b,c=d` tests `a` for `b,c=d`). Here a list is refused, because nobody means that.
//! - Where only the older parser accepts a text and finds no matcher in it (`}`), that list would accept every alert.
//!   Here it is refused: only the newer parser may say that there is nothing to test.

use std::ops::Range;

use super::{Matcher, Matchers, Reading, classic, utf8};

/// Why a text is no matcher, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (at byte {})", span.start)]
pub struct ParseError {
    /// The bytes of the text at fault, between characters; empty at the end of a text that stops too early.
    pub span: Range<usize>,
    /// What is wrong, and what was expected.
    pub what: String,
}

impl ParseError {
    pub(super) fn new(span: Range<usize>, what: impl Into<String>) -> Self {
        Self {
            span,
            what: what.into(),
        }
    }
}

/// Reads one matcher, such as `alertname=~"Pinn.*"`. As in Alertmanager, it stands without braces.
pub fn parse(text: &str) -> Result<Matcher, ParseError> {
    const BRACE: &str = "one matcher is expected, without braces";
    if text.starts_with('{') {
        return Err(ParseError::new(0..1, BRACE));
    }
    if text.ends_with('}') {
        return Err(ParseError::new(text.len() - 1..text.len(), BRACE));
    }
    let found = match utf8::parse(text) {
        Ok(found) => found,
        Err(error) => {
            return match classic::parse(text) {
                Some(_) if classic::parse_all(text).is_some_and(|list| list.len() > 1) => Err(
                    ParseError::new(0..text.len(), "one matcher is expected, found a list"),
                ),
                Some(matcher) => Ok(matcher.read_as(Reading::Classic)),
                None => Err(error),
            };
        }
    };
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some((matcher, _)), None) => {
            let reading = compare(&matcher, classic::parse(text).as_ref());
            Ok(matcher.read_as(reading))
        }
        (Some(_), Some((_, second))) => Err(ParseError::new(
            second,
            "one matcher is expected, found another",
        )),
        (None, _) => Err(ParseError::new(
            text.len()..text.len(),
            "expected a matcher, found the end of the text",
        )),
    }
}

/// Reads any number of matchers, separated by commas, with or without braces around them all.
pub fn parse_all(text: &str) -> Result<Matchers, ParseError> {
    let older = classic::parse_all(text);
    let (found, reading) = match (utf8::parse(text), older) {
        (Ok(newer), older) => {
            let newer: Vec<_> = newer.into_iter().map(|(matcher, _)| matcher).collect();
            let reading = compare(&newer, older.as_ref());
            (newer, reading)
        }
        (Err(_), Some(older)) if !older.is_empty() => (older, Reading::Classic),
        (Err(error), _) => return Err(error),
    };
    Ok(found
        .into_iter()
        .map(|matcher| matcher.read_as(reading))
        .collect())
}

/// What to say of something that the newer parser read.
fn compare<T: PartialEq>(newer: &T, older: Option<&T>) -> Reading {
    match older {
        None => Reading::Utf8,
        Some(older) if older == newer => Reading::Agreed,
        Some(_) => Reading::Disputed,
    }
}
