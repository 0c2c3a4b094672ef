//! Alertmanager's newer parser: any UTF-8 text may be a name, and everything odd must stand in quotes.
//!
//! ```text
//! list    = [ "{" ] [ matcher { "," matcher } [ "," ] ] [ "}" ]     both braces, or none
//! matcher = text ( "=" | "!=" | "=~" | "!~" ) text
//! text    = bare | quoted
//! bare    = one or more characters, none of them a space or one of { } ! = ~ , \ " ' `
//! quoted  = a double-quoted string as in Go, with Go's escapes
//! ```

use std::ops::Range;

use super::{Matcher, Op, ParseError};

/// The characters that end a bare text, besides spaces.
const RESERVED: &str = "{}!=~,\\\"'`";

/// Reads any number of matchers, each with the bytes it was read from.
pub(super) fn parse(text: &str) -> Result<Vec<(Matcher, Range<usize>)>, ParseError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut found = Vec::new();
    let mut next = lexer.token()?;
    let braces = next.kind == Kind::Open;
    if braces {
        next = lexer.token()?;
    }
    while !matches!(next.kind, Kind::Close | Kind::End) {
        let (matcher, span) = lexer.matcher(&next)?;
        found.push((matcher, span));
        next = lexer.token()?;
        match next.kind {
            Kind::Comma => next = lexer.token()?,
            Kind::Close | Kind::End => {}
            _ => {
                return Err(lexer.unexpected(
                    &next,
                    if braces {
                        "`,` or `}`"
                    } else {
                        "`,` or the end"
                    },
                ));
            }
        }
    }
    match (braces, next.kind) {
        (true, Kind::Close) => {
            let after = lexer.token()?;
            if after.kind == Kind::End {
                Ok(found)
            } else {
                Err(lexer.unexpected(&after, "the end"))
            }
        }
        (true, _) => Err(lexer.unexpected(&next, "`}`")),
        (false, Kind::Close) => Err(ParseError::new(next.span, "`}` without a `{` at the start")),
        (false, _) => Ok(found),
    }
}

struct Lexer<'a> {
    text: &'a str,
    /// The byte that is read next.
    at: usize,
}

struct Token {
    kind: Kind,
    span: Range<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Open,
    Close,
    Comma,
    Op(Op),
    Quoted,
    Bare,
    End,
}

impl Lexer<'_> {
    /// Reads a matcher that begins with `name`.
    fn matcher(&mut self, name: &Token) -> Result<(Matcher, Range<usize>), ParseError> {
        let start = name.span.start;
        let name = self.string(name, "a label name")?;
        let op = self.token()?;
        let Kind::Op(op) = op.kind else {
            return Err(self.unexpected(&op, "`=`, `!=`, `=~` or `!~`"));
        };
        let token = self.token()?;
        let value = self.string(&token, "a value")?;
        let matcher = Matcher::new(name, op, value)
            .map_err(|error| ParseError::new(token.span.clone(), error.to_string()))?;
        Ok((matcher, start..token.span.end))
    }

    fn token(&mut self) -> Result<Token, ParseError> {
        let rest = self.text[self.at..].trim_start();
        let start = self.text.len() - rest.len();
        let (kind, length) = match rest.chars().next() {
            None => (Kind::End, 0),
            Some('{') => (Kind::Open, 1),
            Some('}') => (Kind::Close, 1),
            Some(',') => (Kind::Comma, 1),
            Some('"') => (Kind::Quoted, self.quoted(start)?),
            Some('=') if rest.starts_with("=~") => (Kind::Op(Op::Match), 2),
            Some('=') => (Kind::Op(Op::Equal), 1),
            Some('!') if rest.starts_with("!=") => (Kind::Op(Op::NotEqual), 2),
            Some('!') if rest.starts_with("!~") => (Kind::Op(Op::NotMatch), 2),
            Some('!') => {
                return Err(ParseError::new(
                    start..start + 1,
                    "expected `!=` or `!~`, found `!`",
                ));
            }
            Some(c) if RESERVED.contains(c) => {
                let what = format!("`{c}` may only stand in double quotes");
                return Err(ParseError::new(start..start + c.len_utf8(), what));
            }
            Some(_) => {
                let ends = |c: char| c.is_whitespace() || RESERVED.contains(c);
                (Kind::Bare, rest.find(ends).unwrap_or(rest.len()))
            }
        };
        self.at = start + length;
        Ok(Token {
            kind,
            span: start..self.at,
        })
    }

    /// The length of the quoted text at `start`, with its quotes.
    fn quoted(&self, start: usize) -> Result<usize, ParseError> {
        let mut escaped = false;
        for (at, byte) in self.text.bytes().enumerate().skip(start + 1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => return Ok(at + 1 - start),
                _ => {}
            }
        }
        Err(ParseError::new(
            start..self.text.len(),
            "the closing `\"` is missing",
        ))
    }

    /// The text that a token stands for; `expected` names it should it stand for none.
    fn string(&self, token: &Token, expected: &str) -> Result<String, ParseError> {
        match token.kind {
            Kind::Bare => Ok(self.text[token.span.clone()].to_owned()),
            Kind::Quoted => unquote(self.text, token.span.clone()),
            _ => Err(self.unexpected(token, expected)),
        }
    }

    fn unexpected(&self, token: &Token, expected: &str) -> ParseError {
        let what = match token.kind {
            Kind::End => format!("expected {expected}, found the end of the text"),
            Kind::Quoted | Kind::Bare => format!("expected {expected}, found a text"),
            _ => format!(
                "expected {expected}, found `{}`",
                &self.text[token.span.clone()]
            ),
        };
        ParseError::new(token.span.clone(), what)
    }
}

