//! A journal that the API server refuses for good: nothing is begun, people are told what to do, and it goes on as soon as
//! it may.

use ripcord::rollback::Phase;

use super::{ending, untouched};
use crate::engine::changes;
use crate::support::proxy::{Act, Fault, Seen};
use crate::support::stage::NAME;
use crate::support::stage::scene::{self, LATENCY, Scene, firing};

/// Whether it is a write of a rollback's journal.
fn journals(seen: &Seen) -> bool {
    seen.mutates() && seen.path.contains("/rollbacks/") && seen.path.ends_with("/status")
}

/// The value of a metric of the only replica.
fn counted(scene: &Scene, series: &str) -> i64 {
    let text = scene.replicas[0].metrics.encode();
    let name = format!("ripcord_{series} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap().parse().unwrap()
}

/// Every journal is answered with this until it is mended; nothing is begun before.
async fn refused_until_mended(code: u16, kind: &str) {
    let scene = Scene::incident_behind_a_proxy(scene::policy()).await;
    scene.proxy().on(move |seen| {
        if journals(seen) {
            Act::Before(Fault::Answer(code))
        } else {
            Act::Forward
        }
    });
    assert_eq!(
        scene.send(&firing(LATENCY)).await.one(),
        ("start", "claimed")
    );
    let refusals = format!("journal_refusals_total{{reason=\"{kind}\"}}");
    scene.until_called(|| counted(&scene, &refusals) >= 3).await;
    assert_eq!(counted(&scene, "journals_refused"), 1);
    untouched(&scene.sandbox);
    assert_eq!(scene.only().phase(), Phase::Pending);
    scene.proxy().on(|_| Act::Forward);
    assert_eq!(ending(&scene.done().await), (Phase::Succeeded, "done"));
    assert_eq!(changes(&scene.sandbox), [NAME]);
    assert_eq!(counted(&scene, "journals_refused"), 0);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_journal_nothing_is_begun() {
    refused_until_mended(403, "forbidden").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_older_definition_nothing_is_begun() {
    refused_until_mended(422, "rejected").await;
}
