//! Targets: what is under care, how it proves that it is healthy, and who is told.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::{Check, FoundTarget, command, companion, place, words, workload};
use crate::config::diagnostic::{Diagnostic, Place, Source};
use crate::config::raw;
use crate::report::blocks::Mention;
use crate::report::settings::is_channel;
use crate::target::{Audience, Health, Image, Kind, Link, LinkFacts, Pin, Target, Workload};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The times of a target.
#[derive(Clone, Copy)]
struct Times {
    change_window: Duration,
    min_soak: Duration,
    settle: Duration,
    start_within: Duration,
    approve_within: Duration,
    give_up: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            change_window: HOUR,
            min_soak: Duration::from_secs(600),
            settle: Duration::from_secs(300),
            start_within: Duration::from_secs(120),
            approve_within: Duration::from_secs(900),
            give_up: Duration::from_secs(900),
        }
    }
}

pub(super) fn compile(
    check: &mut Check<'_>,
    defaults: Option<(Arc<Source>, Spanned<raw::Limits>)>,
    targets: Vec<(Place, String, raw::Target)>,
    protected: &BTreeMap<String, Option<Place>>,
) -> BTreeMap<String, FoundTarget> {
    let mut common = Times::default();
    if let Some((source, limits)) = defaults {
        common = times(check, &source, common, &limits.value);
    }
    let mut found: BTreeMap<String, FoundTarget> = BTreeMap::new();
    let mut workloads: BTreeMap<(String, String), (String, Place)> = BTreeMap::new();
    for (here, name, raw) in targets {
        let source = Arc::clone(&here.source);
        let (workload, at) = workload::compile(check, &source, &name, &raw.workload, protected);
        // Of any kind: triggers and rollbacks know a workload by its name, and a Service's Deployments are its own.
        let called = [&workload.name].into_iter().chain(&workload.deployments);
        let keys: Vec<_> = called
            .map(|it| (workload.namespace.clone(), it.clone()))
            .collect();
        if let Some((other, there)) = keys.iter().find_map(|key| workloads.get(key)) {
            let title = format!("{workload} belongs to two targets, `{other}` and `{name}`");
            let label = "expected a workload that is in no other target";
            let diagnostic = Diagnostic::error(title).at(at, label);
            check.say(diagnostic.with(there.clone(), "it stands here first"));
        } else {
            for key in keys {
                workloads.insert(key, (name.clone(), at.clone()));
            }
        }
        let target = one(check, &here, common, name.clone(), workload, raw);
        found.insert(
            name,
            FoundTarget {
                place: here,
                target,
            },
        );
    }
    found
}

fn one(
    check: &mut Check<'_>,
    here: &Place,
    common: Times,
    name: String,
    workload: Workload,
    raw: raw::Target,
) -> Target {
    let source = &here.source;
    let own = raw::Limits {
        change_window: raw.change_window,
        min_soak: raw.min_soak,
        settle: raw.settle,
        start_within: raw.start_within,
        approve_within: raw.approve_within,
        give_up: raw.give_up,
    };
    let times = times(check, source, common, &own);
    let kind = workload.kind;
    Target {
        name,
        workload,
        health: raw.health.map(|raw| health(check, source, raw)),
        redis: raw.redis.map(|raw| companion::redis(check, here, raw)),
        warm_up: raw
            .warm_up
            .map(|raw| companion::warm_up(check, source, raw)),
        commands: command::all(check, source, raw.commands),
        ownership: raw.owner,
        drills: raw.drill,
        manifest: raw.manifest.map(|url| manifest(check, source, &url)),
        known_good: raw.known_good.map(|raw| pin(check, source, kind, raw)),
        change_window: times.change_window,
        min_soak: times.min_soak,
        settle: times.settle,
        start_within: times.start_within,
        approve_within: times.approve_within,
        give_up: times.give_up,
        audience: audience(check, source, raw.channel, raw.on_call),
        links: links(check, source, raw.links),
        after: super::measure::all(check, source, raw.after),
    }
}

