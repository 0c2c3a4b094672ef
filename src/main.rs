//! The `ripcord` command.

use std::process::ExitCode;

use ripcord::cli::{self, Exit};

#[tokio::main]
async fn main() -> ExitCode {
    // One provider of cryptography for everything; without it no TLS client can be built.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        return Exit::Failed.into();
    }
    match cli::parse(std::env::args_os()) {
        Ok(cli) => cli::run(cli).await.into(),
        Err(exit) => exit.into(),
    }
}
