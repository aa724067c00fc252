//! Merges the layers of the configuration: defaults, file, environment, flags. A later layer overrides an earlier one.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;
use toml::de::DeValue;

use super::command_line::CommandLine;
use super::default_paths::DefaultPaths;
use super::entry_keys::{HOOKS, JOBS};
use super::env::Env;
use super::error::{ConfigError, Origin};
use super::file::{ConfigFile, Document, KeyReader};
use super::hooks::{self, HookDraft};
use super::http;
use super::jobs::{JobDraft, JobList};
use super::key::{Key, KeyDefault, Section};
use super::keys::{self, ROOT, SETTINGS};
use super::parse;
use super::settings::{RunMode, Settings};
use super::value;
use super::webhook;
use crate::hooks::HookSpec;
use forgewatch_core::format::Format;
use forgewatch_core::job::JobSpec;
use forgewatch_core::user_input::{nearest, quoted};

/// The settings so far, and where each key was last set.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) settings: Settings,
    mode: RunMode,
    /// By `section.key`; keys that no layer has set are missing.
    provenance: BTreeMap<String, Provenance>,
}

/// Where a key was last set, and whether that value was valid.
#[derive(Clone, Debug)]
struct Provenance {
    origin: Origin,
    is_valid: bool,
}

/// A file's jobs and hooks.
#[derive(Debug, Default)]
pub(super) struct FileLists {
    /// Without duplicates, in the file's order; None if the file has no `[[jobs]]`.
    pub(super) jobs: Option<Vec<JobSpec>>,
    /// In the file's order.
    pub(super) hooks: Vec<HookSpec>,
}

impl Layers {
    pub(super) fn with_defaults(mode: RunMode) -> Result<Self, ConfigError> {
        let error = |what| ConfigError::new(Origin::Default, what);
        let base_url = value::base_url(keys::DEFAULT_BASE_URL).map_err(error)?;
        let mut settings = Settings::unset(base_url, mode);
        for section in &SETTINGS {
            section.set_defaults(&mut settings, mode).map_err(error)?;
            for key in section.keys {
                let text = key.default_text(mode);
                let shown = text.map(|text| (section.path(key), key.shown(text)));
                settings.values.extend(shown);
            }
        }
        Ok(Self {
            settings,
            mode,
            provenance: BTreeMap::new(),
        })
    }

    /// Replaces the defaults that depend on who runs the daemon.
    pub(super) fn use_default_paths(&mut self, paths: DefaultPaths) {
        let values = [
            ("state.path", &paths.state),
            ("control.socket", &paths.socket),
        ];
        let values = values.map(|(key, path)| (key.to_owned(), path.display().to_string()));
        self.settings.values.extend(values);
        self.settings.state.path = paths.state;
        self.settings.control.socket = paths.socket;
        if paths.is_of_user {
            self.settings.control.group = None;
            self.settings.values.remove("control.group");
        }
    }

