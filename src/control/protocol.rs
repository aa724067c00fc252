//! The words of the control socket.
//!
//! A client connects, writes one [`Request`] as a line of JSON, and reads [`Answer`]s, a line each, until the daemon
//! closes the connection. There is one answer, but for [`Request::Events`]: as many as there are events, and
//! [`Answer::Done`] behind the last; for a client that wanted to follow, [`Answer::Stopped`] once the daemon stops.
//!
//! A client keeps its own end open until then. Closing it, to writing alone too, says that it has gone: it may be told
//! nothing more. A request that was whole is carried out all the same.
//!
//! Names and texts in answers may be somebody else's. JSON escapes them; whoever shows them to people makes them harmless.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use forgewatch_core::job::JobRef;
use forgewatch_core::label::label;
use forgewatch_core::poll_log::{Poll, WaitReason};

/// The longest request, its line's end included.
pub const MAX_REQUEST: usize = 64 * 1024;

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Watch these jobs; each that is watched, or ended within `retain`, stays as it is. [`Answer::Added`].
    Add {
        /// Which, each once.
        jobs: Vec<JobRef>,
        /// Told with every event of those whose watch begins now; such as a configuration file may have.
        #[serde(default, deserialize_with = "labels")]
        labels: BTreeMap<String, String>,
        /// Begin a new watch of those that have ended.
        #[serde(default)]
        again: bool,
    },
    /// Watch these no longer. [`Answer::Removed`].
    Remove {
        /// Which, each once.
        jobs: Vec<JobRef>,
    },
    /// What is watched. [`Answer::Jobs`].
    List {
        /// Those too that ended within `retain`.
        #[serde(default)]
        all: bool,
    },
    /// All that is known of a job's newest watch. [`Answer::Job`].
    Show {
        /// Which.
        job: JobRef,
    },
    /// What happened. An [`Answer::Event`] each.
    Events {
        /// From where on. Behind an offset that no event has reached, it is refused.
        since: Since,
        /// Stay, and tell what happens from now on.
        #[serde(default)]
        follow: bool,
    },
    /// Read the configuration file anew. [`Answer::Done`] once it is in force.
    Reload,
    /// The deliveries that are not done. [`Answer::Deliveries`].
    Hooks,
    /// Try a delivery that was given up once more. [`Answer::Done`].
    RetryHook {
        /// Its [`DeliveryLine::id`].
        delivery: String,
    },
    /// Forget a delivery that was given up. [`Answer::Done`].
    DiscardHook {
        /// Its [`DeliveryLine::id`].
        delivery: String,
    },
    /// Forget some of the deliveries that were given up; none are left once that was 0. [`Answer::Discarded`].
    DiscardGivenUp,
}

impl Request {
    /// What it changes, in a word; None where it only looks.
    pub fn change(&self) -> Option<&'static str> {
        match self {
            Self::Add { .. } => Some("add"),
            Self::Remove { .. } => Some("remove"),
            Self::Reload => Some("reload"),
            Self::RetryHook { .. } => Some("retry"),
            Self::DiscardHook { .. } | Self::DiscardGivenUp => Some("discard"),
            Self::List { .. } | Self::Show { .. } | Self::Events { .. } | Self::Hooks => None,
        }
    }
}

fn labels<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, String>, D::Error> {
    let said = BTreeMap::<String, String>::deserialize(d)?;
    let checked = said.iter().map(|(name, value)| label(name, value));
    checked.collect::<Result<_, _>>().map_err(D::Error::custom)
}

/// From where on events are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// All that are kept.
    Beginning,
    /// None that have happened yet.
    Now,
    /// Those behind this offset.
    After(u64),
    /// Those seen at this wall time or later, Unix milliseconds.
    At(i64),
}

