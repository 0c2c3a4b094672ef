//! The proxy does what crash tests rely on, shown against a small server that counts.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, Response, StatusCode},
};
use futures_util::stream;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

use crate::support::proxy::{Act, Fault, Proxy, Seen};

const LIMIT: Duration = Duration::from_secs(10);

/// The server behind the proxy.
#[derive(Clone, Default)]
struct Upstream {
    /// Method, path with query, and body of each request that got through.
    got: Arc<Mutex<Vec<(Method, String, Bytes)>>>,
    /// What `/watch` sends, piece by piece, to whoever asked first.
    events: Arc<Mutex<Option<mpsc::Receiver<&'static str>>>>,
}

impl Upstream {
    async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = Router::new().fallback(serve).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        addr
    }

    fn got(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

async fn serve(State(upstream): State<Upstream>, request: Request) -> (HeaderMap, Body) {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    upstream
        .got
        .lock()
        .unwrap()
        .push((parts.method, parts.uri.to_string(), body.clone()));
    let headers = HeaderMap::from_iter([("x-from".parse().unwrap(), "upstream".parse().unwrap())]);
    if parts.uri.path() == "/watch" {
        let events = upstream.events.lock().unwrap().take().unwrap();
        let body = stream::unfold(events, async |mut events| {
            let event = events.recv().await?;
            Some((Ok::<_, std::io::Error>(Bytes::from(event)), events))
        });
        return (headers, Body::from_stream(body));
    }
    (headers, Body::from(body))
}

async fn pair() -> (Upstream, Proxy) {
    let upstream = Upstream::default();
    let addr = upstream.start().await;
    (upstream, Proxy::start(addr).await)
}

/// One request on a connection of its own; nothing when it ends without an answer.
async fn send(
    to: SocketAddr,
    method: Method,
    path: &str,
    body: &'static str,
) -> Option<Response<Body>> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = axum::http::Request::builder()
        .method(method)
        .uri(format!("http://{to}{path}"))
        .header("user-agent", "ripcord/test")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let answer = timeout(LIMIT, client.request(request))
        .await
        .expect("an end within the limit");
    answer.ok().map(|answer| answer.map(Body::new))
}

async fn text(answer: Response<Body>) -> String {
    String::from_utf8(
        answer
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec(),
    )
    .unwrap()
}

/// Sends a request by hand, to see how the connection ends.
async fn raw_end(to: SocketAddr) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect(to).await?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
        .await?;
    timeout(LIMIT, stream.read(&mut [0; 64]))
        .await
        .expect("an end within the limit")
}

/// A rule for the n-th request that asks for a change.
fn nth_change(n: usize, act: Act) -> impl FnMut(&Seen) -> Act {
    let mut count = 0;
    move |seen| {
        count += usize::from(seen.mutates());
        if seen.mutates() && count == n {
            act
        } else {
            Act::Forward
        }
    }
}

#[tokio::test]
async fn forwards_and_remembers() {
    let (upstream, proxy) = pair().await;
    let answer = send(
        proxy.addr(),
        Method::PATCH,
        "/api/x?dryRun=All&a=%20b",
        "a patch",
    )
    .await
    .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["x-from"], "upstream");
    assert_eq!(text(answer).await, "a patch");
    let expected = (
        Method::PATCH,
        "/api/x?dryRun=All&a=%20b".to_owned(),
        Bytes::from("a patch"),
    );
    assert_eq!(*upstream.got.lock().unwrap(), [expected]);

    let seen = proxy.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].n, &seen[0].method), (1, &Method::PATCH));
    assert_eq!(
        (seen[0].path.as_str(), seen[0].query.as_str()),
        ("/api/x", "dryRun=All&a=%20b")
    );
    assert_eq!(
        (seen[0].body.as_ref(), seen[0].user_agent.as_str()),
        (&b"a patch"[..], "ripcord/test")
    );
}

#[tokio::test]
async fn passes_each_piece_of_a_stream_on_as_it_comes() {
    let (upstream, proxy) = pair().await;
    let (events, receiver) = mpsc::channel(1);
    *upstream.events.lock().unwrap() = Some(receiver);
    let mut body = send(proxy.addr(), Method::GET, "/watch", "")
        .await
        .unwrap()
        .into_body();
    for event in ["added", "modified", "deleted"] {
        // The next piece is sent only when the last one has been read.
        events.send(event).await.unwrap();
        let frame = timeout(LIMIT, body.frame())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(frame.into_data().unwrap(), event);
    }
    // The client leaves, and the server learns of it.
    drop(body);
    timeout(LIMIT, events.closed()).await.unwrap();
}

#[tokio::test]
async fn holds_before_forwarding_until_released() {
    let (upstream, proxy) = pair().await;
    proxy.on(nth_change(2, Act::Before(Fault::Hold)));
    let addr = proxy.addr();
    send(addr, Method::PUT, "/1", "").await.unwrap();
    send(addr, Method::GET, "/2", "").await.unwrap();
    assert!(!proxy.held(Duration::from_millis(10)).await);
    let waiting = tokio::spawn(send(addr, Method::PUT, "/3", "late"));
    assert!(proxy.held(LIMIT).await);
    send(addr, Method::PUT, "/4", "").await.unwrap();
    assert!(!waiting.is_finished());
    assert_eq!(upstream.got(), 3);
    proxy.release();
    assert_eq!(text(waiting.await.unwrap().unwrap()).await, "late");
    assert_eq!(upstream.got(), 4);
    assert!(!proxy.held(Duration::from_millis(10)).await);
}

