//! The states of a bad release in which the contenders act, and the commands that people run there. How a state comes
//! about is in the modules below.

mod blue_green;
mod in_flight;
mod promoted;
mod reset;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::task::JoinSet;

use crate::cache::Cache;
use crate::good::Good;
use crate::outcome::End;
use crate::plane::Frozen;
use crate::router::Router;
use crate::runbook::{
    ABORT, BLUE_GREEN, CACHE_RESET, CANARY, CANARY_SCRIPT, CANARY_TWICE, COMPLETE, TWICE, UNDO,
};
use crate::scene::Scene;
use crate::script::Line;
use crate::support::replica::Replica;

/// How the people on call are mentioned, where a state has some.
pub(crate) const ON_CALL: &str = "<!subteam^S0123ABCD>";

/// A state of a bad release.
#[derive(Debug)]
pub(crate) struct State {
    /// What `--state` calls it.
    pub(crate) name: &'static str,
    /// The bad release is …
    pub(crate) title: &'static str,
    /// The commands of the runbook, for a canary or for a blue-green release.
    pub(crate) runbook: &'static [Line],
    /// The best known command; nothing where none is known.
    pub(crate) bare: &'static [Line],
    /// How many times as often as elsewhere each acts: more than once where the last bad answers come in heaps.
    pub(crate) rounds: u16,
    /// How often the alert comes.
    pub(crate) times: usize,
    /// Where Ripcord must leave it.
    pub(crate) right: End,
    /// The procedure by which Ripcord must get there, where it is measured to its end.
    pub(crate) procedure: Option<&'static str>,
    /// How many seconds a contender has at least.
    pub(crate) seconds: u16,
    pub(crate) prepare: fn(&mut Scene) -> LocalBoxFuture<'_, Ready>,
}

/// A state that has come about.
pub(crate) struct Ready {
    pub(crate) replica: Replica,
    /// The Rollouts controller stands still.
    pub(crate) asleep: Option<Frozen<'static>>,
    /// Where a router is between the users and the Services.
    pub(crate) router: Option<Router>,
    /// What the bad release has filled, where it has something to fill.
    pub(crate) cache: Option<Cache>,
    /// The good release, where it is not the first one.
    pub(crate) good: Option<Good>,
    /// Whoever else acts, until this is dropped.
    pub(crate) others: JoinSet<()>,
}

/// How long a script of minutes is waited for.
const MINUTES: u16 = 90;
/// How long it takes until what an abort leaves behind is scaled down, half a minute later, and was seen to be.
const SCALED_DOWN: u16 = 45;
/// How long any other procedure is waited for: it goes on when the users are served again.
const PROCEDURE: u16 = 20;

/// A state with the usual commands.
macro_rules! state {
    ($name:literal, $title:literal, $runbook:expr, $bare:expr, $prepare:path $(, $field:ident: $value:expr)*) => {
        State {
            $($field: $value,)*
            ..State {
                name: $name,
                title: $title,
                runbook: $runbook,
                bare: $bare,
                rounds: 1,
                times: 1,
                right: End::Healthy,
                procedure: None,
                seconds: 0,
                prepare: |scene| $prepare(scene).boxed_local(),
            }
        }
    };
}

/// All of them, in the order of the table.
pub(crate) const ALL: &[State] = &[
    state!(
        "canary-paused",
        "a canary, paused at 25 %",
        CANARY,
        &[ABORT],
        in_flight::paused
    ),
    state!(
        "canary-script",
        "the same, by the runbook's script",
        CANARY_SCRIPT,
        &[ABORT],
        in_flight::paused,
        procedure: Some("emergency-canary"),
        seconds: PROCEDURE
    ),
    state!(
        "canary-aborted",
        "a canary that a person aborted before",
        CANARY,
        &[UNDO],
        in_flight::aborted
    ),
    state!(
        "spec-changed",
        "a canary whose spec changed an instant before",
        CANARY,
        &[ABORT],
        in_flight::not_looked_at
    ),
    state!(
        "promotion-asked",
        "a canary whose full promotion was asked for an instant before",
        CANARY,
        &[ABORT],
        in_flight::promotion_asked
    ),
    state!(
        "nginx",
        "a canary behind nginx at 60 %",
        CANARY,
        &[ABORT],
        in_flight::routed
    ),
    state!(
        "nginx-dynamic",
        "the same with `dynamicStableScale`",
        CANARY,
        &[ABORT],
        in_flight::routed_dynamic,
        rounds: 3
    ),
    state!(
        "promoted",
        "a canary, fully promoted; steps without pauses",
        CANARY,
        &[UNDO],
        promoted::plain
    ),
    state!(
        "promoted-pauses",
        "a canary, fully promoted; steps with endless pauses",
        CANARY,
        &[UNDO],
        promoted::pausing_steps
    ),
    state!(
        "duplicate",
        "a canary, fully promoted; whoever acts does so twice",
        CANARY_TWICE,
        TWICE,
        promoted::plain,
        times: 2
    ),
    state!(
        "takes-away",
        "a canary that only takes an environment variable away, fully promoted",
        CANARY,
        &[UNDO],
        promoted::takes_away
    ),
    state!(
        "gitops",
        "a canary, fully promoted; Argo CD owns its spec and heals it",
        CANARY,
        &[UNDO],
        promoted::owned,
        right: End::Called
    ),
    state!(
        "blue-green",
        "blue-green, promoted, old pods there",
        BLUE_GREEN,
        &[UNDO],
        blue_green::promoted,
        procedure: Some("blue-green"),
        seconds: PROCEDURE
    ),
    state!(
        "blue-green-late",
        "blue-green, promoted, old pods gone",
        BLUE_GREEN,
        &[UNDO],
        blue_green::promoted_long_ago
    ),
    state!(
        "blue-green-unready",
        "blue-green, in an analysis after the switch, new pods not ready",
        BLUE_GREEN,
        &[ABORT],
        blue_green::unready,
        seconds: SCALED_DOWN
    ),
    state!(
        "cache-reset",
        "a canary, fully promoted, that has put bad values into a cache",
        CACHE_RESET,
        &[],
        reset::cache,
        procedure: Some("cache-reset"),
        seconds: MINUTES
    ),
    state!(
        "complete",
        "the same, and nothing of the good release is left",
        COMPLETE,
        &[],
        reset::complete,
        procedure: Some("complete"),
        seconds: MINUTES
    ),
];

// === impl State ===

impl State {
    /// How many seconds a contender has, where it has so many elsewhere.
    pub(crate) fn bound(&self, elsewhere: u16) -> u16 {
        self.seconds.max(elsewhere)
    }
}

// === impl Ready ===

impl Ready {
    /// Nothing more is in the way.
    fn new(replica: Replica) -> Self {
        let others = JoinSet::new();
        Self {
            replica,
            asleep: None,
            router: None,
            cache: None,
            good: None,
            others,
        }
    }
}
