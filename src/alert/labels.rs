//! The labels of an alert, how they are written, and the fingerprint that names them.
//!
//! It refuses to judge names: since Alertmanager 0.27 a label name is any UTF-8 text.

use std::collections::{BTreeMap, btree_map};
use std::fmt::{self, Write};

use serde::{Deserialize, Deserializer, Serialize};

/// The label that holds an alert's name.
const ALERT_NAME: &str = "alertname";

/// FNV-1a, 64 bit: where it starts, and what it multiplies with.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
/// What ends each name and each value in a fingerprint; no UTF-8 text holds this byte.
const FNV_SEPARATOR: u8 = 0xff;

/// The labels of an alert, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Labels(BTreeMap<String, String>);

/// A text in double quotes, escaped so that a matcher parser reads the same text back.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl Labels {
    /// The value of the label `name`, if it is there.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of the label `name` as matchers see it: a label that is not there is empty.
    #[must_use]
    pub fn get_or_empty(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// The alert's name, the label `alertname`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.get(ALERT_NAME)
    }

    /// All labels, sorted by name.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.0.iter())
    }

    /// How many labels there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no label at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fingerprint as Prometheus and Alertmanager compute it: FNV-1a over the sorted names and values, each ended
    /// by the byte `0xff`, as 16 hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hash = FNV_OFFSET;
        let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        for text in self.0.iter().flat_map(|(name, value)| [name, value]) {
            text.bytes().for_each(&mut add);
            add(FNV_SEPARATOR);
        }
        format!("{hash:016x}")
    }
}

/// The labels of a [`Labels`], sorted by name.
#[derive(Clone, Debug)]
pub struct Iter<'a>(btree_map::Iter<'a, String, String>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.0
            .next()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('{')?;
        for (index, (name, value)) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write_name(f, name)?;
            write!(f, "={}", Quoted(value))?;
        }
        f.write_char('}')
    }
}

impl<'de> Deserialize<'de> for Labels {
    /// Reads a map of texts; `null`, which is Go's empty map, is no labels.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(|map| Self(map.unwrap_or_default()))
    }
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                // What would move a terminal's cursor is shown, not sent.
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// Writes a label name: bare where every parser reads it so, else in quotes.
pub(super) fn write_name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    let mut bytes = name.bytes();
    let bare = bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b == b':')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':');
    if bare {
        f.write_str(name)
    } else {
        write!(f, "{}", Quoted(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(instance: &str) -> Labels {
        Labels::from_iter([
            ("severity", "critical"),
            ("alertname", "PinnLatencyP95High"),
            ("instance", instance),
            ("job", "options-api"),
            ("namespace", "options-production"),
            ("rollout", "options-api-pinn-fixes"),
            ("t", "ok"),
        ])
    }

    #[test]
    fn a_fingerprint_is_alertmanagers() {
        // As Alertmanager 0.25 sent them.
        assert_eq!(pod("pod-1").fingerprint(), "9bd61e0bb2b54c7c");
        assert_eq!(pod("pod-2").fingerprint(), "75e4b9ebd94d4f4d");
        // The hash of nothing is where FNV-1a starts.
        assert_eq!(Labels::default().fingerprint(), "cbf29ce484222325");
    }

    #[test]
    fn a_fingerprint_keeps_names_and_values_apart() {
        let one = Labels::from_iter([("a", "bc")]).fingerprint();
        let other = Labels::from_iter([("ab", "c")]).fingerprint();
        assert_ne!(one, other);
    }

    #[test]
    fn labels_are_found_by_name() {
        let labels = pod("pod-1");
        assert_eq!(labels.name(), Some("PinnLatencyP95High"));
        assert_eq!(labels.get("job"), Some("options-api"));
        assert_eq!(labels.get("nothing"), None);
        assert_eq!(labels.get_or_empty("nothing"), "");
        assert_eq!((labels.len(), labels.is_empty()), (7, false));
        assert_eq!(
            labels.iter().next(),
            Some(("alertname", "PinnLatencyP95High"))
        );
        assert_eq!(Labels::default().name(), None);
    }

    #[test]
    fn labels_are_written_as_matchers_read_them() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[], "{}"),
            (&[("c", "d"), ("a", "b")], r#"{a="b", c="d"}"#),
            (&[("a", "say \"hi\"\\\n")], r#"{a="say \"hi\"\\\n"}"#),
            (&[("a", "\u{1b}[2J\r")], r#"{a="\u001b[2J\u000d"}"#),
            (&[("a b", "ü"), ("0", "")], r#"{"0"="", "a b"="ü"}"#),
            (&[("", "x"), ("job:rate", "y")], r#"{""="x", job:rate="y"}"#),
        ];
        for (pairs, text) in cases {
            let labels: Labels = pairs.iter().copied().collect();
            assert_eq!(labels.to_string(), *text);
        }
    }

    #[test]
    fn null_is_no_labels() {
        assert_eq!(
            serde_json::from_str::<Labels>("null").unwrap(),
            Labels::default()
        );
        let labels: Labels = serde_json::from_str(r#"{"b":"2","a":"1"}"#).unwrap();
        assert_eq!(
            serde_json::to_string(&labels).unwrap(),
            r#"{"a":"1","b":"2"}"#
        );
        assert!(serde_json::from_str::<Labels>(r#"{"a":1}"#).is_err());
    }
}
