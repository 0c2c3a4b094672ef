use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use axum::http::{Request, Response};
use futures_util::stream;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::{Body, Client};
use serde_json::json;
use tokio::time::sleep;

use super::*;
use crate::telemetry::logs::tests::lines;

/// An API server with one object.
struct Server {
    /// The codes with which it answers lists and watches. Where they change, the watches that are open end.
    codes: watch::Sender<(u16, u16)>,
    lists: AtomicUsize,
}

impl Server {
    fn start(list: u16, watch: u16) -> Arc<Self> {
        Arc::new(Self {
            codes: watch::Sender::new((list, watch)),
            lists: AtomicUsize::new(0),
        })
    }

    fn client(self: &Arc<Self>) -> Client {
        let server = Arc::clone(self);
        let service = tower::service_fn(move |request: Request<Body>| {
            let watches = request
                .uri()
                .query()
                .is_some_and(|it| it.contains("watch="));
            let answer = server.answer(watches);
            async move { Ok::<_, Infallible>(answer) }
        });
        Client::new(service, "n")
    }

    fn answer(&self, watches: bool) -> Response<axum::body::Body> {
        let mut codes = self.codes.subscribe();
        let (list, watch) = *codes.borrow_and_update();
        self.lists.fetch_add(usize::from(!watches), SeqCst);
        let code = if watches { watch } else { list };
        let body = match (code, watches) {
            // It says nothing for as long as it is open.
            (200, true) => axum::body::Body::from_stream(
                stream::once(async move { codes.changed().await })
                    .filter_map(|_| async { None::<Result<Vec<u8>, Infallible>> }),
            ),
            (200, false) => {
                let list = json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": [object(5)]});
                list.to_string().into()
            }
            _ => {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": "x", "code": code});
                status.to_string().into()
            }
        };
        Response::builder().status(code).body(body).unwrap()
    }

    /// A shelf that follows what it tells.
    fn followed(self: &Arc<Self>) -> Arc<Shelf<ConfigMap>> {
        let shelf = Arc::new(shelf());
        let api = Api::namespaced(self.client(), "n");
        let config = watcher::Config::default().timeout(60);
        let following = Arc::clone(&shelf);
        tokio::spawn(async move {
            let keep = |object, _: Option<&ConfigMap>| Some(object);
            following.follow(api, "n", config, keep).await;
        });
        shelf
    }

    fn lists(&self) -> usize {
        self.lists.swap(0, SeqCst)
    }
}

async fn seconds(count: u64) {
    sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_not_believed_any_more_is_believed_again() {
    let server = Server::start(200, 200);
    let shelf = server.followed();
    seconds(1).await;
    for outage in [20, 600] {
        assert!(shelf.filled("n"));
        assert_eq!(shelf.trouble("n"), None);
        server.lists();
        server.codes.send_replace((503, 503));
        seconds(20).await;
        assert!(shelf.filled("n"), "an outage of 20 s is nothing yet");
        seconds(outage + 25).await;
        assert!(!shelf.filled("n"));
        assert!(shelf.trouble("n").is_some());
        assert_eq!(kept(&shelf), Some(5), "what was known stays");
        let lists = server.lists();
        assert!(lists < 80, "it is asked seldom: {lists}");
        server.codes.send_replace((200, 200));
        seconds(11).await;
        assert!(shelf.filled("n"));
        seconds(11).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_failures_are_no_outage() {
    let server = Server::start(200, 200);
    let shelf = server.followed();
    seconds(1).await;
    for apart in [31, 60, 600] {
        server.codes.send_replace((503, 503));
        for _ in 0..5 {
            seconds(1).await;
            assert!(shelf.filled("n"), "{apart}");
        }
        assert!(shelf.failing("n"));
        server.codes.send_replace((200, 200));
        seconds(apart).await;
        assert!(!shelf.failing("n"), "nothing happened, and nothing failed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_alone_does_not_show_that_the_watch_works() {
    let server = Server::start(200, 403);
    let shelf = server.followed();
    for _ in 0..20 {
        seconds(30).await;
        assert!(shelf.failing("n"));
        assert!(shelf.filled("n"), "it was listed just now");
    }
    let lists = server.lists();
    assert!((40..=80).contains(&lists), "it is asked seldom: {lists}");
    server.codes.send_replace((403, 403));
    seconds(60).await;
    assert!(!shelf.filled("n"));
}

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