#[tokio::test]
async fn a_held_request_arrives_even_if_its_client_died() {
    let (upstream, proxy) = pair().await;
    proxy.on(nth_change(1, Act::Before(Fault::Hold)));
    let dying = tokio::spawn(send(proxy.addr(), Method::PUT, "/1", "from the grave"));
    assert!(proxy.held(LIMIT).await);
    dying.abort();
    assert!(dying.await.unwrap_err().is_cancelled());
    proxy.release();
    let arrived = async {
        while upstream.got() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, arrived).await.unwrap();
}

#[tokio::test]
async fn holds_an_answer_until_released() {
    let (upstream, proxy) = pair().await;
    proxy.on(nth_change(1, Act::After(Fault::Hold)));
    let waiting = tokio::spawn(send(proxy.addr(), Method::POST, "/1", "done"));
    assert!(proxy.held(LIMIT).await);
    assert_eq!(upstream.got(), 1);
    assert!(!waiting.is_finished());
    proxy.release();
    assert_eq!(text(waiting.await.unwrap().unwrap()).await, "done");
}

#[tokio::test]
async fn faults_before_forwarding_never_reach_the_server_and_those_after_it_do() {
    let (upstream, proxy) = pair().await;
    for fault in [Fault::Drop, Fault::Reset] {
        let before = upstream.got();
        proxy.on(nth_change(1, Act::Before(fault)));
        assert!(send(proxy.addr(), Method::PUT, "/", "").await.is_none());
        assert_eq!(upstream.got(), before, "{fault:?}");

        proxy.on(nth_change(1, Act::After(fault)));
        assert!(send(proxy.addr(), Method::PUT, "/", "").await.is_none());
        assert_eq!(upstream.got(), before + 1, "{fault:?}");
        // Only the n-th: the next one is fine.
        assert!(send(proxy.addr(), Method::PUT, "/", "").await.is_some());
    }
}

#[tokio::test]
async fn a_drop_is_a_close_and_a_reset_is_a_reset() {
    let (_upstream, proxy) = pair().await;
    proxy.on(|_| Act::Before(Fault::Drop));
    assert_eq!(raw_end(proxy.addr()).await.unwrap(), 0);
    for act in [Act::Before(Fault::Reset), Act::After(Fault::Reset)] {
        proxy.on(move |_| act);
        assert_eq!(
            raw_end(proxy.addr()).await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
    }
}

#[tokio::test]
async fn answers_in_the_servers_place() {
    let (upstream, proxy) = pair().await;
    proxy.on(nth_change(1, Act::Before(Fault::Answer(409))));
    let answer = send(proxy.addr(), Method::POST, "/", "").await.unwrap();
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    let status: serde_json::Value = serde_json::from_str(&text(answer).await).unwrap();
    assert_eq!(
        (&status["kind"], &status["reason"]),
        (&"Status".into(), &"Conflict".into())
    );
    assert_eq!(upstream.got(), 0);

    proxy.on(nth_change(1, Act::After(Fault::Answer(504))));
    let answer = send(proxy.addr(), Method::POST, "/", "").await.unwrap();
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(upstream.got(), 1);
}

#[tokio::test]
async fn cut_ends_everything_and_heal_brings_the_server_back() {
    let (upstream, proxy) = pair().await;
    let (events, receiver) = mpsc::channel(1);
    *upstream.events.lock().unwrap() = Some(receiver);
    let mut watching = send(proxy.addr(), Method::GET, "/watch", "")
        .await
        .unwrap()
        .into_body();
    events.send("added").await.unwrap();
    watching.frame().await.unwrap().unwrap();
    proxy.on(nth_change(1, Act::Before(Fault::Hold)));
    let held = tokio::spawn(send(proxy.addr(), Method::PUT, "/", ""));
    assert!(proxy.held(LIMIT).await);

    proxy.cut();
    assert!(
        timeout(LIMIT, watching.frame())
            .await
            .unwrap()
            .unwrap()
            .is_err()
    );
    timeout(LIMIT, events.closed()).await.unwrap();
    assert!(held.await.unwrap().is_none());
    assert!(send(proxy.addr(), Method::GET, "/", "").await.is_none());

    proxy.heal();
    proxy.release();
    assert!(send(proxy.addr(), Method::GET, "/", "").await.is_some());
    // What was on its way when the line was cut stays lost.
    assert!(!proxy.held(Duration::ZERO).await);
    let got = upstream.got.lock().unwrap().clone();
    assert!(
        got.iter().all(|(method, ..)| method == Method::GET),
        "{got:?}"
    );
}

#[tokio::test]
async fn an_absent_server_looks_absent() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(unused.local_addr().unwrap()).await;
    drop(unused);
    assert!(send(proxy.addr(), Method::GET, "/", "").await.is_none());
}
