//! Reads a `[[jobs]]` entry and checks it: the result is a [`ScriptedJob`].

use std::ops::RangeInclusive;

use serde::Deserialize;
use toml::Spanned;

use super::fault::{self, FaultEntry};
use super::value::{JobName, NonNegative, Percent, ScriptDuration, ScriptError};
use crate::job_model::{
    Ending, EtaModel, EtaSettings, FileCounts, JsonStyle, ScriptedJob, ScriptedNames, Setback,
    Stall, StartTrigger,
};
use forgewatch_core::job::{JobKind, JobState};
use forgewatch_core::rng::SeededRng;

/// The default `joberror` of a failed job.
const DEFAULT_ERROR: &str = "simulated failure";

/// Per kind (added, modified, removed).
const MAX_FILES: u64 = 100_000_000;

/// Default duration of a setback, in seconds.
const DEFAULT_SETBACK: f64 = 2.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobEntry {
    job: JobName,
    #[serde(default)]
    start: StartTrigger,
    appears_after: Option<ScriptDuration>,
    duration: ScriptDuration,
    queued: Option<ScriptDuration>,
    #[serde(default)]
    ending: Ending,
    error: Option<Spanned<String>>,
    #[serde(default)]
    eta: EtaModel,
    spread: Option<Spanned<f64>>,
    bias: Option<Spanned<f64>>,
    fraction: Option<Spanned<f64>>,
    eta_rounding: Option<ScriptDuration>,
    progress_curve: Option<Spanned<f64>>,
    #[serde(default)]
    setbacks: Vec<Spanned<SetbackEntry>>,
    #[serde(default)]
    stalls: Vec<Spanned<StallEntry>>,
    #[serde(default)]
    json_style: JsonStyle,
    files: Option<Spanned<FileCounts>>,
    game: Option<Spanned<String>>,
    image: Option<Spanned<String>>,
    machine: Option<Spanned<String>>,
    #[serde(default)]
    faults: Vec<Spanned<FaultEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetbackEntry {
    at: ScriptDuration,
    #[serde(rename = "for")]
    duration: Option<ScriptDuration>,
    #[serde(with = "SetbackState", default = "running")]
    state: JobState,
    progress: Percent,
    jobfailed: Option<NonNegative>,
}

/// The states of a job that has not ended.
#[derive(Deserialize)]
#[serde(remote = "JobState", rename_all = "snake_case")]
enum SetbackState {
    Created,
    Pending,
    Queued,
    Running,
    Failed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StallEntry {
    at: ScriptDuration,
    #[serde(rename = "for")]
    duration: ScriptDuration,
}

fn running() -> JobState {
    JobState::Running
}

/// Checks a job and draws its missing values from `seed` and its name. An error has the position of the invalid value or,
/// if keys contradict each other, of the job.
pub(crate) fn check(
    text: Spanned<JobEntry>,
    source: &str,
    seed: u64,
) -> Result<ScriptedJob, ScriptError> {
    let offset = text.span().start;
    let mut text = text.into_inner();
    let name = text.job.0;
    let mut check = JobChecker {
        source,
        offset,
        rng: SeededRng::named(seed, &name.to_string()),
    };
    let duration = text.duration.secs();
    let queued = text.queued.map_or(0.0, ScriptDuration::secs);
    if queued >= duration {
        return check.fail("queued must be shorter than duration, which includes it");
    }
    Ok(ScriptedJob {
        name,
        start: text.start,
        appears_after: text.appears_after.map_or(0.0, ScriptDuration::secs),
        duration,
        queued,
        ending: text.ending,
        error: check.error(text.ending, text.error.take())?,
        progress_curve: check.draw(
            "progress_curve",
            text.progress_curve.take(),
            0.1..=10.0,
            |rng| rng.between(0.6, 1.6),
        )?,
        eta_rounding: check.eta_rounding(text.eta_rounding),
        eta: check.eta(&mut text)?,
        setbacks: check.setbacks(text.setbacks, queued, duration)?,
        stalls: check.stalls(text.stalls, duration)?,
        json_style: text.json_style,
        files: check.files(text.files, name.kind)?,
        names: check.names(name.kind, text.game, text.image, text.machine)?,
        faults: text
            .faults
            .into_iter()
            .map(|f| fault::check(f, source))
            .collect::<Result<_, _>>()?,
    })
}

/// The source text for error positions, and the job's random numbers.
struct JobChecker<'a> {
    source: &'a str,
    /// Byte offset of the job's table.
    offset: usize,
    rng: SeededRng,
}

impl JobChecker<'_> {
    fn fail<T>(&self, message: &str) -> Result<T, ScriptError> {
        Err(ScriptError::at(self.source, self.offset, message))
    }

    fn fail_at<T, V>(&self, value: &Spanned<V>, message: &str) -> Result<T, ScriptError> {
        Err(ScriptError::at(self.source, value.span().start, message))
    }

    /// The given number, if it is within the range, or a drawn one. Always draws, so that giving one number does not
    /// change the others.
    fn draw(
        &mut self,
        key: &str,
        given: Option<Spanned<f64>>,
        range: RangeInclusive<f64>,
        drawn: impl Fn(&mut SeededRng) -> f64,
    ) -> Result<f64, ScriptError> {
        let drawn = drawn(&mut self.rng);
        match given {
            None => Ok(drawn),
            Some(value) if range.contains(value.get_ref()) => Ok(value.into_inner()),
            Some(value) => {
                let message = format!(
                    "{key} is out of range: use {} to {}",
                    range.start(),
                    range.end()
                );
                self.fail_at(&value, &message)
            }
        }
    }

    fn eta_rounding(&mut self, given: Option<ScriptDuration>) -> f64 {
        let drawn = [1.0, 1.0, 10.0, 60.0][self.rng.index(4)];
        given.map_or(drawn, ScriptDuration::secs)
    }

    fn eta(&mut self, text: &mut JobEntry) -> Result<EtaSettings, ScriptError> {
        let given = [
            ("spread", EtaModel::Noisy, &text.spread),
            ("bias", EtaModel::Fixed, &text.bias),
            ("fraction", EtaModel::Optimistic, &text.fraction),
        ];
        for (key, model, value) in given {
            if let Some(value) = value.as_ref().filter(|_| model != text.eta) {
                let word = format!("{model:?}").to_lowercase();
                return self.fail_at(value, &format!("{key} requires eta = \"{word}\""));
            }
        }
        Ok(EtaSettings {
            model: text.eta,
            spread: self.draw("spread", text.spread.take(), 0.0..=3.0, |d| {
                d.between(0.1, 0.6)
            })?,
            bias: self.draw("bias", text.bias.take(), 0.01..=100.0, |d| {
                let width = d.between(0.2, 0.8);
                d.normal(0.0, width).exp()
            })?,
            fraction: self.draw("fraction", text.fraction.take(), 0.01..=1.0, |d| {
                d.between(0.3, 0.9)
            })?,
        })
    }

    fn error(
        &self,
        ending: Ending,
        error: Option<Spanned<String>>,
    ) -> Result<Option<String>, ScriptError> {
        let is_failure = matches!(ending, Ending::Failed | Ending::JobfailedOnly);
        match error {
            Some(error) if is_failure => Ok(Some(error.into_inner())),
            Some(error) => self.fail_at(
                &error,
                "error requires ending = \"failed\" or \"jobfailed_only\"",
            ),
            None => Ok(is_failure.then(|| DEFAULT_ERROR.to_owned())),
        }
    }

    fn setbacks(
        &self,
        texts: Vec<Spanned<SetbackEntry>>,
        queued: f64,
        duration: f64,
    ) -> Result<Vec<Setback>, ScriptError> {
        let mut free_from = queued;
        let mut checked = Vec::with_capacity(texts.len());
        for text in texts {
            let entry = text.get_ref();
            let at = entry.at.secs();
            let setback = Setback {
                at,
                until: at + entry.duration.map_or(DEFAULT_SETBACK, ScriptDuration::secs),
                state: entry.state,
                progress: entry.progress.0,
                jobfailed: entry.jobfailed.map_or(0, |n| n.0.min(1 << 20) as u32),
            };
            if setback.at < free_from || setback.until >= duration {
                return self.fail_at(
                    &text,
                    "a setback must begin after the queue and after the previous setback, and be over (at + for, 2s by \
                     default) before the job ends",
                );
            }
            free_from = setback.until;
            checked.push(setback);
        }
        Ok(checked)
    }

    fn stalls(
        &self,
        texts: Vec<Spanned<StallEntry>>,
        duration: f64,
    ) -> Result<Vec<Stall>, ScriptError> {
        let mut free_from = 0.0;
        let mut checked = Vec::with_capacity(texts.len());
        for text in texts {
            let at = text.get_ref().at.secs();
            let stall = Stall {
                at,
                until: at + text.get_ref().duration.secs(),
            };
            if at < free_from || at >= duration {
                return self.fail_at(
                    &text,
                    "a stall must begin after the previous stall and before the job ends",
                );
            }
            free_from = stall.until;
            checked.push(stall);
        }
        Ok(checked)
    }

    fn files(
        &self,
        files: Option<Spanned<FileCounts>>,
        kind: JobKind,
    ) -> Result<FileCounts, ScriptError> {
        let Some(files) = files else {
            return Ok(FileCounts::default());
        };
        if kind != JobKind::Diff {
            return self.fail_at(
                &files,
                "files requires a diff: other jobs do not list files",
            );
        }
        let counts = *files.get_ref();
        if [counts.added, counts.modified, counts.removed]
            .iter()
            .any(|n| n.0 > MAX_FILES)
        {
            return self.fail_at(&files, "too many files: use up to 100000000 of each kind");
        }
        Ok(counts)
    }

    fn names(
        &self,
        kind: JobKind,
        game: Option<Spanned<String>>,
        image: Option<Spanned<String>>,
        machine: Option<Spanned<String>>,
    ) -> Result<ScriptedNames, ScriptError> {
        if let Some(name) = [&game, &image, &machine].into_iter().flatten().next()
            && kind != JobKind::Diff
        {
            return self.fail_at(
                name,
                "game, image and machine require a diff: other jobs do not have them",
            );
        }
        let or = |name: Option<Spanned<String>>, default: &str| {
            name.map_or_else(|| default.to_owned(), Spanned::into_inner)
        };
        Ok(ScriptedNames {
            game: or(game, "Simulated Game"),
            image: or(image, "simulated-image"),
            machine: or(machine, "sim-buildbox-1"),
        })
    }
}
