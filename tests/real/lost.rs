//! A connection that breaks at a change of the workload, before or after the change took effect: the leader, which lives
//! on, looks for itself, and makes the change once.

use tokio::task::{JoinSet, LocalSet};

use crate::kill::{TURNS, what};
use crate::scene::{Bad, Scene};
use crate::support::proxy::{Act, Fault, Proxy};

/// Breaks the first write of this kind.
async fn breaks(bad: Bad, write: &'static str, act: Act) {
    let _turn = TURNS.acquire().await.unwrap();
    let scene = Scene::start().await;
    let api = scene.sandbox.url();
    let api = api.trim_start_matches("http://").parse().unwrap();
    let proxy = Proxy::start(api).await;
    let url = format!("http://{}", proxy.addr());
    let leader = scene.replica("one", Some(url)).await;
    scene.leads(&leader).await;
    scene.soaked().await;
    scene.deploy(bad).await;
    let (hash, lock) = (scene.live_hash(), scene.lock());
    let mut broken = false;
    proxy.on(move |seen| {
        if !broken && what(seen) == Some(write) {
            broken = true;
            return act;
        }
        Act::Forward
    });
    let before = proxy.seen().len();
    scene.alert(&[leader.url()]).await;
    let done = scene.ended(&lock, "Succeeded").await;
    scene.is_mended(bad, &hash).await;
    let sent = proxy.seen();
    let sent = sent
        .iter()
        .skip(before)
        .filter(|it| what(it) == Some(write));
    let took_effect = matches!(act, Act::After(_));
    let sent = sent.count();
    assert_eq!(
        sent,
        if took_effect { 1 } else { 2 },
        "sent again where it was lost, and nowhere else"
    );
    let run = &done["status"]["run"];
    assert!(run["firstMutation"].is_string(), "{run:#}");
    eprintln!("{bad:?}, {write} {act:?}: {:.1} s", scene.seconds());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_at_a_change_changes_nothing_twice() {
    let began = std::time::Instant::now();
    let writes = [
        (Bad::Canary, "template"),
        (Bad::Promoted, "template"),
        (Bad::Promoted, "promotion"),
    ];
    let acts = [Fault::Drop, Fault::Reset].map(|fault| [Act::Before(fault), Act::After(fault)]);
    let cases = async {
        let mut cases = JoinSet::new();
        for (bad, write) in writes {
            for act in acts.as_flattened() {
                cases.spawn_local(breaks(bad, write, *act));
            }
        }
        cases.join_all().await
    };
    let all = LocalSet::new().run_until(cases).await;
    assert_eq!(all.len(), 12);
    eprintln!("broken connections: {:.0} s", began.elapsed().as_secs_f64());
}
