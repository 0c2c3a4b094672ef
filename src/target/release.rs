//! One version of a workload.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::workload::Rollout;

/// How much of a digest people are shown.
const DIGEST: usize = 19;

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

/// An image that nobody can move, and the container that it belongs to.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Image {
    /// The container's name.
    pub container: String,
    /// The image's name, with its digest behind an `@`.
    pub reference: String,
}

impl Image {
    /// The digest.
    #[must_use]
    pub fn digest(&self) -> &str {
        let digest = self.reference.split_once('@');
        digest.map_or(self.reference.as_str(), |(_, digest)| digest)
    }
}

impl std::fmt::Display for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in container {}", self.reference, self.container)
    }
}

impl Release {
    /// A release that is to be made of an image in the live template. It will have the next revision; the digest stands for
    /// its hash, which only the controller knows.
    #[must_use]
    pub fn to_be_made(live: &Rollout, images: Vec<String>, image: &Image) -> Self {
        Self {
            uid: live.uid.clone(),
            revision: live.revision + 1,
            hash: image.digest().to_owned(),
            images,
        }
    }

    /// Whether it is to be made of an image: no pod-template hash has a colon.
    #[must_use]
    pub fn is_to_be_made(&self) -> bool {
        self.hash.contains(':')
    }

    /// The revision as people say it, such as `r7`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("r{}", self.revision)
    }

    /// The same beside another release, with the hash where the revision does not tell them apart: each Deployment behind a
    /// Service counts its own.
    #[must_use]
    pub fn name_beside(&self, other: &Self) -> String {
        if self.revision == other.revision {
            self.to_string()
        } else {
            self.name()
        }
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
        let hash = if self.is_to_be_made() {
            self.hash.get(..DIGEST).unwrap_or(&self.hash)
        } else {
            &self.hash
        };
        write!(f, "r{} {hash}", self.revision)
    }
}

/// The tag or the shortened digest of an image reference; a port in the registry's name is not a tag.
fn tag(image: &str) -> &str {
    if let Some((_, digest)) = image.split_once('@') {
        return digest.get(..DIGEST).unwrap_or(digest);
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
    fn two_of_one_revision_are_told_apart() {
        let release = |revision, hash: &str| Release {
            uid: "u".into(),
            revision,
            hash: hash.into(),
            images: vec![],
        };
        let of = |one: &Release, other: &Release| one.name_beside(other);
        assert_eq!(of(&release(1, "a"), &release(1, "b")), "r1 a");
        assert_eq!(of(&release(1, "a"), &release(2, "b")), "r1");
    }

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
