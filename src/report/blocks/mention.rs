//! Whom a message calls: people, groups, or whoever is in the channel now.
//!
//! There is no way to call everybody (`@channel`, `@everyone`): a rollback at 3 a.m. is not everybody's. Names
//! are not looked up, since Slack mentions by id only; an id is checked for its shape, not for its existence.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Somebody to notify, written in config as `@U012AB3CD`, `S0123ABCD` or `here`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Mention {
    /// One person (`U…`, or `W…` in an enterprise grid).
    User(MemberId),
    /// A user group (`S…`), such as an on-call rota.
    Group(MemberId),
    /// Those in the channel who are active now.
    Here,
}

/// The checked id of a person or a group: a capital letter for the kind, then capitals and digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberId(String);

/// Why a text mentions nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MentionError {
    /// The whole channel or workspace was asked for.
    #[error("`{0}` would call everybody; name a person, a group or `here`")]
    Everybody(String),
    /// It is neither an id nor `here`; a display name, most likely.
    #[error(
        "`{0}` is no Slack id (U…, W… or S…, from the profile's \"Copy member ID\") and not `here`"
    )]
    NotAnId(String),
}

// === impl Mention ===

impl Mention {
    pub(super) fn markup(&self) -> String {
        match self {
            Self::User(MemberId(id)) => format!("<@{id}>"),
            Self::Group(MemberId(id)) => format!("<!subteam^{id}>"),
            Self::Here => "<!here>".to_owned(),
        }
    }
}

impl FromStr for Mention {
    type Err = MentionError;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let name = written.trim();
        let name = name.strip_prefix('@').unwrap_or(name);
        match name {
            "here" => return Ok(Self::Here),
            "channel" | "everyone" | "group" => {
                return Err(MentionError::Everybody(written.to_owned()));
            }
            _ => {}
        }
        let shaped = (8..=24).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        match name.as_bytes().first() {
            Some(b'U' | b'W') if shaped => Ok(Self::User(MemberId(name.to_owned()))),
            Some(b'S') if shaped => Ok(Self::Group(MemberId(name.to_owned()))),
            _ => Err(MentionError::NotAnId(written.to_owned())),
        }
    }
}

impl TryFrom<String> for Mention {
    type Error = MentionError;

    fn try_from(written: String) -> Result<Self, Self::Error> {
        written.parse()
    }
}

impl From<Mention> for String {
    fn from(mention: Mention) -> Self {
        match mention {
            Mention::User(MemberId(id)) | Mention::Group(MemberId(id)) => id,
            Mention::Here => "here".to_owned(),
        }
    }
}
