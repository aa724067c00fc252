//! Secrets as people save them: a file or a variable with one line. Errors name what is wrong and never quote it.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{getegid, geteuid, getgroups};
use secrecy::zeroize::Zeroizing;

use super::value;

/// Far more than a secret needs.
const MAX_BYTES: u64 = 4096;

/// Reads a file with a secret on its only line. `private` is false where the folder protects the file; `expected`
/// describes the line.
pub(super) fn read_line(
    path: &Path,
    private: bool,
    expected: &str,
) -> Result<Zeroizing<String>, String> {
    let unreadable = |e: io::Error| {
        format!("cannot read the file: {e}; expected {expected}, readable by this user")
    };
    let file = File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if meta.is_dir() {
        return Err("is a directory; name a file".to_owned());
    }
    let forbidden = if is_shared_by_root(&meta) {
        0o037
    } else {
        0o077
    };
    if private && meta.mode() & forbidden != 0 {
        return Err(format!(
            "accessible to users other than its owner (mode {:04o}); run: chmod 600 {}",
            meta.mode() & 0o7777,
            path.display()
        ));
    }
    // A buffer that never grows leaves no copy of the secret in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES as usize + 64));
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    file_line(&bytes)
        .map(|line| Zeroizing::new(line.to_owned()))
        .map_err(|what| format!("{what}; expected {expected}"))
}

/// Reads and parses a file with a secret on its only line, relative to `folder`.
pub(super) fn from_file<T>(
    folder: &Path,
    file: &str,
    expected: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, String> {
    let path = folder.join(value::path(file)?);
    // Only the unit's user can enter the folder of systemd's credentials; its ACL entry appears as group read
    // (`systemd.exec(5)`, `LoadCredential=`).
    let private = !path.starts_with("/run/credentials");
    let line = read_line(&path, private, expected);
    line.and_then(|line| parse(&line))
        .map_err(|what| format!("{}: {what}", path.display()))
}

/// Whether root owns the file and gives it to us through one of our groups, as Kubernetes mounts secrets with `fsGroup`.
/// If we are root ourselves, we could restrict a file that its owner can write.
fn is_shared_by_root(meta: &Metadata) -> bool {
    let is_ours = |gid| {
        gid == getegid().as_raw()
            || getgroups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == gid))
    };
    let is_fixed = !geteuid().is_root() || meta.mode() & 0o200 == 0;
    meta.uid() == 0 && is_fixed && is_ours(meta.gid())
}

/// The line of a file's content.
pub(super) fn file_line(bytes: &[u8]) -> Result<&str, &'static str> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err("too long");
    }
    let is_zero_from = |start| bytes.iter().skip(start).step_by(2).all(|byte| *byte == 0);
    let has_mark = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    if has_mark || (bytes.len() > 2 && (is_zero_from(0) || is_zero_from(1))) {
        return Err("UTF-16; save the file as UTF-8");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8; save the file as UTF-8")?;
    Ok(line(text))
}

/// The text without byte order mark and line ends around it.
pub(super) fn line(text: &str) -> &str {
    text.trim_matches(['\u{feff}', '\r', '\n'])
}

/// Checks that the text has no character that people do not see or did not mean. A blank inside is accepted.
///
/// # Errors
/// The name of the character and its place.
pub(super) fn check_characters(text: &str) -> Result<(), String> {
    let odd = text.chars().find_map(|c| Some((name(c)?, c)));
    let around = text.chars().next().into_iter().chain(text.chars().last());
    let around = around
        .filter(|c| matches!(c, ' ' | '"' | '\'' | '`'))
        .map(|c| (if c == ' ' { "a blank" } else { "a quote" }, c))
        .next();
    match (odd, around) {
        (Some((name, c)), _) => Err(format!("contains {name} (U+{:04X}); remove it", c as u32)),
        (None, Some((name, c))) => {
            let place = if text.starts_with(c) {
                "begins"
            } else {
                "ends"
            };
            Err(format!("{place} with {name}; remove it"))
        }
        (None, None) => Ok(()),
    }
}

/// The name of a character that does not belong in a secret.
fn name(c: char) -> Option<&'static str> {
    match c {
        '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some("a line break"),
        '\t' => Some("a tab"),
        '\u{a0}' | '\u{202f}' => Some("a no-break space"),
        '\u{feff}' => Some("a byte order mark"),
        '\u{200b}' => Some("a zero-width space"),
        '\u{2010}'..='\u{2015}' | '\u{2212}' => Some("a typographic dash"),
        '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}' | '\u{2039}' | '\u{203a}' => {
            Some("a typographic quote")
        }
        '\u{fffd}' => Some("a replacement character"),
        _ if c.is_control() => Some("a control character"),
        ' ' => None,
        _ if c.is_whitespace() => Some("an unusual blank"),
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200c}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}' => Some("an invisible character"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_and_line_ends_around_a_line_are_removed() {
        for bytes in [
            &b"a:b"[..],
            b"a:b\n",
            b"a:b\r\n",
            b"a:b\n\n",
            b"a:b\r",
            b"\na:b",
            b"\xef\xbb\xbfa:b\r\n",
        ] {
            assert_eq!(file_line(bytes), Ok("a:b"), "{bytes:?}");
        }
    }

    #[test]
    fn utf16_is_recognized_with_and_without_a_mark() {
        for big in [false, true] {
            for mark in ["", "\u{feff}"] {
                let units = format!("{mark}a:b\n");
                let units = units.encode_utf16();
                let bytes: Vec<u8> = units
                    .flat_map(|unit| {
                        if big {
                            unit.to_be_bytes()
                        } else {
                            unit.to_le_bytes()
                        }
                    })
                    .collect();
                assert!(file_line(&bytes).unwrap_err().contains("UTF-16"));
            }
        }
    }

    #[test]
    fn a_character_that_no_one_sees_is_named_and_not_shown() {
        for (text, message) in [
            (" key", "begins with a blank; remove it"),
            ("key ", "ends with a blank; remove it"),
            ("\"key\"", "begins with a quote; remove it"),
            ("key'", "ends with a quote; remove it"),
            ("k\u{a0}ey", "contains a no-break space (U+00A0); remove it"),
            (
                "key\u{200b}",
                "contains a zero-width space (U+200B); remove it",
            ),
            (
                "k\u{feff}ey",
                "contains a byte order mark (U+FEFF); remove it",
            ),
            ("k\ney", "contains a line break (U+000A); remove it"),
            ("k\tey", "contains a tab (U+0009); remove it"),
            ("k\0ey", "contains a control character (U+0000); remove it"),
            (
                "\u{201c}key\u{201d}",
                "contains a typographic quote (U+201C); remove it",
            ),
            (
                "k\u{2013}ey",
                "contains a typographic dash (U+2013); remove it",
            ),
            (
                "k\u{2003}ey",
                "contains an unusual blank (U+2003); remove it",
            ),
            (
                "k\u{ad}ey",
                "contains an invisible character (U+00AD); remove it",
            ),
        ] {
            assert_eq!(check_characters(text), Err(message.to_owned()));
        }
        for good in ["key", "open sesame", "o'clock", "schl\u{fc}ssel"] {
            assert_eq!(check_characters(good), Ok(()));
        }
    }
}
