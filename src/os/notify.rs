//! What the daemon tells systemd: ready, reloading, stopping, alive, and a line on how it stands.
//!
//! Outside systemd (`$NOTIFY_SOCKET` unset) all of this is silence. A notification that cannot be sent is nothing the
//! daemon could mend, so nothing here is an error. The protocol is `sd_notify(3)`.

use std::time::Duration;

use sd_notify::NotifyState;

/// Started, or done with a reload: configuration, store and sockets are there. `status` as in [`status`].
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins; [`ready`] ends it. The time goes with it in one datagram, as systemd 253 and newer demand.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(_) => send(&[NotifyState::Reloading]),
    }
}

/// The line that `systemctl status` shows: no line breaks, and nothing that a server said.
pub fn status(status: &str) {
    send(&[NotifyState::Status(status)]);
}

/// The stop begins.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// The start or the stop under way will be over, or will have asked again, within this time; 71 minutes at most.
pub fn extend(by: Duration) {
    let micros = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
    send(&[NotifyState::ExtendTimeoutUsec(micros)]);
}

/// Alive.
pub fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// How often [`watchdog`] has to be called: half of what systemd waits for, as `sd_watchdog_enabled(3)` recommends;
/// None where it does not watch this process.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn send(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use super::*;

    /// Set in the process that speaks to a socket. Which socket is a matter of the environment, so it has to be a
    /// process of its own.
    const SPEAK: &str = "FORGEWATCH_TEST_SPEAK";

    #[test]
    fn every_message_is_one_datagram() {
        if env::var_os(SPEAK).is_some() {
            return speak();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let speaker = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "os::notify::tests::every_message_is_one_datagram",
            ])
            .env(SPEAK, "1")
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "30000000")
            .env_remove("WATCHDOG_PID")
            .output()
            .unwrap();
        assert!(speaker.status.success(), "{speaker:?}");

        let mut bytes = [0; 1024];
        let mut heard = std::iter::from_fn(|| {
            let length = socket.recv(&mut bytes).ok()?;
            Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
        });
        let mut next = || heard.next().unwrap();
        assert_eq!(next(), "READY=1\nSTATUS=watching 3\n");
        let reloading = next();
        let when = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        let when = when.and_then(|rest| rest.trim_end().parse::<u64>().ok());
        assert!(when > Some(0), "{reloading}");
        assert_eq!(next(), "STATUS=watching 2\n");
        assert_eq!(next(), "WATCHDOG=1\n");
        assert_eq!(next(), "EXTEND_TIMEOUT_USEC=15000000\n");
        assert_eq!(next(), "EXTEND_TIMEOUT_USEC=4294967295\n");
        assert_eq!(next(), "STOPPING=1\n");
        assert_eq!(heard.next(), None);
    }

    fn speak() {
        assert_eq!(watchdog_interval(), Some(Duration::from_secs(15)));
        ready("watching 3");
        reloading();
        status("watching 2");
        watchdog();
        extend(Duration::from_secs(15));
        extend(Duration::MAX);
        stopping();
    }
}
