//! Sets keys to values given as text or as TOML.

use std::borrow::Cow;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Origin;
use super::file::{Document, KeyReader};
use super::key::{Key, KeyDefault, Section, ValueKind};
use super::keys;
use super::settings::RunMode;
use super::value;
use forgewatch_core::user_input::{quoted, suggestion};

impl<T> Key<T> {
    /// Sets the key to the text of a flag, a variable or a default.
    pub(super) fn set_text(&self, target: &mut T, text: &str) -> Result<(), String> {
        let example = self.example();
        match self.kind {
            ValueKind::Duration { min, max, set } => {
                set(target, value::duration(text, min, max, example)?);
            }
            ValueKind::DurationOrNever { min, max, set } => {
                set(target, value::duration_or_never(text, min, max, example)?);
            }
            ValueKind::Count { min, max, set } => set(target, value::count(text, min, max)?),
            ValueKind::Rate { min, max, set } => set(target, value::rate(text, min, max)?),
            ValueKind::Size { min, max, set } => set(target, value::size(text, min, max, example)?),
            ValueKind::Switch { set } => set(target, value::switch(text)?),
            ValueKind::Word { words, set } => set(target, value::word(text, words)?),
            ValueKind::Path { set } => set(target, value::path(text)?),
            ValueKind::Socket { set } => set(target, value::socket(value::path(text)?)?),
            ValueKind::Text { set, .. } => set(target, text)?,
            ValueKind::Array { .. } | ValueKind::Table { .. } | ValueKind::File { .. } => {
                return Err("can only be set in a file".to_owned());
            }
        }
        Ok(())
    }

    /// Sets the key to a value of a file. Relative paths are relative to the file's directory.
    pub(super) fn set_toml(
        &self,
        target: &mut T,
        value: &Spanned<DeValue<'_>>,
        reader: &mut KeyReader<'_, '_>,
    ) {
        if let ValueKind::Array { set, .. } | ValueKind::Table { set } = self.kind {
            return set(target, value, reader);
        }
        if let (ValueKind::File { set }, DeValue::String(_)) = (&self.kind, value.get_ref()) {
            return set(target, value, reader);
        }
        let text = self.toml_as_text(value.get_ref());
        let folder = reader.document.folder();
        let result = text.and_then(|text| match self.kind {
            ValueKind::Path { set } => {
                value::path(&text).map(|path| set(target, folder.join(path)))
            }
            ValueKind::Socket { set } => value::path(&text)
                .and_then(|path| value::socket(folder.join(path)))
                .map(|path| set(target, path)),
            _ => self.set_text(target, &text),
        });
        reader.ok(value, result);
    }

    pub(super) fn default_text(&self, mode: RunMode) -> Option<&'static str> {
        match (self.default, mode) {
            (KeyDefault::Value(text) | KeyDefault::ByUser { system: text, .. }, _)
            | (KeyDefault::ByMode { one_shot: text, .. }, RunMode::OneShot)
            | (KeyDefault::ByMode { daemon: text, .. }, RunMode::Daemon) => Some(text),
            (KeyDefault::Unset { .. } | KeyDefault::Required { .. }, _) => None,
        }
    }

    /// A value for people; the same for all ways to write it.
    pub(super) fn shown(&self, text: &str) -> String {
        let text = text.trim();
        let same = match self.kind {
            ValueKind::Duration { .. } | ValueKind::DurationOrNever { .. } => {
                humantime::parse_duration(text).ok().map(value::brief)
            }
            ValueKind::Size { .. } => value::size(text, 0, u64::MAX, "").ok().map(value::bytes),
            ValueKind::Rate { .. } => text.parse::<f64>().ok().map(|rate| rate.to_string()),
            _ => None,
        };
        same.unwrap_or_else(|| text.to_owned())
    }

    /// The same of a value of a file in this folder.
    pub(super) fn shown_toml(&self, value: &DeValue<'_>, folder: &Path) -> String {
        if let Some(items) = value.as_array() {
            let items = items.iter().map(|item| item.get_ref().as_str());
            let items: Vec<&str> = items.map(Option::unwrap_or_default).collect();
            return format!("[{}]", items.join(", "));
        }
        let text = self.toml_as_text(value).unwrap_or_default();
        match self.kind {
            ValueKind::Path { .. } | ValueKind::Socket { .. } => {
                folder.join(text).display().to_string()
            }
            _ => self.shown(&text),
        }
    }

    /// A TOML value of the expected type, written as on the command line.
    fn toml_as_text(&self, value: &DeValue<'_>) -> Result<String, String> {
        let string = || value.as_str().map(str::to_owned);
        let float = || value.as_float().map(|float| float.as_str().to_owned());
        let (text, expected) = match self.kind {
            ValueKind::Count { .. } => (integer(value), "a whole number"),
            ValueKind::Rate { .. } => (integer(value).or_else(float), "a number"),
            ValueKind::Size { .. } => (integer(value).or_else(string), "a size"),
            ValueKind::Switch { .. } => (value.as_bool().map(|on| on.to_string()), "true or false"),
            ValueKind::Duration { .. } | ValueKind::DurationOrNever { .. } => {
                (string(), "a duration")
            }
            _ => (string(), "a string"),
        };
        text.ok_or_else(|| {
            let example = match self.kind {
                ValueKind::Switch { .. } => String::new(),
                _ => format!(" such as {}", self.example_in_toml()),
            };
            let found = value::type_name(value);
            format!("expected {expected}{example}, found {found}")
        })
    }
}

