//! Follows jobs through a daemon, across its restarts and lost connections. Blocking: it has a thread of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::thread::sleep;
use std::time::Duration;

use serde_json::value::RawValue;

use super::client::{self, ClientError, DaemonAddress};
use super::protocol::{EventFilter, JobSummary, ListRequest, Request, Response, Since};
use forgewatch_core::job::JobRef;

/// Delays before the next connection: from the first, doubled up to the last.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Which jobs to follow.
#[derive(Clone, Debug)]
pub struct FollowedJobs {
    pub named: Vec<JobRef>,
    /// Also the jobs with all of these labels when the follower starts; empty for none.
    pub labels: BTreeMap<String, String>,
    /// Whether the daemon is to watch named jobs that it does not know.
    pub add: bool,
}

/// What happens while jobs are followed.
#[derive(Debug)]
pub enum Update {
    /// These jobs are followed. Comes once.
    Started(Vec<JobRef>),
    /// All events so far were passed on, and this is the list of the followed jobs now. Comes after each connection.
    Listed(Vec<JobSummary>),
    /// The log record of an event.
    Event(Box<RawValue>),
    /// The daemon cannot be reached for now, and why; the follower goes on trying.
    Disconnected(String),
    /// The last update.
    Failed(FollowError),
}

#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error("the daemon does not know {}; add with --add", names(.0))]
    UnknownJobs(Vec<JobRef>),
    #[error("no watched job has the labels {}", selector(.0))]
    NothingSelected(BTreeMap<String, String>),
    /// Messages of the daemon.
    #[error("{}", .0.join("\n"))]
    Rejected(Vec<String>),
    #[error(transparent)]
    Client(ClientError),
}

fn names(jobs: &[JobRef]) -> String {
    let names: Vec<String> = jobs.iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn selector(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(",")
}

/// Whether another attempt can succeed.
fn is_temporary(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::NotRunning(_)
            | ClientError::Timeout
            | ClientError::ConnectionLost
            | ClientError::Unavailable(_)
            | ClientError::Unreachable(_)
    )
}

/// Follows the jobs until `send` breaks or an error cannot be retried.
pub fn follow(
    daemon: DaemonAddress,
    jobs: &FollowedJobs,
    send: impl FnMut(Update) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut follower = Follower {
        daemon,
        send,
        position: Since::Now,
        delay: RETRY_DELAYS.0,
        has_worked: false,
    };
    let jobs = loop {
        match follower.start(jobs) {
            Ok(jobs) => break jobs,
            Err(error) => follower.pause(error)?,
        }
    };
    (follower.send)(Update::Started(jobs.clone()))?;
    loop {
        match follower.connect(&jobs) {
            Ok(flow) => return flow,
            // The daemon's state file is a new one.
            Err(FollowError::Client(ClientError::UnknownOffset { .. })) => {
                follower.position = Since::Beginning;
            }
            Err(error) => follower.pause(error)?,
        }
    }
}

struct Follower<F> {
    daemon: DaemonAddress,
    send: F,
    /// Behind the last event that was passed on.
    position: Since,
    delay: Duration,
    /// Whether a connection was complete once.
    has_worked: bool,
}

impl<F: FnMut(Update) -> ControlFlow<()>> Follower<F> {
    /// Finds the jobs, and adds those that the daemon is to watch.
    fn start(&self, jobs: &FollowedJobs) -> Result<Vec<JobRef>, FollowError> {
        let mut found: BTreeSet<JobRef> = BTreeSet::new();
        if !jobs.labels.is_empty() {
            let selected = list(&self.daemon, Vec::new(), jobs.labels.clone())?;
            if selected.is_empty() && jobs.named.is_empty() {
                return Err(FollowError::NothingSelected(jobs.labels.clone()));
            }
            found.extend(selected.iter().map(|job| job.job));
        }
        let known = list_jobs(&self.daemon, &jobs.named)?;
        let known: BTreeSet<JobRef> = known.iter().map(|job| job.job).collect();
        let unknown: Vec<JobRef> = jobs
            .named
            .iter()
            .copied()
            .filter(|job| !known.contains(job))
            .collect();
        if !jobs.add && !unknown.is_empty() {
            return Err(FollowError::UnknownJobs(unknown));
        }
        for batch in unknown.chunks(self.daemon.max_jobs()) {
            let request = Request::Add {
                jobs: batch.to_vec(),
                labels: jobs.labels.clone(),
                again: false,
            };
            call(&self.daemon, &request)?;
        }
        found.extend(&jobs.named);
        Ok(found.into_iter().collect())
    }

