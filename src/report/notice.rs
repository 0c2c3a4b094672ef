//! What reporters tell that can change nothing once it is sent: a few notices about each rollback, each of them once.
//!
//! They are cut from the same story that Slack tells, so both say the same. Nothing is sent or remembered here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::page::Page;
use super::reporter::Telling;
use super::story::Story;
use super::text;
use crate::rollback::Phase;

/// What a notice is about: a reporter is told which ones are wanted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// A rollback began and has not ended yet.
    Started,
    /// It takes longer than its budget.
    Late,
    /// A person is needed.
    Needed,
    /// It ended.
    Ended,
    /// The release was looked at again after the end.
    Checked,
    /// Nothing was begun, as somebody wanted: a hold, a shadow, no recent change.
    Untouched,
}

/// One notice about a rollback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Names it for ever, so that it is told once.
    pub key: String,
    /// What it is about.
    pub moment: Moment,
    /// Whether it needs a person.
    pub needs: bool,
    /// The first line.
    pub headline: String,
    /// Everything, as plain lines.
    pub text: String,
    /// The same as one message.
    pub page: Page,
}

/// The notices about a rollback, in order.
#[must_use]
pub fn notices(telling: &Telling<'_>) -> Vec<Notice> {
    let story = &telling.story;
    let all = text::story(&called_by_nobody(story));
    let notice = |key: &str, moment, needs, page: &Page, text: String| Notice {
        key: key.to_owned(),
        moment,
        needs,
        headline: page.headline.clone(),
        text,
        page: whole(page, &story.parent),
    };
    if story.alone {
        // A question that is not answered ends with a notice of its own.
        let key = match telling.rollback.phase() {
            Phase::AwaitingApproval => "asked",
            _ => "alone",
        };
        let moment = if story.needs {
            Moment::Needed
        } else {
            Moment::Untouched
        };
        return vec![notice(key, moment, story.needs, &story.parent, all)];
    }
    let mut notices = Vec::new();
    // Of a rollback that is over already, the end is what counts.
    if !story.ended {
        notices.push(notice(
            "started",
            Moment::Started,
            false,
            &story.parent,
            all.clone(),
        ));
    }
    for told in story.further.iter().filter(|told| told.broadcast) {
        let moment = match told.key.as_str() {
            "over_budget" => Moment::Late,
            key if key.starts_with("end/") => Moment::Ended,
            key if key.starts_with("after/") => Moment::Checked,
            _ => Moment::Needed,
        };
        let text = format!("{}\n{all}", text::page(&silent(&told.page)));
        notices.push(notice(&told.key, moment, told.needs, &told.page, text));
    }
    notices
}

/// The same story without the names of Slack's people, which say nothing elsewhere.
fn called_by_nobody(story: &Story) -> Story {
    let mut story = story.clone();
    story.parent.call.clear();
    for told in &mut story.further {
        told.page.call.clear();
    }
    story
}

fn silent(page: &Page) -> Page {
    Page {
        call: Vec::new(),
        ..page.clone()
    }
}

/// A message that must stand alone: what the thread's would say, with the facts that stand above the thread.
fn whole(page: &Page, parent: &Page) -> Page {
    let mut whole = page.clone();
    let known = |label: &str| page.rows.iter().any(|row| row.label == label);
    let facts = parent.rows.iter().filter(|row| !known(row.label)).cloned();
    if page != parent {
        whole.rows.extend(facts);
        whole.footer.clone_from(&parent.footer);
    }
    whole
}

// === impl Moment ===

impl Moment {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Started,
        Self::Late,
        Self::Needed,
        Self::Ended,
        Self::Checked,
        Self::Untouched,
    ];
}

// === impl Notice ===

impl Notice {
    /// Whether somebody who wants to hear of these moments wants to hear this. What needs a person is never late alone.
    #[must_use]
    pub fn is_one_of(&self, wanted: &[Moment]) -> bool {
        wanted.contains(&self.moment) || (self.calls() && wanted.contains(&Moment::Needed))
    }

    /// Whether a person must do something. What is only late may still end well.
    #[must_use]
    pub fn calls(&self) -> bool {
        self.needs && self.moment != Moment::Late
    }
}
