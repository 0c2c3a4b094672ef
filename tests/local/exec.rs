//! How the end of a command in a pod is known, and what is made of every other end of its connection.

use std::time::Duration;

use kube::config::Kubeconfig;
use ripcord::cluster::Cluster;
use ripcord::target::Exec;
use ripcord::target::command::{Command, Place, Stream};
use ripcord::target::effect::{Outcome, Verdict};
use serde_json::json;

use crate::support::kubelet::{Answer, Kubelet, Play, V4, V5, kubeconfig};
use crate::support::stage::LIMIT;

fn flush() -> Exec {
    Exec {
        name: "flush".into(),
        place: Place::Pod("web-1".into()),
        command: Command {
            container: "cache".into(),
            selector: None,
            command: ["redis-cli", "-e", "FLUSHDB ASYNC"]
                .map(str::to_owned)
                .into(),
            expect: Some("OK".into()),
            timeout: LIMIT,
            repeatable: false,
        },
    }
}

async fn run_on(kubeconfig: &str, exec: &Exec) -> (Verdict, String) {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let cluster = Cluster::connect_by(kubeconfig, LIMIT).await.unwrap();
    let Outcome { verdict, said } = cluster.exec("shop", exec).await;
    (verdict, said)
}

async fn run(answer: Answer, exec: &Exec) -> (Verdict, String) {
    let kubelet = Kubelet::start([answer]).await;
    run_on(&kubelet.kubeconfig(), exec).await
}

async fn played(plays: impl Into<Vec<Play>>) -> (Verdict, String) {
    run(Answer::Plays(V5, plays.into()), &flush()).await
}

