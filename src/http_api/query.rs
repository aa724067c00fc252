//! The parameters of a query.

use std::fmt::Display;

use url::form_urlencoded;

use super::problem::Problem;
use forgewatch_core::user_input::{quoted, suggestion};

pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// # Errors
    /// A parameter is not one of `names`.
    pub(super) fn parse(query: Option<&str>, names: &[&str]) -> Result<Self, Problem> {
        let query = query.unwrap_or_default().as_bytes();
        let pairs: Vec<_> = form_urlencoded::parse(query).into_owned().collect();
        match pairs.iter().find(|(name, _)| !names.contains(&&**name)) {
            None => Ok(Self(pairs)),
            Some((name, _)) => Err(unknown(name, names)),
        }
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.0.iter().filter(move |(found, _)| found == name);
        named.map(|(_, value)| &**value)
    }

    /// # Errors
    /// The parameter is there twice.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.all(name);
        let value = values.next();
        match values.next() {
            None => Ok(value),
            Some(_) => Err(Problem::parameter(name, "use it once")),
        }
    }

    /// Parses a parameter that can be there once.
    pub(super) fn read<T, E: Display>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        let value = self.one(name)?.map(parse).transpose();
        value.map_err(|what| Problem::parameter(name, what))
    }

    /// Parses every value of a parameter.
    pub(super) fn read_all<T, E: Display, C: FromIterator<T>>(
        &self,
        name: &str,
        parse: impl FnMut(&str) -> Result<T, E>,
    ) -> Result<C, Problem> {
        let parsed: Result<C, E> = self.all(name).map(parse).collect();
        parsed.map_err(|what| Problem::parameter(name, what))
    }

    pub(super) fn switch(&self, name: &str, default: bool) -> Result<bool, Problem> {
        let parse = |text: &str| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("expected true or false, found {}", quoted(text))),
        };
        Ok(self.read(name, parse)?.unwrap_or(default))
    }
}

fn unknown(name: &str, names: &[&str]) -> Problem {
    let hint = if names.is_empty() {
        "this request has none".to_owned()
    } else {
        suggestion(name, names.iter().copied())
    };
    let what = format!("unknown parameter {}; {hint}", quoted(name));
    Problem::bad_request(what).with("parameter", name)
}
