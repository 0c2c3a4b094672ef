//! What is answered to what.

use super::*;

#[tokio::test]
async fn a_notification_reaches_the_desk_and_is_answered_in_order() {
    let service = Service::start();
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = service.post().header("traceparent", traceparent);
    let (status, answer) = send(request.body(notification(2, 0))).await;
    assert_eq!(status, 200);
    let decision = |n: usize| {
        json!({"fingerprint": format!("{n:016x}"), "decision": "decline", "reason": "no_trigger",
               "said": "no trigger wants it"})
    };
    let wanted = json!({"received": 2, "decisions": [decision(0), decision(1)]});
    assert_eq!(answer, wanted);

    let (taken, received, trace) = service.desk.taken.lock().unwrap()[0].clone();
    assert_eq!(taken.alerts.len(), 2);
    assert_eq!(received, NOW.parse().unwrap());
    assert_eq!(trace.traceparent(), traceparent);
    assert_eq!(service.result("accepted").to_string(), "1");
    let alerts = r#"ripcord_alerts_total{decision="decline",reason="no_trigger"}"#;
    assert_eq!(service.series(alerts).to_string(), "2");
    assert_eq!(
        service.series("ripcord_intake_seconds_count").to_string(),
        "1"
    );
    let last = service.series("ripcord_last_notification_timestamp_seconds");
    assert_eq!(last.to_string(), received.as_second().to_string());
}

#[tokio::test]
async fn without_a_traceparent_each_notification_gets_a_trace() {
    let service = Service::start();
    for _ in 0..2 {
        send(service.post().body(notification(1, 0))).await;
    }
    let taken = service.desk.taken.lock().unwrap();
    let ids: Vec<String> = taken.iter().map(|(_, _, trace)| trace.trace_id()).collect();
    assert!(ids[0] != ids[1] && ids[0].len() == 32, "{ids:?}");
}

#[tokio::test]
async fn alertmanagers_own_bodies_are_taken() {
    let service = Service::start();
    for name in ["notification-0.25.json", "notification-0.34-truncated.json"] {
        let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
        let body = std::fs::read(path).unwrap();
        let (status, answer) = send(service.post().body(body)).await;
        assert_eq!(status, 200, "{answer}");
    }
    assert_eq!(service.desk.taken(), 2);
}

#[tokio::test]
async fn a_thousand_alerts_are_answered_without_words() {
    let service = Service::start();
    let body = notification(1000, 600);
    assert!(body.len() > 512 * 1024);
    let (status, answer) = send(service.post().body(body)).await;
    assert_eq!(
        (status, &answer["received"]),
        (StatusCode::OK, &1000.into())
    );
    let decisions = answer["decisions"].as_array().unwrap();
    assert_eq!(decisions.len(), 1000);
    assert_eq!(decisions[999]["fingerprint"], format!("{:016x}", 999));
    assert!(decisions.iter().all(|one| one["said"].is_null()));
}

#[tokio::test]
async fn what_is_no_notification_is_told_why() {
    let service = Service::start();
    for (body, error, place) in [
        ("", "not JSON: the body is empty", json!("line 1, column 1")),
        (
            "{",
            "not JSON: EOF while parsing an object",
            json!("line 1, column 1"),
        ),
        (
            r#"{"text":"hello"}"#,
            "not an Alertmanager notification of version 4: it has no `version`",
            Value::Null,
        ),
    ] {
        let (status, answer) = send(service.post().body(body)).await;
        assert_eq!(status, 400);
        assert_eq!(
            (&answer["error"], &answer["where"]),
            (&json!(error), &place)
        );
    }
    // Also when it is large enough for a thread of its own.
    let broken = notification(600, 600).replace("2026-11-22T03:12:40Z", "yesterday");
    let (status, answer) = send(service.post().body(broken)).await;
    assert_eq!(status, 400);
    assert!(
        answer["where"]
            .as_str()
            .unwrap()
            .starts_with("alerts[0].startsAt,"),
        "{answer}"
    );
    assert_eq!(service.result("malformed").to_string(), "4");
    assert_eq!(service.desk.begun(), 0);
}

#[tokio::test]
async fn what_was_not_recorded_makes_the_sender_come_back() {
    let service = Service::start();
    let finding = Reason::Unrecorded.because("the API server did not answer");
    service.desk.state.lock().unwrap().unrecorded = Some(finding);
    let (status, answer) = send(service.post().body(notification(2, 0))).await;
    assert_eq!(status, 503);
    assert_eq!(answer["error"], "the API server did not answer");
    assert_eq!(
        (&answer["reason"], &answer["received"]),
        (&json!("unrecorded"), &json!(2))
    );
    assert_eq!(answer["decisions"].as_array().unwrap().len(), 2);
    assert_eq!(service.result("unrecorded").to_string(), "1");
    assert_eq!(
        service
            .series("ripcord_last_notification_timestamp_seconds")
            .to_string(),
        "0"
    );
}

