//! What a target's memory learns, and which release it knows to be good.
//!
//! Argo Rollouts remembers revisions, not which of them was ever stable; "previous" may be another bad one. So the
//! memory keeps what *was stable*, and for how long.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};

use super::memory::{Blame, Latch, Live, Made, MemoryStatus, Stable};
use crate::reason::{Finding, Reason};
use crate::target::snapshot::ReplicaSet;
use crate::target::workload::Rollout;
use crate::target::{Image, Pin, Release, Snapshot, Target, template};

/// Creation times are cut to whole seconds.
const JUST_NOW: SignedDuration = SignedDuration::from_secs(2);
/// How many entries each list keeps.
const KEPT: usize = 30;

/// A destination, and why it is the one.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    /// The release to return to.
    pub release: Release,
    /// Why this one, in words.
    pub chosen: String,
}

impl MemoryStatus {
    /// Learns from one look at the workload; says whether anything was new. `created` is when the live replica set was
    /// made: for a release that went live before Ripcord looked, the change is dated to that.
    pub fn observe(
        &mut self,
        rollout: &Rollout,
        created: Option<Timestamp>,
        now: Timestamp,
    ) -> bool {
        if !rollout.observed {
            return false;
        }
        let before = (
            self.live.clone(),
            self.history.len(),
            self.history.last().cloned(),
        );
        let known = self.live.as_ref().is_some_and(|live| {
            live.uid == rollout.uid
                && live.hash == rollout.current
                && live.revision == rollout.revision
        });
        if !known {
            let carried = self
                .carried(rollout)
                .map(|live| (live.changed, live.promoted));
            let last = self
                .live
                .as_ref()
                .map(|live| live.promoted.unwrap_or(live.changed));
            // A replica set that is used again was made long ago: its age says nothing about this change. One that was made
            // just now dates the change to a whole second; what was seen as it happened is dated better.
            let changed = created
                .filter(|created| last.is_none_or(|last| *created > last))
                .filter(|created| now.duration_since(*created) > JUST_NOW)
                .unwrap_or(now);
            // What differs in a drill's mark alone is as old as it was.
            let (changed, promoted) = carried.unwrap_or((changed, None));
            self.live = Some(Live {
                uid: rollout.uid.clone(),
                revision: rollout.revision,
                hash: rollout.current.clone(),
                changed,
                promoted,
            });
        }
        if !rollout.stable.is_empty() {
            self.observe_stable(rollout, now);
        }
        before
            != (
                self.live.clone(),
                self.history.len(),
                self.history.last().cloned(),
            )
    }

    /// The workload with the stable release that only this history knows: a Deployment does not say which release was
    /// complete before the one in progress.
    #[must_use]
    pub fn recall<'a>(&self, rollout: &'a Rollout) -> Cow<'a, Rollout> {
        let last = self.history.last().filter(|last| last.uid == rollout.uid);
        match last {
            Some(last) if rollout.is_plain() && rollout.stable.is_empty() => {
                let mut rollout = rollout.clone();
                rollout.stable.clone_from(&last.hash);
                Cow::Owned(rollout)
            }
            _ => Cow::Borrowed(rollout),
        }
    }

    fn observe_stable(&mut self, rollout: &Rollout, now: Timestamp) {
        let first_look = self.history.is_empty();
        let promoted = rollout.stable == rollout.current;
        if let Some(live) = self
            .live
            .as_mut()
            .filter(|live| promoted && live.promoted.is_none())
        {
            // On the very first look the promotion lies in the past, nobody knows how far: the change itself is dated.
            live.promoted = Some(if first_look { live.changed } else { now });
        }
        let stable = self.origin(&rollout.stable).to_owned();
        // What is live is older than the entry: a drill came back, under a revision of its own.
        let changed = self.live.as_ref().map(|live| live.changed);
        let last = self
            .history
            .last_mut()
            .filter(|last| last.until.is_none() && last.hash == stable && last.uid == rollout.uid);
        if let Some(last) = last {
            let as_old = changed.is_some_and(|changed| changed <= last.since);
            if stable != rollout.stable || !promoted || last.revision == rollout.revision {
                return;
            }
            if as_old {
                last.revision = rollout.revision;
                return;
            }
        }
        if let Some(last) = self.history.last_mut().filter(|last| last.until.is_none()) {
            last.until = Some(now);
        }
        self.history.push(Stable {
            uid: rollout.uid.clone(),
            revision: if promoted { rollout.revision } else { 0 },
            hash: stable,
            since: now,
            until: None,
        });
        bound(&mut self.history);
    }

    /// Blames a release, once.
    pub fn blame(&mut self, from: &Release, rollback: &str, now: Timestamp) -> bool {
        if self.blames(&from.hash) {
            return false;
        }
        self.blamed.push(Blame {
            hash: from.hash.clone(),
            revision: from.revision,
            at: now,
            rollback: rollback.to_owned(),
        });
        bound(&mut self.blamed);
        true
    }

    /// Remembers a release that Ripcord made, once.
    pub fn remember_made(&mut self, release: &Release, rollback: &str, now: Timestamp) -> bool {
        if self.made(&release.hash, release.revision).is_some() {
            return false;
        }
        self.made.push(Made {
            hash: release.hash.clone(),
            revision: release.revision,
            at: now,
            rollback: rollback.to_owned(),
        });
        bound(&mut self.made);
        true
    }

    /// Latches the target in the name of a rollback, once.
    pub fn latch(&mut self, rollback: &str, finding: Finding, now: Timestamp) -> bool {
        if self
            .latch
            .as_ref()
            .is_some_and(|latch| latch.rollback == rollback)
        {
            return false;
        }
        self.latch = Some(Latch {
            since: now,
            rollback: rollback.to_owned(),
            finding,
        });
        true
    }

    /// The release that a rollback from the live one returns to: what the policy pins; else the stable one while an
    /// update is in flight, unless it is blamed; else the newest that was stable for long enough and is not blamed. What was
    /// stable before the update of a Deployment is a matter of this history alone. With `bring_up`, an image that the policy pins
    /// needs no replica set.
    ///
    /// # Errors
    /// Why none is known: a person must choose.
    pub fn destination(
        &self,
        target: &Target,
        at: &Snapshot,
        bring_up: bool,
        now: Timestamp,
    ) -> Result<Destination, Finding> {
        let rollout = at.rollout.as_ref().ok_or(Reason::WorkloadMissing)?;
        let found = |hash: &str, chosen: String| Destination {
            release: at.release(rollout, hash),
            chosen,
        };
        if let Some(Pin::Image(image)) = &target.known_good {
            return self.of_image(image, at, rollout, bring_up);
        }
        if let Some(pin) = &target.known_good {
            let set = at.replica_sets.iter().find(|set| match pin {
                Pin::Hash(hash) => set.hash == *hash,
                Pin::Revision(revision) => set.revision == *revision,
                Pin::Image(_) => false,
            });
            let set = set.ok_or_else(|| {
                Reason::NoDestination.because(format!(
                    "the release that the policy pins ({pin}) has no replica set"
                ))
            })?;
            if set.hash == rollout.current {
                return Err(Reason::NoDestination
                    .because("the release that the policy pins is the live one"));
            }
            return Ok(found(&set.hash, format!("the policy pins {pin}")));
        }
        // A drill's release is no update: what was live before it is what is live.
        let update = rollout.in_flight() && !self.same(&rollout.current, &rollout.stable);
        if update && !rollout.is_plain() && !self.blames(&rollout.stable) {
            if at.replica_set(&rollout.stable).is_none() {
                return Err(Reason::NoDestination.because("the stable release has no replica set"));
            }
            return Ok(found(
                &rollout.stable,
                "it is the stable release of the update in flight".to_owned(),
            ));
        }
        let soak = SignedDuration::try_from(target.min_soak).unwrap_or(SignedDuration::MAX);
        let mut blamed = None;
        for past in self.history.iter().rev() {
            if past.uid != rollout.uid || self.same(&past.hash, &rollout.current) {
                continue;
            }
            if self.blames(&past.hash) {
                blamed.get_or_insert(past);
                continue;
            }
            let lasted = past.until.unwrap_or(now).duration_since(past.since);
            if lasted >= soak && at.replica_set(&past.hash).is_some() {
                return Ok(found(
                    &past.hash,
                    format!("it was stable for {}", rough(lasted)),
                ));
            }
        }
        Err(match blamed {
            Some(past) => {
                Reason::DestinationBlamed.because(format!("{} was pulled back itself", past.hash))
            }
            None => Reason::NoDestination.because(format!(
                "no release that still has a replica set was seen stable for {}",
                rough(soak)
            )),
        })
    }
}

