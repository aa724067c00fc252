//! The proxy that the environment names for a URL: `HTTPS_PROXY`, else `ALL_PROXY`, unless `NO_PROXY` has the host.

use std::ffi::OsStr;
use std::fmt;
use std::pin::pin;
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use url::Url;

use super::is_loopback;

/// The first that is set and not blank. There is no `HTTP_PROXY`: plain HTTP goes to loopback addresses only.
const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// For the proxy's status line.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_STATUS_LINE: u64 = 1024;
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Displayed, it is the proxy's address without user name and password, and the variable that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    variable: &'static str,
    /// Scheme, host and port.
    pub(super) uri: Uri,
    /// `Proxy-Authorization`.
    pub(super) auth: Option<HeaderValue>,
}

/// A variable that names no usable proxy. The value may contain a password, so no error quotes it.
#[derive(Debug, PartialEq, Eq)]
pub struct ProxyVariableError {
    pub variable: &'static str,
    pub what: String,
}

impl Proxy {
    /// The proxy for requests to `url`; `variable` looks up an environment variable.
    pub fn find<'a>(
        url: &Url,
        variable: impl Fn(&str) -> Option<&'a OsStr>,
    ) -> Result<Option<Self>, ProxyVariableError> {
        let set = |name: &&str| variable(name).filter(|value| !is_blank(value));
        let first_set = |names: &[&'static str]| {
            let mut found = names.iter().filter_map(|name| Some((*name, set(name)?)));
            found.next()
        };
        let exceptions = first_set(&EXCEPTIONS).map(|(_, value)| value.to_string_lossy());
        let Some((variable, value)) = first_set(&VARIABLES) else {
            return Ok(None);
        };
        if is_loopback(url) || exceptions.is_some_and(|list| is_exception(url, &list)) {
            return Ok(None);
        }
        let invalid = |what| ProxyVariableError { variable, what };
        let text = value
            .to_str()
            .ok_or_else(|| invalid("not valid UTF-8".to_owned()))?;
        let proxy = parse(text).map_err(invalid)?;
        // It also decodes user name and password.
        let found = target(url).and_then(|target| {
            let proxies = Matcher::builder().all(String::from(proxy)).build();
            proxies.intercept(&target)
        });
        let found = found.ok_or_else(|| invalid("invalid proxy address".to_owned()))?;
        Ok(Some(Self {
            variable,
            uri: found.uri().clone(),
            auth: found.basic_auth().cloned(),
        }))
    }
}

impl Proxy {
    pub(super) fn to_reqwest(&self) -> reqwest::Result<reqwest::Proxy> {
        let proxy = reqwest::Proxy::all(self.uri.to_string())?;
        Ok(match &self.auth {
            Some(auth) => proxy.custom_http_auth(auth.clone()),
            None => proxy,
        })
    }

    /// The proxy's response to a CONNECT to `server`; None without one, or if the proxy itself speaks TLS.
    pub(super) async fn tunnel_status(&self, server: &Url) -> Option<StatusCode> {
        let status = async {
            let (host, port) = (self.uri.host()?, self.uri.port_u16().unwrap_or(80));
            if self.uri.scheme_str() != Some("http") {
                return None;
            }
            let mut proxy = TcpStream::connect((host.trim_matches(['[', ']']), port))
                .await
                .ok()?;
            let target = format!("{}:{}", server.host_str()?, server.port_or_known_default()?);
            let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
            if let Some(auth) = self.auth.as_ref().and_then(|auth| auth.to_str().ok()) {
                request = format!("{request}Proxy-Authorization: {auth}\r\n");
            }
            proxy.write_all((request + "\r\n").as_bytes()).await.ok()?;
            let mut line = String::new();
            let head = BufReader::new(proxy.take(MAX_STATUS_LINE));
            pin!(head).read_line(&mut line).await.ok()?;
            let code = line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
            code.trim_end().parse().ok()
        };
        tokio::time::timeout(STATUS_TIMEOUT, status).await.ok()?
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self.uri.authority().map_or("", |a| a.as_str());
        write!(f, "{scheme}://{authority} ({})", self.variable)
    }
}

fn is_blank(value: &OsStr) -> bool {
    value.to_str().is_some_and(|text| trimmed(text).is_empty())
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

/// A proxy's URL, `http` if it has no scheme.
fn parse(text: &str) -> Result<Url, String> {
    const EXPECTED: &str = "use one such as http://proxy.example.net:3128, with '%23' for '#', '%2F' for '/' and '%3F' \
                            for '?' in a user name or password";
    let text = trimmed(text);
    // The URL parser would remove some of them.
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!(
            "the proxy address contains white space; {EXPECTED}"
        ));
    }
    let url = if text.contains("://") {
        Url::parse(text)
    } else {
        Url::parse(&format!("http://{text}"))
    };
    let url = url.map_err(|error| format!("invalid proxy address: {error}; {EXPECTED}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        let what =
            "unsupported kind of proxy: use one whose address begins with http:// or https://";
        return Err(what.to_owned());
    }
    // An address has nothing after the port, but an unencoded password looks as if it had.
    let has_more = url.path() != "/" || url.query().is_some() || url.fragment().is_some();
    if has_more || url.port() == Some(0) {
        return Err(format!("invalid proxy address; {EXPECTED}"));
    }
    Ok(url)
}

