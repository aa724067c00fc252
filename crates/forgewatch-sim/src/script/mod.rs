//! The script: the jobs of a simulated server, and the faults of requests for them.
//!
//! It is TOML, and checked completely when it is read. `docs/simulator.md` documents every key.

pub(crate) mod fault;
mod job;
pub(crate) mod value;

use std::collections::BTreeSet;

use serde::Deserialize;
use toml::Spanned;

use crate::job_model::{Ending, ScriptedJob};
use fault::{FaultEntry, ScriptedFault};
use forgewatch_core::job::{JobRef, Outcome};
use job::JobEntry;
use value::{ClockOffset, NonNegative};

pub use value::ScriptError;

/// The default account service ID, which is that of the vendor's examples.
const DEFAULT_ACCOUNT: u64 = 5678;

const DEMO: &str = include_str!("demo.toml");

/// The script of `forgewatch simulate` without `--script`, also shipped as an example.
const EXAMPLE: &str = include_str!("../../../../config/examples/simulator.toml");

#[derive(Clone, Debug)]
pub struct Script {
    /// The keys that clients must send. Not secrets: they are only valid for the simulator.
    pub access_key: String,
    pub secret_key: String,
    pub account_service_id: u64,
    pub(crate) seed: u64,
    pub(crate) clock_offset_ms: i64,
    pub(crate) date_offset_ms: i64,
    pub(crate) gzip: bool,
    /// Which address of updates is served; None serves both.
    pub(crate) update_address: Option<UpdateAddress>,
    pub(crate) jobs: Vec<ScriptedJob>,
    pub(crate) faults: Vec<ScriptedFault>,
}

