//! Response headers: the server's clock and `Retry-After`.

use std::time::{Duration, SystemTime};

use reqwest::header::{AGE, DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// The limit of `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// `Date` minus `Age`, Unix seconds: a cached response is older than its `Date` by its `Age`.
pub fn server_date(headers: &HeaderMap) -> Option<i64> {
    let date = http_date(text(headers, &DATE)?)?;
    let age = text(headers, &AGE)
        .and_then(|age| age.parse::<u32>().ok())
        .unwrap_or(0);
    Some(date - i64::from(age))
}

/// `Retry-After` as a span from now, at most an hour. A date is compared with the `Date` of the same response, since our
/// clock may be wrong. Of several values the longest counts. None if all are missing, past or invalid.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get_all(RETRY_AFTER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .filter_map(|value| seconds_until(headers, value).or_else(|| longest(value)))
        .max()?;
    (seconds > 0).then(|| Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// The seconds until an HTTP date.
fn seconds_until(headers: &HeaderMap, date: &str) -> Option<u64> {
    let then = http_date(date.trim())?;
    let now = text(headers, &DATE)
        .and_then(http_date)
        .or_else(|| unix_seconds(SystemTime::now()))?;
    u64::try_from(then.checked_sub(now)?).ok()
}

/// The longest of some numbers of seconds, each rounded up.
fn longest(list: &str) -> Option<u64> {
    let numbers = list
        .split(',')
        .filter_map(|number| number.trim().parse::<f64>().ok());
    numbers
        .filter(|number| number.is_finite())
        .map(|number| number.ceil() as u64)
        .max()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn http_date(text: &str) -> Option<i64> {
    unix_seconds(httpdate::parse_http_date(text).ok()?)
}

fn unix_seconds(time: SystemTime) -> Option<i64> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE_TEXT: &str = "Mon, 01 Jan 2024 00:00:00 GMT";

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(n, v)| (n.clone(), v.parse().unwrap()))
            .collect()
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        for (value, want) in [
            ("7", Some(7)),
            (" 120 ", Some(120)),
            ("86400", Some(3600)),
            ("99999999999999999999", Some(3600)),
            ("0", None),
            ("-5", None),
            ("1.5", Some(2)),
            ("2, 2", Some(2)),
            ("5,7", Some(7)),
            ("soon, 3", Some(3)),
            ("inf", None),
            ("NaN", None),
            ("1.", Some(1)),
            ("soon", None),
            ("", None),
            ("Mon, 01 Jan 2024 00:00:30 GMT", Some(30)),
            ("Monday, 01-Jan-24 00:00:30 GMT", Some(30)),
            ("Tue, 02 Jan 2024 00:00:00 GMT", Some(3600)),
            ("Sun, 31 Dec 2023 23:59:30 GMT", None),
            ("Mon, 01 Jan 1800 00:00:30 GMT", None),
        ] {
            let headers = headers(&[(DATE, DATE_TEXT), (RETRY_AFTER, value)]);
            assert_eq!(
                retry_after(&headers).map(|d| d.as_secs()),
                want,
                "{value:?}"
            );
        }
    }

    #[test]
    fn the_servers_clock_is_date_minus_age() {
        assert_eq!(
            server_date(&headers(&[(DATE, DATE_TEXT)])),
            Some(1_704_067_200)
        );
        let aged = headers(&[(DATE, DATE_TEXT), (AGE, "20")]);
        assert_eq!(server_date(&aged), Some(1_704_067_180));
        assert_eq!(server_date(&headers(&[(DATE, "now")])), None);
    }
}
