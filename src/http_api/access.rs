//! Who may send requests: hosts against DNS rebinding, and bearer tokens.
//!
//! A page in a browser can reach a loopback address through a name of its own that resolves to it; its requests carry that
//! name in `Host`. A literal loopback address or `localhost` cannot be rebound.

use std::net::SocketAddr;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};
use ring::hmac;
use ring::rand::SystemRandom;
use secrecy::{ExposeSecret, SecretString};

use super::problem::Problem;
use forgewatch_core::host::{Host, HostPort};

const CHALLENGE: &str = "Bearer realm=\"forgewatch\"";
/// With it a browser prompts for a password.
const PAGE_CHALLENGE: &str = "Basic realm=\"forgewatch\", charset=\"UTF-8\"";
const WRONG_TOKEN: &str = "Bearer realm=\"forgewatch\", error=\"invalid_token\"";

/// Can be replaced while the server runs.
#[derive(Debug)]
pub struct Access {
    hosts: Vec<HostPort>,
    tokens: Tokens,
    /// Whether requests that change nothing need a token too.
    pub(super) protects_reads: bool,
}

/// Hashes of the tokens under a random key: comparing hashes takes the same time however much of a token is right.
#[derive(Debug)]
struct Tokens {
    key: hmac::Key,
    tags: Vec<hmac::Tag>,
}

impl Access {
    /// # Errors
    /// The system gives no entropy.
    pub fn new(
        hosts: Vec<HostPort>,
        tokens: &[SecretString],
        protects_reads: bool,
    ) -> Result<Self, String> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| "no random numbers from the system".to_owned())?;
        let tag = |token: &SecretString| hmac::sign(&key, token.expose_secret().as_bytes());
        let tags = tokens.iter().map(tag).collect();
        Ok(Self {
            hosts,
            tokens: Tokens { key, tags },
            protects_reads,
        })
    }

    /// Checks the only `Host` of a request that arrived at `local`.
    pub(super) fn check_host(&self, headers: &HeaderMap, local: SocketAddr) -> Result<(), Problem> {
        let mut values = headers.get_all(header::HOST).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Problem::bad_request("expected exactly one Host header").closing());
        };
        let host = value.to_str().map_err(|error| error.to_string());
        let host = host.and_then(str::parse::<HostPort>);
        let host = host.map_err(|what| Problem::bad_request(format!("Host: {what}")).closing())?;
        if self.admits(&host, local) {
            return Ok(());
        }
        let what = format!(
            "this listener does not serve the host {host}; use {local} or localhost:{}, or add the host to http.hosts",
            local.port()
        );
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, what).closing())
    }

    fn admits(&self, host: &HostPort, local: SocketAddr) -> bool {
        let is_own_port = host.port.unwrap_or(80) == local.port();
        let is_own_host = match &host.host {
            Host::Name(name) => name == "localhost",
            Host::Address(address) => {
                let address = address.to_canonical();
                address.is_loopback() || address == local.ip().to_canonical()
            }
        };
        let is_listed = |listed: &HostPort| {
            // The default ports of HTTP and HTTPS are not written.
            let default = host.port.is_none() && matches!(listed.port, Some(80 | 443));
            listed.host == host.host
                && (listed.port.is_none() || listed.port == host.port || default)
        };
        (is_own_port && is_own_host) || self.hosts.iter().any(is_listed)
    }

    /// Checks the token of a request that changes nothing. A browser sends it as the password of Basic authentication, with
    /// requests of other sites, too; so a change always needs the other form.
    pub(super) fn check_reader(&self, headers: &HeaderMap, is_page: bool) -> Result<(), Problem> {
        let is_password = single(headers)
            .and_then(basic_password)
            .is_some_and(|token| self.tokens.include(&token));
        if is_password {
            return Ok(());
        }
        self.check_token(headers).map_err(|problem| {
            if is_page {
                let challenge = HeaderValue::from_static(PAGE_CHALLENGE);
                problem.with_header(header::WWW_AUTHENTICATE, challenge)
            } else {
                problem
            }
        })
    }

    pub(super) fn check_token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let unauthorized = |what: &str, challenge| {
            Problem::new(StatusCode::UNAUTHORIZED, what).with_header(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            )
        };
        if self.tokens.tags.is_empty() {
            let what = "this request needs a token, and the daemon has none: set http.token_files";
            return Err(unauthorized(what, CHALLENGE));
        }
        let Some(token) = single(headers).and_then(bearer) else {
            let what = "this request needs the header Authorization: Bearer TOKEN";
            return Err(unauthorized(what, CHALLENGE));
        };
        if self.tokens.include(token) {
            Ok(())
        } else {
            Err(unauthorized("the token is not valid", WRONG_TOKEN))
        }
    }
}

impl Tokens {
    fn include(&self, token: &[u8]) -> bool {
        // Compares with all of them, whichever matches.
        let is_equal = |tag: &hmac::Tag| hmac::verify(&self.key, token, tag.as_ref()).is_ok();
        self.tags
            .iter()
            .fold(false, |found, tag| found | is_equal(tag))
    }
}

