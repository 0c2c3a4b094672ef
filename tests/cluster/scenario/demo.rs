//! `ripcord demo` as a person starts it on a real cluster.

use std::path::Path;
use std::process::Output;

use serde_json::json;
use tokio::process::Command;

use crate::scene::LIMIT;
use crate::support::replica::until;

/// Its story comes about on the real Argo Rollouts, it refuses namespaces that are there already, and it leaves none.
pub(crate) async fn is_told() {
    let plane = crate::plane();
    let _turn = plane.shared().await;
    let namespace = "/api/v1/namespaces/options-production";
    let theirs = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "options-production" } });
    plane.admin.create(&theirs).await.unwrap();
    let refused = demo(&plane.kubeconfig()).await;
    let complaint = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("is there already"), "{complaint}");
    assert!(plane.admin.get(namespace).await.is_some(), "it is let be");
    plane.admin.delete(namespace).await.unwrap();
    let home = "/api/v1/namespaces/ripcord";
    let gone = async || {
        let there = plane
            .admin
            .get(namespace)
            .await
            .or(plane.admin.get(home).await);
        there.is_none().then_some(())
    };
    until(gone, LIMIT).await.expect("they go");

    let done = demo(&plane.kubeconfig()).await;
    let said = String::from_utf8_lossy(&done.stdout);
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}{complaint}");
    assert_eq!(
        said.matches("Succeeded options-api-pinn-fixes-").count(),
        2,
        "{said}"
    );
    assert!(said.contains("v1.1.0 is fully promoted"), "{said}");
    assert!(!said.contains("Simulated"), "{said}");
    until(gone, LIMIT).await.expect("nothing is left over");
}

async fn demo(kubeconfig: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ripcord"));
    command.args(["demo", "--kubeconfig"]).arg(kubeconfig);
    command.env_clear().output().await.unwrap()
}
