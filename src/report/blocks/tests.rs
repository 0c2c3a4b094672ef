use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn plain(text: &str) -> Mrkdwn {
    Mrkdwn::new().text(text)
}

fn sent(message: &Message) -> Value {
    serde_json::to_value(message).unwrap()
}

#[test]
fn a_message_is_written_the_way_slack_reads_it() {
    let blocks = [
        Block::header("options-api is back"),
        Block::section(&plain("why ").bold("P95").text(" > 260 ms")),
        Block::fields([plain("from r7"), plain("to r6")]),
        Block::divider(),
        Block::context([Mrkdwn::new().link("https://x.example/run?a=1&b=2", "runbook")]),
    ];
    let message = Message::new(&plain("back on r6"), blocks);
    let mrkdwn = |text: &str| json!({"type": "mrkdwn", "text": text, "verbatim": true});
    let expected = json!({
        "text": "back on r6",
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": "options-api is back", "emoji": true}},
            {"type": "section", "text": mrkdwn("why *P95* &gt; 260 ms")},
            {"type": "section", "fields": [mrkdwn("from r7"), mrkdwn("to r6")]},
            {"type": "divider"},
            {"type": "context", "elements": [mrkdwn("<https://x.example/run?a=1&amp;b=2|runbook>")]},
        ],
    });
    assert_eq!(sent(&message), expected);
}

#[test]
fn foreign_text_cannot_call_anybody() {
    let hostile = "<!channel> <@U012AB3CD> <https://evil.example|runbook> & `<!here>`";
    let markup = plain(hostile)
        .bold(hostile)
        .code(hostile)
        .preformatted(hostile)
        .link("ftp://x", hostile);
    assert!(!markup.as_str().contains(['<', '>']), "{markup}");
    let linked = Mrkdwn::new().link("https://ok.example/", "<!channel>|x>\n`y");
    assert_eq!(
        linked.as_str(),
        "<https://ok.example/|&lt;!channel&gt;¦x&gt; 'y>"
    );
}

#[test]
fn characters_that_reorder_or_hide_are_dropped() {
    assert_eq!(
        escape("rm\u{202e} -rf\u{0}\u{7f}\r\n\ta\u{2066}"),
        "rm -rf\n\ta"
    );
}

#[test]
fn a_style_that_cannot_show_a_text_leaves_it_alone() {
    assert_eq!(Mrkdwn::new().code("echo `date`").as_str(), "echo `date`");
    assert_eq!(
        Mrkdwn::new().code("kubectl get rb").as_str(),
        "`kubectl get rb`"
    );
    assert_eq!(Mrkdwn::new().bold("a*b").bold(" ").as_str(), "a*b ");
    assert_eq!(Mrkdwn::new().preformatted("a\nb").as_str(), "```a\nb```");
}

#[test]
fn only_plain_web_addresses_become_links() {
    let refused = [
        "javascript:alert(1)",
        "ftp://x.example/",
        "https://",
        "https:///path",
        "https://:443/",
        "https://slack.com@evil.example/",
        "https://a b.example/",
        "https://x.example/\n<!channel>",
        "runbook",
        "",
    ];
    for url in refused {
        assert_eq!(link(url, "label"), None, "{url}");
    }
    assert_eq!(
        link(&format!("https://x.example/{}", "a".repeat(1_000)), "label"),
        None
    );
    let tricky = link("HTTPS://x.example/a|b>c<d`e", "l").unwrap();
    assert_eq!(tricky, "<HTTPS://x.example/a%7Cb%3Ec%3Cd%60e|l>");
    assert_eq!(
        link("https://x.example/", " ").unwrap(),
        "<https://x.example/>"
    );
}

#[test]
fn mentions_are_ids_and_never_everybody() {
    let markup = |written: &str| {
        written
            .parse::<Mention>()
            .map(|who| Mrkdwn::new().mention(&who).to_string())
    };
    assert_eq!(markup("@U012AB3CD"), Ok("<@U012AB3CD>".to_owned()));
    assert_eq!(markup("W012AB3CD"), Ok("<@W012AB3CD>".to_owned()));
    assert_eq!(markup(" S0123ABC "), Ok("<!subteam^S0123ABC>".to_owned()));
    assert_eq!(markup("@here"), Ok("<!here>".to_owned()));
    for everybody in ["channel", "@channel", "everyone"] {
        assert_eq!(
            markup(everybody),
            Err(MentionError::Everybody(everybody.to_owned()))
        );
    }
    for odd in [
        "",
        "@",
        "oncall",
        "U012ab3cd",
        "U1",
        "C012AB3CD",
        "U012AB3CD>",
        "<@U012AB3CD>",
        "@@U012AB3CD",
        "Uüü012AB",
    ] {
        assert_eq!(
            markup(odd),
            Err(MentionError::NotAnId(odd.to_owned())),
            "{odd}"
        );
    }
    let read: Vec<Mention> = serde_json::from_value(json!(["@U012AB3CD", "here"])).unwrap();
    assert_eq!(
        serde_json::to_value(read).unwrap(),
        json!(["U012AB3CD", "here"])
    );
    assert!(serde_json::from_value::<Mention>(json!("@channel")).is_err());
}

