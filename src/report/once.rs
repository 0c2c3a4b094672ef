//! Reporters that tell each notice once and cannot change it later: mail, incident trackers, webhooks.
//!
//! They share their record, the choice of what is missing, and the outbox; each of them says only what it wants to tell
//! and how it is sent.

use std::future::Future;
use std::time::Duration;

use super::notice::{Notice, notices};
use super::reporter::{
    Failure, Kind, Letter, Next, PATIENCE, Receipt, Remedy, Reporter, Telling, Via,
};
use crate::rollback::object::{NoticeReport, Report};

/// A reporter that tells each notice once.
pub trait Once: Clone + Send + Sync + 'static {
    /// What one notice is sent as.
    type Content: Send + Sync + 'static;

    /// Its name in logs and metrics.
    const VIA: Via;
    /// The key of its record in `status.report`.
    const KEY: &'static str;
    /// How long one call may take, whatever bounds it has of its own.
    const PATIENCE: Duration = PATIENCE;

    /// Its part of what is on record.
    fn record(report: &Report) -> &NoticeReport;

    /// Whether it tells this.
    fn wants(&self, notice: &Notice) -> bool;

    /// What is sent. A failure is told as that of the sending, so that it holds up nothing else.
    ///
    /// # Errors
    /// What is wrong, which only a person can mend.
    fn content(&self, notice: &Notice, telling: &Telling<'_>) -> Result<Self::Content, String>;

    /// Sends it.
    fn send(&self, content: &Self::Content) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Makes a reporter of one that tells each notice once.
#[derive(Clone, Debug)]
pub struct Each<T>(pub T);

/// A notice on its way.
pub struct Envelope<C> {
    key: String,
    content: Result<C, String>,
}

impl<T: Once> Reporter for Each<T> {
    type Record = NoticeReport;
    type Content = Envelope<T::Content>;

    const VIA: Via = T::VIA;
    const KEY: &'static str = T::KEY;
    const PATIENCE: Duration = T::PATIENCE;

    fn record(report: &Report) -> &NoticeReport {
        T::record(report)
    }

    fn refused(record: &mut NoticeReport) -> &mut Option<String> {
        &mut record.refused
    }

    fn next(&self, record: &NoticeReport, telling: &Telling<'_>) -> Next<Letter<Self::Content>> {
        if telling.old {
            return Next::Nothing;
        }
        let wanted = |it: &Notice| self.0.wants(it) && !record.told.contains(&it.key);
        let missing = notices(telling).into_iter().filter(wanted);
        let missing: Vec<_> = missing
            .map(|it| (self.0.content(&it, telling), it))
            .collect();
        let urgent = missing.iter().any(|(_, it)| it.calls());
        // What calls somebody comes first. One that cannot be made, or was refused, waits for a person, and one that may have
        // been taken for its time; the others do not wait for it.
        let first = missing.into_iter().min_by_key(|(content, it)| {
            let refused = content.is_err() || telling.refused.contains(&it.key);
            (refused, !it.calls())
        });
        let Some((content, notice)) = first else {
            return Next::Nothing;
        };
        Next::Now(Letter {
            place: T::KEY.to_owned(),
            urgent,
            kind: Kind::Opens,
            key: Some(notice.key.clone()),
            faults: telling.story.faults.clone(),
            content: Envelope {
                content,
                key: notice.key,
            },
        })
    }

    async fn send(&self, letter: &Letter<Self::Content>) -> Result<Option<Receipt>, Failure> {
        match &letter.content.content {
            Ok(content) => self.0.send(content).await.map(|()| None),
            Err(said) => Err(Failure::new(Remedy::Fix, said.clone())),
        }
    }

    fn sent(record: &mut NoticeReport, letter: &Letter<Self::Content>, _: Option<Receipt>) {
        record.told.push(letter.content.key.clone());
    }
}
