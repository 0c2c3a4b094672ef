use std::convert::Infallible;
use std::sync::Mutex;

use axum::http::{Request, Response};
use futures_util::stream;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::{Body, Client};
use serde_json::json;
use tokio::time::sleep;

use super::*;
use crate::telemetry::logs::tests::lines;

/// An API server with one object, that answers lists and watches with these codes.
#[derive(Clone, Copy, Default)]
struct Server {
    list: u16,
    watch: u16,
    lists: usize,
}

impl Server {
    /// A watch that is answered says nothing, for ever.
    fn client(server: &Arc<Mutex<Self>>) -> Client {
        let server = Arc::clone(server);
        let service = tower::service_fn(move |request: Request<Body>| {
            let watch = request
                .uri()
                .query()
                .is_some_and(|it| it.contains("watch="));
            let mut server = server.lock().unwrap();
            server.lists += usize::from(!watch);
            let code = if watch { server.watch } else { server.list };
            let body = match (code, watch) {
                (200, true) => {
                    axum::body::Body::from_stream(stream::pending::<Result<Vec<u8>, Infallible>>())
                }
                (200, false) => {
                    let list = json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": [object(5)]});
                    list.to_string().into()
                }
                _ => {
                    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": "x", "code": code});
                    status.to_string().into()
                }
            };
            let answer = Response::builder().status(code).body(body).unwrap();
            async move { Ok::<_, Infallible>(answer) }
        });
        Client::new(service, "n")
    }

    fn fine() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            list: 200,
            watch: 200,
            lists: 0,
        }))
    }
}

fn answers(server: &Arc<Mutex<Server>>, list: u16, watch: u16) {
    let mut server = server.lock().unwrap();
    (server.list, server.watch) = (list, watch);
}

/// A shelf that follows what this server tells.
fn followed(server: &Arc<Mutex<Server>>) -> Arc<Shelf<ConfigMap>> {
    let shelf = Arc::new(shelf());
    let api = Api::namespaced(Server::client(server), "n");
    let config = watcher::Config::default().timeout(60);
    let following = Arc::clone(&shelf);
    tokio::spawn(async move {
        let keep = |object, _: Option<&ConfigMap>| Some(object);
        following.follow(api, "n", config, keep).await;
    });
    shelf
}

async fn seconds(count: u64) {
    sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_not_believed_any_more_is_listed_anew() {
    let server = Server::fine();
    let shelf = followed(&server);
    seconds(1).await;
    assert!(shelf.filled("n"));
    for outage in [90, 600] {
        answers(&server, 503, 503);
        seconds(60 + 20).await;
        assert!(shelf.filled("n"), "an outage of 20 s is nothing yet");
        seconds(outage).await;
        assert!(!shelf.filled("n"));
        assert!(shelf.trouble("n").is_some());
        assert_eq!(kept(&shelf), Some(5), "what was known stays");
        let lists = server.lock().unwrap().lists;
        assert!(lists < 100, "it is asked seldom: {lists}");
        answers(&server, 200, 200);
        seconds(11).await;
        assert!(shelf.filled("n"));
        seconds(11).await;
        assert_eq!(shelf.trouble("n"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn two_failures_far_apart_are_no_outage() {
    let server = Server::fine();
    let shelf = followed(&server);
    seconds(1).await;
    for _ in 0..3 {
        answers(&server, 503, 503);
        // The watch ends by then, and cannot be begun again.
        seconds(70).await;
        assert!(shelf.filled("n"));
        assert!(shelf.failing("n"));
        answers(&server, 200, 200);
        seconds(600).await;
        assert!(!shelf.failing("n"), "nothing happened, and nothing failed");
    }
    assert_eq!(server.lock().unwrap().lists, 1);
}

#[tokio::test(start_paused = true)]
async fn a_list_alone_does_not_show_that_the_watch_works() {
    let server = Server::fine();
    answers(&server, 200, 403);
    let shelf = followed(&server);
    for _ in 0..20 {
        seconds(30).await;
        assert!(shelf.failing("n"));
        assert_eq!(kept(&shelf), Some(5));
    }
    let lists = server.lock().unwrap().lists;
    assert!(
        (10..=22).contains(&lists),
        "every half minute or so: {lists}"
    );
    answers(&server, 403, 403);
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
