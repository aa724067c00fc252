//! Accepts only base URLs that never send credentials in clear text over a network.

use url::Url;

use crate::http_client::is_loopback;

/// Removes trailing slashes from the path, so that the API's own paths can be appended.
///
/// Errors never quote the text: it may contain a password.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    let example = "use one such as \"https://api.multiplay.co.uk\"";
    let mut url =
        Url::parse(text.trim()).map_err(|error| format!("invalid URL: {error}; {example}"))?;
    if text.trim().chars().any(char::is_control) {
        return Err(format!("the URL contains control characters; {example}"));
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("not an https URL; {example}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "a base URL cannot contain a user name or password; use a credentials file or environment variables"
                .to_owned(),
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("a base URL cannot contain a ?query or #fragment; remove it".to_owned());
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(
            "http would send the credentials in clear text; use https, or a loopback host: localhost, 127.0.0.1 or \
             [::1]"
                .to_owned(),
        );
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(parse(text).map(String::from).as_deref(), Ok(read), "{text}");
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
            assert!(parse(text).is_err(), "{text}");
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
            let message = parse(text).unwrap_err();
            assert!(!message.contains("canary"), "{message}");
        }
    }
}