/// The only `Authorization` header.
fn single(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

/// The password of an `Authorization` header with any user name.
fn basic_password(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, credentials) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let credentials = BASE64_STANDARD.decode(credentials.trim_ascii()).ok()?;
    let colon = credentials.iter().position(|byte| *byte == b':')?;
    Some(credentials[colon + 1..].to_vec())
}

/// The token of an `Authorization` header; the name of the scheme is in any case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then_some(token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn access(hosts: &[&str], tokens: &[&str]) -> Access {
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let tokens: Vec<SecretString> = tokens.iter().map(|&token| token.into()).collect();
        Access::new(hosts, &tokens, false).unwrap()
    }

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn loopback_names_with_the_own_port_and_listed_hosts_are_served() {
        let access = access(&["build01", "fw.example.net:443", "192.0.2.7:1"], &[]);
        let local = "127.0.0.1:9464".parse().unwrap();
        let status = |values: &[&str]| {
            let result = access.check_host(&headers("host", values), local);
            result.map_or_else(|problem| problem.status.as_u16(), |()| 200)
        };
        for host in [
            "localhost:9464",
            "LOCALHOST.:9464",
            "127.0.0.1:9464",
            "127.9.9.9:9464",
            "[::1]:9464",
            "[::ffff:127.0.0.1]:9464",
            "build01",
            "Build01:1",
            "fw.example.net",
            "fw.example.net:443",
            "192.0.2.7:1",
        ] {
            assert_eq!(status(&[host]), 200, "{host}");
        }
        for host in [
            "localhost",
            "localhost:80",
            "127.0.0.1",
            "127.1:9464",
            "2130706433:9464",
            "evil.example:9464",
            "localhost.evil.example:9464",
            "x.localhost:9464",
            "192.0.2.7",
            "192.0.2.8:9464",
            "fw.example.net:444",
            "build01.evil.example",
        ] {
            assert_eq!(status(&[host]), 421, "{host}");
        }
        for hosts in [
            &[][..],
            &[""],
            &["localhost:9464", "localhost:9464"],
            &["localhost:9464,evil.example"],
            &["user@localhost:9464"],
            &["localhost:"],
            &["localhost:9464/"],
        ] {
            assert_eq!(status(hosts), 400, "{hosts:?}");
        }
    }

    #[test]
    fn the_address_that_a_request_arrived_at_is_served() {
        let access = access(&[], &[]);
        let host = headers("host", &["192.0.2.1:9464"]);
        let at = |local: &str| access.check_host(&host, local.parse().unwrap()).is_ok();
        assert!(at("192.0.2.1:9464"));
        assert!(at("[::ffff:192.0.2.1]:9464"));
        assert!(!at("192.0.2.2:9464"));
    }

    #[test]
    fn one_of_the_tokens_is_needed_in_one_header() {
        let other = "f".repeat(40);
        let access = access(&[], &[TOKEN, &other]);
        let check = |values: &[&str]| access.check_token(&headers("authorization", values));
        for token in [TOKEN, &other] {
            for scheme in ["Bearer", "bearer"] {
                assert!(check(&[&format!("{scheme} {token}")]).is_ok());
            }
        }
        for values in [
            &[][..],
            &[""],
            &["Bearer"],
            &["Bearer "],
            &[TOKEN],
            &[&format!("Basic {TOKEN}")],
            &[&format!("Bearer {}", &TOKEN[1..])],
            &[&format!("Bearer {TOKEN}0")],
            &[&format!("Bearer {TOKEN} {TOKEN}")],
            &[&format!("Bearer {TOKEN}"), &format!("Bearer {TOKEN}")],
        ] {
            let problem = check(values).unwrap_err();
            let (name, challenge) = problem.header.unwrap();
            assert_eq!(
                (problem.status.as_u16(), name.as_str()),
                (401, "www-authenticate")
            );
            assert!(
                challenge.to_str().unwrap().starts_with("Bearer "),
                "{values:?}"
            );
        }
    }

    #[test]
    fn a_browser_reads_with_the_token_as_password_and_changes_nothing() {
        let access = access(&[], &[TOKEN]);
        let header = |password: &str| {
            let value = BASE64_STANDARD.encode(format!("ann:{password}"));
            headers("authorization", &[&format!("Basic {value}")])
        };
        assert!(access.check_reader(&header(TOKEN), true).is_ok());
        assert!(access.check_token(&header(TOKEN)).is_err());
        for (is_page, scheme) in [(true, "Basic "), (false, "Bearer ")] {
            let problem = access.check_reader(&header("wrong"), is_page).unwrap_err();
            let (_, challenge) = problem.header.unwrap();
            assert!(challenge.to_str().unwrap().starts_with(scheme));
        }
        let bearer = headers("authorization", &[&format!("Bearer {TOKEN}")]);
        assert!(access.check_reader(&bearer, true).is_ok());
    }

    #[test]
    fn without_tokens_no_token_is_valid() {
        let access = access(&[], &[]);
        let headers = headers("authorization", &["Bearer "]);
        assert!(access.check_token(&headers).is_err());
    }
}
