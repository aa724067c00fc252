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

/// A home of an ordinary user, in which these files exist.
fn home(files: &[&str]) -> ConfigFixture {
    let mut fixture = ConfigFixture::new();
    for name in files {
        fixture = fixture.file(name, "");
    }
    let at = |name| fixture.path(name).to_str().unwrap().to_owned();
    let (home, runtime) = (at("home"), at("run"));
    fixture.var("HOME", home).var("XDG_RUNTIME_DIR", runtime)
}

const OF_SESSION: &str = "run/forgewatch/control.sock";
const NEXT_TO_STATE: &str = "home/.local/state/forgewatch/control.sock";

#[test]
fn a_client_of_an_ordinary_user_finds_the_users_own_daemon_first() {
    for (files, expected) in [
        (&[][..], "/run/forgewatch/control.sock"),
        (&[OF_SESSION], OF_SESSION),
        (&[NEXT_TO_STATE], NEXT_TO_STATE),
        (&[NEXT_TO_STATE, OF_SESSION], OF_SESSION),
        // A daemon that restarts has left its folder.
        (&["run/forgewatch/x"], OF_SESSION),
        (&["home/.local/state/forgewatch/state.db"], NEXT_TO_STATE),
        (&["run/forgewatch/x", NEXT_TO_STATE], NEXT_TO_STATE),
    ] {
        let fixture = home(files);
        let of = |env| config::find_socket(None, None, &env).path;
        let found = of(fixture.env().of_ordinary_user());
        assert_eq!(found, fixture.path(expected), "{files:?}");
        let of_root = of(fixture.env());
        assert_eq!(of_root, Path::new("/run/forgewatch/control.sock"));
    }
}

#[test]
fn a_daemon_uses_the_folders_of_its_user_or_of_its_service() {
    let paths = |fixture: &ConfigFixture, is_ordinary: bool| {
        let command_line = crate::fixture::with_flags(&[]);
        let env = fixture.env();
        let env = if is_ordinary {
            env.of_ordinary_user()
        } else {
            env
        };
        let settings = config::load_daemon(&command_line, &env).unwrap().settings;
        let (state, control) = (settings.state.path, settings.control);
        let folder = fixture.folder.path().to_str().unwrap();
        let text = format!(
            "{} {} {:?}",
            state.display(),
            control.socket.display(),
            control.group
        );
        text.replace(folder, ".")
    };
    let system =
        "/var/lib/forgewatch/state.db /run/forgewatch/control.sock Some(\"forgewatch-ops\")";
    let session = home(&[]);
    assert_eq!(paths(&session, false), system);
    let state = "./home/.local/state/forgewatch/state.db";
    assert_eq!(
        paths(&session, true),
        format!("{state} ./{OF_SESSION} None")
    );

    let xdg = session.path("xdg").to_str().unwrap().to_owned();
    let elsewhere = session.var("XDG_STATE_HOME", xdg);
    let expected = format!("./xdg/forgewatch/state.db ./{OF_SESSION} None");
    assert_eq!(paths(&elsewhere, true), expected);

    let home_alone = |fixture: ConfigFixture| {
        let path = fixture.path("home").to_str().unwrap().to_owned();
        fixture.var("HOME", path)
    };
    let no_session = home_alone(ConfigFixture::new()).var("XDG_STATE_HOME", "relative");
    let expected = format!("{state} ./{NEXT_TO_STATE} None");
    assert_eq!(paths(&no_session, true), expected);
    assert_eq!(paths(&ConfigFixture::new(), true), system, "without a home");

    let service = home(&[])
        .var("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")
        .var("RUNTIME_DIRECTORY", "/run/a");
    let expected = "/var/lib/a/state.db /run/a/control.sock Some(\"forgewatch-ops\")";
    assert_eq!(paths(&service, true), expected);
    assert_eq!(paths(&service, false), expected);
}
