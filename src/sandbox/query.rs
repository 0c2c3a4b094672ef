//! Query parameters and selectors of the Kubernetes API.

use axum::extract::Query;
use axum::http::Uri;
use serde_json::Value;

use super::refusal::Refusal;

/// The query parameters of one request.
pub(super) struct Parameters(Vec<(String, String)>);

/// Which objects a list or a watch is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector(Vec<Term>);

#[derive(Clone, Debug)]
struct Term {
    /// JSON pointer parts from the object's root.
    path: Vec<String>,
    /// `None`: any value.
    value: Option<String>,
    negated: bool,
}

// === impl Parameters ===

impl Parameters {
    pub(super) fn of(uri: &Uri) -> Self {
        Self(
            Query::try_from_uri(uri)
                .map(|Query(pairs)| pairs)
                .unwrap_or_default(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self
            .0
            .iter()
            .find(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value == "true" || value == "1")
    }

    /// `labelSelector` and `fieldSelector` together.
    pub(super) fn selector(&self) -> Result<Selector, Refusal> {
        let mut terms = Vec::new();
        for term in self
            .get("labelSelector")
            .into_iter()
            .flat_map(|text| text.split(','))
        {
            if term.contains(['(', ')']) {
                return Err(Refusal::bad_request(format!(
                    "the sandbox does not know the selector {term}"
                )));
            }
            terms.push(Term::of(term, |name| {
                vec!["metadata".to_owned(), "labels".to_owned(), name.to_owned()]
            }));
        }
        for term in self
            .get("fieldSelector")
            .into_iter()
            .flat_map(|text| text.split(','))
        {
            terms.push(Term::of(term, |name| {
                name.split('.').map(str::to_owned).collect()
            }));
        }
        Ok(Selector(terms))
    }
}

// === impl Selector ===

impl Selector {
    pub(super) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|term| {
            let found = term
                .path
                .iter()
                .fold(object, |value, part| &value[part.as_str()]);
            let holds = term
                .value
                .as_ref()
                .map_or(!found.is_null(), |value| found.as_str() == Some(value));
            holds != term.negated
        })
    }
}

// === impl Term ===

impl Term {
    /// `k=v`, `k==v`, `k!=v`, `k` or `!k`.
    fn of(text: &str, path: impl Fn(&str) -> Vec<String>) -> Self {
        let text = text.trim();
        let (name, value, negated) = if let Some((name, value)) = text.split_once("!=") {
            (name, Some(value), true)
        } else if let Some((name, value)) = text.split_once('=') {
            (name, Some(value.trim_start_matches('=')), false)
        } else if let Some(name) = text.strip_prefix('!') {
            (name, None, true)
        } else {
            (text, None, false)
        };
        Self {
            path: path(name.trim()),
            value: value.map(|value| value.trim().to_owned()),
            negated,
        }
    }
}
