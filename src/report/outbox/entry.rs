//! What the outbox remembers of one rollback, and what each answer makes of it. No call is made here.

use std::time::Duration;

use tokio::time::Instant;

use super::{LedgerError, Outcome};
use crate::report::reporter::{Failure, Kind, Letter, Receipt, Remedy, Reporter};

/// The longest pause between two attempts.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// How long until something is tried again that a person must mend first.
const UNTIL_MENDED: Duration = Duration::from_secs(600);

/// What is remembered of one rollback while this process reports.
#[derive(Debug)]
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
    /// When the parent was last posted or edited.
    pub(super) edited: Option<Instant>,
    /// When it last had a turn in its channel.
    pub(super) turn: Option<Instant>,
    /// No call before this.
    pub(super) call_after: Option<Instant>,
    /// No write before this.
    pub(super) write_after: Option<Instant>,
    /// The keys of what was refused for good.
    pub(super) refused: Vec<String>,
    /// Whether it is for a person to mend something that no call is made now.
    mending: bool,
    failures: u32,
    unknowns: u32,
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
            edited: None,
            turn: None,
            call_after: None,
            write_after: None,
            refused: Vec::new(),
            mending: false,
            failures: 0,
            unknowns: 0,
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
        if letter.kind != Kind::Follows {
            self.edited = Some(now);
        }
        *R::refused(&mut self.record) = None;
        self.unwritten = true;
        self.failures = 0;
        self.unknowns = 0;
        self.call_after = None;
    }

    /// The harmless question was answered.
    pub(super) fn answered(&mut self) {
        self.ask_first = false;
        self.failures = 0;
    }

    /// Whether what has this key can go, although others wait until a person has mended something.
    pub(super) fn passes(&self, key: Option<&str>) -> bool {
        let known = |key: &str| self.refused.iter().any(|it| it == key);
        self.mending && key.is_some_and(|key| !known(key))
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
        self.mending = failure.remedy == Remedy::Fix;
        match failure.remedy {
            Remedy::Wait(pause) => {
                // The place is paused as a whole; only the harmless question has none.
                if kind.is_none() {
                    self.call_after = Some(now + pause);
                }
                Outcome::Limited
            }
            Remedy::PostAnew if leans => {
                R::lost(&mut self.record);
                self.anew += 1;
                self.call_after = Some(now + backoff(self.anew));
                Outcome::Anew
            }
            Remedy::MayHaveHappened if posts => {
                self.ask_first = R::ASKS;
                self.unknowns += 1;
                // Each further doubt about the same message could make one more of it: then it is left for long. Where there is
                // nothing harmless to ask, somebody may be waiting for it all the same.
                let doubts = if R::ASKS { 1 } else { 3 };
                let pause = if self.unknowns > doubts {
                    UNTIL_MENDED
                } else {
                    backoff(self.unknowns)
                };
                self.call_after = Some(now + pause);
                Outcome::Unknown
            }
            Remedy::Retry | Remedy::MayHaveHappened | Remedy::PostAnew => {
                self.failures += 1;
                self.call_after = Some(now + backoff(self.failures));
                Outcome::Retried
            }
            Remedy::Fix => {
                let refused = Some(failure.to_string());
                let before = R::refused(&mut self.record);
                self.unwritten |= *before != refused;
                *before = refused;
                let known = |it: &&str| self.refused.iter().all(|key| key != it);
                self.refused.extend(key.filter(known).map(str::to_owned));
                self.call_after = Some(now + UNTIL_MENDED);
                Outcome::Refused
            }
        }
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
    use crate::report::slack::{InSlack, SlackError};

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
