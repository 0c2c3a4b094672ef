//! Alertmanager's matchers: a label name, an operator, a value.
//!
//! A label that is not there counts as empty. A regular expression must match the whole value. It is compiled by
//! Rust's `regex`, whose syntax is nearly Go's RE2: `\d`, `\w`, `\s` and `\b` know all of Unicode here and only ASCII
//! there; `&&`, `--`, `~~` and `[` within a class, the flag `x`, and `\<`, `\>` mean something only here; `\Q..\E`, `\C`
//! and a lone `{` are known only there and are refused. Backtracking does not exist in either.

use std::fmt::{self, Write};
use std::slice;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};

use super::labels::{Labels, Quoted, write_name};

mod classic;
mod parse;
mod utf8;

pub use parse::{ParseError, parse, parse_all};

/// The most memory that one compiled expression, and the cache of its automaton, may take, in bytes.
const REGEX_BYTES: usize = 1 << 20;
/// How deep the groups of an expression may nest.
const REGEX_DEPTH: u32 = 50;

/// One test of one label.
///
/// Two are equal when name, operator and value are.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    op: Op,
    value: String,
    /// Of `=~` and `!~` alone.
    regex: Option<Regex>,
    reading: Reading,
}

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// `=`: the value is this.
    Equal,
    /// `!=`: the value is not this.
    NotEqual,
    /// `=~`: the whole value matches this expression.
    Match,
    /// `!~`: the whole value does not match this expression.
    NotMatch,
}

/// Which of Alertmanager's two parsers reads the text this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reading {
    /// Both do, or it never was a text.
    Agreed,
    /// Only the newer one: the older knows no such text.
    Utf8,
    /// Only the older one: the newer refuses the text, and Alertmanager warns.
    Classic,
    /// The newer one; the older, which Alertmanager by default follows here, reads something else.
    Disputed,
}

/// Several tests that must all hold. No test at all holds for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matchers(Vec<Matcher>);

impl Matcher {
    /// Builds a matcher. Fails, in a few words, when the value should be a regular expression and is not.
    pub fn new(
        name: impl Into<String>,
        op: Op,
        value: impl Into<String>,
    ) -> Result<Self, BadRegex> {
        let (name, value) = (name.into(), value.into());
        let regex = match op {
            Op::Equal | Op::NotEqual => None,
            Op::Match | Op::NotMatch => Some(compile(&value)?),
        };
        Ok(Self {
            name,
            op,
            value,
            regex,
            reading: Reading::Agreed,
        })
    }

    /// The label's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    #[must_use]
    pub fn op(&self) -> Op {
        self.op
    }

    /// The value, or the regular expression, without quotes and escapes.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// How sure it is that Alertmanager reads the text it came from the same way.
    #[must_use]
    pub fn reading(&self) -> Reading {
        self.reading
    }

    fn read_as(self, reading: Reading) -> Self {
        Self { reading, ..self }
    }

    /// Whether the test holds.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matches_value(labels.get_or_empty(&self.name))
    }

    /// Whether the test holds for a label of this value; an absent label is the empty text.
    #[must_use]
    pub fn matches_value(&self, value: &str) -> bool {
        let found = match &self.regex {
            Some(regex) => regex.is_match(value),
            None => self.value == value,
        };
        found == self.op.is_positive()
    }

    /// Whether everything that passes this test certainly passes `other`. No is also said when it is not known.
    #[must_use]
    pub fn implies(&self, other: &Self) -> bool {
        if self.name != other.name {
            return false;
        }
        self == other
            || match self.op {
                Op::Equal => other.matches_value(&self.value),
                Op::Match => self
                    .words()
                    .is_some_and(|mut words| words.all(|word| other.matches_value(word))),
                Op::NotEqual | Op::NotMatch => false,
            }
    }

    /// The values that an expression such as `a|b|c` stands for, if it is as simple as that.
    fn words(&self) -> Option<impl Iterator<Item = &str>> {
        let plain = |c: char| c.is_alphanumeric() || "|-_ /:@,".contains(c);
        self.value.chars().all(plain).then(|| self.value.split('|'))
    }
}

impl Op {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Match => "=~",
            Self::NotMatch => "!~",
        }
    }

    const fn is_positive(self) -> bool {
        matches!(self, Self::Equal | Self::Match)
    }
}

impl Matchers {
    /// Whether every test holds.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.first_failing(labels).is_none()
    }

    /// The first test that does not hold, in the order written.
    #[must_use]
    pub fn first_failing(&self, labels: &Labels) -> Option<&Matcher> {
        self.0.iter().find(|matcher| !matcher.matches(labels))
    }

    /// Whether every alert that `later` accepts is certainly accepted here too.
    ///
    /// Sound, but not complete: yes is a proof, no may mean "cannot tell". Each test here must follow from one test
    /// of `later`, so an empty list covers everything.
    #[must_use]
    pub fn covers(&self, later: &Self) -> bool {
        self.0
            .iter()
            .all(|mine| later.0.iter().any(|theirs| theirs.implies(mine)))
    }

    /// The tests, in the order written.
    pub fn iter(&self) -> slice::Iter<'_, Matcher> {
        self.0.iter()
    }

    /// How many tests there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no test, so that everything is accepted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Why a text is no regular expression, or none that is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad regular expression: {0}")]
pub struct BadRegex(String);

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    /// Writes the matcher so that reading it gives the same one back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(f, &self.name)?;
        write!(f, "{}{}", self.op, Quoted(&self.value))
    }
}

impl FromStr for Matcher {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse(text)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Matchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('{')?;
        for (index, matcher) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{matcher}")?;
        }
        f.write_char('}')
    }
}

impl FromStr for Matchers {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse_all(text)
    }
}

impl FromIterator<Matcher> for Matchers {
    fn from_iter<I: IntoIterator<Item = Matcher>>(matchers: I) -> Self {
        Self(matchers.into_iter().collect())
    }
}

impl Extend<Matcher> for Matchers {
    fn extend<I: IntoIterator<Item = Matcher>>(&mut self, matchers: I) {
        self.0.extend(matchers);
    }
}

impl<'a> IntoIterator for &'a Matchers {
    type Item = &'a Matcher;
    type IntoIter = slice::Iter<'a, Matcher>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Matchers {
    type Item = Matcher;
    type IntoIter = std::vec::IntoIter<Matcher>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Compiles an expression that must match a whole value, put together as Alertmanager does it.
fn compile(pattern: &str) -> Result<Regex, BadRegex> {
    RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(REGEX_BYTES)
        .dfa_size_limit(REGEX_BYTES)
        .nest_limit(REGEX_DEPTH)
        .build()
        .map_err(|error| {
            // A syntax error comes as a drawing of several lines, of which the last says what is wrong.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            BadRegex(last.strip_prefix("error: ").unwrap_or(last).to_owned())
        })
}

#[cfg(test)]
mod tests;
