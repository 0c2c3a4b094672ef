//! Reads a policy: one file, or a folder of `*.yaml` and `*.yml`.
//!
//! The pure part takes texts; it is what `serve` reloads with and what the tests call. A file that cannot be read as
//! YAML of the right shape is said to be so before anything is concluded from the others.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use sha2::{Digest, Sha256};

use super::compile::compile;
use super::diagnostic::{Diagnostic, Level, Place, Source};
use super::nearest::{listed, nearest};
use super::raw;
use crate::policy::Policy;

/// A policy that may be run, and what is worth a look in it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The policy.
    pub policy: Policy,
    /// What is probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// What came of reading a policy.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The policy, if nothing is wrong with it.
    pub policy: Option<Policy>,
    /// Everything that is wrong or worth a look, by place.
    pub diagnostics: Vec<Diagnostic>,
    /// How many triggers were read.
    pub triggers: usize,
    /// How many targets were read.
    pub targets: usize,
}

/// Reads and compiles the policy at `path`.
///
/// # Errors
/// Everything that is wrong with it, and the warnings too.
pub fn load_policy(path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    let sources = read_sources(path).map_err(|error| vec![error])?;
    read_policy(sources).into_loaded()
}

/// Reads the files of a policy: the one at `path`, or every `*.yaml` and `*.yml` in it, sorted by name.
///
/// # Errors
/// Which of them cannot be read, or that there is none.
pub fn read_sources(path: &Path) -> Result<Vec<Source>, Diagnostic> {
    let cannot = |path: &Path, error: io::Error| {
        Diagnostic::error(format!("cannot read {}: {error}", path.display()))
    };
    let files = if path.is_dir() {
        files_in(path).map_err(|error| cannot(path, error))?
    } else {
        vec![path.to_owned()]
    };
    if files.is_empty() {
        return Err(Diagnostic::error(format!(
            "{} holds no *.yaml or *.yml file",
            path.display()
        )));
    }
    files
        .into_iter()
        .map(|file| match fs::read_to_string(&file) {
            Ok(text) => Ok(Source {
                path: file.display().to_string(),
                text,
            }),
            Err(error) => Err(cannot(&file, error)),
        })
        .collect()
}

/// Hidden names are left out: a mounted ConfigMap holds every file twice, once under `..data`.
fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let yaml = path
            .extension()
            .is_some_and(|end| end == "yaml" || end == "yml");
        if !hidden && yaml && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads and compiles texts. Pure.
#[must_use]
pub fn read_policy(sources: impl IntoIterator<Item = Source>) -> Reading {
    let sources: Vec<_> = sources.into_iter().map(Arc::new).collect();
    let mut files = Vec::new();
    let mut diagnostics = Vec::new();
    for source in &sources {
        match parse(source) {
            Ok(file) => files.push((Arc::clone(source), file)),
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
    }
    let triggers = files.iter().map(|(_, file)| file.triggers.len()).sum();
    let targets = files.iter().map(|(_, file)| file.targets.0.len()).sum();
    let mut policy = None;
    if diagnostics.is_empty() {
        policy = compile(
            files,
            digest(sources.iter().map(Arc::as_ref)),
            &mut diagnostics,
        );
    }
    let order: Vec<_> = sources.iter().map(|source| source.path.as_str()).collect();
    diagnostics.sort_by_key(|diagnostic| {
        let place = diagnostic.place.as_ref();
        place.map(|place| {
            let file = order.iter().position(|path| *path == place.source.path);
            (file, place.span.start)
        })
    });
    Reading {
        policy,
        diagnostics,
        triggers,
        targets,
    }
}

impl Reading {
    /// How many errors there are.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.count(Level::Error)
    }

    /// How many warnings there are.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.count(Level::Warning)
    }

    fn count(&self, level: Level) -> usize {
        self.diagnostics
            .iter()
            .filter(|one| one.level == level)
            .count()
    }

    /// The policy with its warnings.
    ///
    /// # Errors
    /// Everything that is wrong, and the warnings too.
    pub fn into_loaded(self) -> Result<Loaded, Vec<Diagnostic>> {
        match self.policy {
            Some(policy) => Ok(Loaded {
                policy,
                warnings: self.diagnostics,
            }),
            None => Err(self.diagnostics),
        }
    }
}

