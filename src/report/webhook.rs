//! A webhook for any incident tracker: a body from a template of the settings, headers from a file.
//!
//! Every value is put into the body as JSON, with its quotes, so that no text of an alert can change what the body says.
//! Each request carries an `Idempotency-Key`: a repetition can be told from a second notice.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::notice::{Moment, Notice};
use super::once::Once;
use super::post::Poster;
use super::reporter::{Failure, Remedy, Telling, Via};
use super::{secret, story};
use crate::rollback::object::{NoticeReport, Report};
use crate::target::LinkFacts;
use crate::target::link::AlertFacts;

/// How many instructions one body may run: far more than one needs.
const FUEL: u64 = 50_000;

/// The body where the settings give none.
pub const DEFAULT_BODY: &str = r#"{
  "id": {{ id }}, "event": {{ moment }}, "needs_person": {{ needs_person }},
  "title": {{ headline }}, "text": {{ text }}, "phase": {{ phase }}, "severity": {{ severity }},
  "namespace": {{ namespace }}, "target": {{ target }}, "rollback": {{ rollback }},
  "from": {{ from }}, "to": {{ to }}, "alert": {{ alert }}
}
"#;

/// A request to an incident tracker, or to whatever else takes JSON.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where it is sent with POST. Give this or `url_file`, not both; without either, nothing is sent.
    pub url: Option<String>,
    /// The file that holds the address, where that is a secret.
    pub url_file: Option<PathBuf>,
    /// The file with further headers, one a line, such as `Authorization: Bearer …`. It is read again for each request.
    pub headers_file: Option<PathBuf>,
    /// The template of the body, which must come out as JSON. Left out, it is an object with all that is known.
    pub body: Option<String>,
    /// What is told: any of `started`, `late`, `needed`, `ended`, `checked` and `untouched`.
    pub tell: Vec<Moment>,
}

/// What a body can be made of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BodyFacts {
    /// Names the rollback for ever: its uid.
    pub id: String,
    /// The rollback's name.
    pub rollback: String,
    /// What the notice is about.
    pub moment: Moment,
    /// Whether a person must do something.
    pub needs_person: bool,
    /// The first line.
    pub headline: String,
    /// Everything, as plain lines.
    pub text: String,
    /// The rollback's phase.
    pub phase: String,
    /// The target's name.
    pub target: String,
    /// The workload's namespace.
    pub namespace: String,
    /// The workload's name.
    pub workload: String,
    /// The release that is left; nothing where that is not known.
    pub from: Option<crate::target::Release>,
    /// The release that is returned to; nothing where that is not known.
    pub to: Option<crate::target::Release>,
    /// The alert that asked first.
    pub alert: AlertFacts,
    /// The trigger's name.
    pub trigger: String,
    /// The severity.
    pub severity: String,
    /// The procedure's name.
    pub procedure: String,
}

/// Sends notices to a webhook.
#[derive(Clone)]
pub struct Webhook {
    poster: Poster,
    url: secret::Source,
    headers: Option<PathBuf>,
    body: String,
    tell: Vec<Moment>,
}

/// One request, but for its secrets.
pub struct Request {
    once: String,
    body: String,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            headers_file: None,
            body: None,
            tell: vec![Moment::Needed, Moment::Ended],
        }
    }
}

impl Settings {
    /// The template of the body.
    #[must_use]
    pub fn body(&self) -> &str {
        self.body.as_deref().unwrap_or(DEFAULT_BODY)
    }
}

// === impl BodyFacts ===

