//! How bad an alert is: P0 to P3.
//!
//! Only the scale. It refuses to say what a severity does, or which label it is read from: that is policy.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How bad an alert is.
///
/// The order is the order of work: `P0 < P1 < P2 < P3`, so that sorting puts the **most severe first** and `min` is
/// the worst. Because `<` then reads the wrong way round, compare with [`Severity::is_more_severe_than`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Severity {
    /// Users are hurt now.
    P0,
    /// Users will be hurt soon.
    P1,
    /// Something is degraded.
    P2,
    /// Worth knowing.
    P3,
}

/// A text that names no severity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no severity: P0, P1, P2 or P3 is expected")]
pub struct UnknownSeverity(String);

impl Severity {
    /// Every severity, the most severe first.
    pub const ALL: [Self; 4] = [Self::P0, Self::P1, Self::P2, Self::P3];

    /// The name, as it is written everywhere: `P0`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P0 => "P0",
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
        }
    }

    /// Whether this is strictly worse than `other`.
    #[must_use]
    pub fn is_more_severe_than(self, other: Self) -> bool {
        self < other
    }

    /// The worst of several; none of none.
    #[must_use]
    pub fn most_severe(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        all.into_iter().min()
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = UnknownSeverity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|severity| severity.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownSeverity(text.chars().take(20).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p0_is_the_worst_and_sorts_first() {
        let mut all = [Severity::P2, Severity::P0, Severity::P3, Severity::P1];
        all.sort();
        assert_eq!(all, Severity::ALL);
        assert!(Severity::P0.is_more_severe_than(Severity::P1));
        assert!(!Severity::P1.is_more_severe_than(Severity::P1));
        assert!(!Severity::P3.is_more_severe_than(Severity::P2));
        assert_eq!(
            Severity::most_severe([Severity::P3, Severity::P1, Severity::P2]),
            Some(Severity::P1)
        );
        assert_eq!(Severity::most_severe([]), None);
    }

    #[test]
    fn names_go_there_and_back() {
        for severity in Severity::ALL {
            let name = severity.to_string();
            assert_eq!(name.parse(), Ok(severity));
            assert_eq!(name.to_lowercase().parse(), Ok(severity));
            let json = serde_json::to_string(&severity).unwrap();
            assert_eq!(json, format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<Severity>(&json).unwrap(), severity);
        }
        assert_eq!(format!("{:>4}", Severity::P1), "  P1");
        let error = "critical".parse::<Severity>().unwrap_err().to_string();
        assert_eq!(
            error,
            r#""critical" is no severity: P0, P1, P2 or P3 is expected"#
        );
        assert!("".parse::<Severity>().is_err());
        assert!(" P0".parse::<Severity>().is_err());
    }

    #[test]
    fn its_schema_is_one_of_the_names() {
        let schema = serde_json::to_value(schemars::schema_for!(Severity)).unwrap();
        let variants = schema["oneOf"].as_array().unwrap();
        let names: Vec<_> = variants.iter().map(|variant| &variant["const"]).collect();
        assert_eq!(names, ["P0", "P1", "P2", "P3"]);
    }
}
