//! A directory with configuration files, in which the configuration is loaded or the program runs.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use forgewatch::config::{self, CommandLine, ConfigErrors, Env, Loaded};

pub(crate) struct ConfigFixture {
    pub(crate) folder: tempfile::TempDir,
    vars: Vec<(&'static str, String)>,
}

impl ConfigFixture {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            vars: Vec::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn file(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        self.file_with_mode(name, text, 0o600)
    }

    pub(crate) fn file_with_mode(self, name: &str, text: impl AsRef<[u8]>, mode: u32) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        self
    }

    pub(crate) fn var(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.vars.push((name, value.into()));
        self
    }

    /// Sets both keys in the environment.
    pub(crate) fn with_credentials(self) -> Self {
        self.var("FORGEWATCH_ACCESS_KEY", "a")
            .var("FORGEWATCH_SECRET_KEY", "canary")
    }

    pub(crate) fn env(&self) -> Env {
        let vars = self.vars.iter();
        vars.map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    pub(crate) fn load(&self, command_line: &CommandLine) -> Result<Loaded, ConfigErrors> {
        config::load(command_line, &self.env())
    }

    pub(crate) fn load_daemon(&self, command_line: &CommandLine) -> Result<Loaded, ConfigErrors> {
        config::load_daemon(command_line, &self.env())
    }

    /// Runs the program and returns its exit status and output.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        self.run_with_input(args, "")
    }

    pub(crate) fn run_with_input(&self, args: &[&str], input: &str) -> String {
        let mut child = Command::new(env!("CARGO_BIN_EXE_forgewatch"))
            .args(args)
            .env_clear()
            .envs(self.vars.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The program may exit without reading its input.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let done = child.wait_with_output().unwrap();
        format!(
            "exit status {}\n{}{}",
            done.status.code().unwrap(),
            String::from_utf8(done.stdout).unwrap(),
            String::from_utf8(done.stderr).unwrap()
        )
    }
}

/// A command line that names `config` and one job.
pub(crate) fn command_line(config: &Path) -> CommandLine {
    CommandLine {
        config: Some(config.to_owned()),
        jobs: vec!["diff/1".to_owned()],
        ..CommandLine::default()
    }
}

/// An account and one job on the command line, without a file.
pub(crate) fn with_flags(flags: &[(&'static str, &str)]) -> CommandLine {
    CommandLine {
        flags: flags
            .iter()
            .map(|(flag, text)| (*flag, (*text).to_owned()))
            .chain([("--account-service-id", "5".to_owned())])
            .collect(),
        ..command_line(Path::new("/dev/null"))
    }
}

pub(crate) fn jobs(loaded: &Loaded) -> Vec<String> {
    let jobs = loaded.settings.jobs.iter();
    jobs.map(|spec| format!("{} {:?}", spec.job, spec.labels))
        .collect()
}
