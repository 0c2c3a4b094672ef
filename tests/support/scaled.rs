//! The shipped rules and scrape jobs with all their times divided, so that a test can wait for what takes minutes: each
//! `for`, each interval, each range and each offset. Everything else stays as it is, byte by byte: names, expressions,
//! limits, labels, and what the annotations say.
//!
//! It refuses what does not divide into whole milliseconds. A time that is written in another way is left alone, so that a
//! test compares what is read from the result.

use regex::{Captures, Regex};

/// Where a time stands in rules and scrape jobs, and how it is written there.
const TIMES: &str = r"(for: |interval: |\[|offset )(\d+)(ms|s|m|h|d)\b";
/// The units, longest first, and their milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// The text with its times divided by this.
pub(crate) fn scaled(text: &str, factor: u64) -> String {
    let times = Regex::new(TIMES).unwrap();
    let divided = times.replace_all(text, |found: &Captures<'_>| {
        format!("{}{}", &found[1], divided(&found[2], &found[3], factor))
    });
    divided.into_owned()
}

/// One time, divided, in its own unit or the longest shorter one in which it is whole.
fn divided(count: &str, unit: &str, factor: u64) -> String {
    let own = UNITS.iter().position(|(name, _)| *name == unit).unwrap();
    let all = count.parse::<u64>().unwrap() * UNITS[own].1;
    assert_eq!(all % factor, 0, "{count}{unit} / {factor}");
    let left = all / factor;
    let whole = UNITS[own..]
        .iter()
        .find(|(_, size)| left.is_multiple_of(*size));
    let (name, size) = whole.unwrap();
    format!("{}{name}", left / size)
}
