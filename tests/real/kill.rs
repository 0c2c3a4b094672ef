//! The leader is killed at every one of its writes, before and after it took effect, and another replica finishes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::Method;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use crate::scene::{Bad, LIMIT, NAME, Scene, names, now, told};
use crate::support::proxy::{Act, Fault, Proxy, Seen};
use crate::support::replica::until;

/// How many clusters run at once.
pub(crate) static TURNS: Semaphore = Semaphore::const_new(8);

/// A write of the leader: what is written, and the how manieth of its kind it is, from 1.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    what: &'static str,
    number: usize,
}

/// What becomes of the write at which the leader is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// The API server never sees it.
    Lost,
    /// It takes effect, and the leader never learns.
    Unanswered,
}

/// What a write of a replica writes, if it is one that a run depends on.
pub(crate) fn what(seen: &Seen) -> Option<&'static str> {
    let path: Vec<_> = seen.path.trim_start_matches("/apis/").split('/').collect();
    let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    Some(match (&seen.method, path.get(4..)?) {
        (&Method::POST, ["rollbacks"]) => "claim",
        (&Method::PATCH, ["rollbacks", _, "status"]) if names(&body, "/status/run") => "journal",
        (&Method::PATCH, ["rollbacks", _, "status"]) if names(&body, "/status/report/slack") => {
            "report"
        }
        (&Method::PATCH, ["rollbacks", _, "status"]) => "alerts",
        (&Method::PATCH, ["rollbacks", _]) => "finalizer",
        (&Method::PUT, ["targets", _, "status"]) => "memory",
        (&Method::PATCH, ["rollouts", NAME]) => "template",
        (&Method::PATCH, ["rollouts", NAME, "status"]) => "promotion",
        (method, rest)
            if ![Method::GET].contains(method) && !matches!(rest, ["leases" | "events", ..]) =>
        {
            panic!("an unknown write: {method} {rest:?}")
        }
        _ => return None,
    })
}

/// Kills the leader at this point of a run, and says whether it came to that. Another run is tried where it did not: on a
/// machine that is busy, a leader may lose its lease before, and how often some things are written depends on what is
/// seen at which moment.
async fn kill(bad: Bad, point: Point, fate: Fate) -> bool {
    let _turn = TURNS.acquire().await.unwrap();
    let tries = if loose(point) { 1 } else { 3 };
    for _ in 0..tries {
        let began = std::time::Instant::now();
        let (killed, points) = run(bad, Some((point, fate))).await;
        let Point { what, number } = point;
        let writes = points.iter().filter(|it| it.what == what).count();
        let outcome = if killed {
            "taken over".to_owned()
        } else {
            format!("only {writes} in this run")
        };
        eprintln!(
            "{bad:?}, {what} {number} {fate:?}: {outcome}, {:.1} s",
            began.elapsed().as_secs_f64()
        );
        if killed {
            return true;
        }
        assert!(
            writes < number,
            "it came to that, and nobody was killed: {point:?}"
        );
    }
    assert!(loose(point), "every run makes this write: {point:?}");
    false
}

/// Runs one rollback, and kills the leader at this point. Says whether it did, and which points there were.
async fn run(bad: Bad, kill: Option<(Point, Fate)>) -> (bool, Vec<Point>) {
    let scene = Scene::start().await;
    let api = scene
        .sandbox
        .url()
        .trim_start_matches("http://")
        .parse()
        .unwrap();
    let proxy = Proxy::start(api).await;
    let mut leader = scene
        .replica("one", Some(format!("http://{}", proxy.addr())))
        .await;
    scene.leads(&leader).await;
    let follower = scene.replica("two", None).await;
    follower.ready().await;
    scene.soaked().await;
    scene.deploy(bad).await;
    let (hash, lock) = (scene.live_hash(), scene.lock());

    let points: Arc<Mutex<Vec<Point>>> = Arc::default();
    let writes = Arc::clone(&points);
    proxy.on(move |seen| {
        let Some(what) = what(seen) else {
            return Act::Forward;
        };
        let mut points = writes.lock().unwrap();
        let number = points.iter().filter(|it| it.what == what).count() + 1;
        let here = Point { what, number };
        points.push(here);
        match kill {
            Some((point, Fate::Lost)) if point == here => Act::Before(Fault::Hold),
            Some((point, Fate::Unanswered)) if point == here => Act::After(Fault::Hold),
            _ => Act::Forward,
        }
    });
    let urls = [leader.url(), follower.url()];
    let alert = async {
        scene.alert(&urls).await;
    };
    let killing = async {
        kill?;
        let ended = async || {
            let rollback = scene.rollback(&lock)?;
            told(&rollback)
                .contains(&"end/Succeeded".to_owned())
                .then_some(())
        };
        let held = tokio::select! {
            held = proxy.held(LIMIT) => held,
            _ended = until(ended, LIMIT) => proxy.held(Duration::from_secs(1)).await,
        };
        if !held {
            return None;
        }
        leader.kill();
        let at = now();
        proxy.cut();
        Some(Killed {
            at,
            found: scene.rollback(&lock),
        })
    };
    let ((), killed) = tokio::join!(alert, killing);
    let done = scene.ended(&lock, "Succeeded").await;
    scene.is_mended(bad, &hash).await;

    is_told_well(&scene, &done, killed.as_ref());
    let points = points.lock().unwrap().clone();
    (killed.is_some(), points)
}

