//! Candidates against an API server in memory, on tokio's paused clock: no sockets, no real time.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::client::Body;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::sleep};

use super::*;

/// One Lease object behind the API server's rules for create and replace.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    version: u64,
    lease: Option<Value>,
    renewals: u64,
}

/// What a candidate's calls meet on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Fine,
    /// The request never arrives.
    Hangs,
    /// The request is carried out, but the answer never comes.
    Deaf,
    /// The request is carried out this many milliseconds later, even if the candidate has given up on it.
    Slow(u64),
    Fails(u16),
    /// Reads work, writes are refused.
    WritesFail(u16),
}

/// A running candidate with an owner that works for as long as its terms last.
struct Candidate {
    link: Arc<Mutex<Link>>,
    stop: CancellationToken,
    standing: watch::Receiver<Standing>,
    task: JoinHandle<()>,
}

/// Who works for a term right now. Two at once is the one thing that must never happen.
#[derive(Clone, Default)]
struct Floor(Arc<Mutex<Workers>>);

#[derive(Default)]
struct Workers {
    now: Vec<String>,
    together: Option<Vec<String>>,
}

// === impl Server ===

impl Server {
    fn client(&self, link: &Arc<Mutex<Link>>) -> Client {
        let (server, link) = (self.clone(), link.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (server, link) = (server.clone(), *link.lock().unwrap());
            async move { Ok::<_, Infallible>(server.answer(request, link).await) }
        });
        Client::new(service, "ripcord")
    }

    async fn answer(self, request: Request<Body>, link: Link) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        sleep(Duration::from_millis(2)).await;
        match link {
            Link::Fine => self.apply(&parts.method, &body),
            Link::Hangs => std::future::pending().await,
            Link::Deaf => {
                self.apply(&parts.method, &body);
                std::future::pending().await
            }
            Link::Slow(millis) => {
                let late = tokio::spawn(async move {
                    sleep(Duration::from_millis(millis)).await;
                    self.apply(&parts.method, &body)
                });
                late.await.unwrap()
            }
            Link::WritesFail(_) if parts.method == Method::GET => self.apply(&parts.method, &body),
            Link::WritesFail(code) | Link::Fails(code) => failure(code),
        }
    }

    fn apply(&self, method: &Method, body: &[u8]) -> Response<Body> {
        let mut stored = self.0.lock().unwrap();
        let current = stored.lease.clone();
        let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
        match (method.as_str(), current) {
            ("GET", Some(lease)) => success(&lease),
            ("GET" | "PUT", None) => failure(404),
            ("POST", None) => success(&stored.put(serde_json::from_slice(body).unwrap())),
            ("POST", Some(_)) => failure(409),
            ("PUT", Some(lease)) => {
                let new: Value = serde_json::from_slice(body).unwrap();
                assert!(
                    version(&new).is_string(),
                    "a replace without a precondition: {new}"
                );
                if version(&new) == version(&lease) {
                    stored.renewals += 1;
                    success(&stored.put(new))
                } else {
                    failure(409)
                }
            }
            other => panic!("not in the algorithm: {other:?}"),
        }
    }

    fn spec(&self) -> LeaseSpec {
        let stored = self.0.lock().unwrap();
        let lease = stored.lease.clone().unwrap_or_default();
        serde_json::from_value(lease["spec"].clone()).unwrap_or_default()
    }

    fn renewals(&self) -> u64 {
        self.0.lock().unwrap().renewals
    }

    /// What another program wrote.
    fn set(&self, spec: &Value) {
        let metadata = json!({"name": "leader", "namespace": "ripcord", "uid": "u1"});
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec});
        self.0.lock().unwrap().put(lease);
    }
}

impl Stored {
    fn put(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(lease.clone());
        lease
    }
}

fn success(lease: &Value) -> Response<Body> {
    Response::new(Body::from(serde_json::to_vec(lease).unwrap()))
}

