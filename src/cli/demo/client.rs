//! A small client that asks one address at a steady rate and counts what it gets.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::Uri;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::cluster::clock;

/// How many of the latest answers a tally keeps.
const RECENT: usize = 60;
/// An answer that takes longer is a bad one.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running load client; it stops asking when it is dropped.
#[derive(Debug)]
pub struct Client {
    tally: Arc<Mutex<Tally>>,
    task: AbortOnDropHandle<()>,
}

/// What a load client has counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Answers with a status below 400.
    pub good: u64,
    /// All other answers, and requests without one.
    pub bad: u64,
    /// When the last bad answer came.
    pub last_bad: Option<Timestamp>,
    /// The latest answers, oldest first: was it good?
    pub recent: VecDeque<bool>,
}

impl Client {
    /// Starts to ask `url`, `rate` times a second.
    #[must_use]
    pub fn start(url: Uri, rate: u32) -> Self {
        let tally = Arc::new(Mutex::default());
        let task = tokio::spawn(run(url, rate.max(1), tally.clone()));
        Self {
            tally,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// What was counted up to now.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.clone()
    }

    /// Stops asking and returns what was counted; answers under way are not waited for.
    pub async fn stop(mut self) -> Tally {
        self.task.abort();
        // An aborted task ends with an error that says nothing else.
        drop((&mut self.task).await);
        self.tally()
    }
}

impl Tally {
    fn count(&mut self, good: bool, now: Timestamp) {
        if good {
            self.good += 1;
        } else {
            self.bad += 1;
            self.last_bad = Some(now);
        }
        self.recent.push_back(good);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }
}

async fn run(url: Uri, rate: u32, tally: Arc<Mutex<Tally>>) {
    let now = clock::system();
    let http = legacy::Client::builder(TokioExecutor::new()).build_http::<Body>();
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Dropped with the task, and the requests under way with it.
    let mut running = JoinSet::new();
    loop {
        ticks.tick().await;
        while running.try_join_next().is_some() {}
        let (answer, tally, now) = (http.get(url.clone()), tally.clone(), now.clone());
        running.spawn(async move {
            let answer = timeout(PATIENCE, answer).await;
            let good = matches!(answer, Ok(Ok(answer)) if answer.status().as_u16() < 400);
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.count(good, now());
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn nothing_is_asked_any_more_once_it_is_dropped() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", server.local_addr().unwrap());
        let client = Client::start(url.parse().unwrap(), 100);
        let _request = server.accept().await.unwrap();
        let asking = Arc::downgrade(&client.tally);
        drop(client);
        let stopped = async {
            while asking.upgrade().is_some() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), stopped).await.unwrap();
    }
}