/// The first twelve digits of the SHA-256 of all texts, in order.
pub fn digest<'a>(sources: impl IntoIterator<Item = &'a Source>) -> String {
    let mut hash = Sha256::new();
    for source in sources {
        hash.update(source.text.as_bytes());
    }
    let mut digest = String::new();
    for byte in hash.finalize().iter().take(6) {
        // Writing to a String cannot fail.
        let _ = write!(digest, "{byte:02x}");
    }
    digest
}

/// Reads one file, or says what keeps it from being read.
fn parse(source: &Arc<Source>) -> Result<raw::File, Diagnostic> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        // A name that stands twice is said with both places, which needs both.
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
    };
    let file: Result<Option<raw::File>, _> =
        serde_saphyr::from_str_with_options(&source.text, options);
    file.map(Option::unwrap_or_default).map_err(|error| {
        // The stricter reading names the place of a key that stands twice.
        let strict: Result<Option<raw::File>, _> = serde_saphyr::from_str(&source.text);
        match strict {
            Err(twice)
                if matches!(
                    twice.without_snippet(),
                    serde_saphyr::Error::DuplicateMappingKey { .. }
                ) =>
            {
                explain(source, &twice)
            }
            _ => explain(source, &error),
        }
    })
}

/// Says in the policy's own words what the YAML reader found.
fn explain(source: &Arc<Source>, error: &serde_saphyr::Error) -> Diagnostic {
    let error = error.without_snippet();
    let (title, label) =
        in_words(error).unwrap_or_else(|other| ("not a policy that can be read".to_owned(), other));
    match error.location() {
        Some(at) => Diagnostic::error(title).at(Place::from_location(source, &at), label),
        None => Diagnostic::error(format!("{}: {title}: {label}", source.path)),
    }
}

/// What the YAML reader found: a title, and what to say at the place. The reader's own words where there are no better.
pub(super) fn in_words(error: &serde_saphyr::Error) -> Result<(String, String), String> {
    use serde_saphyr::Error;
    Ok(match error.without_snippet() {
        Error::SerdeUnknownField {
            field, expected, ..
        } => {
            let label = match nearest(field, expected.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("expected {}", listed(expected.iter().copied())),
            };
            (format!("key `{field}` does not exist here"), label)
        }
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => {
            let label = match nearest(variant, expected.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("expected {}", listed(expected.iter().copied())),
            };
            (format!("`{variant}` is not known here"), label)
        }
        Error::SerdeMissingField { field, .. } => (
            format!("key `{field}` is missing"),
            format!("expected `{field}` in here"),
        ),
        Error::SerdeInvalidType {
            unexpected,
            expected,
            ..
        }
        | Error::SerdeInvalidValue {
            unexpected,
            expected,
            ..
        } => (
            "this value cannot be read here".to_owned(),
            format!("expected {expected}, found {unexpected}"),
        ),
        Error::InvalidScalar { ty, .. } => (
            "this value cannot be read here".to_owned(),
            format!("expected {}", kind(ty)),
        ),
        Error::DuplicateMappingKey { key, .. } => (
            match key {
                Some(key) => format!("`{key}` stands twice"),
                None => "a key stands twice".to_owned(),
            },
            "the second one".to_owned(),
        ),
        Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. } => (
            "this value cannot be read here".to_owned(),
            "expected a word, or a mapping with one key".to_owned(),
        ),
        Error::MultipleDocuments { .. } => (
            "a second YAML document begins here".to_owned(),
            "expected one in a file".to_owned(),
        ),
        other => {
            let mut said = other.to_string();
            said.truncate(said.rfind(" at line ").unwrap_or(said.len()));
            return Err(said);
        }
    })
}

/// A type of Rust in words for people.
fn kind(of: &str) -> &str {
    match of {
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "i64" => "a whole number",
        other => other,
    }
}

#[cfg(test)]
mod tests;
