//! The mark of a drill: an annotation on the pod template that makes a release of its own, and changes nothing else.
//!
//! A mark alone proves nothing: who deploys over a template that bears one takes it along. What counts is that the live
//! template is another release's in all but the mark.

use serde::Deserialize;
use serde_json::Value;

use super::Snapshot;

/// The annotation on a pod template that makes a drill's release of it; its value is the drill's id.
pub const MARK: &str = "ripcord.dev/drill";

/// Whether a target may be drilled with an effect.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Drills {
    /// Nothing is ever shipped to it only to be pulled back.
    #[default]
    Refused,
    /// A person may.
    Allowed,
}

/// A drill's release, and the one that it was made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Twin {
    /// Its pod-template hash.
    pub hash: String,
    /// The hash of the release from before, which differs from it in the mark alone.
    pub of: String,
    /// The drill's id.
    pub id: String,
}

/// The id of the drill whose mark a pod template bears.
#[must_use]
pub fn mark(template: &Value) -> Option<&str> {
    template.pointer("/metadata/annotations")?[MARK].as_str()
}

/// A pod template without a mark; what held nothing else goes with it.
#[must_use]
pub fn unmarked(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        if let Some(all) = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut)
        {
            all.remove(MARK);
        }
        let empty = |it: &Value| it.as_object().is_some_and(serde_json::Map::is_empty);
        if metadata.get("annotations").is_some_and(empty) {
            metadata.remove("annotations");
        }
    }
    template
}

impl Snapshot {
    /// The live release as that of a drill, where its template is another one's in all but the mark.
    #[must_use]
    pub fn drilled(&self) -> Option<Twin> {
        let rollout = self.rollout.as_ref().filter(|it| it.observed)?;
        let live = self.replica_set(&rollout.current)?;
        let id = mark(&live.template)?;
        let plain = unmarked(&live.template);
        let others = self
            .replica_sets
            .iter()
            .filter(|set| mark(&set.template).is_none() && unmarked(&set.template) == plain);
        let of = others.max_by_key(|set| set.revision)?;
        Some(Twin {
            hash: live.hash.clone(),
            of: of.hash.clone(),
            id: id.to_owned(),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::target::snapshot::tests::in_flight;

    fn template(image: &str) -> Value {
        json!({ "metadata": { "labels": { "app": "x" } }, "spec": { "containers": [{ "name": "app", "image": image }] } })
    }

    /// `bad` in flight, which is `good` with the mark of drill `d1`.
    pub(crate) fn drilled() -> Snapshot {
        let mut at = in_flight();
        at.rollout.as_mut().unwrap().drill = Some("d1".into());
        at.replica_sets[0].template = template("app:1");
        let mut marked = template("app:1");
        marked["metadata"]["annotations"] = json!({ MARK: "d1" });
        at.replica_sets[1].template = marked;
        at
    }

    #[test]
    fn a_release_is_a_drills_where_the_mark_is_all_that_is_new() {
        let twin = drilled().drilled().unwrap();
        assert_eq!((&*twin.hash, &*twin.of, &*twin.id), ("bad", "good", "d1"));
        // Somebody deployed over it, and the mark was taken along.
        let mut deployed = drilled();
        deployed.replica_sets[1].template["spec"]["containers"][0]["image"] = json!("app:2");
        assert_eq!(deployed.drilled(), None);
        let mut plain = drilled();
        plain.replica_sets[1].template = template("app:1");
        assert_eq!(plain.drilled(), None);
        // What is live has no identity yet.
        let mut lags = drilled();
        lags.rollout.as_mut().unwrap().observed = false;
        assert_eq!(lags.drilled(), None);
    }

    #[test]
    fn annotations_of_its_own_stay() {
        let mut own = template("app:1");
        own["metadata"]["annotations"] = json!({ "a": "b" });
        let mut marked = own.clone();
        marked["metadata"]["annotations"][MARK] = json!("d1");
        assert_eq!(mark(&marked), Some("d1"));
        assert_eq!(unmarked(&marked), own);
    }
}