/// Whether the list of `NO_PROXY` has the URL's host. Besides curl's syntax, entries may have a port or begin with `*.`,
/// as other programs accept them.
fn is_exception(url: &Url, list: &str) -> bool {
    let separator = |c: char| c == ',' || c == ';' || c.is_whitespace() || c == '\u{feff}';
    let hosts: Vec<&str> = list
        .split(separator)
        .filter_map(|entry| {
            let host = match entry.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                    let port = port.parse().ok();
                    (port.is_none() || port == url.port_or_known_default()).then_some(host)?
                }
                _ => entry,
            };
            let host = host
                .strip_prefix('*')
                .filter(|rest| !rest.is_empty())
                .unwrap_or(host);
            Some(host.trim_start_matches('[').trim_end_matches(']'))
        })
        .collect();
    let all = Matcher::builder().all("http://proxy").no(hosts.join(","));
    target(url).is_some_and(|target| all.build().intercept(&target).is_none())
}

fn target(url: &Url) -> Option<Uri> {
    url.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(variables: &[(&str, &str)]) -> Result<Option<Proxy>, ProxyVariableError> {
        let url = Url::parse("https://api.example.net:8443/x").unwrap();
        Proxy::find(&url, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsStr::new(*value))
        })
    }

    fn shown(variables: &[(&str, &str)]) -> Option<String> {
        find(variables).unwrap().map(|proxy| proxy.to_string())
    }

    #[test]
    fn the_first_variable_that_is_not_blank_names_the_proxy() {
        let all = [
            ("HTTPS_PROXY", " "),
            ("https_proxy", "http://lower:1"),
            ("ALL_PROXY", "http://all:1"),
            ("all_proxy", "http://all:2"),
            ("HTTP_PROXY", "http://other:1"),
        ];
        assert_eq!(shown(&all).as_deref(), Some("http://lower:1 (https_proxy)"));
        assert_eq!(
            shown(&all[2..]).as_deref(),
            Some("http://all:1 (ALL_PROXY)")
        );
        assert_eq!(
            shown(&all[3..]).as_deref(),
            Some("http://all:2 (all_proxy)")
        );
        assert_eq!(shown(&all[4..]), None);
    }

    #[test]
    fn an_address_is_trimmed_and_its_password_is_decoded_and_never_shown() {
        for text in [
            "http://p.example:3128",
            " http://p.example:3128\r\n",
            "\u{feff}http://p.example:3128/",
            "p.example:3128",
            "HTTP://P.example:3128",
            "http://user:canary%23%2F%3F%40@p.example:3128",
            "user:canary@p.example:3128",
        ] {
            let proxy = find(&[("HTTPS_PROXY", text)]).unwrap().unwrap();
            assert_eq!(
                proxy.to_string(),
                "http://p.example:3128 (HTTPS_PROXY)",
                "{text:?}"
            );
            assert_eq!(proxy.auth.is_some(), text.contains("canary"));
            assert!(!format!("{proxy:?}").contains("canary"));
        }
        let proxy = find(&[("HTTPS_PROXY", "http://user:a%23%2F%3F%40b@p:1")])
            .unwrap()
            .unwrap();
        assert_eq!(proxy.auth.unwrap(), "Basic dXNlcjphIy8/QGI=");
    }

    #[test]
    fn an_unusable_address_is_an_error_that_names_the_variable_only() {
        for text in [
            "'http://canary:3128'",
            "\"http://canary:3128\"",
            "http://user:can#ary@p:3128",
            "http://user:can/ary@p:3128",
            "http://user:can?ary@p:3128",
            "http://user:1/canary@p:3128",
            "http://user:1#canary@p:3128",
            "http://user:1?canary@p:3128",
            "http://p:3128/canary.pac",
            "ftp://canary:21",
            "socks5://canary:1080",
            "socks5h://canary:1080",
            "http://canary:99999",
            "http://canary:0",
            "http://canary:x",
            "http://canary 2:3128",
            "http://can\tary:3128",
            "http://",
            "http:/canary:3128",
            "://canary",
            "canary://",
        ] {
            let error = find(&[("https_proxy", text)]).unwrap_err();
            assert_eq!(error.variable, "https_proxy");
            assert!(!error.what.contains("canary"), "{error:?}");
        }
    }

    #[test]
    fn no_proxy_lists_hosts_domains_and_ports() {
        for (list, applies) in [
            ("api.example.net", false),
            ("other, API.example.net ", false),
            ("other api.example.net", false),
            ("example.net", false),
            (".example.net", false),
            ("*.example.net", false),
            ("*", false),
            ("api.example.net:8443", false),
            ("api.example.net:443", true),
            ("ample.net", true),
            ("other", true),
            (" ", true),
        ] {
            let variables = [("ALL_PROXY", "http://p:1"), ("no_proxy", list)];
            assert_eq!(find(&variables).unwrap().is_some(), applies, "{list:?}");
        }
        let url = |text: &str| Url::parse(text).unwrap();
        for (address, list) in [
            ("https://10.1.2.3", "10.0.0.0/8"),
            ("https://10.1.2.3", "10.1.2.3:443"),
            ("https://[fd00::1]", "fd00::1"),
            ("https://[fd00::1]", "[fd00::1]:443"),
            ("https://[fd00::1]", "fd00::/8"),
        ] {
            assert!(is_exception(&url(address), list), "{list}");
        }
        assert!(!is_exception(&url("https://11.1.2.3"), "10.0.0.0/8"));
    }

    #[test]
    fn a_loopback_address_has_no_proxy() {
        let url = Url::parse("https://localhost:1").unwrap();
        let proxy = Proxy::find(&url, |_| Some(OsStr::new("nonsense://")));
        assert_eq!(proxy, Ok(None));
    }
}
