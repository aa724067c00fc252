//! How clients find the daemon's socket.

use std::path::Path;

use forgewatch::config::{self, CommandLine};

use crate::fixture::ConfigFixture;

/// The displayed location, with the fixture's directory as `.`.
fn found(fixture: &ConfigFixture, flag: Option<&str>, config: Option<&str>) -> String {
    let config = config.map(|name| fixture.path(name));
    let socket = config::find_socket(flag.map(Path::new), config.as_deref(), &fixture.env());
    let folder = fixture.folder.path().to_str().unwrap();
    socket.to_string().replace(folder, ".")
}

const WITH_SOCKET: &str = "[control]\nsocket = 'sub/file.sock'\n";

#[test]
fn the_flag_overrides_the_variable_which_overrides_the_file_which_overrides_the_default() {
    let fixture = ConfigFixture::new().file("f.toml", WITH_SOCKET);
    assert_eq!(
        found(&fixture, None, None),
        "/run/forgewatch/control.sock (the default)"
    );
    let of_file = found(&fixture, None, Some("f.toml"));
    assert_eq!(of_file, "./sub/file.sock (control.socket of ./f.toml)");

    let fixture = fixture.var("FORGEWATCH_SOCKET", "v.sock");
    let of_variable = found(&fixture, None, Some("f.toml"));
    assert_eq!(of_variable, "v.sock (from FORGEWATCH_SOCKET)");
    let of_flag = found(&fixture, Some("flag.sock"), Some("f.toml"));
    assert_eq!(of_flag, "flag.sock (from --socket)");
}

#[test]
fn an_empty_variable_is_ignored() {
    let fixture = ConfigFixture::new()
        .file("f.toml", WITH_SOCKET)
        .var("FORGEWATCH_SOCKET", "");
    let of_file = found(&fixture, None, Some("f.toml"));
    assert_eq!(of_file, "./sub/file.sock (control.socket of ./f.toml)");
}

#[test]
fn clients_search_for_the_file_where_the_daemon_does() {
    let fixture = ConfigFixture::new()
        .file(
            "xdg/forgewatch/forgewatch.toml",
            "[control]\nsocket = '/x.sock'\n",
        )
        .file("named.toml", WITH_SOCKET);
    let at = |name| fixture.path(name).to_str().unwrap().to_owned();
    let (xdg, named) = (at("xdg"), at("named.toml"));
    let fixture = fixture.var("XDG_CONFIG_HOME", xdg);
    assert_eq!(
        found(&fixture, None, None),
        "/x.sock (control.socket of ./xdg/forgewatch/forgewatch.toml)"
    );
    let fixture = fixture.var("FORGEWATCH_CONFIG", named);
    assert_eq!(
        found(&fixture, None, None),
        "./sub/file.sock (control.socket of ./named.toml)"
    );
}

#[test]
fn a_client_finds_the_socket_in_a_file_with_other_errors() {
    let fixture = ConfigFixture::new()
        .file(
            "keys.toml",
            format!("api = 1\n[[state]]\n[nonsense]\n{WITH_SOCKET}group = 5\n"),
        )
        .file(
            "broken.toml",
            format!("[api]\ntimeout = 5s\n{WITH_SOCKET}[schedule\n"),
        );
    for name in ["keys.toml", "broken.toml"] {
        assert_eq!(
            found(&fixture, None, Some(name)),
            format!("./sub/file.sock (control.socket of ./{name})")
        );
    }
}

#[test]
fn a_client_finds_a_socket_with_missing_quotes() {
    let fixture = ConfigFixture::new()
        .file("unquoted.toml", "[control]\nsocket = /x.sock\n")
        .file(
            "unclosed.toml",
            "[control]\nsocket = \"/x.sock\ngroup = \"x\"\n",
        );
    for name in ["unquoted.toml", "unclosed.toml"] {
        assert_eq!(
            found(&fixture, None, Some(name)),
            format!("/x.sock (control.socket of ./{name})")
        );
    }
}

#[test]
fn a_file_without_a_usable_socket_is_ignored_with_the_reason() {
    let fixture = ConfigFixture::new()
        .file("silent.toml", "[control]\ngroup = 'x'\n")
        .file("broken.toml", "[control\n")
        .file("number.toml", "[control]\nsocket = 5\n")
        .file("empty.toml", "[control]\nsocket = ''\n")
        .file_with_mode("public.toml", WITH_SOCKET, 0o666);
    let locations: Vec<String> = [
        "silent.toml",
        "broken.toml",
        "number.toml",
        "empty.toml",
        "public.toml",
        "none.toml",
    ]
    .into_iter()
    .map(|name| found(&fixture, None, Some(name)))
    .collect();
    insta::assert_snapshot!("ignored_file", locations.join("\n"));
}

#[test]
fn a_client_uses_the_path_on_which_the_daemon_listens() {
    let api = "[api]\naccount_service_id = 1\n";
    let quiet = ConfigFixture::new().file("f.toml", api);
    let of_file = ConfigFixture::new().file("f.toml", format!("{api}{WITH_SOCKET}"));
    let of_both = ConfigFixture::new()
        .file("f.toml", format!("{api}{WITH_SOCKET}"))
        .var("FORGEWATCH_SOCKET", "v.sock");
    for fixture in [quiet, of_file, of_both] {
        let command_line = CommandLine {
            config: Some(fixture.path("f.toml")),
            ..CommandLine::default()
        };
        let control = fixture.load_daemon(&command_line).unwrap().settings.control;
        let found = config::find_socket(None, command_line.config.as_deref(), &fixture.env());
        assert_eq!(found.path, control.socket);
    }
}
