//! A configuration file during validation: turns offsets into positions and collects errors.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::env::Env;
use super::error::{ConfigError, Origin};
use super::file::ConfigFile;
use super::value;

pub(super) struct Document<'a> {
    file: &'a ConfigFile,
    pub(super) env: &'a Env,
    /// The offset of each line.
    lines: Vec<usize>,
    errors: &'a mut Vec<ConfigError>,
}

impl<'a> Document<'a> {
    /// Also returns the file's tree, or None if it is not TOML.
    pub(super) fn parse(
        file: &'a ConfigFile,
        env: &'a Env,
        errors: &'a mut Vec<ConfigError>,
    ) -> (Self, Option<Spanned<DeTable<'a>>>) {
        let line_ends = file.text.match_indices('\n').map(|(at, _)| at + 1);
        let mut document = Self {
            file,
            env,
            lines: std::iter::once(0).chain(line_ends).collect(),
            errors,
        };
        let (tree, syntax_errors) = DeTable::parse_recoverable(&file.text);
        if syntax_errors.is_empty() {
            return (document, Some(tree));
        }
        // The parser's recovery is a guess, so validating its result would report false errors.
        document.syntax(&syntax_errors);
        (document, None)
    }

    /// The base of relative paths.
    pub(super) fn folder(&self) -> &'a Path {
        self.file.folder()
    }

    /// The uid of the file's owner, whose programs the file may run.
    pub(super) fn owner(&self) -> u32 {
        self.file.owner
    }

    pub(super) fn position(&self, offset: usize) -> Origin {
        let line = self.lines.partition_point(|begin| *begin <= offset);
        let begin = self.lines.get(line.saturating_sub(1)).copied();
        let before = self.file.text.get(begin.unwrap_or(0)..offset);
        let column = 1 + before.map_or(0, |before| before.chars().count());
        Origin::Position(self.file.path.clone(), line, column)
    }

    pub(super) fn error(&mut self, offset: usize, what: impl Into<String>) {
        let position = self.position(offset);
        self.errors.push(ConfigError::new(position, what));
    }

    /// Tells whether something reported an error: the number differs before and after.
    pub(super) fn error_count(&self) -> usize {
        self.errors.len()
    }

    /// Reports the parser's first error on each line; further ones are mostly caused by it.
    fn syntax(&mut self, errors: &[toml::de::Error]) {
        let mut reported = Vec::new();
        for error in errors {
            let offset = error.span().map_or(0, |span| span.start);
            let Origin::Position(_, line, _) = self.position(offset) else {
                continue;
            };
            if !reported.contains(&line) {
                reported.push(line);
                let message = error.message().replace('\n', " ");
                self.error(offset, format!("invalid TOML: {message}"));
            }
        }
    }
}

/// Reads the value of one key and reports its errors under the key's name.
pub(super) struct KeyReader<'a, 'b> {
    pub(super) path: String,
    pub(super) document: &'a mut Document<'b>,
}

impl KeyReader<'_, '_> {
    /// Reports an error at `place`.
    pub(super) fn ok<T, V>(&mut self, place: &Spanned<V>, result: Result<T, String>) -> Option<T> {
        result
            .map_err(|what| {
                let what = format!("{}: {what}", self.path);
                self.document.error(place.span().start, what);
            })
            .ok()
    }

    /// Parses every string of an array. None if any item is invalid.
    pub(super) fn array<T>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let wrong_type = |found: &DeValue<'_>| {
            let found = value::type_name(found);
            format!("expected an array of strings such as [\"one\", \"two\"], found {found}")
        };
        let items = value.get_ref().as_array();
        let items = self.ok(value, items.ok_or_else(|| wrong_type(value.get_ref())))?;
        let mut parse_item = |item: &Spanned<DeValue<'_>>| {
            let text = item.get_ref().as_str();
            let text = text.ok_or_else(|| wrong_type(item.get_ref()));
            self.ok(item, text.and_then(&parse))
        };
        // Parses all items before it stops, so that every error is reported.
        let parsed: Vec<Option<T>> = items.iter().map(&mut parse_item).collect();
        parsed.into_iter().collect()
    }

    /// Parses every pair of a table of strings, and returns the valid ones.
    pub(super) fn table<T>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        example: &str,
        parse: impl Fn(&str, &str) -> Result<T, String>,
    ) -> Vec<T> {
        let table = value.get_ref().as_table();
        let table = table.ok_or_else(|| {
            let found = value::type_name(value.get_ref());
            format!("expected a table such as {example}, found {found}")
        });
        let pairs = self.ok(value, table).into_iter().flatten();
        let mut parsed = Vec::new();
        for (name, value) in pairs {
            let text = value.get_ref().as_str().ok_or_else(|| {
                let found = value::type_name(value.get_ref());
                format!(
                    "{}: expected a string in quotes, found {found}",
                    name.get_ref()
                )
            });
            let pair = text.and_then(|text| parse(name.get_ref(), text));
            parsed.extend(self.ok(value, pair));
        }
        parsed
    }
}