fn times(
    check: &mut Check<'_>,
    source: &Arc<Source>,
    mut times: Times,
    raw: &raw::Limits,
) -> Times {
    type Field<'a> = (
        &'a str,
        &'a Option<Spanned<String>>,
        &'a mut Duration,
        RangeInclusive<Duration>,
    );
    let fields: [Field<'_>; 6] = [
        (
            "change_window",
            &raw.change_window,
            &mut times.change_window,
            SECOND..=7 * DAY,
        ),
        (
            "min_soak",
            &raw.min_soak,
            &mut times.min_soak,
            SECOND..=30 * DAY,
        ),
        ("settle", &raw.settle, &mut times.settle, SECOND..=HOUR),
        (
            "start_within",
            &raw.start_within,
            &mut times.start_within,
            SECOND..=HOUR,
        ),
        (
            "approve_within",
            &raw.approve_within,
            &mut times.approve_within,
            10 * SECOND..=DAY,
        ),
        (
            "give_up",
            &raw.give_up,
            &mut times.give_up,
            10 * SECOND..=DAY,
        ),
    ];
    for (key, raw, time, bounds) in fields {
        if let Some(found) = raw
            .as_ref()
            .and_then(|raw| check.period(source, key, raw, &bounds))
        {
            *time = found;
        }
    }
    times
}

fn health(check: &mut Check<'_>, source: &Arc<Source>, raw: raw::Health) -> Health {
    companion::endpoint(check, source, &raw.path, &raw.port);
    let mut wrong = |title: String, at: Place, label: &str| {
        check.say(Diagnostic::error(title).at(at, label));
    };
    if let Some(pointer) = &raw.pointer
        && !words::is_json_pointer(&pointer.value)
    {
        let title = format!("`{}` is no JSON pointer", pointer.value);
        wrong(
            title,
            place(source, pointer),
            "expected steps that each begin with `/`, such as `/overall_status`",
        );
    }
    match (&raw.pointer, &raw.equals) {
        (Some(pointer), None) => {
            let title = "`pointer` without `equals`".to_owned();
            wrong(
                title,
                place(source, pointer),
                "expected `equals` too: what must stand there",
            );
        }
        (None, Some(equals)) => {
            let title = "`equals` without `pointer`".to_owned();
            wrong(
                title,
                place(source, equals),
                "expected `pointer` too: where it must stand",
            );
        }
        _ => {}
    }
    if let Some(url) = &raw.url
        && !words::is_http_url(&url.value)
    {
        let title = format!("`{}` cannot be asked", url.value);
        wrong(
            title,
            place(source, url),
            "expected an address that begins with http:// or https://",
        );
    }
    let bounds = Duration::from_millis(10)..=30 * SECOND;
    let timeout = raw
        .timeout
        .and_then(|raw| check.period(source, "timeout", &raw, &bounds));
    Health {
        path: raw.path.value,
        port: raw.port.value,
        pointer: raw.pointer.map(|pointer| pointer.value),
        equals: raw.equals.map(|equals| equals.value),
        url: raw.url.map(|url| url.value),
        timeout: timeout.unwrap_or(Health::DEFAULT_TIMEOUT),
    }
}

fn pin(check: &mut Check<'_>, source: &Arc<Source>, kind: Kind, raw: Spanned<raw::Pin>) -> Pin {
    let at = place(source, &raw);
    if kind == Kind::Service && !matches!(raw.value, raw::Pin::Hash(_)) {
        let title = "a release behind a Service can be pinned by its hash alone";
        let label =
            "expected `hash`: each Deployment counts its own revisions, and no image is brought up";
        check.say(Diagnostic::error(title).at(at.clone(), label));
    }
    match raw.value {
        raw::Pin::Hash(hash) => {
            if !words::is_dns_label(&hash) {
                let title = format!("`{hash}` is no pod-template hash");
                let label = format!(
                    "expected the value of a pod's label `{}`",
                    kind.hash_label()
                );
                check.say(Diagnostic::error(title).at(at, label));
            }
            Pin::Hash(hash)
        }
        raw::Pin::Revision(revision) => {
            if revision < 1 {
                let title = format!("there is no revision {revision}");
                check.say(Diagnostic::error(title).at(at, "expected 1 or more"));
            }
            Pin::Revision(revision)
        }
        raw::Pin::Image(image) => Pin::Image(pinned(check, source, image)),
    }
}

