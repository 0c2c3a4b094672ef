//! A local mail server: it speaks as much SMTP as a client needs, keeps the mails, and refuses or hangs as it is told.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A running mail server; it stops when dropped.
pub struct FakeSmtp {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

/// A mail that was taken.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    pub login: Option<String>,
    pub to: Vec<String>,
    /// The head and the body, as they came.
    pub text: String,
}

#[derive(Default)]
struct State {
    mails: Vec<Mail>,
    /// What is answered once to a word of the client's, instead of the usual; nothing is no answer, ever.
    instead: Vec<(&'static str, Option<&'static str>)>,
    /// How long the answer to a mail takes.
    looks: Duration,
    words: Vec<String>,
}

/// How the server encrypts.
#[derive(Clone)]
enum Secure {
    Never,
    Asked(TlsAcceptor),
    AtOnce(TlsAcceptor),
}

// === impl FakeSmtp ===

impl FakeSmtp {
    /// One that cannot encrypt.
    pub async fn start() -> Self {
        Self::open(Secure::Never).await
    }

    /// One that encrypts: from the first byte on, or else when it is asked to. Its name is `localhost`, and what is returned
    /// with it vouches for it.
    pub async fn encrypted(at_once: bool) -> (Self, String) {
        drop(rustls::crypto::ring::default_provider().install_default());
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = made.signing_key.serialize_der().try_into().unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let secure = if at_once {
            Secure::AtOnce(acceptor)
        } else {
            Secure::Asked(acceptor)
        };
        (Self::open(secure).await, made.cert.pem())
    }

    async fn open(secure: Secure) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (state, secure) = (Arc::clone(&shared), secure.clone());
                // A client that goes away is no fault of the fake's.
                tokio::spawn(async move { drop(serve(stream, secure, &state).await) });
            }
        });
        Self {
            address,
            state,
            server,
        }
    }

    /// Answers so the next time that this word is said, such as `451 later` to `MAIL`, in the order of the calls; nothing is
    /// no answer, ever. The mail itself is the word `.`, and the greeting `hello`.
    pub fn instead(&self, word: &'static str, answer: impl Into<Option<&'static str>>) {
        let answer = answer.into();
        self.state.lock().unwrap().instead.push((word, answer));
    }

    /// Looks at each mail for so long before it says that it has it.
    pub fn looks(&self, time: Duration) {
        self.state.lock().unwrap().looks = time;
    }

    /// All that was taken.
    pub fn mails(&self) -> Vec<Mail> {
        self.state.lock().unwrap().mails.clone()
    }

    /// How often this word was said.
    pub fn heard(&self, word: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.words.iter().filter(|it| *it == word).count()
    }
}

impl Drop for FakeSmtp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(stream: TcpStream, secure: Secure, state: &Mutex<State>) -> std::io::Result<()> {
    match secure {
        Secure::Never => drop(talk(stream, true, "", state).await?),
        Secure::AtOnce(acceptor) => {
            let stream = acceptor.accept(stream).await?;
            talk(stream, true, "", state).await?;
        }
        Secure::Asked(acceptor) => {
            let offer = "250-STARTTLS\r\n";
            if let Some(stream) = talk(stream, true, offer, state).await? {
                let stream = acceptor.accept(stream).await?;
                talk(stream, false, "", state).await?;
            }
        }
    }
    Ok(())
}

/// Talks with a client until it goes, or wants to be encrypted: then its connection is given back.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    greets: bool,
    offer: &str,
    state: &Mutex<State>,
) -> std::io::Result<Option<S>> {
    let mut stream = BufReader::new(stream);
    let mut mail = Mail::default();
    if greets {
        answer(&mut stream, state, "hello", "220 local ESMTP").await?;
    }
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let said = line.trim_end().to_owned();
        line.clear();
        let word = said.split([' ', ':']).next().unwrap_or_default();
        let word = word.to_ascii_uppercase();
        let hello = format!("250-local\r\n{offer}250-AUTH PLAIN LOGIN\r\n250 8BITMIME");
        let usual = match word.as_str() {
            "EHLO" => hello.as_str(),
            "AUTH" => "235 welcome",
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        let good = answer(&mut stream, state, &word, usual).await?;
        match word.as_str() {
            "STARTTLS" if good && !offer.is_empty() => return Ok(Some(stream.into_inner())),
            "AUTH" => mail.login = Some(said),
            "RCPT" if good => mail.to.push(said),
            "DATA" if good => {
                while stream.read_line(&mut line).await? > 0 && line != ".\r\n" {
                    mail.text.push_str(&line);
                    line.clear();
                }
                line.clear();
                let mail = std::mem::take(&mut mail);
                // A server that hangs then has taken it all the same.
                let looks = {
                    let mut state = state.lock().unwrap();
                    let first = state.instead.iter().find(|(word, _)| *word == ".");
                    if first.is_none_or(|(_, answer)| answer.is_none()) {
                        state.mails.push(mail);
                    }
                    state.looks
                };
                if !looks.is_zero() {
                    tokio::time::sleep(looks).await;
                }
                answer(&mut stream, state, ".", "250 taken").await?;
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Answers a word; says whether in the usual way.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    state: &Mutex<State>,
    word: &str,
    usual: &str,
) -> std::io::Result<bool> {
    let instead = {
        let mut state = state.lock().unwrap();
        state.words.push(word.to_owned());
        let at = state.instead.iter().position(|(it, _)| *it == word);
        at.map(|at| state.instead.remove(at).1)
    };
    if instead == Some(None) {
        std::future::pending::<()>().await;
    }
    let said = instead.flatten();
    let line = format!("{}\r\n", said.unwrap_or(usual));
    stream.write_all(line.as_bytes()).await?;
    Ok(said.is_none())
}
