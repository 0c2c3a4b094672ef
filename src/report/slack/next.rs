//! Which message of a story is missing, purely.

use std::time::Duration;

use crate::report::reporter::Next;
use crate::report::story::Story;
use crate::rollback::object::SlackReport;

/// A message is not edited more often than this while its rollback runs.
const BETWEEN_EDITS: Duration = Duration::from_secs(2);

/// One call that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Post the parent.
    Post,
    /// Edit it.
    Update,
    /// Post this further message of the story into its thread.
    Reply(usize),
}

/// What is missing, by what was told, and by how long ago the parent was last edited or posted.
///
/// The parent comes first, so that whoever is called by a further message finds it as it is.
#[must_use]
pub fn next(report: &SlackReport, story: &Story, since_edit: Option<Duration>) -> Next<Delivery> {
    if report.ts.is_none() || report.channel.is_none() {
        return Next::Now(Delivery::Post);
    }
    let differs = report.shown.as_deref() != Some(story.parent.digest().as_str());
    let left = since_edit.map_or(Duration::ZERO, |since| BETWEEN_EDITS.saturating_sub(since));
    if differs && (story.ended || left.is_zero()) {
        return Next::Now(Delivery::Update);
    }
    match untold(report, story) {
        Some(at) => Next::Now(Delivery::Reply(at)),
        None if differs => Next::In(left),
        None => Next::Nothing,
    }
}

/// The first further message that was not told.
#[must_use]
pub fn untold(report: &SlackReport, story: &Story) -> Option<usize> {
    let mut further = story.further.iter();
    further.position(|told| !report.told.contains(&told.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::page::Page;
    use crate::report::story::Told;

    fn story(headline: &str, keys: &[&str], ended: bool) -> Story {
        let page = |headline: &str| Page {
            headline: headline.to_owned(),
            ..Page::default()
        };
        Story {
            parent: page(headline),
            further: keys
                .iter()
                .map(|key| Told {
                    key: (*key).to_owned(),
                    page: page(key),
                    broadcast: false,
                    needs: false,
                })
                .collect(),
            ended,
            needs: false,
            alone: false,
            faults: vec![],
        }
    }

    fn report(shown: &Story, told: &[&str]) -> SlackReport {
        SlackReport {
            channel: Some("C1".into()),
            ts: Some("1.1".into()),
            thread: None,
            shown: Some(shown.parent.digest()),
            told: told.iter().map(|key| (*key).to_owned()).collect(),
            refused: None,
        }
    }

    #[test]
    fn the_parent_comes_first_then_what_is_untold_in_order() {
        let now = story("a", &["x", "y"], false);
        let nothing = SlackReport::default();
        assert_eq!(next(&nothing, &now, None), Next::Now(Delivery::Post));
        let told = report(&now, &[]);
        assert_eq!(next(&told, &now, None), Next::Now(Delivery::Reply(0)));
        let told = report(&now, &["x"]);
        assert_eq!(next(&told, &now, None), Next::Now(Delivery::Reply(1)));
        let told = report(&now, &["y", "x", "gone"]);
        assert_eq!(next(&told, &now, None), Next::Nothing);
    }

    #[test]
    fn edits_wait_for_each_other_unless_it_is_the_last() {
        let old = report(&story("a", &[], false), &[]);
        let running = story("b", &[], false);
        let second = Duration::from_secs(1);
        assert_eq!(next(&old, &running, Some(second)), Next::In(second));
        assert_eq!(
            next(&old, &running, Some(2 * second)),
            Next::Now(Delivery::Update)
        );
        assert_eq!(next(&old, &running, None), Next::Now(Delivery::Update));
        let ended = story("b", &["end"], true);
        assert_eq!(
            next(&old, &ended, Some(second)),
            Next::Now(Delivery::Update)
        );
    }

    #[test]
    fn an_edit_that_must_wait_holds_up_no_further_message() {
        let old = report(&story("a", &[], false), &[]);
        let running = story("b", &["x"], false);
        let since = Some(Duration::ZERO);
        assert_eq!(next(&old, &running, since), Next::Now(Delivery::Reply(0)));
    }
}
