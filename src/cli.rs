//! The commands, one file each.
//!
//! A command works out what to say and how it ended; printing and exit codes are here. Nothing else in the library
//! writes to the terminal. Colours are taken out where nobody would see them, and where `NO_COLOR` asks for it.

pub mod approve;
pub mod check;
pub mod crd;
#[cfg(feature = "demo")]
pub mod demo;
pub mod doctor;
pub mod drill;
pub mod exit;
pub mod explain;
pub mod list;
mod preflight;
pub mod reach;
mod reload;
pub mod run;
pub mod serve;
pub mod service;
pub mod show;
pub mod stop;
mod table;
pub mod targets;
pub mod watch;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub use exit::Exit;

/// Where the settings are looked for when nobody says so.
const SETTINGS: &str = "config/ripcord.yaml";

/// Pulls a bad Kubernetes release back when Alertmanager says so, proves it, and tells people.
#[derive(Debug, Parser)]
#[command(name = "ripcord", version, propagate_version = true)]
pub struct Cli {
    /// The settings of the service [default: config/ripcord.yaml, if there is one].
    // Not with two underscores: those variables are settings themselves.
    #[arg(long, global = true, env = "RIPCORD_SETTINGS", value_name = "PATH")]
    pub settings: Option<PathBuf>,
    /// The policy: a file, or a folder of *.yaml and *.yml.
    #[arg(
        long,
        global = true,
        env = "RIPCORD_POLICY",
        value_name = "PATH",
        default_value = "config/rollbacks.yaml"
    )]
    pub policy: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service.
    Serve,
    /// Show the main job on a simulated cluster in this process.
    #[cfg(feature = "demo")]
    Demo(demo::Args),
    /// Check settings and policy, and say what is wrong with them.
    Check(check::Args),
    /// Say what a notification would lead to, and why.
    Explain(explain::Args),
    /// Check the ground of a deployment: cluster, service, targets, and what stands around.
    Doctor(doctor::Args),
    /// Say what a rollback would do now, and try its changes without an effect.
    Drill(drill::Args),
    /// Print the custom resource definitions.
    Crd(crd::Args),
    /// Show what is under care: live, known good, blamed, latched, held.
    Targets(targets::Args),
    /// List rollbacks, newest first.
    List(list::Args),
    /// Show one rollback in full.
    Show(show::Args),
    /// Follow a rollback to its end.
    Watch(watch::Args),
    /// Start a rollback by hand.
    Run(run::Args),
    /// Stop a rollback at the next safe point.
    Stop(stop::Args),
    /// Approve a rollback that asks for it.
    Approve(approve::Approve),
    /// Deny a rollback that asks for an approval.
    Deny(approve::Deny),
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// What a command has to say, and how it ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// For standard output.
    pub out: String,
    /// For standard error.
    pub err: String,
    /// How it ended.
    pub exit: Exit,
}

/// Reads the command line; help, version and mistakes are printed here.
///
/// # Errors
/// How to end.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, Exit> {
    let mut command = Cli::command();
    let read = command.try_get_matches_from_mut(words).and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        cli.refuse_spare(&matches, &mut command)?;
        Ok(cli)
    });
    read.map_err(|error| {
        let exit = if error.use_stderr() {
            Exit::Usage
        } else {
            Exit::Done
        };
        match error.print() {
            Ok(()) => exit,
            Err(_) => Exit::Failed,
        }
    })
}

/// Runs a command to its end.
pub async fn run(cli: Cli) -> Exit {
    let answer = match &cli.command {
        Command::Serve => return ended(serve::run(cli.settings_path(), &cli.policy).await),
        #[cfg(feature = "demo")]
        Command::Demo(args) => return ended(demo::run(args).await),
        Command::Check(args) => check::run(args, cli.settings_path(), &cli.policy),
        Command::Explain(args) => explain::run(args, cli.settings_path(), &cli.policy).await,
        Command::Doctor(args) => doctor::run(args, cli.settings_path(), &cli.policy).await,
        Command::Drill(args) => drill::run(args, cli.settings_path(), &cli.policy).await,
        Command::Crd(args) => crd::run(args),
        Command::Targets(args) => targets::run(args).await,
        Command::List(args) => list::run(args).await,
        Command::Show(args) => show::run(args).await,
        Command::Watch(args) => watch::run(args).await,
        Command::Run(args) => run::run(args).await,
        Command::Stop(args) => stop::run(args).await,
        Command::Approve(args) => approve::approve(args).await,
        Command::Deny(args) => approve::deny(args).await,
    };
    answer.print()
}