impl MemoryStatus {
    /// The release whose container has the image that the policy pins: the newest replica set of it, rather one that was not
    /// pulled back; else one that is to be made of it.
    fn of_image(
        &self,
        image: &Image,
        at: &Snapshot,
        rollout: &Rollout,
        bring_up: bool,
    ) -> Result<Destination, Finding> {
        let has = |set: &&ReplicaSet| {
            let found = template::container(&set.template, &image.container);
            found.is_some_and(|(_, reference)| reference == image.reference)
        };
        let (live, others): (Vec<_>, Vec<_>) = at
            .replica_sets
            .iter()
            .filter(has)
            .partition(|set| set.hash == rollout.current);
        let newest = others
            .into_iter()
            .max_by_key(|set| (!self.blames(&set.hash), set.revision));
        if let Some(set) = newest {
            return Ok(Destination {
                release: at.release(rollout, &set.hash),
                chosen: format!("the policy pins {image}"),
            });
        }
        if !live.is_empty() {
            let said = format!("the live release has the image that the policy pins ({image})");
            return Err(Reason::NoDestination.because(said));
        }
        if !bring_up {
            return Err(Reason::NoDestination.because(format!(
                "no replica set of the image that the policy pins ({image}) is left; a procedure with `restore-image` can \
                 bring it up"
            )));
        }
        let template = at.replica_set(&rollout.current).map(|set| &set.template);
        let found = template.and_then(|it| Some((it, template::container(it, &image.container)?)));
        let Some((template, (place, _))) = found else {
            return Err(Reason::NoDestination.because(format!(
                "the live template has no container {}, which the policy pins an image of",
                image.container
            )));
        };
        let mut images = template::images(template);
        if let Some(other) = images.get_mut(place) {
            other.clone_from(&image.reference);
        }
        Ok(Destination {
            release: Release::to_be_made(rollout, images, image),
            chosen: format!(
                "the policy pins {image}, and no replica set of it is left: nothing in the cluster shows that it exists"
            ),
        })
    }
}

impl std::fmt::Display for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hash(hash) => write!(f, "hash {hash}"),
            Self::Revision(revision) => write!(f, "revision {revision}"),
            Self::Image(image) => write!(f, "{image}"),
        }
    }
}

/// A duration for people, in its two largest units.
#[must_use]
pub fn rough(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..60 => format!("{:.1} s", duration.as_secs_f64().max(0.0)),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

fn bound<T>(list: &mut Vec<T>) {
    if list.len() > KEPT {
        list.drain(..list.len() - KEPT);
    }
}

#[cfg(test)]
#[path = "history/tests.rs"]
pub(crate) mod tests;
