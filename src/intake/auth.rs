//! Who may send notifications: bearer tokens, and users with passwords, from files; and whether the service may start without
//! any.
//!
//! They are kept as digests and compared in constant time. A file is read again while the service runs, so that a token is
//! changed without a restart; a file that cannot be used, or is gone, keeps what was read from it before. Passwords are meant
//! to be long and random, as tokens are: a slow hash would let strangers keep the processor busy.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, ORIGIN};
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio::time::Instant;

/// How old what was read from the files may be when it is used.
const FRESH: Duration = Duration::from_secs(1);
/// The size in bytes above which a line is no token.
const LONGEST: usize = 4096;
/// The size in bytes above which a file is none of tokens.
const LARGEST: u64 = 64 * 1024;

/// What stands before the digest of a password that a file does not hold itself.
const HASHED: &[u8] = b"sha256:";

type Sha = [u8; 32];

/// A way in which senders show who they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scheme {
    Bearer,
    Basic,
}

/// The ways that are on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Schemes {
    /// Bearer tokens.
    pub bearer: bool,
    /// Users with passwords.
    pub basic: bool,
}

/// How senders are told from strangers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthMode {
    /// By a bearer token.
    Bearer,
    /// By a user and a password.
    Basic,
    /// By either.
    BearerOrBasic,
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
        "triggers are in act mode and {listen} can be reached from other machines, but there is no bearer token and no password: \
         name a file of them in `intake.bearer_token_files` or `intake.basic_auth_files`, listen on 127.0.0.1, or leave every \
         trigger in shadow mode"
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
    #[error("no file of tokens or passwords is named")]
    None,
    /// A file cannot be read.
    #[error("cannot read the file of tokens or passwords {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds none.
    #[error("the file of tokens or passwords {} is not usable: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The valid tokens, and the users with their passwords. A clone shares them.
#[derive(Clone, Debug)]
pub struct Tokens {
    schemes: Schemes,
    files: Arc<Mutex<Files>>,
}

#[derive(Debug)]
struct Files {
    read: Instant,
    files: Vec<File>,
}

/// One file, the digests of what is in it, and what is wrong with it now.
#[derive(Debug)]
struct File {
    scheme: Scheme,
    path: PathBuf,
    digests: Vec<Sha>,
    trouble: Option<String>,
}

/// Decides whether and how senders are authenticated.
///
/// `acts` is whether any trigger is in act mode. To be asked again before a changed policy is taken.
pub fn decide(listen: SocketAddr, on: Schemes, acts: bool) -> Result<AuthMode, AuthError> {
    if on.bearer && on.basic {
        Ok(AuthMode::BearerOrBasic)
    } else if on.bearer {
        Ok(AuthMode::Bearer)
    } else if on.basic {
        Ok(AuthMode::Basic)
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
        Some(tokens) => match presented(headers) {
            Some((scheme, presented)) => tokens.know(scheme, presented).await,
            None => false,
        },
        // A web page can make a browser post to this machine, and cannot keep it from saying so.
        None => !headers.contains_key(ORIGIN),
    }
}

/// What a request shows, as its digest; none when there is not exactly one header of a known scheme.
fn presented(headers: &HeaderMap) -> Option<(Scheme, Sha)> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    if values.next().is_some() {
        return None;
    }
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = value.split_at_checked(space)?;
    let rest = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"Bearer") {
        Some((Scheme::Bearer, Sha256::digest(rest).into()))
    } else if scheme.eq_ignore_ascii_case(b"Basic") {
        let decoded = BASE64_STANDARD.decode(rest).ok()?;
        let (user, password) = pair(&decoded)?;
        Some((Scheme::Basic, login(user, &Sha256::digest(password).into())))
    } else {
        None
    }
}

/// A user and what follows the first colon: a user has none.
fn pair(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = text.iter().position(|byte| *byte == b':')?;
    let (user, rest) = text.split_at_checked(colon)?;
    Some((user, rest.get(1..)?))
}

/// One digest for a user and the digest of the password.
fn login(user: &[u8], password: &Sha) -> Sha {
    let mut both = Sha256::new();
    both.update(Sha256::digest(user));
    both.update(password);
    both.finalize().into()
}

// === impl AuthMode ===

impl AuthMode {
    /// Why it is so, for the log.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::Bearer => "senders need a bearer token",
            Self::Basic => "senders need a user and a password",
            Self::BearerOrBasic => "senders need a bearer token, or a user and a password",
            Self::OpenOnLoopback => "no token is asked for: only this machine can connect",
            Self::OpenWithoutActing => "no token is asked for: no trigger is in act mode",
        }
    }
}

