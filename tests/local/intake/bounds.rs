//! What the door bears: sizes, times, memory, connections.

use super::*;

/// Sends a body in chunks of this size, without saying how long it will be.
async fn chunked(service: &Service, body: &[u8], size: usize) -> String {
    let stream = service.connect().await;
    let (mut reader, mut writer) = stream.into_split();
    let head = head("Transfer-Encoding: chunked\r\nConnection: close");
    let sending = async move {
        writer.write_all(head.as_bytes()).await?;
        for chunk in body.chunks(size) {
            writer
                .write_all(format!("{:x}\r\n", chunk.len()).as_bytes())
                .await?;
            writer.write_all(chunk).await?;
            writer.write_all(b"\r\n").await?;
        }
        writer.write_all(b"0\r\n\r\n").await?;
        Ok::<_, std::io::Error>(writer)
    };
    let mut answer = String::new();
    let reading = tokio::time::timeout(PATIENCE, reader.read_to_string(&mut answer));
    let (sent, read) = tokio::join!(sending, reading);
    sent.unwrap();
    read.expect("an answer in time").unwrap();
    answer
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_its_sender_learns_it() {
    let limits = Limits {
        max_body: 100_000,
        ..Limits::default()
    };
    let service = Service::with(limits);
    for size in [100_001, 1_000_000, 20_000_000] {
        let (status, answer) = send(service.post().body(vec![b'x'; size])).await;
        assert_eq!(
            (status, &answer["reason"]),
            (StatusCode::PAYLOAD_TOO_LARGE, &json!("too_large"))
        );
    }
    // In pieces of unknown number.
    let answer = chunked(&service, &vec![b'x'; 500_000], 1000).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(service.result("too_large").to_string(), "4");
    assert_eq!(service.series("ripcord_bytes_in_flight").to_string(), "0");

    let answer = chunked(&service, notification(1, 99_000).as_bytes(), 700).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_sender_that_asks_first_is_refused_before_it_sends() {
    let service = Service::start();
    let mut stream = service.connect().await;
    write(
        &mut stream,
        &head("Content-Length: 9000000\r\nExpect: 100-continue"),
    )
    .await;
    let answer = drain(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_slow_body_is_answered_with_503_and_the_connection_ends() {
    let limits = Limits {
        body_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let service = Service::with(limits);
    for length in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        let mut stream = service.connect().await;
        write(&mut stream, &format!("{}3\r\n{{\"v", head(length))).await;
        let answer = drain(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("connection: close") && answer.contains(r#""reason":"timeout""#));
    }
    assert_eq!(service.result("timeout").to_string(), "2");
    assert_eq!(service.series("ripcord_bytes_in_flight").to_string(), "0");
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_closed() {
    let limits = Limits {
        header_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let service = Service::with(limits);
    for said in [
        "",
        "P",
        "PRI * HTTP/2.0\r\n",
        "POST /api/v1/alerts HTTP/1.1\r\nHost: x\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut stream = service.connect().await;
        write(&mut stream, said).await;
        let answer = drain(&mut stream).await;
        let served = said.contains("healthz");
        assert_eq!(
            answer.starts_with("HTTP/1.1 200"),
            served,
            "{said:?}: {answer}"
        );
        assert_eq!(answer.is_empty(), !served, "{said:?}: {answer}");
    }
    assert_eq!(service.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let service = Service::start();
    let mut stream = service.connect().await;
    let long = format!("X-Long: {}", "x".repeat(100_000));
    write(&mut stream, &head(&long)).await;
    let answer = drain(&mut stream).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    assert_eq!(service.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn connections_that_are_too_many_are_closed() {
    let limits = Limits {
        connections: 3,
        ..Limits::default()
    };
    let service = Service::with(limits);
    let mut guests = Vec::new();
    for _ in 0..3 {
        let mut stream = service.connect().await;
        write(&mut stream, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(stream.read(&mut [0; 1000]).await.unwrap() > 0);
        guests.push(stream);
    }
    let mut fourth = service.connect().await;
    assert_eq!(drain(&mut fourth).await, "");
    guests.pop();
    let waiting = async {
        let url = format!("{}/healthz", service.url);
        while client().get(&url).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

#[tokio::test]
async fn bodies_share_one_budget_and_never_exceed_it() {
    const BODY: usize = 300_000;
    let limits = Limits {
        max_body: BODY + 1000,
        bytes_in_flight: 8 * 1024 * 1024,
        room_timeout: PATIENCE,
        body_timeout: PATIENCE,
        ..Limits::default()
    };
    let service = Service::with(limits);
    service.desk.hold();
    let body = notification(1, BODY - 400);
    let post = || tokio::spawn(send(service.post().body(body.clone())));
    let posts: Vec<_> = (0..12).map(|_| post()).collect();
    // Three fit in at a time, and the rest waits, although the network would bring all of them.
    for round in 1..=4 {
        until("three are at the desk", || {
            service.desk.begun() == round * 3
        })
        .await;
        let in_flight = service.series("ripcord_bytes_in_flight");
        assert!(
            in_flight > 6_400_000.0 && in_flight <= 8_388_608.0,
            "{in_flight}"
        );
        service.desk.let_go(3);
    }
    for post in posts {
        assert_eq!(post.await.unwrap().0, 200);
    }
    assert_eq!(service.desk.taken(), 12);

    let watch = async {
        until("two are at the desk", || service.desk.begun() == 14).await;
        assert!(service.series("ripcord_bytes_in_flight") <= 8_388_608.0);
        service.desk.let_go(2);
    };
    let (one, two, ()) = tokio::join!(
        chunked(&service, body.as_bytes(), 10_000),
        chunked(&service, body.as_bytes(), 10_000),
        watch
    );
    assert!(one.starts_with("HTTP/1.1 200") && two.starts_with("HTTP/1.1 200"));
    until("all room is free", || {
        service.series("ripcord_bytes_in_flight") < 1.0
    })
    .await;
}

#[tokio::test]
async fn without_room_in_time_the_sender_is_asked_to_come_back() {
    let limits = Limits {
        max_body: 300_000,
        bytes_in_flight: 300_032 * 8,
        room_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let service = Service::with(limits);
    service.desk.hold();
    let first = tokio::spawn(send(service.post().body(notification(1, 200_000))));
    until("the first is at the desk", || service.desk.begun() == 1).await;
    let (status, answer) = send(service.post().body(notification(1, 200_000))).await;
    assert_eq!(
        (status, &answer["reason"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("overloaded"))
    );
    service.desk.let_go(1);
    assert_eq!(first.await.unwrap().0, 200);
    service.desk.let_go(1);
    assert_eq!(
        send(service.post().body(notification(1, 200_000))).await.0,
        200
    );
    assert_eq!(service.result("overloaded").to_string(), "1");
}

#[tokio::test]
async fn a_body_that_never_fits_is_a_wrong_setting() {
    let service = Service::start();
    let limits = Limits {
        max_body: 2048,
        bytes_in_flight: 2048 * 8 - 1,
        ..Limits::default()
    };
    let start = |listen, limits| {
        Server::start(
            listen,
            limits,
            service.desk.clone(),
            None,
            Metrics::new("1"),
            Arc::new(|| NOW.parse().unwrap()),
        )
    };
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let said = start(free, limits).unwrap_err().to_string();
    assert!(said.contains("2048") && said.contains("16383"), "{said}");
    let said = start(service.running.addr, Limits::default())
        .unwrap_err()
        .to_string();
    assert!(said.contains(&service.running.addr.to_string()), "{said}");
}