/// Takes the quotes and the escapes off the quoted text at `span`, by the rules of Go's strings.
fn unquote(text: &str, span: Range<usize>) -> Result<String, ParseError> {
    let (mut at, end) = (span.start + 1, span.end - 1);
    let mut bytes = Vec::with_capacity(end - at);
    while at < end {
        let rest = &text[at..end];
        let plain = rest.find(['\\', '\n']).unwrap_or(rest.len());
        bytes.extend_from_slice(&rest.as_bytes()[..plain]);
        at += plain;
        if at == end {
            break;
        }
        if rest[plain..].starts_with('\n') {
            return Err(ParseError::new(
                at..at + 1,
                r"a line break in quotes is written `\n`",
            ));
        }
        at += escape(&rest[plain + 1..], &mut bytes).map_err(|length| {
            let bad = at..at + 1 + length;
            let what = format!(
                r"`{}` is no escape; a backslash itself is written `\\`",
                &text[bad.clone()]
            );
            ParseError::new(bad, what)
        })? + 1;
    }
    String::from_utf8(bytes)
        .map_err(|_| ParseError::new(span, "the escapes do not add up to UTF-8"))
}

/// Reads the escape that follows a backslash, and gives its length; or the length of what is none.
fn escape(rest: &str, into: &mut Vec<u8>) -> Result<usize, usize> {
    let Some(kind) = rest.chars().next() else {
        return Err(0);
    };
    let simple = match kind {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        '"' => b'"',
        'x' => {
            into.push(
                number(rest, 1..3, 16)
                    .and_then(|n| u8::try_from(n).ok())
                    .ok_or(1_usize)?,
            );
            return Ok(3);
        }
        '0'..='7' => {
            into.push(
                number(rest, 0..3, 8)
                    .and_then(|n| u8::try_from(n).ok())
                    .ok_or(1_usize)?,
            );
            return Ok(3);
        }
        'u' | 'U' => {
            let length = if kind == 'u' { 5 } else { 9 };
            let c = number(rest, 1..length, 16)
                .and_then(char::from_u32)
                .ok_or(1_usize)?;
            into.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(length);
        }
        other => return Err(other.len_utf8()),
    };
    into.push(simple);
    Ok(1)
}

/// The number that these digits, all of them, spell.
fn number(text: &str, digits: Range<usize>, radix: u32) -> Option<u32> {
    let digits = text.get(digits)?;
    // Otherwise a sign would pass for a digit.
    let all = digits.chars().all(|c| c.is_digit(radix));
    all.then(|| u32::from_str_radix(digits, radix).ok())
        .flatten()
}
