//! What ends have taught, kept between one-shots in the user's cache. Lost at no cost, so nothing here is an error.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use forgewatch_core::schedule::Calibration;

/// A file of ours is a few hundred bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// What is there; nothing learnt yet where it is missing, damaged or somebody else's format.
pub fn load(path: &Path) -> Calibration {
    read(path).unwrap_or_else(|error| {
        tracing::debug!(path = %path.display(), %error, "no calibration taken over");
        Calibration::default()
    })
}

/// Writes it beside its place and renames it, so that nobody ever reads half of it.
pub fn save(path: &Path, memory: &Calibration) {
    if let Err(error) = write(path, memory) {
        tracing::debug!(path = %path.display(), %error, "the calibration is not kept");
    }
}

fn read(path: &Path) -> io::Result<Calibration> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_BYTES)
        .read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

fn write(path: &Path, memory: &Calibration) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = path
        .file_name()
        .unwrap_or(OsStr::new("calibration.json"))
        .to_string_lossy();
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    let written = File::create(&beside)
        .and_then(|mut file| file.write_all(&serde_json::to_vec(memory)?))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use forgewatch_core::job::JobKind;

    #[test]
    fn what_is_saved_is_loaded_and_rubbish_is_a_fresh_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/calibration.json");
        assert_eq!(load(&path), Calibration::default());
        let mut memory = Calibration::default();
        memory.learn(
            JobKind::Diff,
            &forgewatch_core::watch::tests_support::samples(),
        );
        assert_ne!(memory, Calibration::default());
        save(&path, &memory);
        assert_eq!(load(&path), memory);
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "nothing left beside"
        );
        for rubbish in ["", "{", "[]", "{\"diff\":{\"lives\":1e999}}", "\u{0}"] {
            fs::write(&path, rubbish).unwrap();
            assert_eq!(load(&path), Calibration::default(), "{rubbish:?}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_no_error() {
        save(
            Path::new("/dev/null/calibration.json"),
            &Calibration::default(),
        );
    }
}
