//! `ripcord drill --execute`: ships the live release once more under a harmless mark, and has the service pull it back.
//!
//! It writes twice, and only what a person could: the mark on the template, and the request. Everything else is the service's.
//! It begins nothing that it was not allowed to end, and it never leaves the mark without a word.

use std::fmt::Display;
use std::io::Write as _;
use std::sync::OnceLock;
use std::time::Instant;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::begin::{begin, facts, left_before, random, refused};
use super::forbidden::{Forbidden, REFUSED};
use super::left::{Marked, left};
use super::stand::{Stand, stand};
use super::{Args, Facts, Output, claim};
use crate::cli::doctor::ground::{Files, Ground};
use crate::cli::reach::{self, Hands, Trouble, trouble};
use crate::cli::{Answer, Exit, Format, watch};
use crate::cluster::Error;
use crate::reason::{Finding, Reason};
use crate::report::text;
use crate::rollback::drill::Seconds;
use crate::rollback::{Phase, Rollback, name};
use crate::target::drill::MARK;
use crate::target::effect::EffectKind;
use crate::target::{Release, Snapshot, Target};

/// How long a mark whose answer was lost is looked for: the API server gives a webhook no longer.
const LATE: std::time::Duration = std::time::Duration::from_secs(30);
/// How often the workload is looked at.
const LOOK: std::time::Duration = std::time::Duration::from_millis(200);

/// A drill that may begin.
struct Drill<'a> {
    args: &'a Args,
    ground: &'a Ground<'a>,
    target: &'a Target,
    hands: Hands,
    /// The release that is live before it, and after it.
    before: Release,
    id: String,
    /// The name of the request.
    name: String,
    /// The request, once it was made.
    asked: OnceLock<Rollback>,
}

/// Why a drill comes to no end of its own, after its mark may have been written.
type Midway = String;

pub(super) async fn run(args: &Args, files: &Files) -> Result<Answer, Trouble> {
    let named = [args.target.clone()];
    let ground = Ground::of(&args.who, files, &named).await?;
    let Some(target) = ground.targets.first().copied() else {
        return Err(Trouble::new(Exit::Unknown, "the policy has no such target"));
    };
    let facts = facts(&ground, target).await?;
    let begun = if args.put_back {
        left_before(&facts)
    } else {
        begin(&ground, target, &facts).await
    };
    let (before, id) = match begun {
        Ok(begun) => begun,
        Err(finding) => return Ok(refused(&finding)),
    };
    // That of the drill itself can be taken.
    let more = if args.put_back {
        format!("-{}", random())
    } else {
        String::new()
    };
    let drill = Drill {
        hands: Hands {
            cluster: ground.cluster.clone(),
            namespace: target.workload.namespace.clone(),
        },
        name: name::drill(&target.name, &format!("{id}{more}")),
        args,
        ground: &ground,
        target,
        before,
        id,
        asked: OnceLock::new(),
    };
    drill.run(&facts).await
}

// === impl Drill ===

