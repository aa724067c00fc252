//! One key of the configuration: the values that it accepts, and the field of `T` that it sets.

use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::file::KeyReader;

/// A TOML table, or with `[[…]]` an array of tables, each of which sets a `T`.
pub(super) struct Section<T: 'static> {
    pub(super) name: &'static str,
    /// For the example file; empty if the name says it all.
    #[cfg_attr(not(test), expect(dead_code, reason = "for shipped files"))]
    pub(super) comment: &'static str,
    pub(super) is_for_daemon: bool,
    /// In the order of the example file.
    pub(super) keys: &'static [Key<T>],
}

pub(super) struct Key<T: 'static> {
    pub(super) name: &'static str,
    pub(super) kind: ValueKind<T>,
    pub(super) default: KeyDefault,
    /// The flag, and what the help text calls its value.
    pub(super) flag: Option<(&'static str, &'static str)>,
    pub(super) variable: Option<&'static str>,
    pub(super) doc: &'static str,
}

/// A key's default. Values are written as on the command line: as in the file, but without quotes.
#[derive(Clone, Copy)]
pub(super) enum KeyDefault {
    Value(&'static str),
    ByMode {
        one_shot: &'static str,
        daemon: &'static str,
    },
    /// Depends on the user that runs the daemon. `user` describes the default of an ordinary user.
    ByUser {
        system: &'static str,
        user: &'static str,
    },
    /// No value. `meaning` describes the behavior without one.
    Unset {
        example: &'static str,
        meaning: &'static str,
    },
    Required {
        example: &'static str,
    },
}

/// Sets a field to an array, a table or the content of a file, and reports errors in it.
type SetList<T> = fn(&mut T, &Spanned<DeValue<'_>>, &mut KeyReader<'_, '_>);

/// The values that a key accepts, and the field that it sets.
pub(super) enum ValueKind<T: 'static> {
    /// A duration in humantime's syntax.
    Duration {
        min: Duration,
        max: Duration,
        set: fn(&mut T, Duration),
    },
    /// A duration, or `never`, which becomes None.
    DurationOrNever {
        min: Duration,
        max: Duration,
        set: fn(&mut T, Option<Duration>),
    },
    Count {
        min: u64,
        max: u64,
        set: fn(&mut T, u64),
    },
    /// A number, fractions included.
    Rate {
        min: f64,
        max: f64,
        set: fn(&mut T, f64),
    },
    /// A number of bytes, plain or with a unit such as MiB or kB.
    Size {
        min: u64,
        max: u64,
        set: fn(&mut T, u64),
    },
    Switch {
        set: fn(&mut T, bool),
    },
    Word {
        words: &'static [&'static str],
        set: fn(&mut T, &str),
    },
    /// A path. In a file, it is relative to that file's directory.
    Path {
        set: fn(&mut T, PathBuf),
    },
    /// The path of a file that is read with the configuration.
    File {
        set: SetList<T>,
    },
    /// The path of a Unix socket, which is limited in length.
    Socket {
        set: fn(&mut T, PathBuf),
    },
    /// A string of some syntax.
    Text {
        accepted: &'static str,
        /// For the JSON Schema.
        #[cfg_attr(not(test), expect(dead_code, reason = "for shipped files"))]
        pattern: &'static str,
        set: fn(&mut T, &str) -> Result<(), String>,
    },
    /// An array of strings.
    Array {
        accepted: &'static str,
        /// The possible items, for the JSON Schema; none are any strings.
        #[cfg_attr(not(test), expect(dead_code, reason = "for shipped files"))]
        words: fn() -> Vec<&'static str>,
        set: SetList<T>,
    },
    /// A table of strings.
    Table {
        set: SetList<T>,
    },
}

const fn key<T>(name: &'static str, kind: ValueKind<T>) -> Key<T> {
    Key {
        name,
        kind,
        default: KeyDefault::Required { example: "" },
        flag: None,
        variable: None,
        doc: "",
    }
}

/// A function per variant, so that a row of the table begins with `count("retries", 0, 100, set)`.
macro_rules! constructors {
    ($($name:ident: $variant:ident { $($field:ident: $type:ty),* },)*) => {$(
        pub(super) const fn $name<T>(name: &'static str, $($field: $type),*) -> Key<T> {
            key(name, ValueKind::$variant { $($field),* })
        }
    )*};
}

