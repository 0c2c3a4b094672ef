//! The demo application and the way to it: pods, Services, clients.

use std::time::Duration;

use ripcord::cli::demo::client::{Client, Tally};
use serde_json::{Value, json};

use super::*;

/// A GET without any client library: status line, headers and body as text.
async fn get(address: &str, path: &str) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn address(pod: &Value) -> String {
    format!("{}:8000", pod["status"]["podIP"].as_str().unwrap())
}

#[tokio::test]
async fn clients_feel_the_bad_release_and_its_end() {
    let cluster = Cluster::deployed().await;
    cluster
        .holds(|view| {
            view.objects("endpointslices")
                .any(|slice| slice["endpoints"].as_array().unwrap().len() == 4)
        })
        .await;
    let front = cluster.sandbox.front(NS, APP).unwrap();
    let client = Client::start(format!("http://{front}/price").parse().unwrap(), 200);
    let until = async |what: &dyn Fn(&Tally) -> bool| {
        let seen = async {
            while !what(&client.tally()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, seen)
            .await
            .unwrap_or_else(|_| panic!("{:?}", client.tally()));
    };
    until(&|tally| tally.good >= 50).await;
    assert_eq!(client.tally().bad, 0, "{:?}", client.tally());

    cluster.sandbox.deploy(NS, APP, BAD).unwrap();
    until(&|tally| tally.bad >= 5).await;
    cluster.reaches("Paused").await;
    cluster.restore();
    cluster.reaches("Healthy").await;
    // Healthy is the controller's word; endpoints follow, and requests under way end.
    until(&|tally| tally.recent.iter().all(|good| *good)).await;
    let before = client.tally();
    until(&|tally| tally.good >= before.good + 100).await;
    let after = client.stop().await;
    assert_eq!(after.bad, before.bad);
    assert!(after.last_bad.is_some());
    cluster.sandbox.stop().await;
}

#[tokio::test]
async fn each_pod_answers_for_itself() {
    let cluster = Cluster::deployed().await;
    cluster
        .sandbox
        .deploy(NS, APP, "demo:v2-unhealthy")
        .unwrap();
    cluster.reaches("Paused").await;
    let pods = cluster.sandbox.objects("pods");
    let bad = pods
        .iter()
        .find(|pod| runs(pod, "demo:v2-unhealthy"))
        .unwrap();
    let good = pods.iter().find(|pod| runs(pod, GOOD)).unwrap();
    for (pod, overall) in [(bad, "degraded"), (good, "healthy")] {
        let health = get(&address(pod), "/health/pinn").await.unwrap();
        assert!(health.starts_with("HTTP/1.1 200"), "{health}");
        assert!(
            health.contains(&format!("\"overall_status\":\"{overall}\"")),
            "{health}"
        );
    }
    get(&address(bad), "/").await.unwrap();

    cluster.restore();
    cluster.reaches("Healthy").await;
    let name = bad["metadata"]["name"].as_str().unwrap();
    cluster
        .holds(|view| view.object("pods", NS, name).is_none())
        .await;
    let gone = async {
        while get(&address(bad), "/").await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.unwrap();
}

#[tokio::test]
async fn a_service_without_ready_endpoints_answers_503() {
    let cluster = Cluster::empty().await;
    cluster
        .sandbox
        .apply(fixture::service(NS, APP, 8000))
        .unwrap();
    let rollout = fixture::rollout(NS, APP, "demo:v1-neverready", &json!([]));
    cluster.sandbox.apply(rollout).unwrap();
    cluster
        .holds(|view| {
            view.objects("pods")
                .filter(|pod| pod["status"]["phase"] == "Running")
                .count()
                == 4
        })
        .await;
    let front = cluster.sandbox.front(NS, APP).unwrap().to_string();
    // The address is known a moment before somebody listens there.
    let answer = async {
        loop {
            if let Ok(answer) = get(&front, "/").await {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    let answer = tokio::time::timeout(LIMIT, answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}
