use insta::{assert_json_snapshot, assert_snapshot};
use serde_json::{Value, json};

use super::*;
use crate::report::blocks::units;
use crate::report::text;
use crate::rollback::given;
use crate::rollback::history::tests::target;
use crate::target::Link;

const NAME: &str = "options-api";

fn everyone() -> Everyone {
    Everyone {
        channel: Some("#ops".into()),
        on_call: vec!["S0123ABCD".parse().unwrap()],
        namespace: "ripcord".into(),
        hold: "off-switch".into(),
    }
}

fn options_api() -> Target {
    let mut target = target();
    target.name = NAME.into();
    target.workload.namespace = "options-production".into();
    target.workload.name = "options-api-pinn-fixes".into();
    target.links = vec![Link {
        name: "dashboard".into(),
        url: "https://grafana.example/d/1?var-hash={{ from.hash }}&from={{ alert.name }}".into(),
    }];
    target
}

fn memory() -> Memory {
    serde_json::from_value(json!({
        "apiVersion": "ripcord.dev/v1alpha1", "kind": "Target", "metadata": {"name": NAME}, "spec": {},
        "status": {"live": {
            "uid": "w", "revision": 7, "hash": "7dc687bd8d",
            "changed": "2026-11-22T03:00:00Z", "promoted": "2026-11-22T03:06:03Z",
        }},
    }))
    .unwrap()
}

fn rollback(json: Value) -> Rollback {
    serde_json::from_value(json).unwrap()
}

fn story(json: Value) -> Story {
    tell(
        &rollback(json),
        Some(&memory()),
        Some(&options_api()),
        &everyone(),
    )
    .unwrap()
}

fn read(json: Value) -> String {
    text::story(&story(json))
}

/// Planned, and a person is asked.
fn asking(target: &str) -> Value {
    let mut rollback = given::running(target);
    let steps = rollback["status"]["plan"]["steps"]
        .as_array()
        .map_or(0, Vec::len);
    let pending = ["revert", "healthy"].map(|step| json!({"step": step, "phase": "Pending"}));
    rollback["status"]["phase"] = "AwaitingApproval".into();
    rollback["status"]["run"] = json!({
        "epoch": 1, "seq": 1, "progress": format!("0/{steps}"), "steps": pending,
        "asked": {"at": "2026-11-22T03:12:41.300Z", "until": "2026-11-22T03:27:41.300Z", "why": "trigger latency asks for an approval"},
    });
    rollback
}

/// Proved healthy, and then not all that was left is done.
fn failed_after_proof() -> Value {
    let mut json = given::failed(NAME);
    let run = &mut json["status"]["run"];
    let failed = run["steps"][1].take();
    run["steps"][1] = given::succeeded(NAME)["status"]["run"]["steps"][1].take();
    let steps = run["steps"].as_array_mut().unwrap();
    steps.push(failed);
    steps[2]["step"] = "scale".into();
    json
}

fn persisting() -> Value {
    let mut json = given::succeeded(NAME);
    json["status"]["alerts"]["persisting"] = json!({
        "noticed": "2026-11-22T03:18:11Z",
        "finding": {"reason": "still_firing", "said": "PinnLatencyP95High still fires although r8 676b9bd6fc was proved healthy"},
    });
    json
}

fn overtaken() -> Value {
    let mut json = given::running(NAME);
    let finding = json!({"reason": "new_release", "said": "r9 55 is live, neither r7 7dc687bd8d nor r6 676b9bd6fc"});
    json["status"]["phase"] = "Superseded".into();
    json["status"]["reason"] = finding.clone();
    json["status"]["run"]["finished"] = "2026-11-22T03:12:45Z".into();
    json["status"]["run"]["steps"][0]["phase"] = "Skipped".into();
    json["status"]["run"]["steps"][0]["observed"] = finding;
    json
}

fn cancelled() -> Value {
    let mut json = overtaken();
    json["spec"]["cancel"] = json!({"by": "jo", "reason": "fixing forward"});
    json["status"]["phase"] = "Cancelled".into();
    json["status"]["reason"] = json!({"reason": "cancelled"});
    json
}

