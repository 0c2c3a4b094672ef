//! Secrets of the report: read from their files anew for each use, so that what was replaced is used at once.
//!
//! What is wrong with a file is said once, until that changes. A secret is never logged.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::SecretString;

/// Gives a secret for one call, empty where there is none; it is asked each time.
pub type Source = Arc<dyn Fn() -> SecretString + Send + Sync>;

/// A secret that is what it is.
#[must_use]
pub fn fixed(secret: SecretString) -> Source {
    Arc::new(move || secret.clone())
}

/// A secret in a file. `what` says which, for the log.
#[must_use]
pub fn in_file(path: PathBuf, what: &'static str) -> Source {
    let trouble = Mutex::new(None);
    Arc::new(move || {
        let secret = read(&path);
        let now = secret.as_ref().err().cloned();
        let mut before = trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if *before != now {
            if let Some(error) = &now {
                tracing::error!(error, "there is no {what}");
            } else {
                tracing::info!("the {what} can be read again");
            }
            *before = now;
        }
        secret.unwrap_or_default()
    })
}

/// Text from elsewhere, without secrets that it repeats.
#[must_use]
pub fn hide<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let secrets = secrets.into_iter().filter(|secret| !secret.is_empty());
    secrets.fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
}

/// The secret in a file, without the line break at its end.
///
/// # Errors
/// Why there is none, for people.
pub fn read(path: &Path) -> Result<SecretString, String> {
    let shown = path.display();
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Err(format!("{shown} is empty")),
        Ok(text) => Ok(SecretString::from(text.trim().to_owned())),
        Err(error) => Err(format!("cannot read {shown}: {error}")),
    }
}
