//! `ripcord watch`: follows a rollback to its end. On a terminal the lines are drawn anew in place; on a pipe each new one
//! is printed once. Looking on never changes anything: whoever stops looking stops nothing.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Write as _};
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;

use super::reach::{Hands, Reach, Trouble, exit_of, now, told, trouble};
use super::{Answer, Exit, Format};
use crate::cluster::Error;
use crate::report::story::Story;
use crate::report::text;
use crate::rollback::Rollback;
use crate::rollback::history::rough;

/// How often the time that has passed is drawn anew.
const SECOND: Duration = Duration::from_secs(1);

/// Follow a rollback to its end; the exit code says how it ended.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The rollback: `NAME`, or `NAMESPACE/NAME`.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    patience: Patience,
}

/// For how long a command looks on.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Patience {
    /// Look on for so long at most, such as `5m`; the rollback goes on [default: to its end].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,
}

pub(super) async fn run(args: &Args) -> Answer {
    let followed = async {
        let hands = args.reach.connect().await?;
        let rollback = hands.rollback(&args.name).await?;
        follow(&hands, rollback, args.reach.output, args.patience).await
    };
    match followed.await {
        Ok(last) => end(&last),
        Err(trouble) => trouble.answer(),
    }
}

/// How a command ends that followed a rollback.
pub(super) fn end(last: &Rollback) -> Answer {
    let exit = exit_of(last.phase());
    let err = if exit == Exit::StillOpen {
        format!("{} has not ended; it goes on\n", last.full_name())
    } else {
        String::new()
    };
    Answer {
        out: String::new(),
        err,
        exit,
    }
}

/// Shows a rollback until it has ended, or as long as there is patience; returns it as it was last seen.
pub(super) async fn follow(
    hands: &Hands,
    rollback: Rollback,
    output: Format,
    patience: Patience,
) -> Result<Rollback, Trouble> {
    let mut screen = Screen::new(output);
    let memory = hands.memory_of(&rollback).await;
    let mut last = rollback;
    let api = hands.cluster.api::<Rollback>(last.namespace());
    let name = last.name().to_owned();
    let mut changes = pin!(watch_object(api, &name).default_backoff());
    let over = async {
        match patience.timeout {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let mut over = pin!(over);
    screen.show(&last, &told(&last, memory.as_ref()));
    while !last.phase().ended() {
        tokio::select! {
            () = &mut over => return Ok(last),
            () = tokio::time::sleep(SECOND), if screen.live => {}
            change = changes.next() => match change {
                Some(Ok(Some(found))) if found.metadata.uid == last.metadata.uid => last = found,
                Some(Ok(_)) => return Err(gone(&last)),
                Some(Err(error)) => {
                    let error = Error::from(error);
                    if !error.passes() {
                        return Err(trouble(error, "watch", "rollbacks", Some(last.namespace())));
                    }
                    screen.note(&format!("looking again: {error}"));
                }
                None => return Ok(last),
            },
        }
        screen.show(&last, &told(&last, memory.as_ref()));
    }
    // What the end has made of the target is known by now: a latch, a release that was made.
    let memory = hands.memory_of(&last).await;
    screen.finish(&last, &told(&last, memory.as_ref()));
    Ok(last)
}

fn gone(last: &Rollback) -> Trouble {
    let said = format!("{} was deleted", last.full_name());
    Trouble::new(Exit::Unknown, said)
        .help("a rollback whose object is deleted ends at the next safe point; see ripcord targets")
}

/// What has been shown so far.
struct Screen {
    output: Format,
    /// Whether lines can be drawn anew.
    live: bool,
    /// How many lines stand there that will be drawn anew.
    drawn: usize,
    printed: BTreeSet<String>,
    version: Option<String>,
}

impl Screen {
    fn new(output: Format) -> Self {
        Self {
            output,
            live: output == Format::Text && io::stdout().is_terminal(),
            drawn: 0,
            printed: BTreeSet::new(),
            version: None,
        }
    }

    fn show(&mut self, rollback: &Rollback, story: &Story) {
        match self.output {
            Format::Json => self.line_of_json(rollback),
            Format::Text if rollback.phase().ended() => {}
            Format::Text if self.live => {
                let passed = rollback
                    .received()
                    .map(|received| rough(now().duration_since(received)));
                let mut lines = progress(story);
                lines.extend(passed.map(|passed| format!("… {passed} since the request")));
                self.draw(&lines);
            }
            Format::Text => {
                for line in progress(story) {
                    self.print(&line);
                }
            }
        }
    }

    /// Shows the end in full.
    fn finish(&mut self, rollback: &Rollback, story: &Story) {
        match self.output {
            Format::Json => self.line_of_json(rollback),
            Format::Text => {
                self.draw(&[]);
                write(&text::page(&story.parent));
            }
        }
    }

    /// One line for each state, as a program reads it.
    fn line_of_json(&mut self, rollback: &Rollback) {
        let version = rollback.metadata.resource_version.clone();
        if version.is_some() && version == self.version {
            return;
        }
        self.version = version;
        let mut rollback = rollback.clone();
        rollback.metadata.managed_fields = None;
        if let Ok(line) = serde_json::to_string(&rollback) {
            write(&format!("{line}\n"));
        }
    }

    fn print(&mut self, line: &str) {
        if self.printed.insert(line.to_owned()) {
            write(&format!("{line}\n"));
        }
    }

    /// For people who wonder why nothing comes.
    fn note(&mut self, said: &str) {
        if self.printed.insert(said.to_owned()) {
            anstream::eprintln!("{}", text::clean(said));
        }
    }

    /// Puts these lines in the place of those that stand there. A line that is too long is cut by the terminal, so that it
    /// is one.
    fn draw(&mut self, lines: &[String]) {
        if !self.live {
            return;
        }
        let mut text = String::new();
        if self.drawn > 0 {
            text = format!("\u{1b}[{}A\u{1b}[J", self.drawn);
        }
        text.push_str("\u{1b}[?7l");
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str("\u{1b}[?7h");
        self.drawn = lines.len();
        // Straight to the terminal: these are no colours, which could be left out.
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }
}

/// What there is to say of a rollback that goes on: the first line, what is asked, each step.
fn progress(story: &Story) -> Vec<String> {
    let parent = &story.parent;
    let rows = parent
        .rows
        .iter()
        .filter(|row| matches!(row.label, "approval" | "observed"));
    let page = crate::report::page::Page {
        headline: parent.headline.clone(),
        rows: rows.cloned().collect(),
        next: Vec::new(),
        ..crate::report::page::Page::default()
    };
    let mut lines: Vec<_> = text::page(&page).lines().map(label_off).collect();
    let thread = story.further.iter().map(|told| {
        let headline = crate::report::page::Page {
            headline: told.page.headline.clone(),
            ..crate::report::page::Page::default()
        };
        text::page(&headline).trim_end().to_owned()
    });
    for line in thread {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// A line without the label that stands in front of it.
fn label_off(line: &str) -> String {
    let text = ["approval", "observed"]
        .iter()
        .find_map(|label| line.strip_prefix(label))
        .unwrap_or(line);
    text.trim_start().to_owned()
}

/// Prints; a reader who has gone away is no failure.
fn write(text: &str) {
    let mut out = anstream::stdout();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
