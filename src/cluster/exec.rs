//! Runs a command in a container of a pod, through the API server, and says how it ended.
//!
//! It knows an end by the exit status alone, which comes on a channel of its own. Where none comes, nobody knows what became
//! of the command: a connection that is lost does not stop it. It refuses to take silence for success, and opens no shell.

use futures_util::FutureExt as _;
use futures_util::future::join;
use hyper_util::client::legacy;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachParams, ListParams};
use kube::client::UpgradeConnectionError;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{Cluster, Error};
use crate::target::Exec;
use crate::target::command::{Output, Place, Stream};
use crate::target::effect::{Outcome, Verdict};

/// The reasons by which the API server says itself that it runs nothing now.
const OWN_WORDS: [&str; 4] = [
    "Unauthorized",
    "TooManyRequests",
    "InternalError",
    "ServiceUnavailable",
];
/// What is read at once.
const READ: usize = 8 * 1024;

impl Cluster {
    /// Runs a command, and says what came of it. It takes no longer than the command may.
    pub async fn exec(&self, namespace: &str, exec: &Exec) -> Outcome {
        let pod = match self.place(namespace, &exec.place).await {
            Ok(pod) => pod,
            Err((verdict, said)) => {
                let said = format!("`{}` in {}: {said}", exec.name, exec.place);
                return Outcome { verdict, said };
            }
        };
        let mut output = Output::default();
        let within = exec.command.timeout;
        let ended =
            tokio::time::timeout(within, self.run(namespace, &pod, exec, &mut output)).await;
        let (verdict, said) = match ended {
            Ok(Ok(code)) => match exec.command.judge(code, &output.out) {
                Ok(()) => (Verdict::Done, "it ended with exit code 0".to_owned()),
                Err(said) => (Verdict::Failed, said),
            },
            Ok(Err((verdict, said))) => (verdict, said),
            Err(_) => {
                let said = format!("it has not ended within {within:?}, and may still run");
                (Verdict::Unknown, said)
            }
        };
        let shown = output.shown();
        let shown = if shown.is_empty() {
            shown
        } else {
            format!("; {shown}")
        };
        Outcome {
            verdict,
            said: format!("`{}` in {pod}: {said}{shown}", exec.name),
        }
    }

    /// The pod that it is run in: of several that are ready, the first by name.
    async fn place(&self, namespace: &str, place: &Place) -> Result<String, (Verdict, String)> {
        let labels = match place {
            Place::Pod(name) => return Ok(name.clone()),
            Place::OneOf(labels) => labels,
        };
        let selected = ListParams::default().labels(labels);
        let pods = self.call(self.api::<Pod>(namespace).list(&selected)).await;
        let pods = pods.map_err(|error| {
            let verdict = match error {
                Error::Forbidden(_) | Error::Rejected(_) => Verdict::Refused,
                _ => Verdict::NotBegun,
            };
            (verdict, format!("it cannot be looked for: {error}"))
        })?;
        let ready = pods.items.iter().filter(|it| is_ready(it));
        let first = ready.filter_map(|it| it.metadata.name.clone()).min();
        first.ok_or_else(|| (Verdict::NotBegun, "none is ready".to_owned()))
    }

    /// The code that it ended with; what it writes is put into `output` as it comes.
    async fn run(
        &self,
        namespace: &str,
        pod: &str,
        exec: &Exec,
        output: &mut Output,
    ) -> Result<i32, (Verdict, String)> {
        let params = AttachParams::default()
            .container(&exec.command.container)
            .stdin(false)
            .max_stdout_buf_size(READ)
            .max_stderr_buf_size(READ);
        let words = exec.command.command.iter();
        let pods = self.api::<Pod>(namespace);
        let attached = pods.exec(pod, words, &params).await;
        let mut process = attached.map_err(refused)?;
        let Output { out, err } = output;
        let status = process.take_status();
        let drained = join(drain(process.stdout(), out), drain(process.stderr(), err));
        tokio::pin!(drained);
        let status = async { status?.await };
        tokio::pin!(status);
        // Both at once: what is not read keeps the status from being read.
        let status = tokio::select! {
            biased;
            _ = &mut drained => status.await,
            status = &mut status => {
                if status.is_some() {
                    drained.await;
                } else {
                    // Where the connection broke, nobody says that no more comes.
                    drained.now_or_never();
                }
                status
            }
        };
        let Some(status) = status else {
            let broken = process.join().await.err();
            let broken = broken.map_or_else(String::new, |error| {
                format!(" ({})", super::error::chain(&error))
            });
            let said = format!("the connection ended without an exit status{broken}");
            return Err((Verdict::Unknown, said));
        };
        exit_code(&status).map_err(|said| {
            let said = format!("no exit status came back, but: {said}");
            (Verdict::Unknown, said)
        })
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|it| it.conditions.iter());
    let ready = |it: &PodCondition| it.type_ == "Ready" && it.status == "True";
    pod.metadata.deletion_timestamp.is_none() && conditions.flatten().any(ready)
}

