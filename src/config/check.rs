//! Walks the tree of a configuration file and holds it against the table of keys: everything wrong is found,
//! with line and column.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::draft::Draft;
use super::error::{ConfigError, Origin, quoted};
use super::file::Source;
use super::jobs;
use super::keys::{KEYS, Key, LATER, SECTIONS};
use super::nearest::nearest;
use super::read;
use super::settings::JobSpec;

/// How much of a file is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of it: the file was named, or is being checked. A section whose feature is not there yet is refused.
    Whole,
    /// `[api]` and `[schedule]`: a one-shot found the file by default. The machine's daemon may have the rest of it
    /// for itself, so that is passed over, right or wrong.
    ApiAndSchedule,
}

/// A file while it is checked: the places of what it says, and what was wrong so far.
pub(super) struct Checked<'a> {
    path: &'a Path,
    text: &'a str,
    pub(super) errors: &'a mut Vec<ConfigError>,
}

/// Takes over into `draft` what `source` says. Returns its jobs, each once, in the file's order; None for a file that
/// is no TOML at all.
pub(super) fn file(
    source: &Source,
    scope: Scope,
    draft: &mut Draft,
    errors: &mut Vec<ConfigError>,
) -> Option<Vec<JobSpec>> {
    let mut checked = Checked {
        path: &source.path,
        text: &source.text,
        errors,
    };
    let (tree, broken) = DeTable::parse_recoverable(&source.text);
    if !broken.is_empty() {
        // What the parser makes of the rest of a broken file is a guess; errors in it would be guesses too.
        checked.syntax(&broken);
        return None;
    }
    let mut jobs = Vec::new();
    for (name, value) in tree.get_ref() {
        match name.get_ref().as_ref() {
            section @ ("api" | "schedule") => checked.settings(section, value, draft),
            _ if scope == Scope::ApiAndSchedule && is_section(name.get_ref()) => {}
            "jobs" => jobs = jobs::from_file(value, &mut checked),
            later if LATER.contains(&later) => {
                let what = format!(
                    "{later}: not yet: this version has no use for the section; take it out"
                );
                checked.error(name.span().start, what);
            }
            other => {
                let what = unknown_section(other);
                checked.error(name.span().start, what);
            }
        }
    }
    Some(jobs)
}

impl Checked<'_> {
    /// The line and the column, both from 1, of a byte of the text.
    pub(super) fn place(&self, offset: usize) -> Origin {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = 1 + before.matches('\n').count();
        let column = 1 + before
            .rsplit('\n')
            .next()
            .map_or(0, |last| last.chars().count());
        Origin::Place(self.path.to_owned(), line, column)
    }

    /// Notes that something at a byte of the text is wrong.
    pub(super) fn error(&mut self, offset: usize, what: impl Into<String>) {
        let place = self.place(offset);
        self.errors.push(ConfigError::new(place, what));
    }

    /// The parser's own errors, the first of each line: those after it are mostly its echo.
    fn syntax(&mut self, broken: &[toml::de::Error]) {
        let mut told = Vec::new();
        for error in broken {
            let offset = error.span().map_or(0, |span| span.start);
            let Origin::Place(_, line, _) = self.place(offset) else {
                continue;
            };
            if !told.contains(&line) {
                told.push(line);
                let message = error.message().replace('\n', " ");
                self.error(offset, format!("not TOML: {message}"));
            }
        }
    }

    fn settings(&mut self, section: &str, value: &Spanned<DeValue<'_>>, draft: &mut Draft) {
        let Some(table) = value.get_ref().as_table() else {
            let what = format!(
                "{section}: {} is no section; write [{section}] on a line of its own, once",
                read::type_name(value.get_ref())
            );
            return self.error(value.span().start, what);
        };
        for (name, value) in table {
            let Some(key) = Key::find(section, name.get_ref()) else {
                self.unknown_key(section, name);
                continue;
            };
            let folder = self.path.parent().unwrap_or(Path::new(""));
            if let Err(what) = read::toml(key, value.get_ref(), folder, draft) {
                self.error(value.span().start, format!("{}: {what}", key.path()));
            }
            draft.spoken(key, &self.place(value.span().start));
        }
    }

    /// Says that `section` has no such key, and which was perhaps meant. The value is not quoted: a secret might
    /// have been put there.
    pub(super) fn unknown_key(&mut self, section: &str, name: &Spanned<std::borrow::Cow<'_, str>>) {
        let written = name.get_ref().as_ref();
        let here = KEYS
            .iter()
            .filter(|key| key.section == section)
            .map(|key| key.name);
        let hint = if let Some(key) = KEYS.iter().find(|key| key.name == written) {
            format!("it belongs into [{}]", key.section)
        } else if let Some(near) = nearest(written, here.clone()) {
            format!("did you mean {near}?")
        } else {
            format!("there are {}", here.collect::<Vec<_>>().join(", "))
        };
        let path = quoted(written);
        self.error(
            name.span().start,
            format!("{section}: unknown key {path}; {hint}"),
        );
    }
}

fn is_section(name: &str) -> bool {
    SECTIONS.contains(&name) || LATER.contains(&name)
}

fn unknown_section(name: &str) -> String {
    if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        return format!(
            "unknown section {}; the key belongs into [{}]",
            quoted(name),
            key.section
        );
    }
    match nearest(name, SECTIONS.into_iter().chain(LATER)) {
        Some(near) => format!("unknown section {}; did you mean {near}?", quoted(name)),
        None => format!(
            "unknown section {}; there are [api], [schedule], [[jobs]]",
            quoted(name)
        ),
    }
}
