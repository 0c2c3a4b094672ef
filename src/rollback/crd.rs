//! The definitions of both objects, as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON,
};
use kube::CustomResourceExt as _;
use serde_json::json;

use super::{Memory, Rollback};

/// The definition of rollbacks.
#[must_use]
pub fn rollbacks() -> CustomResourceDefinition {
    with_status(Rollback::crd())
}

/// The definition of targets.
#[must_use]
pub fn targets() -> CustomResourceDefinition {
    with_status(Memory::crd())
}

/// Gives a status to every object from its creation on, so that the first patch that tests `epoch` or `seq` finds them.
fn with_status(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let schema = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut());
        let status = schema.and_then(|schema| schema.properties.as_mut()?.get_mut("status"));
        if let Some(status) = status {
            status.default = Some(JSON(json!({})));
            status.nullable = None;
        }
    }
    crd
}
