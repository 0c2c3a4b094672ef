//! The global off switch: one annotation on one `ConfigMap`.
//!
//! `kubectl annotate configmap ripcord-hold -n ripcord ripcord.dev/hold='jo: freeze'` holds every start within a second.

use k8s_openapi::api::core::v1::ConfigMap;

use super::{Cluster, Error};
use crate::policy::guard::Hold;

/// The annotation whose presence holds every start; its text is the owner and the reason.
pub const ANNOTATION: &str = "ripcord.dev/hold";

/// What a `ConfigMap` says about the hold.
#[must_use]
pub fn of(config_map: &ConfigMap) -> Hold {
    match config_map
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(ANNOTATION))
    {
        None => Hold::Free,
        Some(said) if said.trim().is_empty() => Hold::Held("no reason is given".to_owned()),
        Some(said) => Hold::Held(said.trim().chars().take(200).collect()),
    }
}

impl Cluster {
    /// Reads the hold, fresh. A missing `ConfigMap` is unreadable, and unreadable means held.
    ///
    /// # Errors
    /// Where asking again may help. Until it does, nothing may start.
    pub async fn hold(&self, namespace: &str, name: &str) -> Result<Hold, Error> {
        match self.call(self.api::<ConfigMap>(namespace).get(name)).await {
            Ok(config_map) => Ok(of(&config_map)),
            Err(error) if error.passes() => Err(error),
            Err(error) => {
                report(namespace, name, &error);
                let said = format!("ConfigMap {namespace}/{name}: {error}");
                Ok(Hold::Unreadable(said))
            }
        }
    }
}

fn report(namespace: &str, name: &str, error: &Error) {
    tracing::warn!(k8s.namespace = namespace, k8s.config_map = name, %error, "the hold cannot be read, which counts as held");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_annotation_holds_whatever_it_says() {
        let read = |annotations: serde_json::Value| {
            of(&serde_json::from_value(json!({"metadata": {"annotations": annotations}})).unwrap())
        };
        assert_eq!(read(json!({})), Hold::Free);
        assert_eq!(
            read(json!({ANNOTATION: "jo: freeze"})),
            Hold::Held("jo: freeze".into())
        );
        assert_eq!(
            read(json!({ANNOTATION: ""})),
            Hold::Held("no reason is given".into())
        );
        assert_eq!(
            read(json!({ANNOTATION: "false"})),
            Hold::Held("false".into())
        );
    }
}
