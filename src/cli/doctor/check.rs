//! One check as a value: what was expected, what was found, and what to do.
//!
//! A check that could not be made is never `ok`: what nobody looked at must not look like what is well.

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::{Exit, reach};
use crate::cluster::Error;

/// What came of a check.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Verdict {
    /// It is as it should be.
    Ok,
    /// It is worth a look, or nobody could look.
    Warning,
    /// It has to be mended first.
    Failed,
}

/// One check.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(in crate::cli) struct Check {
    /// What was looked at.
    pub(in crate::cli) name: String,
    /// What came of it.
    pub(in crate::cli) verdict: Verdict,
    /// How it should be.
    pub(in crate::cli) expected: String,
    /// How it is.
    pub(in crate::cli) found: String,
    /// What to do, where it is not as it should be.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) help: Option<String>,
}

/// A check that has not been made yet.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Expected {
    name: String,
    expected: String,
}

/// Checks of one thing.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(in crate::cli) struct Section {
    /// What they are about.
    pub(in crate::cli) title: String,
    /// In the order in which they were asked.
    pub(in crate::cli) checks: Vec<Check>,
}

/// Everything that was looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(in crate::cli) struct Report {
    /// When.
    pub(in crate::cli) at: Timestamp,
    /// Who looked.
    pub(in crate::cli) by: String,
    /// The version of this program.
    pub(in crate::cli) version: &'static str,
    /// Which policy was read.
    pub(in crate::cli) policy: String,
    /// How many checks came to what.
    pub(in crate::cli) ok: usize,
    /// See `ok`.
    pub(in crate::cli) warnings: usize,
    /// See `ok`.
    pub(in crate::cli) failed: usize,
    /// The checks.
    pub(in crate::cli) sections: Vec<Section>,
}

/// Begins a check.
pub(in crate::cli) fn expect(name: impl Into<String>, expected: impl Into<String>) -> Expected {
    Expected {
        name: name.into(),
        expected: expected.into(),
    }
}

// === impl Expected ===

impl Expected {
    pub(in crate::cli) fn ok(self, found: impl Into<String>) -> Check {
        self.came_to(Verdict::Ok, found, None)
    }

    pub(in crate::cli) fn warning(
        self,
        found: impl Into<String>,
        help: impl Into<String>,
    ) -> Check {
        self.came_to(Verdict::Warning, found, Some(help.into()))
    }

    pub(in crate::cli) fn failed(self, found: impl Into<String>, help: impl Into<String>) -> Check {
        self.came_to(Verdict::Failed, found, Some(help.into()))
    }

    /// Nobody could look, because a call failed that nothing can be said without.
    pub(in crate::cli) fn unread(self, error: &Error, right: &str) -> Check {
        let help = match error {
            Error::Forbidden(_) => format!("you need the right to {right}"),
            Error::Unavailable(_) => "try again; see --kubeconfig and --context".to_owned(),
            _ => "see what the API server says".to_owned(),
        };
        self.failed(format!("not checked: {error}"), help)
    }

    fn came_to(self, verdict: Verdict, found: impl Into<String>, help: Option<String>) -> Check {
        Check {
            name: self.name,
            verdict,
            expected: self.expected,
            found: found.into(),
            help,
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// The word for it.
    pub(in crate::cli) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "FAILED",
        }
    }
}

// === impl Section ===

impl Section {
    pub(in crate::cli) fn of(title: impl Into<String>, checks: Vec<Check>) -> Self {
        Self {
            title: title.into(),
            checks,
        }
    }
}

// === impl Report ===

impl Report {
    pub(in crate::cli) fn of(by: String, policy: &str, sections: Vec<Section>) -> Self {
        let count = |verdict| {
            let all = sections.iter().flat_map(|section| &section.checks);
            all.filter(|check| check.verdict == verdict).count()
        };
        Self {
            at: reach::now(),
            by,
            version: env!("CARGO_PKG_VERSION"),
            policy: policy.to_owned(),
            ok: count(Verdict::Ok),
            warnings: count(Verdict::Warning),
            failed: count(Verdict::Failed),
            sections,
        }
    }

    /// How the command ends.
    pub(in crate::cli) const fn exit(&self) -> Exit {
        if self.failed == 0 {
            Exit::Done
        } else {
            Exit::NotReady
        }
    }
}
