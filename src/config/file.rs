//! Files the user names or leaves where we look: found, opened and read, with limits.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::env::Env;
use super::error::{ConfigError, Origin};

/// A configuration is read up to here; a larger one is something else.
const MAX_CONFIG: u64 = 1 << 20;
/// The same of a list of jobs: half a million of them.
const MAX_JOBS: u64 = 16 << 20;

/// A text and where it was found.
#[derive(Debug)]
pub(super) struct ConfigFile {
    /// The file.
    pub(super) path: PathBuf,
    /// Whether the user named it; otherwise it was found where we look by default.
    pub(super) named: bool,
    /// The uid it belongs to.
    pub(super) owner: u32,
    /// What it says.
    pub(super) text: String,
}

/// Finds and reads the configuration file: the one named, or the first that exists where we look.
///
/// One that exists and can't be read is an error, not passed over: another base URL or account might hold without it.
pub(super) fn config(named: Option<&Path>, env: &Env) -> Result<Option<ConfigFile>, ConfigError> {
    if let Some(path) = named.or_else(|| env.path("FORGEWATCH_CONFIG")) {
        let (text, owner) = read_config(path, "name another with --config")?;
        return Ok(Some(ConfigFile {
            path: path.to_owned(),
            named: true,
            owner,
            text,
        }));
    }
    for path in default_places(env) {
        let there = match std::fs::metadata(&path) {
            Ok(_) => true,
            Err(e) => !matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ),
        };
        if there {
            let (text, owner) = read_config(&path, "to go without it, write --config /dev/null")?;
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

/// The user's file, then the machine's. A relative `XDG_CONFIG_HOME` is no place, as the XDG specification says.
fn default_places(env: &Env) -> Vec<PathBuf> {
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

/// The text and the uid it belongs to.
fn read_config(path: &Path, way_out: &str) -> Result<(String, u32), ConfigError> {
    let error = |what: String| ConfigError::new(Origin::File(path.to_owned()), what);
    let file = File::open(path).map_err(|e| error(format!("cannot be read: {e}; {way_out}")))?;
    let meta = file
        .metadata()
        .map_err(|e| error(format!("cannot be read: {e}; {way_out}")))?;
    if meta.is_dir() {
        return Err(error("is a folder; name the file in it".to_owned()));
    }
    // Pipes and /dev/null have modes that say nothing about who wrote what comes out of them.
    if meta.is_file() && meta.mode() & 0o022 != 0 {
        return Err(error(format!(
            "can be written by others than its owner (mode {:04o}); chmod go-w {}",
            meta.mode() & 0o7777,
            path.display()
        )));
    }
    let text = bounded_text(file, MAX_CONFIG).map_err(error)?;
    Ok((text, meta.uid()))
}

/// Reads a list of jobs, `-` from standard input.
pub(super) fn jobs(path: &Path) -> Result<String, ConfigError> {
    let error = |what| ConfigError::new(Origin::File(path.to_owned()), what);
    if path == Path::new("-") {
        let origin = Origin::Flag("standard input");
        return bounded_text(io::stdin().lock(), MAX_JOBS).map_err(|w| ConfigError::new(origin, w));
    }
    let file = File::open(path).map_err(|e| {
        error(format!(
            "cannot be read: {e}; name another with --jobs-file"
        ))
    })?;
    bounded_text(file, MAX_JOBS).map_err(error)
}

/// Everything, if it is UTF-8 and no longer than `max` bytes.
fn bounded_text(from: impl Read, max: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    from.take(max + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("cannot be read: {e}"))?;
    if bytes.len() as u64 > max {
        return Err(format!("is longer than {max} bytes; is it the right file?"));
    }
    String::from_utf8(bytes).map_err(|e| {
        let good = e.utf8_error().valid_up_to();
        let before = e.as_bytes().iter().take(good);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        format!("is not UTF-8 (line {line}); save it as UTF-8")
    })
}
