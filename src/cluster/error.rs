//! What a failed call means for what the caller does next. All judgement of API errors is in one match.

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object does not exist.
    #[error("not found: {0}")]
    NotFound(String),
    /// An object of that name exists already.
    #[error("exists already: {0}")]
    Exists(String),
    /// The precondition in the write did not hold, so it had no effect: read again.
    #[error("the precondition of the write did not hold: {0}")]
    Precondition(String),
    /// The service account may not do this.
    #[error("forbidden: {0}")]
    Forbidden(String),
    /// The API server will never accept this.
    #[error("rejected: {0}")]
    Rejected(String),
    /// No answer, or none that tells: the call may have taken effect.
    #[error("no certain answer from the API server: {0}")]
    Unavailable(String),
}

impl Error {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Precondition(_))
    }

    /// The kind of failure, in one word.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::Exists(_) => "exists",
            Self::Precondition(_) => "precondition",
            Self::Forbidden(_) => "forbidden",
            Self::Rejected(_) => "rejected",
            Self::Unavailable(_) => "unavailable",
        }
    }
}

impl From<kube::runtime::watcher::Error> for Error {
    fn from(error: kube::runtime::watcher::Error) -> Self {
        use kube::runtime::watcher::Error as Watch;
        match error {
            Watch::InitialListFailed(error)
            | Watch::WatchStartFailed(error)
            | Watch::WatchFailed(error) => error.into(),
            Watch::WatchError(status) => kube::Error::Api(status).into(),
            Watch::NoResourceVersion => Self::Unavailable(chain(&error)),
        }
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return match error {
                kube::Error::SerdeError(e) => {
                    Self::Rejected(format!("the answer cannot be read: {e}"))
                }
                kube::Error::BuildRequest(e) => Self::Rejected(e.to_string()),
                other => Self::Unavailable(chain(&other)),
            };
        };
        let said = if status.message.is_empty() {
            status.reason.clone()
        } else {
            status.message.clone()
        };
        // A failed JSON-patch test, a missing path and a bad patch are all a plain 422; only a schema error has causes.
        let has_causes = status
            .details
            .as_ref()
            .is_some_and(|details| !details.causes.is_empty());
        match status.code {
            404 => Self::NotFound(said),
            409 if status.reason == "AlreadyExists" => Self::Exists(said),
            409 => Self::Precondition(said),
            422 if !has_causes => Self::Precondition(said),
            403 => Self::Forbidden(said),
            400 | 405 | 406 | 413 | 415 | 422 => Self::Rejected(said),
            code => Self::Unavailable(format!("{code} {said}")),
        }
    }
}

/// An error with all its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    fn error(code: u16, reason: &str, causes: bool) -> Error {
        let details = if causes {
            json!({"causes": [{"reason": "FieldValueInvalid"}]})
        } else {
            json!({})
        };
        let status = json!({"code": code, "reason": reason, "message": "m", "details": details});
        kube::Error::Api(Box::new(serde_json::from_value::<Status>(status).unwrap())).into()
    }

    #[test]
    fn each_answer_has_one_meaning() {
        assert!(matches!(
            error(409, "AlreadyExists", false),
            Error::Exists(_)
        ));
        assert!(matches!(
            error(409, "Conflict", false),
            Error::Precondition(_)
        ));
        assert!(matches!(
            error(422, "Invalid", false),
            Error::Precondition(_)
        ));
        assert!(matches!(error(422, "Invalid", true), Error::Rejected(_)));
        assert!(matches!(
            error(403, "Forbidden", false),
            Error::Forbidden(_)
        ));
        assert!(matches!(error(404, "NotFound", false), Error::NotFound(_)));
        for code in [401, 408, 429, 500, 503, 504] {
            assert!(
                matches!(error(code, "", false), Error::Unavailable(_)),
                "{code}"
            );
        }
    }
}