/// What the daemon says to a request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`Request::Add`]: a line a job, in the request's order.
    Added(Vec<AddedJob>),
    /// To [`Request::Remove`].
    Removed {
        /// Those whose watch ended by it.
        removed: Vec<JobRef>,
        /// Those that were not watched.
        unknown: Vec<JobRef>,
    },
    /// To [`Request::List`], in the order in which the watches began.
    Jobs(Vec<JobLine>),
    /// To [`Request::Show`].
    Job(Box<JobShown>),
    /// To [`Request::Hooks`].
    Deliveries {
        /// Some that are to be made, by hook and event, and the newest of those that were given up, oldest first.
        lines: Vec<DeliveryLine>,
        /// How many more there are.
        more: usize,
    },
    /// To [`Request::DiscardGivenUp`]: how many were forgotten.
    Discarded(usize),
    /// To [`Request::Events`].
    Event {
        /// Its place among all events: rises, with gaps.
        offset: u64,
        /// Its log record: the stored text, a JSON object.
        record: Box<RawValue>,
    },
    /// It is done; of events, there are no more.
    Done,
    /// To [`Request::Events`] of one who follows: the daemon stops, and tells no more.
    Stopped,
    /// It can't be done, and nothing was.
    Refused {
        /// What is wrong and what would do, a line each; at least one.
        errors: Vec<String>,
    },
}

impl Answer {
    /// A refusal for one reason.
    pub fn refused(why: impl Into<String>) -> Self {
        Self::Refused {
            errors: vec![why.into()],
        }
    }
}

/// What became of a job that was to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedJob {
    /// The job.
    pub job: JobRef,
    /// The id of its watch.
    pub watch: String,
    /// Which of the three.
    pub how: How,
}

/// What adding a job came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Its watch begins now.
    Begun,
    /// It was being watched.
    Watched,
    /// Its watch ended within `retain`, with this outcome, and stays as it is.
    Ended(String),
}

/// A watch in a list. Fields are absent where nothing is known or nothing follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobLine {
    /// The job.
    pub job: JobRef,
    /// The watch's id.
    pub watch: String,
    /// The user's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where the job stands, as events have it; absent before the first answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Whole percent, rounded down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// The best guess of the time left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// Until the job is asked again; absent once the watch has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_poll_ms: Option<u64>,
    /// Polls so far.
    pub requests: u32,
    /// Whether asking has failed for `unreachable_after`.
    pub unreachable: bool,
    /// How the watch ended, as its ending event's type has it behind `job.`; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// When the first request was made, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_ms: Option<i64>,
    /// When the watch ended, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<i64>,
}

/// All that is known of a watch.
#[derive(Debug, Serialize, Deserialize)]
pub struct JobShown {
    /// As a list has it; in JSON its fields are beside these.
    #[serde(flatten)]
    pub line: JobLine,
    /// Why the next poll is when it is; absent before the first answer and after the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<WaitReason>,
    /// Its events, in order: their log records.
    pub events: Vec<Box<RawValue>>,
    /// The last polls, oldest first.
    pub polls: Vec<Poll>,
    /// The deliveries of its events, oldest first, whatever became of them.
    pub deliveries: Vec<DeliveryLine>,
}

