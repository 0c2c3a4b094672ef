//! One trace for each rollback: its identity, and the spans that tell what was done and for how long.
//!
//! Every id follows from the object's uid, and every span from what is on record. So whichever replica goes on with a
//! rollback goes on with the same trace, and nothing about it has to be kept anywhere. The sender's own trace is a link:
//! several notifications lead to one rollback, and a rollback outlives all of them. No span carries text of a payload.

use std::borrow::Cow;
use std::time::SystemTime;

use jiff::Timestamp;
use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanLinks};
use sha2::{Digest, Sha256};

use super::TraceContext;
use crate::procedure::{Entry, StepPhase};
use crate::reason::Finding;
use crate::rollback::{Phase, Rollback};
use crate::target::Kind;
use crate::target::effect::EffectKind;

/// A finished span of a rollback's trace.
#[derive(Clone, Debug)]
pub struct Span {
    trace: TraceId,
    id: SpanId,
    parent: Option<SpanId>,
    kind: SpanKind,
    name: Cow<'static, str>,
    start: Timestamp,
    end: Timestamp,
    attributes: Vec<KeyValue>,
    links: Vec<Link>,
    status: Status,
}

/// Which part of a rollback's run a span is about. A part has the same id whoever tells of it.
#[derive(Clone, Copy, Debug)]
enum Part {
    Whole,
    Claim,
    Join,
    Admit,
    Plan,
    Resume,
    Step(usize),
    Effect(usize),
    Report,
}

/// The trace of a rollback: its uid without the hyphens, so that whoever has the one has the other.
#[must_use]
pub fn trace_id(rollback: &Rollback) -> TraceId {
    let uid = rollback.metadata.uid.as_deref().unwrap_or_default();
    let digits: String = uid.chars().filter(|c| *c != '-').collect();
    let read = TraceId::from_hex(&digits).ok();
    let read = read.filter(|id| digits.len() == 32 && *id != TraceId::INVALID);
    read.unwrap_or_else(|| {
        let digest = Sha256::digest(uid);
        let start = digest.first_chunk().copied().unwrap_or_default();
        TraceId::from_bytes(start)
    })
}

// === impl Part ===

impl Part {
    const fn word(self) -> &'static str {
        match self {
            Self::Whole => "rollback",
            Self::Claim => "claim",
            Self::Join => "join",
            Self::Admit => "admit",
            Self::Plan => "plan",
            Self::Resume => "resume",
            Self::Step(_) => "step",
            Self::Effect(_) => "effect",
            Self::Report => "report",
        }
    }

    /// The id: `nth` tells those of one kind apart.
    fn id(self, trace: TraceId, nth: &str) -> SpanId {
        let index = match self {
            Self::Step(index) | Self::Effect(index) => index,
            _ => 0,
        };
        let text = format!("{trace}/{}/{index}/{nth}", self.word());
        let digest = Sha256::digest(text);
        let start: [u8; 8] = digest.first_chunk().copied().unwrap_or_default();
        // Zero is no id.
        SpanId::from(u64::from_be_bytes(start).max(1))
    }
}

// === impl Span ===

impl Span {
    /// The whole of a rollback that has ended: from the receipt of the alert to its end.
    #[must_use]
    pub fn whole(rollback: &Rollback, finding: &Finding, end: Timestamp) -> Self {
        let state = rollback.state();
        let start = rollback.received().unwrap_or(end).min(end);
        let mut span = Self::of(rollback, Part::Whole, "", start, end);
        span.parent = None;
        span.links = link(rollback.spec.trace.as_deref().and_then(TraceContext::parse));
        span.say("ripcord.phase", state.phase.name());
        span.say("ripcord.reason", finding.reason.code());
        if let Some(plan) = &state.plan {
            span.say("ripcord.procedure", plan.procedure.clone());
            span.say("ripcord.release.from", plan.from.hash.clone());
            span.say("ripcord.release.to", plan.to.hash.clone());
            if plan.kind == Kind::Deployment {
                span.say("k8s.deployment.name", plan.workload.clone());
            }
            span.say("ripcord.workload.kind", plan.kind.name());
            span.say("ripcord.workload.name", plan.workload.clone());
        }
        if let Some(healthy) = state.run.healthy {
            let recovery = healthy.duration_since(start).as_secs_f64();
            span.attributes
                .push(KeyValue::new("ripcord.recovery.seconds", recovery));
        }
        span.failed_if(state.phase == Phase::Failed, finding)
    }

