//! The server's clock, its `Date` header, its speed and its ETAs.

use std::io::ErrorKind;
use std::time::Duration;

use forgewatch_sim::{Script, Server};

use crate::client::RawClient;
use crate::start;

#[test]
fn the_same_seed_gives_the_same_etas_and_another_seed_others() {
    let eta = |seed: u32| {
        let server = start(&format!(
            "seed = {seed}\n[[jobs]]\njob = \"diff/1\"\nduration = \"10h\"\neta = \"fixed\"\neta_rounding = \"1s\"\n"
        ));
        let value = RawClient::new(&server).status("diff/1").json();
        value["jobeta"].as_i64().unwrap() - value["jobcreated"].as_i64().unwrap()
    };
    let (first, again, other) = (eta(1), eta(1), eta(2));
    assert!((first - again).abs() <= 1, "{first} {again}");
    assert!((first - other).abs() > 60, "{first} {other}");
}

#[test]
fn speed_shortens_jobs_and_keeps_etas_right() {
    let script = Script::parse("[[jobs]]\njob = \"diff/1\"\nduration = \"1h\"\n").unwrap();
    let server = Server::start_with(script, "127.0.0.1:0".parse().unwrap(), 60.0).unwrap();
    let value = RawClient::new(&server).status("diff/1").json();
    let left = value["jobeta"].as_i64().unwrap() - value["jobcreated"].as_i64().unwrap();
    assert!((59..=60).contains(&left), "{left}");
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let started = Server::start_with(
            Script::example().unwrap(),
            "127.0.0.1:0".parse().unwrap(),
            bad,
        );
        assert_eq!(started.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn retry_after_is_seconds_or_a_date_by_the_server_s_clock() {
    let server = start(
        "clock_offset = \"-1h\"\n[[faults]]\nrequests = \"1\"\nstatus = 503\nretry_after = \"7\"\n\
         [[faults]]\nrequests = \"2\"\nstatus = 429\nretry_after_date = \"5s\"\n",
    );
    let mut client = RawClient::new(&server);
    assert_eq!(client.status("diff/1").header("retry-after"), Some("7"));
    let second = client.status("diff/1");
    let date = |name| httpdate::parse_http_date(second.header(name).unwrap()).unwrap();
    let ahead = date("retry-after").duration_since(date("date")).unwrap();
    assert_eq!(ahead, Duration::from_secs(5));
}

#[test]
fn clock_offset_and_date_offset_are_independent() {
    let server = start(
        "clock_offset = \"-1h\"\ndate_offset = \"10m\"\n[[jobs]]\njob = \"diff/1\"\nduration = \"60s\"\n\
         [[jobs.faults]]\nrequests = \"2\"\ndate_offset = \"1day\"\n",
    );
    let mut client = RawClient::new(&server);
    let skew = |client: &mut RawClient| {
        let response = client.status("diff/1");
        let date = httpdate::parse_http_date(response.header("date").unwrap()).unwrap();
        let date = date
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs() as i64;
        let updated = response.json()["jobupdated"].as_i64().unwrap();
        let ours = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs() as i64;
        (ours - updated, date - updated)
    };
    let (behind, date) = skew(&mut client);
    assert!((3600..3660).contains(&behind), "{behind}");
    assert_eq!(date, 600);
    assert_eq!(skew(&mut client).1, 600 + 86_400);
}
