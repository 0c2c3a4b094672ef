//! Where Ripcord must not touch anything, and must say so.

use serde_json::json;

use super::ground::{BAD, NAME, pausing};
use super::prelude::*;

/// The first release is bad: there is nowhere to go.
pub(crate) async fn first_deploy<G: Ground>() {
    let mut scene = G::start("first deploy").await;
    scene.first(BAD, &json!({ "strategy": pausing() })).await;
    let ripcord = scene.ripcord().await;
    let bad = scene.is_known().await;
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r1-{bad}"), "Declined").await;
    scene.is_let_be(&rollback, "no_destination");
}

/// A person has gone back to the good release already; what it replaces is the bad one.
pub(crate) async fn way_back<G: Ground>() {
    let mut scene = G::start("a person's own way back").await;
    let (ripcord, bad) = scene.bad_promoted(&pausing()).await;
    scene.argo(&["undo", NAME]).await;
    scene.rollout_is("Paused").await;
    let good = scene.is_known().await;
    assert_ne!(good, bad);
    scene.alert(&ripcord).await;
    let rollback = scene.ended(&format!("{NAME}-r3-{good}"), "Declined").await;
    scene.is_let_be(&rollback, "way_back");
}
