//! Who may send.

use super::*;

#[tokio::test]
async fn strangers_are_refused_without_detail_and_nothing_is_read() {
    let service = Service::start();
    let url = format!("{}/api/v1/alerts", service.url);
    let requests = [
        service.client.post(&url),
        service.client.post(&url).bearer_auth("wrong"),
        service.client.post(&url).bearer_auth(format!("{TOKEN}x")),
        service.client.post(&url).basic_auth("x", Some(TOKEN)),
        service.post().bearer_auth(TOKEN),
    ];
    for request in requests {
        // Longer than allowed: a stranger is not told that.
        let response = request
            .body(vec![b'x'; 5 * 1024 * 1024])
            .send()
            .await
            .unwrap();
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        let (status, answer) = read(response).await;
        assert_eq!(
            (status, answer),
            (StatusCode::UNAUTHORIZED, json!({"error": "unauthorized"}))
        );
    }
    assert_eq!(service.result("unauthorized").to_string(), "5");
    assert_eq!(service.desk.begun(), 0);
}

#[tokio::test]
async fn a_refused_connection_can_be_used_again() {
    let service = Service::start();
    let mut stream = service.connect().await;
    let body = notification(1, 100);
    let length = format!("Content-Length: {}", body.len());
    let request = format!("{}{body}", head(&length));
    write(&mut stream, &request.replace(TOKEN, "wrong")).await;
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    write(
        &mut stream,
        &request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"),
    )
    .await;
    let answer = drain(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn tokens_are_changed_without_a_gap() {
    // As the kubelet does it: the files are links into a folder that is itself a link, and that link is swapped.
    let folder = tempfile::tempdir().unwrap();
    let publish = |version: &str, tokens: [&str; 2]| {
        let data = folder.path().join(version);
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("first"), tokens[0]).unwrap();
        std::fs::write(data.join("second"), tokens[1]).unwrap();
        let next = folder.path().join("..next");
        std::os::unix::fs::symlink(version, &next).unwrap();
        std::fs::rename(next, folder.path().join("..data")).unwrap();
    };
    // All of one length, so that nothing but the content tells them apart.
    let (old, new, newer) = ("token-number-1", "token-number-2", "token-number-3");
    publish("v1", [old, new]);
    let paths: Vec<PathBuf> = ["first", "second"]
        .iter()
        .map(|name| {
            let path = folder.path().join(name);
            std::os::unix::fs::symlink(format!("..data/{name}"), &path).unwrap();
            path
        })
        .collect();
    let data = folder.path().to_owned();
    let service = Service::with_tokens(Limits::default(), folder, paths);
    let status = async |token: &str| {
        let url = format!("{}/api/v1/alerts", service.url);
        let request = service.client.post(url).bearer_auth(token);
        send(request.body(notification(1, 0))).await.0
    };
    let becomes = async |token: &str, wanted: u16| {
        let waiting = async {
            while status(token).await != wanted {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{token} never became {wanted}");
    };
    assert_eq!(
        (status(old).await, status(new).await),
        (StatusCode::OK, StatusCode::OK)
    );
    assert_eq!(status(newer).await, 401);

    let publish = |version: &str, first: &str| {
        let folder = data.join(version);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("first"), first).unwrap();
        std::fs::write(folder.join("second"), new).unwrap();
        std::os::unix::fs::symlink(version, data.join("..next")).unwrap();
        std::fs::rename(data.join("..next"), data.join("..data")).unwrap();
    };
    publish("v2", newer);
    becomes(newer, 200).await;
    assert_eq!(
        (status(old).await, status(new).await),
        (StatusCode::UNAUTHORIZED, StatusCode::OK)
    );

    // A file that is empty, or gone, changes nothing; and the next good one does.
    publish("v3", "");
    std::fs::remove_file(data.join("second")).unwrap();
    let checked = std::time::Instant::now();
    while checked.elapsed() < Duration::from_millis(1500) {
        assert_eq!(
            (status(newer).await, status(new).await),
            (StatusCode::OK, StatusCode::OK)
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    publish("v4", old);
    becomes(old, 200).await;
    assert_eq!(
        (status(newer).await, status(new).await),
        (StatusCode::UNAUTHORIZED, StatusCode::OK)
    );
}

#[tokio::test]
async fn without_tokens_anybody_but_a_web_page_may_send() {
    let service = Service::start();
    let open = Server::start(
        SocketAddr::from(([127, 0, 0, 1], 0)),
        Limits::default(),
        service.desk.clone(),
        None,
        Metrics::new("1"),
        Arc::new(|| NOW.parse().unwrap()),
    )
    .unwrap();
    let post = || {
        let url = format!("http://{}/api/v1/alerts", open.addr);
        service.client.post(url).body(notification(1, 0))
    };
    assert_eq!(send(post()).await.0, 200);
    assert_eq!(
        send(post().header("origin", "http://evil.example")).await.0,
        401
    );
}
