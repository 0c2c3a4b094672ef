//! A change that somebody else's rule refuses.

use ripcord::rollback::Phase;

use super::{ending, untouched};
use crate::support::proxy::{Act, Fault, Seen};
use crate::support::stage::NAME;
use crate::support::stage::scene::{self, LATENCY, Scene, firing};

/// Whether it is a write of the workload.
fn changes_it(seen: &Seen) -> bool {
    seen.mutates() && seen.path.ends_with(&format!("/rollouts/{NAME}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_forbids_the_template_is_no_missing_right() {
    let scene = Scene::incident_behind_a_proxy(scene::policy()).await;
    scene.proxy().on(|seen| {
        if changes_it(seen) {
            Act::Before(Fault::Answer(403))
        } else {
            Act::Forward
        }
    });
    let alert = firing(LATENCY);
    assert_eq!(scene.send(&alert).await.one(), ("start", "claimed"));
    assert_eq!(ending(&scene.done().await), (Phase::Failed, "rejected"));
    untouched(&scene.sandbox);
    scene.until_memory(|memory| memory.latch().is_some()).await;
    scene.close().await;
}
