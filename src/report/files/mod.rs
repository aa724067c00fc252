//! Report files, and the files of GitHub Actions: the results of a run, written at its end.

mod github;
mod json;
mod junit;
mod markdown;

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub use github::{GITHUB_OUTPUT, GITHUB_STEP_SUMMARY, append_output, append_summary};
pub use json::json;
pub use junit::junit;

use super::results::{RunEnd, RunResults};

/// The report as Markdown.
pub fn markdown(results: &RunResults, end: &RunEnd) -> String {
    markdown::table(results, end, usize::MAX)
}

/// Replaces the file: it is written under another name in the same directory and renamed, so that it is there as a whole
/// or not at all.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|parent| *parent != Path::new(""));
    let mut file = tempfile::Builder::new()
        .prefix(".forgewatch-")
        // As for any new file, the umask decides.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