    /// Applies the environment. A one-shot ignores the variables of the daemon's sections.
    pub(super) fn apply_environment(&mut self, env: &Env, errors: &mut Vec<ConfigError>) {
        for (section, key) in used_keys(self.mode) {
            let Some(variable) = key.variable else {
                continue;
            };
            match env.text(variable) {
                Ok(Some(text)) => {
                    self.set(section, key, text, Origin::Variable(variable), errors);
                }
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
    }

    /// Applies the flags. A one-shot ignores those of the daemon's sections.
    pub(super) fn apply_flags(
        &mut self,
        command_line: &CommandLine,
        errors: &mut Vec<ConfigError>,
    ) {
        for (name, text) in &command_line.flags {
            let has_flag = |key: &Key<_>| key.flag.is_some_and(|(flag, _)| flag == *name);
            if let Some((section, key)) = used_keys(self.mode).find(|(_, key)| has_flag(key)) {
                self.set(section, key, text, Origin::Flag(name), errors);
            }
        }
    }

    fn set(
        &mut self,
        section: &Section<Settings>,
        key: &Key<Settings>,
        text: &str,
        origin: Origin,
        errors: &mut Vec<ConfigError>,
    ) {
        let result = key.set_text(&mut self.settings, text);
        let is_valid = result.is_ok();
        let (path, shown) = (section.path(key), key.shown(text));
        self.settings.values.insert(path, shown);
        errors.extend(
            result
                .err()
                .map(|what| ConfigError::new(origin.clone(), what)),
        );
        self.provenance
            .insert(section.path(key), Provenance { origin, is_valid });
    }

    /// Applies the settings of a file and returns its jobs and hooks; None if it is not TOML.
    ///
    /// A one-shot that found the file at a default path skips every section except `[api]` and `[schedule]`: the rest is
    /// the daemon's, and errors in it must not stop a one-shot.
    pub(super) fn apply_file(
        &mut self,
        file: &ConfigFile,
        env: &Env,
        errors: &mut Vec<ConfigError>,
    ) -> Option<FileLists> {
        let (mut document, tree) = Document::parse(file, env, errors);
        let is_shared_only = self.mode == RunMode::OneShot && !file.named;
        let mut lists = FileLists::default();
        for (name, value) in tree?.get_ref() {
            let start = name.span().start;
            let name = name.get_ref().as_ref();
            let section = SETTINGS.iter().find(|s| s.name == name && !name.is_empty());
            let is_known = section.is_some() || keys::section_names().any(|known| known == name);
            if is_shared_only && is_known && section.is_none_or(|section| section.is_for_daemon) {
                continue;
            }
            if let Some(key) = ROOT.find(name) {
                if !is_shared_only {
                    let path = ROOT.path(key);
                    let shown = key.shown_toml(value.get_ref(), document.folder());
                    self.settings.values.insert(path.clone(), shown);
                    let document = &mut document;
                    let mut reader = KeyReader { path, document };
                    key.set_toml(&mut self.settings, value, &mut reader);
                }
            } else if let Some(section) = section {
                self.apply_section(section, value, &mut document);
            } else if name == JOBS.name {
                lists.jobs = Some(jobs(value, &mut document));
            } else if name == HOOKS.name {
                lists.hooks = hook_specs(value, &mut document);
            } else {
                document.error(start, unknown_section(name));
            }
        }
        Some(lists)
    }

    fn apply_section(
        &mut self,
        section: &'static Section<Settings>,
        value: &Spanned<DeValue<'_>>,
        document: &mut Document<'_>,
    ) {
        let name = section.name;
        let Some(table) = value.get_ref().as_table() else {
            let found = value::type_name(value.get_ref());
            let what = format!(
                "{name}: expected a table, found {found}; write [{name}] once, on its own line"
            );
            return document.error(value.span().start, what);
        };
        let provenance = &mut self.provenance;
        let settings = &mut self.settings;
        let mut values = Vec::new();
        parse::table(
            section,
            table,
            settings,
            document,
            |key, shown, origin, is_valid| {
                let path = section.path(key);
                values.push((path.clone(), shown));
                provenance.insert(path, Provenance { origin, is_valid });
            },
        );
        settings.values.extend(values);
    }

    /// Whether the value in use is valid: the last one that was set, or the default.
    pub(super) fn is_valid(&self, path: &str) -> bool {
        self.provenance.get(path).is_none_or(|p| p.is_valid)
    }

    /// Reports required keys that were not set. Keys with invalid values are not missing.
    pub(super) fn check_required(&self, errors: &mut Vec<ConfigError>) {
        for (section, key) in used_keys(RunMode::Daemon) {
            let path = section.path(key);
            if matches!(key.default, KeyDefault::Required { .. })
                && !self.provenance.contains_key(&path)
            {
                let flag = key.flag.map(|(flag, _)| format!("use {flag}, "));
                let variable = key.variable.map(|variable| format!("set {variable}, or "));
                let overrides: String = flag.into_iter().chain(variable).collect();
                let what = format!(
                    "{path} is not set; {overrides}write `{} = {}` under [{}] in the configuration file",
                    key.name,
                    key.example(),
                    section.name
                );
                errors.push(ConfigError::new(Origin::Unspecified, what));
            }
        }
    }

    /// Reports values that are valid on their own but contradict each other.
    pub(super) fn cross_check(&self, errors: &mut Vec<ConfigError>) {
        const BOTH: [&str; 2] = ["schedule.min_interval", "schedule.max_interval"];
        let schedule = &self.settings.limits.schedule;
        let (min, max) = (schedule.min_interval, schedule.max_interval);
        if min > max && BOTH.iter().all(|path| self.is_valid(path)) {
            let what = format!(
                "schedule.min_interval ({}) is longer than schedule.max_interval ({}); shorten the first or lengthen \
                 the second",
                humantime::format_duration(min),
                humantime::format_duration(max)
            );
            let mut origins = BOTH.iter().filter_map(|path| self.provenance.get(*path));
            let origin = origins.next().map(|provenance| provenance.origin.clone());
            errors.push(ConfigError::new(
                origin.unwrap_or(Origin::Unspecified),
                what,
            ));
        }
        if let Some((key, what)) = http::conflict(&self.settings.http)
            && http::CHECKED.iter().all(|path| self.is_valid(path))
        {
            let origin = self.provenance.get(key).map(|p| p.origin.clone());
            errors.push(ConfigError::new(
                origin.unwrap_or(Origin::Unspecified),
                format!("{key}: {what}"),
            ));
        }
    }
}

/// The keys whose flags and variables are used.
fn used_keys(
    mode: RunMode,
) -> impl Iterator<Item = (&'static Section<Settings>, &'static Key<Settings>)> {
    SETTINGS
        .iter()
        .filter(move |section| mode == RunMode::Daemon || !section.is_for_daemon)
        .flat_map(|section| section.keys.iter().map(move |key| (section, key)))
}

fn jobs(value: &Spanned<DeValue<'_>>, document: &mut Document<'_>) -> Vec<JobSpec> {
    let mut list = JobList::default();
    parse::tables(
        &JOBS,
        value,
        document,
        |draft: JobDraft, start, _, document| {
            if let Some(job) = draft.job
                && let Some(name) = list.add(job, draft.labels)
            {
                let name = quoted(&name);
                let what = format!(
                    "jobs.labels: {job} is listed twice with different values of {name}; keep one of them"
                );
                document.error(start, what);
            }
        },
    );
    list.jobs
}

fn hook_specs(value: &Spanned<DeValue<'_>>, document: &mut Document<'_>) -> Vec<HookSpec> {
    let mut specs = Vec::new();
    let mut names = BTreeSet::new();
    parse::tables(
        &HOOKS,
        value,
        document,
        |mut hook: HookDraft, start, table, document| {
            for what in hooks::conflicts(table) {
                document.error(start, format!("hooks: {what}"));
            }
            let place = |key: &str| table.get(key).map_or(start, |value| value.span().start);
            let on = hook.on.as_deref().unwrap_or_default();
            let name = hook.format.unwrap_or_default();
            let format = webhook::format(name, hook.body.take(), on, &hook.labels);
            let format = format.unwrap_or_else(|what| {
                document.error(place("body_file"), format!("hooks.body_file: {what}"));
                Format::default()
            });
            if let Some(what) = webhook::type_without_body(on, &format) {
                document.error(place("on"), format!("hooks.on: {what}"));
            }
            if let Some(name) = &hook.name
                && !names.insert(name.clone())
            {
                let name = quoted(name);
                let what =
                    format!("hooks.name: duplicate hook name {name}; each hook needs its own name");
                document.error(start, what);
            }
            specs.extend(hook.finish(document.env, format));
        },
    );
    specs
}

fn unknown_section(name: &str) -> String {
    let shown = quoted(name);
    if let Some((section, _)) = keys::names().find(|(_, key)| *key == name) {
        return format!(
            "unknown section {shown}; the key belongs {}",
            keys::place(section)
        );
    }
    if let Some(near) = nearest(name, keys::section_names()) {
        return format!("unknown section {shown}; did you mean {near}?");
    }
    let named = SETTINGS.iter().filter(|section| !section.name.is_empty());
    let tables = named.map(|section| format!("[{}]", section.name));
    let arrays = [JOBS.name, HOOKS.name].map(|name| format!("[[{name}]]"));
    let sections: Vec<String> = tables.chain(arrays).collect();
    format!(
        "unknown section {shown}; use one of {}",
        sections.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn errors(text: &str) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let mut layers = Layers::with_defaults(RunMode::Daemon).unwrap();
        let file = ConfigFile {
            path: "f".into(),
            named: true,
            owner: 0,
            text: text.to_owned(),
        };
        layers.apply_file(&file, &Env::default(), &mut errors);
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
        let names = keys::names()
            .map(|(_, key)| key)
            .chain(keys::section_names());
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
