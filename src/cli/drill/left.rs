//! What a drill leaves where it did not come to its end, and how to put it back: in words, and in commands that can be copied.
//!
//! It does nothing itself. What it cannot know it says so.

use serde_json::json;

use crate::cluster::Error;
use crate::rollback::Rollback;
use crate::target::drill::MARK;
use crate::target::{Kind, Target, Workload};

/// What is known of the mark.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Marked {
    /// The template bears none.
    No,
    /// The template bears that of this drill.
    Yes(String),
    /// Nobody could look.
    Unknown(String),
}

impl From<Result<Option<String>, Error>> for Marked {
    fn from(read: Result<Option<String>, Error>) -> Self {
        match read {
            Ok(None) => Self::No,
            Ok(Some(id)) => Self::Yes(id),
            Err(error) => Self::Unknown(error.to_string()),
        }
    }
}

/// What is left, and what to do about it; none where nothing is.
pub(super) fn left(marked: &Marked, target: &Target, open: Option<&Rollback>) -> Option<String> {
    let workload = &target.workload;
    let mut lines = Vec::new();
    match marked {
        Marked::No => return None,
        Marked::Yes(id) => lines.push(format!(
            "left: the template of {workload} bears {MARK}={id}; its release is live, or will be"
        )),
        Marked::Unknown(said) => lines.push(format!(
            "left: {workload} may bear the mark {MARK}; nobody could look: {said}"
        )),
    }
    if let Some(open) = open.filter(|it| !it.phase().ended()) {
        let name = open.full_name();
        lines.push(format!(
            "the service goes on with {name}, which takes it away: ripcord watch {name}"
        ));
    } else {
        let name = &target.name;
        lines.push(format!(
            "to put it back: ripcord drill --put-back --target {name}"
        ));
    }
    if let Marked::Yes(id) = marked {
        let command = by_hand(workload, id);
        lines.push(format!("or, where the service does not: {command}"));
        if workload.kind == Kind::Rollout {
            lines.push(format!(
                "and, where the drill's release was promoted: kubectl argo rollouts promote {} -n {} --full",
                workload.name, workload.namespace
            ));
        }
    }
    Some(lines.join("\n"))
}

/// The command that takes this drill's mark away, and nothing else.
fn by_hand(workload: &Workload, id: &str) -> String {
    let path = format!(
        "/spec/template/metadata/annotations/{}",
        MARK.replace('/', "~1")
    );
    let patch = json!([
        { "op": "test", "path": path, "value": id },
        { "op": "remove", "path": path },
    ]);
    let kind = match workload.kind {
        Kind::Rollout => "rollout.argoproj.io",
        Kind::Deployment => "deployment.apps",
        // None is drilled with an effect.
        Kind::Service => "service",
    };
    format!(
        "kubectl patch {kind} {} -n {} --type json -p '{patch}'",
        workload.name, workload.namespace
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::decision::tests::{rollback, target};
    use crate::rollback::Phase;

    #[test]
    fn what_is_left_is_said_with_the_commands_that_put_it_back() {
        let target = target();
        assert_eq!(left(&Marked::No, &target, None), None);
        let said = left(&Marked::Yes("d1".into()), &target, None).unwrap();
        for words in [
            "the template of Rollout prod/x bears ripcord.dev/drill=d1",
            "ripcord drill --put-back --target api",
            "kubectl patch rollout.argoproj.io x -n prod --type json -p '[",
            r#"{"op":"test","path":"/spec/template/metadata/annotations/ripcord.dev~1drill","value":"d1"}"#,
            "kubectl argo rollouts promote x -n prod --full",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }

    #[test]
    fn what_the_service_still_does_is_left_to_it_and_what_nobody_saw_is_not_denied() {
        let mut open = rollback(1, Phase::Running);
        open.metadata.namespace = Some("prod".into());
        let said = left(&Marked::Yes("d1".into()), &target(), Some(&open)).unwrap();
        assert!(said.contains("ripcord watch prod/x-r2-bad"), "{said}");
        assert!(!said.contains("--put-back"), "{said}");
        let ended = rollback(1, Phase::Declined);
        let said = left(&Marked::Yes("d1".into()), &target(), Some(&ended)).unwrap();
        assert!(said.contains("--put-back"), "{said}");
        let said = left(&Marked::Unknown("no answer".into()), &target(), None).unwrap();
        assert!(said.contains("may bear the mark"), "{said}");
    }
}
