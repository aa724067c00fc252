//! Finds and reads the configuration file and the list of jobs, up to a size limit.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::env::Env;
use super::error::{ConfigError, Origin};

/// In bytes.
const MAX_CONFIG: u64 = 1 << 20;
/// In bytes: about a million jobs.
const MAX_JOBS: u64 = 16 << 20;

/// A configuration file that was read.
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
        let (text, owner) = read_config(path, "name another file with --config")?;
        return Ok(Some(ConfigFile {
            path: path.to_owned(),
            named: true,
            owner,
            text,
        }));
    }
    for path in default_paths(env) {
        let exists = match std::fs::metadata(&path) {
            Ok(_) => true,
            Err(e) => !matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ),
        };
        if exists {
            let (text, owner) = read_config(&path, "to run without it, use --config /dev/null")?;
            return Ok(Some(ConfigFile {
                path,
                named: false,
                owner,
                text,
            }));
        }
    }
    Ok(None)
}

/// The user's file, then the system's. The XDG specification says to ignore a relative `XDG_CONFIG_HOME`.
fn default_paths(env: &Env) -> Vec<PathBuf> {
    let xdg = env
        .path("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute());
    let home = env.path("HOME").map(|home| home.join(".config"));
    xdg.map(Path::to_owned)
        .or(home)
        .into_iter()
        .chain([PathBuf::from("/etc")])
        .map(|base| base.join("forgewatch/forgewatch.toml"))
        .collect()
}

/// Returns the text and the owner's uid.
fn read_config(path: &Path, hint: &str) -> Result<(String, u32), ConfigError> {
    let error = |what: String| ConfigError::new(Origin::File(path.to_owned()), what);
    let unreadable = |e: io::Error| error(format!("cannot read the file: {e}; {hint}"));
    let file = File::open(path).map_err(unreadable)?;
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
    Ok((text, meta.uid()))
}

/// Reads a list of jobs; `-` is standard input.
pub(super) fn jobs(path: &Path) -> Result<String, ConfigError> {
    let error = |what| ConfigError::new(Origin::File(path.to_owned()), what);
    if path == Path::new("-") {
        let origin = Origin::Flag("standard input");
        return bounded_text(io::stdin().lock(), MAX_JOBS).map_err(|w| ConfigError::new(origin, w));
    }
    let file = File::open(path).map_err(|e| {
        error(format!(
            "cannot read the file: {e}; name another file with --jobs-file"
        ))
    })?;
    bounded_text(file, MAX_JOBS).map_err(error)
}

/// The whole content, if it is UTF-8 and at most `max` bytes.
fn bounded_text(from: impl Read, max: u64) -> Result<String, String> {
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
