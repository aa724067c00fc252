//! The values of `--report`: formats and files, checked before anything is requested.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::error::{ConfigError, Origin};
use super::settings::{ReportFile, ReportFormat};
use forgewatch_core::user_input::quoted;

/// Parses the values, and checks that each file can be written and that all differ.
pub(super) fn parse(values: &[String], errors: &mut Vec<ConfigError>) -> Vec<ReportFile> {
    let mut files: Vec<ReportFile> = Vec::new();
    for value in values {
        match parse_one(value) {
            Ok(file) if files.iter().any(|other| other.path == file.path) => {
                let what = format!("two reports to one file: {}", quoted(value));
                errors.push(ConfigError::new(Origin::Flag("--report"), what));
            }
            Ok(file) => files.push(file),
            Err(what) => errors.push(ConfigError::new(Origin::Flag("--report"), what)),
        }
    }
    files
}

fn parse_one(value: &str) -> Result<ReportFile, String> {
    let Some((format, path)) = value.split_once('=') else {
        let found = quoted(value);
        return Err(format!(
            "expected FORMAT=FILE such as junit=report.xml, found {found}"
        ));
    };
    let format = ReportFormat::from_str(format, false).map_err(|_| {
        let format = quoted(format);
        format!("unknown report format {format}: use junit, json or markdown")
    })?;
    let path = writable(Path::new(path))
        .map_err(|error| format!("cannot write {}: {error}", quoted(path)))?;
    Ok(ReportFile { format, path })
}

/// The absolute path of the file without symbolic links, if it can be replaced.
fn writable(path: &Path) -> io::Result<PathBuf> {
    if path == Path::new("") {
        return Err(io::Error::other("the path is empty"));
    }
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => {
            let folder = path.parent().filter(|parent| *parent != Path::new(""));
            let name = path.file_name().filter(|_| !ends_in_slash(path));
            let name = name.ok_or(ErrorKind::IsADirectory)?;
            folder.unwrap_or(Path::new(".")).canonicalize()?.join(name)
        }
        Err(error) => return Err(error),
    };
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => return Err(ErrorKind::IsADirectory.into()),
        // A device would be replaced by a file.
        Ok(found) if !found.is_file() => return Err(io::Error::other("not a regular file")),
        _ => {}
    }
    // Creates and removes a file, since access rights do not say everything.
    tempfile::tempfile_in(path.parent().unwrap_or(Path::new("/")))?;
    Ok(path)
}

fn ends_in_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}
