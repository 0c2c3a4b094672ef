//! What the outbox remembers of one rollback, and what each answer makes of it. No call is made here.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{LedgerError, Outcome};
use crate::report::reporter::{Failure, Kind, Letter, Receipt, Remedy, Reporter};

/// The longest pause between two attempts.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// How long until something is tried again that a person must mend first.
const UNTIL_MENDED: Duration = Duration::from_secs(600);
/// How long until a message goes out once more of which nobody knows whether it was taken, where there is nothing harmless to
/// ask first: soon, where a connection broke, and then later, where a server is ill for a while. It had better come twice than
/// never, but each time could make one more of it: after these it is given up.
const REPEATS: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(120)];

/// What is remembered of one rollback while this process reports.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and all can hold at once"
)]
pub(super) struct Entry<R: Reporter> {
    /// What was told, as far as this process knows; ahead of the object until it is written.
    pub(super) record: R::Record,
    /// Whether the object does not say so yet. Nothing more is sent until it does.
    pub(super) unwritten: bool,
    /// Whether anything can be begun for it.
    pub(super) standing: Standing,
    /// Whether the other side must answer something harmless first, because a message may or may not exist.
    pub(super) ask_first: bool,
    /// The versions of everything that the story is made of, when nothing was left to tell.
    pub(super) settled: Option<Version>,
    /// Whether something is to be told now that was not taken yet.
    pub(super) untold: bool,
    /// When the parent was last posted or edited.
    pub(super) edited: Option<Instant>,
    /// When it last had a turn in its channel.
    pub(super) turn: Option<Instant>,
    /// No call before this.
    pub(super) call_after: Option<Instant>,
    /// No write before this.
    pub(super) write_after: Option<Instant>,
    /// The keys of what was refused for good, or may have been taken.
    pub(super) refused: Vec<String>,
    /// Whether it is because of one message alone that no call is made now.
    alone: bool,
    failures: u32,
    /// In how many calls it stayed open whether a message was taken, by its key.
    doubts: HashMap<Option<String>, usize>,
    anew: u32,
    unwritable: u32,
}

/// Whether anything can be begun for a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It can.
    Idle,
    /// A call or a write is under way.
    Busy,
    /// Its object is gone.
    Gone,
}

/// The versions of a rollback, of its target's memory and of the policy.
pub(super) type Version = (Option<String>, Option<String>, String);

// === impl Entry ===

impl<R: Reporter> Entry<R> {
    pub(super) fn new(record: R::Record) -> Self {
        Self {
            record,
            unwritten: false,
            standing: Standing::Idle,
            ask_first: false,
            settled: None,
            untold: false,
            edited: None,
            turn: None,
            call_after: None,
            write_after: None,
            refused: Vec::new(),
            alone: false,
            failures: 0,
            doubts: HashMap::new(),
            anew: 0,
            unwritable: 0,
        }
    }

    /// A message was taken.
    pub(super) fn delivered(
        &mut self,
        letter: &Letter<R::Content>,
        receipt: Option<Receipt>,
        now: Instant,
    ) {
        R::sent(&mut self.record, letter, receipt);
        self.untold = false;
        if letter.kind != Kind::Follows {
            self.edited = Some(now);
        }
        *R::refused(&mut self.record) = None;
        self.unwritten = true;
        self.failures = 0;
        self.doubts.remove(&letter.key);
        self.call_after = None;
    }

    /// A message may have been taken, and is not sent again: it counts as told, and the record says why.
    pub(super) fn given_up(&mut self, letter: &Letter<R::Content>, failure: &Failure) {
        R::sent(&mut self.record, letter, None);
        self.untold = false;
        let times = REPEATS.len() + 1;
        let said = format!("{failure}; sent {times} times, and not again");
        *R::refused(&mut self.record) = Some(said);
        self.unwritten = true;
    }

    /// The harmless question was answered.
    pub(super) fn answered(&mut self) {
        self.ask_first = false;
        self.failures = 0;
    }

    /// Whether what has this key can go, although another one waits.
    pub(super) fn passes(&self, key: Option<&str>) -> bool {
        let known = |key: &str| self.refused.iter().any(|it| it == key);
        self.alone && key.is_some_and(|key| !known(key))
    }

    /// A call failed. `kind` and `key` are those of what was to be sent, or nothing for the harmless question.
    pub(super) fn failed(
        &mut self,
        kind: Option<Kind>,
        key: Option<&str>,
        failure: &Failure,
        now: Instant,
    ) -> Outcome {
        let posts = kind.is_some_and(Kind::posts);
        let leans = kind.is_some_and(Kind::leans);
        match failure.remedy {
            Remedy::Wait(pause) => {
                // The place is paused as a whole; only the harmless question has none.
                if kind.is_none() {
                    self.waits(now + pause);
                }
                Outcome::Limited
            }
            Remedy::PostAnew if leans => {
                R::lost(&mut self.record);
                self.anew += 1;
                self.waits(now + backoff(self.anew));
                Outcome::Anew
            }
            Remedy::MayHaveHappened if posts => self.doubted(key, now),
            Remedy::Retry | Remedy::MayHaveHappened | Remedy::PostAnew => {
                self.failures += 1;
                self.waits(now + backoff(self.failures));
                Outcome::Retried
            }
            Remedy::Fix => {
                let refused = Some(failure.to_string());
                let before = R::refused(&mut self.record);
                self.unwritten |= *before != refused;
                *before = refused;
                self.waits_alone(key, now + UNTIL_MENDED);
                Outcome::Refused
            }
        }
    }

