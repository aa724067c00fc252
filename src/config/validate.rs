//! Walks the tree of a configuration file and holds it against the table of keys: everything wrong is found,
//! with line and column.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::env::Env;
use super::error::{ConfigError, Origin};
use super::file::ConfigFile;
use super::hooks;
use super::jobs;
use super::keys::{self, DAEMONS, Key, LATER, SECTIONS};
use super::layers::Values;
use super::value;
use crate::hooks::HookSpec;
use forgewatch_core::job::JobSpec;
use forgewatch_core::quote::quoted;
use forgewatch_core::suggest::nearest;

/// How much of a file is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of it: the file was named, or is the daemon's. A section whose feature is not there yet is refused.
    Whole,
    /// `[api]` and `[schedule]`: a one-shot found the file by default. The machine's daemon may have the rest of it
    /// for itself, so that is passed over, right or wrong.
    ApiAndSchedule,
}

/// A file while it is checked: the places of what it says, and what was wrong so far.
pub(super) struct FileChecker<'a> {
    path: &'a Path,
    owner: u32,
    text: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
    pub(super) errors: &'a mut Vec<ConfigError>,
}

/// What a file lists besides its settings.
#[derive(Debug, Default)]
pub(super) struct FileLists {
    /// Its jobs, each once, in the file's order; None where it has no such list.
    pub(super) jobs: Option<Vec<JobSpec>>,
    /// Its hooks, in the file's order.
    pub(super) hooks: Vec<HookSpec>,
}

/// Takes over into `draft` what `source` says, and returns what it lists; None for a file that is no TOML at all.
pub(super) fn file(
    source: &ConfigFile,
    scope: Scope,
    env: &Env,
    draft: &mut Values,
    errors: &mut Vec<ConfigError>,
) -> Option<FileLists> {
    let mut checked = FileChecker {
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
        // What the parser makes of the rest of a broken file is a guess; errors in it would be guesses too.
        checked.syntax(&broken);
        return None;
    }
    let mut lists = FileLists::default();
    for (name, value) in tree.get_ref() {
        match name.get_ref().as_ref() {
            section @ ("api" | "schedule") => checked.settings(section, value, draft),
            _ if scope == Scope::ApiAndSchedule && is_section(name.get_ref()) => {}
            section if DAEMONS.contains(&section) => checked.settings(section, value, draft),
            "jobs" => lists.jobs = Some(jobs::from_file(value, &mut checked)),
            "hooks" => lists.hooks = hooks::from_file(value, env, &mut checked),
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
    Some(lists)
}

impl FileChecker<'_> {
    /// Where paths that are not absolute begin.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The file's owner: whoever may write it may name programs.
    pub(super) fn owner(&self) -> u32 {
        self.owner
    }

    /// The line and the column, both from 1, of a byte of the text.
    pub(super) fn place(&self, offset: usize) -> Origin {
        let line = self.lines.partition_point(|begin| *begin <= offset);
        let begin = self.lines.get(line.saturating_sub(1)).copied();
        let before = self.text.get(begin.unwrap_or(0)..offset);
        let column = 1 + before.map_or(0, |before| before.chars().count());
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

    fn settings(&mut self, section: &str, value: &Spanned<DeValue<'_>>, draft: &mut Values) {
        let Some(table) = value.get_ref().as_table() else {
            let what = format!(
                "{section}: {} is no section; write [{section}] on a line of its own, once",
                value::type_name(value.get_ref())
            );
            return self.error(value.span().start, what);
        };
        for (name, value) in table {
            let Some(key) = Key::find(section, name.get_ref()) else {
                self.unknown_key(section, name);
                continue;
            };
            let read = value::toml(key, value.get_ref(), self.folder(), draft);
            draft.note(key, &self.place(value.span().start), read.is_ok());
            if let Err(what) = read {
                self.error(value.span().start, format!("{}: {what}", key.path()));
            }
        }
    }

    /// Says that `section` has no such key, and which was perhaps meant. The value is not quoted: a secret might
    /// have been put there.
    pub(super) fn unknown_key(&mut self, section: &str, name: &Spanned<std::borrow::Cow<'_, str>>) {
        let written = name.get_ref().as_ref();
        let here = keys::all()
            .filter(|key| key.section == section)
            .map(|key| key.name);
        let hint = if let Some(key) = keys::all().find(|key| key.name == written) {
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
    if let Some(key) = keys::all().find(|key| key.name == name) {
        return format!(
            "unknown section {}; the key belongs into [{}]",
            quoted(name),
            key.section
        );
    }
    match nearest(name, SECTIONS.into_iter().chain(LATER)) {
        Some(near) => format!("unknown section {}; did you mean {near}?", quoted(name)),
        None => format!(
            "unknown section {}; there are [api], [schedule], [state], [control], [[jobs]], [[hooks]]",
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
        let mut draft = Values::with_defaults(RunMode::Daemon, &mut errors);
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
            &mut draft,
            &mut errors,
        );
        errors
    }

    #[test]
    fn columns_count_characters_from_one() {
        let text = "[api]\r\nmax_body = \"ü\"  # ü\n\"ä ö\" = 1\n\"timeout\" = \"\"";
        let told: Vec<String> = errors(text).iter().map(ToString::to_string).collect();
        let places: Vec<&str> = told.iter().filter_map(|e| e.split(' ').next()).collect();
        assert_eq!(places, ["f:2:12:", "f:4:13:", "f:3:1:"]);
    }

    /// Lines as they are found in configurations, right and wrong.
    fn line() -> impl Strategy<Value = String> {
        let names = keys::all().map(|key| key.name).chain(SECTIONS).chain(LATER);
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
        fn nothing_that_looks_like_a_configuration_panics(
            lines in prop::collection::vec(line(), 0..12)
        ) {
            let text = lines.join("\n");
            let last = text.lines().count().max(1);
            for error in errors(&text) {
                let told = error.to_string();
                prop_assert!(!told.contains('\n'), "{}", told);
                let line: usize = told.split(':').nth(1).unwrap().parse().unwrap();
                prop_assert!((1..=last + 1).contains(&line), "{}", told);
            }
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            errors(&text);
        }
    }
}
