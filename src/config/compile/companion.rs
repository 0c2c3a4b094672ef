//! What belongs to a target besides its workload: its Redis, and the request that warms its pods up.

use std::sync::Arc;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::{Check, place};
use crate::config::diagnostic::{Diagnostic, Place, Source};
use crate::config::raw;
use crate::target::redis::{PasswordAt, Tls};
use crate::target::{Redis, WarmUp};

pub(super) fn redis(check: &mut Check<'_>, here: &Place, raw: raw::Redis) -> Redis {
    let source = &here.source;
    let password = password(check, source, raw.password_file, raw.password_env);
    let mut wrong = |title: String, at: Place, label: &str| {
        check.say(Diagnostic::error(title).at(at, label));
    };
    if let Some(prefix) = raw.prefix.as_ref().filter(|it| it.value.is_empty()) {
        let label = "expected what the names of the target's keys begin with, such as `pinn:`";
        wrong(
            "an empty prefix is that of every key".to_owned(),
            place(source, prefix),
            label,
        );
    }
    if let Some(username) = raw.username.as_ref().filter(|_| password.is_none()) {
        let label = "expected `password_file` or `password_env` too";
        wrong(
            "`username` without a password".to_owned(),
            place(source, username),
            label,
        );
    }
    let redis = Redis {
        address: raw.address.value.clone(),
        database: raw.database.unwrap_or(0),
        username: raw.username.map(|username| username.value),
        password,
        tls: raw.tls.map(|tls| Tls {
            ca_file: tls.ca_file,
        }),
        master: raw.master,
        prefix: raw.prefix.map(|prefix| prefix.value),
        allow_flush_all: raw.allow_flush_all,
    };
    if raw.address.value.contains(['/', '@']) || redis.host_and_port().is_none() {
        // Such an address can hold a password, and what is wrong is drawn with its line.
        let at = if raw.address.value.contains('@') {
            here.clone()
        } else {
            place(source, &raw.address)
        };
        let label = "expected a host and a port alone, such as `redis.options-production:6379`";
        wrong("`address` is none of a Redis".to_owned(), at, label);
    }
    redis
}

fn password(
    check: &mut Check<'_>,
    source: &Arc<Source>,
    file: Option<Spanned<String>>,
    variable: Option<Spanned<String>>,
) -> Option<PasswordAt> {
    if let (Some(file), Some(variable)) = (&file, &variable) {
        let diagnostic = Diagnostic::error("the password is in two places")
            .at(place(source, variable), "expected one of the two");
        check.say(diagnostic.with(place(source, file), "it is said here too"));
    }
    for (key, named) in [("password_file", &file), ("password_env", &variable)] {
        if let Some(named) = named.as_ref().filter(|named| named.value.is_empty()) {
            let title = format!("`{key}` names nothing");
            check.say(Diagnostic::error(title).at(place(source, named), "expected a name"));
        }
    }
    let file = file.map(|file| PasswordAt::File(file.value));
    file.or(variable.map(|variable| PasswordAt::Env(variable.value)))
}

/// Whether each pod can be asked at this path and port.
pub(super) fn endpoint(
    check: &mut Check<'_>,
    source: &Arc<Source>,
    path: &Spanned<String>,
    port: &Spanned<u16>,
) {
    let mut wrong = |title: String, at: Place, label: &str| {
        check.say(Diagnostic::error(title).at(at, label));
    };
    if !path.value.starts_with('/') {
        let title = format!("`{}` is no path", path.value);
        wrong(title, place(source, path), "expected it to begin with `/`");
    }
    if port.value == 0 {
        let title = "port 0 cannot be asked".to_owned();
        wrong(title, place(source, port), "expected 1 to 65535");
    }
}

pub(super) fn warm_up(check: &mut Check<'_>, source: &Arc<Source>, raw: raw::WarmUp) -> WarmUp {
    endpoint(check, source, &raw.path, &raw.port);
    let mut wrong = |title: String, at: Place, label: &str| {
        check.say(Diagnostic::error(title).at(at, label));
    };
    if let Some(status) = raw
        .status
        .as_ref()
        .filter(|it| !(200..=599).contains(&it.value))
    {
        let title = format!("no pod answers with status {}", status.value);
        wrong(title, place(source, status), "expected 200 to 599");
    }
    let bounds = Duration::from_millis(10)..=Duration::from_secs(300);
    let timeout = raw
        .timeout
        .and_then(|raw| check.period(source, "timeout", &raw, &bounds));
    WarmUp {
        method: raw.method,
        path: raw.path.value,
        port: raw.port.value,
        status: raw.status.map(|status| status.value),
        timeout: timeout.unwrap_or(WarmUp::DEFAULT_TIMEOUT),
    }
}
