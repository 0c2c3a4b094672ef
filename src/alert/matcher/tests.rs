use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What Alertmanager's own two parsers make of these texts: the text, the lists that the newer and the older
/// parser read, and the one matcher that each reads; `null` where it refuses.
const ALERTMANAGER: &str = include_str!("../../../tests/data/matchers.jsonl");

type Triple = (String, String, String);
type Line = (
    String,
    Option<Vec<Triple>>,
    Option<Vec<Triple>>,
    Option<Vec<Triple>>,
    Option<Vec<Triple>>,
);

fn triple(matcher: &Matcher) -> Triple {
    (
        matcher.name().to_owned(),
        matcher.op().to_string(),
        matcher.value().to_owned(),
    )
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

fn all(text: &str) -> Matchers {
    parse_all(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn one(text: &str) -> Matcher {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What Alertmanager makes of a text, by the rules that `parse` documents.
fn expected<'a>(
    newer: Option<&'a [Triple]>,
    older: Option<&'a [Triple]>,
) -> Option<(&'a [Triple], Reading)> {
    match (newer, older) {
        (Some(newer), None) => Some((newer, Reading::Utf8)),
        (Some(newer), Some(older)) if newer == older => Some((newer, Reading::Agreed)),
        (Some(newer), Some(_)) => Some((newer, Reading::Disputed)),
        (None, Some(older)) if !older.is_empty() => Some((older, Reading::Classic)),
        (None, _) => None,
    }
}

#[test]
fn every_text_is_read_as_alertmanager_reads_it() {
    let mut seen = BTreeMap::<String, usize>::new();
    for line in ALERTMANAGER.lines() {
        let (text, list, old_list, single, old_single): Line = serde_json::from_str(line).unwrap();
        let got = parse_all(&text).ok();
        let got_list: Option<Vec<_>> = got.as_ref().map(|list| list.iter().map(triple).collect());
        let want = expected(list.as_deref(), old_list.as_deref());
        assert_eq!(got_list.as_deref(), want.map(|(list, _)| list), "{text:?}");
        if let (Some(first), Some((_, reading))) =
            (got.as_ref().and_then(|list| list.iter().next()), want)
        {
            assert_eq!(first.reading(), reading, "{text:?}");
        }
        *seen
            .entry(format!("{:?}", want.map(|(_, reading)| reading)))
            .or_default() += 1;

        let a_list = [&list, &old_list]
            .into_iter()
            .flatten()
            .next()
            .is_some_and(|list| list.len() > 1);
        let braces = text.starts_with('{') || text.ends_with('}');
        let want =
            expected(single.as_deref(), old_single.as_deref()).filter(|_| !braces && !a_list);
        let got = parse(&text).ok();
        assert_eq!(
            got.as_ref().map(triple).as_ref(),
            want.map(|(one, _)| &one[0]),
            "{text:?}"
        );
        assert_eq!(
            got.map(|one| one.reading()),
            want.map(|(_, reading)| reading),
            "{text:?}"
        );
    }
    // The table must hold every kind to prove anything.
    assert!(
        seen.len() == 5 && seen.values().all(|&count| count >= 20),
        "{seen:?}"
    );
}

#[test]
fn matchers_test_labels() {
    let set = labels(&[
        ("alertname", "PinnLatencyP95High"),
        ("severity", "critical"),
        ("lines", "a\nb"),
    ]);
    let cases = [
        (r#"alertname="PinnLatencyP95High""#, true),
        (r#"alertname="PinnLatency""#, false),
        (r#"alertname!="Other""#, true),
        (r#"alertname=~"Pinn.*""#, true),
        (r#"alertname=~"Pinn""#, false),
        (r#"alertname=~"Latency.*""#, false),
        (r#"alertname!~"Pinn""#, true),
        (r#"alertname!~"Pinn.*""#, false),
        ("severity=~critical|warning", true),
        ("severity=~crit|ical", false),
        // A label that is not there is the empty text.
        (r#"team="""#, true),
        (r#"team!="""#, false),
        (r#"team=~".*""#, true),
        (r#"team=~".+""#, false),
        ("team!=a", true),
        (r#"team!~"a|""#, false),
        (r#"lines=~"a.b""#, false),
        (r#"lines=~"(?s)a.b""#, true),
        (r#"lines="a\nb""#, true),
    ];
    for (text, matches) in cases {
        assert_eq!(one(text).matches(&set), matches, "{text}");
    }
}

#[test]
fn a_list_holds_when_every_test_does() {
    let list = all(r#"{alertname="A", severity=~"critical|page", env!="dev"}"#);
    assert!(list.matches(&labels(&[("alertname", "A"), ("severity", "page")])));
    let other = labels(&[("alertname", "A"), ("severity", "page"), ("env", "dev")]);
    assert!(!list.matches(&other));
    assert_eq!(list.first_failing(&other), Some(&one("env!=dev")));
    assert_eq!(
        list.first_failing(&Labels::default()),
        Some(&one("alertname=A"))
    );
    assert_eq!((list.len(), list.is_empty()), (3, false));
    assert!(all("").matches(&Labels::default()) && all("{}").is_empty());
}

#[test]
fn one_matcher_stands_alone() {
    let cases = [
        ("{a=b}", 0..1, "one matcher is expected, without braces"),
        ("a=b}", 3..4, "one matcher is expected, without braces"),
        ("a=b,c=d", 4..7, "one matcher is expected, found another"),
        (
            r"a=b,c=d\.e",
            0..10,
            "one matcher is expected, found a list",
        ),
        ("", 0..0, "expected a matcher, found the end of the text"),
        ("  ", 2..2, "expected a matcher, found the end of the text"),
    ];
    for (text, span, what) in cases {
        assert_eq!(parse(text), Err(ParseError::new(span, what)), "{text}");
    }
}

#[test]
fn errors_say_where_and_what_was_expected() {
    let cases = [
        (
            "a",
            1..1,
            "expected `=`, `!=`, `=~` or `!~`, found the end of the text",
        ),
        (
            "a b",
            2..3,
            "expected `=`, `!=`, `=~` or `!~`, found a text",
        ),
        ("a,b=c", 1..2, "expected `=`, `!=`, `=~` or `!~`, found `,`"),
        ("=b", 0..1, "expected a label name, found `=`"),
        (",", 0..1, "expected a label name, found `,`"),
        ("a=b,,c=d", 4..5, "expected a label name, found `,`"),
        ("ü=", 3..3, "expected a value, found the end of the text"),
        (
            r#"a="b" "c""#,
            6..9,
            "expected `,` or the end, found a text",
        ),
        (r#"{a="b" "c""#, 7..10, "expected `,` or `}`, found a text"),
        (r#"{"a"=b"#, 6..6, "expected `}`, found the end of the text"),
        ("{", 1..1, "expected `}`, found the end of the text"),
        ("}", 0..1, "`}` without a `{` at the start"),
        (r#"{a="b"} "c""#, 8..11, "expected the end, found a text"),
        (r#"a="b"#, 2..4, "the closing `\"` is missing"),
        (r#"a!"b""#, 1..2, "expected `!=` or `!~`, found `!`"),
        (r#"~a="b""#, 0..1, "`~` may only stand in double quotes"),
        (
            r#""a\.b"=c"#,
            2..4,
            r"`\.` is no escape; a backslash itself is written `\\`",
        ),
        (
            "\"a\nb\"=c",
            2..3,
            r"a line break in quotes is written `\n`",
        ),
        (r#""\xff"=c"#, 0..6, "the escapes do not add up to UTF-8"),
        ("a=~(b", 3..5, "bad regular expression: unclosed group"),
        (
            r#"a=~"[b""#,
            3..7,
            "bad regular expression: unclosed character class",
        ),
    ];
    for (text, span, what) in cases {
        assert_eq!(parse_all(text), Err(ParseError::new(span, what)), "{text}");
    }
    let error = parse_all("{").unwrap_err().to_string();
    assert_eq!(error, "expected `}`, found the end of the text (at byte 1)");
}

#[test]
fn expressions_have_a_limit() {
    assert!(Matcher::new("a", Op::Match, "((a{100}){100}){100}").is_err());
    assert!(Matcher::new("a", Op::NotMatch, "(".repeat(500) + &")".repeat(500)).is_err());
    assert!(Matcher::new("a", Op::Equal, "(").is_ok());
}

#[test]
fn expressions_that_only_go_knows_are_refused() {
    for pattern in [r"\Qa.b\E", r"\C", "a{", "a{b}", "[[]"] {
        assert!(Matcher::new("a", Op::Match, pattern).is_err(), "{pattern}");
    }
    let digit = Matcher::new("a", Op::Match, r"\d").unwrap();
    assert!(digit.matches_value("7") && digit.matches_value("٧"));
}

#[test]
fn where_the_parsers_differ_is_told() {
    let cases = [
        (r#"a="b""#, Reading::Agreed, "b"),
        ("ü=b", Reading::Utf8, "b"),
        (r#"a=~"b\.c""#, Reading::Classic, r"b\.c"),
        (r#"a="\t""#, Reading::Disputed, "\t"),
        ("a=b,", Reading::Disputed, "b"),
    ];
    for (text, reading, value) in cases {
        let matcher = one(text);
        assert_eq!(
            (matcher.reading(), matcher.value()),
            (reading, value),
            "{text}"
        );
    }
}

#[test]
fn a_list_covers_what_certainly_passes_it() {
    let cases = [
        // An empty list covers everything, and is covered by itself alone.
        ("", "", true),
        ("", "a=b", true),
        ("a=b", "", false),
        ("a=b", "a=b", true),
        ("a=b", "a=b,c=d", true),
        ("a=b,c=d", "a=b", false),
        ("a=b,c=d", "c=d,a=b", true),
        ("a=b", "x=b", false),
        // `=` decides every other test of the same label.
        (r#"a=~"b.*""#, "a=bc", true),
        (r#"a=~"b.*""#, "a=cb", false),
        ("a!=b", "a=c", true),
        ("a!=b", "a=b", false),
        (r#"a!~"b.*""#, "a=c", true),
        (r#"a!~"b.*""#, "a=bc", false),
        (r#"a!~".+""#, r#"a="""#, true),
        // An expression that lists words is decided word by word.
        ("a=~b|c|d", "a=~b|c", true),
        ("a=~b|c", "a=~b|c|d", false),
        ("a!=d", "a=~b|c", true),
        (r#"a=~".+""#, "a=~b|", false),
        // Two other expressions are compared as texts.
        (r#"a=~"b.*""#, r#"a=~"b.*""#, true),
        (r#"a=~"b.*""#, r#"a=~"bc.*""#, false),
        ("a!=b", "a!=b", true),
        ("a!=b", "a!=c", false),
    ];
    for (mine, later, covers) in cases {
        assert_eq!(
            all(mine).covers(&all(later)),
            covers,
            "{mine:?} covers {later:?}"
        );
    }
}

#[test]
fn lists_are_built_and_written() {
    let mut list: Matchers = [one("a=b")].into_iter().collect();
    list.extend(all(r#"c=~"d|e", "x y"!="""#));
    assert_eq!(list.to_string(), r#"{a="b", c=~"d|e", "x y"!=""}"#);
    assert_eq!(list.to_string().parse(), Ok(list.clone()));
    assert_eq!(
        list.into_iter().map(|matcher| matcher.op()).last(),
        Some(Op::NotEqual)
    );
    assert_ne!(one("a=b"), one("a!=b"));
}

fn any_op() -> impl Strategy<Value = Op> {
    prop::sample::select(vec![Op::Equal, Op::NotEqual, Op::Match, Op::NotMatch])
}

/// Matchers of few labels and values, so that they have something to do with each other.
fn close_list() -> impl Strategy<Value = Matchers> {
    let value = prop::sample::select(vec!["", "a", "b", "a|b", "a.*", ".*", ".+", "b|", "[ab]"]);
    let matcher = (prop::sample::select(vec!["x", "y"]), any_op(), value);
    prop::collection::vec(matcher, 0..4).prop_map(|list| {
        list.into_iter()
            .map(|(name, op, value)| Matcher::new(name, op, value).unwrap())
            .collect()
    })
}

proptest! {
    #[test]
    fn writing_and_reading_gives_the_same(name in any::<String>(), op in any_op(), value in any::<String>()) {
        let value = if matches!(op, Op::Match | Op::NotMatch) { regex::escape(&value) } else { value };
        let matcher = Matcher::new(name, op, value).unwrap();
        prop_assert_eq!(parse(&matcher.to_string()), Ok(matcher.clone()));
        let list: Matchers = [matcher.clone(), matcher].into_iter().collect();
        prop_assert_eq!(parse_all(&list.to_string()), Ok(list));
    }

    #[test]
    fn no_text_is_too_odd(text in r#"(a|ü|=|!|~|[{}]|,|"|\\|\n| |x|u|0|.){0,24}"#) {
        for error in [parse(&text).err(), parse_all(&text).err()].into_iter().flatten() {
            prop_assert!(text.get(error.span).is_some());
            prop_assert!(!error.what.is_empty());
        }
    }

    #[test]
    fn what_is_covered_passes(mine in close_list(), later in close_list(), x in "[abc]{0,2}", y in "[abc]{0,2}") {
        let set = labels(&[("x", &x), ("y", &y)]);
        if mine.covers(&later) && later.matches(&set) {
            prop_assert!(mine.matches(&set), "{mine} covers {later}, but not {set}");
        }
    }
}
