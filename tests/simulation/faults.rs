//! The faults of the simulation, with a counter for each.

macro_rules! faults {
    ($($(#[$what:meta])* $name:ident,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault { $($(#[$what])* $name,)* }

        impl Fault {
            pub(crate) const ALL: [Self; [$(stringify!($name)),*].len()] = [$(Self::$name),*];
        }
    };
}

faults! {
    // Faults of one request.
    /// The name cannot be resolved.
    Dns,
    ConnectionRefused,
    /// The connect timeout expires.
    ConnectTimeout,
    /// Connected, but no response.
    ResponseTimeout,
    /// The connection breaks during the response.
    Disconnected,
    /// The certificate is invalid.
    Tls,
    /// HTTP 500.
    ServerError,
    /// 429 without `Retry-After`.
    RateLimited,
    /// 429 with `Retry-After` in seconds.
    RateLimitedForSeconds,
    /// 429 with a `Retry-After` of more than an hour.
    RateLimitedForHours,
    /// 429 with a `Retry-After` of zero.
    RateLimitedForZero,
    /// 503 with `Retry-After`.
    UnavailableUntil,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// A redirect, which is not followed.
    Redirect,
    /// 200 with the vendor's error envelope.
    Envelope,
    /// 200 without a valid status.
    InvalidBody,
    /// Larger than `max_body`.
    TooLarge,
    /// Takes up to 29 s.
    SlowResponse,
    /// So large that the daemon has to poll less often.
    LargeResponse,
    /// A `Date` that is wrong.
    WrongDate,
    // Faults of the whole API.
    /// Every request fails for a while.
    Outage,
    /// The server's clock is off.
    ServerSkew,
    // Quirks of a job.
    /// 404 at first.
    NotFoundAtFirst,
    /// 404 forever.
    NeverFound,
    /// 410.
    Gone,
    /// The state goes back to an earlier one.
    StateGoesBack,
    /// Progress decreases.
    ProgressGoesBack,
    /// The end shows only in `jobfailed`.
    EndsByFlag,
    /// The end shows only in a progress of 100 %.
    EndsByProgress,
    /// `jobfailed` is set for a while and cleared.
    FlagCleared,
    /// State, `jobfailed` and progress contradict each other at the end.
    Contradiction,
    /// An undocumented state.
    UnknownState,
    /// No value changes for a while.
    Stall,
    /// The ETA is in the past.
    EtaPast,
    /// The ETA is in the year 9999.
    EtaFar,
    /// No ETA.
    EtaMissing,
    // Clocks.
    /// The wall clock is set forward, by up to a day.
    ClockForward,
    /// The wall clock is set back, by up to a day.
    ClockBack,
    /// The wall clock is off by a year.
    ClockOffByYear,
    // The disk.
    /// Writes fail until there is space again.
    DiskFull,
    /// An I/O error: the write may have been applied or not.
    DiskFails,
    /// A commit takes seconds.
    DiskSlow,
    /// A crash during a write, which is applied all the same.
    WriteSurvivesCrash,
    /// A crash during a write, which is lost.
    WriteLostInCrash,
    /// Poll samples are lost in a crash or on a full disk.
    SamplesLost,
    // Shards.
    /// Another process takes a shard over for a while.
    ShardLost,
    /// A process gets a shard only some time after its start.
    ShardLate,
    /// A commit is too late, because its shard was lost.
    CommitTooLate,
    // The process.
    /// At a random await.
    Crash,
    /// A crash before the process is ready.
    CrashInStartup,
    /// A crash while a client waits for its response.
    CrashInCommand,
    /// A crash during the orderly shutdown.
    CrashInShutdown,
    /// Hours pass before the next process starts.
    LongDowntime,
    /// The system provides no random numbers.
    NoEntropy,
    // Hooks.
    /// An attempt fails.
    HookFails,
    /// An attempt fails after it had its effect.
    HookFailsAfterEffect,
    /// The receiver rejects the event permanently.
    HookRejects,
    /// The receiver sends `Retry-After`.
    HookRetryAfter,
    /// The receiver sends a `Retry-After` of more than an hour.
    HookLongRetryAfter,
    /// An attempt hangs until its timeout.
    HookHangs,
    /// A crash ends an attempt after its effect.
    HookKilledAfterEffect,
    /// A crash ends an attempt before its effect.
    HookKilled,
    /// The shutdown ends an attempt.
    HookStopped,
    /// A hook with pending deliveries is removed from the configuration.
    HookRemoved,
}

/// The number of occurrences of each fault.
#[derive(Clone, Debug)]
pub(crate) struct FaultCounts([u64; Fault::ALL.len()]);

impl Default for FaultCounts {
    fn default() -> Self {
        Self([0; Fault::ALL.len()])
    }
}

impl FaultCounts {
    pub(crate) fn increment(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    pub(crate) fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }
}

impl std::fmt::Display for FaultCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<String> = Fault::ALL
            .iter()
            .map(|&fault| format!("{fault:?} {}", self.of(fault)))
            .collect();
        f.write_str(&parts.join(", "))
    }
}
