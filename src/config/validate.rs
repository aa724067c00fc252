//! Validates a parsed configuration file against the table of keys and reports every error with line and column.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::env::Env;
use super::error::{ConfigError, Origin};
use super::file::ConfigFile;
use super::hooks;
use super::jobs;
use super::keys::{self, DAEMON_SECTIONS, Key, RESERVED_SECTIONS, SECTIONS};
use super::layers::Values;
use super::value;
use crate::hooks::HookSpec;
use forgewatch_core::job::JobSpec;
use forgewatch_core::quote::quoted;
use forgewatch_core::suggest::nearest;

/// Which sections of a file are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All: the file was named, or a daemon loads it. Reserved sections are errors.
    Whole,
    /// A one-shot found the file at a default path. The other sections belong to the daemon and are not even checker.
    ApiAndSchedule,
}

/// A file during validation: converts offsets to positions and collects errors.
pub(super) struct FileChecker<'a> {
    path: &'a Path,
    owner: u32,
    text: &'a str,
    /// The offset of each line.
    lines: Vec<usize>,
    pub(super) errors: &'a mut Vec<ConfigError>,
}

/// A file's jobs and hooks.
#[derive(Debug, Default)]
pub(super) struct FileLists {
    /// Without duplicates, in the file's order; None if the file has no `[[jobs]]`.
    pub(super) jobs: Option<Vec<JobSpec>>,
    /// In the file's order.
    pub(super) hooks: Vec<HookSpec>,
}

/// Sets `values` to the file's settings and returns its lists; None if it is not TOML.
pub(super) fn file(
    source: &ConfigFile,
    scope: Scope,
    env: &Env,
    values: &mut Values,
    errors: &mut Vec<ConfigError>,
) -> Option<FileLists> {
    let mut checker = FileChecker {
        path: &source.path,
        owner: source.owner,
        text: &source.text,
        lines: std::iter::once(0)
            .chain(source.text.match_indices('\n').map(|(at, _)| at + 1))
            .collect(),
        errors,
    };
    let (tree, broken) = DeTable::parse_recoverable(&source.text);
    if !broken.is_empty() {
        // The parser's recovery is a guess, so validating its result would report false errors.
        checker.syntax(&broken);
        return None;
    }
    let mut lists = FileLists::default();
    for (name, value) in tree.get_ref() {
        match name.get_ref().as_ref() {
            section @ ("api" | "schedule") => checker.settings(section, value, values),
            _ if scope == Scope::ApiAndSchedule && is_section(name.get_ref()) => {}
            section if DAEMON_SECTIONS.contains(&section) => {
                checker.settings(section, value, values)
            }
            "jobs" => lists.jobs = Some(jobs::from_file(value, &mut checker)),
            "hooks" => lists.hooks = hooks::from_file(value, env, &mut checker),
            later if RESERVED_SECTIONS.contains(&later) => {
                let what = format!("{later}: this section is not supported yet; remove it");
                checker.error(name.span().start, what);
            }
            other => {
                let what = unknown_section(other);
                checker.error(name.span().start, what);
            }
        }
    }
    Some(lists)
}