/// When the leader was killed, and the rollback as it was then.
struct Killed {
    at: Timestamp,
    found: Option<Value>,
}

/// Whether the record and the messages are whole.
fn is_told_well(scene: &Scene, done: &Value, killed: Option<&Killed>) {
    let run = &done["status"]["run"];
    if let Some(killed) = killed {
        let found = killed.found.as_ref();
        let state = found.map_or(&Value::Null, |it| &it["status"]);
        let epoch = state["run"]["epoch"].as_i64().unwrap_or(0);
        let finished: Timestamp = run["finished"].as_str().unwrap().parse().unwrap();
        let mine = run["leader"].as_str().unwrap().starts_with("two-");
        // What the leader sent before it died may have been on its way still.
        if state["phase"] == "Succeeded" || finished < killed.at {
            assert_eq!(run["epoch"], epoch, "what has ended is left alone");
        } else {
            assert!(
                mine && run["epoch"].as_i64().unwrap() > epoch,
                "the other took over: {run:#}"
            );
        }
    }
    let steps = run["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["phase"] == "Done"), "{run:#}");
    for time in ["firstMutation", "trafficBack", "healthy", "finished"] {
        assert!(run[time].is_string(), "{time} is on record: {run:#}");
    }
    let (heads, others) = scene.messages();
    let once = 1 + told(done).len();
    let most = once + usize::from(killed.is_some());
    let all = heads.len() + others.len();
    assert!(
        (once..=most).contains(&all),
        "{once} to {most} messages: {:#?}",
        scene.slack.messages()
    );
}

/// How often these are written depends on what happens to be seen at which moment.
fn loose(point: Point) -> bool {
    point.number > 1 && ["finalizer", "journal", "memory", "report"].contains(&point.what)
}

async fn everywhere(bad: Bad) {
    let began = std::time::Instant::now();
    let (_, points) = run(bad, None).await;
    eprintln!("{bad:?}: {} writes: {points:?}", points.len());
    let mut expected = vec![
        "claim",
        "journal",
        "finalizer",
        "memory",
        "template",
        "report",
    ];
    expected.extend((bad == Bad::Promoted).then_some("promotion"));
    for what in &expected {
        assert!(
            points.iter().any(|point| point.what == *what),
            "{what}: {points:?}"
        );
    }
    let all = points.len() * 2;
    let mut cases = JoinSet::new();
    for point in points {
        for fate in [Fate::Lost, Fate::Unanswered] {
            cases.spawn_local(kill(bad, point, fate));
        }
    }
    let (mut killed, mut failed) = (0, Vec::new());
    while let Some(done) = cases.join_next().await {
        match done {
            Ok(was_killed) => killed += usize::from(was_killed),
            Err(error) => failed.push(error),
        }
    }
    eprintln!(
        "{bad:?}: {killed} of {all} killed, {:.0} s",
        began.elapsed().as_secs_f64()
    );
    assert!(
        failed.is_empty(),
        "{} cases failed: {failed:#?}",
        failed.len()
    );
    // Each kind of write is met both ways at least once; what was missed besides was a repeat that its run did not make.
    let least = (expected.len() * 2).max(all * 2 / 3);
    assert!(killed >= least, "only {killed} of {all} were killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_at_any_write_is_replaced_while_a_canary_is_in_flight() {
    LocalSet::new().run_until(everywhere(Bad::Canary)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_at_any_write_is_replaced_after_a_promotion() {
    LocalSet::new().run_until(everywhere(Bad::Promoted)).await;
}