impl<T> Section<T> {
    /// A `T` with the defaults, which a test checks to be valid.
    pub(super) fn defaults(&self, mode: RunMode) -> T
    where
        T: Default,
    {
        let mut target = T::default();
        let _ = self.set_defaults(&mut target, mode);
        target
    }

    pub(super) fn set_defaults(&self, target: &mut T, mode: RunMode) -> Result<(), String> {
        for key in self.keys {
            if let Some(text) = key.default_text(mode) {
                key.set_text(target, text)
                    .map_err(|what| format!("default of {}: {what}", self.path(key)))?;
            }
        }
        Ok(())
    }
}

/// Sets `target` to the values of a table. Calls `on_set` for each key, with its value for people, its position and whether
/// it is valid.
pub(super) fn table<T>(
    section: &'static Section<T>,
    table: &DeTable<'_>,
    target: &mut T,
    document: &mut Document<'_>,
    mut on_set: impl FnMut(&Key<T>, String, Origin, bool),
) {
    for (name, value) in table {
        let Some(key) = section.find(name.get_ref()) else {
            unknown_key(section, name, document);
            continue;
        };
        let errors = document.error_count();
        let path = section.path(key);
        key.set_toml(target, value, &mut KeyReader { path, document });
        let is_valid = document.error_count() == errors;
        let shown = key.shown_toml(value.get_ref(), document.folder());
        on_set(key, shown, document.position(value.span().start), is_valid);
    }
}

/// Reads an array of tables. Calls `finish` with the values, the offset and the table of each entry.
pub(super) fn tables<T: Default>(
    section: &'static Section<T>,
    value: &Spanned<DeValue<'_>>,
    document: &mut Document<'_>,
    mut finish: impl FnMut(T, usize, &DeTable<'_>, &mut Document<'_>),
) {
    let name = section.name;
    let Some(entries) = value.get_ref().as_array() else {
        let what =
            format!("{name}: expected an array of tables; write [[{name}]], in double brackets");
        return document.error(value.span().start, what);
    };
    for entry in entries {
        let start = entry.span().start;
        let required = section.keys.iter().filter(|key| key.is_required());
        let Some(table) = entry.get_ref().as_table() else {
            let found = value::type_name(entry.get_ref());
            let lines: Vec<String> = required.map(Key::example_line).collect();
            let what = format!(
                "{name}: expected a table, found {found}; write [[{name}]], and below it {}",
                lines.join(", ")
            );
            document.error(start, what);
            continue;
        };
        let mut draft = section.defaults(RunMode::Daemon);
        self::table(section, table, &mut draft, document, |_, _, _, _| {});
        for key in required.filter(|key| !table.contains_key(key.name)) {
            let what = format!(
                "{} is missing; add a line such as {}",
                section.path(key),
                key.example_line()
            );
            document.error(start, what);
        }
        finish(draft, start, table, document);
    }
}

/// Suggests the key that was probably meant. The value is not quoted: it could be a secret.
fn unknown_key<T>(section: &Section<T>, name: &Spanned<Cow<'_, str>>, document: &mut Document<'_>) {
    let written = name.get_ref().as_ref();
    let here = section.keys.iter().map(|key| key.name);
    let hint = if let Some((owner, _)) = keys::names().find(|(_, key)| *key == written) {
        format!("it belongs {}", keys::place(owner))
    } else {
        suggestion(written, here)
    };
    let (section, shown) = (section.name, quoted(written));
    let what = format!("{section}: unknown key {shown}; {hint}");
    document.error(name.span().start, what);
}

/// In decimal. A number beyond 128 bits is kept as written: it is outside every range.
fn integer(value: &DeValue<'_>) -> Option<String> {
    let integer = value.as_integer()?;
    let number = i128::from_str_radix(integer.as_str(), integer.radix());
    Some(number.map_or_else(|_| integer.as_str().to_owned(), |n| n.to_string()))
}
