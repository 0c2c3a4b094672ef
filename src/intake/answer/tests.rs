use http_body_util::BodyExt;

use super::*;

async fn text(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn answered(n: usize) -> Answered {
    Answered {
        fingerprint: format!("{n:016x}"),
        trigger: Some("latency".to_owned()),
        decision: "start",
        reason: Reason::Claimed,
        said: "r7 went live 6 min ago".to_owned(),
        rollback: Some("options-production/options-api-r7-7dc687bd8d".to_owned()),
    }
}

#[tokio::test]
async fn decisions_are_told_in_order_and_densely() {
    let declined = Answered {
        trigger: None,
        decision: "decline",
        reason: Reason::NoTrigger,
        said: String::new(),
        rollback: None,
        ..answered(2)
    };
    let outcome = Outcome {
        decisions: vec![answered(1), declined],
        unrecorded: None,
    };
    let response = Answer::Done(2, outcome).respond(Version::HTTP_11);
    assert_eq!(response.status(), StatusCode::OK);
    insta::assert_snapshot!(text(response).await, @r#"{"received":2,"decisions":[{"fingerprint":"0000000000000001","trigger":"latency","decision":"start","reason":"claimed","said":"r7 went live 6 min ago","rollback":"options-production/options-api-r7-7dc687bd8d"},{"fingerprint":"0000000000000002","decision":"decline","reason":"no_trigger"}]}"#);
}

#[tokio::test]
async fn long_answers_leave_the_words_out() {
    for (count, wordy) in [(200, true), (201, false)] {
        let outcome = Outcome {
            decisions: (0..count).map(answered).collect(),
            unrecorded: None,
        };
        let text = text(Answer::Done(count, outcome).respond(Version::HTTP_11)).await;
        let body: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(body["decisions"].as_array().unwrap().len(), count);
        assert_eq!(text.contains("r7 went live"), wordy);
    }
}

#[tokio::test]
async fn a_failure_says_what_was_decided_and_stays_short() {
    let finding = Reason::Unrecorded.because("the API server did not answer");
    let decisions = (0..25).map(answered).collect();
    let response = Answer::Unrecorded(Some(1000), finding, decisions).respond(Version::HTTP_11);
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let body: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(body["error"], "the API server did not answer");
    assert_eq!(body["reason"], "unrecorded");
    assert_eq!(
        (&body["received"], &body["omitted"]),
        (&1000.into(), &5.into())
    );
    assert_eq!(body["decisions"].as_array().unwrap().len(), LISTED);
}

#[tokio::test]
async fn what_is_malformed_is_told_with_its_place() {
    for (body, wanted) in [
        (
            &b"{"[..],
            r#"{"error":"not JSON: EOF while parsing an object","reason":"malformed","where":"line 1, column 1"}"#,
        ),
        (
            b"{}",
            r#"{"error":"not an Alertmanager notification of version 4: it has no `version`","reason":"malformed"}"#,
        ),
        (
            br#"{"version":"4"}"#,
            r#"{"error":"missing","reason":"malformed","where":"alerts, in the object that ends at line 1, column 15"}"#,
        ),
    ] {
        let error = crate::alert::decode(body).unwrap_err();
        assert_eq!(
            text(Answer::Malformed(error).respond(Version::HTTP_11)).await,
            wanted
        );
    }
}

#[test]
fn http_2_has_no_connection_header() {
    let slow = Answer::Unread(Refusal::Slow);
    assert!(
        slow.respond(Version::HTTP_11)
            .headers()
            .contains_key(CONNECTION)
    );
    assert!(
        !slow
            .respond(Version::HTTP_2)
            .headers()
            .contains_key(CONNECTION)
    );
}
