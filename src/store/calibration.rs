//! The calibration that one-shots share, in the user's cache directory. Losing it is harmless, so errors are only logged.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use forgewatch_core::schedule::Calibration;

/// A valid file has a few hundred bytes.
const MAX_FILE_SIZE: u64 = 64 * 1024;

/// Reads the file; a missing or invalid one gives the default.
pub fn load(path: &Path) -> Calibration {
    read(path).unwrap_or_else(|error| {
        tracing::debug!(
            target: "forgewatch::store",
            path = %path.display(),
            %error,
            "calibration not loaded"
        );
        Calibration::default()
    })
}

/// Writes the file under a temporary name and renames it, so that a reader never sees a part of it.
pub fn save(path: &Path, calibration: &Calibration) {
    if let Err(error) = write(path, calibration) {
        tracing::debug!(
            target: "forgewatch::store",
            path = %path.display(),
            %error,
            "calibration not saved"
        );
    }
}

fn read(path: &Path) -> io::Result<Calibration> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_FILE_SIZE)
        .read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

fn write(path: &Path, calibration: &Calibration) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = path
        .file_name()
        .unwrap_or(OsStr::new("calibration.json"))
        .to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(&serde_json::to_vec(calibration)?))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use forgewatch_core::job::JobKind;

    #[test]
    fn a_saved_file_is_loaded_and_an_invalid_one_gives_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/calibration.json");
        assert_eq!(load(&path), Calibration::default());
        let mut calibration = Calibration::default();
        let update = forgewatch_core::watch::fixtures::calibration_update();
        calibration.update(JobKind::Diff, &update);
        assert_ne!(calibration, Calibration::default());
        save(&path, &calibration);
        assert_eq!(load(&path), calibration);
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "no temporary file is left"
        );
        for invalid in ["", "{", "[]", "{\"diff\":{\"lives\":1e999}}", "\u{0}"] {
            fs::write(&path, invalid).unwrap();
            assert_eq!(load(&path), Calibration::default(), "{invalid:?}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_created_is_ignored() {
        save(
            Path::new("/dev/null/calibration.json"),
            &Calibration::default(),
        );
    }
}