#[test]
fn a_cut_spares_entities_links_and_code() {
    let long = plain("aaaa").append(&plain("&").link("https://x.example/", "runbook"));
    assert_eq!(cut_markup(long.as_str(), 11), "aaaa…", "inside &amp;");
    assert_eq!(cut_markup(long.as_str(), 13), "aaaa&amp;…");
    assert_eq!(
        cut_markup(long.as_str(), 30),
        "aaaa&amp;…",
        "inside the link"
    );
    let code = Mrkdwn::new().code(&"x".repeat(50));
    assert_eq!(cut_markup(code.as_str(), 10), "`xxxxx…`");
    let fenced = Mrkdwn::new().preformatted(&"x".repeat(50));
    assert_eq!(cut_markup(fenced.as_str(), 12), "```xxxxx…```");
    assert_eq!(cut_plain("🦀🦀🦀", 4), "🦀…");
}

#[test]
fn blank_parts_are_left_out() {
    let blocks = [
        Block::header(" "),
        Block::section(&plain("\n ")),
        Block::fields([plain(""), plain("x")]),
        Block::fields([]),
        Block::context([plain(" ")]),
    ];
    let message = Message::new(&Mrkdwn::new(), blocks);
    assert_eq!(message.text(), "…");
    assert_eq!(message.blocks(), [Block::fields([plain("x")])]);
}

#[test]
fn more_than_ten_fields_end_with_a_count() {
    let block =
        serde_json::to_value(Block::fields((0..14).map(|n| plain(&n.to_string())))).unwrap();
    let fields = block["fields"].as_array().unwrap();
    assert_eq!(fields.len(), 10);
    assert_eq!(fields[8]["text"], "8");
    assert_eq!(fields[9]["text"], "… and 5 more");
}

#[test]
fn what_does_not_fit_is_cut_and_said() {
    let big = Block::section(&plain(&"x".repeat(5_000)));
    let mut blocks = vec![big; 6];
    blocks.push(Block::section(&plain("next: look")));
    let message = Message::new(&plain("t"), blocks);
    assert!(size(&message) <= MAX_MESSAGE);
    assert!(
        size(&message) > MAX_MESSAGE - 200,
        "too much was cut: {}",
        size(&message)
    );
    let sent = sent(&message);
    let last = sent["blocks"].as_array().unwrap().last().unwrap();
    assert!(
        last["elements"][0]["text"]
            .as_str()
            .unwrap()
            .starts_with("Shortened")
    );

    let many = Message::new(
        &plain("t"),
        (0..80).map(|n| Block::section(&plain(&n.to_string()))),
    );
    assert_eq!(many.blocks().len(), MAX_BLOCKS);
    let exactly = Message::new(
        &plain("t"),
        (0..50).map(|n| Block::section(&plain(&n.to_string()))),
    );
    assert!(!sent_text(&exactly).contains("Shortened"));
}

fn sent_text(message: &Message) -> String {
    serde_json::to_string(message).unwrap()
}

proptest! {
    #[test]
    fn a_cut_is_short_enough_and_well_formed(raw in any::<String>(), most in 5_usize..60) {
        let markup = plain(&raw).link("https://x.example/", &raw).code(&raw);
        let cut = cut_markup(markup.as_str(), most);
        prop_assert!(units(&cut) <= most);
        prop_assert_eq!(cut.matches('<').count(), cut.matches('>').count());
        for (at, _) in cut.match_indices('&') {
            let entity = ["&amp;", "&lt;", "&gt;"].iter().any(|known| cut[at..].starts_with(known));
            prop_assert!(entity, "{}", cut);
        }
    }

    #[test]
    fn no_text_can_open_a_tag(raw in any::<String>()) {
        prop_assert!(!escape(&raw).contains(['<', '>']));
    }

    #[test]
    fn no_label_or_address_can_break_out_of_its_link(rest in "[ -~]{0,30}", label in any::<String>()) {
        if let Some(link) = link(&format!("https://x.example/{rest}"), &label) {
            prop_assert_eq!(link.matches('<').count(), 1);
            prop_assert_eq!(link.matches('>').count(), 1);
            prop_assert!(link.matches('|').count() <= 1);
        }
    }
}
