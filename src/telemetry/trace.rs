//! The identity of a trace, in W3C's `traceparent` form: read from a request, or made when there is none.
//!
//! It ties a notification, its log lines and the rollback it led to together. A trace that was made here is marked as not
//! sampled: nobody exports a span of it, so that nothing should link to it.

use std::collections::HashMap;

use axum::http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceFlags, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::IdGenerator;

/// The header's name.
pub const TRACEPARENT: &str = "traceparent";

/// Which trace something belongs to, and which span of it came before.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceContext {
    span: SpanContext,
}

impl TraceContext {
    /// The sender's trace; none when the header is missing, invalid or there twice.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?.to_str().ok()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(value)
    }

    /// Reads a `traceparent`.
    #[must_use]
    pub fn parse(traceparent: &str) -> Option<Self> {
        let text = traceparent.trim();
        if !has_shape(text) {
            return None;
        }
        let carrier = HashMap::from([(TRACEPARENT.to_owned(), text.to_owned())]);
        let context = TraceContextPropagator::new().extract(&carrier);
        let span = context.span().span_context().clone();
        span.is_valid().then_some(Self { span })
    }

    /// A new trace.
    #[must_use]
    pub fn fresh(generator: &dyn IdGenerator) -> Self {
        let (trace, span) = (generator.new_trace_id(), generator.new_span_id());
        Self {
            span: SpanContext::new(
                trace,
                span,
                TraceFlags::NOT_SAMPLED,
                false,
                TraceState::default(),
            ),
        }
    }

    /// The sender's trace, or a new one.
    #[must_use]
    pub fn accept(headers: &HeaderMap, generator: &dyn IdGenerator) -> Self {
        Self::from_headers(headers).unwrap_or_else(|| Self::fresh(generator))
    }

    /// The text of the header, 55 characters.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let sampled = self.span.trace_flags() & TraceFlags::SAMPLED;
        format!(
            "00-{}-{}-{sampled:02x}",
            self.span.trace_id(),
            self.span.span_id()
        )
    }

    /// Whether the sender keeps its trace.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.span.is_sampled()
    }

    /// The sender's span, to link to.
    #[must_use]
    pub fn into_span(self) -> SpanContext {
        self.span
    }

    /// The trace's id for log fields, 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.span.trace_id().to_string()
    }
}

/// Whether the text has the lengths and digits of a `traceparent`; the propagator would also take shorter ids.
fn has_shape(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut is = |length: usize| {
        parts.next().is_some_and(|part| {
            part.len() == length
                && part
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        })
    };
    is(2) && is(32) && is(16) && is(2)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceId};
    use opentelemetry_sdk::trace::RandomIdGenerator;

    use super::*;

    const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[derive(Debug)]
    struct Fixed;

    impl IdGenerator for Fixed {
        fn new_trace_id(&self) -> TraceId {
            TraceId::from(0xabc)
        }

        fn new_span_id(&self) -> SpanId {
            SpanId::from(0x12)
        }
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_senders_trace_goes_on() {
        let trace = TraceContext::accept(&headers(&[SENT]), &Fixed);
        assert_eq!(trace.traceparent(), SENT);
        assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(TraceContext::parse(&trace.traceparent()), Some(trace));
    }

    #[test]
    fn unknown_flags_and_later_versions_are_read() {
        let flags = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff";
        assert_eq!(TraceContext::parse(flags).unwrap().traceparent(), SENT);
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert_eq!(TraceContext::parse(later).unwrap().traceparent(), SENT);
    }

    #[test]
    fn what_is_no_trace_is_replaced() {
        for bad in [
            "",
            "nonsense",
            "00-1-1-1",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e47é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
        assert_eq!(TraceContext::from_headers(&headers(&[SENT, SENT])), None);
        let fresh = TraceContext::accept(&headers(&["nonsense"]), &Fixed);
        assert_eq!(
            fresh.traceparent(),
            "00-00000000000000000000000000000abc-0000000000000012-00"
        );
    }

    #[test]
    fn new_traces_are_valid_and_differ() {
        let one = TraceContext::fresh(&RandomIdGenerator::default());
        let two = TraceContext::fresh(&RandomIdGenerator::default());
        assert_ne!(one.trace_id(), two.trace_id());
        assert_eq!(
            TraceContext::parse(&one.traceparent()).map(|t| t.traceparent()),
            Some(one.traceparent())
        );
    }
}