/// Reads to the end, so that nothing waits for what was written to be read.
async fn drain(from: Option<impl AsyncRead + Unpin>, to: &mut Stream) {
    let Some(mut from) = from else { return };
    let mut bytes = vec![0; READ];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        to.take(bytes.get(..read).unwrap_or_default());
    }
}

/// The exit code in a status.
///
/// # Errors
/// What it says instead.
fn exit_code(status: &Status) -> Result<i32, String> {
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    match of(&status.status).as_str() {
        "Success" => return Ok(0),
        "Failure" if of(&status.reason) == "NonZeroExitCode" => {
            let details = status.details.as_ref();
            let mut causes = details
                .and_then(|it| it.causes.as_ref())
                .into_iter()
                .flatten();
            let cause = causes.find(|it| it.reason.as_deref() == Some("ExitCode"));
            let code = cause.and_then(|it| it.message.as_ref()?.parse().ok());
            if let Some(code) = code.filter(|code| *code != 0) {
                return Ok(code);
            }
        }
        _ => {}
    }
    let said = [&status.message, &status.reason, &status.status];
    let mut said = said.into_iter().flatten();
    Err(said.find(|it| !it.is_empty()).cloned().unwrap_or_default())
}

/// What it means that no connection to the command came about.
fn refused(error: kube::Error) -> (Verdict, String) {
    if let kube::Error::UpgradeConnection(error) = &error {
        let verdict = match error {
            // What answers in this way opens no connection, and does not begin to run anything.
            UpgradeConnectionError::ProtocolSwitch(_) => Verdict::Refused,
            _ => Verdict::Unknown,
        };
        let said = format!("the API server opened no WebSocket: {error}");
        return (verdict, said);
    }
    // An answer of the API server's own is none of a command's; a gateway's says nothing of what is behind it.
    let answered = match &error {
        // What the client made itself of other words carries no reason that the API server gives.
        kube::Error::Api(status) if OWN_WORDS.contains(&status.reason.as_str()) => {
            Some(status.code)
        }
        _ => None,
    };
    let unreached = matches!(&error, kube::Error::Service(error)
        if error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect));
    match Error::from(error) {
        error @ (Error::Forbidden(_) | Error::Rejected(_)) => (Verdict::Refused, error.to_string()),
        error @ (Error::NotFound(_) | Error::Exists(_) | Error::Precondition(_)) => {
            (Verdict::NotBegun, error.to_string())
        }
        error @ Error::Unavailable(_) => {
            let certain = unreached || matches!(answered, Some(401 | 429 | 500 | 503));
            let verdict = if certain {
                Verdict::NotBegun
            } else {
                Verdict::Unknown
            };
            (verdict, error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn code(status: serde_json::Value) -> Result<i32, String> {
        exit_code(&serde_json::from_value(status).unwrap())
    }

    fn failure(reason: &str, cause: &str, said: &str) -> serde_json::Value {
        json!({
            "status": "Failure", "reason": reason, "message": "it was said",
            "details": { "causes": [{ "reason": cause, "message": said }] },
        })
    }

    #[test]
    fn only_a_status_tells_an_exit_code() {
        assert_eq!(code(json!({ "status": "Success" })), Ok(0));
        assert_eq!(code(failure("NonZeroExitCode", "ExitCode", "137")), Ok(137));
        for none in [
            failure("InternalError", "ExitCode", "1"),
            failure("NonZeroExitCode", "Other", "1"),
            failure("NonZeroExitCode", "ExitCode", "one"),
            failure("NonZeroExitCode", "ExitCode", "0"),
            json!({ "status": "Failure", "message": "it was said" }),
            json!({ "message": "it was said" }),
        ] {
            assert_eq!(code(none), Err("it was said".to_owned()));
        }
        assert_eq!(code(json!({})), Err(String::new()));
    }
}
