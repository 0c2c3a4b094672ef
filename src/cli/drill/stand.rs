//! Whether a drill's release stands where it can be pulled back from, by one look at the workload.
//!
//! It decides and waits for nobody.

use std::time::Duration;

use crate::target::{Release, Snapshot};

/// How long an update may run on without a pause before it is pulled back as it is.
const RUNS_ON: Duration = Duration::from_secs(10);

/// What one look shows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stand {
    /// The controller has not come as far.
    Waits(String),
    /// The drill's release is live: which, and where it stands.
    Stands(Release, &'static str),
    /// It is live and on its way.
    Runs(Release, String),
    /// Somebody else's release, or none, is live.
    Lost(String),
}

/// Where the release of this drill stands, so long after it was shipped.
pub(super) fn stand(at: &Snapshot, before: &Release, id: &str, passed: Duration) -> Stand {
    let rollout = at.rollout.as_ref();
    let Some(rollout) = rollout.filter(|it| it.uid == before.uid && !it.deleting) else {
        return Stand::Lost("the workload was deleted or replaced".to_owned());
    };
    if !rollout.observed {
        let said = format!("generation {} is not observed yet", rollout.generation);
        return Stand::Waits(said);
    }
    if rollout.current == before.hash {
        return match &rollout.drill {
            Some(found) if found == id => {
                Stand::Waits("the controller has not looked at the template yet".to_owned())
            }
            _ => Stand::Lost("the mark was taken away".to_owned()),
        };
    }
    let live = at.release(rollout, &rollout.current);
    if at.drilled().is_none_or(|twin| twin.id != id) {
        return Stand::Lost(format!("{live} is live, which is not this drill's"));
    }
    // The stable release of a Deployment is known only once an update of it is complete.
    let ready = at.pods_of(&live.hash).any(|pod| pod.ready);
    if rollout.stable == rollout.current && rollout.phase == "Healthy" {
        Stand::Stands(live, "is promoted")
    } else if rollout.phase == "Paused" && !rollout.paused {
        Stand::Stands(live, "waits at a pause")
    } else if ready && passed >= RUNS_ON {
        Stand::Stands(live, "serves, and is on its way")
    } else {
        let said = format!("{live} is live, {} {}", rollout.phase, rollout.message);
        Stand::Runs(live, said.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::drill::tests::drilled;
    use crate::target::snapshot::tests::{in_flight, restored};
    use crate::target::workload::Rollout;

    fn good() -> Release {
        restored().live().unwrap()
    }

    fn looked(change: impl Fn(&mut Rollout), passed: u64) -> Stand {
        let mut at = drilled();
        at.pods[2].ready = true;
        change(at.rollout.as_mut().unwrap());
        stand(&at, &good(), "d1", Duration::from_secs(passed))
    }

    #[test]
    fn it_stands_at_a_pause_or_promoted_and_is_not_waited_for_for_ever() {
        let paused = looked(|_| {}, 0);
        assert!(matches!(paused, Stand::Stands(live, "waits at a pause") if live.hash == "bad"));
        let promoted = |it: &mut Rollout| {
            it.stable = "bad".into();
            it.phase = "Healthy".into();
        };
        assert!(matches!(
            looked(promoted, 0),
            Stand::Stands(_, "is promoted")
        ));
        let on_its_way = |it: &mut Rollout| it.phase = "Progressing".into();
        assert!(matches!(looked(on_its_way, 9), Stand::Runs(..)));
        assert!(matches!(looked(on_its_way, 10), Stand::Stands(..)));
    }

    #[test]
    fn what_the_controller_has_not_seen_is_waited_for() {
        assert!(matches!(
            looked(|it| it.observed = false, 0),
            Stand::Waits(_)
        ));
        assert!(matches!(
            looked(|it| it.current = "good".into(), 0),
            Stand::Waits(_)
        ));
    }

    #[test]
    fn what_somebody_else_did_is_not_pulled_back() {
        let taken_away = |it: &mut Rollout| {
            it.current = "good".into();
            it.drill = None;
        };
        assert!(matches!(looked(taken_away, 0), Stand::Lost(_)));
        assert!(matches!(
            looked(|it| it.uid = "other".into(), 0),
            Stand::Lost(_)
        ));
        // A deploy, and another drill.
        let other = stand(&in_flight(), &good(), "d1", Duration::ZERO);
        assert!(matches!(other, Stand::Lost(_)));
        let other = stand(&drilled(), &good(), "d2", Duration::ZERO);
        assert!(matches!(other, Stand::Lost(_)));
    }
}