fn failure(code: u16) -> Response<Body> {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "InternalError",
    };
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason});
    let mut response = Response::new(Body::from(serde_json::to_vec(&status).unwrap()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

// === impl Candidate ===

impl Candidate {
    /// A candidate whose work takes `linger` to stop after its term has ended.
    fn start(server: &Server, floor: &Floor, name: &str, linger: Duration) -> Self {
        let link = Arc::new(Mutex::new(Link::Fine));
        let stop = CancellationToken::new();
        let (sender, standing) = watch::channel(Standing::default());
        let lease = Lease::new(
            server.client(&link),
            "ripcord",
            "leader",
            name,
            Settings::default(),
            || Timestamp::UNIX_EPOCH,
        );
        tokio::spawn(work_when_leading(
            standing.clone(),
            floor.clone(),
            name.to_owned(),
            linger,
        ));
        let task = tokio::spawn(lease.run(stop.clone(), sender));
        Self {
            link,
            stop,
            standing,
            task,
        }
    }

    fn link(&self, link: Link) {
        *self.link.lock().unwrap() = link;
    }

    fn leads(&self) -> bool {
        self.standing
            .borrow()
            .term()
            .is_some_and(|term| !term.ended().is_cancelled())
    }

    /// How long it takes until it leads, or no longer does.
    async fn until(&mut self, leads: bool) -> Duration {
        let began = Instant::now();
        let limit = Duration::from_secs(60);
        let reached = async {
            while self.leads() != leads {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(limit, reached)
            .await
            .expect("the standing should have changed");
        began.elapsed()
    }
}

async fn work_when_leading(
    mut standing: watch::Receiver<Standing>,
    floor: Floor,
    name: String,
    linger: Duration,
) {
    loop {
        let term = standing.borrow_and_update().term().cloned();
        if let Some(term) = term {
            let (ended, floor, name) = (term.ended().clone(), floor.clone(), name.clone());
            term.spawn(async move {
                floor.enter(&name);
                ended.cancelled().await;
                sleep(linger).await;
                floor.leave(&name);
            });
        }
        if standing.changed().await.is_err() {
            return;
        }
    }
}

// === impl Floor ===

impl Floor {
    fn enter(&self, name: &str) {
        let mut workers = self.0.lock().unwrap();
        workers.now.push(name.to_owned());
        if workers.now.len() > 1 {
            let together = workers.now.clone();
            workers.together.get_or_insert(together);
        }
    }

    fn leave(&self, name: &str) {
        self.0.lock().unwrap().now.retain(|other| other != name);
    }

    fn now(&self) -> Vec<String> {
        self.0.lock().unwrap().now.clone()
    }

    /// Lets time pass; fails with the names when two worked at once at any instant up to then.
    async fn watch(&self, time: Duration) -> Result<(), Vec<String>> {
        sleep(time).await;
        self.0.lock().unwrap().together.clone().map_or(Ok(()), Err)
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn about(measured: Duration, from: u64, to: u64) {
    let range = Duration::from_millis(from)..=Duration::from_millis(to);
    assert!(
        range.contains(&measured),
        "{measured:?} is not in {range:?}"
    );
}

fn pair() -> (Server, Floor, Candidate, Candidate) {
    let (server, floor) = (Server::default(), Floor::default());
    let first = Candidate::start(&server, &floor, "first", Duration::ZERO);
    let second = Candidate::start(&server, &floor, "second", Duration::ZERO);
    (server, floor, first, second)
}

/// A pair of which the first leads.
async fn first_leads() -> (Server, Floor, Candidate, Candidate) {
    let (server, floor) = (Server::default(), Floor::default());
    let mut first = Candidate::start(&server, &floor, "first", Duration::ZERO);
    first.until(true).await;
    let second = Candidate::start(&server, &floor, "second", Duration::ZERO);
    (server, floor, first, second)
}

// === the tests ===

#[tokio::test(start_paused = true)]
async fn of_two_candidates_exactly_one_leads() {
    let (server, floor, first, second) = pair();
    floor.watch(20 * SECOND).await.unwrap();
    assert!(first.leads() != second.leads());
    let leader = if first.leads() { "first" } else { "second" };
    assert_eq!(floor.now(), [leader]);
    assert_eq!(server.spec().holder_identity.as_deref(), Some(leader));
    assert_eq!(server.spec().lease_transitions, Some(0));
    assert!(server.renewals() >= 18);
    let follower = if first.leads() { &second } else { &first };
    assert_eq!(follower.standing.borrow().holder(), Some(leader));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_steps_down_before_the_next_takes_over() {
    for link in [
        Link::Hangs,
        Link::Deaf,
        Link::Fails(500),
        Link::WritesFail(503),
        Link::WritesFail(409),
    ] {
        let (server, floor, mut first, mut second) = first_leads().await;
        floor.watch(3 * SECOND + SECOND / 2).await.unwrap();
        first.link(link);
        let watched = tokio::spawn({
            let floor = floor.clone();
            async move { floor.watch(30 * SECOND).await }
        });
        // At most the deadline, and at least what remains of it half a second after a renewal.
        about(first.until(false).await, 2400, 3010);
        assert!(!second.leads(), "{link:?}");
        let gap = second.until(true).await;
        // A deaf leader's last write arrived, and counts as a sign of life.
        about(gap, 1900, if link == Link::Deaf { 5500 } else { 2100 });
        assert_eq!(server.spec().lease_transitions, Some(1));
        first.link(Link::Fine);
        watched.await.unwrap().unwrap();
        assert_eq!(floor.now(), ["second"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_survives_a_call_that_hangs_once() {
    let (_server, floor, first, _second) = first_leads().await;
    floor.watch(SECOND / 2).await.unwrap();
    first.link(Link::Hangs);
    floor.watch(SECOND).await.unwrap();
    first.link(Link::Fine);
    let term = first.standing.borrow().term().unwrap().clone();
    floor.watch(20 * SECOND).await.unwrap();
    assert!(!term.ended().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_conflict_that_was_no_takeover_costs_nothing() {
    let (server, floor, first, _second) = first_leads().await;
    let term = first.standing.borrow().term().unwrap().clone();
    for _ in 0..20 {
        // Somebody writes an annotation: the leader's next renewal is refused, read again, and repeated.
        let lease = server.0.lock().unwrap().lease.clone().unwrap();
        server.0.lock().unwrap().put(lease);
        floor.watch(SECOND).await.unwrap();
    }
    assert!(!term.ended().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_clean_release_hands_over_at_once() {
    let (server, floor, first, mut second) = first_leads().await;
    floor.watch(3 * SECOND).await.unwrap();
    first.stop.cancel();
    about(second.until(true).await, 0, 1010);
    first.task.await.unwrap();
    floor.watch(SECOND).await.unwrap();
    assert_eq!(floor.now(), ["second"]);
    assert_eq!(server.spec().lease_transitions, Some(1));
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_held_until_the_work_has_stopped() {
    let (server, floor) = (Server::default(), Floor::default());
    let mut first = Candidate::start(&server, &floor, "first", 8 * SECOND);
    first.until(true).await;
    let mut second = Candidate::start(&server, &floor, "second", Duration::ZERO);
    floor.watch(SECOND).await.unwrap();
    first.stop.cancel();
    // Longer than the lease: so it was renewed meanwhile.
    let watched = tokio::spawn({
        let floor = floor.clone();
        async move { floor.watch(20 * SECOND).await }
    });
    about(second.until(true).await, 8000, 9010);
    watched.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn work_that_does_not_stop_keeps_the_lease_from_being_released() {
    let (server, floor) = (Server::default(), Floor::default());
    let mut first = Candidate::start(&server, &floor, "first", 3600 * SECOND);
    first.until(true).await;
    let mut second = Candidate::start(&server, &floor, "second", Duration::ZERO);
    first.stop.cancel();
    let began = Instant::now();
    first.task.await.unwrap();
    about(began.elapsed(), 10_000, 10_010);
    assert_eq!(server.spec().holder_identity.as_deref(), Some("first"));
    about(second.until(true).await, 4000, 5010);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lost_waits_for_its_work_before_it_is_a_candidate_again() {
    let (server, floor) = (Server::default(), Floor::default());
    let mut only = Candidate::start(&server, &floor, "only", 30 * SECOND);
    only.until(true).await;
    only.link(Link::Fails(500));
    only.until(false).await;
    only.link(Link::Fine);
    let before = server.renewals();
    floor.watch(29 * SECOND).await.unwrap();
    assert_eq!(server.renewals(), before);
    about(only.until(true).await, 900, 1100);
}

#[tokio::test(start_paused = true)]
async fn times_in_a_foreign_record_are_not_compared_with_our_clock() {
    for renewed in ["1970-01-01T00:00:00.000000Z", "2100-01-01T00:00:00.000000Z"] {
        let (server, floor) = (Server::default(), Floor::default());
        let foreign = |transitions| {
            server.set(&json!({"holderIdentity": "foreign", "leaseDurationSeconds": 5, "leaseTransitions": transitions,
                "acquireTime": renewed, "renewTime": renewed}));
        };
        foreign(3);
        let mut candidate = Candidate::start(&server, &floor, "us", Duration::ZERO);
        // Its holder writes the same times again and again, and is alive.
        for _ in 0..10 {
            floor.watch(4 * SECOND).await.unwrap();
            assert!(!candidate.leads());
            foreign(3);
        }
        assert_eq!(candidate.standing.borrow().holder(), Some("foreign"));
        about(candidate.until(true).await, 5000, 6010);
        assert_eq!(server.spec().lease_transitions, Some(4));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_taken_by_force_ends_the_term_at_the_next_look() {
    let (server, floor, mut first, _second) = first_leads().await;
    floor.watch(SECOND).await.unwrap();
    server.set(
        &json!({"holderIdentity": "person", "leaseDurationSeconds": 60, "leaseTransitions": 9}),
    );
    about(first.until(false).await, 0, 1010);
    floor.watch(50 * SECOND).await.unwrap();
    assert!(floor.now().is_empty());
    assert_eq!(server.spec().holder_identity.as_deref(), Some("person"));
}

#[tokio::test(start_paused = true)]
async fn a_record_without_a_spec_is_replaced() {
    let (server, floor) = (Server::default(), Floor::default());
    server.set(&Value::Null);
    let mut candidate = Candidate::start(&server, &floor, "us", Duration::ZERO);
    about(candidate.until(true).await, 0, 100);
    assert_eq!(server.spec().holder_identity.as_deref(), Some("us"));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_run_ends_the_term() {
    let (_server, floor, mut first, _second) = first_leads().await;
    floor.watch(SECOND).await.unwrap();
    first.task.abort();
    about(first.until(false).await, 0, 5);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_spawned_into_an_ended_term() {
    let (_server, floor, first, _second) = first_leads().await;
    floor.watch(SECOND).await.unwrap();
    let term = first.standing.borrow().term().unwrap().clone();
    assert!(term.spawn(async {}).is_some());
    first.stop.cancel();
    assert!(term.spawn(async {}).is_none());
}

#[test]
fn settings_keep_their_order() {
    let settings = |duration, renew_deadline, retry| Settings {
        duration: Duration::from_millis(duration),
        renew_deadline: Duration::from_millis(renew_deadline),
        retry: Duration::from_millis(retry),
        ..Settings::default()
    };
    assert_eq!(Settings::default().validate(), Ok(()));
    assert_eq!(
        settings(3000, 3000, 1).validate(),
        Err(SettingsError::DeadlineTooLong)
    );
    assert_eq!(
        settings(3000, 2000, 2000).validate(),
        Err(SettingsError::RetryTooLong)
    );
    assert_eq!(
        settings(3000, 2000, 0).validate(),
        Err(SettingsError::NoRetry)
    );
    let read: Settings =
        serde_json::from_value(json!({"duration": "15s", "renew_deadline": "10s"})).unwrap();
    assert_eq!((read.duration, read.retry), (15 * SECOND, SECOND));
    assert!(serde_json::from_value::<Settings>(json!({"renewdeadline": "1s"})).is_err());
}

fn link() -> impl Strategy<Value = Link> {
    prop_oneof![
        3 => Just(Link::Fine),
        1 => Just(Link::Hangs),
        1 => Just(Link::Deaf),
        2 => (1_u64..9000).prop_map(Link::Slow),
        1 => Just(Link::Fails(500)),
        1 => Just(Link::WritesFail(409)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever happens to the links, and whoever is restarted, never two work at once; and once the links are fine,
    /// somebody does.
    #[test]
    fn never_two_leaders(faults in prop::collection::vec((0_usize..3, prop::option::weighted(0.8, link()), 0_u64..4000), 1..16)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let outcome: Result<(), String> = runtime.block_on(async {
            let (server, floor) = (Server::default(), Floor::default());
            // Work may take almost as long to stop as there is between stepping down and being replaced.
            let start = |name: &str| Candidate::start(&server, &floor, name, Duration::from_millis(1900));
            let mut candidates = ["a", "b", "c"].map(start);
            for (n, (who, link, pause)) in faults.into_iter().enumerate() {
                if let Some(link) = link {
                    candidates[who].link(link);
                } else {
                    // A rolling update: the next one starts while this one is still on its way out.
                    candidates[who].stop.cancel();
                    candidates[who] = start(&format!("restart {n}"));
                }
                floor.watch(Duration::from_millis(pause)).await.map_err(|two| format!("{two:?}"))?;
            }
            for candidate in &candidates {
                candidate.link(Link::Fine);
            }
            floor.watch(Duration::from_secs(20)).await.map_err(|two| format!("{two:?}"))?;
            if floor.now().len() == 1 { Ok(()) } else { Err("nobody leads".to_owned()) }
        });
        prop_assert_eq!(outcome, Ok(()));
    }
}
