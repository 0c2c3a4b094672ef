//! The settings of the service: built-in default < file < environment.
//!
//! Every room owns its part; this file layers them, and says which key is wrong and which file or variable it came
//! from. No label value and no image tag may become a setting: the layers turn `012` into `12` where a text is not quoted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use config::{Config, ConfigError, FileStoredFormat, Format, Map, Value, ValueKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::diagnostic::{Diagnostic, Place, Source};
use super::nearest::{listed, nearest};
use super::policy::in_words;
use crate::{cluster, engine, intake, report, telemetry};

/// What the name of every variable that is a setting begins with. Two underscores, so that what Kubernetes puts into pods
/// for a Service called `ripcord` (`RIPCORD_SERVICE_HOST`) is none.
pub const PREFIX: &str = "RIPCORD__";

/// The settings of the service. They are read once, at start.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How notifications are received.
    pub intake: intake::settings::Settings,
    /// How the cluster is reached.
    pub cluster: cluster::settings::Settings,
    /// How rollbacks are run.
    pub engine: engine::settings::Settings,
    /// How people are told.
    pub report: report::settings::Settings,
    /// What the service says about itself.
    pub telemetry: telemetry::settings::Settings,
    /// Where numbers are asked for.
    pub prometheus: cluster::prometheus::Settings,
}

/// The settings that were read, or everything that is wrong with them.
pub type Read = Result<Settings, Vec<Diagnostic>>;

impl Settings {
    /// Reads the settings from a file, where there is one, and from variables.
    ///
    /// # Errors
    /// Everything that is wrong, each with its key and the file or variable that it came from.
    pub fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Read {
        let Some(path) = file else {
            return Self::read(None, variables);
        };
        let shown = path.display().to_string();
        match fs::read_to_string(path) {
            Ok(text) => Self::read(Some(Source { path: shown, text }), variables),
            Err(error) => Err(vec![Diagnostic::error(format!(
                "cannot read {shown}: {error}"
            ))]),
        }
    }

    /// Reads the settings from the text of a file, where there is one, and from variables. Pure.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn read(
        file: Option<Source>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Read {
        let defaults = defaults();
        let mut builder = Config::builder();
        if let Some(source) = file {
            let table = Yaml.parse(Some(&source.path), &source.text);
            let table = table.map_err(|error| vec![unreadable(source, error.as_ref())])?;
            let table = without_empty(table, &defaults);
            builder = builder.add_source(Layer(table));
        }
        builder = builder.add_source(Layer(from_variables(variables, &defaults)));
        let config = builder
            .build()
            .map_err(|error| vec![Diagnostic::error(error.to_string())])?;
        let mut wrong = Vec::new();
        unknown_keys(&config.cache, &defaults, "", &mut wrong);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let tree = config.cache.clone();
        let settings: Self = config
            .try_deserialize()
            .map_err(|error| vec![wrong_value(&error, &tree, &defaults)])?;
        let wrong: Vec<_> = settings
            .faults()
            .into_iter()
            .map(|(key, what)| {
                let origin = origin_of(&tree, &key).unwrap_or_else(|| "the defaults".to_owned());
                Diagnostic::error(format!("setting `{key}` (from {origin}) {what}"))
            })
            .collect();
        if wrong.is_empty() {
            Ok(settings)
        } else {
            Err(wrong)
        }
    }

    /// What each room says against its settings, with the key at fault.
    fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        if let Err(error) = self.intake.validate() {
            faults.push((format!("intake.{}", error.key()), error.to_string()));
        }
        if let Err(error) = self.cluster.validate() {
            faults.push((format!("cluster.{}", error.key()), error.to_string()));
        }
        if let Err(error) = self.engine.validate() {
            faults.push((format!("engine.{}", error.key()), error.to_string()));
        }
        if let Err(error) = self.report.validate() {
            faults.push((format!("report.{}", error.key()), error.to_string()));
        }
        if let Err(error) = self.prometheus.validate() {
            faults.push((format!("prometheus.{}", error.key()), error.to_string()));
        }
        if let Err(error) = self.telemetry.validate() {
            faults.push((format!("telemetry.{}", error.key()), error.to_string()));
        }
        faults
    }
}

/// Every key with its default: what is allowed, and what the documentation is written from.
#[must_use]
pub fn defaults() -> Json {
    serde_json::to_value(Settings::default()).unwrap_or(Json::Null)
}

/// YAML for the `config` crate, read by the same reader as the policy.
#[derive(Clone, Copy, Debug)]
struct Yaml;

impl Format for Yaml {
    fn parse(
        &self,
        uri: Option<&String>,
        text: &str,
    ) -> Result<Map<String, Value>, Box<dyn std::error::Error + Send + Sync>> {
        let options = serde_saphyr::options! { with_snippet: false };
        let table: Option<BTreeMap<String, Value>> =
            serde_saphyr::from_str_with_options(text, options)?;
        let table = table.unwrap_or_default().into_iter();
        Ok(table
            .map(|(key, value)| (key, from_file(value, uri)))
            .collect())
    }
}

impl FileStoredFormat for Yaml {
    fn file_extensions(&self) -> &'static [&'static str] {
        &["yaml"]
    }
}

/// Without the sections that have nothing in them, such as `intake:` with every key commented out: the defaults hold.
fn without_empty(table: Map<String, Value>, defaults: &Json) -> Map<String, Value> {
    let mut kept = Map::new();
    for (key, mut value) in table {
        if let Some(section) = defaults.get(&key).filter(|default| default.is_object()) {
            value.kind = match value.kind {
                ValueKind::Nil => continue,
                ValueKind::Table(inner) => ValueKind::Table(without_empty(inner, section)),
                kind => kind,
            };
        }
        kept.insert(key, value);
    }
    kept
}