    /// Passes on events until the connection ends.
    fn connect(&mut self, jobs: &[JobRef]) -> Result<ControlFlow<()>, FollowError> {
        let request = Request::Events {
            since: self.position,
            follow: true,
            filter: EventFilter {
                // A request has room for so many; otherwise the receiver picks its own.
                jobs: if jobs.len() <= self.daemon.max_jobs() {
                    jobs.to_vec()
                } else {
                    Vec::new()
                },
                types: vec!["job.*".to_owned()],
                ..EventFilter::default()
            },
        };
        let responses = client::send(&self.daemon, &request).map_err(FollowError::Client)?;
        for response in responses {
            let update = match response.map_err(FollowError::Client)? {
                Response::Event { offset, record } => {
                    self.position = Since::After(offset);
                    Update::Event(record)
                }
                Response::CaughtUp { offset } => {
                    self.position = Since::After(offset);
                    let list = list_jobs(&self.daemon, jobs)?;
                    (self.delay, self.has_worked) = (RETRY_DELAYS.0, true);
                    Update::Listed(list)
                }
                Response::Stopped => break,
                Response::Error { messages, .. } => return Err(FollowError::Rejected(messages)),
                _ => continue,
            };
            if (self.send)(update).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Err(FollowError::Client(ClientError::ConnectionLost))
    }

    /// Reports the error and waits before the next attempt, unless none can succeed.
    fn pause(&mut self, error: FollowError) -> ControlFlow<()> {
        let is_temporary = match &error {
            FollowError::Client(error) => is_temporary(error),
            _ => false,
        };
        // A daemon that worked may have a full disk, or a socket without its group yet.
        if !is_temporary && !self.has_worked {
            return (self.send)(Update::Failed(error));
        }
        (self.send)(Update::Disconnected(error.to_string()))?;
        sleep(self.delay);
        self.delay = RETRY_DELAYS.1.min(self.delay * 2);
        ControlFlow::Continue(())
    }
}

/// The newest watches of these jobs.
pub fn list_jobs(daemon: &DaemonAddress, jobs: &[JobRef]) -> Result<Vec<JobSummary>, FollowError> {
    let mut list = Vec::new();
    for batch in jobs.chunks(daemon.max_jobs()) {
        list.extend(self::list(daemon, batch.to_vec(), BTreeMap::new())?);
    }
    Ok(list)
}

fn list(
    daemon: &DaemonAddress,
    jobs: Vec<JobRef>,
    labels: BTreeMap<String, String>,
) -> Result<Vec<JobSummary>, FollowError> {
    let list = ListRequest {
        all: true,
        jobs,
        labels,
        ..ListRequest::default()
    };
    client::collect_list(list, |request| match call(daemon, request)? {
        Response::Jobs(page) => Ok(page),
        _ => Err(FollowError::Rejected(vec![
            "unexpected response from the daemon".to_owned(),
        ])),
    })
}

fn call(daemon: &DaemonAddress, request: &Request) -> Result<Response, FollowError> {
    match client::call(daemon, request).map_err(FollowError::Client)? {
        Response::Error { messages, .. } => Err(FollowError::Rejected(messages)),
        response => Ok(response),
    }
}
