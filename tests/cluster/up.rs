//! A cluster for a person: it stays until Ctrl-C, and nothing of it after that.

use std::path::Path;

use crate::build;
use crate::enter;
use crate::plane::Plane;

/// Says how to use the cluster, and stays.
pub(crate) async fn stay(plane: &Plane) {
    let kubeconfig = plane.kubeconfig();
    println!(
        "A Kubernetes with Argo Rollouts is up. It has a network and files of its own, so it is used from within:\n\n  \
         nsenter --target $(pgrep --parent {}) --all --preserve-credentials bash\n  \
         cd {}; export KUBECONFIG={} PATH={}:{}:$PATH\n  \
         kubectl get pods --all-namespaces\n  \
         ripcord demo --kubeconfig $KUBECONFIG\n  \
         cargo test --offline --test cluster -- --foreign canary\n\n\
         Logs and the audit log are in {}. Pods of `demo:v1-good`, `demo:v2-half500` and so on answer on port 8000.\n\
         Ctrl-C ends it.",
        enter::parent(),
        env!("CARGO_MANIFEST_DIR"),
        kubeconfig.display(),
        build::bin().display(),
        Path::new(env!("CARGO_BIN_EXE_ripcord"))
            .parent()
            .unwrap_or(Path::new("."))
            .display(),
        plane.folder().display(),
    );
    std::future::pending::<()>().await;
}
