//! Slack as a reporter: one message that is kept up to date, and a thread under it.

use super::followed::{first, root};
use super::next::{Delivery, next, untold};
use super::{ChannelId, SlackClient, Thread, Ts};
use crate::report::reporter::{Failure, Kind, Letter, Next, Receipt, Reporter, Telling, Via};
use crate::report::story::Story;
use crate::rollback::object::{Report, SlackReport};

/// Tells in Slack, as a bot.
#[derive(Clone, Debug)]
pub struct InSlack(pub SlackClient);

/// One call of Slack, with all that it needs.
pub struct Call {
    delivery: Delivery,
    story: Story,
    /// The first message of the thread that it goes into.
    thread: Option<Ts>,
    /// The message that is kept up to date, once it is posted.
    message: Option<Ts>,
}

impl Reporter for InSlack {
    type Record = SlackReport;
    type Content = Call;

    const VIA: Via = Via::Slack;
    const KEY: &'static str = "slack";
    const ASKS: bool = true;

    fn record(report: &Report) -> &SlackReport {
        &report.slack
    }

    fn refused(record: &mut SlackReport) -> &mut Option<String> {
        &mut record.refused
    }

    fn next(&self, record: &SlackReport, telling: &Telling<'_>) -> Next<Letter<Call>> {
        let story = &telling.story;
        if telling.old && (record.ts.is_none() || untold(record, story).is_none()) {
            return Next::Nothing;
        }
        let first = match first(record, telling) {
            Ok(first) => first,
            Err(left) => return Next::In(left),
        };
        let posted = record.channel.as_deref().filter(|_| record.ts.is_some());
        let posted = posted.or_else(|| first.as_ref()?.channel.as_deref());
        let Some(place) = posted.or_else(|| telling.everyone.channel(telling.target)) else {
            return Next::Nowhere;
        };
        next(record, story, telling.since_edit).map(|delivery| Letter {
            place: place.to_owned(),
            urgent: urgent(record, story),
            kind: match delivery {
                Delivery::Post => Kind::Opens,
                Delivery::Update => Kind::Edits,
                Delivery::Reply(_) => Kind::Follows,
            },
            key: None,
            faults: story.faults.clone(),
            content: Call {
                delivery,
                story: story.clone(),
                thread: root(record, first.as_ref()),
                message: record.ts.clone().map(Ts::from),
            },
        })
    }

    async fn send(&self, letter: &Letter<Call>) -> Result<Option<Receipt>, Failure> {
        let call = &letter.content;
        let channel = &letter.place;
        let in_thread = |broadcast| {
            let ts = call.thread.as_ref()?;
            Some(Thread { ts, broadcast })
        };
        let posted = match (call.delivery, &call.message) {
            (Delivery::Update, Some(ts)) => {
                let channel = ChannelId::from(channel.clone());
                let message = call.story.parent.message();
                self.0.update(&channel, ts, &message).await?;
                return Ok(None);
            }
            (Delivery::Reply(at), Some(_)) => {
                let Some(told) = call.story.further.get(at) else {
                    return Ok(None);
                };
                let message = told.page.message();
                let thread = in_thread(told.broadcast);
                self.0.post(channel, &message, thread).await?
            }
            _ => {
                let message = call.story.parent.message();
                self.0.post(channel, &message, in_thread(true)).await?
            }
        };
        Ok(Some(Receipt {
            place: posted.channel_id.as_str().to_owned(),
            id: posted.ts.as_str().to_owned(),
        }))
    }

    fn sent(record: &mut SlackReport, letter: &Letter<Call>, receipt: Option<Receipt>) {
        let call = &letter.content;
        if let Delivery::Reply(at) = call.delivery {
            let key = call.story.further.get(at).map(|told| told.key.clone());
            record.told.extend(key);
            return;
        }
        if let (Delivery::Post, Some(receipt)) = (call.delivery, receipt) {
            record.channel = Some(receipt.place);
            record.ts = Some(receipt.id);
            record.thread = call.thread.as_ref().map(|ts| ts.as_str().to_owned());
        }
        record.shown = Some(call.story.parent.digest());
    }

    fn lost(record: &mut SlackReport) {
        record.ts = None;
        record.thread = None;
        record.shown = None;
    }

    async fn ask(&self) -> Result<(), Failure> {
        self.0.auth_test().await?;
        Ok(())
    }
}

/// Whether what is untold calls somebody.
fn urgent(record: &SlackReport, story: &Story) -> bool {
    let untold = |key: &String| !record.told.contains(key);
    let mut further = story.further.iter();
    (record.ts.is_none() && !story.parent.call.is_empty())
        || further.any(|told| !told.page.call.is_empty() && untold(&told.key))
}