/// Writes into a value, and into all that it holds, where it came from.
fn from_file(value: Value, uri: Option<&String>) -> Value {
    let kind = match value.kind {
        ValueKind::Table(table) => ValueKind::Table(
            table
                .into_iter()
                .map(|(key, value)| (key, from_file(value, uri)))
                .collect(),
        ),
        ValueKind::Array(items) => {
            ValueKind::Array(items.into_iter().map(|item| from_file(item, uri)).collect())
        }
        kind => kind,
    };
    Value::new(uri, kind)
}

/// One layer, already read.
#[derive(Clone, Debug)]
struct Layer(Map<String, Value>);

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

/// The variables that are settings: `RIPCORD__INTAKE__LISTEN` is `intake.listen`. A list is written with commas.
fn from_variables(
    variables: impl IntoIterator<Item = (String, String)>,
    defaults: &Json,
) -> Map<String, Value> {
    let mut table = Map::new();
    for (name, text) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let key = rest.to_ascii_lowercase().replace("__", ".");
        let origin = format!("variable {name}");
        let value = if default_of(defaults, &key).is_some_and(Json::is_array) {
            let items = text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            let items = items.map(|item| Value::new(Some(&origin), item.to_owned()));
            ValueKind::Array(items.collect())
        } else {
            ValueKind::String(text)
        };
        table.insert(key, Value::new(Some(&origin), value));
    }
    table
}

fn default_of<'a>(defaults: &'a Json, key: &str) -> Option<&'a Json> {
    key.split('.').try_fold(defaults, |at, part| at.get(part))
}

/// Collects the keys that are none.
fn unknown_keys(found: &Value, known: &Json, path: &str, wrong: &mut Vec<Diagnostic>) {
    let (ValueKind::Table(table), Json::Object(known)) = (&found.kind, known) else {
        return;
    };
    let mut keys: Vec<_> = table.iter().collect();
    keys.sort_by_key(|(key, _)| key.as_str());
    for (key, value) in keys {
        let full = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        if let Some(known) = known.get(key) {
            unknown_keys(value, known, &full, wrong);
            continue;
        }
        let names = || known.keys().map(String::as_str);
        let origin = value
            .origin()
            .map(str::to_owned)
            .or_else(|| inner_origin(value));
        let mut title = format!("setting `{full}`");
        if let Some(origin) = origin {
            title = format!("{title} (from {origin})");
        }
        let section = if path.is_empty() {
            "known are".to_owned()
        } else {
            format!("`{path}` has")
        };
        let mut help = format!("{section} {}", listed(names()).replace(" or ", " and "));
        if let Some(meant) = nearest(key, names()) {
            help = format!("did you mean `{meant}`? {help}");
        }
        wrong.push(Diagnostic::error(format!("{title} does not exist")).help(help));
    }
}

/// The first place that a table's content came from: a table that the layers made has none of its own.
fn inner_origin(value: &Value) -> Option<String> {
    match &value.kind {
        ValueKind::Table(table) => table.values().find_map(|value| {
            value
                .origin()
                .map(str::to_owned)
                .or_else(|| inner_origin(value))
        }),
        _ => None,
    }
}

/// Where the value of a key, or of the section that it would be in, came from.
fn origin_of(tree: &Value, key: &str) -> Option<String> {
    let mut at = tree;
    for part in key.split(['.', '[']).filter(|part| !part.ends_with(']')) {
        let ValueKind::Table(table) = &at.kind else {
            break;
        };
        at = table.get(part)?;
    }
    at.origin().map(str::to_owned).or_else(|| inner_origin(at))
}

/// A value of the wrong kind: which key, from where, and what was expected. A secret is not repeated.
fn wrong_value(error: &ConfigError, tree: &Value, defaults: &Json) -> Diagnostic {
    let (key, said) = match error {
        ConfigError::Type {
            unexpected,
            expected,
            key,
            ..
        } => (
            key.clone(),
            format!("found {unexpected}, expected {expected}"),
        ),
        ConfigError::At { error, key, .. } => (key.clone(), error.to_string()),
        other => (None, other.to_string()),
    };
    let Some(key) = key else {
        return Diagnostic::error(said);
    };
    let said = if key.ends_with("token") {
        "is not a text".to_owned()
    } else {
        said
    };
    let origin = origin_of(tree, &key);
    let origin = origin
        .map(|origin| format!(" (from {origin})"))
        .unwrap_or_default();
    let diagnostic = Diagnostic::error(format!("setting `{key}`{origin}: {said}"));
    match default_of(defaults, &key) {
        Some(default) if !default.is_null() && !default.is_object() => {
            diagnostic.help(format!("the default is {default}"))
        }
        _ => diagnostic,
    }
}

/// A file that is no YAML.
fn unreadable(
    source: Source,
    error: &(dyn std::error::Error + Send + Sync + 'static),
) -> Diagnostic {
    let title = format!("{} is no YAML that settings can be read from", source.path);
    let Some(error) = error.downcast_ref::<serde_saphyr::Error>() else {
        return Diagnostic::error(format!("{title}: {error}"));
    };
    let (title, label) = in_words(error).unwrap_or_else(|said| (title, said));
    match error.location() {
        Some(at) => {
            Diagnostic::error(title).at(Place::from_location(&Arc::new(source), &at), label)
        }
        None => Diagnostic::error(format!("{}: {title}: {label}", source.path)),
    }
}

#[cfg(test)]
mod tests;
