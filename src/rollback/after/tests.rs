use super::*;
use crate::rollback::given;

fn at(text: &str) -> Timestamp {
    format!("2026-11-22T{text}Z").parse().unwrap()
}

/// Ended at 03:12:43.
fn ended(checks: &[Check]) -> Rollback {
    let mut json = given::succeeded("api");
    json["status"]["after"] = serde_json::json!({"seq": checks.len(), "checks": checks});
    serde_json::from_value(json).unwrap()
}

fn check(minutes: i64) -> Check {
    Check {
        minutes,
        at: at("03:13:00"),
        skipped: None,
        numbers: vec![],
    }
}

#[test]
fn each_look_has_its_time_once() {
    let none = ended(&[]);
    assert_eq!(due(&none, at("03:12:43")), Due::Now(0, at("03:14:43")));
    let one = ended(&[check(0)]);
    assert_eq!(due(&one, at("03:13:00")), Due::At(at("03:17:43")));
    assert_eq!(due(&one, at("03:18:00")), Due::Now(5, at("03:19:43")));
    let two = ended(&[check(0), check(5)]);
    assert_eq!(due(&two, at("03:18:00")), Due::At(at("03:42:43")));
    let all = ended(&[check(0), check(5), check(30)]);
    assert_eq!(due(&all, at("03:43:00")), Due::Nothing);
}

#[test]
fn what_nobody_looked_at_in_time_is_missed_and_said() {
    let none = ended(&[]);
    assert_eq!(due(&none, at("03:14:44")), Due::Missed(0));
    assert_eq!(due(&ended(&[check(0)]), at("03:19:44")), Due::Missed(5));
}

#[test]
fn history_is_left_alone() {
    assert_eq!(due(&ended(&[]), at("03:45:00")), Due::Nothing);
    let next_day = "2026-11-23T04:00:00Z".parse().unwrap();
    assert_eq!(due(&ended(&[check(0)]), next_day), Due::Nothing);
}

#[test]
fn another_release_ends_the_looks() {
    let gone = Check::skipped(0, at("03:13:00"), Reason::NewRelease.into());
    assert_eq!(due(&ended(&[gone]), at("03:17:43")), Due::Nothing);
    let out = Check::skipped(0, at("03:13:00"), Reason::NotChecked.into());
    assert_eq!(
        due(&ended(&[out]), at("03:17:43")),
        Due::Now(5, at("03:19:43"))
    );
}

#[test]
fn only_what_succeeded_is_looked_at() {
    let mut failed = ended(&[]);
    failed.status.as_mut().unwrap().phase = Phase::Failed;
    assert_eq!(due(&failed, at("03:12:43")), Due::Nothing);
}