fn shadowed() -> Value {
    let mut json = given::running(NAME);
    json["spec"]["mode"] = "shadow".into();
    json["status"]["phase"] = "Shadowed".into();
    json["status"]["reason"] = json!({"reason": "shadow"});
    json["status"]["run"] = json!({"finished": "2026-11-22T03:12:41.200Z"});
    json
}

fn late() -> Value {
    let mut json = given::reverted(NAME);
    json["status"]["run"]["overBudget"] = "2026-11-22T03:13:11.100Z".into();
    json
}

fn without_a_right() -> Value {
    let mut json = given::reverted(NAME);
    json["status"]["run"]["steps"][1]["observed"] = json!({"reason": "permission_missing", "said": "the service account may not list pods in shop"});
    json
}

fn given_up() -> Value {
    let mut json = late();
    json["status"]["run"]["gaveUp"] = "2026-11-22T03:27:41.100Z".into();
    json
}

fn asked_by_hand() -> Value {
    let mut json = given::succeeded(NAME);
    json["spec"]["alerts"] = json!([]);
    json["spec"]["requestedBy"] = "jo".into();
    json["spec"]["reason"] = "r7 corrupts prices".into();
    json
}

/// Done by an abort, because Argo CD owns the spec.
fn aborted() -> Value {
    let mut json = given::succeeded(NAME);
    let status = &mut json["status"];
    status["plan"]["owner"] = "Argo CD application shop".into();
    status["run"]["state"] =
        "r7 7dc687bd8d is aborted, phase Degraded; stable is r6 676b9bd6fc; r6: 4 of 4 pods available".into();
    let step = &mut status["run"]["steps"][0];
    step["intent"]["effect"] = "abort".into();
    step["observed"] = json!({"reason": "aborted", "said": "r7 7dc687bd8d is aborted and all traffic is on r6 676b9bd6fc"});
    json
}

/// With the place of its manifest.
fn owned() -> Target {
    let mut target = options_api();
    target.manifest = Some(Link {
        name: "manifest".into(),
        url: "https://git.example/deploy/blob/main/{{ workload }}.yaml".into(),
    });
    target
}

fn read_owned(json: Value) -> String {
    text::story(
        &tell(
            &rollback(json),
            Some(&memory()),
            Some(&owned()),
            &everyone(),
        )
        .unwrap(),
    )
}

#[test]
fn a_claim_alone_tells_nothing() {
    let claimed = rollback(given::claimed(NAME));
    assert_eq!(tell(&claimed, None, None, &everyone()), None);
}

#[test]
fn running_reads_like_this() {
    assert_snapshot!(read(given::reverted(NAME)));
}

#[test]
fn a_missing_right_is_in_the_headline_and_named_below() {
    let story = story(without_a_right());
    assert_eq!(
        story.parent.headline,
        "⏳ options-api: pulling r7 back to r6 · step 2/2 healthy · a right is missing"
    );
    let text = text::page(&story.parent);
    assert!(text.contains("may not list pods in shop"), "{text}");
}

#[test]
fn success_reads_like_this() {
    let mut json = given::succeeded(NAME);
    let mut ended = given::alert("a1", "PinnLatencyP95High", "P0");
    ended["ended"] = "2026-11-22T03:14:00Z".into();
    let mut joined = given::alert("b2", "PinnErrors", "P1");
    joined["ended"] = "2026-11-22T03:14:30Z".into();
    json["status"]["alerts"]["items"] = json!([ended, joined]);
    assert_snapshot!(read(json));
}

#[test]
fn an_abort_reads_like_this() {
    assert_snapshot!(read_owned(aborted()));
}

#[test]
fn what_is_left_to_its_owner_reads_like_this() {
    let said = "Argo CD application shop owns the spec and would undo a restored template, and an abort does not help: \
                r7 7dc687bd8d (v1.0.0) is promoted";
    assert_snapshot!(read_owned(given::declined(NAME, "owned_elsewhere", said)));
}

#[test]
fn failure_reads_like_this() {
    assert_snapshot!(read(given::failed(NAME)));
}

#[test]
fn what_fails_after_the_proof_does_not_take_it_back() {
    assert_eq!(
        story(failed_after_proof()).parent.headline,
        "🛑 options-api: r6 is healthy, but scale failed · you are needed"
    );
}

