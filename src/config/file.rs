//! The configuration file: finds and reads it, turns offsets into positions and collects its errors.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::env::Env;
use super::error::{ConfigError, Origin};
use super::value;

/// In bytes.
const MAX_CONFIG: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct ConfigFile {
    pub(super) path: PathBuf,
    /// Whether the user named the file; otherwise it was found at a default path.
    pub(super) named: bool,
    /// The owner's uid.
    pub(super) owner: u32,
    pub(super) text: String,
}

impl ConfigFile {
    /// The base of relative paths.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

/// Reads the named configuration file, or the first one that exists at a default path.
///
/// A file that exists but cannot be read is an error: without it, another base URL or account could be used.
pub(super) fn config(named: Option<&Path>, env: &Env) -> Result<Option<ConfigFile>, ConfigError> {
    if let Some(path) = named.or_else(|| env.path("FORGEWATCH_CONFIG")) {
        return read_config(path.to_owned(), true).map(Some);
    }
    let exists = |path: &PathBuf| match std::fs::metadata(path) {
        Ok(_) => true,
        Err(e) => !matches!(
            e.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        ),
    };
    let found = default_paths(env).find(exists);
    found.map(|path| read_config(path, false)).transpose()
}

/// The user's file, then the system's. The XDG specification says to ignore a relative `XDG_CONFIG_HOME`.
fn default_paths(env: &Env) -> impl Iterator<Item = PathBuf> {
    let xdg = env
        .path("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute());
    let home = env.path("HOME").map(|home| home.join(".config"));
    xdg.map(Path::to_owned)
        .or(home)
        .into_iter()
        .chain([PathBuf::from("/etc")])
        .map(|base| base.join("forgewatch/forgewatch.toml"))
}

fn read_config(path: PathBuf, named: bool) -> Result<ConfigFile, ConfigError> {
    let error = |what: String| ConfigError::new(Origin::File(path.clone()), what);
    let hint = if named {
        "name another file with --config"
    } else {
        "to run without it, use --config /dev/null"
    };
    let unreadable = |e: io::Error| error(format!("cannot read the file: {e}; {hint}"));
    let file = File::open(&path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if meta.is_dir() {
        return Err(error("is a directory; name a file".to_owned()));
    }
    // The mode of a pipe or of /dev/null does not restrict who wrote its content.
    if meta.is_file() && meta.mode() & 0o022 != 0 {
        return Err(error(format!(
            "writable by users other than its owner (mode {:04o}); run: chmod go-w {}",
            meta.mode() & 0o7777,
            path.display()
        )));
    }
    let text = bounded_text(file, MAX_CONFIG).map_err(error)?;
    Ok(ConfigFile {
        path,
        named,
        owner: meta.uid(),
        text,
    })
}

/// The whole content, if it is UTF-8 and at most `max` bytes.
pub(super) fn bounded_text(from: impl Read, max: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    from.take(max + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("cannot read the file: {e}"))?;
    if bytes.len() as u64 > max {
        return Err(format!("larger than {max} bytes; is it the right file?"));
    }
    String::from_utf8(bytes).map_err(|e| {
        let good = e.utf8_error().valid_up_to();
        let before = e.as_bytes().iter().take(good);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        format!("not valid UTF-8 (line {line}); save the file as UTF-8")
    })
}

/// A configuration file during validation.
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

    /// How many errors were reported so far. It differs before and after a step that reported one.
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

    /// Reads the file at the path that `value` is, relative to the file's directory.
    pub(super) fn file<T>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        read: impl FnOnce(&Path, &str) -> Result<T, String>,
    ) -> Option<T> {
        let path = value.get_ref().as_str().unwrap_or_default();
        let result = read(self.document.folder(), path);
        self.ok(value, result)
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
