//! Finds a hook's program and checks that no other user could replace it.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use forgewatch_core::user_input::quoted;

/// The uids whose programs a configuration may run.
pub(super) struct TrustedOwners {
    uids: [u32; 3],
}

impl TrustedOwners {
    /// Root, the owner of the configuration file, and the current user.
    pub(super) fn of(owner: u32) -> Self {
        Self {
            uids: [0, owner, rustix::process::geteuid().as_raw()],
        }
    }

    /// Checks the program and every directory above it, along the path as written and with symbolic links resolved: a
    /// user who can write to one of them, or who owns a link on the way, can replace the program.
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
        if !self.uids.contains(&meta.uid()) {
            return Err(format!(
                "{shown} is owned by uid {}, which could replace the program; run: chown root {shown}",
                meta.uid()
            ));
        }
        let sticky = mode & 0o1000 != 0;
        if meta.is_file() && mode & 0o022 != 0 {
            return Err(format!(
                "{shown} is writable by users other than its owner (mode {mode:04o}); run: chmod go-w {shown}"
            ));
        }
        if meta.is_dir() && mode & 0o002 != 0 && !sticky {
            return Err(format!(
                "the directory {shown} is world-writable (mode {mode:04o}); run: chmod o-w {shown}"
            ));
        }
        Ok(())
    }
}

/// The absolute path of a program. A name with a slash is relative to `folder`, another is searched for in `path`.
pub(super) fn find(
    name: &str,
    folder: &Path,
    path: Option<&OsStr>,
    trust: Option<&TrustedOwners>,
) -> Result<PathBuf, String> {
    if name.is_empty() {
        return Err("missing command; name a program".to_owned());
    }
    let program = if name.contains('/') {
        let program = folder.join(name);
        executable(&program)?;
        std::path::absolute(&program).map_err(|e| unusable(&program, &e))?
    } else {
        find_in_path(name, path)?
    };
    check_proc()?;
    if let Some(trust) = trust {
        trust.check(&program)?;
    }
    Ok(program)
}

/// A supervisor starts from `/proc` and finds the processes of its hook there.
fn check_proc() -> Result<(), String> {
    let own = rustix::process::getpid().as_raw_nonzero().to_string();
    let why = match fs::read_link("/proc/self") {
        Ok(pid) if pid == Path::new(&own) => return Ok(()),
        Ok(_) => "belongs to another PID namespace",
        Err(_) => "is not mounted",
    };
    Err(format!(
        "cannot run programs: /proc {why}; mount a procfs there"
    ))
}

pub(super) fn find_in_path(name: &str, path: Option<&OsStr>) -> Result<PathBuf, String> {
    let folders = path.map(std::env::split_paths).into_iter().flatten();
    folders
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|program| executable(program).is_ok())
        .ok_or_else(|| {
            format!(
                "program {} not found in PATH; use its absolute path",
                quoted(name)
            )
        })
}

pub(super) fn executable(program: &Path) -> Result<(), String> {
    let meta = fs::metadata(program).map_err(|e| unusable(program, &e))?;
    let shown = program.display();
    if !meta.is_file() {
        return Err(format!("{shown} is not a file; name a program"));
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(format!("{shown} is not executable; run: chmod +x {shown}"));
    }
    Ok(())
}

fn unusable(path: &Path, error: &std::io::Error) -> String {
    let shown = path.display();
    format!("cannot use {shown}: {error}; name a program that this user can run")
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
    fn a_program_that_is_writable_by_others_or_not_executable_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let me = TrustedOwners::of(rustix::process::geteuid().as_raw());
        let find_with = |mode| {
            let path = script(folder.path(), mode);
            let name = path.to_str().unwrap().to_owned();
            (find(&name, Path::new(""), None, Some(&me)), path)
        };
        for mode in [0o755, 0o700, 0o555] {
            let (found, path) = find_with(mode);
            assert_eq!(found, Ok(path));
        }
        for (mode, hint) in [
            (0o775, "chmod go-w"),
            (0o757, "chmod go-w"),
            (0o644, "chmod +x"),
        ] {
            let (found, _) = find_with(mode);
            assert!(found.as_ref().is_err_and(|e| e.contains(hint)), "{found:?}");
        }
    }

    #[test]
    fn a_world_writable_directory_is_rejected_unless_it_is_sticky() {
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
    fn a_link_in_a_world_writable_directory_is_rejected_whatever_its_target() {
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
    fn a_bare_name_is_searched_for_in_path_and_a_path_is_relative_to_the_folder() {
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