impl FileChecker<'_> {
    /// The base of relative paths.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The uid of the file's owner, whose programs the file may run.
    pub(super) fn owner(&self) -> u32 {
        self.owner
    }

    pub(super) fn position(&self, offset: usize) -> Origin {
        let line = self.lines.partition_point(|begin| *begin <= offset);
        let begin = self.lines.get(line.saturating_sub(1)).copied();
        let before = self.text.get(begin.unwrap_or(0)..offset);
        let column = 1 + before.map_or(0, |before| before.chars().count());
        Origin::Position(self.path.to_owned(), line, column)
    }

    pub(super) fn error(&mut self, offset: usize, what: impl Into<String>) {
        let position = self.position(offset);
        self.errors.push(ConfigError::new(position, what));
    }

    /// Reports the parser's first error on each line; further ones are mostly caused by it.
    fn syntax(&mut self, broken: &[toml::de::Error]) {
        let mut reported = Vec::new();
        for error in broken {
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

    fn settings(&mut self, section: &str, value: &Spanned<DeValue<'_>>, values: &mut Values) {
        let Some(table) = value.get_ref().as_table() else {
            let what = format!(
                "{section}: expected a table, found {}; write [{section}] once, on its own line",
                value::type_name(value.get_ref())
            );
            return self.error(value.span().start, what);
        };
        for (name, value) in table {
            let Some(key) = Key::find(section, name.get_ref()) else {
                self.unknown_key(section, name);
                continue;
            };
            let result = value::toml(key, value.get_ref(), self.folder(), values);
            values.record(key, &self.position(value.span().start), result.is_ok());
            if let Err(what) = result {
                self.error(value.span().start, format!("{}: {what}", key.path()));
            }
        }
    }

    /// Suggests the key that was probably meant. The value is not quoted: it could be a secret.
    pub(super) fn unknown_key(&mut self, section: &str, name: &Spanned<std::borrow::Cow<'_, str>>) {
        let written = name.get_ref().as_ref();
        let here = keys::all()
            .filter(|key| key.section == section)
            .map(|key| key.name);
        let hint = if let Some(key) = keys::all().find(|key| key.name == written) {
            format!("it belongs in [{}]", key.section)
        } else if let Some(near) = nearest(written, here.clone()) {
            format!("did you mean {near}?")
        } else {
            format!("use one of {}", here.collect::<Vec<_>>().join(", "))
        };
        let shown = quoted(written);
        self.error(
            name.span().start,
            format!("{section}: unknown key {shown}; {hint}"),
        );
    }
}

fn is_section(name: &str) -> bool {
    SECTIONS.contains(&name) || RESERVED_SECTIONS.contains(&name)
}

fn unknown_section(name: &str) -> String {
    if let Some(key) = keys::all().find(|key| key.name == name) {
        return format!(
            "unknown section {}; the key belongs in [{}]",
            quoted(name),
            key.section
        );
    }
    match nearest(name, SECTIONS.into_iter().chain(RESERVED_SECTIONS)) {
        Some(near) => format!("unknown section {}; did you mean {near}?", quoted(name)),
        None => format!(
            "unknown section {}; use one of [api], [schedule], [state], [control], [[jobs]], [[hooks]]",
            quoted(name)
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::layers::RunMode;
    use super::*;

    fn errors(text: &str) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let mut values = Values::with_defaults(RunMode::Daemon, &mut errors);
        let source = ConfigFile {
            path: "f".into(),
            named: true,
            owner: 0,
            text: text.to_owned(),
        };
        file(
            &source,
            Scope::Whole,
            &Env::default(),
            &mut values,
            &mut errors,
        );
        errors
    }

    #[test]
    fn columns_count_characters_from_one() {
        let text = "[api]\r\nmax_body = \"ü\"  # ü\n\"ä ö\" = 1\n\"timeout\" = \"\"";
        let errors: Vec<String> = errors(text).iter().map(ToString::to_string).collect();
        let positions: Vec<&str> = errors.iter().filter_map(|e| e.split(' ').next()).collect();
        assert_eq!(positions, ["f:2:12:", "f:4:13:", "f:3:1:"]);
    }

    /// Lines as they occur in configurations, valid and invalid.
    fn line() -> impl Strategy<Value = String> {
        let names = keys::all()
            .map(|key| key.name)
            .chain(SECTIONS)
            .chain(RESERVED_SECTIONS);
        let name = prop::sample::select(names.collect::<Vec<_>>());
        let value = prop_oneof![
            Just("\"diff/1\"".to_owned()),
            Just("{ a = \"b\", c = [1, {}] }".to_owned()),
            Just("[[], [1]]".to_owned()),
            Just("1979-05-27T07:32:00Z".to_owned()),
            Just("0xffff_ffff_ffff_ffff_ffff_ffff_ffff_ffff_ffff".to_owned()),
            any::<i64>().prop_map(|n| n.to_string()),
            any::<f64>().prop_map(|x| format!("{x:?}")),
            "\"[ -~]{0,12}\"",
            "'[0-9]{0,25} ?(s|ms|h|GiB|never)?'",
        ];
        prop_oneof![
            name.clone().prop_map(|name| format!("[{name}]")),
            name.clone().prop_map(|name| format!("[[{name}]]")),
            (name.clone(), name.clone()).prop_map(|(a, b)| format!("[{a}.{b}]")),
            (name, value).prop_map(|(name, value)| format!("{name} = {value}")),
            "\\PC{0,20}",
        ]
    }

    proptest! {
        #[test]
        fn text_like_a_configuration_never_panics_and_errors_have_valid_positions(
            lines in prop::collection::vec(line(), 0..12)
        ) {
            let text = lines.join("\n");
            let last = text.lines().count().max(1);
            for error in errors(&text) {
                let error = error.to_string();
                prop_assert!(!error.contains('\n'), "{}", error);
                let line: usize = error.split(':').nth(1).unwrap().parse().unwrap();
                prop_assert!((1..=last + 1).contains(&line), "{}", error);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            errors(&text);
        }
    }
}
