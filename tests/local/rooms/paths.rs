//! Reads Rust as far as it takes to know which paths a text names: `a::b`, also inside a braced import.
//!
//! It is no parser: comments that stand on lines of their own and tests are left out, and what stands in a literal is
//! taken for code.

use std::iter::Peekable;
use std::str::Chars;

/// A path, segment by segment. A glob ends in `*`.
pub(super) type Path = Vec<String>;

/// Every path that a text names, a single word too.
pub(super) fn paths(text: &str) -> Vec<Path> {
    let lines = text.lines();
    let code: Vec<_> = lines
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let code = code.join("\n");
    let mut rest = code.chars().peekable();
    let mut found = Vec::new();
    while let Some(next) = rest.peek() {
        if begins(*next) {
            path(&mut rest, &Path::new(), &mut found);
        } else if next.is_numeric() {
            // A number and its suffix.
            word(&mut rest);
        } else {
            rest.next();
        }
    }
    found
}

/// The text without what is compiled for tests only: those may use another room's fixtures.
pub(super) fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("#[cfg(test)]") {
        kept.push_str(before);
        rest = after_item(after);
    }
    kept + rest
}

/// What comes after the next item: its semicolon, or its last brace.
fn after_item(text: &str) -> &str {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            ';' if depth == 0 => return &text[at + 1..],
            '{' => depth += 1,
            '}' if depth <= 1 => return &text[at + 1..],
            '}' => depth -= 1,
            _ => {}
        }
    }
    ""
}

fn begins(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn word(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut word = String::new();
    while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
        word.push(c);
    }
    word
}

/// Reads what follows `before`: a word, a glob or a list in braces, and whatever comes after two colons.
fn path(rest: &mut Peekable<Chars<'_>>, before: &Path, found: &mut Vec<Path>) {
    let mut path = before.clone();
    match rest.peek() {
        Some(c) if begins(*c) => path.push(word(rest)),
        Some('*') if !before.is_empty() => {
            rest.next();
            path.push("*".to_owned());
        }
        Some('{') if !before.is_empty() => {
            rest.next();
            return list(rest, before, found);
        }
        _ => return found.push(path),
    }
    let mut ahead = rest.clone();
    if ahead.next() == Some(':') && ahead.next() == Some(':') {
        rest.nth(1);
        return self::path(rest, &path, found);
    }
    found.push(path);
}

/// Reads the items of a list in braces, after its opening one.
fn list(rest: &mut Peekable<Chars<'_>>, before: &Path, found: &mut Vec<Path>) {
    // What follows `as` is only another name.
    let mut renamed = false;
    while let Some(c) = rest.peek() {
        match c {
            '}' => {
                rest.next();
                return;
            }
            ',' => {
                rest.next();
                renamed = false;
            }
            c if (begins(*c) || *c == '*' || *c == '{') && !renamed => {
                path(rest, before, found);
                renamed = true;
            }
            _ => {
                rest.next();
            }
        }
    }
}

#[test]
fn paths_are_read_in_every_form() {
    let joined =
        |text: &str| -> Vec<_> { paths(text).iter().map(|path| path.join("::")).collect() };
    assert_eq!(joined("use a;"), ["use", "a"]);
    assert_eq!(joined("// a::b\n  /// c::d\nx(::e::f(1u8))"), ["x", "e::f"]);
    assert_eq!(
        joined("use a::{b, c::{self, D as E}, f::*};"),
        ["use", "a::b", "a::c::self", "a::c::D", "a::f::*"]
    );
    assert_eq!(joined("f::<a::B>()"), ["f", "a::B"]);
    assert_eq!(joined("impl a::B {c: d}"), ["impl", "a::B", "c", "d"]);
}

#[test]
fn tests_are_left_out_and_what_follows_them_is_not() {
    let text = "a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\n#[path = \"x\"]\nmod tests {\n fn c() {}\n}\nd";
    let kept = without_tests(text);
    assert_eq!(kept.split_whitespace().collect::<Vec<_>>(), ["a", "b", "d"]);
}