impl Script {
    /// Reads a script. An error has line and column, and says how to correct the value.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let raw: ScriptFile = toml::from_str(text).map_err(|e| {
            let offset = e.span().map_or(0, |span| span.start);
            ScriptError::at(text, offset, e.message())
        })?;
        let key = |key: Option<Spanned<String>>| check_key(key, text);
        let seed = raw.seed.unwrap_or_default().0;
        let mut names = BTreeSet::new();
        let mut jobs = Vec::with_capacity(raw.jobs.len());
        for job in raw.jobs {
            let offset = job.span().start;
            let job = job::check(job, text, seed)?;
            if !names.insert(job.name) {
                let message = format!("duplicate job {}: use one [[jobs]] entry per job", job.name);
                return Err(ScriptError::at(text, offset, &message));
            }
            jobs.push(job);
        }
        Ok(Self {
            access_key: key(raw.access_key)?,
            secret_key: key(raw.secret_key)?,
            account_service_id: raw.account_service_id.map_or(DEFAULT_ACCOUNT, |id| id.0),
            seed,
            clock_offset_ms: raw.clock_offset.unwrap_or_default().0,
            date_offset_ms: raw.date_offset.unwrap_or_default().0,
            gzip: raw.gzip.unwrap_or(false),
            update_address: raw.update_address,
            jobs,
            faults: raw
                .faults
                .into_iter()
                .map(|f| fault::check(f, text))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The script of `forgewatch demo`: six jobs that end within 18 seconds, one of them failed. A test proves that it
    /// parses.
    pub fn demo() -> Result<Self, ScriptError> {
        Self::parse(DEMO)
    }

    /// The script of `forgewatch simulate` without `--script`: `config/examples/simulator.toml`. A test proves that it
    /// parses.
    pub fn example() -> Result<Self, ScriptError> {
        Self::parse(EXAMPLE)
    }

    /// The jobs, in the order of the script.
    pub fn jobs(&self) -> Vec<JobRef> {
        self.jobs.iter().map(|job| job.name).collect()
    }

    /// How each job ends, ignoring faults and counted failures, in the order of the script.
    pub fn expected(&self) -> Vec<(JobRef, Outcome)> {
        let outcome = |ending| match ending {
            Ending::Completed | Ending::ProgressOnly => Outcome::Completed,
            Ending::Failed | Ending::JobfailedOnly => Outcome::Failed,
            Ending::Squashed => Outcome::Squashed,
        };
        self.jobs
            .iter()
            .map(|job| (job.name, outcome(job.ending)))
            .collect()
    }

    /// One line per job: its name, its end, and its duration at speed 1.
    pub fn summary(&self) -> String {
        let lines: Vec<String> = self.jobs.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }
}

/// Where the ID of an update stands in its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UpdateAddress {
    Path,
    Query,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptFile {
    access_key: Option<Spanned<String>>,
    secret_key: Option<Spanned<String>>,
    account_service_id: Option<NonNegative>,
    seed: Option<NonNegative>,
    clock_offset: Option<ClockOffset>,
    date_offset: Option<ClockOffset>,
    gzip: Option<bool>,
    update_address: Option<UpdateAddress>,
    #[serde(default)]
    jobs: Vec<Spanned<JobEntry>>,
    #[serde(default)]
    faults: Vec<Spanned<FaultEntry>>,
}

/// Checks that Basic authentication can carry a key. The default is `sim`.
fn check_key(key: Option<Spanned<String>>, source: &str) -> Result<String, ScriptError> {
    let Some(key) = key else {
        return Ok("sim".to_owned());
    };
    let offset = key.span().start;
    let key = key.into_inner();
    if key.is_empty() || key.contains(':') || key.chars().any(char::is_control) {
        return Err(ScriptError::at(
            source,
            offset,
            "invalid key: use non-empty text without ':' and control characters",
        ));
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    /// The error messages of these scripts, one per line.
    fn messages(scripts: &[&str]) -> String {
        scripts.iter().fold(String::new(), |mut all, script| {
            writeln!(all, "{}", Script::parse(script).unwrap_err()).unwrap();
            all
        })
    }

    fn job(lines: &str) -> String {
        format!("[[jobs]]\njob = \"diff/1\"\nduration = \"10s\"\n{lines}\n")
    }

    fn job_messages(lines: &[&str]) -> String {
        let scripts: Vec<String> = lines.iter().map(|lines| job(lines)).collect();
        messages(&scripts.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn errors_have_a_position_and_a_correction() {
        let errors = messages(&[
            "seed = ",
            "sed = 1",
            "seed = -1",
            "access_key = \"a:b\"",
            "\n\n  clock_offset = \"soon\"",
            "[[jobs]]\njob = \"diff/1\"\n",
            "[[jobs]]\njob = \"image/1\"\nduration = \"1s\"",
            "[[jobs]]\njob = \"diff/0\"\nduration = \"1s\"",
            "[[jobs]]\njob = \"diff/1\"\nduration = 40",
            "[[jobs]]\njob = \"diff/1\"\nduration = \"40 parsecs\"",
            "[[jobs]]\njob = \"diff/1\"\nduration = \"0s\"",
            "[[jobs]]\njob = \"diff/1\"\nduration = \"1s\"\n[[jobs]]\njob = \"diff/1\"\nduration = \"1s\"",
        ]);
        insta::assert_snapshot!(errors);
    }

    #[test]
    fn errors_of_a_job_have_a_position_and_a_correction() {
        let errors = job_messages(&[
            "queued = \"10s\"",
            "ending = \"done\"",
            "error = \"disk full\"",
            "eta = \"psychic\"",
            "eta = \"exact\"\nspread = 0.3",
            "eta = \"noisy\"\nspread = 30",
            "progress_curve = nan",
            "setbacks = [{ at = \"9s\", progress = 10 }]",
            "setbacks = [{ at = \"2s\", progress = 100 }]",
            "setbacks = [{ at = \"4s\", progress = 1 }, { at = \"5s\", progress = 1 }]",
            "stalls = [{ at = \"11s\", for = \"1s\" }]",
            "stalls = [{ at = \"1s\" }]",
            "files = { added = 1, changed = 2 }",
            "files = { added = 1000000000 }",
        ]);
        let of_updates = messages(&[
            "[[jobs]]\njob = \"update/1\"\nduration = \"10s\"\nfiles = { added = 1 }",
            "[[jobs]]\njob = \"update/1\"\nduration = \"10s\"\ngame = \"G\"",
        ]);
        insta::assert_snapshot!(errors + &of_updates);
    }

    #[test]
    fn errors_of_a_fault_have_a_position_and_a_correction() {
        let faults: Vec<String> = [
            "requests = \"0\"\nreset_after = 0",
            "requests = \"1\"",
            "reset_after = 0",
            "requests = \"1\"\nreset_after = 0\ntruncate_after = 5",
            "requests = \"1\"\nreset_after = -1",
            "requests = \"1\"\nstatus = 99",
            "requests = \"1\"\nretry_after = \"2\"",
            "requests = \"1\"\nstatus = 503\nretry_after = \"2\"\nretry_after_date = \"2s\"",
            "requests = \"1\"\nstatus = 503\nretry_after = \"2\\r\\nX: y\"",
            "requests = \"1\"\nstatus = 200\nredirect = \"http://x/\"",
            "requests = \"1\"\nslow = { bytes = 0, every = \"1s\" }",
            "requests = \"1\"\ngzip_bomb = \"big\"",
            "requests = \"1\"\nbad_response = \"noise\"",
            "requests = \"1\"\nstatus = 500\nbody = \"x\"\nenvelope = { message = \"x\" }",
        ]
        .iter()
        .map(|lines| job(&format!("[[jobs.faults]]\n{lines}")))
        .collect();
        let errors = messages(&faults.iter().map(String::as_str).collect::<Vec<_>>());
        insta::assert_snapshot!(errors);
    }

    #[test]
    fn columns_count_characters() {
        let error = Script::parse("access_key = \"ä\\q\"").unwrap_err();
        assert_eq!((error.line, error.column), (1, 17));
    }

    #[test]
    fn every_ending_has_the_outcome_that_a_watch_should_report() {
        let outcome = |ending: &str| {
            let script = Script::parse(&job(&format!("ending = {ending:?}"))).unwrap();
            script.expected().remove(0).1
        };
        assert_eq!(outcome("completed"), Outcome::Completed);
        assert_eq!(outcome("progress_only"), Outcome::Completed);
        assert_eq!(outcome("failed"), Outcome::Failed);
        assert_eq!(outcome("jobfailed_only"), Outcome::Failed);
        assert_eq!(outcome("squashed"), Outcome::Squashed);
    }

    #[test]
    fn missing_values_are_drawn_and_given_ones_do_not_change_the_others() {
        let drawn = |lines: &str| Script::parse(&job(lines)).unwrap().jobs.remove(0);
        let open = drawn("eta = \"noisy\"");
        assert!((0.6..1.6).contains(&open.progress_curve));
        assert!([1.0, 10.0, 60.0].contains(&open.eta_rounding));
        let given = drawn("eta = \"noisy\"\nprogress_curve = 1.0\neta_rounding = \"7s\"");
        assert_eq!(
            (given.progress_curve, given.eta_rounding, given.eta),
            (1.0, 7.0, open.eta)
        );
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(\\[\\[(jobs|faults|jobs.faults)\\]\\]\n|[a-z_]{1,9} = [\"0-9a-z/{}]{1,9}\n|\\PC{0,9}){0,8}") {
            let _ = Script::parse(&text);
        }
    }
}
