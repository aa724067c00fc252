//! Recognizes scripts that the kernel would not start, or would start with an interpreter that does not exist.
//!
//! The kernel reports each of these as "No such file or directory" or "Exec format error" of the script itself.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use forgewatch_core::user_input::quoted;

use super::program;

/// The kernel reads this much of a file to find out how to start it.
const HEAD: u64 = 256;

/// Checks the first line of a program that is a script. `path` is the `PATH` that the script receives.
pub(super) fn check(program: &Path, path: Option<&OsStr>) -> Result<(), String> {
    let mut head = Vec::new();
    // A program that may be executed but not read is not a script.
    let read = File::open(program).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    if read.is_err() || head.starts_with(b"\x7fELF") {
        return Ok(());
    }
    check_head(&head, path).map_err(|error| format!("{} {error}", program.display()))
}

fn check_head(head: &[u8], path: Option<&OsStr>) -> Result<(), String> {
    if head.starts_with(b"\xef\xbb\xbf") {
        return Err("begins with a byte order mark: save it as UTF-8 without one".to_owned());
    }
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return Err("is UTF-16: save it as UTF-8 without a byte order mark".to_owned());
    }
    let Some(after) = head.strip_prefix(b"#!") else {
        // Other formats, which `binfmt_misc` may know, hold bytes that text does not.
        let is_text = !head.contains(&0) && std::str::from_utf8(head).is_ok();
        let has_end = head.is_empty() || head.contains(&b'\n') || head.len() < HEAD as usize;
        return if is_text && has_end {
            Err("has no interpreter: begin it with a line such as #!/bin/sh".to_owned())
        } else {
            Ok(())
        };
    };
    let line = after
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    if line.ends_with(b"\r") {
        return Err("has Windows line ends (CRLF): run: sed -i 's/\\r$//' on it".to_owned());
    }
    let line = String::from_utf8_lossy(line);
    let line = line.trim_matches([' ', '\t']);
    let (interpreter, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    if interpreter.is_empty() {
        return Err("names no interpreter: begin it with a line such as #!/bin/sh".to_owned());
    }
    let interpreter = Path::new(interpreter);
    program::executable(interpreter)
        .map_err(|error| format!("cannot be started by its interpreter: {error}"))?;
    if interpreter.file_name() == Some(OsStr::new("env")) {
        check_env(argument.trim_start(), path)?;
    }
    Ok(())
}

/// Checks the program that `env` starts. The kernel passes everything behind `env` as one argument, which only `-S` splits.
fn check_env(argument: &str, path: Option<&OsStr>) -> Result<(), String> {
    let split = argument
        .strip_prefix("-S")
        .or_else(|| argument.strip_prefix("--split-string="));
    let name = match split {
        Some(words) => words.split_whitespace().next().unwrap_or_default(),
        None => argument,
    };
    // Options and variables before the program are left to `env`.
    if name.is_empty() || name.starts_with('-') || name.contains('=') {
        return Ok(());
    }
    let found = if name.contains('/') {
        program::executable(Path::new(name))
    } else {
        program::find_in_path(name, path).map(drop::<PathBuf>)
    };
    let hint = if name.contains([' ', '\t']) {
        "; env splits words only with -S"
    } else {
        ""
    };
    found.map_err(|_| format!("needs {}, which is not in PATH{hint}", quoted(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_cannot_be_started_is_described() {
        let check = |head: &[u8]| check_head(head, Some(OsStr::new("/usr/bin:/bin")));
        let long = [b"text without a line end ".as_slice(); 20].concat();
        for good in [
            b"#!/bin/sh\nexit 0\r\n".as_slice(),
            b"#! /bin/sh -e",
            b"#!/usr/bin/env sh\n",
            b"#!/usr/bin/env -S sh -e\n",
            b"#!/usr/bin/env -i sh\n",
            b"#!/usr/bin/env -S A=1 missing\n",
            b"\xca\xfe\xba\xbe\0\0",
            &long[..HEAD as usize],
        ] {
            assert_eq!(check(good), Ok(()), "{}", good.escape_ascii());
        }
        for (bad, why) in [
            (b"#!/bin/sh\r\nexit 0\r\n".as_slice(), "CRLF"),
            (b"#!/usr/bin/env sh\r\n", "CRLF"),
            (b"#!/bin/sh -e\r", "CRLF"),
            (b"\xef\xbb\xbf#!/bin/sh\n", "byte order mark"),
            (b"\xff\xfe#\0!\0", "UTF-16"),
            (b"echo done\n", "has no interpreter"),
            (b"", "has no interpreter"),
            (b"#!\n", "names no interpreter"),
            (b"#!  \t\nexit", "names no interpreter"),
            (b"#!/no/such/shell\n", "/no/such/shell"),
            (b"#!/etc/passwd\n", "not executable"),
            (b"#!/usr/bin\n", "not a file"),
            (
                b"#!/usr/bin/env no-such-program\n",
                "needs \"no-such-program\"",
            ),
            (b"#!/usr/bin/env sh -e\n", "only with -S"),
            (b"#!/usr/bin/env -S no-such-program -u\n", "no-such-program"),
        ] {
            let error = check(bad).unwrap_err();
            assert!(error.contains(why), "{}: {error}", bad.escape_ascii());
        }
    }
}
