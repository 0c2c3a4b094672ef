//! When Slack, the network, the ledger or the leader is at fault.

use super::*;
use crate::support::slack::Fault;

/// How often each text was posted.
fn counts(world: &World) -> Vec<usize> {
    let mut counts: HashMap<(bool, String), usize> = HashMap::new();
    for message in world.messages() {
        *counts
            .entry((message.thread_ts.is_some(), message.text))
            .or_default() += 1;
    }
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable();
    counts
}

#[tokio::test]
async fn a_crash_before_the_record_repeats_one_message() {
    let world = World::new().await;
    world.objects.stuck.store(true, Ordering::SeqCst);
    world.store(given::succeeded("options-api"));
    world.lead();
    world.until(|world| world.messages().len() == 1).await;
    world.pass(Duration::from_secs(5), STEP).await;
    assert_eq!(world.messages().len(), 1, "nothing more before the record");
    world.crash();
    world.objects.stuck.store(false, Ordering::SeqCst);
    world.lead();
    world.until(World::told).await;
    assert_eq!(counts(&world), [1, 1, 1, 1, 2]);
}

#[tokio::test]
async fn a_ledger_that_fails_repeats_nothing() {
    let world = World::new().await;
    world.objects.broken.store(true, Ordering::SeqCst);
    world.store(given::succeeded("options-api"));
    world.lead();
    world.until(|world| world.saw(Outcome::Unrecorded)).await;
    world.pass(Duration::from_secs(90), STEP).await;
    assert_eq!(world.messages().len(), 1, "nothing more before the record");
    world.objects.broken.store(false, Ordering::SeqCst);
    world.until(World::told).await;
    assert_eq!(counts(&world), [1, 1, 1, 1, 1]);
}

#[tokio::test]
async fn a_leader_that_stops_records_what_it_sent() {
    let world = World::new().await;
    world.store(given::succeeded("options-api"));
    world.lead();
    world.until(|world| world.messages().len() == 1).await;
    let (stop, task) = world.running.lock().unwrap().take().unwrap();
    stop.cancel();
    world.until(|_| task.is_finished()).await;
    world.lead();
    world.until(World::told).await;
    assert_eq!(counts(&world), [1, 1, 1, 1, 1]);
}

#[tokio::test]
async fn too_fast_pauses_the_channel_and_no_other() {
    let world = World::new().await;
    world.slack.fault(1, &Fault::TooMany { retry_after: 30 });
    world.store(given::succeeded("options-api"));
    world.lead();
    world.until(|world| world.saw(Outcome::Limited)).await;
    let start = Instant::now();
    world.store(given::succeeded("ledger"));
    world
        .until(|world| world.messages().iter().any(|it| it.broadcast))
        .await;
    assert!(start.elapsed() < Duration::from_secs(10));
    world.until(World::told).await;
    let waited = start.elapsed();
    assert!(waited >= Duration::from_secs(29), "{waited:?}");
    assert_eq!(world.parents().len(), 2);
}

#[tokio::test]
async fn a_channel_that_is_mended_gets_all_of_it() {
    let world = World::new().await;
    world.slack.refuse_in(CHANNEL, Some("not_in_channel"));
    world.store(given::succeeded("options-api"));
    world.lead();
    let refused = |world: &World| {
        let all = world.objects.all();
        all[0].status.as_ref().unwrap().report.slack.refused.clone()
    };
    world.until(|world| refused(world).is_some()).await;
    assert_eq!(refused(&world).unwrap(), "slack refused: not_in_channel");
    world
        .pass(Duration::from_secs(60), Duration::from_secs(1))
        .await;
    assert_eq!(
        world.slack.calls().len(),
        1,
        "it is not asked again at once"
    );
    world.slack.refuse_in(CHANNEL, None);
    world.until(World::told).await;
    assert_eq!(refused(&world), None);
    assert_eq!(counts(&world), [1, 1, 1, 1, 1]);
}

#[tokio::test]
async fn an_answer_that_never_came_repeats_one_message_at_most() {
    for done in [true, false] {
        let world = World::new().await;
        world.slack.fault(1, &Fault::Hang { done });
        world.store(given::failed("options-api"));
        world.lead();
        world.until(World::told).await;
        assert!(world.saw(Outcome::Unknown));
        let most = *counts(&world).last().unwrap();
        assert_eq!(most, if done { 2 } else { 1 });
        let calls = world.slack.calls();
        assert_eq!(calls[1].method, "auth.test", "slack must answer first");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn what_a_person_deleted_is_posted_anew() {
    let world = World::new().await;
    world.store(given::running("options-api"));
    world.lead();
    world.until(|world| world.messages().len() == 1).await;
    world.slack.delete(&world.messages()[0].ts);
    world.store(given::succeeded("options-api"));
    world.until(World::told).await;
    assert!(world.saw(Outcome::Anew));
    let parents = world.parents();
    assert_eq!(parents.len(), 1);
    let threads = world.messages();
    let mut threads = threads.iter().filter_map(|it| it.thread_ts.as_ref());
    assert!(threads.all(|ts| *ts == parents[0].ts));
    assert_eq!(counts(&world), [1, 1, 1, 1, 1]);
}

#[tokio::test]
async fn after_an_hour_of_silence_the_story_is_told_once() {
    let world = World::new().await;
    world.slack.silence(true);
    world.store(given::running("options-api"));
    world.lead();
    world
        .pass(Duration::from_secs(60), Duration::from_secs(1))
        .await;
    world.store(given::reverted("options-api"));
    world
        .pass(Duration::from_secs(60), Duration::from_secs(1))
        .await;
    world.store(given::failed("options-api"));
    world
        .pass(Duration::from_secs(3600), Duration::from_secs(5))
        .await;
    assert_eq!(world.messages(), []);
    world.slack.silence(false);
    world.until(World::told).await;
    assert_eq!(counts(&world), [1, 1, 1, 1, 1]);
    let messages = world.messages();
    assert!(messages[0].text.starts_with("🛑"), "{}", messages[0].text);
    assert!(
        messages[0].earlier.is_empty(),
        "the parent was never anything else"
    );
    assert!(messages[4].broadcast && !messages[4].pings().is_empty());
}