#[test]
fn an_alert_that_persists_reads_like_this() {
    assert_snapshot!(read(persisting()));
}

#[test]
fn a_newer_release_reads_like_this() {
    assert_snapshot!(read(overtaken()));
}

#[test]
fn a_cancelled_one_reads_like_this() {
    assert_snapshot!(read(cancelled()));
}

#[test]
fn a_shadow_reads_like_this() {
    assert_snapshot!(read(shadowed()));
}

#[test]
fn a_late_one_reads_like_this() {
    assert_snapshot!(read(late()));
}

#[test]
fn a_persons_own_reads_like_this() {
    assert_snapshot!(read(asked_by_hand()));
}

#[test]
fn a_refusal_that_was_wanted_reads_like_this() {
    assert_snapshot!(read(given::declined(NAME, "held", "held: jo: freeze")));
}

#[test]
fn a_refusal_that_needs_somebody_reads_like_this() {
    let said = "no release that still has a replica set was seen stable for 10 min 0 s";
    assert_snapshot!(read(given::declined(NAME, "no_destination", said)));
}

#[test]
fn a_latched_target_says_which_latch_to_lift() {
    let mut memory = memory();
    let latch = json!({
        "since": "2026-11-21T03:00:00Z", "rollback": "options-api-pinn-fixes-r5-55",
        "finding": {"reason": "still_firing"},
    });
    memory.status.as_mut().unwrap().latch = Some(serde_json::from_value(latch).unwrap());
    let refused = rollback(given::declined(NAME, "latched", "latched by r5"));
    let story = tell(&refused, Some(&memory), Some(&options_api()), &everyone()).unwrap();
    let shown = text::story(&story);
    assert!(
        shown.contains(r#"-p '{"spec":{"acknowledge":"options-api-pinn-fixes-r5-55"}}'"#),
        "{shown}"
    );
}

#[test]
fn in_slack_it_is_these_blocks() {
    assert_json_snapshot!(story(given::failed(NAME)).parent.message());
}

#[test]
fn whoever_is_needed_is_called_by_a_new_message_once() {
    let calls = |json: Value| {
        let story = story(json);
        let thread: Vec<String> = story
            .further
            .iter()
            .filter(|told| !told.page.call.is_empty())
            .map(|told| format!("{}{}", told.key, if told.broadcast { "!" } else { "" }))
            .collect();
        (!story.parent.call.is_empty(), thread)
    };
    let none: Vec<String> = vec![];
    assert_eq!(calls(given::running(NAME)), (false, none.clone()));
    assert_eq!(calls(given::succeeded(NAME)), (false, none.clone()));
    assert_eq!(calls(aborted()), (false, none.clone()));
    assert_eq!(calls(overtaken()), (false, none.clone()));
    assert_eq!(calls(cancelled()), (false, none.clone()));
    assert_eq!(calls(shadowed()), (false, none.clone()));
    assert_eq!(calls(late()), (false, vec!["over_budget!".to_owned()]));
    let both = vec!["over_budget!".to_owned(), "gave_up!".to_owned()];
    assert_eq!(calls(given_up()), (false, both));
    assert_eq!(calls(persisting()), (false, vec!["persisting!".to_owned()]));
    let failed = calls(given::failed(NAME));
    assert_eq!(failed, (false, vec!["end/Failed!".to_owned()]));
    for reason in Reason::ALL {
        let quiet = matches!(
            reason.code(),
            "held"
                | "target_held"
                | "no_recent_change"
                | "not_this_release"
                | "too_late"
                | "resolved_before_start"
                | "duplicate"
                | "approval_denied"
        );
        let declined = calls(given::declined(NAME, reason.code(), ""));
        assert_eq!(declined, (!quiet, none.clone()), "{reason}");
    }
}

#[test]
fn the_first_line_fits_a_lock_screen() {
    let mut all = vec![
        given::running(NAME),
        given::succeeded(NAME),
        aborted(),
        given::failed(NAME),
        failed_after_proof(),
        persisting(),
        overtaken(),
        cancelled(),
        shadowed(),
        late(),
        asked_by_hand(),
    ];
    all.extend(
        Reason::ALL
            .iter()
            .map(|reason| given::declined(NAME, reason.code(), "")),
    );
    for json in all {
        for name in [NAME.to_owned(), "a-very-long-name-of-a-target".repeat(9)] {
            let mut json = json.clone();
            json["spec"]["target"] = name.into();
            let headline = story(json).parent.headline;
            assert!(units(&headline) <= 80, "{headline}");
            let verdicts = [
                "nobody",
                "you are needed",
                "look",
                "NOT acted on",
                "nothing touched",
                "cancelled",
                "in Git",
            ];
            assert!(
                verdicts.iter().any(|verdict| headline.contains(verdict)),
                "{headline}"
            );
        }
    }
}

#[test]
fn foreign_text_calls_nobody_and_ends_no_line() {
    let hostile = "<!channel> <@U666666666>\n*next* `rm -rf /` <https://evil.example|runbook> \u{202e}\u{1b}[2J";
    let mut json = given::failed(NAME);
    json["spec"]["target"] = hostile.into();
    let alert = &mut json["spec"]["alerts"][0];
    for field in ["name", "summary"] {
        alert[field] = hostile.into();
    }
    alert["runbook"] = "javascript:alert(1)".into();
    alert["source"] = "https://x.example/|<!channel>".into();
    json["status"]["reason"]["said"] = hostile.into();
    json["status"]["run"]["state"] = hostile.into();
    let story = story(json);
    let pages = story.further.iter().map(|told| &told.page);
    for page in pages.chain([&story.parent]) {
        let sent = serde_json::to_string(&page.message()).unwrap();
        let tags: Vec<&str> = sent.split('<').skip(1).collect();
        let ours = |tag: &&str| {
            [
                "!subteam^S0123ABCD>",
                "https://x.example/",
                "https://grafana.example/",
            ]
            .iter()
            .any(|own| tag.starts_with(own))
        };
        assert!(tags.iter().all(ours), "{sent}");
    }
    let shown = text::story(&story);
    assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
    assert!(
        !shown.lines().any(|line| line.starts_with("*next*")),
        "{shown}"
    );
}

#[test]
fn a_link_whose_facts_are_missing_is_left_out_and_said() {
    let mut target = options_api();
    let link = |name: &str, url: &str| Link {
        name: name.into(),
        url: url.into(),
    };
    target.links = vec![
        link(
            "diff",
            "https://git.example/{{ from.hash }}...{{ to.hash }}",
        ),
        link(
            "endless",
            "https://x.example/{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
        ),
        link("odd", "javascript:{{ target }}"),
        link(
            "fine",
            "https://x.example/{{ namespace }}/{{ workload }}/{{ severity }}",
        ),
    ];
    let refused = rollback(given::declined(NAME, "no_destination", ""));
    let story = tell(&refused, None, Some(&target), &everyone()).unwrap();
    let shown = text::story(&story);
    assert!(
        shown.contains("fine https://x.example/options-production/options-api-pinn-fixes/P0"),
        "{shown}"
    );
    assert!(!shown.contains("diff") && !shown.contains("endless") && !shown.contains("odd "));
    assert_eq!(story.faults.len(), 3, "{:?}", story.faults);
}

#[test]
fn without_its_target_a_story_is_told_all_the_same() {
    let story = tell(&rollback(given::failed(NAME)), None, None, &everyone()).unwrap();
    assert!(text::story(&story).contains("a target that the policy no longer has"));
}

#[test]
fn what_nobody_watched_is_not_dated() {
    let mut memory = memory();
    let status = memory.status.as_mut().unwrap();
    status.live = None;
    let stable = |hash: &str, revision: i64| json!({"uid": "w", "revision": revision, "hash": hash, "since": "2026-11-22T03:06:03Z"});
    let only = json!([stable("7dc687bd8d", 7)]);
    status.history = serde_json::from_value(only).unwrap();
    let told = |memory: &Memory| {
        let rollback = rollback(given::failed(NAME));
        let story = tell(&rollback, Some(memory), None, &everyone());
        text::story(&story.unwrap())
    };
    assert!(!told(&memory).contains("went live"));
    let after = json!([stable("676b9bd6fc", 6), stable("7dc687bd8d", 7)]);
    memory.status.as_mut().unwrap().history = serde_json::from_value(after).unwrap();
    assert!(told(&memory).contains("r7 went live 6 min 2 s before it began"));
}

#[test]
fn the_question_says_what_would_be_done_and_how_to_answer() {
    assert_snapshot!("asking", read(asking(NAME)));
    let asked = story(asking(NAME));
    assert_eq!(asked.parent.call.len(), 1, "it calls somebody");
    assert!(asked.further.is_empty());
    assert!(units(&asked.parent.headline) <= 80);
}

#[test]
fn what_follows_a_failed_one_says_so() {
    let mut rung = asking(NAME);
    rung["spec"]["rung"] = 1.into();
    rung["spec"]["parent"] = "options-api-r7-7dc687bd8d".into();
    rung["spec"]["reason"] =
        "emergency-canary of options-api-r7-7dc687bd8d failed: forbidden: this image is kept out"
            .into();
    assert_snapshot!("rung", read(rung));
}

#[test]
fn who_answered_what_is_in_the_thread() {
    let mut approved = given::succeeded(NAME);
    let mut asked = asking(NAME)["status"]["run"]["asked"].clone();
    asked["released"] = "2026-11-22T03:12:41.900Z".into();
    approved["status"]["run"]["asked"] = asked;
    approved["spec"]["approval"] =
        json!({"decision": "approve", "by": "jo", "to": "676b9bd6fc", "reason": "I looked"});
    let story = story(approved);
    let told = story.further.iter().find(|told| told.key == "approval");
    assert_eq!(
        told.unwrap().page.headline,
        "approved by jo at 03:12:41: I looked"
    );
    assert!(text::story(&story).contains("kept"));

    let mut expired = asking(NAME);
    expired["status"]["phase"] = "Declined".into();
    expired["status"]["reason"] =
        json!({"reason": "approval_expired", "said": "nobody answered within 15 min 0 s"});
    let end = super::tests::story(expired);
    assert_eq!(
        end.further.last().unwrap().page.call.len(),
        1,
        "somebody is needed"
    );
    let mut denied = asking(NAME);
    denied["status"]["phase"] = "Declined".into();
    denied["status"]["reason"] =
        json!({"reason": "approval_denied", "said": "denied by jo: it is the network"});
    let end = super::tests::story(denied);
    let last = end.further.last().unwrap();
    assert!(last.page.call.is_empty() && last.page.headline.contains("denied by jo"));
}

/// The same rollback half an hour later, when it was looked at and everybody was told.
fn looked_at(mut json: Value) -> Value {
    let p95 = |value: f64| json!({"name": "P95", "value": value, "good": value < 260.0, "said": format!("P95 {value} ms (good below 260 ms)")});
    let errors = |value: f64, good: bool| json!({"name": "errors", "value": value, "good": good, "said": format!("errors {value} % (good below 5 %)")});
    let none = json!({"name": "cache hits", "good": false, "said": "cache hits: no data: the query gives no series"});
    json["status"]["after"] = json!({"seq": 3, "checks": [
        {"minutes": 0, "at": "2026-11-22T03:12:43.500Z", "numbers": [p95(212.0), errors(7.5, false), none]},
        {"minutes": 5, "at": "2026-11-22T03:17:43.500Z", "numbers": [p95(198.0), errors(0.3, true)]},
        {"minutes": 30, "at": "2026-11-22T03:42:50Z", "skipped": {"reason": "not_checked", "said": "nobody looked in time"}, "numbers": []},
    ]});
    json["status"]["report"] = json!({
        "slack": {"channel": "C1", "ts": "1.2", "told": ["end/Succeeded"]},
        "email": {"told": ["end/Succeeded"]},
        "webhook": {"told": ["started", "end/Succeeded", "after/0m"]},
        "pagerduty": {"told": ["asked", "after/0m"]},
    });
    json
}

#[test]
fn error_rates_that_are_not_good_leave_the_box_open() {
    let mut json = looked_at(given::succeeded(NAME));
    let checks = json["status"]["after"]["checks"].as_array_mut().unwrap();
    checks.truncate(1);
    json["status"]["report"]["webhook"]["told"] = json!(["started"]);
    json["status"]["report"]["pagerduty"]["told"] = json!(["asked"]);
    let page = postmortem(&rollback(json), None, None, &everyone());
    for open in [
        "- [ ] Check the error rates in the logs (Prometheus, right after the end: errors 7.5 % (good below 5 %), which is not good)\n",
        // A tracker that does not know how it ended.
        "- [ ] Update the incident in the tracker\n",
    ] {
        assert!(page.contains(open), "{open}: {page}");
    }
}

#[test]
fn the_full_story_and_the_postmortem_hold_what_is_on_record() {
    let mut done = given::succeeded(NAME);
    done["spec"]["alerts"][0]["summary"] = "<b>P95</b> *412* ms\n# not a title".into();
    let given = done.clone();
    let done = rollback(done);
    let full = full(&done, Some(&memory()), Some(&options_api()), &everyone());
    assert_snapshot!("full", text::page(&full.parent));
    let bare = postmortem(&done, Some(&memory()), Some(&options_api()), &everyone());
    for open in [
        "- [ ] Check the error rates in the logs\n",
        "- [ ] Notify the stakeholders\n",
        "- [ ] Update the incident in the tracker\n",
    ] {
        assert!(bare.contains(open), "{open}: {bare}");
    }
    let looked = rollback(looked_at(given));
    let page = postmortem(&looked, Some(&memory()), Some(&options_api()), &everyone());
    assert_snapshot!("postmortem", page);
    let claimed = rollback(given::claimed(NAME));
    let waits = super::full(&claimed, None, None, &everyone());
    assert!(waits.parent.headline.contains("waits for the leader"));
}

/// The same rollback as that of a drill.
fn drill(mut json: Value) -> Value {
    let spec = &mut json["spec"];
    spec["drill"] = true.into();
    spec["alerts"] = json!([]);
    spec["requestedBy"] = "jo".into();
    spec["reason"] = "drill d1".into();
    spec.as_object_mut().unwrap().remove("trigger");
    json
}

#[test]
fn a_drill_is_called_one_in_every_headline_and_wakes_nobody_who_need_not_come() {
    let mut late = given::running(NAME);
    late["status"]["run"]["overBudget"] = "2026-11-22T03:13:12Z".into();
    let declined = given::declined(NAME, "drill_not_allowed", "");
    for (json, needs) in [
        (given::running(NAME), false),
        (late, false),
        (given::succeeded(NAME), false),
        (overtaken(), false),
        (cancelled(), false),
        (declined, false),
        (given::failed(NAME), true),
        (asking(NAME), true),
    ] {
        let story = story(drill(json));
        let rings = story.further.iter().filter(|told| told.broadcast);
        let pages = std::iter::once(&story.parent).chain(rings.map(|told| &told.page));
        for page in pages {
            assert!(
                page.headline.contains("drill · options-api"),
                "{}",
                page.headline
            );
            assert!(units(&page.headline) <= 80, "{}", page.headline);
            assert!(needs || page.call.is_empty(), "{}", page.headline);
        }
        assert_eq!(story.needs, needs, "{}", story.parent.headline);
    }
}

#[test]
fn a_drill_says_what_it_is_and_asks_for_no_latch_to_be_lifted() {
    let done = read(drill(given::succeeded(NAME)));
    assert!(done.contains("jo asked for it: drill d1"), "{done}");
    assert!(
        done.contains("a harmless release was shipped to be pulled back"),
        "{done}"
    );
    assert!(!done.contains("in Git"), "{done}");
    let failed = read(drill(given::failed(NAME)));
    assert!(!failed.contains("lift the latch"), "{failed}");
    let mut first = overtaken();
    first["status"]["reason"] =
        json!({"reason": "real_alert", "said": "x-r1-good is asked for, and goes first"});
    let first = read(drill(first));
    assert!(first.contains("then gave way"), "{first}");
    // Without the word, everything is as it was.
    assert!(!read(given::succeeded(NAME)).contains("drill"));
}
