//! Parses values from text. Errors say what was expected; the caller adds the place.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;
use url::Url;

use crate::http_client::is_loopback;
use forgewatch_core::user_input::{nearest, quoted};

pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date-time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

pub(super) fn duration(
    text: &str,
    min: Duration,
    max: Duration,
    example: &str,
) -> Result<Duration, String> {
    let shown = quoted(text);
    let duration = humantime::parse_duration(text).map_err(|_| {
        if text.parse::<u64>().is_ok() {
            format!("{shown} has no unit; did you mean \"{text}s\"?")
        } else {
            format!("expected a duration such as {example:?}, found {shown}")
        }
    })?;
    if duration < min {
        return Err(format!("{shown} is too short: use {} or more", brief(min)));
    }
    if duration > max {
        return Err(format!("{shown} is too long: use {} or less", brief(max)));
    }
    Ok(duration)
}

/// `never` is None.
pub(super) fn duration_or_never(
    text: &str,
    min: Duration,
    max: Duration,
    example: &str,
) -> Result<Option<Duration>, String> {
    if text.trim() == "never" {
        return Ok(None);
    }
    duration(text, min, max, example)
        .map(Some)
        .map_err(|what| format!("{what}; \"never\" is also accepted"))
}

/// A limit in its largest whole unit; humantime formats a year as "11months 30days …".
pub(super) fn brief(limit: Duration) -> String {
    const UNITS: [(u128, &str); 4] = [
        (24 * 3_600_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    let ms = limit.as_millis();
    if ms == 0 {
        return "0s".to_owned();
    }
    UNITS
        .iter()
        .find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit))
        .map_or_else(
            || format!("{ms}ms"),
            |(unit, name)| format!("{}{name}", ms / unit),
        )
}

pub(super) fn count(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let read = text.trim().parse::<u64>().ok();
    read.filter(|n| (min..=max).contains(n)).ok_or_else(|| {
        let shown = number_or_quoted(text);
        format!("expected a whole number from {min} to {max}, found {shown}")
    })
}

/// NaN is in no range.
pub(super) fn rate(text: &str, min: f64, max: f64) -> Result<f64, String> {
    let read = text.trim().parse::<f64>().ok();
    read.filter(|x| (min..=max).contains(x)).ok_or_else(|| {
        let shown = number_or_quoted(text);
        format!("expected a number from {min} to {max}, found {shown}")
    })
}

/// Numbers are shown without quotes.
fn number_or_quoted(text: &str) -> String {
    if text.len() < 40 && text.parse::<f64>().is_ok() {
        text.to_owned()
    } else {
        quoted(text)
    }
}

pub(super) fn size(text: &str, min: u64, max: u64, example: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let trimmed = text.trim();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((trimmed.strip_suffix(name)?.trim_end(), *unit)))
        .unwrap_or((trimmed, 1));
    let bytes = number
        .parse::<u64>()
        .map_err(|_| {
            format!(
                "expected a size such as {example:?}, found {}",
                quoted(text)
            )
        })?
        .checked_mul(unit);
    bytes.filter(|n| (min..=max).contains(n)).ok_or_else(|| {
        format!(
            "{} is out of range: use {min} to {max} bytes",
            number_or_quoted(text)
        )
    })
}

/// A size in its largest whole unit.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let fits = |power: u32| bytes.is_multiple_of(1 << (10 * power));
    let power = (0..5_u32).rev().find(|&power| bytes > 0 && fits(power));
    let power = power.unwrap_or(0);
    let unit = UNITS.get(power as usize).copied().unwrap_or_default();
    format!("{}{unit}", bytes >> (10 * power))
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| format!("expected true or false, found {}", quoted(text)))
}

const MAX_INSTANCE: usize = 64;

fn fits_instance(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

pub(super) fn instance(text: &str) -> Result<&str, String> {
    if text.is_empty() || text.len() > MAX_INSTANCE || !text.chars().all(fits_instance) {
        return Err(format!(
            "invalid instance name {}: use up to {MAX_INSTANCE} letters, digits, '.', '_' or '-'",
            quoted(text)
        ));
    }
    Ok(text)
}

/// The host name in the characters of an instance name.
pub(super) fn host_name() -> String {
    let system = rustix::system::uname();
    let name = system.nodename().to_string_lossy();
    let fit = |c| if fits_instance(c) { c } else { '-' };
    let name: String = name.chars().take(MAX_INSTANCE).map(fit).collect();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name
    }
}

