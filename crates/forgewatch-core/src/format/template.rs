//! A body by the user's own template, in the syntax of Jinja: every value is written as JSON.
//!
//! A template is checked when it is loaded: it must name known fields only, and give JSON for an event of each type that
//! its hook receives.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, Value};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::Map;

use super::inert::{Markup, inert};
use super::{Envelope, Message};
use crate::delivery::EventPayload;
use crate::event::RECORD_FIELDS;
use crate::user_input::{nearest, quoted};

/// The variable with all fields as they are.
const RAW: &str = "raw";
/// The name of the only template of an environment.
const NAME: &str = "body";
/// In UTF-16 code units; the longest text of a record has 8 KiB.
const TEXT: usize = 16 * 1024;

/// A valid template.
pub struct Template(Environment<'static>);

/// A template does not parse, or does not fit an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// Counted from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
}

impl std::error::Error for TemplateError {}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl From<minijinja::Error> for TemplateError {
    fn from(error: minijinja::Error) -> Self {
        let what = error.detail().map(str::to_owned);
        Self {
            line: error.line(),
            what: what.unwrap_or_else(|| error.kind().to_string()),
        }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template")
    }
}

impl Template {
    /// Checks a template with an event of each type that its hook receives.
    ///
    /// # Errors
    /// The first error.
    pub fn new(source: String, samples: &[EventPayload]) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Json);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // Without it no value gets around the JSON.
        environment.remove_filter("safe");
        environment.add_template_owned(NAME, source)?;
        let template = Self(environment);
        template.check_names()?;
        for sample in samples {
            let envelope = Envelope::parse(sample).map_err(|error| TemplateError {
                line: None,
                what: error.to_string(),
            });
            template.message(&envelope?)?;
        }
        Ok(template)
    }

    pub(super) fn source(&self) -> Option<String> {
        let template = self.0.get_template(NAME).ok()?;
        Some(template.source().to_owned())
    }

    fn check_names(&self) -> Result<(), TemplateError> {
        let template = self.0.get_template(NAME)?;
        let globals = self.0.globals().map(|(name, _)| name);
        let known: Vec<&str> = RECORD_FIELDS
            .into_iter()
            .chain([RAW])
            .chain(globals)
            .collect();
        let mut unknown: Vec<(usize, String)> = Vec::new();
        for path in template.undeclared_variables(true) {
            let mut parts = path.split('.');
            let first = parts.next().unwrap_or_default();
            let name = match (first, parts.next()) {
                (RAW, Some(field)) => field,
                _ => first,
            };
            if !known.contains(&name) {
                let line = line_of(template.source(), name);
                unknown.push((line, name.to_owned()));
            }
        }
        let Some((line, name)) = unknown.into_iter().min() else {
            return Ok(());
        };
        let hint = nearest(&name, RECORD_FIELDS).map_or_else(
            || "use the fields of the log record".to_owned(),
            |near| format!("did you mean {near}?"),
        );
        Err(TemplateError {
            line: Some(line),
            what: format!("unknown field {}; {hint}", quoted(&name)),
        })
    }

    pub(super) fn message(&self, envelope: &Envelope) -> Result<Message, TemplateError> {
        let template = self.0.get_template(NAME)?;
        let raw = Value::from_pairs(fields(&envelope.data, str::to_owned));
        let inert = fields(&envelope.data, |text| inert(text, Markup::Plain, TEXT));
        let context = inert.into_iter().chain([(RAW, raw)]);
        let body = template.render(Value::from_pairs(context))?;
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&body) {
            let what = format!(
                "the body is not JSON: {error} of the body; write values without quotes around them, such as \
                 {{\"text\": {{{{ message }}}}}}"
            );
            return Err(TemplateError { line: None, what });
        }
        Ok(Message {
            content_type: "application/json",
            body,
        })
    }
}

/// All fields of a record; those that it lacks are none.
fn fields(
    data: &Map<String, serde_json::Value>,
    text: impl Fn(&str) -> String,
) -> BTreeMap<&'static str, Value> {
    let field = |name| {
        let value = match data.get(name) {
            Some(serde_json::Value::String(value)) => Value::from(text(value)),
            Some(serde_json::Value::Object(labels)) => {
                let labels = labels.iter().map(|(name, value)| {
                    let value = value.as_str().unwrap_or_default();
                    (name.clone(), Value::from(text(value)))
                });
                Value::from_object(Labels(labels.collect()))
            }
            None if name == "labels" => Value::from_object(Labels(BTreeMap::new())),
            None if name == "test" => Value::from(false),
            // Besides texts and labels, a record has whole numbers and `test`.
            value => {
                let value = value.unwrap_or(&serde_json::Value::Null);
                let number = value.as_i64().map(Value::from);
                let number = number.or_else(|| value.as_u64().map(Value::from));
                let flag = value.as_bool().map(Value::from);
                number.or(flag).unwrap_or_else(|| Value::from(()))
            }
        };
        (name, value)
    };
    RECORD_FIELDS.into_iter().map(field).collect()
}

/// Labels by name. A missing label is `none`, not undefined: a job may have any labels.
#[derive(Debug)]
struct Labels(BTreeMap<String, Value>);

impl Object for Labels {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let value = self.0.get(key.as_str()?).cloned();
        Some(value.unwrap_or_else(|| Value::from(())))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(
            self.0
                .keys()
                .map(|name| Value::from(name.as_str()))
                .collect(),
        )
    }
}

/// The number of the first line with this word.
fn line_of(source: &str, word: &str) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let has = |line: &str| line.split(|c| !is_word(c)).any(|found| found == word);
    1 + source.lines().position(has).unwrap_or(0)
}
