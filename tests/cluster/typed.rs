//! What a person types, and how it ends.

use std::process::Stdio;

use tokio::process::Command;

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Ripcord as a person runs it, with nothing in its environment.
pub(crate) fn ripcord() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ripcord"));
    command.env_clear().stdin(Stdio::null());
    command
}

// === impl Ended ===

impl Ended {
    /// Waits for its end.
    pub(crate) async fn of(command: &mut Command) -> Self {
        let output = command.output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}
