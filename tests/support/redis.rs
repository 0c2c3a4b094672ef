//! A real Redis in a process of its own, with nothing in it. It is killed when dropped.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::replica::until;

/// How long it may take to come up on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// A server that runs.
pub(crate) struct Redis {
    child: Child,
    pub(crate) port: u16,
    password: Option<&'static str>,
}

// === impl Redis ===

impl Redis {
    /// Starts a server, and waits until it answers.
    pub(crate) async fn start(folder: &Path) -> Self {
        Self::with(folder, None, &[]).await
    }

    /// The same with a password, and with settings of its own.
    pub(crate) async fn with(
        folder: &Path,
        password: Option<&'static str>,
        settings: &[&str],
    ) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        Self::at(port, folder, password, settings).await
    }

    /// The same at this port.
    pub(crate) async fn at(
        port: u16,
        folder: &Path,
        password: Option<&'static str>,
        settings: &[&str],
    ) -> Self {
        let mut command = Command::new("redis-server");
        command
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args(password.iter().flat_map(|it| ["--requirepass", it]))
            .args(settings)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = command.spawn();
        let child = child.expect("redis-server, which is in Debian's package of that name");
        let redis = Self {
            child,
            port,
            password,
        };
        let up = async || redis.connect(0).await.ok();
        until(up, LIMIT).await.expect("it answers");
        redis
    }

    /// Where it is.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What a command on a database is answered.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, database: u32, words: &[&str]) -> T {
        let mut connection = self.connect(database).await.unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.unwrap()
    }

    /// Puts keys of these names into a database.
    pub(crate) async fn holds(&self, database: u32, names: impl IntoIterator<Item = String>) {
        let mut connection = self.connect(database).await.unwrap();
        let mut pipe = redis::pipe();
        for name in names {
            pipe.set(name, "1").ignore();
        }
        let () = pipe.query_async(&mut connection).await.unwrap();
    }

    /// The names of the keys in a database, sorted.
    pub(crate) async fn keys(&self, database: u32) -> Vec<String> {
        let mut keys: Vec<String> = self.ask(database, &["KEYS", "*"]).await;
        keys.sort();
        keys
    }

    async fn connect(
        &self,
        database: u32,
    ) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        let login = self
            .password
            .map_or_else(String::new, |it| format!(":{it}@"));
        let url = format!("redis://{login}127.0.0.1:{}/{database}", self.port);
        let client = redis::Client::open(url)?;
        client.get_multiplexed_async_connection().await
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
