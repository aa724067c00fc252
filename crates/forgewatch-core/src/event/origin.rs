//! Where an event comes from: the name of the forgewatch that emitted it, and the trace that it works for.

use std::fmt::{self, Write};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

/// The same for all events of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EventOrigin {
    /// The name of the forgewatch.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "name")]
    pub instance: Option<Arc<str>>,
    /// The trace, if the environment names one.
    #[serde(flatten)]
    pub trace: Option<TraceContext>,
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn name<S: Serializer>(name: &Option<Arc<str>>, s: S) -> Result<S::Ok, S::Error> {
    name.as_deref().serialize(s)
}

/// The environment variable, as OpenTelemetry names it.
pub const TRACEPARENT: &str = "TRACEPARENT";

/// The span of another program, such as a step of a pipeline, that forgewatch works for: the W3C's trace context,
/// <https://www.w3.org/TR/trace-context/>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TraceContext {
    /// Its trace.
    #[serde(serialize_with = "as_hex")]
    pub trace_id: [u8; 16],
    /// The span itself, the parent of what forgewatch and its hooks do.
    #[serde(serialize_with = "as_hex")]
    pub span_id: [u8; 8],
    /// 1 is "sampled".
    #[serde(serialize_with = "as_hex")]
    pub trace_flags: [u8; 1],
}

/// The text is not a valid trace context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected 00-<32 hexadecimal digits>-<16 hexadecimal digits>-<2 hexadecimal digits>, in lower case"
)]
pub struct InvalidTrace;

/// The fields of a record that hold the context.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct TraceFields {
    trace_id: Option<String>,
    span_id: Option<String>,
    trace_flags: Option<String>,
}

impl TraceFields {
    /// None if a field is missing or invalid.
    pub(crate) fn context(&self) -> Option<TraceContext> {
        let [trace, span, flags] = [&self.trace_id, &self.span_id, &self.trace_flags];
        TraceContext::of_parts(trace.as_deref()?, span.as_deref()?, flags.as_deref()?).ok()
    }
}

impl TraceContext {
    fn of_parts(trace_id: &str, span_id: &str, trace_flags: &str) -> Result<Self, InvalidTrace> {
        let context = Self {
            trace_id: digits(trace_id)?,
            span_id: digits(span_id)?,
            trace_flags: digits(trace_flags)?,
        };
        let is_zero = context.trace_id == [0; 16] || context.span_id == [0; 8];
        if is_zero {
            Err(InvalidTrace)
        } else {
            Ok(context)
        }
    }
}

impl FromStr for TraceContext {
    type Err = InvalidTrace;

    /// A later version may have more parts.
    fn from_str(text: &str) -> Result<Self, InvalidTrace> {
        let mut parts = text.split('-');
        let mut part = || parts.next().ok_or(InvalidTrace);
        let [version] = digits(part()?)?;
        let context = Self::of_parts(part()?, part()?, part()?)?;
        let is_known = version != 0 || parts.next().is_none();
        (version != 0xff && is_known)
            .then_some(context)
            .ok_or(InvalidTrace)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trace_id,
            span_id,
            trace_flags,
        } = self;
        write!(
            f,
            "00-{}-{}-{}",
            hex(trace_id),
            hex(span_id),
            hex(trace_flags)
        )
    }
}

/// The bytes as digits, in lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn as_hex<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&hex(bytes))
}

/// The bytes of exactly as many digits, in lower case.
fn digits<const N: usize>(text: &str) -> Result<[u8; N], InvalidTrace> {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 2 * N || !text.bytes().all(is_digit) {
        return Err(InvalidTrace);
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        let pair = text.get(2 * at..2 * at + 2).unwrap_or_default();
        *byte = u8::from_str_radix(pair, 16).map_err(|_| InvalidTrace)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_context_is_read_and_written_unchanged() {
        assert_eq!(VALID.parse::<TraceContext>().unwrap().to_string(), VALID);
        let later = VALID.replacen("00", "cc", 1) + "-what-the-future-brings";
        assert_eq!(later.parse::<TraceContext>().unwrap().to_string(), VALID);
        let fields = serde_json::to_value(EventOrigin {
            instance: None,
            trace: VALID.parse().ok(),
        });
        let expected = serde_json::json!({
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "span_id": "00f067aa0ba902b7",
            "trace_flags": "01",
        });
        assert_eq!(fields.unwrap(), expected);
    }

    #[test]
    fn what_the_specification_calls_invalid_is_rejected() {
        let long = VALID.to_owned() + "-more";
        let upper = VALID.to_uppercase();
        let no_trace = VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
        let no_span = VALID.replace("00f067aa0ba902b7", &"0".repeat(16));
        let forbidden = VALID.replacen("00", "ff", 1);
        for text in [
            "",
            "00",
            "00-1-2-3",
            &VALID[..54],
            &long,
            &upper,
            &no_trace,
            &no_span,
            &forbidden,
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(text.parse::<TraceContext>(), Err(InvalidTrace), "{text}");
        }
    }
}
