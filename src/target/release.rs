//! One version of a workload.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One version of a workload: the workload's uid, its revision and its pod-template hash.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// `metadata.uid` of the workload: a workload that was deleted and made again starts a new history.
    pub uid: String,
    /// The revision that the controller gave it. A template that is restored gets a new one.
    pub revision: i64,
    /// The pod-template hash: what was really reconciled.
    pub hash: String,
    /// The images of its containers, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
}

impl Release {
    /// The revision as people say it, such as `r7`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("r{}", self.revision)
    }

    /// The release with the tags of its images, as people look it up.
    #[must_use]
    pub fn shown(&self) -> String {
        let tags = self.tags();
        if tags.is_empty() {
            self.to_string()
        } else {
            format!("{self} ({tags})")
        }
    }

    /// The tags of the images, or the whole images where they have none.
    #[must_use]
    pub fn tags(&self) -> String {
        let tags: Vec<_> = self.images.iter().map(|image| tag(image)).collect();
        tags.join(", ")
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "r{} {}", self.revision, self.hash)
    }
}

/// The tag or the shortened digest of an image reference; a port in the registry's name is not a tag.
fn tag(image: &str) -> &str {
    if let Some((_, digest)) = image.split_once('@') {
        return digest.get(..19).unwrap_or(digest);
    }
    match image.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') => tag,
        _ => image,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_port_is_no_tag() {
        assert_eq!(tag("registry:5000/app"), "registry:5000/app");
        assert_eq!(tag("registry:5000/app:v1"), "v1");
        assert_eq!(
            tag("app@sha256:0123456789abcdef0123"),
            "sha256:0123456789ab"
        );
    }
}
