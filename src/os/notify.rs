//! Notifications to systemd, by the protocol of `sd_notify(3)`: ready, reloading, stopping, watchdog, status line.
//!
//! Outside systemd (`$NOTIFY_SOCKET` unset) these functions do nothing. A notification that cannot be sent is not an
//! error: the daemon works without it.

use std::time::Duration;

use sd_notify::NotifyState;

/// Startup or a reload is complete. `status` as in [`status`].
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins; [`ready`] ends it. systemd 253 and newer expect the time in the same datagram.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(_) => send(&[NotifyState::Reloading]),
    }
}

/// Sets the line that `systemctl status` shows. It must not contain line breaks or text from a server.
pub fn status(status: &str) {
    send(&[NotifyState::Status(status)]);
}

pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Extends the time limit of the current startup or shutdown by this much, 71 minutes at most.
pub fn extend_timeout(by: Duration) {
    let micros = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
    send(&[NotifyState::ExtendTimeoutUsec(micros)]);
}

pub fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// How often [`watchdog`] must be called: half of systemd's limit, as `sd_watchdog_enabled(3)` recommends. None if the
/// watchdog is off.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn send(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(target: "forgewatch::os", %error, "could not notify systemd");
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use super::*;

    /// Set in the child process that sends the notifications: the socket is chosen by the environment, which a test
    /// must not change in its own process.
    const CHILD: &str = "FORGEWATCH_TEST_NOTIFY";

    #[test]
    fn every_message_is_one_datagram() {
        if env::var_os(CHILD).is_some() {
            return notify();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "os::notify::tests::every_message_is_one_datagram",
            ])
            .env(CHILD, "1")
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "30000000")
            .env_remove("WATCHDOG_PID")
            .output()
            .unwrap();
        assert!(child.status.success(), "{child:?}");

        let mut bytes = [0; 1024];
        let mut received = std::iter::from_fn(|| {
            let length = socket.recv(&mut bytes).ok()?;
            Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
        });
        let mut next = || received.next().unwrap();
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
        assert_eq!(received.next(), None);
    }

    fn notify() {
        assert_eq!(watchdog_interval(), Some(Duration::from_secs(15)));
        ready("watching 3");
        reloading();
        status("watching 2");
        watchdog();
        extend_timeout(Duration::from_secs(15));
        extend_timeout(Duration::MAX);
        stopping();
    }
}
