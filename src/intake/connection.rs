//! A bound on connections, on those of one address, and on how long one may say nothing at its start.
//!
//! This machine itself is not bounded by its address: what stands before Ripcord here speaks for many.
//!
//! The HTTP server waits for the first bytes, by which it tells HTTP/1 from HTTP/2, without a limit of its own; the
//! limit for headers begins only then.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Lets so many connections in at a time, and closes those that are too many.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    slots: Arc<Semaphore>,
    /// How many connections each address has.
    peers: Arc<Mutex<HashMap<IpAddr, usize>>>,
    per_peer: usize,
    patience: Duration,
}

/// A connection that was let in.
#[derive(Debug)]
pub(super) struct Guest {
    stream: TcpStream,
    /// Until it is known which HTTP it speaks.
    greeting: Option<Greeting>,
    _slot: OwnedSemaphorePermit,
    _seat: Option<Seat>,
}

/// One connection of an address; given back when dropped.
#[derive(Debug)]
struct Seat {
    peers: Arc<Mutex<HashMap<IpAddr, usize>>>,
    peer: IpAddr,
}

#[derive(Debug)]
struct Greeting {
    /// How much of the preface has come.
    seen: usize,
    deadline: Pin<Box<Sleep>>,
}

// === impl Gate ===

impl Gate {
    /// `patience` is how long a connection may take until it is known which HTTP it speaks.
    pub(super) fn new(connections: usize, per_peer: usize, patience: Duration) -> Self {
        Self {
            peers: Arc::default(),
            per_peer,
            slots: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            patience,
        }
    }

    fn admit(&self, stream: TcpStream, peer: IpAddr) -> io::Result<Guest> {
        let seat = self.seat(peer.to_canonical())?;
        // Closing at once makes the sender try again; waiting would only make it time out.
        let slot = self.slots.clone().try_acquire_owned();
        let slot = slot.map_err(|_| io::Error::other("too many connections"))?;
        stream.set_nodelay(true)?;
        Ok(Guest {
            stream,
            greeting: Some(Greeting {
                seen: 0,
                deadline: Box::pin(sleep(self.patience)),
            }),
            _slot: slot,
            _seat: seat,
        })
    }

    /// A place among the connections of this address.
    fn seat(&self, peer: IpAddr) -> io::Result<Option<Seat>> {
        if peer.is_loopback() {
            return Ok(None);
        }
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let held = peers.entry(peer).or_default();
        if *held >= self.per_peer {
            return Err(io::Error::other("too many connections from one address"));
        }
        *held += 1;
        let peers = Arc::clone(&self.peers);
        Ok(Some(Seat { peers, peer }))
    }
}

impl<S> Accept<TcpStream, S> for Gate {
    type Stream = Guest;
    type Service = S;
    type Future = Ready<io::Result<(Guest, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let peer = stream.peer_addr();
        let guest = peer.and_then(|peer| self.admit(stream, peer.ip()));
        ready(guest.map(|guest| (guest, service)))
    }
}

// === impl Seat ===

impl Drop for Seat {
    fn drop(&mut self) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = peers.get_mut(&self.peer) {
            *held -= 1;
            if *held == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}

// === impl Guest ===

impl AsyncRead for Guest {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        let Some(greeting) = &mut this.greeting else {
            return read;
        };
        if read.is_pending() {
            ready!(greeting.deadline.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let new = &buf.filled()[before..];
        let rest = &PREFACE[greeting.seen..];
        greeting.seen += new.len();
        if new.is_empty() || new.len() >= rest.len() || !rest.starts_with(new) {
            this.greeting = None;
        }
        read
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn one_address_cannot_take_every_connection() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let gate = Gate::new(6, 2, Duration::from_secs(5));
        let admit = async |peer: &str| {
            let stream = TcpStream::connect(addr).await.unwrap();
            gate.admit(stream, peer.parse().unwrap())
        };
        let first = admit("10.0.0.1").await.unwrap();
        let second = admit("::ffff:10.0.0.1").await.unwrap();
        let refused = admit("10.0.0.1").await.unwrap_err().to_string();
        assert!(refused.contains("one address"), "{refused}");
        let other = admit("10.0.0.2").await.unwrap();
        drop(first);
        let again = admit("10.0.0.1").await.unwrap();
        // A proxy on this machine is many.
        let near = [
            admit("127.0.0.1").await,
            admit("::1").await,
            admit("127.0.0.1").await,
        ];
        assert!(near.iter().all(Result::is_ok));
        assert!(admit("127.0.0.1").await.is_err(), "there are six at most");
        drop((near, second, other, again));
        assert!(
            gate.peers.lock().unwrap().is_empty(),
            "nobody is remembered"
        );
    }
}
