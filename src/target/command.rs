//! A command that is run in a container of a target's pods: what it is, how its end is judged, and what of its words is shown.
//!
//! It is a list of words and never a line for a shell, so that no value can change what is run. It holds no secret: what is said
//! here is frozen in plans, which people may read.

use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// How many characters of each stream are shown.
const SHOWN: usize = 200;

/// A command of a target, as the policy declares it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    /// The container that it is run in.
    pub container: String,
    /// The labels of the pods that it is run in, where those are not the target's own: in one of them that is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// A regular expression that the whole of its output must match, white space at both ends left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// How long it may take in one pod.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Whether it may be run again where it is not known whether it was run, or where it failed.
    pub repeatable: bool,
}

/// One command in one pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exec {
    /// What the command is called.
    pub name: String,
    /// Where it is run.
    pub place: Place,
    /// What is run, and how its end is judged.
    pub command: Command,
}

/// The pod that a command is run in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// The one of this name.
    Pod(String),
    /// One with these labels that is ready.
    OneOf(String),
}

/// What a command has written, as far as it was kept.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Output {
    /// To its standard output.
    pub out: Stream,
    /// To its standard error.
    pub err: Stream,
}

/// What was written to a stream: its beginning, and how much it was in all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stream {
    kept: Vec<u8>,
    bytes: u64,
}

// === impl Command ===

impl Command {
    /// How long it may take where the policy does not say.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

    /// The regular expression for what it must say.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn expectation(pattern: &str) -> Result<Regex, regex::Error> {
        // On its own first: what is put around it could make something valid of what is not.
        Regex::new(pattern)?;
        Regex::new(&format!(r"(?s)\A(?:{pattern})\z"))
    }

    /// Whether it ended well: with code 0, and with what it must say.
    ///
    /// # Errors
    /// What is not so.
    pub fn judge(&self, code: i32, out: &Stream) -> Result<(), String> {
        if code != 0 {
            return Err(format!("it ended with exit code {code}"));
        }
        let Some(pattern) = &self.expect else {
            return Ok(());
        };
        if out.is_cut() {
            return Err(format!(
                "it ended with exit code 0, but wrote more than {} KiB, of which no whole is known",
                Stream::KEPT / 1024
            ));
        }
        let said = String::from_utf8_lossy(&out.kept);
        match Self::expectation(pattern) {
            Ok(wanted) if wanted.is_match(said.trim()) => Ok(()),
            Ok(_) => Err(format!(
                "it ended with exit code 0, but its output does not match {pattern:?}"
            )),
            Err(error) => Err(format!("{pattern:?} cannot be looked for: {error}")),
        }
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, word) in self.command.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{}", one_line(word))?;
        }
        Ok(())
    }
}

// === impl Place ===

impl Place {
    /// The pod's name, or the labels.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Pod(name) | Self::OneOf(name) => name,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pod(name) => f.write_str(name),
            Self::OneOf(labels) => write!(f, "a pod with {labels}"),
        }
    }
}

// === impl Output ===

impl Output {
    /// What was written, for people: on one line, cut, and without what looks like a secret.
    #[must_use]
    pub fn shown(&self) -> String {
        let streams = [("stdout", &self.out), ("stderr", &self.err)];
        let streams = streams.into_iter().filter_map(|(name, stream)| {
            let said = stream.shown();
            (!said.is_empty()).then(|| format!("{name}: {said}"))
        });
        streams.collect::<Vec<_>>().join("; ")
    }
}

// === impl Stream ===

impl Stream {
    /// How many bytes are kept.
    pub const KEPT: usize = 64 * 1024;

    /// Takes what came next. It keeps the beginning, and counts the rest.
    pub fn take(&mut self, bytes: &[u8]) {
        let room = Self::KEPT.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.bytes += u64::try_from(bytes.len()).unwrap_or(0);
    }

    fn is_cut(&self) -> bool {
        self.bytes > u64::try_from(self.kept.len()).unwrap_or(0)
    }

    fn shown(&self) -> String {
        let said = String::from_utf8_lossy(&self.kept);
        // Hidden first and cut then: half of a secret is one as well.
        let said = one_line(&hidden(said.trim()));
        let length = said.chars().count();
        if length <= SHOWN && !self.is_cut() {
            return said;
        }
        let shown: String = said.chars().take(SHOWN).collect();
        format!("{shown}… ({} bytes in all)", self.bytes)
    }
}

