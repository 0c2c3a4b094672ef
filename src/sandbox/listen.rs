//! Listening sockets that end, with their connections, when they are dropped.

use std::net::{SocketAddr, TcpListener};

use axum::Router;
use axum_server::Handle;

/// A server on one address.
#[derive(Debug)]
pub(super) struct Listener {
    handle: Handle<SocketAddr>,
    pub(super) address: SocketAddr,
}

// === impl Listener ===

impl Listener {
    /// Serves `router` on `address`; port 0 takes a free one.
    pub(super) fn start(address: SocketAddr, router: Router) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        Self::serve(listener, router)
    }

    /// Serves `router` on a socket that is bound already.
    pub(super) fn serve(listener: TcpListener, router: Router) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let handle = Handle::new();
        let server = axum_server::from_tcp(listener)?.handle(handle.clone());
        tokio::spawn(async move {
            if let Err(error) = server.serve(router.into_make_service()).await {
                tracing::debug!(%address, %error, "a listener of the sandbox ended");
            }
        });
        Ok(Self { handle, address })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}