constructors! {
    duration: Duration { min: Duration, max: Duration, set: fn(&mut T, Duration) },
    duration_or_never: DurationOrNever { min: Duration, max: Duration, set: fn(&mut T, Option<Duration>) },
    count: Count { min: u64, max: u64, set: fn(&mut T, u64) },
    rate: Rate { min: f64, max: f64, set: fn(&mut T, f64) },
    size: Size { min: u64, max: u64, set: fn(&mut T, u64) },
    switch: Switch { set: fn(&mut T, bool) },
    word: Word { words: &'static [&'static str], set: fn(&mut T, &str) },
    path: Path { set: fn(&mut T, PathBuf) },
    file: File { set: SetList<T> },
    socket: Socket { set: fn(&mut T, PathBuf) },
    text: Text { accepted: &'static str, pattern: &'static str, set: fn(&mut T, &str) -> Result<(), String> },
    array: Array { accepted: &'static str, words: fn() -> Vec<&'static str>, set: SetList<T> },
    table: Table { set: SetList<T> },
}

impl<T> Key<T> {
    /// One sentence, without a full stop, for the manual, the help text and the example file.
    pub(super) const fn doc(self, doc: &'static str) -> Self {
        Self { doc, ..self }
    }

    pub(super) const fn default(self, text: &'static str) -> Self {
        let default = KeyDefault::Value(text);
        Self { default, ..self }
    }

    pub(super) const fn default_by_mode(
        self,
        one_shot: &'static str,
        daemon: &'static str,
    ) -> Self {
        let default = KeyDefault::ByMode { one_shot, daemon };
        Self { default, ..self }
    }

    /// `default_paths` has the values of an ordinary user.
    pub(super) const fn default_by_user(self, system: &'static str, user: &'static str) -> Self {
        let default = KeyDefault::ByUser { system, user };
        Self { default, ..self }
    }

    /// Without a default; `meaning` describes the behavior.
    pub(super) const fn optional(self, meaning: &'static str, example: &'static str) -> Self {
        let default = KeyDefault::Unset { example, meaning };
        Self { default, ..self }
    }

    pub(super) const fn required(self, example: &'static str) -> Self {
        let default = KeyDefault::Required { example };
        Self { default, ..self }
    }

    /// `value` names the flag's value in the help text.
    pub(super) const fn flag(self, name: &'static str, value: &'static str) -> Self {
        let flag = Some((name, value));
        Self { flag, ..self }
    }

    pub(super) const fn variable(self, name: &'static str) -> Self {
        let variable = Some(name);
        Self { variable, ..self }
    }

    pub(super) fn is_required(&self) -> bool {
        matches!(self.default, KeyDefault::Required { .. })
    }

    /// A valid value, without quotes.
    pub(super) fn example(&self) -> &'static str {
        match self.default {
            KeyDefault::Value(text)
            | KeyDefault::ByMode { one_shot: text, .. }
            | KeyDefault::ByUser { system: text, .. }
            | KeyDefault::Unset { example: text, .. }
            | KeyDefault::Required { example: text } => text,
        }
    }

    /// A valid value, written as in a file.
    pub(super) fn example_in_toml(&self) -> String {
        let example = self.example();
        match self.kind {
            ValueKind::Count { .. }
            | ValueKind::Rate { .. }
            | ValueKind::Switch { .. }
            | ValueKind::Array { .. }
            | ValueKind::Table { .. } => example.to_owned(),
            _ => format!("{example:?}"),
        }
    }

    pub(super) fn example_line(&self) -> String {
        format!("{} = {}", self.name, self.example_in_toml())
    }
}

impl<T> Section<T> {
    /// A table that the one-shot and the daemon use.
    pub(super) const fn shared(name: &'static str, keys: &'static [Key<T>]) -> Self {
        Self {
            name,
            comment: "",
            is_for_daemon: false,
            keys,
        }
    }

    /// A table that only the daemon uses.
    pub(super) const fn of_daemon(name: &'static str, keys: &'static [Key<T>]) -> Self {
        Self {
            comment: "Used only by the daemon, never by watch --until-done.",
            is_for_daemon: true,
            ..Self::shared(name, keys)
        }
    }

    /// An array of tables.
    pub(super) const fn array(
        name: &'static str,
        comment: &'static str,
        keys: &'static [Key<T>],
    ) -> Self {
        Self {
            comment,
            ..Self::shared(name, keys)
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<&'static Key<T>> {
        self.keys.iter().find(|key| key.name == name)
    }

    pub(super) fn key_names(
        &self,
    ) -> impl Iterator<Item = (&'static str, &'static str)> + Clone + use<T> {
        let section = self.name;
        self.keys.iter().map(move |key| (section, key.name))
    }

    /// `section.key`, as in messages.
    pub(super) fn path(&self, key: &Key<T>) -> String {
        match self.name {
            "" => key.name.to_owned(),
            section => format!("{section}.{}", key.name),
        }
    }
}