    /// It stayed open whether a message was taken. Each time that it is sent again could make one more of it.
    fn doubted(&mut self, key: Option<&str>, now: Instant) -> Outcome {
        let doubts = self.doubts.entry(key.map(str::to_owned)).or_default();
        let pause = match (R::ASKS, *doubts) {
            (true, 0) => Some(backoff(1)),
            // The other side answers what is harmless, and not this: then it is left for long.
            (true, _) => Some(UNTIL_MENDED),
            (false, before) => REPEATS.get(before).copied(),
        };
        *doubts += 1;
        self.ask_first = R::ASKS;
        let Some(pause) = pause else {
            self.call_after = None;
            return Outcome::GivenUp;
        };
        self.waits_alone(key, now + pause);
        Outcome::Unknown
    }

    /// Nothing is sent before this.
    fn waits(&mut self, until: Instant) {
        self.alone = false;
        self.call_after = Some(until);
    }

    /// What has this key is not sent before this, and comes last then. It keeps nothing else waiting.
    fn waits_alone(&mut self, key: Option<&str>, until: Instant) {
        let known = |it: &&str| self.refused.iter().all(|key| key != it);
        self.refused.extend(key.filter(known).map(str::to_owned));
        self.alone = true;
        self.call_after = Some(until);
    }

    /// The ledger took the report, or did not.
    pub(super) fn written(&mut self, result: &Result<(), LedgerError>, now: Instant) {
        match result {
            Ok(()) => {
                self.unwritten = false;
                self.unwritable = 0;
                self.write_after = None;
            }
            Err(LedgerError::Gone) => self.standing = Standing::Gone,
            Err(LedgerError::Failed(_)) => {
                self.unwritable += 1;
                self.write_after = Some(now + backoff(self.unwritable));
            }
        }
    }
}

/// One second, then twice as long each time, up to a minute.
fn backoff(times: u32) -> Duration {
    let doubled = 1_u64 << times.saturating_sub(1).min(6);
    Duration::from_secs(doubled).min(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::once::Each;
    use crate::report::slack::{InSlack, SlackError};
    use crate::report::webhook::Webhook;
    use crate::rollback::object::NoticeReport;

    fn entry() -> Entry<InSlack> {
        Entry::new(crate::rollback::object::SlackReport::default())
    }

    #[test]
    fn what_was_refused_keeps_nothing_else_waiting_and_what_is_tried_again_does() {
        let (now, mut entry) = (Instant::now(), entry());
        let refused = Failure::new(Remedy::Fix, "400");
        entry.failed(Some(Kind::Opens), Some("started"), &refused, now);
        assert!(entry.passes(Some("needed")));
        assert!(!entry.passes(Some("started")));
        let slow = Failure::new(Remedy::Wait(Duration::from_secs(5)), "429");
        entry.failed(Some(Kind::Opens), Some("needed"), &slow, now);
        assert!(entry.passes(Some("needed")), "only its place waits");
        let down = Failure::new(Remedy::Retry, "503");
        entry.failed(Some(Kind::Opens), Some("needed"), &down, now);
        assert!(!entry.passes(Some("needed")), "not before its time");
    }

    #[test]
    fn the_pause_doubles_up_to_a_minute() {
        let pauses: Vec<u64> = (1..=9).map(|times| backoff(times).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_second_doubt_about_a_message_is_left_for_long() {
        let now = Instant::now();
        let unknown = SlackError::Http { status: 502 }.into();
        let mut entry = entry();
        let failed = entry.failed(Some(Kind::Opens), None, &unknown, now);
        assert_eq!((failed, entry.ask_first), (Outcome::Unknown, true));
        assert_eq!(entry.call_after, Some(now + Duration::from_secs(1)));
        entry.answered();
        entry.failed(Some(Kind::Opens), None, &unknown, now);
        assert_eq!(entry.call_after, Some(now + UNTIL_MENDED));
    }

    #[test]
    fn where_nothing_can_be_asked_a_notice_in_doubt_is_repeated_twice_and_given_up() {
        let now = Instant::now();
        let mut entry: Entry<Each<Webhook>> = Entry::new(NoticeReport::default());
        let unknown = Failure::new(Remedy::MayHaveHappened, "no answer");
        let mut doubt = |key: &str| {
            let outcome = entry.failed(Some(Kind::Opens), Some(key), &unknown, now);
            let pause = entry.call_after.map(|after| after - now);
            assert!(!entry.ask_first && !entry.passes(Some(key)));
            assert!(entry.passes(Some("another")), "it does not wait for {key}");
            (outcome, pause.map(|pause| pause.as_secs()))
        };
        assert_eq!(doubt("started"), (Outcome::Unknown, Some(5)));
        assert_eq!(doubt("started"), (Outcome::Unknown, Some(120)));
        // Each notice has doubts of its own.
        assert_eq!(doubt("needed"), (Outcome::Unknown, Some(5)));
        assert_eq!(doubt("started"), (Outcome::GivenUp, None));
    }

    #[test]
    fn an_edit_in_doubt_is_simply_sent_again() {
        let now = Instant::now();
        let mut entry = entry();
        let unknown = SlackError::Http { status: 502 }.into();
        let failed = entry.failed(Some(Kind::Edits), None, &unknown, now);
        assert_eq!((failed, entry.ask_first), (Outcome::Retried, false));
    }

    #[test]
    fn a_refusal_is_recorded_once() {
        let now = Instant::now();
        let mut entry = entry();
        let refused = SlackError::Http { status: 404 }.into();
        entry.failed(Some(Kind::Opens), None, &refused, now);
        assert!(entry.unwritten && entry.record.refused.is_some());
        entry.written(&Ok(()), now);
        entry.failed(Some(Kind::Opens), None, &refused, now);
        assert!(!entry.unwritten, "the same refusal needs no second write");
    }
}
