//! Settings that a reload cannot change.

use std::path::Path;

use super::settings::Settings;

/// One sentence, with both values, for each changed key that a running daemon cannot apply.
pub fn needs_restart(old: &Settings, new: &Settings) -> Vec<String> {
    let (old_group, new_group) = (Path::new(&old.control.group), Path::new(&new.control.group));
    let fixed: [(&str, &Path, &Path); 3] = [
        ("state.path", &old.state.path, &new.state.path),
        ("control.socket", &old.control.socket, &new.control.socket),
        ("control.group", old_group, new_group),
    ];
    let changed = fixed.into_iter().filter(|(_, old, new)| old != new);
    changed
        .map(|(key, old, new)| {
            format!(
                "{key}: {} stays in use; changing it to {} needs a restart",
                old.display(),
                new.display()
            )
        })
        .collect()
}
