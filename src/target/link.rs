//! Links for people: addresses with places for what a rollback is about.
//!
//! What is put in is percent-encoded, so that no label value can change where a link leads; `| safe` puts in what is an
//! address already, such as `{{ alert.runbook | safe }}`. An unknown variable is an error, never an empty text.

use std::fmt::Write;
use std::ops::Range;

use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

use super::{Link, Release};

/// How many instructions one template may run: far more than a link needs.
const FUEL: u64 = 10_000;

/// What a link can be made of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkFacts {
    /// The target's name.
    pub target: String,
    /// The workload's namespace.
    pub namespace: String,
    /// The workload's name.
    pub workload: String,
    /// The release that is left: `revision`, `hash`, `images`.
    pub from: Option<Release>,
    /// The release that is returned to: `revision`, `hash`, `images`.
    pub to: Option<Release>,
    /// The alert that asked first.
    pub alert: AlertFacts,
    /// The trigger's name.
    pub trigger: String,
    /// The severity.
    pub severity: String,
    /// The procedure's name.
    pub procedure: String,
    /// The id of the rollback's trace.
    pub trace: String,
}

/// What a link can say about an alert; empty where the alert says nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AlertFacts {
    /// Its name.
    pub name: String,
    /// Alertmanager's fingerprint of its labels.
    pub fingerprint: String,
    /// When it began, as RFC 3339.
    pub began: String,
    /// Its summary.
    pub summary: String,
    /// The address of its runbook.
    pub runbook: String,
    /// The address of its expression in Prometheus.
    pub source: String,
}

/// Why a template makes no link, or no query.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{what}")]
pub struct LinkError {
    /// What is wrong.
    pub what: String,
    /// The bytes of the template at fault, where that is known.
    pub span: Option<Range<usize>>,
}

// === impl LinkFacts ===

impl LinkFacts {
    /// The variables that a template can use, for people.
    pub const VARIABLES: &'static [&'static str] = &[
        "target",
        "namespace",
        "workload",
        "from",
        "to",
        "alert",
        "trigger",
        "severity",
        "procedure",
        "trace",
    ];

    /// Facts of a rollback that never was, to try templates with.
    #[must_use]
    pub fn sample() -> Self {
        let release = |revision, hash: &str| Release {
            uid: "00000000-0000-0000-0000-000000000000".to_owned(),
            revision,
            hash: hash.to_owned(),
            images: vec!["registry.example/app:1.0.0".to_owned()],
        };
        Self {
            target: "target".to_owned(),
            namespace: "namespace".to_owned(),
            workload: "workload".to_owned(),
            from: Some(release(7, "7dc687bd8d")),
            to: Some(release(6, "676b9bd6fc")),
            alert: AlertFacts {
                name: "Alert".to_owned(),
                fingerprint: "9bd61e0bb2b54c7c".to_owned(),
                began: "2026-01-01T00:00:00Z".to_owned(),
                summary: "summary".to_owned(),
                runbook: "https://runbook.example/".to_owned(),
                source: "https://prometheus.example/".to_owned(),
            },
            trigger: "trigger".to_owned(),
            severity: "P0".to_owned(),
            procedure: "procedure".to_owned(),
            trace: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
        }
    }
}

// === impl Link ===

impl Link {
    /// Whether the template makes an address out of any rollback's facts.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn check(&self) -> Result<(), LinkError> {
        let environment = environment();
        let template = environment
            .template_from_str(&self.url)
            .map_err(LinkError::from)?;
        // Also in a branch that the sample does not take.
        let unknown = template.undeclared_variables(false).into_iter();
        let mut unknown: Vec<_> = unknown
            .filter(|name| !LinkFacts::VARIABLES.contains(&name.as_str()))
            .collect();
        unknown.sort();
        if let Some(name) = unknown.first() {
            return Err(LinkError {
                what: format!("there is no variable `{name}`"),
                span: self.url.find(name.as_str()).map(|at| at..at + name.len()),
            });
        }
        let url = self.render(&LinkFacts::sample())?;
        if url.starts_with("https://") || url.starts_with("http://") {
            Ok(())
        } else {
            Err(LinkError {
                what: "a link begins with https:// or http://".to_owned(),
                span: None,
            })
        }
    }

    /// The address for one rollback.
    ///
    /// # Errors
    /// What is wrong with the template, or which of its facts is missing.
    pub fn render(&self, facts: &LinkFacts) -> Result<String, LinkError> {
        let environment = environment();
        let template = environment
            .template_from_str(&self.url)
            .map_err(LinkError::from)?;
        template
            .render(minijinja::value::Serde(facts))
            .map_err(LinkError::from)
    }
}

// === impl LinkError ===

impl From<minijinja::Error> for LinkError {
    fn from(error: minijinja::Error) -> Self {
        let what = match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        };
        Self {
            what,
            span: error.range(),
        }
    }
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
        let written = if value.is_safe() {
            out.write_str(&text)
        } else {
            out.write_str(&encoded(&text))
        };
        written.map_err(minijinja::Error::from)
    });
    environment
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(url: &str) -> Link {
        Link {
            name: "x".to_owned(),
            url: url.to_owned(),
        }
    }

    #[test]
    fn facts_are_put_in_percent_encoded() {
        let mut facts = LinkFacts::sample();
        facts.alert.name = "a/b?c=ü&x".to_owned();
        facts.alert.runbook = "https://r.example/a?b=c".to_owned();
        let render = |url: &str| link(url).render(&facts).unwrap();
        assert_eq!(
            render("https://g.example/d?ns={{ namespace }}&v={{ from.revision }}-{{ to.hash }}"),
            "https://g.example/d?ns=namespace&v=7-676b9bd6fc"
        );
        assert_eq!(
            render("https://g.example/{{ alert.name }}"),
            "https://g.example/a%2Fb%3Fc%3D%C3%BC%26x"
        );
        assert_eq!(
            render("{{ alert.runbook | safe }}#x"),
            "https://r.example/a?b=c#x"
        );
    }

    #[test]
    fn unknown_variables_are_found_in_every_branch() {
        for (url, what) in [
            (
                "https://x/{{ nmespace }}",
                "there is no variable `nmespace`",
            ),
            (
                "https://x/{% if false %}{{ nothing }}{% endif %}",
                "there is no variable `nothing`",
            ),
            ("https://x/{{ from.revison }}", "undefined value"),
            ("https://x/{{ from", "syntax error"),
            ("{{ target }}", "a link begins with https"),
            ("https://x/{{ range(3) }}", "there is no variable `range`"),
            (
                "https://x/{% for a in alert.summary %}{% for b in alert.summary %}{% for c in alert.summary %}{% for d in alert.summary %}{% for e in alert.summary %}{{ a }}{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}",
                "engine ran out of fuel",
            ),
        ] {
            let error = link(url).check().unwrap_err();
            assert!(error.what.starts_with(what), "{url}: {error}");
        }
        assert_eq!(
            link("https://x/{{ from.images[0] }}/{{ severity }}").check(),
            Ok(())
        );
    }

    #[test]
    fn the_list_of_variables_is_what_the_facts_hold() {
        let facts = serde_json::to_value(LinkFacts::sample()).unwrap();
        let mut held: Vec<_> = facts
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut listed = LinkFacts::VARIABLES.to_vec();
        held.sort_unstable();
        listed.sort_unstable();
        assert_eq!(held, listed);
    }
}