#[tokio::test]
async fn a_slow_desk_is_not_waited_for_and_still_finishes() {
    let limits = Limits {
        desk_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let service = Service::with(limits);
    service.desk.hold();
    let (status, answer) = send(service.post().body(notification(1, 0))).await;
    assert_eq!(
        (status, &answer["reason"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("unrecorded"))
    );
    assert_eq!(service.desk.taken(), 0);
    assert!(
        service.series("ripcord_bytes_in_flight") > 0.0,
        "its room stays taken"
    );
    service.desk.let_go(1);
    until("the desk finishes", || service.desk.taken() == 1).await;
    until("the room is free", || {
        service.series("ripcord_bytes_in_flight") < 1.0
    })
    .await;
}

#[tokio::test]
async fn a_panic_is_an_answer_and_the_server_lives() {
    let service = Service::start();
    service.desk.state.lock().unwrap().panics = true;
    let (status, answer) = send(service.post().body(notification(1, 0))).await;
    assert_eq!(
        (status, &answer["reason"]),
        (StatusCode::INTERNAL_SERVER_ERROR, &json!("panicked"))
    );
    assert_eq!(service.result("panicked").to_string(), "1");
    assert_eq!(
        service.series("ripcord_handler_panics_total").to_string(),
        "1"
    );
    assert_eq!(service.series("ripcord_bytes_in_flight").to_string(), "0");
    service.desk.state.lock().unwrap().panics = false;
    assert_eq!(send(service.post().body(notification(1, 0))).await.0, 200);

    // A poisoned lock makes the probe's handler panic, which the router catches.
    let desk = service.desk.clone();
    let poisoned = std::thread::spawn(move || {
        let _held = desk.state.lock().unwrap();
        panic!("told to panic");
    });
    assert!(poisoned.join().is_err());
    assert_eq!(service.get("/readyz").await.0, 500);
    assert_eq!(
        service.series("ripcord_handler_panics_total").to_string(),
        "2"
    );
    assert_eq!(service.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn probes_metrics_and_wrong_turns_need_no_token() {
    let service = Service::start();
    assert_eq!(
        service.get("/healthz").await,
        (StatusCode::OK, json!({"alive": true}))
    );
    assert_eq!(
        service.get("/readyz").await,
        (StatusCode::OK, json!({"ready": true}))
    );
    let finding = Reason::NotReady.because("the cache of rollbacks is not filled");
    service.desk.state.lock().unwrap().unready = Some(finding);
    let wanted = json!({"ready": false, "reason": "not_ready", "said": "the cache of rollbacks is not filled"});
    assert_eq!(
        service.get("/readyz").await,
        (StatusCode::SERVICE_UNAVAILABLE, wanted)
    );

    for path in ["/", "/api/v1/alerts/", "/api/v2/alerts", "//healthz"] {
        assert_eq!(service.get(path).await.0, 404, "{path}");
    }
    for (path, allow) in [
        ("/api/v1/alerts", "POST"),
        ("/healthz", "GET,HEAD"),
        ("/metrics", "GET,HEAD"),
    ] {
        let url = format!("{}{path}", service.url);
        let response = service.client.put(url).send().await.unwrap();
        assert_eq!(response.headers()["allow"], allow);
        assert_eq!(read(response).await.0, 405);
    }

    let url = format!("{}/metrics", service.url);
    let response = service.client.get(url).send().await.unwrap();
    let kind = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(response.text().await.unwrap().ends_with("# EOF\n"));
}

#[tokio::test]
async fn http_2_is_spoken_without_tls() {
    let service = Service::start();
    let client = Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .build()
        .unwrap();
    let url = format!("{}/api/v1/alerts", service.url);
    let requests = (1..=8).map(|n| {
        let request = client
            .post(&url)
            .bearer_auth(TOKEN)
            .body(notification(n, 10_000));
        async move { (n, request.send().await.unwrap()) }
    });
    for (n, response) in futures_util::future::join_all(requests).await {
        assert_eq!(response.version(), reqwest::Version::HTTP_2);
        let (status, answer) = read(response).await;
        assert_eq!((status, &answer["received"]), (StatusCode::OK, &n.into()));
    }
    let stranger = client.post(&url).body(vec![b'x'; 1_000_000]);
    assert_eq!(send(stranger).await.0, 401);
    let large = client
        .post(&url)
        .bearer_auth(TOKEN)
        .body(vec![b'x'; 5_000_000]);
    assert_eq!(send(large).await.0, 413);
}

#[tokio::test]
async fn what_the_alerts_led_to_is_in_the_log() {
    let service = Service::start();
    let path = service.folder.path().join("log");
    // Everything here runs on this thread, and only this thread logs there.
    let log = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(Arc::new(std::fs::File::create(&path).unwrap()))
        .finish();
    // With one alone, what another thread logs first would be decided by that thread, which logs nowhere.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    let guard = tracing::subscriber::set_default(log);
    assert_eq!(send(service.post().body(notification(3, 0))).await.0, 200);
    drop(guard);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told: Vec<Value> = lines
        .filter(|line| line["reason"] == "no_trigger")
        .collect();
    assert_eq!(told.len(), 1, "{text}");
    assert_eq!(
        (
            &told[0]["alerts"],
            &told[0]["fingerprint"],
            &told[0]["level"]
        ),
        (&json!(3), &json!("0000000000000000"), &json!("DEBUG"))
    );
    assert_eq!(told[0]["trace_id"].as_str().map(str::len), Some(32));
}
