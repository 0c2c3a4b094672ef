use k8s_openapi::api::core::v1::ConfigMap;

use super::*;
use crate::telemetry::logs::tests::lines;

fn object(version: u64) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = Some("x".into());
    object.metadata.resource_version = Some(version.to_string());
    object
}

fn shelf() -> Shelf<ConfigMap> {
    Shelf::new("rollbacks", watch::Sender::new(0))
}

fn kept(shelf: &Shelf<ConfigMap>) -> Option<u64> {
    shelf.get("n", "x").map(|object| version(&*object))
}

#[test]
fn what_a_call_returned_late_does_not_hide_what_the_watch_told() {
    let shelf = shelf();
    shelf.put("n", object(5), |object, _| Some(object));
    shelf.offer("n", "x", object(4));
    assert_eq!(kept(&shelf), Some(5));
    shelf.offer("n", "x", object(6));
    assert_eq!(kept(&shelf), Some(6));
}

#[test]
fn what_the_watch_tells_late_does_not_hide_what_a_call_returned() {
    let shelf = shelf();
    shelf.offer("n", "x", object(6));
    shelf.put("n", object(5), |object, _| Some(object));
    assert_eq!(kept(&shelf), Some(6));
    shelf.put("n", object(7), |object, _| Some(object));
    assert_eq!(kept(&shelf), Some(7));
    shelf.forget_versions("n");
    shelf.put("n", object(2), |object, _| Some(object));
    assert_eq!(kept(&shelf), Some(2));
}

#[test]
fn what_is_gone_does_not_come_back_and_what_was_made_since_stays() {
    let shelf = shelf();
    shelf.put("n", object(5), |object, _| Some(object));
    shelf.end("n", &object(6));
    shelf.offer("n", "x", object(5));
    assert_eq!(kept(&shelf), None);
    shelf.offer("n", "x", object(8));
    shelf.end("n", &object(7));
    assert_eq!(kept(&shelf), Some(8));
}

#[test]
fn a_watch_that_fails_says_what_helps_and_does_not_fill_the_log() {
    let shelf = shelf();
    let (forbidden, gone) = (
        Error::Forbidden("no".to_owned()),
        Error::NotFound("no".to_owned()),
    );
    let told = lines("info", || {
        for _ in 0..100 {
            shelf.failed("n", &forbidden);
        }
        shelf.failed("n", &gone);
        shelf.heard("n");
        shelf.heard("n");
    });
    let errors: Vec<_> = told.iter().map(|line| line["error"].as_str()).collect();
    assert_eq!(
        errors,
        [
            Some(
                "forbidden: no; apply deploy/rbac/release-namespace to n, or deploy/rbac/own-namespace.yaml where that is Ripcord's own"
            ),
            Some("not found: no; run kubectl apply -k deploy/crds"),
            None
        ]
    );
    assert!(told.iter().all(|line| line["kind"] == "rollbacks"));
    assert_eq!(shelf.trouble("n"), None);
    shelf.failed("n", &forbidden);
    assert!(shelf.trouble("n").unwrap().contains("release-namespace"));
}
