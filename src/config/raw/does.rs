//! What a severity does, as it is written: a word or a mapping, which needs a hand to keep its messages and places.

use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use crate::procedure::NOTE;

/// What a severity does.
#[derive(Debug)]
pub enum Does {
    /// It runs a procedure.
    Run {
        /// The procedure.
        procedure: Spanned<String>,
        /// Whether a person must approve first.
        ask: bool,
        /// The procedure that is tried where its revert fails.
        escalate_to: Option<Spanned<String>>,
    },
    /// It is put on record, and nothing is done.
    Note,
}

// === impl Does ===

impl Does {
    const KEYS: &'static [&'static str] = &["procedure", "ask", "escalate_to"];
}

impl<'de> Deserialize<'de> for Does {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Wanted;

        impl<'de> Visitor<'de> for Wanted {
            type Value = Does;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`note`, or a mapping with `procedure` or `ask`")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Does, E> {
                if word == NOTE {
                    Ok(Does::Note)
                } else {
                    Err(E::unknown_variant(word, &[NOTE]))
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Does, A::Error> {
                let mut run: Option<(bool, Spanned<String>)> = None;
                let mut escalate_to = None;
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "procedure" | "ask" if run.is_some() => {
                            return Err(A::Error::custom(
                                "expected one of `procedure` and `ask`, not both",
                            ));
                        }
                        "procedure" | "ask" => run = Some((key == "ask", map.next_value()?)),
                        "escalate_to" => escalate_to = Some(map.next_value()?),
                        _ => return Err(A::Error::unknown_field(&key, Does::KEYS)),
                    }
                }
                let (ask, procedure) = run.ok_or_else(|| A::Error::missing_field("procedure"))?;
                Ok(Does::Run {
                    procedure,
                    ask,
                    escalate_to,
                })
            }
        }

        from.deserialize_any(Wanted)
    }
}
