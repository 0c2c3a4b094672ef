//! The settings of the door: where it listens, who may knock, and how much it takes in.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth::Schemes;
use super::body::DECODED;

/// How notifications are received.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The address and port to listen on.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Files of the tokens that senders show as `Authorization: Bearer`: each line that is not empty is one, and any of
    /// them does, so that a token can be changed without a gap. They are read again while the service runs; a file that is
    /// gone keeps its tokens until a restart. Without a file, the service starts only where nobody else can reach it or no
    /// trigger acts.
    pub bearer_token_files: Vec<PathBuf>,
    /// Files of the users that senders may show with their passwords, as Alertmanager's `basic_auth` does: each line that is
    /// not empty is `user:password`, or `user:sha256:` and the password's digest in hexadecimal. They are read again as the
    /// files of tokens are, and count as they do. A password is best long and random.
    pub basic_auth_files: Vec<PathBuf>,
    /// The largest body that is read, in bytes or as text such as `16MiB`. Alertmanager sends about 1 KiB an alert.
    #[serde(with = "size")]
    #[schemars(with = "String")]
    pub max_body: usize,
    /// How many bytes all bodies and what is decoded from them may take at once; a body beyond that waits. Each counts with
    /// eight times its size, so that this is at least eight times `max_body`.
    #[serde(with = "size")]
    #[schemars(with = "String")]
    pub bytes_in_flight: usize,
    /// How long a client may take to send the head of a request.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub header_timeout: Duration,
    /// How long a client may take to send a body.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub body_timeout: Duration,
    /// How long the socket stays open after the service was asked to stop: until every sender has learnt to go elsewhere,
    /// which takes a cluster a few seconds. The lease is handed over at once.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub drain_delay: Duration,
    /// How long open requests may take to end after that.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub shutdown_grace: Duration,
}

/// Why [`Settings`] cannot work.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// No body could be read at all.
    #[error("must be larger than zero")]
    NoBody,
    /// A body of the largest size would wait for ever.
    #[error("must be at least 8 times `max_body`, or the largest body could never be read")]
    TooLittleInFlight,
    /// Every client would be too slow.
    #[error("must be longer than zero")]
    NoTime {
        /// Which of the times.
        key: &'static str,
    },
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            bearer_token_files: Vec::new(),
            basic_auth_files: Vec::new(),
            max_body: 16 << 20,
            bytes_in_flight: 128 << 20,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(20),
            drain_delay: Duration::from_secs(3),
            shutdown_grace: Duration::from_secs(20),
        }
    }
}

impl Settings {
    /// How senders are told from strangers.
    #[must_use]
    pub fn schemes(&self) -> Schemes {
        Schemes {
            bearer: !self.bearer_token_files.is_empty(),
            basic: !self.basic_auth_files.is_empty(),
        }
    }

    /// Checks the sizes against each other, and that no time is zero.
    pub fn validate(&self) -> Result<(), SettingsError> {
        if self.max_body == 0 {
            return Err(SettingsError::NoBody);
        }
        let largest = self.max_body.next_multiple_of(1024).saturating_mul(DECODED);
        if self.bytes_in_flight < largest {
            return Err(SettingsError::TooLittleInFlight);
        }
        for (key, time) in [
            ("header_timeout", self.header_timeout),
            ("body_timeout", self.body_timeout),
        ] {
            if time.is_zero() {
                return Err(SettingsError::NoTime { key });
            }
        }
        Ok(())
    }
}

// === impl SettingsError ===

impl SettingsError {
    /// The key at fault.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::NoBody => "max_body",
            Self::TooLittleInFlight => "bytes_in_flight",
            Self::NoTime { key } => key,
        }
    }
}

/// Sizes in bytes, as a number or as text with a unit.
mod size {
    use serde::de::{Error, Unexpected, Visitor};
    use serde::{Deserializer, Serializer};

    const UNITS: [(&str, usize); 4] = [
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("B", 1),
    ];

    struct Size;

    impl Visitor<'_> for Size {
        type Value = usize;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a number of bytes or a text such as `16MiB` (units: B, KiB, MiB, GiB)")
        }

        fn visit_u64<E: Error>(self, bytes: u64) -> Result<usize, E> {
            usize::try_from(bytes).map_err(|_| E::invalid_value(Unexpected::Unsigned(bytes), &self))
        }

        fn visit_i64<E: Error>(self, bytes: i64) -> Result<usize, E> {
            usize::try_from(bytes).map_err(|_| E::invalid_value(Unexpected::Signed(bytes), &self))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<usize, E> {
            let text = text.trim();
            let found = UNITS.iter().find_map(|(unit, bytes)| {
                let number = text.strip_suffix(unit)?.trim_end();
                Some((number, *bytes))
            });
            let (number, unit) = found.unwrap_or((text, 1));
            let number: Option<usize> = number.parse().ok();
            number
                .and_then(|number| number.checked_mul(unit))
                .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
        from.deserialize_any(Size)
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(bytes: &usize, to: S) -> Result<S::Ok, S::Error> {
        let (unit, size) = UNITS
            .iter()
            .find(|(_, size)| *bytes > 0 && bytes.is_multiple_of(*size))
            .unwrap_or(&("B", 1));
        to.serialize_str(&format!("{}{unit}", bytes / size))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(value: &serde_json::Value) -> Result<usize, String> {
        let read = serde_json::from_value::<Settings>(json!({ "max_body": value }));
        read.map(|settings| settings.max_body)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn sizes_are_numbers_or_texts_with_a_unit() {
        for (value, bytes) in [
            (json!(17), 17),
            (json!("17"), 17),
            (json!("17B"), 17),
            (json!("4KiB"), 4096),
            (json!(" 16 MiB "), 16 << 20),
            (json!("1GiB"), 1 << 30),
        ] {
            assert_eq!(body(&value), Ok(bytes), "{value}");
        }
        for value in [
            json!("16MB"),
            json!(-1),
            json!("MiB"),
            json!(1.5),
            json!("99999999999999GiB"),
        ] {
            let error = body(&value).unwrap_err();
            assert!(error.contains("16MiB"), "{value}: {error}");
        }
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        let text = |bytes| {
            let settings = Settings {
                max_body: bytes,
                ..Settings::default()
            };
            serde_json::to_value(settings).unwrap()["max_body"].clone()
        };
        assert_eq!(text(16 << 20), "16MiB");
        assert_eq!(text(1500), "1500B");
        assert_eq!(text(0), "0B");
    }

    #[test]
    fn what_cannot_work_is_refused_by_key() {
        let fault = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.validate().unwrap_err().key()
        };
        assert_eq!(Settings::default().validate(), Ok(()));
        assert_eq!(fault(|s| s.max_body = 0), "max_body");
        assert_eq!(
            fault(|s| s.bytes_in_flight = s.max_body * 8 - 1),
            "bytes_in_flight"
        );
        assert_eq!(
            fault(|s| s.header_timeout = Duration::ZERO),
            "header_timeout"
        );
        assert_eq!(fault(|s| s.body_timeout = Duration::ZERO), "body_timeout");
    }
}
