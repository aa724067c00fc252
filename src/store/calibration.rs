//! The calibrations that one-shots share, in the user's cache directory: a file for each server. Losing one is harmless, so
//! errors are only logged.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use forgewatch_core::schedule::ServerKey;

/// A valid file has a few kilobytes.
const MAX_FILE_SIZE: u64 = 1024 * 1024;

/// `calibration/HOST-ACCOUNT.json`, with `_` for characters other than letters, digits, `.` and `-`. The file has the
/// complete key, so that two servers may have the same name.
pub fn file_name(server: &ServerKey) -> PathBuf {
    let (_, host) = server.api.split_once("://").unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let host: String = host
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    Path::new("calibration").join(format!("{host}-{}.json", server.account_service_id))
}

/// Reads the file; None if it is missing or unreadable.
pub fn load(path: &Path) -> Option<String> {
    let content = read(path);
    if let Err(error) = &content {
        tracing::debug!(
            target: "forgewatch::store",
            path = %path.display(),
            %error,
            "calibration not loaded"
        );
    }
    content.ok()
}

/// Writes the file under a temporary name and renames it, so that a reader never sees a part of it.
pub fn save(path: &Path, json: &str) {
    if let Err(error) = write(path, json) {
        tracing::debug!(
            target: "forgewatch::store",
            path = %path.display(),
            %error,
            "calibration not saved"
        );
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_FILE_SIZE)
        .read_to_string(&mut text)?;
    Ok(text)
}

fn write(path: &Path, json: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(json.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_file_is_loaded_and_no_temporary_file_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/calibration.json");
        assert_eq!(load(&path), None);
        save(&path, "{}");
        save(&path, "{\"jobs\":1}");
        assert_eq!(load(&path).as_deref(), Some("{\"jobs\":1}"));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(load(&path), None);
    }

    #[test]
    fn a_folder_that_cannot_be_created_is_ignored() {
        save(Path::new("/dev/null/calibration.json"), "{}");
    }

    #[test]
    fn the_file_of_a_server_has_its_name() {
        let name = |api: &str| {
            file_name(&ServerKey {
                api: api.to_owned(),
                account_service_id: 5678,
            })
        };
        for (api, want) in [
            (
                "https://api.multiplay.co.uk",
                "calibration/api.multiplay.co.uk-5678.json",
            ),
            ("http://[::1]:8080", "calibration/___1__8080-5678.json"),
            ("https://a/../../b", "calibration/a_.._.._b-5678.json"),
        ] {
            assert_eq!(name(api), Path::new(want));
        }
    }
}