/// An event on its way to a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryLine {
    /// The event's id and the hook's name, as `hooks retry` takes it.
    pub id: String,
    /// The hook's name.
    pub hook: String,
    /// The event's type.
    pub event_type: String,
    /// The job it is about; absent for the watcher's own events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobRef>,
    /// How many attempts were begun.
    pub attempts: u32,
    /// Where it stands.
    pub standing: Stands,
    /// When a waiting one is tried, Unix milliseconds; absent where that is as soon as its turn comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<i64>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stands {
    /// It waits for its turn or its time.
    Pending,
    /// An attempt is under way.
    Running,
    /// It is not tried until somebody asks for it.
    Failed,
    /// It arrived.
    Delivered,
    /// Somebody did not want it any more.
    Discarded,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Request {
        serde_json::from_str(line).unwrap()
    }

    fn record() -> Box<RawValue> {
        let text = r#"{"timestamp":"2027-01-15T08:00:00.000Z","event_type":"job.watching"}"#;
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn line() -> JobLine {
        JobLine {
            job: "diff/1234".parse().unwrap(),
            watch: "a5".repeat(16),
            labels: BTreeMap::from([("build".to_owned(), "8812".to_owned())]),
            state: Some("running".to_owned()),
            progress: Some(40),
            left_ms: Some(130_000),
            next_poll_ms: Some(12_000),
            requests: 7,
            unreachable: false,
            outcome: None,
            began_ms: Some(1_800_000_000_000),
            ended_ms: None,
        }
    }

    #[test]
    fn requests_are_written_as_the_manual_has_them() {
        let jobs = vec!["diff/1".parse().unwrap(), "update/7".parse().unwrap()];
        let requests = [
            Request::Add {
                jobs: jobs.clone(),
                labels: BTreeMap::from([("build".to_owned(), "8812".to_owned())]),
                again: true,
            },
            Request::Remove { jobs },
            Request::List { all: true },
            Request::Show {
                job: "diff/1".parse().unwrap(),
            },
            Request::Events {
                since: Since::After(17),
                follow: true,
            },
            Request::Reload,
            Request::Hooks,
            Request::RetryHook {
                delivery: "a5-1/chat".to_owned(),
            },
            Request::DiscardGivenUp,
        ];
        let lines = requests
            .each_ref()
            .map(|r| serde_json::to_string(r).unwrap());
        insta::assert_snapshot!(lines.join("\n"), @r#"
        {"add":{"jobs":["diff/1","update/7"],"labels":{"build":"8812"},"again":true}}
        {"remove":{"jobs":["diff/1","update/7"]}}
        {"list":{"all":true}}
        {"show":{"job":"diff/1"}}
        {"events":{"since":{"after":17},"follow":true}}
        "reload"
        "hooks"
        {"retry_hook":{"delivery":"a5-1/chat"}}
        "discard_given_up"
        "#);
        for (asked, line) in requests.iter().zip(lines) {
            assert_eq!(*asked, request(&line));
        }
    }

    #[test]
    fn what_a_request_does_not_say_is_no() {
        let add = Request::Add {
            jobs: vec!["diff/1".parse().unwrap()],
            labels: BTreeMap::new(),
            again: false,
        };
        assert_eq!(request(r#"{"add":{"jobs":["diff/1"]}}"#), add);
        assert_eq!(request(r#"{"list":{}}"#), Request::List { all: false });
    }

    #[test]
    fn a_request_that_says_more_than_is_known_or_allowed_is_none() {
        for line in [
            r#"{"list":{"every":true}}"#,
            r#"{"add":{"jobs":["diff/0"]}}"#,
            r#"{"add":{}}"#,
            r#"{"add":{"jobs":["diff/1"],"labels":{"no name":"1"}}}"#,
            r#"{"add":{"jobs":["diff/1"],"labels":{"build":"1\n2"}}}"#,
            r#""stop""#,
        ] {
            assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_stored_record_goes_through_byte_by_byte() {
        let event = Answer::Event {
            offset: 17,
            record: record(),
        };
        let line = serde_json::to_string(&event).unwrap();
        assert!(line.contains(record().get()), "{line}");
        let Answer::Event {
            offset,
            record: back,
        } = serde_json::from_str(&line).unwrap()
        else {
            panic!("{line}");
        };
        assert_eq!((offset, back.get()), (17, record().get()));
    }

    #[test]
    fn a_job_shown_is_one_object_and_comes_back_as_it_was() {
        let shown = JobShown {
            line: line(),
            why: Some(WaitReason::RetryAfter),
            events: vec![record()],
            polls: Vec::new(),
            deliveries: vec![DeliveryLine {
                id: "a5-1/chat".to_owned(),
                hook: "chat".to_owned(),
                event_type: "job.watching".to_owned(),
                job: Some(line().job),
                attempts: 8,
                standing: Stands::Failed,
                due_ms: None,
                error: Some("exit status 1".to_owned()),
            }],
        };
        let text = serde_json::to_string(&Answer::Job(Box::new(shown))).unwrap();
        insta::assert_snapshot!(text, @r#"{"job":{"job":"diff/1234","watch":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5","labels":{"build":"8812"},"state":"running","progress":40,"left_ms":130000,"next_poll_ms":12000,"requests":7,"unreachable":false,"began_ms":1800000000000,"why":{"by":"retry_after"},"events":[{"timestamp":"2027-01-15T08:00:00.000Z","event_type":"job.watching"}],"polls":[],"deliveries":[{"id":"a5-1/chat","hook":"chat","event_type":"job.watching","job":"diff/1234","attempts":8,"standing":"given_up","error":"exit status 1"}]}}"#);
        let Answer::Job(back) = serde_json::from_str(&text).unwrap() else {
            panic!("{text}");
        };
        assert_eq!(back.line, line());
        assert_eq!(serde_json::to_string(&Answer::Job(back)).unwrap(), text);
    }
}