    /// The claim, in the time that the API server took; linked to the notification that led to it.
    #[must_use]
    pub fn claim(
        rollback: &Rollback,
        trace: &TraceContext,
        start: Timestamp,
        end: Timestamp,
    ) -> Self {
        let mut span = Self::of(rollback, Part::Claim, "", start, end);
        span.kind = SpanKind::Client;
        span.links = link(Some(trace.clone()));
        span
    }

    /// An alert of a later notification that joined; linked to that notification.
    #[must_use]
    pub fn join(
        rollback: &Rollback,
        trace: &TraceContext,
        start: Timestamp,
        end: Timestamp,
    ) -> Self {
        let mut span = Self::of(rollback, Part::Join, &trace.traceparent(), start, end);
        span.kind = SpanKind::Client;
        span.links = link(Some(trace.clone()));
        span
    }

    /// The admission: every guard asked on fresh facts.
    #[must_use]
    pub fn admit(rollback: &Rollback, start: Timestamp, end: Timestamp) -> Self {
        let mut span = Self::of(rollback, Part::Admit, &start.to_string(), start, end);
        if let Some(found) = &rollback.state().reason {
            span.say("ripcord.reason", found.reason.code());
        }
        span
    }

    /// The making of the plan, and its writing down.
    #[must_use]
    pub fn plan(rollback: &Rollback, start: Timestamp, end: Timestamp) -> Self {
        let mut span = Self::of(rollback, Part::Plan, &start.to_string(), start, end);
        if let Some(plan) = &rollback.state().plan {
            span.say("ripcord.procedure", plan.procedure.clone());
            span.say("ripcord.release.from", plan.from.hash.clone());
            span.say("ripcord.release.to", plan.to.hash.clone());
        }
        span
    }

    /// That another leader went on with a run that had begun.
    #[must_use]
    pub fn resume(rollback: &Rollback, start: Timestamp, end: Timestamp) -> Self {
        let epoch = rollback.state().run.epoch;
        let mut span = Self::of(rollback, Part::Resume, &epoch.to_string(), start, end);
        span.say("ripcord.epoch", epoch);
        span
    }

    /// A step that has ended; none for one that never began.
    #[must_use]
    pub fn step(rollback: &Rollback, index: usize, entry: &Entry) -> Option<Self> {
        let (start, end) = (entry.started?, entry.finished?);
        let mut span = Self::of(rollback, Part::Step(index), "", start, end);
        span.name = format!("step {}", entry.step).into();
        span.say("ripcord.step", entry.step.clone());
        span.attributes
            .push(KeyValue::new("ripcord.attempts", entry.attempts));
        let Some(finding) = &entry.observed else {
            return Some(span);
        };
        span.say("ripcord.reason", finding.reason.code());
        Some(span.failed_if(entry.phase == StepPhase::Failed, finding))
    }

    /// One change of the workload that the step at `index` asked for. `failed` is the kind of the error, where it was not
    /// confirmed.
    #[must_use]
    pub fn effect(
        rollback: &Rollback,
        index: usize,
        effect: EffectKind,
        start: Timestamp,
        end: Timestamp,
        failed: Option<&'static str>,
    ) -> Self {
        let nth = start.to_string();
        let mut span = Self::of(rollback, Part::Effect(index), &nth, start, end);
        span.parent = Some(Part::Step(index).id(span.trace, ""));
        span.kind = SpanKind::Client;
        let word = word(effect);
        span.name = format!("effect {word}").into();
        span.say("ripcord.effect", word);
        span.erred(failed)
    }

    /// One call that tells people. `reporter` is the way in which they are told, `what` a word for the kind of message.
    #[must_use]
    pub fn report(
        rollback: &Rollback,
        reporter: &'static str,
        what: &'static str,
        start: Timestamp,
        end: Timestamp,
        failed: Option<&'static str>,
    ) -> Self {
        // Two reporters may begin at the same instant.
        let nth = format!("{reporter} {start}");
        let mut span = Self::of(rollback, Part::Report, &nth, start, end);
        span.kind = SpanKind::Client;
        span.name = format!("report {what}").into();
        span.say("ripcord.reporter", reporter);
        span.say("ripcord.report", what);
        span.erred(failed)
    }