impl BodyFacts {
    /// The variables that a body can use, for people.
    pub const VARIABLES: &'static [&'static str] = &[
        "id",
        "rollback",
        "moment",
        "needs_person",
        "headline",
        "text",
        "phase",
        "target",
        "namespace",
        "workload",
        "from",
        "to",
        "alert",
        "trigger",
        "severity",
        "procedure",
    ];

    fn new(notice: &Notice, id: String, rollback: String, phase: &str, facts: LinkFacts) -> Self {
        Self {
            id,
            rollback,
            moment: notice.moment,
            needs_person: notice.calls(),
            headline: notice.headline.clone(),
            text: notice.text.clone(),
            phase: phase.to_owned(),
            target: facts.target,
            namespace: facts.namespace,
            workload: facts.workload,
            from: facts.from,
            to: facts.to,
            alert: facts.alert,
            trigger: facts.trigger,
            severity: facts.severity,
            procedure: facts.procedure,
        }
    }

    /// Facts of a rollback that never was, to try templates with; `refused` ones know no releases.
    #[must_use]
    pub fn sample(moment: Moment, refused: bool) -> Self {
        let notice = Notice {
            key: "end/Failed".to_owned(),
            moment,
            needs: matches!(moment, Moment::Needed | Moment::Ended),
            headline: "a \"headline\"".to_owned(),
            text: "lines\nof text".to_owned(),
            page: super::page::Page::default(),
        };
        let mut facts = LinkFacts::sample();
        if refused {
            (facts.from, facts.to) = (None, None);
        }
        Self::new(&notice, "uid".into(), "rollback".into(), "Failed", facts)
    }
}

// === impl Webhook ===

impl Webhook {
    /// Sends what `tell` says to `url`, with the headers of a file, which is read each time.
    #[must_use]
    pub fn new(poster: Poster, url: secret::Source, settings: &Settings) -> Self {
        Self {
            poster,
            url,
            headers: settings.headers_file.clone(),
            body: settings.body().to_owned(),
            tell: settings.tell.clone(),
        }
    }
}

impl Once for Webhook {
    type Content = Request;

    const VIA: Via = Via::Webhook;
    const KEY: &'static str = "webhook";

    fn record(report: &Report) -> &NoticeReport {
        &report.webhook
    }

    fn wants(&self, notice: &Notice) -> bool {
        notice.is_one_of(&self.tell)
    }

    fn content(&self, notice: &Notice, telling: &Telling<'_>) -> Result<Request, String> {
        let rollback = telling.rollback;
        let id = rollback.metadata.uid.clone();
        let id = id.unwrap_or_else(|| rollback.full_name());
        let facts = story::facts(rollback, telling.target, telling.everyone);
        let once = format!("{id}/{}", notice.key);
        let phase = rollback.phase().name();
        let facts = BodyFacts::new(notice, id, rollback.full_name(), phase, facts);
        let body = render(&self.body, &facts).map_err(|error| format!("webhook: {error}"))?;
        Ok(Request { once, body })
    }

    async fn send(&self, request: &Request) -> Result<(), Failure> {
        let fix = |said: String| Failure::new(Remedy::Fix, format!("webhook: {said}"));
        let url = (self.url)();
        let url = web_address(url.expose_secret());
        let url = url.ok_or_else(|| fix("there is no usable address".to_owned()))?;
        let mut headers = match &self.headers {
            Some(path) => read_headers(path).map_err(fix)?,
            None => HeaderMap::new(),
        };
        // A uid, a slash and a key of ours: always a header's value.
        if let Ok(once) = HeaderValue::from_str(&request.once) {
            headers.insert(HeaderName::from_static("idempotency-key"), once);
        }
        let body = request.body.clone().into_bytes();
        let sent = self.poster.post(url, headers, body, None).await;
        sent.map_err(|error| error.failure("webhook", false))
    }
}

/// Checks a template: it must make JSON out of any rollback's facts.
///
/// # Errors
/// What is wrong, for people.
pub fn check_body(template: &str) -> Result<(), String> {
    let environment = environment();
    let parsed = environment
        .template_from_str(template)
        .map_err(|error| in_words(&error))?;
    // Also in a branch that the sample does not take.
    let unknown = parsed.undeclared_variables(false).into_iter();
    let unknown = unknown.filter(|name| !BodyFacts::VARIABLES.contains(&name.as_str()));
    if let Some(name) = unknown.min() {
        let known = BodyFacts::VARIABLES.join(", ");
        return Err(format!(
            "there is no variable `{name}`; a body can use {known}"
        ));
    }
    for moment in Moment::ALL {
        for refused in [false, true] {
            let rendered = render(template, &BodyFacts::sample(moment, refused));
            rendered.map_err(|error| {
                if refused {
                    format!("{error} (where `from` and `to` are not known)")
                } else {
                    error
                }
            })?;
        }
    }
    Ok(())
}

