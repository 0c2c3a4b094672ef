//! Where the log goes, in which form, and how much of it.
//!
//! The log goes to standard error, because standard output belongs to what a command was asked for. A filter that
//! would silently show nothing is refused.

use std::io::IsTerminal;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The form of a line.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, schemars::JsonSchema, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line, for machines.
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is none.
    #[error("the log filter `{filter}` is not usable: {why}")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        why: String,
    },
    /// The process has a log already.
    #[error("the log is already set up")]
    Twice,
}

/// Sets up the process's log, once.
///
/// `filter` is a level (`info`), or directives (`info,ripcord::intake=debug`).
pub fn init(format: Format, filter: &str) -> Result<(), LogError> {
    let colours = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let subscriber = subscriber(format, filter, std::io::stderr, colours)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)
}

/// What writes the lines.
fn subscriber<W>(
    format: Format,
    filter: &str,
    writer: W,
    colours: bool,
) -> Result<Box<dyn Subscriber + Send + Sync>, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parse(filter)?)
        .with_writer(writer);
    Ok(match format {
        Format::Text => Box::new(builder.with_ansi(colours).finish()),
        Format::Json => {
            let builder = builder.json().flatten_event(true).with_ansi(false);
            Box::new(builder.with_span_list(false).finish())
        }
    })
}

/// Reads a filter.
pub(crate) fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    let refuse = |why: String| LogError::Filter {
        filter: filter.to_owned(),
        why,
    };
    if filter.trim().is_empty() {
        return Err(refuse("it is empty".to_owned()));
    }
    // The parser takes whatever stands alone for the name of a module, so that a misspelt level would show nothing at all.
    let is_word = |part: &&str| !part.is_empty() && !part.contains(['=', '[']);
    let directives: Vec<&str> = filter.split(',').map(str::trim).collect();
    for word in directives.iter().copied().filter(is_word) {
        if LevelFilter::from_str(word).is_err() {
            return Err(refuse(format!(
                "`{word}` is no level (off, error, warn, info, debug, trace); a module is written `{word}=info`"
            )));
        }
    }
    EnvFilter::builder()
        .parse(directives.join(","))
        .map_err(|error| refuse(error.to_string()))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(format: Format, filter: &str, colours: bool) -> String {
        said(format, filter, colours, || {
            tracing::info!(trace_id = "4bf9", alerts = 2, "decided");
            tracing::debug!("a detail");
        })
    }

    fn said(format: Format, filter: &str, colours: bool, talk: impl FnOnce()) -> String {
        let paper = Paper::default();
        let target = paper.clone();
        let subscriber = subscriber(format, filter, move || target.clone(), colours).unwrap();
        // With one alone, what another thread logs first would be decided by that thread, which logs nowhere.
        let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
        tracing::subscriber::with_default(subscriber, talk);
        let bytes = paper.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// The lines for machines that something logs.
    pub(crate) fn lines(filter: &str, talk: impl FnOnce()) -> Vec<serde_json::Value> {
        let text = said(Format::Json, filter, false, talk);
        let line = |line| serde_json::from_str(line).unwrap();
        text.lines().map(line).collect()
    }

    #[test]
    fn text_lines_have_colours_only_when_asked_for() {
        let plain = written(Format::Text, "info", false);
        assert!(
            plain.contains("decided trace_id=\"4bf9\" alerts=2"),
            "{plain}"
        );
        assert!(
            !plain.contains('\u{1b}') && !plain.contains("a detail"),
            "{plain}"
        );
        assert!(written(Format::Text, "info", true).contains('\u{1b}'));
    }

    #[test]
    fn json_lines_are_flat_objects() {
        let text = written(Format::Json, "warn,ripcord=debug", true);
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["message"], "decided");
        assert_eq!(lines[0]["alerts"], 2);
        assert_eq!(lines[0]["level"], "INFO");
    }

    #[test]
    fn filters_are_read_strictly() {
        for good in [
            "info",
            "WARN",
            "off",
            "info, ripcord::intake=debug",
            "ripcord[span{a=1}]=trace,info",
        ] {
            parse(good).expect(good);
        }
        for bad in [
            "",
            "inof",
            "info,ripcord",
            "ripcord=loud",
            "info,ripcord::intake",
        ] {
            let said = parse(bad).expect_err(bad).to_string();
            assert!(said.contains(&format!("`{bad}`")), "{said}");
        }
    }

    /// What the program writes into a line by itself, and into the span within it.
    const TAKEN: [&str; 6] = ["timestamp", "level", "message", "target", "span", "name"];

    /// The fields that the calls of a macro name in a source text.
    fn fields(source: &str, call: &str) -> Vec<String> {
        let bodies = source.split(call).skip(1);
        let bodies = bodies.filter_map(|rest| rest.split_once('!')?.1.strip_prefix('('));
        bodies.flat_map(arguments).collect()
    }

    /// The names before the `=` of the arguments up to the closing parenthesis, or the arguments themselves.
    fn arguments(text: &str) -> Vec<String> {
        let (mut depth, mut quoted, mut escaped) = (0, false, false);
        let mut found = vec![String::new()];
        for c in text.chars() {
            match c {
                '"' if !escaped => quoted = !quoted,
                '(' | '[' | '{' if !quoted => depth += 1,
                ')' if !quoted && depth == 0 => break,
                ')' | ']' | '}' if !quoted => depth -= 1,
                ',' if !quoted && depth == 0 => {
                    found.push(String::new());
                    continue;
                }
                _ => {}
            }
            escaped = c == '\\' && !escaped;
            if let Some(argument) = found.last_mut() {
                argument.push(c);
            }
        }
        let name = |argument: &String| {
            let name = argument.split('=').next().unwrap_or_default().trim();
            name.trim_start_matches(['%', '?']).to_owned()
        };
        found.iter().map(name).collect()
    }

    fn sources(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn no_key_stands_twice_in_a_line() {
        // What is found is what collides.
        let twice = said(Format::Json, "info", false, || {
            tracing::info!({ "target" } = "api", "x");
        });
        assert_eq!(twice.matches("\"target\":").count(), 2, "{twice}");
        let bad = "tracing::warn!(a = f(1, 2), target = x.name, %error, \"b, (c\");";
        assert_eq!(
            fields(bad, "tracing::"),
            ["a", "target", "error", "\"b, (c\""]
        );

        let mut paths = Vec::new();
        sources(
            &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut paths,
        );
        let mut calls = 0;
        for path in paths
            .iter()
            .filter(|path| !path.ends_with("telemetry/logs.rs"))
        {
            let source = std::fs::read_to_string(path).unwrap();
            let named = fields(&source, "tracing::");
            calls += named.len();
            let bad: Vec<_> = named
                .iter()
                .filter(|name| TAKEN.contains(&name.as_str()))
                .collect();
            assert!(bad.is_empty(), "{}: {bad:?}", path.display());
        }
        assert!(calls > 100, "{calls}");
    }
}