pub(super) fn word(text: &str, words: &[&'static str]) -> Result<&'static str, String> {
    words
        .iter()
        .find(|word| **word == text)
        .copied()
        .ok_or_else(|| {
            let near = nearest(text, words.iter().copied());
            let hint = near.map(|near| format!("; did you mean {near:?}?"));
            let (words, text) = (alternatives(words), quoted(text));
            format!("expected {words}, found {text}{}", hint.unwrap_or_default())
        })
}

/// `"a" or "b"`.
fn alternatives(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    quoted.join(" or ")
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("the path is empty; name a file or leave the setting out".to_owned());
    }
    if text.contains('\0') {
        return Err("a path cannot contain a NUL byte".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// In bytes. Linux allows 108 with the final NUL (unix(7)); the private directory in which the daemon first creates the
/// socket needs ten more.
const MAX_SOCKET_PATH: usize = 97;

pub(super) fn socket(path: PathBuf) -> Result<PathBuf, String> {
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(format!(
            "socket path {} is too long: use up to {MAX_SOCKET_PATH} bytes",
            quoted(&path.to_string_lossy())
        ));
    }
    Ok(path)
}

/// Rejects names that cannot stand in `/etc/group`.
pub(super) fn group(text: &str) -> Result<&str, String> {
    let good = |c: char| !c.is_control() && !c.is_whitespace() && !":,/".contains(c);
    if text.is_empty() || text.len() > 255 || text.starts_with('-') || !text.chars().all(good) {
        return Err(format!(
            "invalid group name {}: use one such as \"forgewatch-ops\"",
            quoted(text)
        ));
    }
    Ok(text)
}

/// The base URL of the API, without trailing slashes, so that the API's own paths can be appended.
pub(super) fn base_url(text: &str) -> Result<Url, String> {
    plain_url(
        text,
        &UrlPurpose {
            example: "https://api.multiplay.co.uk",
            content: "the credentials",
            instead_of_user: "use a credentials file or environment variables",
        },
    )
}

/// A URL, without query and trailing slashes, to which nothing is sent in clear text over a network.
pub(super) fn plain_url(text: &str, purpose: &UrlPurpose) -> Result<Url, String> {
    let mut url = secure_url(text, purpose)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("a base URL cannot contain a ?query or #fragment; remove it".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// For the errors of [`secure_url`].
pub(super) struct UrlPurpose {
    pub(super) example: &'static str,
    /// What is sent to the URL.
    pub(super) content: &'static str,
    pub(super) instead_of_user: &'static str,
}

/// A URL to which nothing is sent in clear text over a network.
///
/// Errors never quote the text: it may contain a password, and many services put a secret in a webhook's URL.
pub(super) fn secure_url(text: &str, purpose: &UrlPurpose) -> Result<Url, String> {
    let text = text.trim();
    let example = format!("use one such as {:?}", purpose.example);
    let url = Url::parse(text).map_err(|error| format!("invalid URL: {error}; {example}"))?;
    if text.chars().any(char::is_control) {
        return Err(format!("the URL contains control characters; {example}"));
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("not an https URL; {example}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let instead = purpose.instead_of_user;
        return Err(format!(
            "a URL cannot contain a user name or password; {instead}"
        ));
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(format!(
            "http would send {} in clear text; use https, or a loopback host: localhost, 127.0.0.1 or [::1]",
            purpose.content
        ));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn durations_are_parsed_and_bounded() {
        let read = |text| duration(text, Duration::ZERO, DAY, "1s");
        assert_eq!(read("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(read(" 1h 30m"), Ok(Duration::from_mins(90)));
        assert_eq!(read("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(read("1d"), Ok(DAY));
        for text in [
            "",
            "5",
            "-1s",
            "1s ago",
            "never",
            "1d 1ms",
            "99999999999999999999d",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_accept_binary_and_decimal_units() {
        let read = |text| size(text, 1, 1 << 40, "1GiB");
        assert_eq!(read("1GiB"), Ok(1 << 30));
        assert_eq!(read("64 KiB"), Ok(64 << 10));
        assert_eq!(read("5 MB"), Ok(5_000_000));
        assert_eq!(read("12B"), Ok(12));
        assert_eq!(read("1024"), Ok(1024));
        for text in [
            "",
            "GiB",
            "1.5GiB",
            "-1",
            "0",
            "2TiB",
            "99999999999999999TiB",
            "1 gib",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_is_a_finite_number_in_range() {
        let read = |text| rate(text, 0.001, 100_000.0);
        assert_eq!(read("20"), Ok(20.0));
        assert_eq!(read("0.5"), Ok(0.5));
        for text in ["nan", "inf", "-1", "0", "1e9", ""] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_is_shown_in_its_largest_whole_unit() {
        let shown = [0, 10, 1000, 90_000, 3_600_000, 365 * 86_400_000]
            .map(|ms| brief(Duration::from_millis(ms)));
        assert_eq!(shown, ["0s", "10ms", "1s", "90s", "1h", "365d"]);
    }

    #[test]
    fn https_to_any_host_and_http_to_loopback_are_accepted() {
        for (text, read) in [
            (
                "https://api.multiplay.co.uk",
                "https://api.multiplay.co.uk/",
            ),
            (
                "https://proxy.studio.example/clanforge//",
                "https://proxy.studio.example/clanforge",
            ),
            ("http://localhost:8080/", "http://localhost:8080/"),
            ("http://LOCALHOST", "http://localhost/"),
            ("http://127.1.2.3:1", "http://127.1.2.3:1/"),
            ("http://[::1]:9", "http://[::1]:9/"),
        ] {
            assert_eq!(
                base_url(text).map(String::from).as_deref(),
                Ok(read),
                "{text}"
            );
        }
    }

    #[test]
    fn urls_that_expose_credentials_or_carry_extra_parts_are_rejected() {
        for text in [
            "http://api.multiplay.co.uk",
            "http://localhost.example.net",
            "http://127.0.0.1.example.net",
            "http://10.0.0.1",
            "http://0.0.0.0",
            "http://[::ffff:127.0.0.1]",
            "http://[::2]",
            "ftp://localhost",
            "file:///etc/passwd",
            "localhost:8080",
            "api.multiplay.co.uk",
            "https://",
            "https://api\n.example",
            "",
            "https://api.multiplay.co.uk/?a=1",
            "https://api.multiplay.co.uk/#a",
            "https://api.multiplay.co.uk?",
        ] {
            assert!(base_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_rejected_and_not_quoted() {
        for text in [
            "https://user:canary@api.multiplay.co.uk",
            "https://canary@api.multiplay.co.uk",
            "https://user:canary@ bad host",
            "https://user:canary@host:99999",
        ] {
            let message = base_url(text).unwrap_err();
            assert!(!message.contains("canary"), "{message}");
        }
    }
}
