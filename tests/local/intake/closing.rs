//! Senders that go away, and a service that does.

use super::*;

#[tokio::test]
async fn what_has_arrived_is_recorded_although_its_sender_went_away() {
    let service = Service::start();
    service.desk.hold();
    let mut stream = service.connect().await;
    let body = notification(3, 200_000);
    write(
        &mut stream,
        &head(&format!("Content-Length: {}", body.len())),
    )
    .await;
    write(&mut stream, &body).await;
    until("it is at the desk", || service.desk.begun() == 1).await;
    drop(stream);
    until("the server saw that", || {
        service.result("interrupted") > 0.0
    })
    .await;
    assert_eq!(service.desk.taken(), 0);
    service.desk.let_go(1);
    until("it is recorded", || service.desk.taken() == 1).await;
    assert_eq!(service.desk.taken.lock().unwrap()[0].0.alerts.len(), 3);
    until("its room is free", || {
        service.series("ripcord_bytes_in_flight") < 1.0
    })
    .await;
}

#[tokio::test]
async fn half_a_body_leads_to_nothing() {
    let service = Service::start();
    let mut stream = service.connect().await;
    write(
        &mut stream,
        &format!("{}{{\"version\":", head("Content-Length: 1000")),
    )
    .await;
    until("it is being read", || {
        service.series("ripcord_bytes_in_flight") > 0.0
    })
    .await;
    stream.shutdown().await.unwrap();
    let answer = drain(&mut stream).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 503"),
        "{answer}"
    );
    until("it is counted", || service.result("interrupted") > 0.0).await;
    assert_eq!(service.desk.begun(), 0);
    assert_eq!(service.series("ripcord_bytes_in_flight").to_string(), "0");
}

#[tokio::test]
async fn draining_says_so_and_goes_on_listening() {
    let service = Service::start();
    service.running.drain();
    let (status, answer) = send(service.post().body(notification(1, 0))).await;
    assert_eq!(
        (status, &answer["reason"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("draining"))
    );
    let (status, answer) = service.get("/readyz").await;
    assert_eq!(
        (status, &answer["reason"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("draining"))
    );
    assert_eq!(service.get("/healthz").await.0, 200);
    assert_eq!(service.result("draining").to_string(), "1");
    assert_eq!(service.desk.begun(), 0);
}

#[tokio::test]
async fn finishing_waits_for_what_was_accepted() {
    let service = Service::start();
    service.desk.hold();
    let idle = service.get("/healthz").await;
    assert_eq!(idle.0, 200);
    // One whose sender waits for the answer, and one whose sender went away.
    let waiting = tokio::spawn(send(service.post().body(notification(1, 0))));
    let mut gone = service.connect().await;
    let body = notification(2, 0);
    write(
        &mut gone,
        &format!("{}{body}", head(&format!("Content-Length: {}", body.len()))),
    )
    .await;
    until("both are at the desk", || service.desk.begun() == 2).await;
    drop(gone);

    let addr = service.running.addr;
    let finishing = tokio::spawn(service.running.finish(PATIENCE));
    let refused = async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.unwrap();
    assert!(!finishing.is_finished());
    service.desk.let_go(2);
    assert_eq!(waiting.await.unwrap().0, 200);
    assert_eq!(finishing.await.unwrap(), Ok(()));
    assert_eq!(service.desk.taken(), 2);
    drop(service.folder);
}

#[tokio::test]
async fn finishing_does_not_wait_forever() {
    let service = Service::start();
    service.desk.hold();
    let request = service.post().body(notification(1, 0));
    let post = tokio::spawn(request.send());
    until("it is at the desk", || service.desk.begun() == 1).await;
    let mut silent = service.connect().await;
    let finished = service.running.finish(Duration::from_millis(100)).await;
    assert_eq!(finished.unwrap_err().notifications, 1);
    assert!(post.await.unwrap().is_err(), "its connection was cut");
    assert_eq!(drain(&mut silent).await, "");
}
