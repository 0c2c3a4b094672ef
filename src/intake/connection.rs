//! A bound on connections, and on how long one may say nothing at its start.
//!
//! The HTTP server waits for the first bytes, by which it tells HTTP/1 from HTTP/2, without a limit of its own; the
//! limit for headers begins only then.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
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
    patience: Duration,
}

/// A connection that was let in.
#[derive(Debug)]
pub(super) struct Guest {
    stream: TcpStream,
    /// Until it is known which HTTP it speaks.
    greeting: Option<Greeting>,
    _slot: OwnedSemaphorePermit,
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
    pub(super) fn new(connections: usize, patience: Duration) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            patience,
        }
    }

    fn admit(&self, stream: TcpStream) -> io::Result<Guest> {
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
        })
    }
}

impl<S> Accept<TcpStream, S> for Gate {
    type Stream = Guest;
    type Service = S;
    type Future = Ready<io::Result<(Guest, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        ready(self.admit(stream).map(|guest| (guest, service)))
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
