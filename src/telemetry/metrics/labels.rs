//! The label values of the metrics: closed sets, and names that the policy gives.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::reason::Reason;
use crate::rollback::Phase;

/// Defines a closed set of label values.
macro_rules! closed {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $value:literal : $doc:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum $name {
            $(#[doc = $doc] $variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value as it stands in the label.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $value),+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    };
}

closed! {
    /// What became of a notification at the door.
    Received {
        Accepted = "accepted": "Every alert in it was decided and recorded.",
        Unauthorized = "unauthorized": "It came without a valid token.",
        Malformed = "malformed": "It is no notification of version 4.",
        TooLarge = "too_large": "Its body is larger than allowed.",
        Overloaded = "overloaded": "There was no room for its body in time.",
        Draining = "draining": "The replica was shutting down.",
        Unrecorded = "unrecorded": "A decision could not be made or recorded, or not in time.",
        Timeout = "timeout": "Its body did not arrive in time.",
        Interrupted = "interrupted": "Its sender went away before the answer, or its body broke off.",
        Panicked = "panicked": "Deciding about it panicked.",
    }
}

closed! {
    /// The way in which people are told.
    Via {
        Slack = "slack": "Slack, as a bot.",
        SlackWebhook = "slack_webhook": "Slack, by an incoming webhook.",
        Email = "email": "E-mail.",
        PagerDuty = "pagerduty": "PagerDuty.",
        Webhook = "webhook": "A webhook.",
    }
}

closed! {
    /// What became of a message to people.
    Delivery {
        Delivered = "delivered": "It was taken.",
        Retried = "retried": "It failed and is sent again.",
        Refused = "refused": "It was refused for good.",
        Lost = "lost": "It was given up.",
    }
}

closed! {
    /// What became of a changed policy.
    Reload {
        Loaded = "loaded": "It is in force.",
        Refused = "refused": "It has an error; the one before stays in force.",
    }
}

closed! {
    /// Why the API server refuses a call of the journal.
    Refused {
        Forbidden = "forbidden": "The service account lacks a right.",
        Rejected = "rejected": "The definition in the cluster does not take it, or is none of this version.",
    }
}

closed! {
    /// What became of a request to the collector of spans.
    Exported {
        Delivered = "delivered": "The collector took the spans in it.",
        Failed = "failed": "There was no answer, or a refusal.",
    }
}

closed! {
    /// What became of a span.
    SpanFate {
        Exported = "exported": "The collector has it.",
        Dropped = "dropped": "There was no room for it, or the collector refused it for good.",
    }
}

/// The labels of one counted notification.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ReceivedLabels {
    pub(super) result: Received,
}

/// The labels of one decided alert.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct AlertLabels {
    pub(super) decision: &'static str,
    pub(super) reason: Reason,
}

/// The labels of one ended rollback.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct RollbackLabels {
    pub(super) procedure: String,
    pub(super) outcome: Phase,
}

/// The labels of one message to people.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct DeliveryLabels {
    pub(super) reporter: Via,
    pub(super) result: Delivery,
}

/// The labels of what waits to be told.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ReporterLabels {
    pub(super) reporter: Via,
}

/// The labels of one changed policy.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ReloadLabels {
    pub(super) result: Reload,
}

/// The labels of one refused call of the journal.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct RefusedLabels {
    pub(super) reason: Refused,
}

/// The labels of one request to the collector.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ExportedLabels {
    pub(super) result: Exported,
}

/// The labels of a span.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct SpanLabels {
    pub(super) result: SpanFate,
}

/// The labels of the policy in force.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct PolicyLabels {
    pub(super) digest: String,
}

/// The labels of what is known of one target.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct TargetLabels {
    pub(super) target: String,
}

/// The labels of the program.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct BuildLabels {
    pub(super) version: &'static str,
}

impl EncodeLabelValue for Reason {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.code(), encoder)
    }
}

impl EncodeLabelValue for Phase {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.name(), encoder)
    }
}
