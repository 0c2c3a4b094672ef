//! `ripcord demo` as a person starts it on a real cluster.

use std::path::Path;

use serde_json::json;

use crate::scene::LIMIT;
use crate::support::replica::until;
use crate::typed::{self, Ended};

/// Its story comes about on the real Argo Rollouts, it refuses namespaces that are there already, and it leaves none.
pub(crate) async fn is_told() {
    let plane = crate::plane();
    let namespace = "/api/v1/namespaces/options-production";
    let theirs = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "options-production" } });
    plane.admin.create(&theirs).await.unwrap();
    let refused = demo(&plane.kubeconfig()).await;
    let complaint = refused.err;
    assert_eq!(refused.code, Some(1), "{complaint}");
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
    let said = done.out;
    assert_eq!(done.code, Some(0), "{said}{}", done.err);
    assert_eq!(
        said.matches("Succeeded options-api-pinn-fixes-").count(),
        2,
        "{said}"
    );
    assert!(said.contains("v1.1.0 is fully promoted"), "{said}");
    assert!(!said.contains("Simulated"), "{said}");
    until(gone, LIMIT).await.expect("nothing is left over");
}

async fn demo(kubeconfig: &Path) -> Ended {
    let mut command = typed::ripcord();
    command.args(["demo", "--kubeconfig"]).arg(kubeconfig);
    Ended::of(&mut command).await
}
