//! What stands around the service: Slack, Alertmanager, Prometheus, and a target's Redis.
//!
//! Each is asked without changing anything: no message, no alert and no key is written.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::check::{Check, Expected, Section, expect};
use super::ground::Ground;
use super::health::REACH;
use super::{alertmanager, routes};
use crate::cluster::prometheus::{NoNumber, Prometheus};
use crate::cluster::{prometheus, redis};
use crate::config::Settings;
use crate::report::secret;
use crate::report::slack::{Identity, SlackClient, SlackError};
use crate::target::Target;
use crate::target::effect::{Outcome, Verdict};

/// How long each may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a token must be able to do.
const SCOPE: &str = "chat:write";
/// What Prometheus must do.
const ANSWERS: &str = "it answers a query";

/// Looks at what the settings and the command line name: one line each.
pub(super) async fn section(
    ground: &Ground<'_>,
    alertmanager: Option<&str>,
    receiver: &str,
) -> Section {
    let mut checks = vec![slack(ground.settings).await];
    if let Some(url) = alertmanager {
        let status = alertmanager::status(&ground.prober, url).await;
        let samples = routes::samples(ground.policy, &ground.targets);
        checks.extend(alertmanager::judge(url, receiver, status, &samples));
    } else {
        let asked = expect("Alertmanager", format!("its routes lead to {receiver}"));
        checks.push(asked.warning("not checked", "say where it is with --alertmanager"));
    }
    checks.push(prometheus(&ground.settings.prometheus, ground.outside).await);
    Section::of("around it", checks)
}

/// Whether the Prometheus that steps and checks ask answers.
async fn prometheus(settings: &prometheus::Settings, outside: bool) -> Check {
    match Prometheus::new(settings) {
        Ok(Some(client)) => answered(client.ask("vector(1)").await, outside),
        Ok(None) => answered(Err(NoNumber::NotConfigured), outside),
        Err(error) => {
            expect("Prometheus", ANSWERS).failed(error.to_string(), "see `prometheus.url`")
        }
    }
}

fn answered(answer: Result<f64, NoNumber>, outside: bool) -> Check {
    let asked = expect("Prometheus", ANSWERS);
    match answer {
        Ok(_) => asked.ok("it does"),
        Err(why @ NoNumber::NotConfigured) => asked.warning(
            format!("not checked: {why}"),
            "without one, no step and no look after the end can ask for a number",
        ),
        Err(why) if outside && why.is_outage() => asked.warning(
            format!("not checked: {why}"),
            "run this in a pod of the service",
        ),
        Err(why) if why.is_outage() => asked.failed(why.to_string(), REACH),
        Err(why) => asked.failed(why.to_string(), "see `prometheus` in the settings"),
    }
}

/// Whether Slack takes the token.
async fn slack(settings: &Settings) -> Check {
    let asked = expect("Slack", format!("it takes the token, which may {SCOPE}"));
    let slack = &settings.report.slack;
    let token: SecretString = match (&slack.token, &slack.token_file) {
        (Some(token), _) => token.clone(),
        (None, Some(path)) => match secret::read(path) {
            Ok(token) => token,
            Err(why) => {
                let help = "run this where the token is, such as in a pod of the service";
                return asked.warning(format!("not checked: {why}"), help);
            }
        },
        (None, None) => return tokenless(asked, &settings.report.others()),
    };
    let client = SlackClient::new(&slack.api, PATIENCE, Arc::new(move || token.clone()));
    match client {
        Ok(client) => taken(client.scopes().await),
        Err(error) => asked.failed(error.to_string(), "see `report.slack.api`"),
    }
}

/// What is said where Slack has no token. The other ways to tell people cannot be tried without telling them something.
fn tokenless(asked: Expected, others: &[&str]) -> Check {
    if others.is_empty() {
        let help = "name `report.slack.token_file` in the settings";
        return asked.warning("there is no token: nobody is told anything", help);
    }
    let found = format!(
        "not checked: there is no token; people are told by {}",
        others.join(", ")
    );
    let help = "see that something arrives there: ripcord_reports_total counts what was delivered";
    asked.warning(found, help)
}

