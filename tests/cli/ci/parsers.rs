//! Parsers of the lines that CI systems act on, written from their documentation.

use std::collections::BTreeMap;

/// A command that a system finds in its log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) name: String,
    pub(crate) properties: BTreeMap<String, String>,
    /// The text behind the command.
    pub(crate) data: String,
}

pub(crate) type Parser = fn(&str) -> Vec<Command>;

pub(crate) const SYSTEMS: [(&str, Parser); 4] = [
    ("github", github),
    ("gitlab", gitlab),
    ("teamcity", teamcity),
    ("azure", azure),
];

/// The texts before and after a separator, which must be there.
fn split<'a>(text: &'a str, separator: &str) -> (&'a str, &'a str) {
    let found = text.split_once(separator);
    found.unwrap_or_else(|| panic!("no {separator:?} in {text:?}"))
}

/// `name=value` pairs.
fn properties(
    text: &str,
    separator: char,
    decode: impl Fn(&str) -> String,
) -> BTreeMap<String, String> {
    let pairs = text.split(separator).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = split(pair, "=");
            (name.trim().to_owned(), decode(value))
        })
        .collect()
}

fn decoded(text: &str, escapes: &[(&str, &str)]) -> String {
    escapes
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// `::name key=value,key=value::data` at the start of a line, after blanks; and `##[name]data` anywhere.
pub(crate) fn github(log: &str) -> Vec<Command> {
    let data = |text: &str| decoded(text, &[("%0D", "\r"), ("%0A", "\n"), ("%25", "%")]);
    let property = |text: &str| data(&decoded(text, &[("%3A", ":"), ("%2C", ",")]));
    let mut found = Vec::new();
    for line in log.lines() {
        if let Some(command) = line.trim_start().strip_prefix("::") {
            let (head, text) = split(command, "::");
            let (name, rest) = head.split_once(' ').unwrap_or((head, ""));
            found.push(Command {
                name: name.to_owned(),
                properties: properties(rest, ',', property),
                data: data(text),
            });
        } else if let Some((_, command)) = line.split_once("##[") {
            found.push(bracketed(command));
        }
    }
    found
}

/// `section_start:TIME:NAME` and `section_end:TIME:NAME`, before a carriage return and "erase line"; and red lines, which
/// are no commands.
pub(crate) fn gitlab(log: &str) -> Vec<Command> {
    let mut found = Vec::new();
    for line in log.split('\n') {
        for (at, _) in line.match_indices("section_") {
            let Some((head, text)) = line[at..].split_once("\r\x1b[0K") else {
                continue;
            };
            let parts: Vec<&str> = head.split(':').collect();
            if let [name, time, section] = parts[..]
                && time.parse::<u64>().is_ok()
            {
                found.push(Command {
                    name: name.to_owned(),
                    properties: [("name".to_owned(), section.to_owned())].into(),
                    data: text.to_owned(),
                });
            }
        }
        if let Some(text) = line.strip_prefix("\x1b[31;1mERROR: ") {
            let text = text.strip_suffix("\x1b[0;m").unwrap();
            let (title, message) = split(text, ": ");
            found.push(Command {
                name: "error".to_owned(),
                properties: [("title".to_owned(), title.to_owned())].into(),
                data: message.to_owned(),
            });
        }
    }
    found
}

/// `##teamcity[name 'value']` or `##teamcity[name key='value' key='value']`, anywhere in a line.
pub(crate) fn teamcity(log: &str) -> Vec<Command> {
    let messages = log
        .split('\n')
        .flat_map(|line| line.split("##teamcity[").skip(1));
    messages.map(service_message).collect()
}

fn service_message(text: &str) -> Command {
    let (name, mut rest) = split(text, " ");
    let mut properties = BTreeMap::new();
    let mut data = String::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(']') {
            assert_eq!(after, "", "after the message: {text:?}");
            break;
        }
        let (key, value) = split(rest, "'");
        let (value, after) = teamcity_value(value);
        rest = after;
        match key.trim_end_matches('=') {
            "" => data = value,
            key => drop(properties.insert(key.to_owned(), value)),
        }
    }
    Command {
        name: name.to_owned(),
        properties,
        data,
    }
}

/// The value up to its closing apostrophe, and the rest.
fn teamcity_value(text: &str) -> (String, &str) {
    let mut units = Vec::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return (String::from_utf16(&units).unwrap(), &text[at + 1..]),
            '[' | ']' => panic!("a bare bracket: {text:?}"),
            '|' => match chars.next().unwrap().1 {
                'n' => units.push(u16::from(b'\n')),
                'r' => units.push(u16::from(b'\r')),
                '0' => {
                    let digits: String = chars.by_ref().skip(1).take(4).map(|(_, c)| c).collect();
                    units.push(u16::from_str_radix(&digits, 16).unwrap());
                }
                escaped => {
                    assert!("|'[]".contains(escaped), "{text:?}");
                    units.push(u16::try_from(u32::from(escaped)).unwrap());
                }
            },
            _ => units.extend(c.encode_utf16(&mut [0; 2]).iter()),
        }
    }
    panic!("no closing apostrophe: {text:?}");
}

/// `##vso[area.action key=value;]data` anywhere in a line, and `##[name]data` at its start.
pub(crate) fn azure(log: &str) -> Vec<Command> {
    let data = |text: &str| decoded(text, &[("%0D", "\r"), ("%0A", "\n"), ("%AZP25", "%")]);
    let property = |text: &str| data(&decoded(text, &[("%3B", ";"), ("%5D", "]")]));
    let mut found = Vec::new();
    for line in log.lines() {
        if let Some((_, command)) = line.split_once("##vso[") {
            let (head, text) = split(command, "]");
            let (name, rest) = head.split_once(' ').unwrap_or((head, ""));
            found.push(Command {
                name: name.to_owned(),
                properties: properties(rest, ';', property),
                data: data(text),
            });
        } else if let Some(command) = line.strip_prefix("##[") {
            found.push(bracketed(command));
        }
    }
    found
}

/// A command of the form `##[name]text`, after its `##[`.
fn bracketed(command: &str) -> Command {
    let (name, text) = split(command, "]");
    Command {
        name: name.to_owned(),
        properties: BTreeMap::new(),
        data: text.to_owned(),
    }
}