/// Text without what looks like a secret: what follows a word such as `password` or `token`, and who logs in to an address.
fn hidden(text: &str) -> String {
    static SECRET: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let word = r"(?i)([\w.-]*(?:passw(?:or)?d|secret|token|credential|authorization|api[_-]?key)[\w.-]*\W{0,2}?\s*[=:]\s*)";
        let value = r#"(?:(?:bearer|basic)\s+)?(?:"[^"]*"|'[^']*'|[^\s,;]+)"#;
        Regex::new(&format!("{word}{value}")).ok()
    });
    static LOGIN: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(://)[^/\s@]*:[^/\s@]*@").ok());
    let (Some(secret), Some(login)) = (&*SECRET, &*LOGIN) else {
        return "…".to_owned();
    };
    let text = secret.replace_all(text, "${1}…");
    login.replace_all(&text, "${1}…@").into_owned()
}

/// Text on one line, with nothing in it that could move a cursor.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '\n' => line.push_str(" ⏎ "),
            '\r' => {}
            sign if sign.is_control() => line.extend(sign.escape_default()),
            sign => line.push(sign),
        }
    }
    line
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn command() -> Command {
        Command {
            container: "cache".into(),
            selector: None,
            command: ["redis-cli", "-e", "FLUSHDB"].map(str::to_owned).into(),
            expect: Some("OK".into()),
            timeout: Duration::from_secs(1),
            repeatable: false,
        }
    }

    fn stream(text: &str) -> Stream {
        let mut stream = Stream::default();
        stream.take(text.as_bytes());
        stream
    }

    #[test]
    fn it_ends_well_with_code_0_and_the_whole_of_what_it_must_say() {
        let command = command();
        assert_eq!(command.judge(0, &stream(" OK\n")), Ok(()));
        for (code, said, why) in [
            (1, "OK", "exit code 1"),
            (0, "NOT OK", "does not match \"OK\""),
            (0, "", "does not match"),
            (0, "NOAUTH Authentication required.", "does not match"),
        ] {
            let judged = command.judge(code, &stream(said)).unwrap_err();
            assert!(judged.contains(why), "{judged}");
        }
        let silent = Command {
            expect: None,
            ..command.clone()
        };
        assert_eq!(silent.judge(0, &stream("whatever")), Ok(()));
        assert!(silent.judge(137, &stream("")).is_err());
        let lines = Command {
            expect: Some("a.*|b".into()),
            ..command
        };
        assert_eq!(lines.judge(0, &stream("a\nz")), Ok(()));
        assert!(lines.judge(0, &stream("ab b c\n")).is_ok());
        assert!(lines.judge(0, &stream("c b")).is_err());
    }

    #[test]
    fn what_is_cut_matches_nothing() {
        let mut command = command();
        command.expect = Some(".*".into());
        let mut long = stream(&"a".repeat(Stream::KEPT));
        assert_eq!(command.judge(0, &long), Ok(()));
        long.take(b"a");
        assert!(command.judge(0, &long).is_err());
    }

    #[test]
    fn an_expectation_stands_on_its_own() {
        assert!(Command::expectation("a)|(b").is_err());
        assert!(Command::expectation("OK").is_ok());
    }

    #[test]
    fn what_is_shown_is_one_short_line_without_secrets() {
        let output = Output {
            out: stream("first\nsecond\u{1b}[31m\r\n"),
            err: stream(
                "REDIS_PASSWORD=hunter2 and \"api_key\": \"abc\", Authorization: Bearer xyz",
            ),
        };
        let shown = output.shown();
        assert_eq!(
            shown,
            "stdout: first ⏎ second\\u{1b}[31m; stderr: REDIS_PASSWORD=… and \"api_key\": …, Authorization: …"
        );
        let login = Output {
            out: stream("redis://:hunter2@redis:6379/0"),
            err: Stream::default(),
        };
        assert_eq!(login.shown(), "stdout: redis://…@redis:6379/0");
        let long = Output {
            out: stream(&"x".repeat(1000)),
            err: Stream::default(),
        };
        let shown = long.shown();
        assert!(shown.ends_with("… (1000 bytes in all)"), "{shown}");
        assert!(shown.chars().count() < SHOWN + 40);
        assert_eq!(Output::default().shown(), "");
    }
}
