//! Makes untrusted text inert: a receiver shows it as it is, on one line, and finds no mention, link or markup in it.

use crate::sanitize::{self, sanitized};

/// Breaks a mention or a link without a trace for the eye.
const BREAK: char = '\u{200b}';
/// Marks that the end is missing.
const CUT: char = '…';

/// How a receiver reads a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Markup {
    /// As it is, except that mentions and links may be recognized.
    Plain,
    /// Slack's mrkdwn, whose control characters are escaped as in HTML.
    Slack,
    /// Markdown, whose punctuation is escaped by a backslash.
    Markdown,
}

/// The text in at most `limit` UTF-16 code units, in which receivers count.
pub(super) fn inert(text: &str, markup: Markup, limit: usize) -> String {
    let text = sanitized(text, sanitize::LIMIT);
    let mut out = String::with_capacity(text.len());
    let mut left = limit;
    for (at, c) in text.char_indices() {
        let (before, after) = (text.get(..at), text.get(at + c.len_utf8()..));
        let unit = unit(c, before.unwrap_or(""), after.unwrap_or(""), markup);
        let is_last = after == Some("");
        let length = unit.encode_utf16().count();
        // Room for the mark, unless nothing follows.
        if length + usize::from(!is_last) > left {
            out.push(CUT);
            break;
        }
        left -= length;
        out.push_str(&unit);
    }
    out
}

/// The character as the receiver needs it, with a break where a mention or link would begin.
fn unit(c: char, before: &str, after: &str, markup: Markup) -> String {
    let mut unit = match (markup, c) {
        (Markup::Slack, '&') => "&amp;".to_owned(),
        (Markup::Slack, '<') => "&lt;".to_owned(),
        (Markup::Slack, '>') => "&gt;".to_owned(),
        (Markup::Markdown, _) if is_markdown(c, before) => format!("\\{c}"),
        _ => c.to_string(),
    };
    let begins = match c {
        '@' | '<' => true,
        ':' => after.starts_with("//") || is_scheme(before),
        ']' => after.starts_with('('),
        '.' => ends_in_www(before),
        _ => false,
    };
    if begins {
        unit.push(BREAK);
    }
    unit
}

fn is_markdown(c: char, before: &str) -> bool {
    let is_numbered = || !before.is_empty() && before.bytes().all(|b| b.is_ascii_digit());
    "\\`*_~|[]()<>#+-".contains(c) || (c == '.' && is_numbered())
}

/// Whether the text ends in a scheme of links that need no `//`.
fn is_scheme(before: &str) -> bool {
    const LONGEST: usize = 10;
    let from = before.ceil_char_boundary(before.len().saturating_sub(LONGEST));
    let end = before.get(from..).unwrap_or_default().to_ascii_lowercase();
    let schemes = ["mailto", "tel", "sms", "xmpp", "javascript", "data"];
    schemes.iter().any(|scheme| end.ends_with(scheme))
}

fn ends_in_www(before: &str) -> bool {
    let from = before.len().saturating_sub(3);
    let last = before.get(from..).unwrap_or_default();
    last.eq_ignore_ascii_case("www")
}
