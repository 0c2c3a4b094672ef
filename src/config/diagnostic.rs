//! What is wrong with a file, where, and what was expected; drawn the way rustc draws it.
//!
//! A diagnostic holds the text that it points into, so that it can be drawn later and elsewhere. It refuses to know
//! about terminals: colours are escape sequences, which whoever prints takes out where they do not belong.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level as Drawn, Renderer, Snippet};
use serde::Serialize;

/// How wide a drawing may be.
const WIDTH: usize = 140;

/// One thing that is wrong, or worth a look.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diagnostic {
    /// How bad it is.
    pub level: Level,
    /// What is wrong, in one line.
    pub title: String,
    /// Where; none for a file that could not be read, or for a setting.
    pub place: Option<Place>,
    /// What is said at the place: what was expected.
    pub label: String,
    /// Other places that belong to it, each with what is there.
    pub related: Vec<(Place, String)>,
    /// What to do.
    pub help: Option<Box<str>>,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing starts with it.
    Error,
    /// It works, and is probably not meant.
    Warning,
}

/// A file that was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    /// Its path, as given.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// A part of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// The file.
    pub source: Arc<Source>,
    /// The bytes.
    pub span: Range<usize>,
}

// === impl Diagnostic ===

impl Diagnostic {
    /// An error without a place.
    #[must_use]
    pub fn error(title: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            title: title.into(),
            place: None,
            label: String::new(),
            related: Vec::new(),
            help: None,
        }
    }

    /// A warning without a place.
    #[must_use]
    pub fn warning(title: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            ..Self::error(title)
        }
    }

    /// Says where, and what was expected there.
    #[must_use]
    pub fn at(mut self, place: Place, label: impl Into<String>) -> Self {
        self.place = Some(place);
        self.label = label.into();
        self
    }

    /// Adds another place that belongs to it.
    #[must_use]
    pub fn with(mut self, place: Place, said: impl Into<String>) -> Self {
        self.related.push((place, said.into()));
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into().into_boxed_str());
        self
    }

    /// Draws it, with colours as escape sequences if `colours` says so.
    #[must_use]
    pub fn render(&self, colours: bool) -> String {
        let renderer = if colours {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(WIDTH);
        let level = match self.level {
            Level::Error => Drawn::ERROR,
            Level::Warning => Drawn::WARNING,
        };
        let mut groups: Vec<Group<'_>> = Vec::new();
        let title = level.primary_title(self.title.as_str());
        let mut group = match &self.place {
            Some(place) => title.element(self.snippet(place)),
            None => Group::with_title(title),
        };
        if let Some(help) = &self.help {
            group = group.element(Drawn::HELP.message(&**help));
        }
        groups.push(group);
        for (place, said) in self.elsewhere() {
            let annotation = AnnotationKind::Context.span(place.span.clone());
            let snippet = Snippet::source(place.source.text.as_str())
                .path(place.source.path.as_str())
                .annotation(annotation);
            groups.push(Drawn::NOTE.secondary_title(said.as_str()).element(snippet));
        }
        renderer.render(&groups)
    }

    /// In one line: `file:line:column: error: title: label`.
    #[must_use]
    pub fn one_line(&self) -> String {
        let place = self.place.as_ref().map(|place| format!("{place}: "));
        let mut line = format!(
            "{}{}: {}",
            place.unwrap_or_default(),
            self.level,
            self.title
        );
        if !self.label.is_empty() {
            line.push_str(": ");
            line.push_str(&self.label);
        }
        line
    }

    /// The related places in the same file, which are drawn in the same picture.
    fn snippet<'a>(&'a self, place: &'a Place) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let label = (!self.label.is_empty()).then_some(self.label.as_str());
        let mut snippet = Snippet::source(place.source.text.as_str())
            .path(place.source.path.as_str())
            .annotation(
                AnnotationKind::Primary
                    .span(place.span.clone())
                    .label(label),
            );
        let same = |other: &Place| Arc::ptr_eq(&other.source, &place.source);
        for (other, said) in self.related.iter().filter(|(other, _)| same(other)) {
            let annotation = AnnotationKind::Context.span(other.span.clone());
            snippet = snippet.annotation(annotation.label(said.as_str()));
        }
        snippet
    }

    /// The related places in other files.
    fn elsewhere(&self) -> impl Iterator<Item = &(Place, String)> {
        self.related.iter().filter(|(other, _)| {
            let here = self.place.as_ref();
            here.is_none_or(|place| !Arc::ptr_eq(&other.source, &place.source))
        })
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Flat<'a> {
            level: Level,
            title: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            file: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            line: Option<usize>,
            #[serde(skip_serializing_if = "Option::is_none")]
            column: Option<usize>,
            #[serde(skip_serializing_if = "str::is_empty")]
            label: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            help: Option<&'a str>,
        }
        let position = self.place.as_ref().map(Place::position);
        let flat = Flat {
            level: self.level,
            title: &self.title,
            file: self.place.as_ref().map(|place| place.source.path.as_str()),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
            label: &self.label,
            help: self.help.as_deref(),
        };
        flat.serialize(to)
    }
}

// === impl Level ===

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

// === impl Place ===

impl Place {
    /// The place that the YAML reader names, cut to what stands on its first line.
    pub(super) fn from_location(source: &Arc<Source>, at: &serde_saphyr::Location) -> Self {
        let text = source.text.as_str();
        let span = at.span();
        let start = span
            .byte_offset()
            .and_then(|start| usize::try_from(start).ok());
        let start = start.unwrap_or_else(|| start_of(text, at));
        let start = boundary(text, start);
        let line = text[start..].lines().next().unwrap_or_default();
        let length = span
            .byte_len()
            .and_then(|length| usize::try_from(length).ok())
            .filter(|length| *length > 0);
        // A mapping or a list is marked by what opens it only: up to its end is shown, or its first word.
        let word = line.find([':', ' ', ',']).unwrap_or(line.len()).max(1);
        let length = closing(line).or(length).unwrap_or(word);
        let length = line[..boundary(line, length)].trim_end().len();
        Self {
            source: Arc::clone(source),
            span: start..start + length,
        }
    }

    /// Line and column, both counted from one; the column in characters.
    #[must_use]
    pub fn position(&self) -> (usize, usize) {
        let before = self.source.text.get(..self.span.start).unwrap_or_default();
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let begun = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(begun..).unwrap_or_default().chars().count() + 1;
        (line, column)
    }

    /// `file:line`, as it is put on record.
    #[must_use]
    pub fn file_and_line(&self) -> String {
        format!("{}:{}", self.source.path, self.position().0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.position();
        write!(f, "{}:{line}:{column}", self.source.path)
    }
}

/// The last place at or before `at` where a character begins.
fn boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// How long a mapping or list in brackets is that begins here, if it ends on this line.
fn closing(line: &str) -> Option<usize> {
    if !line.starts_with(['{', '[']) {
        return None;
    }
    let mut depth = 0_u32;
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,

            (None, '"' | '\'') => quote = Some(c),
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// The byte at which a line and column begin.
fn start_of(text: &str, at: &serde_saphyr::Location) -> usize {
    let line = usize::try_from(at.line()).unwrap_or(1).saturating_sub(1);
    let column = usize::try_from(at.column()).unwrap_or(1).saturating_sub(1);
    let begun: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text[begun..].char_indices();
    begun
        + rest
            .map(|(at, _)| at)
            .nth(column)
            .unwrap_or(text.len() - begun)
}
