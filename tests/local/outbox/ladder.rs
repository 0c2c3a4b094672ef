//! What follows a failed rollback is told in the thread of that one.

use serde_json::json;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// The rollback that follows a failed one: planned, with a person asked, or ended.
fn rung(mut object: Value) -> Value {
    let parent = object["metadata"]["name"].as_str().unwrap().to_owned();
    object["metadata"]["name"] = format!("{parent}-2").into();
    object["metadata"]["uid"] = "uid-rung".into();
    object["spec"]["parent"] = parent.into();
    object["spec"]["rung"] = 1.into();
    object["spec"]["reason"] = "emergency-canary failed".into();
    object
}

fn asking() -> Value {
    let mut object = rung(given::running("options-api"));
    object["status"]["phase"] = "AwaitingApproval".into();
    object["status"]["run"] = json!({
        "epoch": 1, "seq": 1, "steps": [],
        "asked": {"at": "2026-11-22T03:12:41.300Z", "until": "2026-11-22T03:27:41.300Z", "why": "it asks"},
    });
    object
}

#[tokio::test]
async fn a_rung_is_told_in_the_thread_of_what_failed() {
    let world = World::new().await;
    world.lead();
    // It waits for the one that it follows, which is not told yet.
    world.store(asking());
    let mut first = given::claimed("options-api");
    world.store(first);
    world.pass(2 * SECOND, STEP).await;
    assert_eq!(world.messages(), []);
    first = given::failed("options-api");
    world.store(first);
    world.until(|world| world.parents().len() == 1).await;
    let is_asked = |world: &World| {
        let mut all = world.messages().into_iter();
        all.any(|it| it.text.starts_with("🙋"))
    };
    world.until(is_asked).await;
    world.store(rung(given::succeeded("options-api")));
    world.until(World::told).await;

    let parents = world.parents();
    let [parent] = parents.as_slice() else {
        panic!("{parents:#?}")
    };
    let messages = world.messages();
    let asked = messages
        .iter()
        .find(|it| it.earlier.iter().any(|text| text.starts_with("🙋")));
    let asked = asked.expect("the question was brought up to date");
    assert!(asked.text.starts_with("✅"), "{}", asked.text);
    assert!(asked.broadcast, "the channel sees it");
    let mut thread = messages.iter().filter(|it| it.ts != parent.ts);
    assert!(thread.all(|it| it.thread_ts.as_ref() == Some(&parent.ts)));
    let ends = messages.iter().filter(|it| it.text.starts_with("✅"));
    assert_eq!(ends.count(), 2, "what is brought up to date, and the end");
}

#[tokio::test]
async fn a_rung_whose_parent_is_never_told_is_told_alone() {
    let world = World::new().await;
    world.lead();
    world.store(asking());
    world.store(given::claimed("options-api"));
    world.until(|world| world.messages().len() == 1).await;
    assert!(world.start.elapsed() > Duration::from_secs(25));
    assert_eq!(world.messages()[0].thread_ts, None);
}
