//! The table of states: what each contender did in each, with the medians of its turns.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::contender::Contender;
use crate::outcome::{End, Outcome};
use crate::script;
use crate::shared::options::Options;
use crate::shared::page::median;
use crate::state::State;

/// What all contenders did in one state.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) state: &'static State,
    outcomes: [Vec<Outcome>; 3],
}

// === impl Row ===

impl Row {
    /// Nobody has acted yet.
    pub(crate) fn new(state: &'static State) -> Self {
        Self {
            state,
            outcomes: Default::default(),
        }
    }

    /// Takes a turn into account.
    pub(crate) fn note(&mut self, contender: Contender, outcome: Outcome) {
        self.outcomes[contender as usize].push(outcome);
    }

    /// All turns of a contender.
    pub(crate) fn of(&self, contender: Contender) -> &[Outcome] {
        &self.outcomes[contender as usize]
    }

    /// The median of the last bad answers; a turn without one counts as 0.
    pub(crate) fn last_bad(&self, contender: Contender) -> Option<f64> {
        median(
            self.of(contender)
                .iter()
                .map(|it| it.last_bad.unwrap_or_default())
                .collect(),
        )
    }

    /// The median of a time, where there is one.
    pub(crate) fn time(&self, contender: Contender, of: fn(&Outcome) -> Option<f64>) -> String {
        let found = self.of(contender).iter().filter_map(of).collect();
        median(found).map_or_else(|| "–".to_owned(), |it| format!("{it:.2} s"))
    }

    /// The last bad answer, where none came any more at the end.
    pub(crate) fn traffic_back(&self, contender: Contender) -> String {
        let all = self.of(contender);
        let back = !all.is_empty() && all.iter().all(|it| it.end.is_back());
        match (back, all.iter().any(|it| it.last_bad.is_some())) {
            (true, true) => format!("{:.2} s", self.last_bad(contender).unwrap_or_default()),
            (true, false) => "none".to_owned(),
            (false, _) => "–".to_owned(),
        }
    }

    /// Who acts, and how.
    pub(crate) fn who(&self, contender: Contender) -> String {
        match contender {
            Contender::Ripcord => "**Ripcord**".to_owned(),
            _ => script::text(contender.script(self.state)),
        }
    }

    /// How it ended.
    pub(crate) fn end(&self, contender: Contender, options: &Options) -> String {
        ends(self.of(contender), self.state.bound(options.bound))
    }

    fn line(&self, contender: Contender, options: &Options) -> String {
        let all = self.of(contender);
        if all.is_empty() {
            return "– (none known) | – | – | – | – | –".to_owned();
        }
        format!(
            "{} | {} | {} | {} | {} | {}",
            self.who(contender),
            all.len(),
            self.time(contender, |it| it.first_change),
            self.traffic_back(contender),
            self.time(contender, |it| it.healthy),
            self.end(contender, options)
        )
    }
}

/// The section of the document about the states.
pub(crate) fn text(rows: &[Row], machine: &str, options: &Options) -> String {
    let mut text = format!(
        "{machine} One run at a time. Each had {} s, and longer where its script or its harm takes longer. \
         Times are medians, from the moment the command started or the alert was posted.\n\n\
         | the bad release is | who acts | runs | first change | last bad answer | Healthy | the end |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
        options.bound
    );
    for row in rows {
        for (index, contender) in Contender::ALL.into_iter().enumerate() {
            let title = if index == 0 { row.state.title } else { "" };
            let line = row.line(contender, options);
            writeln!(text, "| {title} | {line} |").expect("a string takes all");
        }
    }
    text
}

/// The ends, and how many turns each had where they differ; then what was left
/// and, where it was bad, what was seen at the last of them.
fn ends(all: &[Outcome], bound: u16) -> String {
    let mut counted: BTreeMap<End, usize> = BTreeMap::new();
    for outcome in all {
        *counted.entry(outcome.end).or_default() += 1;
    }
    let one = counted.len() == 1;
    let text = |(end, count): (&End, &usize)| {
        let mut text = end.text(bound);
        if !one {
            text = format!("{count} of {}: {text}", all.len());
        }
        let mut of_it = all.iter().filter(|it| it.end == *end);
        let last = of_it.next_back();
        if let Some(left) = last.and_then(|it| it.left) {
            text = format!("{text}; {}", left.text());
        }
        if end.is_back() {
            return text;
        }
        match (last, end) {
            (Some(it), End::Called) => {
                text + &format!(" after {:.2} s", it.called.unwrap_or_default())
            }
            (Some(it), _) => text + &format!(": {}", it.seen),
            (None, _) => text,
        }
    };
    counted.iter().map(text).collect::<Vec<_>>().join("; ")
}
