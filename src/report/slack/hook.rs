//! Slack by an incoming webhook: the lesser way, for whoever cannot have a bot.
//!
//! Slack tells nothing of a message that came this way, so none can be changed or answered: there is no thread and no
//! progress, only a few notices. The address is the secret.

use reqwest::header::HeaderMap;
use secrecy::ExposeSecret as _;

use crate::report::blocks::Message;
use crate::report::notice::{Moment, Notice};
use crate::report::once::Once;
use crate::report::post::Poster;
use crate::report::reporter::{Failure, Remedy, Telling, Via};
use crate::report::secret;
use crate::report::webhook::web_address;
use crate::rollback::object::{NoticeReport, Report};

/// Posts to an incoming webhook.
#[derive(Clone)]
pub struct Hook {
    poster: Poster,
    url: secret::Source,
    tell: Vec<Moment>,
}

impl Hook {
    /// Posts what `tell` says to this address, which is asked each time.
    #[must_use]
    pub fn new(poster: Poster, url: secret::Source, tell: Vec<Moment>) -> Self {
        Self { poster, url, tell }
    }
}

impl Once for Hook {
    type Content = Message;

    const VIA: Via = Via::SlackWebhook;
    const KEY: &'static str = "slackWebhook";

    fn record(report: &Report) -> &NoticeReport {
        &report.slack_webhook
    }

    fn wants(&self, notice: &Notice) -> bool {
        notice.is_one_of(&self.tell)
    }

    fn content(&self, notice: &Notice, _: &Telling<'_>) -> Result<Message, String> {
        Ok(notice.page.message())
    }

    async fn send(&self, message: &Message) -> Result<(), Failure> {
        let url = (self.url)();
        let Some(url) = web_address(url.expose_secret()) else {
            let said = "slack webhook: there is no usable address";
            return Err(Failure::new(Remedy::Fix, said));
        };
        let body = serde_json::to_vec(message)
            .map_err(|error| Failure::new(Remedy::Fix, format!("slack webhook: {error}")))?;
        let sent = self.poster.post(url, HeaderMap::new(), body, None).await;
        sent.map_err(|error| error.failure("slack webhook", false))
    }
}
