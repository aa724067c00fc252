//! How much the API is polled ([`rate_limiter`]) and whether at all ([`circuit_breaker`]).

pub mod circuit_breaker;
pub mod rate_limiter;
