//! How long a call of the journal waits before it is made again, and how loudly it says why.
//!
//! What passes by itself is asked again soon. What the API server refuses for good needs a person: it is said once, with
//! what to do, it is counted, and it is asked again later and later. Until it is accepted nothing is begun, because nothing
//! is done that is not on record first.

use std::time::Duration;

use crate::cluster::Error;
use crate::engine::Context;
use crate::engine::journal::Halt;
use crate::rollback::GROUP;
use crate::telemetry::metrics::Refused;

/// How long to wait at first, and every time where the failure passes by itself.
pub(super) const SHORT: Duration = Duration::from_millis(300);
/// How long to wait at most.
const LONG: Duration = Duration::from_secs(5);

/// The patience of one call.
pub(super) struct Patience<'a> {
    ctx: &'a Context,
    namespace: String,
    name: String,
    call: Call,
    wait: Duration,
    /// What was said last: the same is not said again.
    said: Option<String>,
    refused: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Call {
    Read,
    Write,
}

impl<'a> Patience<'a> {
    pub(super) fn new(ctx: &'a Context, namespace: &str, name: &str, call: Call) -> Self {
        Self {
            ctx,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            call,
            wait: SHORT,
            said: None,
            refused: false,
        }
    }

    /// Says what went wrong, and waits.
    ///
    /// # Errors
    /// When the term ends first.
    pub(super) async fn wait(&mut self, error: &Error) -> Result<(), Halt> {
        let refusal = refusal(error);
        if let Some(kind) = refusal {
            self.ctx.metrics.journal_refusal(kind);
        }
        self.stand(refusal.is_some());
        let said = error.to_string();
        let anew = self.said.as_ref() != Some(&said);
        let (rollback, done) = (&self.name, self.call.done());
        match refusal {
            Some(kind) if anew => tracing::error!(
                rollback,
                k8s.namespace = self.namespace,
                error = said,
                advice = self.advice(kind),
                "the API server refuses to let the journal be {}: nothing goes on until it does",
                done
            ),
            None if anew => tracing::warn!(
                rollback,
                k8s.namespace = self.namespace,
                error = said,
                "the journal cannot be {}",
                done
            ),
            _ => tracing::debug!(
                rollback,
                error = said,
                "the journal still cannot be {}",
                done
            ),
        }
        self.said = Some(said);
        let wait = self.wait;
        self.wait = if refusal.is_some() {
            (self.wait * 2).min(LONG)
        } else {
            SHORT
        };
        if self.ctx.pause(wait).await {
            Ok(())
        } else {
            Err(Halt::TermEnded)
        }
    }

    /// What a person can do about it.
    fn advice(&self, kind: Refused) -> String {
        let right = match self.call {
            Call::Read => format!("get rollbacks.{GROUP}"),
            Call::Write => format!("patch rollbacks.{GROUP}/status"),
        };
        let namespace = &self.namespace;
        match kind {
            Refused::Forbidden => format!(
                "give the service account the right to {right} in {namespace} (deploy/rbac/release-namespace)"
            ),
            Refused::Rejected => format!(
                "the definition of rollbacks.{GROUP} is not that of this version: apply it (ripcord crd | kubectl apply --server-side -f -)"
            ),
        }
    }

    /// Keeps the gauge of refused journals in step.
    fn stand(&mut self, refused: bool) {
        if refused != self.refused {
            self.ctx
                .metrics
                .journals_refused(if refused { 1 } else { -1 });
            self.refused = refused;
        }
    }
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        self.stand(false);
        if let Some(said) = &self.said {
            tracing::info!(
                rollback = self.name,
                last = said,
                "the journal is no longer waited for"
            );
        }
    }
}

/// Whether the API server will refuse the same call until somebody changes something.
const fn refusal(error: &Error) -> Option<Refused> {
    match error {
        Error::Forbidden(_) => Some(Refused::Forbidden),
        Error::Rejected(_) | Error::Exists(_) => Some(Refused::Rejected),
        Error::NotFound(_) | Error::Precondition(_) | Error::Unavailable(_) => None,
    }
}

impl Call {
    const fn done(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "written",
        }
    }
}