fn render(template: &str, facts: &BodyFacts) -> Result<String, String> {
    let environment = environment();
    let template = environment
        .template_from_str(template)
        .map_err(|error| in_words(&error))?;
    let body = template
        .render(minijinja::value::Serde(facts))
        .map_err(|error| in_words(&error))?;
    match serde_json::from_str::<serde::de::IgnoredAny>(&body) {
        Ok(_) => Ok(body),
        Err(error) => Err(format!(
            "the body is no JSON: {error}; a value brings its own quotes, as in {{\"title\": {{{{ headline }}}}}}"
        )),
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Json);
    environment.set_debug(true);
    environment.set_fuel(Some(FUEL));
    environment
}

fn in_words(error: &minijinja::Error) -> String {
    let at = error.line().map_or_else(String::new, |line| {
        format!(" in line {line} of the template")
    });
    match error.detail() {
        Some(detail) => format!("{}: {detail}{at}", error.kind()),
        None => format!("{}{at}", error.kind()),
    }
}

/// An address that a request can be sent to.
#[must_use]
pub fn web_address(text: &str) -> Option<Url> {
    let url = Url::parse(text.trim()).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

/// The headers in a file: `Name: value`, one a line.
///
/// # Errors
/// What is wrong, without what stands there.
pub fn read_headers(path: &Path) -> Result<HeaderMap, String> {
    let text = secret::read(path)?;
    let mut headers = HeaderMap::new();
    let lines = text.expose_secret().lines().enumerate();
    for (at, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = || {
            format!(
                "line {} of {} is no header: expected `Name: value`",
                at + 1,
                path.display()
            )
        };
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn no_text_of_an_alert_changes_what_a_body_says() {
        let mut facts = BodyFacts::sample(Moment::Ended, false);
        facts.alert.name = "\",\"admin\":\"yes\n\u{1b}".to_owned();
        facts.headline = "</script>".to_owned();
        let body = render(DEFAULT_BODY, &facts).unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["alert"]["name"], facts.alert.name.as_str());
        assert_eq!(body["title"], "</script>");
        assert_eq!(body["event"], "ended");
        assert_eq!(body["needs_person"], true);
        assert_eq!(body["from"]["revision"], 7);
        assert_eq!(body.as_object().unwrap().len(), 13);
    }

    #[test]
    fn a_body_is_checked_before_it_is_needed() {
        assert_eq!(check_body(DEFAULT_BODY), Ok(()));
        assert_eq!(
            check_body(r#"{"t": {{ headline }}, "r": {{ to.revision if to else none }}}"#),
            Ok(())
        );
        for (template, said) in [
            (r#"{"t": "{{ headline }}"}"#, "the body is no JSON"),
            (r#"{"t": {{ title }}}"#, "there is no variable `title`"),
            (
                "{% if false %}{{ nothing }}{% endif %}1",
                "there is no variable `nothing`",
            ),
            (r#"{"t": {{ headline }"#, "syntax error"),
            (r#"{"t": {{ to.revision }}}"#, "undefined value"),
            ("title={{ headline }}", "the body is no JSON"),
            (
                r#"{% if moment == "late" %}{{ to.nothing }}{% else %}1{% endif %}"#,
                "undefined value",
            ),
        ] {
            let error = check_body(template).unwrap_err();
            assert!(error.starts_with(said), "{template}: {error}");
        }
    }

    #[test]
    fn the_list_of_variables_is_what_the_facts_hold() {
        let facts = serde_json::to_value(BodyFacts::sample(Moment::Ended, false)).unwrap();
        let mut held: Vec<_> = facts.as_object().unwrap().keys().cloned().collect();
        let mut listed = BodyFacts::VARIABLES.to_vec();
        held.sort_unstable();
        listed.sort_unstable();
        assert_eq!(held, listed);
    }

    #[test]
    fn headers_are_lines_and_what_is_wrong_is_said_without_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "Authorization: Bearer a:b\n\nX-Team: shop\n").unwrap();
        let headers = read_headers(file.path()).unwrap();
        assert_eq!(headers["authorization"], "Bearer a:b");
        assert_eq!(headers["x-team"], "shop");
        assert!(!format!("{headers:?}").contains("Bearer"));
        std::fs::write(file.path(), "X-Team: shop\nsecret\n").unwrap();
        let error = read_headers(file.path()).unwrap_err();
        assert!(
            error.contains("line 2") && !error.contains("secret"),
            "{error}"
        );
    }
}
