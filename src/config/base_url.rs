//! Which base URLs are taken: those that never carry credentials in clear text over a network.

use url::Url;

use crate::http_client::is_loopback;

/// Reads a base URL. The path loses its trailing slashes, so that the API's own can be put behind it.
///
/// The text is never quoted in the message: it may hold a password, which is one of the things refused.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    let example = "write e.g. \"https://api.multiplay.co.uk\"";
    let mut url =
        Url::parse(text.trim()).map_err(|error| format!("not a URL ({error}); {example}"))?;
    if text.trim().chars().any(char::is_control) {
        return Err(format!("there are control characters in it; {example}"));
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("not an https URL; {example}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "a URL with a user name or a password is not taken; leave them out: credentials have a file or \
             variables of their own"
                .to_owned(),
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("a base URL has neither ?query nor #fragment; leave them out".to_owned());
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(
            "http would send the credentials in clear text; write https, or name this machine: localhost, 127.0.0.1 \
             or [::1]"
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
    fn https_anywhere_and_http_to_this_machine_are_taken() {
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
    fn what_would_send_credentials_in_clear_or_elsewhere_is_refused() {
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
    fn a_password_in_a_url_is_refused_and_not_repeated() {
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
