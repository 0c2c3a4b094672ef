//! Health endpoints: each pod of the release that a bad one would be left for, and the shared address.
//!
//! An answer that is not good fails. No answer fails too, unless the person said that this machine cannot reach them.

use std::time::Duration;

use futures_util::future::join_all;

use super::check::{Check, Expected, expect};
use super::ground::Ground;
use super::target::Seen;
use crate::target::snapshot::pods_text;
use crate::target::{Health, Target};

/// What is done where something cannot be reached.
pub(super) const REACH: &str = "see its address and the network policies; where this machine is outside of the cluster's \
     network, run this in a pod of the service, or say --outside";

/// What one of those who were asked answered: whether it is good and what it is, or why there was none.
type Answer = (String, Result<(bool, String), String>);

/// Looks at the health of the release that a bad one would be left for.
pub(super) async fn checks(
    ground: &Ground<'_>,
    target: &Target,
    seen: &Seen,
    also: &[String],
) -> Vec<Check> {
    let Some(health) = &target.health else {
        let asked = expect("health", "each pod is asked for its health");
        let help =
            "declare `health` in the policy, so that a rollback is proved by the application";
        return vec![asked.warning("the target declares no `health`", help)];
    };
    let Some(rollout) = &seen.at.rollout else {
        return Vec::new();
    };
    let back = seen.back(rollout);
    let mut checks = Vec::new();
    for health in paths(health, also) {
        let pods = seen.at.pods_of(&back);
        let pods: Vec<_> = pods
            .map(|pod| (pod.name.clone(), pod.url(health.port, &health.path)))
            .collect();
        let asked = expect(
            health.path.clone(),
            format!("each pod of the release to go back to {}", wanted(&health)),
        );
        let answers = join_all(
            pods.into_iter()
                .map(|(of, url)| ask(ground, &health, of, url)),
        );
        checks.push(judge(asked, &answers.await, ground.outside));
    }
    if let Some(url) = &health.url {
        let asked = expect(
            url.clone(),
            format!("the shared address {}", wanted(health)),
        );
        let answer = ask(ground, health, url.clone(), Some(url.clone())).await;
        checks.push(judge(asked, &[answer], ground.outside));
    }
    checks
}

/// The declared endpoint, and further ones of which the status alone counts.
fn paths(health: &Health, also: &[String]) -> Vec<Health> {
    let further = also.iter().map(|path| Health {
        path: path.clone(),
        pointer: None,
        equals: None,
        url: None,
        ..health.clone()
    });
    std::iter::once(health.clone()).chain(further).collect()
}

fn wanted(health: &Health) -> String {
    match (&health.pointer, &health.equals) {
        (Some(pointer), Some(equals)) => format!("answers 2xx with {equals:?} at {pointer}"),
        (Some(pointer), None) => format!("answers 2xx with something at {pointer}"),
        _ => "answers 2xx".to_owned(),
    }
}

async fn ask(ground: &Ground<'_>, health: &Health, of: String, url: Option<String>) -> Answer {
    let Some(url) = url else {
        return (of, Err("it has no address yet".to_owned()));
    };
    let health = Health {
        timeout: health.timeout.max(Duration::from_secs(1)),
        ..health.clone()
    };
    (of, ground.prober.answer(&url, &health).await)
}

/// What the answers come to. A bad one counts before one that did not come.
fn judge(asked: Expected, answers: &[Answer], outside: bool) -> Check {
    let Some((_, last)) = answers.last() else {
        return asked.failed("there is no pod to ask", "see why the workload has none");
    };
    let all = answers.len();
    let bad = answers.iter().find_map(|(of, answer)| match answer {
        Ok((false, said)) => Some((of, said)),
        _ => None,
    });
    if let Some((of, said)) = bad {
        let good = answers.iter().filter(|(_, it)| matches!(it, Ok((true, _))));
        let found = format!("{of} answers {said}; {} of {all} answer well", good.count());
        return asked.failed(
            found,
            "see the pod's log; a deployment needs a healthy ground",
        );
    }
    let silent = answers
        .iter()
        .find_map(|(of, it)| Some((of, it.as_ref().err()?)));
    match (silent, last) {
        (Some((of, why)), _) if outside => asked.warning(
            format!("not checked: {of}: {why}"),
            "run this in a pod of the service",
        ),
        (Some((of, why)), _) => asked.failed(format!("{of} gives no answer: {why}"), REACH),
        (None, Ok((_, said))) if all == 1 => asked.ok(said.clone()),
        (None, Ok((_, said))) => asked.ok(format!("{} answer {said}", pods_text(all))),
        (None, Err(why)) => asked.failed(why.clone(), REACH),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    fn answer(of: &str, answer: Result<(bool, &str), &str>) -> Answer {
        let answer = answer
            .map(|(good, said)| (good, said.to_owned()))
            .map_err(str::to_owned);
        (of.to_owned(), answer)
    }

    #[test]
    fn every_pod_must_answer_well() {
        let good = || answer("a", Ok((true, "HTTP 200")));
        let bad = || answer("b", Ok((false, "HTTP 503")));
        let silent = || answer("c", Err("connection refused"));
        let cases: &[(Vec<Answer>, bool, Verdict, &str)] = &[
            (
                vec![good(), good()],
                false,
                Verdict::Ok,
                "2 pods answer HTTP 200",
            ),
            (vec![good()], false, Verdict::Ok, "HTTP 200"),
            (
                vec![good(), bad(), silent()],
                true,
                Verdict::Failed,
                "b answers HTTP 503; 1 of 3 answer well",
            ),
            (
                vec![good(), silent()],
                false,
                Verdict::Failed,
                "c gives no answer: connection refused",
            ),
            (
                vec![silent(), good()],
                true,
                Verdict::Warning,
                "not checked: c: connection refused",
            ),
            (vec![], true, Verdict::Failed, "there is no pod to ask"),
        ];
        for (answers, outside, verdict, found) in cases {
            let check = judge(expect("health", "well"), answers, *outside);
            assert_eq!((check.verdict, check.found.as_str()), (*verdict, *found));
        }
    }

    #[test]
    fn of_a_further_endpoint_the_status_alone_counts() {
        let health = Health {
            path: "/health/pinn".into(),
            port: 8000,
            pointer: Some("/overall_status".into()),
            equals: Some("healthy".into()),
            url: Some("http://api/health".into()),
            timeout: Duration::from_secs(2),
        };
        let all = paths(&health, &["/health/pinn/quick".to_owned()]);
        assert_eq!(all[0], health);
        let quick = &all[1];
        assert_eq!(
            (quick.path.as_str(), quick.port),
            ("/health/pinn/quick", 8000)
        );
        assert_eq!(
            (&quick.pointer, &quick.equals, &quick.url),
            (&None, &None, &None)
        );
    }
}