/// How a command ended that speaks for itself while it runs.
fn ended(end: anyhow::Result<Exit>) -> Exit {
    end.unwrap_or_else(|error| {
        anstream::eprintln!("error: {}", in_full(&error));
        Exit::Failed
    })
}

/// An error with its causes; one that is part of what was said already is not said again.
fn in_full(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |said, cause| {
        let cause = cause.to_string();
        if said.is_empty() {
            cause
        } else if said.contains(&cause) {
            said
        } else {
            format!("{said}: {cause}")
        }
    })
}

// === impl Cli ===

impl Cli {
    /// Refuses a path on the command line that the command would not look at; a variable is for every command.
    fn refuse_spare(
        &self,
        matches: &ArgMatches,
        command: &mut clap::Command,
    ) -> Result<(), clap::Error> {
        let name = matches.subcommand_name().unwrap_or_default();
        let (reads, spare) = match self.command {
            Command::Serve | Command::Check(_) | Command::Doctor(_) | Command::Drill(_) => {
                return Ok(());
            }
            Command::Explain(ref args) if args.live => return Ok(()),
            Command::Explain(_) => (
                "reads no settings unless it asks the cluster (--live)",
                ["settings"].as_slice(),
            ),
            #[cfg(feature = "demo")]
            Command::Demo(_) => (
                "brings its own settings and policy",
                ["settings", "policy"].as_slice(),
            ),
            _ => (
                "reads neither settings nor a policy",
                ["settings", "policy"].as_slice(),
            ),
        };
        for &option in spare {
            if matches.value_source(option) == Some(ValueSource::CommandLine) {
                let said = format!("`{name}` {reads}: leave out --{option}");
                return Err(command.error(ErrorKind::ArgumentConflict, said));
            }
        }
        Ok(())
    }

    /// The settings file to read, if there is one to read.
    #[must_use]
    pub fn settings_path(&self) -> Option<&Path> {
        let usual = Path::new(SETTINGS);
        match &self.settings {
            Some(path) => Some(path),
            None => usual.exists().then_some(usual),
        }
    }
}

// === impl Answer ===

impl Answer {
    fn done(out: String) -> Self {
        Self {
            out,
            err: String::new(),
            exit: Exit::Done,
        }
    }

    fn failed(exit: Exit, err: String) -> Self {
        Self {
            out: String::new(),
            err,
            exit,
        }
    }

    /// Prints it. A reader who has gone away is no failure.
    fn print(&self) -> Exit {
        // Where standard error is closed there is nobody to tell.
        let _ = anstream::stderr().write_all(self.err.as_bytes());
        let mut stdout = anstream::stdout();
        let written = stdout
            .write_all(self.out.as_bytes())
            .and_then(|()| stdout.flush());
        match written {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Exit::Failed,
            _ => self.exit,
        }
    }
}

/// The environment, as far as it is text.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// One variable of the environment, if it is text.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A number with its noun: `1 error`, `2 errors`.
fn count(number: usize, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{s}")
}

/// A value as JSON for people and programs alike, with a newline at its end.
fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_string_pretty(value) {
        Ok(text) => Answer::done(format!("{text}\n")),
        Err(error) => Answer::failed(Exit::Failed, format!("error: {error}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_cause_is_said_once() {
        let cause = std::io::Error::other("address in use");
        let error = anyhow::Error::from(cause)
            .context("cannot listen: address in use")
            .context("no service");
        assert_eq!(in_full(&error), "no service: cannot listen: address in use");
    }

    #[test]
    fn nouns_agree_with_numbers() {
        assert_eq!(
            [count(0, "error"), count(1, "error"), count(2, "error")],
            ["0 errors", "1 error", "2 errors"]
        );
    }
}
