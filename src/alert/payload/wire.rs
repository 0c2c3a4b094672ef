//! How Go writes what this crate holds otherwise: empty as `null`, no time as the year 1.
//!
//! Texts are parsed inside a visitor, because only there does the JSON reader still know the line and the column.

use std::fmt;

use jiff::Timestamp;
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::Status;
use super::error::excerpt;

/// Go's zero time.
const ZERO: &str = "0001-01-01T00:00:00Z";
/// Go's zero time in seconds since 1970.
const ZERO_SECOND: i64 = -62_135_596_800;

/// A point in time.
pub(super) mod time {
    use jiff::Timestamp;
    use serde::{Deserializer, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        at: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(at)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        deserializer.deserialize_str(super::TimeVisitor)
    }
}

/// A point in time that may not have come.
pub(super) mod end {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde passes the field by reference")]
    pub(in super::super) fn serialize<S: Serializer>(
        at: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => serializer.collect_str(at),
            None => serializer.serialize_str(super::ZERO),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let at = Option::<super::Time>::deserialize(deserializer)?;
        Ok(at
            .map(|super::Time(at)| at)
            .filter(|at| !super::is_zero(*at)))
    }
}

/// Reads a value, taking `null` for its default.
pub(super) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Whether the text has the form of RFC 3339, in a year from 1 to 9999; the parser would also take years with a sign and
/// names of time zones.
fn is_rfc_3339(text: &str) -> bool {
    let fits = |text: &[u8], form: &[u8]| {
        text.len() == form.len()
            && text.iter().zip(form).all(|(c, wanted)| match wanted {
                b'0' => c.is_ascii_digit(),
                b'T' => c.eq_ignore_ascii_case(&b'T'),
                b'+' => matches!(c, b'+' | b'-'),
                other => c == other,
            })
    };
    let text = text.as_bytes();
    let Some((time, rest)) = text.split_at_checked(19) else {
        return false;
    };
    let rest = match rest.split_first() {
        Some((b'.', fraction)) => {
            let digits = fraction.iter().take_while(|c| c.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        _ => rest,
    };
    fits(time, b"0000-00-00T00:00:00")
        && !time.starts_with(b"0000")
        && (rest.eq_ignore_ascii_case(b"Z") || fits(rest, b"+00:00"))
}

/// Whether this is Go's way to say "no time".
fn is_zero(at: Timestamp) -> bool {
    at.as_second() == ZERO_SECOND && at.subsec_nanosecond() == 0
}

/// A point in time, where serde asks for a type.
struct Time(Timestamp);

struct TimeVisitor;

struct StatusVisitor;

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        time::deserialize(deserializer).map(Self)
    }
}

impl Visitor<'_> for TimeVisitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an RFC 3339 time")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
        let at = if is_rfc_3339(text) {
            text.parse().ok()
        } else {
            None
        };
        at.ok_or_else(|| E::custom(format_args!("{} is no RFC 3339 time", excerpt(text))))
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(StatusVisitor)
    }
}

impl Visitor<'_> for StatusVisitor {
    type Value = Status;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#""firing" or "resolved""#)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Status, E> {
        [Status::Firing, Status::Resolved]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| {
                E::custom(format_args!(
                    "{} is neither \"firing\" nor \"resolved\"",
                    excerpt(text)
                ))
            })
    }
}
