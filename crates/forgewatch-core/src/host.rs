//! A host with an optional port, as in the `Host` header of HTTP.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::user_input::quoted;

/// The longest name, by RFC 1035.
const MAX_NAME: usize = 253;

/// A host with an optional port. Names are compared in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The name or address.
    pub host: Host,
    /// None if it is not written.
    pub port: Option<u16>,
}

/// A name or an address. Only the usual form of an IPv4 address is one: `127.1` is a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// In lower case, without a final dot.
    Name(String),
    /// A literal address; IPv6 in brackets.
    Address(IpAddr),
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || {
            let text = quoted(text);
            format!(
                "invalid host {text}: use a name or an address such as build01, build01:8443 or [::1]:9464"
            )
        };
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (host, port) = if let Some((address, port)) = bracketed {
            let address: Ipv6Addr = address.parse().map_err(|_| invalid())?;
            let port = match port {
                "" => None,
                port => Some(port.strip_prefix(':').ok_or_else(invalid)?),
            };
            (Host::Address(address.into()), port)
        } else {
            let (name, port) = match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            };
            let host = match name.parse() {
                Ok(address) => Host::Address(address),
                Err(_) => Host::Name(host_name(name).ok_or_else(invalid)?),
            };
            (host, port)
        };
        let port = port.map(|port| parse_port(port).ok_or_else(invalid));
        let port = port.transpose()?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => f.write_str(name)?,
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}")?,
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn host_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let has_empty_part = name.split('.').any(str::is_empty);
    let fits = name.len() <= MAX_NAME && !has_empty_part && name.chars().all(is_valid);
    fits.then(|| name.to_ascii_lowercase())
}

/// Without sign, and above 0.
fn parse_port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_read_with_and_without_a_port() {
        for (text, shown) in [
            ("build01", "build01"),
            ("Build01.Example.NET.:9464", "build01.example.net:9464"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]", "[::1]"),
            ("[0:0::1]:9464", "[::1]:9464"),
            ("127.1", "127.1"),
        ] {
            let read: HostPort = text.parse().unwrap();
            assert_eq!(read.to_string(), shown);
        }
        let odd: HostPort = "127.1".parse().unwrap();
        assert_eq!(odd.host, Host::Name("127.1".to_owned()));
    }

    #[test]
    fn anything_else_is_rejected() {
        for text in [
            "",
            ":80",
            "a:",
            "a:0",
            "a:+80",
            "a:65536",
            "a:80:80",
            "::1",
            "[::1",
            "[::1]80",
            "[localhost]",
            "a b",
            "a/b",
            "user@a",
            "http://a",
            "*.example.net",
            "a..b",
            ".",
            "ä",
            "a,b",
        ] {
            let error = text.parse::<HostPort>().unwrap_err();
            assert!(error.starts_with("invalid host"), "{text}");
        }
        assert!("a".repeat(254).parse::<HostPort>().is_err());
    }
}
