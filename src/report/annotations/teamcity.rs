//! TeamCity: service messages.
//! <https://www.jetbrains.com/help/teamcity/service-messages.html>

use std::fmt::Write;

use super::{Annotation, Severity, inert};

/// The name of the block.
const BLOCK: &str = "forgewatch";
/// TeamCity cuts the description of a problem at 4,000 characters.
const MAX_DESCRIPTION: usize = 3_900;
const MAX_IDENTITY: usize = 60;

pub(super) fn line(annotation: &Annotation<'_>) -> String {
    match annotation {
        Annotation::Begin { title } => {
            let title = value(title);
            format!("##teamcity[blockOpened name='{BLOCK}' description='{title}']")
        }
        Annotation::Progress { text, .. } => {
            format!("##teamcity[progressMessage '{}']", value(text))
        }
        Annotation::Problem {
            severity,
            title,
            message,
        } => {
            let text = format!("{title}: {message}");
            let text: String = inert(&text).chars().take(MAX_DESCRIPTION).collect();
            let text = value(&text);
            match severity {
                Severity::Error => format!(
                    "##teamcity[buildProblem description='{text}' identity='{}']",
                    identity(title)
                ),
                Severity::Warning => {
                    format!("##teamcity[message text='{text}' status='WARNING']")
                }
            }
        }
        Annotation::End => format!("##teamcity[blockClosed name='{BLOCK}']"),
    }
}

/// A value between apostrophes. Other than ASCII is written as UTF-16, which needs no agreement on an encoding.
fn value(text: &str) -> String {
    let mut out = String::new();
    for c in inert(text).chars() {
        match c {
            '\'' | '|' | '[' | ']' => out.extend(['|', c]),
            '\n' => out.push_str("|n"),
            '\r' => out.push_str("|r"),
            _ if c.is_ascii() => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "|0x{unit:04X}");
                }
            }
        }
    }
    out
}

/// The identifier of a problem: the same in every build, in the characters of a Java identifier.
fn identity(title: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let title = title.chars().map(word);
    "forgewatch_"
        .chars()
        .chain(title)
        .take(MAX_IDENTITY)
        .collect()
}