impl Drill<'_> {
    async fn run(&self, facts: &Facts) -> Result<Answer, Trouble> {
        // From here on nothing ends it without a word.
        let heard = (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
        );
        let (Ok(mut interrupt), Ok(mut terminate)) = heard else {
            return Err(Trouble::new(Exit::Failed, "no signal can be heard of"));
        };
        if !self.args.put_back {
            if let Err(finding) = self.rehearsed(facts).await? {
                return Ok(refused(&finding));
            }
            if let Err(midway) = self.marked(facts).await? {
                return Ok(self.stopped(&midway).await);
            }
        }
        let done = tokio::select! {
            done = self.taken_back() => done,
            _ = interrupt.recv() => Ok(Err("it was interrupted".to_owned())),
            _ = terminate.recv() => Ok(Err("it was told to end".to_owned())),
        };
        Ok(match done {
            Ok(Ok(last)) => self.over(&last).await,
            Ok(Err(midway)) => self.stopped(&midway).await,
            // What failed is said, and what it leaves.
            Err(trouble) => {
                let mut answer = self.stopped("").await;
                answer.err = format!("{}{}", trouble.answer().err, answer.err);
                answer
            }
        })
    }

    /// Whether both writes could be made, before one of them is.
    async fn rehearsed(&self, facts: &Facts) -> Result<Result<(), Finding>, Trouble> {
        let namespace = Some(self.hands.namespace.as_str());
        let Some(rollout) = &facts.fresh.at.rollout else {
            return Ok(Err(Reason::WorkloadMissing.into()));
        };
        let workload = &self.target.workload;
        let tried = self
            .hands
            .cluster
            .mark(workload, rollout, &self.id, true)
            .await;
        if let Err(error) = tried {
            return Err(self.unmarkable(&error).await);
        }
        let request = self.request(self.before.clone());
        let tried = self.hands.cluster.request(&request, true).await;
        let tried = tried.map_err(|error| trouble(error, "create", "rollbacks", namespace))?;
        // A definition from before drills takes the word away, and the release would be blamed.
        if !tried.spec.drill {
            let said = "the definitions in the cluster do not know drills: ripcord crd";
            return Ok(Err(Reason::DrillUnfit.because(said)));
        }
        Ok(Ok(()))
    }

    async fn unmarkable(&self, error: &Error) -> Trouble {
        let workload = &self.target.workload;
        let again = || "try again".to_owned();
        let (exit, help) = match error {
            Error::Forbidden(_) => {
                // The mark goes into the template, as one that is restored does.
                let effect = EffectKind::RestoreTemplate;
                let why = Forbidden::ask(&self.hands.cluster, workload, effect);
                match why.await {
                    Forbidden::KeptOut => (Exit::Failed, REFUSED.to_owned()),
                    Forbidden::Lacking | Forbidden::Unknown(_) => {
                        let namespace = &workload.namespace;
                        let right = "you need the right to patch the workload in namespace";
                        (Exit::Forbidden, format!("{right} {namespace}"))
                    }
                }
            }
            Error::Unavailable(_) => (Exit::NoCluster, again()),
            Error::Precondition(_) => (Exit::Failed, again()),
            _ => (Exit::Failed, REFUSED.to_owned()),
        };
        let said = format!("{workload} cannot be marked: {error}");
        Trouble::new(exit, said).help(format!("nothing was touched; {help}"))
    }

    /// Writes the mark. What becomes of a call without an answer is looked up.
    async fn marked(&self, facts: &Facts) -> Result<Result<(), Midway>, Trouble> {
        let Some(rollout) = &facts.fresh.at.rollout else {
            return Ok(Err("there is no workload".to_owned()));
        };
        let (workload, cluster) = (&self.target.workload, &self.hands.cluster);
        if let Err(error) = cluster.mark(workload, rollout, &self.id, false).await {
            let lost = matches!(error, Error::Unavailable(_));
            let ours = Marked::Yes(self.id.clone());
            match self.arrived(lost).await {
                Marked::No if !lost => return Err(self.unmarkable(&error).await),
                Marked::No => {
                    return Ok(Err(format!(
                        "the mark: {error}; it has not come within {LATE:?}, and may come yet: then ripcord drill --put-back \
                         --target {} takes it away",
                        self.target.name
                    )));
                }
                marked if marked != ours => return Ok(Err(format!("the mark: {error}"))),
                _ => {}
            }
        }
        self.say(&format!(
            "marked     {workload} with {MARK}={}; {} is live before it",
            self.id, self.before
        ));
        Ok(Ok(()))
    }

    /// What is known of the mark after a call that failed. One whose answer was lost may still be carried out.
    async fn arrived(&self, lost: bool) -> Marked {
        let began = Instant::now();
        loop {
            let marked = Marked::from(self.hands.cluster.marked(&self.target.workload).await);
            if marked != Marked::No || !lost || began.elapsed() > LATE {
                return marked;
            }
            sleep(LOOK).await;
        }
    }

    /// Waits until the drill's release stands, has the service take it back, and looks on until it has.
    async fn taken_back(&self) -> Result<Result<Rollback, Midway>, Trouble> {
        let live = match self.stands().await {
            Ok(live) => live,
            Err(midway) => return Ok(Err(midway)),
        };
        let request = self.request(live);
        let made = self.hands.cluster.request(&request, false).await;
        let namespace = Some(self.hands.namespace.as_str());
        let made = made.map_err(|error| trouble(error, "create", "rollbacks", namespace))?;
        let _ = self.asked.set(made.clone());
        self.say(&format!("asked for  {}", made.full_name()));
        let (output, patience) = (self.format(), self.args.patience);
        Ok(Ok(watch::follow(&self.hands, made, output, patience).await?))
    }

    async fn stands(&self) -> Result<Release, Midway> {
        let began = Instant::now();
        let mut told = false;
        loop {
            let (workload, clock) = (&self.target.workload, &self.ground.clock);
            let at = self.hands.cluster.snapshot(workload, clock).await;
            let late = began.elapsed() > self.args.stands_within;
            let waits = match at {
                Ok(at) => match stand(&at, &self.before, &self.id, began.elapsed()) {
                    Stand::Stands(live, how) => {
                        self.say(&format!("shipped    {live} {how}"));
                        return Ok(live);
                    }
                    Stand::Lost(said) => return Err(said),
                    Stand::Runs(live, said) if late || self.args.put_back => {
                        self.say(&format!("shipped    {said}; it is pulled back as it is"));
                        return Ok(live);
                    }
                    Stand::Runs(_, said) | Stand::Waits(said) => said,
                },
                Err(error) => error.to_string(),
            };
            if late {
                return Err(format!("it does not stand: {waits}"));
            }
            if !told {
                self.say(&format!("waiting    {waits}"));
                told = true;
            }
            sleep(LOOK).await;
        }
    }

    /// How a drill ended whose rollback did, or is no longer looked at.
    async fn over(&self, last: &Rollback) -> Answer {
        let state = last.state();
        let received = last.received().unwrap_or_else(reach::now);
        let seconds = Seconds::of(&state.run, received);
        let marked = Marked::from(self.hands.cluster.marked(&self.target.workload).await);
        let left = left(&marked, self.target, Some(last));
        let live = self.live().await;
        let back = live
            .as_ref()
            .is_some_and(|live| live.hash == self.before.hash);
        let phase = last.phase();
        let exit = match (&left, phase.ended()) {
            (_, false) => Exit::StillOpen,
            (Some(_), true) => Exit::DrillLeft,
            (None, true) if phase == Phase::Succeeded && !back => Exit::RollbackSuperseded,
            (None, true) => reach::exit_of(phase),
        };
        let shown = live.map_or_else(|| "unknown".to_owned(), |live| live.to_string());
        let said = match exit {
            Exit::Done => format!("ok         {shown} is live as before; {seconds}"),
            Exit::StillOpen => format!("not over   {} goes on", last.full_name()),
            _ => format!(
                "not ok     {} ended {}; live is {shown}, before was {}; {seconds}",
                last.full_name(),
                phase.name(),
                self.before
            ),
        };
        if self.format() == Format::Json {
            let line = json!({ "drill": {
                "id": self.id, "target": self.target.name, "rollback": last.full_name(), "phase": phase.name(),
                "ok": exit == Exit::Done, "before": self.before.hash, "seconds": seconds, "left": left,
            }});
            print(&line);
        } else {
            print(&text::clean(&said));
        }
        let err = left.map_or_else(String::new, |left| format!("{left}\n"));
        Answer::failed(exit, err)
    }

    async fn live(&self) -> Option<Release> {
        let (workload, clock) = (&self.target.workload, &self.ground.clock);
        let at: Snapshot = self.hands.cluster.snapshot(workload, clock).await.ok()?;
        at.live()
    }

    /// How a drill ended that came to no end of its own.
    async fn stopped(&self, why: &str) -> Answer {
        let cluster = &self.hands.cluster;
        let marked = Marked::from(cluster.marked(&self.target.workload).await);
        let open = match self.asked.get() {
            Some(asked) => match cluster.rollback(asked.namespace(), asked.name()).await {
                Ok(found) => Some(found),
                Err(_) => Some(asked.clone()),
            },
            None => None,
        };
        let mut said = String::new();
        if !why.is_empty() {
            said = format!("error: the drill did not come to its end: {why}\n");
        }
        if let Some(left) = left(&marked, self.target, open.as_ref()) {
            return Answer::failed(Exit::DrillLeft, format!("{said}{left}\n"));
        }
        let nothing = match open.filter(|it| !it.phase().ended()) {
            Some(open) => format!("the mark is gone; {} goes on", open.full_name()),
            None => "the mark is gone, and nothing is left".to_owned(),
        };
        Answer::failed(Exit::Failed, format!("{said}{nothing}\n"))
    }

    /// The request that takes this drill's release back.
    fn request(&self, live: Release) -> Rollback {
        let by = self.ground.by.as_str();
        let live = Release {
            images: Vec::new(),
            ..live
        };
        let mut request = claim(self.args, self.target, Some(live), by, &self.name);
        request.spec.drill = true;
        request.spec.reason = Some(format!("drill {}", self.id));
        request
    }

    fn format(&self) -> Format {
        match self.args.output {
            Output::Json => Format::Json,
            Output::Text | Output::Markdown => Format::Text,
        }
    }

    /// Tells a person how far it is.
    fn say(&self, line: &str) {
        if self.format() == Format::Text {
            print(&text::clean(line));
        }
    }
}

/// Prints a line at once; a reader who has gone away is no failure.
fn print(line: &impl Display) {
    let mut out = anstream::stdout();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}
