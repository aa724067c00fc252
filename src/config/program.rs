//! A hook's program: found, and whether anybody but its owner could put another in its place.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use forgewatch_core::quote::quoted;

/// Whose programs a configuration may name.
pub(super) struct TrustedOwners {
    owners: [u32; 3],
}

impl TrustedOwners {
    /// Those of root, of the configuration's owner, and of the user that runs them.
    pub(super) fn of(owner: u32) -> Self {
        Self {
            owners: [0, owner, rustix::process::geteuid().as_raw()],
        }
    }

    /// The program and every folder above it, as it is called and where it really lies: whoever can write to one of
    /// them, or owns a link on the way, can swap the program.
    fn check(&self, program: &Path) -> Result<(), String> {
        let real = fs::canonicalize(program).map_err(|e| unusable(program, &e))?;
        for path in program.ancestors().chain(real.ancestors()) {
            let meta = fs::symlink_metadata(path).map_err(|e| unusable(path, &e))?;
            self.check_one(path, &meta)?;
        }
        Ok(())
    }

    fn check_one(&self, path: &Path, meta: &Metadata) -> Result<(), String> {
        let (mode, shown) = (meta.mode() & 0o7777, path.display());
        if !self.owners.contains(&meta.uid()) {
            return Err(format!(
                "{shown} belongs to uid {}, who could change what is run; chown root {shown}",
                meta.uid()
            ));
        }
        let sticky = mode & 0o1000 != 0;
        if meta.is_file() && mode & 0o022 != 0 {
            return Err(format!(
                "{shown} can be written by others than its owner (mode {mode:04o}); chmod go-w {shown}"
            ));
        }
        if meta.is_dir() && mode & 0o002 != 0 && !sticky {
            return Err(format!(
                "the folder {shown} can be written by everybody (mode {mode:04o}); chmod o-w {shown}"
            ));
        }
        Ok(())
    }
}

/// The program of this name, absolute: a path, which may begin in `folder`, or a word looked for on `path`.
pub(super) fn find(
    name: &str,
    folder: &Path,
    path: Option<&OsStr>,
    trust: Option<&TrustedOwners>,
) -> Result<PathBuf, String> {
    if name.is_empty() {
        return Err("there is no command; name a program".to_owned());
    }
    let program = if name.contains('/') {
        let program = folder.join(name);
        executable(&program)?;
        std::path::absolute(&program).map_err(|e| unusable(&program, &e))?
    } else {
        on_path(name, path)?
    };
    if let Some(trust) = trust {
        trust.check(&program)?;
    }
    Ok(program)
}

fn on_path(name: &str, path: Option<&OsStr>) -> Result<PathBuf, String> {
    let folders = path.map(std::env::split_paths).into_iter().flatten();
    folders
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|program| executable(program).is_ok())
        .ok_or_else(|| {
            format!(
                "there is no program {} on PATH; write its whole path",
                quoted(name)
            )
        })
}

fn executable(program: &Path) -> Result<(), String> {
    let meta = fs::metadata(program).map_err(|e| unusable(program, &e))?;
    let shown = program.display();
    if !meta.is_file() {
        return Err(format!("{shown} is no file; name a program"));
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(format!("{shown} is not executable; chmod +x {shown}"));
    }
    Ok(())
}

fn unusable(path: &Path, error: &std::io::Error) -> String {
    let shown = path.display();
    format!("{shown} cannot be used: {error}; name a program that this user can run")
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn script(folder: &Path, mode: u32) -> PathBuf {
        let path = folder.join(format!("hook-{mode:o}"));
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_program_that_others_can_write_or_nobody_can_run_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let me = TrustedOwners::of(rustix::process::geteuid().as_raw());
        let try_it = |mode| {
            let path = script(folder.path(), mode);
            let name = path.to_str().unwrap().to_owned();
            (find(&name, Path::new(""), None, Some(&me)), path)
        };
        for mode in [0o755, 0o700, 0o555] {
            let (found, path) = try_it(mode);
            assert_eq!(found, Ok(path));
        }
        for (mode, said) in [
            (0o775, "chmod go-w"),
            (0o757, "chmod go-w"),
            (0o644, "chmod +x"),
        ] {
            let (found, _) = try_it(mode);
            assert!(found.as_ref().is_err_and(|e| e.contains(said)), "{found:?}");
        }
    }

    #[test]
    fn a_folder_that_everybody_can_write_to_is_refused_unless_it_is_sticky() {
        let folder = tempfile::tempdir().unwrap();
        let path = script(folder.path(), 0o755);
        let me = TrustedOwners::of(rustix::process::geteuid().as_raw());
        let with = |mode| {
            fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
            find(path.to_str().unwrap(), Path::new(""), None, Some(&me))
        };
        assert!(with(0o777).unwrap_err().contains("chmod o-w"));
        assert!(with(0o1777).is_ok());
    }

    #[test]
    fn a_link_that_everybody_can_replace_is_refused_wherever_it_leads() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("hook");
        std::os::unix::fs::symlink("/bin/sh", &link).unwrap();
        let me = TrustedOwners::of(rustix::process::geteuid().as_raw());
        let with = |mode| {
            fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
            find(link.to_str().unwrap(), Path::new(""), None, Some(&me))
        };
        assert!(with(0o777).unwrap_err().contains("chmod o-w"));
        assert!(with(0o755).is_ok());
    }

    #[test]
    fn a_word_is_looked_for_on_path_and_a_path_from_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = script(folder.path(), 0o755);
        let name = path.file_name().unwrap().to_str().unwrap();
        let paths = std::env::join_paths([Path::new("."), folder.path()]).unwrap();
        let anywhere = Path::new("");
        assert_eq!(find(name, anywhere, Some(&paths), None), Ok(path.clone()));
        assert!(find(name, folder.path(), None, None).is_err());
        let relative = format!("./{name}");
        assert_eq!(find(&relative, folder.path(), None, None), Ok(path));
    }
}
