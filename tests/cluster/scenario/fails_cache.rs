//! A cache that cannot be flushed, or a release that is not healthy after it was: what was taken away and what was not is said.

use tokio::net::TcpListener;

use super::cache::hold_the_first_flush;
use crate::scene::Scene;
use crate::scene::release::pausing;
use crate::support::story::prelude::*;

/// What stands in the policy where a flush has its time.
const FLUSH: &str = "mode: prefix, within: 1m";
/// What comes after it.
const LEFT: &str = "not reached: restart, wait-ready, http, healthy";

/// It takes connections and answers nothing.
pub(crate) async fn silent_redis() {
    let mut scene = Scene::start("fails, a silent Redis").await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((client, _)) = silent.accept().await {
            held.push(client);
        }
    });
    scene.resets(&address);
    scene.policy_says(FLUSH, &FLUSH.replace("1m", "3s"));
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.fails(&ripcord, &bad, "cache_unreachable").await;
    let said = format!("{address} did not answer within 3s");
    scene.tells(&said).await;
    scene.tells(LEFT).await;
    // The revert alone: no pod is restarted.
    scene.is_mended().await;
}

/// It takes keys away, and never says so: that it may have been done in part is said.
pub(crate) async fn flush_in_part() {
    let mut scene = Scene::start("fails, a flush in part").await;
    let redis = scene.filled().await;
    let (address, _reached) = hold_the_first_flush(redis.port).await;
    scene.resets(&address);
    scene.policy_says(FLUSH, &FLUSH.replace("1m", "3s"));
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.fails(&ripcord, &bad, "cache_unreachable").await;
    assert_eq!(redis.keys(0).await, ["session:1"], "it was done");
    scene
        .tells(&format!("{address} was flushed in part within 3s"))
        .await;
    scene.tells(LEFT).await;
    scene.is_mended().await;
}

/// Its user may look, and may take nothing away.
pub(crate) async fn user_without_the_right() {
    let mut scene = Scene::start("fails, a user without the right").await;
    let redis = scene.redis().await;
    let user = [
        "ACL", "SETUSER", "looker", "on", ">secret", "~*", "+role", "+info", "+scan",
    ];
    let () = redis.ask(0, &user).await;
    let file = scene.folder.path().join("redis-password");
    std::fs::write(&file, "secret").unwrap();
    let login = format!(
        "      username: looker\n      password_file: {}\n",
        file.display()
    );
    scene.policy_says(
        "      # password_file: /etc/ripcord-secrets/redis-password\n",
        &login,
    );
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    let rollback = scene.fails(&ripcord, &bad, "cache_refused").await;
    let step = &rollback["status"]["run"]["steps"][2];
    assert_eq!(step["attempts"], 1, "it is not asked again: {step:#}");
    assert_eq!(redis.keys(0).await, ["pinn:1", "pinn:2", "session:1"]);
    scene
        .tells("this user has no permissions to run the 'unlink' command")
        .await;
    scene.tells(LEFT).await;
    scene.is_mended().await;
}

/// The release is back, flushed, restarted and warm, and answers as degraded: it is said what was done, and what was not proved.
pub(crate) async fn healthy_after_the_flush() {
    let mut scene = Scene::start("fails, healthy after the flush").await;
    let redis = scene.redis().await;
    let proof = "- healthy: { consecutive: 3, every: 500ms, within: 2m }";
    for _ in 0..2 {
        scene.policy_says(proof, &proof.replace("2m", "3s"));
    }
    scene.good = "demo:v1-unhealthy";
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.fails(&ripcord, &bad, "unhealthy").await;
    assert_eq!(redis.keys(0).await, ["session:1"]);
    scene.is_mended_by(2).await;
    scene.tells("flushed 2 keys of prefix pinn:").await;
    scene.tells("4 of 4 pods answered POST /warmup").await;
    scene.tells("overall_status=\\\"degraded\\\"").await;
    scene.tells("NOT proved healthy").await;
}
