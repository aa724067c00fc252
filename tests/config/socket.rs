//! Where clients look for the daemon's socket.

use std::path::Path;

use forgewatch::config::{self, CommandLine};

use crate::place::Place;

/// Where a client looks and why, with the place's folder as `.`.
fn found(place: &Place, flag: Option<&str>, config: Option<&str>) -> String {
    let config = config.map(|name| place.path(name));
    let socket = config::find_socket(flag.map(Path::new), config.as_deref(), &place.env());
    let folder = place.folder.path().to_str().unwrap();
    socket.to_string().replace(folder, ".")
}

const OF_FILE: &str = "[control]\nsocket = 'sub/file.sock'\n";

#[test]
fn the_flag_goes_before_the_variable_the_variable_before_the_file_and_the_file_before_the_default()
{
    let place = Place::new().file("f.toml", OF_FILE);
    assert_eq!(
        found(&place, None, None),
        "/run/forgewatch/control.sock (the default)"
    );
    let of_file = found(&place, None, Some("f.toml"));
    assert_eq!(of_file, "./sub/file.sock (control.socket of ./f.toml)");

    let place = place.var("FORGEWATCH_SOCKET", "v.sock");
    let of_variable = found(&place, None, Some("f.toml"));
    assert_eq!(of_variable, "v.sock (from FORGEWATCH_SOCKET)");
    let of_flag = found(&place, Some("flag.sock"), Some("f.toml"));
    assert_eq!(of_flag, "flag.sock (from --socket)");
}

#[test]
fn an_empty_variable_has_no_say() {
    let place = Place::new()
        .file("f.toml", OF_FILE)
        .var("FORGEWATCH_SOCKET", "");
    let of_file = found(&place, None, Some("f.toml"));
    assert_eq!(of_file, "./sub/file.sock (control.socket of ./f.toml)");
}

#[test]
fn the_file_is_looked_for_where_the_daemon_looks_for_it() {
    let place = Place::new()
        .file(
            "xdg/forgewatch/forgewatch.toml",
            "[control]\nsocket = '/x.sock'\n",
        )
        .file("named.toml", OF_FILE);
    let at = |name| place.path(name).to_str().unwrap().to_owned();
    let (xdg, named) = (at("xdg"), at("named.toml"));
    let place = place.var("XDG_CONFIG_HOME", xdg);
    assert_eq!(
        found(&place, None, None),
        "/x.sock (control.socket of ./xdg/forgewatch/forgewatch.toml)"
    );
    let place = place.var("FORGEWATCH_CONFIG", named);
    assert_eq!(
        found(&place, None, None),
        "./sub/file.sock (control.socket of ./named.toml)"
    );
}

#[test]
fn a_client_finds_the_socket_in_a_file_that_is_wrong_everywhere_else() {
    let place = Place::new()
        .file(
            "keys.toml",
            format!("api = 1\n[[state]]\n[nonsense]\n{OF_FILE}group = 5\n"),
        )
        .file(
            "broken.toml",
            format!("[api]\ntimeout = 5s\n{OF_FILE}[schedule\n"),
        );
    for name in ["keys.toml", "broken.toml"] {
        assert_eq!(
            found(&place, None, Some(name)),
            format!("./sub/file.sock (control.socket of ./{name})")
        );
    }
}

#[test]
fn a_client_makes_out_a_socket_whose_quotes_are_missing() {
    let place = Place::new()
        .file("unquoted.toml", "[control]\nsocket = /x.sock\n")
        .file(
            "unclosed.toml",
            "[control]\nsocket = \"/x.sock\ngroup = \"x\"\n",
        );
    for name in ["unquoted.toml", "unclosed.toml"] {
        assert_eq!(
            found(&place, None, Some(name)),
            format!("/x.sock (control.socket of ./{name})")
        );
    }
}

#[test]
fn a_file_that_tells_no_socket_is_passed_over_and_it_is_said_why() {
    let place = Place::new()
        .file("silent.toml", "[control]\ngroup = 'x'\n")
        .file("broken.toml", "[control\n")
        .file("number.toml", "[control]\nsocket = 5\n")
        .file("empty.toml", "[control]\nsocket = ''\n")
        .file_with_mode("public.toml", OF_FILE, 0o666);
    let said: Vec<String> = [
        "silent.toml",
        "broken.toml",
        "number.toml",
        "empty.toml",
        "public.toml",
        "none.toml",
    ]
    .into_iter()
    .map(|name| found(&place, None, Some(name)))
    .collect();
    insta::assert_snapshot!("passed_over", said.join("\n"));
}

#[test]
fn a_client_looks_where_the_daemon_listens() {
    let api = "[api]\naccount_service_id = 1\n";
    let quiet = Place::new().file("f.toml", api);
    let of_file = Place::new().file("f.toml", format!("{api}{OF_FILE}"));
    let of_both = Place::new()
        .file("f.toml", format!("{api}{OF_FILE}"))
        .var("FORGEWATCH_SOCKET", "v.sock");
    for place in [quiet, of_file, of_both] {
        let given = CommandLine {
            config: Some(place.path("f.toml")),
            ..CommandLine::default()
        };
        let control = place.load_daemon(&given).unwrap().settings.control;
        let found = config::find_socket(None, given.config.as_deref(), &place.env());
        assert_eq!(found.path, control.socket);
    }
}