// === impl Tokens ===

impl Tokens {
    /// Reads the tokens from each file: every line that is not empty is one. Two tokens let one be changed without a gap.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn load(paths: Vec<PathBuf>) -> Result<Self, TokenError> {
        Self::load_all(paths, Vec::new())
    }

    /// Reads tokens from the files of `bearer`, and from those of `basic` users with their passwords.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn load_all(bearer: Vec<PathBuf>, basic: Vec<PathBuf>) -> Result<Self, TokenError> {
        let schemes = Schemes {
            bearer: !bearer.is_empty(),
            basic: !basic.is_empty(),
        };
        if schemes == Schemes::default() {
            return Err(TokenError::None);
        }
        let bearer = bearer.into_iter().map(|path| (Scheme::Bearer, path));
        let basic = basic.into_iter().map(|path| (Scheme::Basic, path));
        let files = bearer.chain(basic).map(|(scheme, path)| {
            Ok(File {
                digests: read(scheme, &path)?,
                scheme,
                path,
                trouble: None,
            })
        });
        let files = Files {
            files: files.collect::<Result<_, TokenError>>()?,
            read: Instant::now(),
        };
        Ok(Self {
            schemes,
            files: Arc::new(Mutex::new(files)),
        })
    }

    /// What a stranger is told to show.
    pub(super) const fn challenge(&self) -> HeaderValue {
        HeaderValue::from_static(match self.schemes {
            Schemes { basic: false, .. } => "Bearer",
            Schemes { bearer: false, .. } => "Basic realm=\"ripcord\"",
            Schemes { .. } => "Bearer, Basic realm=\"ripcord\"",
        })
    }

    /// Whether what is shown is valid, by files that were read less than a second ago.
    async fn know(&self, scheme: Scheme, presented: Sha) -> bool {
        if let Ok(files) = self.files.try_lock()
            && files.read.elapsed() < FRESH
        {
            return files.know(scheme, &presented);
        }
        // Files may lie on a slow volume.
        let files = self.files.clone();
        let known = tokio::task::spawn_blocking(move || {
            let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
            files.refresh();
            files.know(scheme, &presented)
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

    /// Everything of the scheme is looked at, so that the time does not tell which one is alike.
    fn know(&self, scheme: Scheme, presented: &Sha) -> bool {
        let of_scheme = self.files.iter().filter(|file| file.scheme == scheme);
        let digests = of_scheme.flat_map(|file| &file.digests);
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
        match read(self.scheme, &self.path) {
            Ok(digests) => {
                if digests != self.digests || self.trouble.is_some() {
                    tracing::info!(path = %self.path.display(), "a file of tokens or passwords was read again");
                }
                self.digests = digests;
                self.trouble = None;
            }
            Err(error) => {
                let trouble = error.to_string();
                if self.trouble.as_ref() != Some(&trouble) {
                    tracing::error!(%error, "what was read from it before stays valid");
                }
                self.trouble = Some(trouble);
            }
        }
    }
}

/// The digests of what is in a file.
fn read(scheme: Scheme, path: &Path) -> Result<Vec<Sha>, TokenError> {
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
    let digests = tokens.into_iter().map(|line| match scheme {
        Scheme::Bearer => Some(Sha256::digest(line).into()),
        Scheme::Basic => user_of(line),
    });
    digests.collect::<Option<_>>().ok_or_else(|| {
        unusable("each line that is not empty is `user:password` or `user:sha256:` and 64 hexadecimal digits")
    })
}

/// The digest of a line `user:password`, or of one that holds the digest of the password.
fn user_of(line: &[u8]) -> Option<Sha> {
    let (user, password) = pair(line)?;
    if user.is_empty() || password.is_empty() {
        return None;
    }
    let Some(digits) = password.strip_prefix(HASHED) else {
        return Some(login(user, &Sha256::digest(password).into()));
    };
    let digits = std::str::from_utf8(digits)
        .ok()
        .filter(|it| it.len() == 64)?;
    let mut digest = Sha::default();
    for (index, byte) in digest.iter_mut().enumerate() {
        let two = digits.get(2 * index..2 * index + 2)?;
        *byte = u8::from_str_radix(two, 16).ok()?;
    }
    Some(login(user, &digest))
}

#[cfg(test)]
mod tests;
