//! The rules that the tests on the real control plane load are the shipped ones, but for their times.

use regex::Regex;
use serde_json::Value;

use super::text;
use crate::support::scaled::scaled;

const FILES: [&str; 2] = ["prometheus/rules.yml", "prometheus/scrape.yml"];
/// Every text that looks like a time, wherever it stands.
const LOOKS: &str = r"\b\d+(ms|s|m|h|d)\b";

fn read(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// A time of the file, in milliseconds.
fn time(value: &Value) -> u128 {
    let written = value.as_str().unwrap();
    humantime::parse_duration(written).unwrap().as_millis()
}

/// All values under these keys, in order.
fn under<'a>(value: &'a Value, keys: &[&str], found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(all) => {
            for (key, value) in all {
                if keys.contains(&key.as_str()) {
                    found.push(value);
                }
                under(value, keys, found);
            }
        }
        Value::Array(all) => all.iter().for_each(|it| under(it, keys, found)),
        _ => {}
    }
}

#[test]
fn divided_by_one_nothing_changes() {
    for file in FILES {
        assert_eq!(scaled(&text(file), 1), text(file), "{file}");
    }
}

#[test]
fn nothing_but_times_changes() {
    let looks = Regex::new(LOOKS).unwrap();
    for file in FILES {
        let (shipped, scaled) = (text(file), scaled(&text(file), 20));
        let [was, is] = [&shipped, &scaled].map(|it| looks.replace_all(it, "TIME").into_owned());
        assert_eq!(was, is, "{file}");
        // What a person is told, and the limits, are no times of a rule.
        let [was, is] = [&shipped, &scaled].map(|it| {
            let lines = it.lines().filter(|it| it.contains("summary: "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        });
        assert_eq!(was, is, "{file}");
    }
}

#[test]
fn each_time_is_divided() {
    let (rules, jobs) = (text(FILES[0]), text(FILES[1]));
    for (shipped, keys, least) in [
        (rules, ["for", "interval"], 10),
        (jobs, ["scrape_interval", "scrape_timeout"], 3),
    ] {
        let (was, is) = (read(&shipped), read(&scaled(&shipped, 20)));
        let (mut before, mut after) = (Vec::new(), Vec::new());
        under(&was, &keys, &mut before);
        under(&is, &keys, &mut after);
        assert!(before.len() >= least, "{before:?}");
        let [before, after] =
            [before, after].map(|all| all.into_iter().map(time).collect::<Vec<_>>());
        let twenty: Vec<_> = after.iter().map(|it| it * 20).collect();
        assert_eq!(before, twenty);
    }
}

/// In the expressions, where a time is the end of a range or behind `offset`.
#[test]
fn so_is_each_range() {
    let looks = Regex::new(LOOKS).unwrap();
    let shipped = read(&text(FILES[0]));
    let mut all = Vec::new();
    under(&shipped, &["expr"], &mut all);
    let times: usize = all
        .iter()
        .map(|it| {
            let expression = it.as_str().unwrap();
            let once = scaled(expression, 20);
            let before = looks.find_iter(expression).map(|it| it.as_str());
            let after = looks.find_iter(&once).map(|it| it.as_str());
            let pairs: Vec<_> = before.zip(after).collect();
            for (before, after) in &pairs {
                let [before, after] =
                    [before, after].map(|it| time(&Value::String((*it).to_owned())));
                assert_eq!(before, 20 * after, "{expression}");
            }
            pairs.len()
        })
        .sum();
    assert!(times >= 10, "{times}");
}
