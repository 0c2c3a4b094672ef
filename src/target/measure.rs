//! A number that Prometheus is asked for, and when it is good.
//!
//! The query is the policy's, with places for what it is about. Only what can be a name in Kubernetes is put in, so that no
//! value can change what a query asks. Nobody is called from here.

use std::fmt;

use minijinja::{Environment, UndefinedBehavior};
use serde::{Deserialize, Serialize};

use super::link::LinkError;

/// How many instructions one template may run: far more than a query needs.
const FUEL: u64 = 10_000;

/// A number that is asked for, and what is expected of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measure {
    /// What it is called, for people.
    pub name: String,
    /// The PromQL expression, as a template.
    pub query: String,
    /// The unit that is said behind the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// When it is good.
    pub good: Bound,
}

/// When a number is good. The bound itself is not.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Bound {
    /// Below this.
    Below(f64),
    /// Above this.
    Above(f64),
}

/// What a query can be made of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueryFacts {
    /// The workload's namespace.
    pub namespace: String,
    /// The workload's name.
    pub workload: String,
    /// The pod-template hash of the release that is returned to.
    pub hash: String,
}

// === impl Measure ===

impl Measure {
    /// Whether the query can be made for any target.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn check(query: &str) -> Result<(), LinkError> {
        let environment = environment();
        let template = environment
            .template_from_str(query)
            .map_err(LinkError::from)?;
        // Also in a branch that the sample does not take.
        let unknown = template.undeclared_variables(false).into_iter();
        let unknown = unknown.filter(|name| !QueryFacts::VARIABLES.contains(&name.as_str()));
        if let Some(name) = unknown.min() {
            return Err(LinkError {
                what: format!("there is no variable `{name}`"),
                span: query.find(name.as_str()).map(|at| at..at + name.len()),
            });
        }
        let sample = QueryFacts {
            namespace: "namespace".to_owned(),
            workload: "workload".to_owned(),
            hash: "676b9bd6fc".to_owned(),
        };
        let rendered = fill(query, &sample)?;
        if rendered.trim().is_empty() {
            return Err(LinkError {
                what: "a query is not empty".to_owned(),
                span: None,
            });
        }
        Ok(())
    }

    /// The query with everything put in.
    ///
    /// # Errors
    /// What is wrong with the template, or which value cannot be a name in Kubernetes.
    pub fn filled(&self, facts: &QueryFacts) -> Result<String, LinkError> {
        fill(&self.query, facts)
    }

    /// A number with its name, its unit and what is expected: `p95 212 ms (good below 260 ms)`.
    #[must_use]
    pub fn says(&self, value: f64) -> String {
        let unit = self.unit.as_deref();
        let unit = unit.map_or_else(String::new, |unit| format!(" {unit}"));
        let name = &self.name;
        format!("{name} {}{unit} (good {}{unit})", rounded(value), self.good)
    }
}

// === impl Bound ===

impl Bound {
    /// Whether a number is good.
    #[must_use]
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::Below(limit) => value < limit,
            Self::Above(limit) => value > limit,
        }
    }

    /// The bound of two options, of which one must be given.
    #[must_use]
    pub fn of(below: Option<f64>, above: Option<f64>) -> Option<Self> {
        match (below, above) {
            (Some(limit), None) => Some(Self::Below(limit)),
            (None, Some(limit)) => Some(Self::Above(limit)),
            _ => None,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Below(limit) => write!(f, "below {limit}"),
            Self::Above(limit) => write!(f, "above {limit}"),
        }
    }
}

// === impl QueryFacts ===

impl QueryFacts {
    /// The variables that a query can use, for people.
    pub const VARIABLES: &'static [&'static str] = &["namespace", "workload", "hash"];
}

/// A number as people read it: four digits that count.
#[must_use]
pub fn rounded(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let digits = value.abs().log10().floor();
    let places = (3.0 - digits).clamp(0.0, 12.0);
    let factor = 10_f64.powf(places);
    let near = (value * factor).round() / factor;
    near.to_string()
}

fn fill(query: &str, facts: &QueryFacts) -> Result<String, LinkError> {
    let environment = environment();
    let template = environment
        .template_from_str(query)
        .map_err(LinkError::from)?;
    template
        .render(minijinja::value::Serde(facts))
        .map_err(LinkError::from)
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_debug(true);
    environment.set_fuel(Some(FUEL));
    environment.set_formatter(|out, _, value| {
        if value.is_undefined() {
            return Err(minijinja::ErrorKind::UndefinedError.into());
        }
        let text = value.to_string();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if text.is_empty() || !text.chars().all(plain) {
            let what = format!("`{}` cannot be put into a query", text.escape_debug());
            let kind = minijinja::ErrorKind::InvalidOperation;
            return Err(minijinja::Error::new(kind, what));
        }
        out.write_str(&text).map_err(minijinja::Error::from)
    });
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = r#"sum(rate(errors{namespace="{{ namespace }}", rollout="{{ workload }}", hash="{{ hash }}"}[1m]))"#;

    fn measure() -> Measure {
        Measure {
            name: "errors".into(),
            query: QUERY.into(),
            unit: Some("%".into()),
            good: Bound::Below(5.0),
        }
    }

    fn facts(workload: &str) -> QueryFacts {
        QueryFacts {
            namespace: "prod".into(),
            workload: workload.into(),
            hash: "676b9bd6fc".into(),
        }
    }

    #[test]
    fn names_are_put_in_and_nothing_else() {
        assert_eq!(
            measure().filled(&facts("api.v2")).unwrap(),
            r#"sum(rate(errors{namespace="prod", rollout="api.v2", hash="676b9bd6fc"}[1m]))"#
        );
        for foreign in ["x\"} or vector(0) #", "a b", "", "ü", "a\\"] {
            let error = measure().filled(&facts(foreign)).unwrap_err();
            assert!(error.what.contains("cannot be put into a query"), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_query_is_said_with_its_place() {
        assert_eq!(Measure::check(QUERY), Ok(()));
        assert_eq!(Measure::check("up"), Ok(()));
        let error = Measure::check("up{x=\"{{ pod }}\"}").unwrap_err();
        assert_eq!(error.what, "there is no variable `pod`");
        assert_eq!(error.span, Some(9..12));
        assert!(Measure::check("up{{ hash").is_err());
        assert!(Measure::check("  ").is_err());
    }

    #[test]
    fn the_bound_itself_is_not_good() {
        assert!(Bound::Below(5.0).holds(4.9) && !Bound::Below(5.0).holds(5.0));
        assert!(Bound::Above(80.0).holds(80.1) && !Bound::Above(80.0).holds(80.0));
        assert!(!Bound::Below(5.0).holds(f64::NAN) && !Bound::Above(5.0).holds(f64::NAN));
        assert_eq!(Bound::of(Some(1.0), Some(2.0)), None);
        assert_eq!(Bound::of(None, Some(2.0)), Some(Bound::Above(2.0)));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            measure().says(0.123_456),
            "errors 0.1235 % (good below 5 %)"
        );
        for (value, said) in [
            (0.0, "0"),
            (412.0, "412"),
            (412.26, "412.3"),
            (1_812_345_678.0, "1812345678"),
            (0.000_123_44, "0.0001234"),
            (-3.5, "-3.5"),
        ] {
            assert_eq!(rounded(value), said);
        }
    }
}
