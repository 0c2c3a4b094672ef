//! Who may send notifications: bearer tokens from files, and whether the service may start without any.
//!
//! Tokens are kept as digests and compared in constant time. A file is read again while the service runs, so that a
//! token is changed without a restart; a file that cannot be used, or is gone, keeps the tokens that were read from it
//! before.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, ORIGIN};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio::time::Instant;

/// How old what was read from the files may be when it is used.
const FRESH: Duration = Duration::from_secs(1);
/// The size in bytes above which a line is no token.
const LONGEST: usize = 4096;
/// The size in bytes above which a file is none of tokens.
const LARGEST: u64 = 64 * 1024;

type Sha = [u8; 32];

/// How senders are told from strangers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthMode {
    /// By a bearer token.
    Bearer,
    /// Not at all, because only this machine can connect.
    OpenOnLoopback,
    /// Not at all, because nothing can be changed: no trigger acts.
    OpenWithoutActing,
}

/// Why the service may not start as configured.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AuthError {
    /// Anybody could roll back a release.
    #[error(
        "triggers are in act mode and {listen} can be reached from other machines, but there is no bearer token: \
         name its file in `intake.bearer_token_files`, listen on 127.0.0.1, or leave every trigger in shadow mode"
    )]
    Open {
        /// Where it would listen.
        listen: SocketAddr,
    },
}

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The list of files is empty.
    #[error("no token file is named")]
    None,
    /// A file cannot be read.
    #[error("cannot read the token file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds no token.
    #[error("the token file {} is not usable: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The valid tokens. A clone shares them.
#[derive(Clone, Debug)]
pub struct Tokens {
    files: Arc<Mutex<Files>>,
}

#[derive(Debug)]
struct Files {
    read: Instant,
    files: Vec<File>,
}

/// One file, the digests of the tokens in it, and what is wrong with it now.
#[derive(Debug)]
struct File {
    path: PathBuf,
    digests: Vec<Sha>,
    trouble: Option<String>,
}

/// Decides whether and how senders are authenticated.
///
/// `acts` is whether any trigger is in act mode. To be asked again before a changed policy is taken.
pub fn decide(listen: SocketAddr, has_tokens: bool, acts: bool) -> Result<AuthMode, AuthError> {
    if has_tokens {
        Ok(AuthMode::Bearer)
    } else if listen.ip().to_canonical().is_loopback() {
        Ok(AuthMode::OpenOnLoopback)
    } else if acts {
        Err(AuthError::Open { listen })
    } else {
        Ok(AuthMode::OpenWithoutActing)
    }
}

/// Whether a request may come in.
pub(super) async fn admits(tokens: Option<&Tokens>, headers: &HeaderMap) -> bool {
    match tokens {
        Some(tokens) => match bearer(headers) {
            Some(token) => tokens.know(token).await,
            None => false,
        },
        // A web page can make a browser post to this machine, and cannot keep it from saying so.
        None => !headers.contains_key(ORIGIN),
    }
}

/// The token of a request; none when there is not exactly one header.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii())
}

// === impl AuthMode ===

impl AuthMode {
    /// Why it is so, for the log.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::Bearer => "senders need a bearer token",
            Self::OpenOnLoopback => "no token is asked for: only this machine can connect",
            Self::OpenWithoutActing => "no token is asked for: no trigger is in act mode",
        }
    }
}

// === impl Tokens ===

impl Tokens {
    /// Reads the tokens from each file: every line that is not empty is one. Two tokens let one be changed without a gap.
    pub fn load(paths: Vec<PathBuf>) -> Result<Self, TokenError> {
        if paths.is_empty() {
            return Err(TokenError::None);
        }
        let files = paths.into_iter().map(|path| {
            Ok(File {
                digests: read(&path)?,
                path,
                trouble: None,
            })
        });
        let files = Files {
            files: files.collect::<Result<_, TokenError>>()?,
            read: Instant::now(),
        };
        Ok(Self {
            files: Arc::new(Mutex::new(files)),
        })
    }

    /// Whether the token is one of the valid ones, by files that were read less than a second ago.
    async fn know(&self, token: &[u8]) -> bool {
        let presented: Sha = Sha256::digest(token).into();
        if let Ok(files) = self.files.try_lock()
            && files.read.elapsed() < FRESH
        {
            return files.know(&presented);
        }
        // Files may lie on a slow volume.
        let files = self.files.clone();
        let known = tokio::task::spawn_blocking(move || {
            let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
            files.refresh();
            files.know(&presented)
        });
        known.await.unwrap_or(false)
    }
}

// === impl Files ===

impl Files {
    /// Reads the files again unless somebody just did.
    fn refresh(&mut self) {
        if self.read.elapsed() >= FRESH {
            self.files.iter_mut().for_each(File::refresh);
            self.read = Instant::now();
        }
    }

    /// Every token is looked at, so that the time does not tell which one is alike.
    fn know(&self, presented: &Sha) -> bool {
        let digests = self.files.iter().flat_map(|file| &file.digests);
        let found = digests.fold(Choice::from(0), |found, digest| {
            found | digest.ct_eq(presented)
        });
        found.into()
    }
}

// === impl File ===

impl File {
    /// Reads the file again. The content is compared, not the time: mounted Secrets are swapped by a symbolic link.
    fn refresh(&mut self) {
        match read(&self.path) {
            Ok(digests) => {
                if digests != self.digests || self.trouble.is_some() {
                    tracing::info!(path = %self.path.display(), "a token file was read again");
                }
                self.digests = digests;
                self.trouble = None;
            }
            Err(error) => {
                let trouble = error.to_string();
                if self.trouble.as_ref() != Some(&trouble) {
                    tracing::error!(%error, "the tokens that were read before stay valid");
                }
                self.trouble = Some(trouble);
            }
        }
    }
}

/// The digests of the tokens in a file.
fn read(path: &Path) -> Result<Vec<Sha>, TokenError> {
    let unreadable = |source| TokenError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let unusable = |why| TokenError::Unusable {
        path: path.to_owned(),
        why,
    };
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(LARGEST + 1)
        .read_to_end(&mut content)
        .map_err(unreadable)?;
    if content.len() as u64 > LARGEST {
        return Err(unusable("it is larger than any list of tokens"));
    }
    let lines = content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let tokens: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    if tokens.is_empty() {
        return Err(unusable("it is empty"));
    }
    if tokens.iter().any(|token| token.len() > LONGEST) {
        return Err(unusable("a line is larger than any token"));
    }
    if !tokens
        .iter()
        .all(|token| token.iter().all(u8::is_ascii_graphic))
    {
        return Err(unusable(
            "each line that is not empty is one token of visible ASCII characters without spaces",
        ));
    }
    Ok(tokens
        .into_iter()
        .map(|token| Sha256::digest(token).into())
        .collect())
}

#[cfg(test)]
mod tests;