fn out(said: &str) -> Play {
    Play::Out(said.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_ends_well_is_done_and_is_sent_word_by_word() {
    let plays = vec![
        Play::Opens,
        out("O"),
        out("K\n"),
        Play::success(),
        Play::Closes,
    ];
    let kubelet = Kubelet::start([Answer::Plays(V5, plays)]).await;
    let ended = run_on(&kubelet.kubeconfig(), &flush()).await;
    let said = "`flush` in web-1: it ended with exit code 0; stdout: OK";
    assert_eq!(ended, (Verdict::Done, said.to_owned()));
    assert_eq!(
        kubelet.asked(),
        [
            "/api/v1/namespaces/shop/pods/web-1/exec?&stdout=true&stderr=true&container=cache&command=redis-cli&command=-e&command=FLUSHDB+ASYNC"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_protocol_does_as_well() {
    let plays = vec![Play::Opens, out("OK"), Play::success(), Play::Closes];
    let (verdict, said) = run(Answer::Plays(V4, plays), &flush()).await;
    assert_eq!(verdict, Verdict::Done, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_before_the_command_does_is_no_end() {
    let plays = [
        Play::Opens,
        out("OK"),
        Play::OutEnds,
        Play::Err("late".into()),
        Play::success(),
    ];
    let (verdict, said) = played(plays).await;
    assert_eq!(verdict, Verdict::Done, "{said}");
    assert!(said.ends_with("stdout: OK; stderr: late"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_exit_code_fails_and_so_do_other_words() {
    let plays = [
        Play::Opens,
        out("OK"),
        Play::Err("READONLY".into()),
        Play::exit(3),
        Play::Closes,
    ];
    let (verdict, said) = played(plays).await;
    assert_eq!(verdict, Verdict::Failed);
    assert_eq!(
        said,
        "`flush` in web-1: it ended with exit code 3; stdout: OK; stderr: READONLY"
    );
    // As redis-cli without `-e` does.
    let (verdict, said) = played([out("NOAUTH Authentication required."), Play::success()]).await;
    assert_eq!(verdict, Verdict::Failed);
    assert!(
        said.contains("does not match \"OK\"; stdout: NOAUTH"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_exit_status_nobody_knows() {
    for (plays, why) in [
        (
            vec![Play::Opens, out("OK"), Play::Closes],
            "ended without an exit status; stdout: OK",
        ),
        (
            vec![Play::Opens, out("OK"), Play::Breaks],
            "ended without an exit status (failed to receive",
        ),
        (vec![Play::Breaks], "ended without an exit status"),
        // KWOK says so for every exit code but 0, and a runtime that cannot start the program.
        (
            vec![Play::internal_error("exit status 1"), Play::Closes],
            "no exit status came back, but: Internal error occurred: exit status 1",
        ),
        (
            vec![out("OK"), Play::Status(json!("no status"))],
            "ended without an exit status (failed to deserialize",
        ),
    ] {
        let (verdict, said) = played(plays).await;
        assert_eq!(verdict, Verdict::Unknown, "{said}");
        assert!(said.contains(why), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_in_its_time_may_still_run() {
    let mut exec = flush();
    exec.command.timeout = Duration::from_millis(300);
    let plays = vec![Play::Opens, out("half"), Play::Stays];
    let (verdict, said) = run(Answer::Plays(V5, plays), &exec).await;
    assert_eq!(verdict, Verdict::Unknown);
    assert_eq!(
        said,
        "`flush` in web-1: it has not ended within 300ms, and may still run; stdout: half"
    );
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_silent_for_long_is_waited_for() {
    let minutes = Duration::from_mins;
    let mut exec = flush();
    exec.command.timeout = minutes(10);
    let plays = vec![
        Play::Opens,
        Play::Quiet(minutes(5)),
        out("OK"),
        Play::success(),
        Play::Closes,
    ];
    let (verdict, said) = run(Answer::Plays(V5, plays), &exec).await;
    assert_eq!(verdict, Verdict::Done, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_words_is_read_to_its_end_and_kept_in_part() {
    let mut exec = flush();
    exec.command.expect = None;
    let line = "x".repeat(1000);
    let mut plays: Vec<_> = (0..300).map(|_| out(&line)).collect();
    plays.extend((0..300).map(|_| Play::Err(line.clone())));
    plays.push(Play::success());
    assert!(300 * line.len() > 2 * Stream::KEPT);
    let (verdict, said) = run(Answer::Plays(V5, plays), &exec).await;
    assert_eq!(verdict, Verdict::Done, "{said}");
    assert!(
        said.contains("(300000 bytes in all)") && said.len() < 700,
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_place_of_a_connection_says_that_nothing_was_begun() {
    let forbidden = "pods \"web-1\" is forbidden: User \"system:serviceaccount:ripcord:ripcord\" cannot get resource \"pods/exec\"";
    for (code, said, wanted) in [
        (403, forbidden, Verdict::Refused),
        (
            400,
            "container cache is not valid for pod web-1",
            Verdict::Refused,
        ),
        (404, "pods \"web-1\" not found", Verdict::NotBegun),
        (
            500,
            "error dialing backend: connection refused",
            Verdict::NotBegun,
        ),
        (
            503,
            "the server is currently unable to handle the request",
            Verdict::NotBegun,
        ),
        // What no API server says is a gateway's, which knows nothing of what is behind it.
        (504, "gateway timeout", Verdict::Unknown),
        (302, "elsewhere", Verdict::Refused),
    ] {
        let (verdict, told) = run(Answer::Refuses(code, said), &flush()).await;
        assert_eq!(verdict, wanted, "{code}: {told}");
        assert!(code == 302 || told.contains(said), "{told}");
    }
    let answer = Answer::GatewayRefuses(503, "upstream connect error or disconnect/reset");
    let (verdict, told) = run(answer, &flush()).await;
    assert_eq!(verdict, Verdict::Unknown, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_another_kind_is_none() {
    let plays = vec![out("OK"), Play::success()];
    let (verdict, said) = run(Answer::Plays("channel.k8s.io", plays), &flush()).await;
    assert_eq!(verdict, Verdict::Unknown, "{said}");
    assert!(said.contains("opened no WebSocket"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_not_there_has_begun_nothing() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let (verdict, said) = run_on(&kubeconfig(addr), &flush()).await;
    assert_eq!(verdict, Verdict::NotBegun, "{said}");
}