fn taken(answer: Result<(Identity, Option<Vec<String>>), SlackError>) -> Check {
    let asked = expect("Slack", format!("it takes the token, which may {SCOPE}"));
    match answer {
        Ok((who, Some(scopes))) if !scopes.iter().any(|scope| scope == SCOPE) => asked.failed(
            format!("{} in {} may {}", who.user, who.team, scopes.join(", ")),
            format!("give the app the scope {SCOPE}, and install it again"),
        ),
        Ok((who, _)) => asked.ok(format!("it is {} in {}", who.user, who.team)),
        Err(error @ SlackError::NotSent { .. }) => asked.failed(error.to_string(), REACH),
        Err(error) => asked.failed(error.to_string(), "see the token, and Slack's word for it"),
    }
}

/// Whether the target's Redis would be flushed where a procedure asks for it.
pub(super) async fn redis(ground: &Ground<'_>, target: &Target) -> Option<Check> {
    let redis = target.redis.as_ref()?;
    let asked = expect("Redis", format!("{} leads to a master", redis.address));
    let unreadable = redis.password.as_ref().map(redis::files::password);
    if let Some(Err(why)) = unreadable {
        return Some(locked(asked, why, ground.service().is_none()));
    }
    let found = redis::look(redis, PATIENCE).await;
    Some(match found {
        Ok(said) => asked.ok(said),
        Err(Outcome {
            verdict: Verdict::Failed,
            said,
        }) if ground.outside => asked.warning(
            format!("not checked: {said}"),
            "run this in a pod of the service",
        ),
        Err(Outcome {
            verdict: Verdict::Failed,
            said,
        }) => asked.failed(said, REACH),
        Err(Outcome { said, .. }) => asked.failed(said, "see `redis` in the policy"),
    })
}

/// What is said of a password that cannot be read here. It may be elsewhere, but not where the service itself looks.
fn locked(asked: Expected, why: String, service: bool) -> Check {
    if service {
        return asked.failed(why, "put it there, or see `redis` in the policy");
    }
    let help = "run this where the password is, such as in a pod of the service";
    asked.warning(format!("not checked: {why}"), help)
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict as Came;
    use super::*;

    fn of(scopes: Option<&[&str]>) -> Came {
        let who = Identity {
            team: "ops".into(),
            user: "ripcord".into(),
        };
        let scopes = scopes.map(|all| all.iter().map(|it| (*it).to_owned()).collect());
        taken(Ok((who, scopes))).verdict
    }

    #[test]
    fn a_token_must_be_able_to_write() {
        assert_eq!(of(Some(&["chat:write", "channels:read"])), Came::Ok);
        assert_eq!(of(Some(&["channels:read"])), Came::Failed);
        assert_eq!(of(None), Came::Ok, "where Slack does not say");
        assert_eq!(taken(Err(SlackError::NoToken)).verdict, Came::Failed);
    }

    #[test]
    fn a_prometheus_that_cannot_be_asked_is_never_well() {
        let came = |answer: Result<f64, NoNumber>, outside| {
            let check = answered(answer, outside);
            (check.verdict, check.found.starts_with("not checked: "))
        };
        assert_eq!(came(Ok(1.0), false), (Came::Ok, false));
        let unknown = NoNumber::NotConfigured;
        assert_eq!(came(Err(unknown), false), (Came::Warning, true));
        let silent = || Err(NoNumber::Unreachable("connection refused".into()));
        assert_eq!(came(silent(), false), (Came::Failed, false));
        assert_eq!(came(silent(), true), (Came::Warning, true));
        let refused = || Err(NoNumber::Refused("HTTP 401".into()));
        assert_eq!(came(refused(), true), (Came::Failed, false));
    }

    #[tokio::test]
    async fn a_way_to_tell_people_that_nobody_looked_at_is_never_well() {
        let mut settings = Settings::default();
        let nobody = slack(&settings).await;
        assert_eq!(nobody.verdict, Came::Warning);
        assert!(
            nobody.found.contains("nobody is told anything"),
            "{nobody:?}"
        );
        settings.report.email.host = Some("mail".into());
        settings.report.pagerduty.routing_key_file = Some("/key".into());
        let others = slack(&settings).await;
        assert_eq!(others.verdict, Came::Warning);
        assert_eq!(
            others.found,
            "not checked: there is no token; people are told by e-mail, PagerDuty"
        );
    }

    #[test]
    fn a_password_that_is_missing_fails_for_the_service_alone() {
        let came = |service| {
            let check = locked(expect("Redis", "a master"), "it is empty".into(), service);
            (check.verdict, check.found)
        };
        assert_eq!(came(true), (Came::Failed, "it is empty".into()));
        let elsewhere = "not checked: it is empty".to_owned();
        assert_eq!(came(false), (Came::Warning, elsewhere));
    }
}