    fn of(rollback: &Rollback, part: Part, nth: &str, start: Timestamp, end: Timestamp) -> Self {
        let trace = trace_id(rollback);
        let mut span = Self {
            trace,
            id: part.id(trace, nth),
            parent: Some(Part::Whole.id(trace, "")),
            kind: SpanKind::Internal,
            name: part.word().into(),
            start,
            // Two replicas' clocks can differ, and a span never ends before it began.
            end: end.max(start),
            attributes: Vec::new(),
            links: Vec::new(),
            status: Status::Unset,
        };
        span.say("k8s.namespace.name", rollback.namespace().to_owned());
        span.say("ripcord.rollback", rollback.name().to_owned());
        span.say("ripcord.target", rollback.spec.target.clone());
        span.say("ripcord.severity", rollback.severity().as_str());
        span
    }

    fn say(&mut self, key: &'static str, value: impl Into<opentelemetry::Value>) {
        self.attributes.push(KeyValue::new(key, value));
    }

    /// As the conventions want it: a failure has a status and the kind of its error.
    fn failed_if(mut self, failed: bool, finding: &Finding) -> Self {
        if failed {
            self.say("error.type", finding.reason.code());
            self.status = Status::error(finding.reason.meaning());
        }
        self
    }

    fn erred(mut self, failed: Option<&'static str>) -> Self {
        if let Some(kind) = failed {
            self.say("error.type", kind);
            self.status = Status::error(kind);
        }
        self
    }

    /// As the exporter takes it.
    pub(super) fn into_data(self, scope: &InstrumentationScope) -> SpanData {
        let context = |id| {
            SpanContext::new(
                self.trace,
                id,
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            )
        };
        let mut links = SpanLinks::default();
        links.links = self.links;
        SpanData {
            span_context: context(self.id),
            parent_span_id: self.parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: false,
            span_kind: self.kind,
            name: self.name,
            start_time: SystemTime::from(self.start),
            end_time: SystemTime::from(self.end),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: opentelemetry_sdk::trace::SpanEvents::default(),
            links,
            status: self.status,
            instrumentation_scope: scope.clone(),
        }
    }
}

/// The word for an effect, as the journal has it.
fn word(effect: EffectKind) -> String {
    let written = serde_json::to_value(effect);
    let word = written.ok().and_then(|it| it.as_str().map(str::to_owned));
    word.unwrap_or_default()
}

/// The link to a sender's trace, where the sender keeps one.
fn link(trace: Option<TraceContext>) -> Vec<Link> {
    let kept = trace.filter(TraceContext::is_sampled);
    kept.map(|trace| Link::with_context(trace.into_span()))
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::decision::tests::{rollback, second};

    fn of(uid: &str) -> Rollback {
        let mut of = rollback(1, Phase::Running);
        of.metadata.uid = Some(uid.to_owned());
        of
    }

    #[test]
    fn a_trace_is_the_uid_and_what_is_no_uuid_has_one_too() {
        let one = of("4bf92f35-77b3-4da6-a3ce-929d0e0e4736");
        let id = trace_id(&one).to_string();
        assert_eq!(id, "4bf92f3577b34da6a3ce929d0e0e4736");
        for odd in ["", "u1", "00000000-0000-0000-0000-000000000000"] {
            let id = trace_id(&of(odd));
            assert_ne!(id, TraceId::INVALID, "{odd}");
            assert_eq!(id, trace_id(&of(odd)));
        }
        assert_ne!(trace_id(&of("u1")), trace_id(&of("u2")));
    }

    #[test]
    fn two_replicas_tell_of_one_part_under_one_id_and_of_two_under_two() {
        let one = of("4bf92f35-77b3-4da6-a3ce-929d0e0e4736");
        let effect = |index, at| {
            let kind = EffectKind::PromoteFull;
            Span::effect(&one, index, kind, second(at), second(at), None)
        };
        assert_eq!(effect(0, 5).id, effect(0, 5).id);
        assert_ne!(effect(0, 5).id, effect(0, 6).id);
        assert_ne!(effect(0, 5).id, effect(1, 5).id);
        let mut entry = Entry::pending("revert");
        assert!(Span::step(&one, 0, &entry).is_none());
        (entry.started, entry.finished) = (Some(second(1)), Some(second(9)));
        let step = Span::step(&one, 0, &entry).unwrap();
        assert_eq!(effect(0, 5).parent, Some(step.id));
        let whole = Span::whole(&one, &crate::reason::Reason::Done.into(), second(9));
        assert_eq!(step.parent, Some(whole.id));
        assert_eq!(whole.parent, None);
    }

    #[test]
    fn only_a_sender_that_keeps_its_trace_is_linked_to() {
        let trace = |flags| {
            TraceContext::parse(&format!(
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}"
            ))
        };
        assert_eq!(link(trace("01")).len(), 1);
        assert!(link(trace("00")).is_empty());
        assert!(link(None).is_empty());
    }
}
