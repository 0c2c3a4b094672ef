//! What a running outbox has on its desk: what it remembers, what is under way, and whose turn it is in each channel.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;

use tokio::task::{self, JoinSet};
use tokio::time::Instant;

use super::LedgerError;
use super::entry::{Entry, Standing};
use super::next::Delivery;
use crate::report::pace::Pace;
use crate::report::slack::{ChannelId, Posted, SlackClient, SlackError, Thread, Ts};
use crate::report::story::Story;
use crate::rollback::Rollback;
use crate::rollback::object::SlackReport;

/// A call or a write that has ended.
pub(super) enum Done {
    Asked(Result<(), SlackError>),
    Called(Box<Job>, Result<Option<Posted>, SlackError>),
    Wrote(Result<(), LedgerError>),
}

/// Whose call or write is under way, and in which channel.
struct UnderWay {
    rollback: String,
    channel: Option<String>,
}

/// A delivery with all that it needs.
pub(super) struct Job {
    pub(super) delivery: Delivery,
    pub(super) story: Story,
    /// The channel, as configured or as Slack named it.
    pub(super) channel: String,
    /// The first message of the thread that it goes into.
    pub(super) thread: Option<Ts>,
    /// The message that is kept up to date, once it is posted.
    pub(super) message: Option<Ts>,
}

/// A rollback that wants its turn in a channel.
pub(super) struct Candidate {
    pub(super) id: String,
    pub(super) rollback: Arc<Rollback>,
    pub(super) job: Job,
    /// Whether somebody is called by what is untold.
    pub(super) urgent: bool,
    pub(super) turn: Option<Instant>,
}

/// All that a running outbox remembers.
pub(super) struct Desk {
    pub(super) entries: HashMap<String, Entry>,
    pub(super) pace: Pace,
    pub(super) jobs: JoinSet<Done>,
    under_way: HashMap<task::Id, UnderWay>,
    /// The channels in which a call is under way.
    pub(super) occupied: HashSet<String>,
    /// The ids of channels by the names under which they are configured.
    ids: HashMap<String, String>,
}

// === impl Job ===

impl Job {
    pub(super) async fn deliver(&self, slack: &SlackClient) -> Result<Option<Posted>, SlackError> {
        match (self.delivery, &self.message) {
            (Delivery::Update, Some(ts)) => {
                let channel = ChannelId::from(self.channel.clone());
                let message = self.story.parent.message();
                slack.update(&channel, ts, &message).await.map(|()| None)
            }
            (Delivery::Reply(at), Some(_)) => {
                let Some(told) = self.story.further.get(at) else {
                    return Ok(None);
                };
                let message = told.page.message();
                let thread = self.thread(told.broadcast);
                let posted = slack.post(&self.channel, &message, thread).await?;
                Ok(Some(posted))
            }
            _ => {
                let message = self.story.parent.message();
                let thread = self.thread(true);
                slack.post(&self.channel, &message, thread).await.map(Some)
            }
        }
    }

    fn thread(&self, broadcast: bool) -> Option<Thread<'_>> {
        let ts = self.thread.as_ref()?;
        Some(Thread { ts, broadcast })
    }
}

// === impl Desk ===

impl Desk {
    pub(super) fn new() -> Self {
        Self {
            entries: HashMap::new(),
            pace: Pace::default(),
            jobs: JoinSet::new(),
            under_way: HashMap::new(),
            occupied: HashSet::new(),
            ids: HashMap::new(),
        }
    }

    pub(super) fn entry(&mut self, id: &str, rollback: &Rollback) -> &mut Entry {
        self.entries.entry(id.to_owned()).or_insert_with(|| {
            let told = rollback.status.as_ref();
            Entry::new(told.map_or_else(SlackReport::default, |it| it.report.slack.clone()))
        })
    }

    /// Begins a call in a channel, or a write, for a rollback that has none under way.
    pub(super) fn begin(
        &mut self,
        rollback: String,
        channel: Option<String>,
        job: impl Future<Output = Done> + Send + 'static,
    ) {
        if let Some(entry) = self.entries.get_mut(&rollback) {
            entry.standing = Standing::Busy;
        }
        self.occupied.extend(channel.clone());
        let task = self.jobs.spawn(job).id();
        self.under_way.insert(task, UnderWay { rollback, channel });
    }

    /// Ends it; says whose it was.
    pub(super) fn end(&mut self, task: task::Id) -> Option<String> {
        let UnderWay { rollback, channel } = self.under_way.remove(&task)?;
        if let Some(channel) = channel {
            self.occupied.remove(&channel);
        }
        if let Some(entry) = self.entries.get_mut(&rollback) {
            entry.standing = Standing::Idle;
        }
        Some(rollback)
    }

    /// Learns the id of a channel that is configured by its name.
    pub(super) fn learn(&mut self, channel: &str, id: &str) {
        if channel != id && self.key(channel) != id {
            self.ids.insert(channel.to_owned(), id.to_owned());
            // The turn was taken under the channel's name; under its id it counts too.
            let _taken = self.pace.take(id);
        }
    }

    /// The name under which a channel is paced.
    pub(super) fn key(&self, channel: &str) -> String {
        self.ids
            .get(channel)
            .map_or(channel, String::as_str)
            .to_owned()
    }

    /// Keeps the candidate of a channel that comes first: whoever calls somebody, then whoever waited longest.
    pub(super) fn enlist(&self, candidates: &mut HashMap<String, Candidate>, candidate: Candidate) {
        let rank = |it: &Candidate| (!it.urgent, it.turn, it.id.clone());
        let key = self.key(&candidate.job.channel);
        match candidates.get(&key) {
            Some(first) if rank(first) <= rank(&candidate) => {}
            _ => {
                candidates.insert(key, candidate);
            }
        }
    }
}
