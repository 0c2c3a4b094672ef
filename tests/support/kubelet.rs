//! Commands in pods as the API server and a kubelet answer for them: a WebSocket server that plays what it is given, frame by
//! frame, over the channels of `v5.channel.k8s.io`. It runs nothing.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};

/// The protocol in which an end of one stream can be told.
pub(crate) const V5: &str = "v5.channel.k8s.io";
/// The one before it.
pub(crate) const V4: &str = "v4.channel.k8s.io";

const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const CLOSE: u8 = 255;

/// How one request is answered.
pub(crate) enum Answer {
    /// No WebSocket: this code, with this message as the API server says it.
    Refuses(u16, &'static str),
    /// The same from a gateway in between, which does not know the API's words.
    GatewayRefuses(u16, &'static str),
    /// A WebSocket of this protocol, and then these, in this order.
    Plays(&'static str, Vec<Play>),
}

/// What comes over a connection.
pub(crate) enum Play {
    /// The server's first frames: each channel's number, and nothing else.
    Opens,
    /// The command writes to its standard output.
    Out(String),
    /// The command writes to its standard error.
    Err(String),
    /// No more comes on its standard output.
    OutEnds,
    /// The status, as it is on the wire.
    Status(Value),
    /// The connection is closed as the protocol has it.
    Closes,
    /// The connection breaks.
    Breaks,
    /// The command is silent for so long; pings are answered.
    Quiet(Duration),
    /// Nothing more comes, and nothing ends.
    Stays,
}

/// The server.
pub(crate) struct Kubelet {
    addr: SocketAddr,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

// === impl Play ===

impl Play {
    /// The status of a command that has ended with code 0.
    pub(crate) fn success() -> Self {
        Self::Status(json!({ "metadata": {}, "status": "Success" }))
    }

    /// The status of a command that has ended with another code.
    pub(crate) fn exit(code: i32) -> Self {
        Self::Status(json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: command terminated with exit code {code}"),
            "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
        }))
    }

    /// The status of an error that is none of the command's.
    pub(crate) fn internal_error(said: &str) -> Self {
        Self::Status(json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
            "message": format!("Internal error occurred: {said}"),
            "details": { "causes": [{ "message": said }] },
        }))
    }
}

// === impl Kubelet ===

impl Kubelet {
    /// Starts one that gives these answers, one a request.
    pub(crate) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let kubelet = Self {
            addr: listener.local_addr().unwrap(),
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            asked: Arc::default(),
        };
        let (answers, asked) = (Arc::clone(&kubelet.answers), Arc::clone(&kubelet.asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answers.lock().unwrap().pop_front();
                let answer = answer.expect("no other request is expected");
                tokio::spawn(serve(stream, answer, Arc::clone(&asked)));
            }
        });
        kubelet
    }

    /// A kubeconfig for it as an API server.
    pub(crate) fn kubeconfig(&self) -> String {
        kubeconfig(self.addr)
    }

    /// The paths that were asked for, with their queries.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// A kubeconfig for an API server at this address.
pub(crate) fn kubeconfig(addr: SocketAddr) -> String {
    let context = json!({ "cluster": "it", "user": "it", "namespace": "default" });
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{ "name": "it", "cluster": { "server": format!("http://{addr}") } }],
        "users": [{ "name": "it", "user": {} }],
        "contexts": [{ "name": "it", "context": context }],
    })
    .to_string()
}

async fn serve(stream: TcpStream, answer: Answer, asked: Arc<Mutex<Vec<String>>>) {
    let (protocol, plays) = match &answer {
        Answer::Refuses(code, said) | Answer::GatewayRefuses(code, said) => {
            (Err((*code, *said)), None)
        }
        Answer::Plays(protocol, plays) => (Ok(*protocol), Some(plays)),
    };
    #[expect(
        clippy::result_large_err,
        reason = "the type of an answer is the library's"
    )]
    let shake = |request: &Request, mut response: Response| {
        asked.lock().unwrap().push(request.uri().to_string());
        match protocol {
            Ok(protocol) => {
                let offered = request.headers().get("sec-websocket-protocol");
                let offered = offered.and_then(|it| it.to_str().ok()).unwrap_or_default();
                assert!(offered.contains(V5) && offered.contains(V4), "{offered}");
                let protocol = HeaderValue::from_static(protocol);
                response
                    .headers_mut()
                    .insert("sec-websocket-protocol", protocol);
                Ok(response)
            }
            Err((code, said)) => {
                let reason = match code {
                    403 => "Forbidden",
                    404 => "NotFound",
                    _ => "InternalError",
                };
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": said, "reason": reason, "code": code,
                });
                let body = match &answer {
                    Answer::GatewayRefuses(..) => said.to_owned(),
                    _ => status.to_string(),
                };
                let mut refusal = ErrorResponse::new(Some(body));
                *refusal.status_mut() = StatusCode::from_u16(code).unwrap();
                Err(refusal)
            }
        }
    };
    let socket = tokio_tungstenite::accept_hdr_async(stream, shake).await;
    if let (Ok(socket), Some(plays)) = (socket, plays) {
        play(socket, plays).await;
    }
}

async fn play(mut socket: WebSocketStream<TcpStream>, plays: &[Play]) {
    for play in plays {
        let frame = |channel: u8, bytes: &[u8]| {
            let mut frame = vec![channel];
            frame.extend_from_slice(bytes);
            Message::binary(frame)
        };
        let sent = match play {
            Play::Opens => {
                for channel in [STDOUT, STDERR, STATUS] {
                    socket.send(frame(channel, b"")).await.unwrap();
                }
                continue;
            }
            Play::Out(said) => socket.send(frame(STDOUT, said.as_bytes())).await,
            Play::Err(said) => socket.send(frame(STDERR, said.as_bytes())).await,
            Play::OutEnds => socket.send(frame(CLOSE, &[STDOUT])).await,
            Play::Status(status) => {
                socket
                    .send(frame(STATUS, status.to_string().as_bytes()))
                    .await
            }
            Play::Closes => socket.close(None).await,
            Play::Breaks => {
                socket.get_ref().set_zero_linger().unwrap();
                return;
            }
            Play::Quiet(long) => {
                let reads = async { while let Some(Ok(_)) = socket.next().await {} };
                // A client that is gone says so before the time is over.
                let gone = tokio::time::timeout(*long, reads).await.is_ok();
                if gone {
                    return;
                }
                continue;
            }
            // Until the client goes.
            Play::Stays => {
                while let Some(Ok(_)) = socket.next().await {}
                return;
            }
        };
        // A client that has its status may be gone.
        if sent.is_err() {
            return;
        }
    }
}
