//! Everything that goes wrong in the simulated world: one table, each with a counter.

macro_rules! faults {
    ($($(#[$what:meta])* $name:ident,)*) => {
        /// What can go wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault { $($(#[$what])* $name,)* }

        impl Fault {
            /// All of them.
            pub(crate) const ALL: [Self; [$(stringify!($name)),*].len()] = [$(Self::$name),*];
        }
    };
}

faults! {
    // What one request meets on its way.
    /// The name cannot be looked up.
    Dns,
    /// Nobody listens.
    ConnectionRefused,
    /// Packets vanish: the time-out for connecting runs out.
    BlackHole,
    /// Connected, and never answered.
    NoAnswer,
    /// The connection breaks in the middle.
    Disconnected,
    /// The certificate is wrong.
    Tls,
    /// HTTP 500.
    ServerError,
    /// 429 without a word on when.
    RateLimited,
    /// 429 with seconds.
    RateLimitedForSeconds,
    /// 429 that asks for more than an hour.
    RateLimitedForHours,
    /// 429 with zero seconds.
    RateLimitedForNothing,
    /// 503 with `Retry-After`.
    UnavailableUntil,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// A redirect, which is not followed.
    Redirect,
    /// 200 with the server's error envelope.
    Envelope,
    /// No status at all.
    Rubbish,
    /// Larger than `max_body`.
    TooLarge,
    /// It takes very long.
    SlowAnswer,
    /// So large that asking often is a burden.
    LargeAnswer,
    /// A `Date` that is wrong.
    WrongDate,
    // What the API as a whole does.
    /// Every request fails for a while.
    Outage,
    /// The server's clock is off.
    ServerSkew,
    // What a job does.
    /// 404 at first.
    NotThereYet,
    /// 404 for ever.
    NeverThere,
    /// 410.
    Gone,
    /// From a later state to an earlier one.
    StateFalls,
    /// Less is done than was.
    ProgressFalls,
    /// `jobfailed` alone tells of the end.
    EndsByFlag,
    /// 100 % alone tells of the end.
    EndsByProgress,
    /// `jobfailed` is set for a while and cleared.
    FlagCleared,
    /// State, flag and progress contradict each other at the end.
    Contradiction,
    /// A state outside the table.
    UnknownState,
    /// Nothing moves for a while.
    Stall,
    /// The expected end has passed.
    EtaPast,
    /// The expected end is years away.
    EtaFar,
    /// No expected end.
    EtaMissing,
    // Clocks.
    /// The wall clock is set forward, by up to a day.
    ClockForward,
    /// The wall clock is set back, by up to a day.
    ClockBack,
    /// The wall clock is off by a year.
    ClockYear,
    // The disk.
    /// No room: nothing is taken.
    DiskFull,
    /// An I/O error: whether it was taken, nobody knows.
    DiskFails,
    /// A commit takes seconds.
    DiskSlow,
    /// A crash with a commit under way, which is there afterwards.
    CutOffTaken,
    /// A crash with a commit under way, which is not there afterwards.
    CutOffLost,
    /// A crash loses notes.
    NotesLost,
    // The process.
    /// It dies at an await.
    Crash,
    /// It dies before it is ready.
    CrashAtStart,
    /// It dies while a client waits for its answer.
    CrashInCommand,
    /// It dies in its orderly stop.
    CrashInStop,
    /// The next one begins hours later.
    LongDown,
    /// The machine gives no random numbers.
    NoEntropy,
    // Hooks.
    /// An attempt fails.
    HookFails,
    /// An attempt fails after it had its effect.
    HookFailsAfterEffect,
    /// An attempt is refused for good.
    HookRefuses,
    /// The receiver wants to be left alone for a while.
    HookWantsPause,
    /// It wants that for more than an hour.
    HookWantsLongPause,
    /// An attempt hangs until its time-out.
    HookHangs,
    /// A crash cuts an attempt off, which had its effect.
    HookCutOffAfterEffect,
    /// A crash cuts an attempt off before its effect.
    HookCutOff,
    /// An attempt is ended by the stop.
    HookStopped,
    /// A hook leaves the configuration with deliveries waiting.
    HookLeaves,
}

/// How often each occurred.
#[derive(Clone, Debug)]
pub(crate) struct Counts([u64; Fault::ALL.len()]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; Fault::ALL.len()])
    }
}

impl Counts {
    pub(crate) fn hit(&mut self, fault: Fault) {
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

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<String> = Fault::ALL
            .iter()
            .map(|&fault| format!("{fault:?} {}", self.of(fault)))
            .collect();
        f.write_str(&words.join(", "))
    }
}