fn pinned(check: &mut Check<'_>, source: &Arc<Source>, raw: raw::Image) -> Image {
    let mut wrong = |at: &Spanned<String>, title: String, label: &str| {
        check.say(Diagnostic::error(title).at(place(source, at), label));
    };
    if !words::is_dns_label(&raw.container.value) {
        let title = format!("`{}` is no container", raw.container.value);
        wrong(
            &raw.container,
            title,
            "expected the name of a container in the pod",
        );
    }
    if !words::has_digest(&raw.reference.value) {
        let title = format!("`{}` can be moved to another image", raw.reference.value);
        let label =
            "expected its digest behind it, as in `registry.example/app@sha256:` and 64 digits";
        wrong(&raw.reference, title, label);
    }
    Image {
        container: raw.container.value,
        reference: raw.reference.value,
    }
}

fn audience(
    check: &mut Check<'_>,
    source: &Arc<Source>,
    channel: Option<Spanned<String>>,
    on_call: Vec<Spanned<String>>,
) -> Audience {
    if let Some(channel) = &channel
        && !is_channel(&channel.value)
    {
        let title = format!("`{}` is no Slack channel", channel.value);
        let label = "expected `#name` in lower case (in quotes), or an id such as `C0123ABCD`";
        check.say(Diagnostic::error(title).at(place(source, channel), label));
    }
    for mention in &on_call {
        if let Err(error) = mention.value.parse::<Mention>() {
            let title = format!("`{}` cannot be mentioned in Slack", mention.value);
            check.say(Diagnostic::error(title).at(place(source, mention), error.to_string()));
        }
    }
    Audience {
        channel: channel.map(|channel| channel.value),
        on_call: on_call.into_iter().map(|mention| mention.value).collect(),
    }
}

fn links(
    check: &mut Check<'_>,
    source: &Arc<Source>,
    raw: raw::Named<Spanned<String>>,
) -> Vec<Link> {
    let mut links = Vec::new();
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    for (name, url) in raw.0 {
        let here = place(source, &name);
        if let Some(there) = seen.get(&name.value) {
            check.twice("link", &name.value, here.clone(), there.clone());
        }
        seen.insert(name.value.clone(), here);
        let link = Link {
            name: name.value,
            url: url.value.clone(),
        };
        check_link(check, source, &link, &url);
        links.push(link);
    }
    links
}

fn manifest(check: &mut Check<'_>, source: &Arc<Source>, url: &Spanned<String>) -> Link {
    let link = Link {
        name: "manifest".to_owned(),
        url: url.value.clone(),
    };
    check_link(check, source, &link, url);
    link
}

fn check_link(check: &mut Check<'_>, source: &Arc<Source>, link: &Link, written: &Spanned<String>) {
    let Err(error) = link.check() else {
        return;
    };
    let whole = place(source, written);
    let at = error
        .span
        .clone()
        .and_then(|span| within(&whole, &written.value, span))
        .unwrap_or(whole);
    let title = format!("link `{}` cannot be made", link.name);
    let known = LinkFacts::VARIABLES.join(", ");
    let help = format!("a link can use {known}; `from` and `to` have revision, hash and images");
    check.say(Diagnostic::error(title).at(at, error.what).help(help));
}

/// The place of a part of a text, where the file holds the text letter for letter.
pub(super) fn within(whole: &Place, text: &str, part: std::ops::Range<usize>) -> Option<Place> {
    let written = whole.source.text.get(whole.span.clone())?;
    let begin = whole.span.start + written.find(text)?;
    // An error at the end of the text is shown at its last character.
    let end = part.end.max(part.start + 1).min(text.len());
    let start = part.start.min(end.saturating_sub(1));
    (text.is_char_boundary(start) && text.is_char_boundary(end)).then(|| Place {
        source: Arc::clone(&whole.source),
        span: begin + start..begin + end,
    })
}
