//! The names of rollbacks. The name of an acting rollback is the lock: the API server answers 409 to the second.

use sha2::{Digest, Sha256};

use crate::target::Release;

/// How many rollbacks of one pod template may change anything within a day, whatever revisions it was deployed under: an owner that puts
/// it back again and again must not be fought for ever.
pub const CAP: usize = 3;
/// How many rollbacks one release can have in all, with those that were refused before anything was touched.
pub const NUMBERS: u32 = 50;
/// The longest name that the API server takes.
const LONGEST: usize = 253;
/// Room for `-shadow` or a number.
const SUFFIX: usize = 8;

/// The name of the `number`-th rollback of a release: `<workload>-r<revision>-<hash>`, then `-2`, `-3` ...
#[must_use]
pub fn lock(workload: &str, release: &Release, number: u32) -> String {
    let base = base(workload, release);
    if number <= 1 {
        base
    } else {
        format!("{base}-{number}")
    }
}

/// The name of the shadow of a release's rollback: it blocks nothing.
#[must_use]
pub fn shadow(workload: &str, release: &Release) -> String {
    format!("{}-shadow", base(workload, release))
}

/// The name of the record of alerts for a workload whose live release has no identity: one for each state of it, however
/// many alerts come.
#[must_use]
pub fn unidentified(workload: &str, state: &str) -> String {
    format!("{}-alert-{}", fit(workload, LONGEST - 32), digest(state))
}

/// The name of the record of alerts that lead to no workload: one a day for each trigger and each reason.
#[must_use]
pub fn unplaced(trigger: &str, reason: &str, day: &str) -> String {
    format!("unplaced-{day}-{}", digest(&format!("{trigger} {reason}")))
}

/// The name of a person's own request: nobody else's lock.
#[must_use]
pub fn by_hand(target: &str, id: &str) -> String {
    let tail = format!("-by-hand-{id}");
    format!("{}{tail}", fit(target, LONGEST - tail.len().min(64)))
}

/// The name of a drill's request: it blocks nothing.
#[must_use]
pub fn drill(target: &str, id: &str) -> String {
    let tail = format!("-drill-{id}");
    format!("{}{tail}", fit(target, LONGEST - tail.len().min(64)))
}

fn base(workload: &str, release: &Release) -> String {
    let tail = format!("-r{}-{}", release.revision, release.hash);
    format!(
        "{}{tail}",
        fit(workload, LONGEST - SUFFIX - tail.len().min(64))
    )
}

/// A name cut to fit; what was cut is replaced by a digest of the whole, so that two long names stay two.
fn fit(name: &str, longest: usize) -> String {
    if name.len() <= longest {
        return name.to_owned();
    }
    let kept: String = name.chars().take(longest.saturating_sub(9)).collect();
    format!("{}-{}", kept.trim_end_matches(['-', '.']), digest(name))
}

/// Eight hexadecimal digits.
fn digest(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let head = hash.iter().take(4);
    format!(
        "{:08x}",
        head.fold(0_u32, |all, byte| all << 8 | u32::from(*byte))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        Release {
            uid: "u".into(),
            revision: 7,
            hash: "7dc687bd8d".into(),
            images: vec![],
        }
    }

    #[test]
    fn the_first_has_no_number() {
        assert_eq!(lock("api", &release(), 1), "api-r7-7dc687bd8d");
        assert_eq!(lock("api", &release(), 2), "api-r7-7dc687bd8d-2");
        assert_eq!(shadow("api", &release()), "api-r7-7dc687bd8d-shadow");
    }

    #[test]
    fn long_names_fit_and_stay_apart() {
        let long = |last: char| format!("{}{last}", "a".repeat(252));
        let names = [
            lock(&long('x'), &release(), 5),
            lock(&long('y'), &release(), 5),
        ];
        assert_ne!(names[0], names[1]);
        for name in names {
            assert!(
                name.len() <= 253 && name.ends_with("-r7-7dc687bd8d-5"),
                "{name}"
            );
        }
    }
}
