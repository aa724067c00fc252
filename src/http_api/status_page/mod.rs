//! The status page: the jobs as a table, and a page for each job.
//!
//! The server renders everything, so the pages work without scripts. The script in the page requests rows and pages again
//! and replaces what is shown: each text is written in one place.

mod job_page;
mod list_page;
mod timeline;

use std::sync::LazyLock;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use ring::digest::{SHA256, digest};
use serde::Serialize;

use crate::control::protocol::{DeliveryStatus, DeliverySummary};
use forgewatch_core::sanitize::{LIMIT, sanitized};
use forgewatch_core::time::span_in_seconds;

pub(super) use job_page::job_page;
pub(super) use list_page::{DaemonHealth, Filter, ListPage, rows};

static SOURCE: &str = include_str!("status_page.html");
const NAME: &str = "status_page.html";

static TEMPLATE: LazyLock<Result<Environment<'static>, minijinja::Error>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // Without it no value gets around the escaping.
    environment.remove_filter("safe");
    environment.add_template(NAME, SOURCE)?;
    Ok(environment)
});

/// The Content-Security-Policy of both pages: their own styles and script by hash, and requests to this server.
pub(in crate::http_api) static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
        hash_of("style"),
        hash_of("script")
    )
});

/// The hash of the text of the only element of this name.
fn hash_of(element: &str) -> String {
    let text = SOURCE
        .split_once(&format!("<{element}>"))
        .and_then(|(_, rest)| rest.split_once(&format!("</{element}>")))
        .map_or("", |(text, _)| text);
    let hash = BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!("sha256-{hash}")
}

/// The template is wrong: a bug that tests find.
#[derive(Debug, thiserror::Error)]
#[error("cannot render the page: {0}")]
pub(in crate::http_api) struct RenderError(String);

/// Renders the template.
fn render(values: &impl Serialize) -> Result<String, RenderError> {
    let fail = |error: &minijinja::Error| RenderError(error.to_string());
    let environment = TEMPLATE.as_ref().map_err(fail)?;
    let template = environment.get_template(NAME).map_err(|e| fail(&e))?;
    template.render(Serde(values)).map_err(|e| fail(&e))
}

/// A delivery as the table shows it.
#[derive(Serialize)]
struct DeliveryCells {
    hook: String,
    state: DeliveryStatus,
    /// When a pending one is due: `, in 12s`.
    due: String,
    event_type: String,
    job: String,
    attempts: u32,
    error: String,
}

impl DeliveryCells {
    fn of(delivery: &DeliverySummary, now_ms: i64) -> Self {
        let due = (delivery.due_at_ms)
            .and_then(|at| u64::try_from(at.saturating_sub(now_ms)).ok())
            .filter(|ms| *ms > 0);
        Self {
            hook: inert(&delivery.hook),
            state: delivery.state,
            due: due.map_or_else(String::new, |ms| format!(", in {}", span_in_seconds(ms))),
            event_type: inert(&delivery.event_type),
            job: delivery.job.map_or_else(String::new, |job| job.to_string()),
            attempts: delivery.attempts,
            error: delivery
                .error_message
                .as_deref()
                .map_or_else(String::new, inert),
        }
    }
}

/// Untrusted text without control characters and bidi marks; the template escapes the markup.
fn inert(text: &str) -> String {
    sanitized(text, LIMIT)
}

#[cfg(test)]
mod tests;
