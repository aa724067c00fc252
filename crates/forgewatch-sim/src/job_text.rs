//! A job as the script has it, and the checks that make a [`Job`] of it.

use std::ops::RangeInclusive;

use serde::Deserialize;
use toml::Spanned;

use super::eta::{Eta, Model};
use super::fault::{self, FaultText};
use super::job_model::{Ending, FileCounts, Job, Names, SetBack, Shape, Stall, Start};
use super::rng::Rng;
use super::script::ScriptError;
use super::values::{Count, Name, Percent, Span};
use forgewatch_core::job::{JobKind, JobState};

/// What a job that fails says unless the script has a better word.
const DEFAULT_ERROR: &str = "the job failed, as its script says";

/// How many files of a kind a diff may list.
const MOST_FILES: u64 = 100_000_000;

/// How long a set-back lasts unless the script says.
const SET_BACK_LASTS: f64 = 2.0;

/// A job as the script has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobText {
    job: Name,
    #[serde(default)]
    start: Start,
    appears_after: Option<Span>,
    duration: Span,
    queued: Option<Span>,
    #[serde(default)]
    ending: EndingText,
    error: Option<Spanned<String>>,
    #[serde(default)]
    eta: Model,
    spread: Option<Spanned<f64>>,
    bias: Option<Spanned<f64>>,
    half: Option<Spanned<f64>>,
    grain: Option<Span>,
    bend: Option<Spanned<f64>>,
    #[serde(default)]
    set_back: Vec<Spanned<SetBackText>>,
    #[serde(default)]
    stall: Vec<Spanned<StallText>>,
    #[serde(default)]
    shape: Shape,
    files: Option<Spanned<FileCounts>>,
    game: Option<Spanned<String>>,
    image: Option<Spanned<String>>,
    machine: Option<Spanned<String>>,
    #[serde(default)]
    faults: Vec<Spanned<FaultText>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EndingText {
    #[default]
    Completed,
    Failed,
    Squashed,
    JobfailedOnly,
    ProgressOnly,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetBackText {
    at: Span,
    #[serde(rename = "for")]
    lasts: Option<Span>,
    to_state: Option<BackTo>,
    progress: Percent,
    jobfailed: Option<Count>,
}

/// The states a job that goes on can be set back to.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BackTo {
    Created,
    Pending,
    Queued,
    Running,
    Failed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StallText {
    at: Span,
    #[serde(rename = "for")]
    lasts: Span,
}

impl BackTo {
    fn state(self) -> JobState {
        match self {
            Self::Created => JobState::Created,
            Self::Pending => JobState::Pending,
            Self::Queued => JobState::Queued,
            Self::Running => JobState::Running,
            Self::Failed => JobState::Failed,
        }
    }
}

/// Checks a job; what the script leaves open is drawn from `seed` and its name. Errors stand at the value that is
/// wrong or, where keys do not go together, at the job.
pub(super) fn check(text: Spanned<JobText>, source: &str, seed: u64) -> Result<Job, ScriptError> {
    let offset = text.span().start;
    let mut text = text.into_inner();
    let name = text.job.0;
    let mut check = Check {
        source,
        offset,
        rng: Rng::new(seed, &name.to_string()),
    };
    let duration = text.duration.secs();
    let queued = text.queued.map_or(0.0, Span::secs);
    if queued >= duration {
        return check.fail("queued is part of duration: a shorter time will do");
    }
    Ok(Job {
        name,
        start: text.start,
        appears_after: text.appears_after.map_or(0.0, Span::secs),
        duration,
        queued,
        ending: check.ending(text.ending, text.error.take())?,
        bend: check.draw("bend", text.bend.take(), 0.1..=10.0, |rng| {
            rng.uniform(0.6, 1.6)
        })?,
        grain: check.grain(text.grain),
        eta: check.eta(&mut text)?,
        set_backs: check.set_backs(text.set_back, queued, duration)?,
        stalls: check.stalls(text.stall, duration)?,
        shape: text.shape,
        files: check.files(text.files, name.kind)?,
        names: check.names(name.kind, text.game, text.image, text.machine)?,
        faults: text
            .faults
            .into_iter()
            .map(|f| fault::check(f, source))
            .collect::<Result<_, _>>()?,
    })
}

/// Where errors of a job stand, and its dice.
struct Check<'a> {
    source: &'a str,
    /// Of the job's table.
    offset: usize,
    rng: Rng,
}

impl Check<'_> {
    fn fail<T>(&self, message: &str) -> Result<T, ScriptError> {
        Err(ScriptError::at(self.source, self.offset, message))
    }

    fn fail_at<T, V>(&self, value: &Spanned<V>, message: &str) -> Result<T, ScriptError> {
        Err(ScriptError::at(self.source, value.span().start, message))
    }

    /// The number the script gives, within its range, or a drawn one. Always draws, so that giving one number
    /// does not change the others.
    fn draw(
        &mut self,
        key: &str,
        given: Option<Spanned<f64>>,
        range: RangeInclusive<f64>,
        drawn: impl Fn(&mut Rng) -> f64,
    ) -> Result<f64, ScriptError> {
        let drawn = drawn(&mut self.rng);
        match given {
            None => Ok(drawn),
            Some(value) if range.contains(value.get_ref()) => Ok(value.into_inner()),
            Some(value) => {
                let message = format!(
                    "{key} is out of range: {} to {} will do",
                    range.start(),
                    range.end()
                );
                self.fail_at(&value, &message)
            }
        }
    }

    fn grain(&mut self, given: Option<Span>) -> f64 {
        let drawn = [1.0, 1.0, 10.0, 60.0][(self.rng.bits() % 4) as usize];
        given.map_or(drawn, Span::secs)
    }

    fn eta(&mut self, text: &mut JobText) -> Result<Eta, ScriptError> {
        let given = [
            ("spread", Model::Noisy, &text.spread),
            ("bias", Model::Fixed, &text.bias),
            ("half", Model::Optimistic, &text.half),
        ];
        for (key, model, value) in given {
            if let Some(value) = value.as_ref().filter(|_| model != text.eta) {
                let word = format!("{model:?}").to_lowercase();
                return self.fail_at(value, &format!("{key} goes with eta = \"{word}\" alone"));
            }
        }
        let spread = self.draw("spread", text.spread.take(), 0.0..=3.0, |d| {
            d.uniform(0.1, 0.6)
        })?;
        let bias = self.draw("bias", text.bias.take(), 0.01..=100.0, |d| {
            let width = d.uniform(0.2, 0.8);
            d.normal(width).exp()
        })?;
        let half = self.draw("half", text.half.take(), 0.01..=1.0, |d| {
            d.uniform(0.3, 0.9)
        })?;
        Ok(match text.eta {
            Model::Exact => Eta::Exact,
            Model::Noisy => Eta::Noisy { spread },
            Model::Fixed => Eta::Fixed { bias },
            Model::Optimistic => Eta::Optimistic { half },
            Model::Extrapolated => Eta::Extrapolated,
            Model::ProgressOnly => Eta::ProgressOnly,
            Model::Blind => Eta::Blind,
        })
    }

    fn ending(
        &self,
        ending: EndingText,
        error: Option<Spanned<String>>,
    ) -> Result<Ending, ScriptError> {
        let says = || {
            error
                .as_ref()
                .map_or_else(|| DEFAULT_ERROR.to_owned(), |e| e.get_ref().clone())
        };
        let ending = match ending {
            EndingText::Failed => return Ok(Ending::Failed { error: says() }),
            EndingText::JobfailedOnly => return Ok(Ending::JobfailedOnly { error: says() }),
            EndingText::Completed => Ending::Completed,
            EndingText::Squashed => Ending::Squashed,
            EndingText::ProgressOnly => Ending::ProgressOnly,
        };
        match error {
            None => Ok(ending),
            Some(error) => self.fail_at(
                &error,
                "error goes with ending = \"failed\" or \"jobfailed_only\"",
            ),
        }
    }

    fn set_backs(
        &self,
        texts: Vec<Spanned<SetBackText>>,
        queued: f64,
        duration: f64,
    ) -> Result<Vec<SetBack>, ScriptError> {
        let mut free_from = queued;
        let mut checked = Vec::with_capacity(texts.len());
        for text in texts {
            let b = text.get_ref();
            let back = SetBack {
                at: b.at.secs(),
                until: b.at.secs() + b.lasts.map_or(SET_BACK_LASTS, Span::secs),
                state: b.to_state.unwrap_or(BackTo::Running).state(),
                progress: b.progress.0,
                jobfailed: b.jobfailed.map_or(0, |n| n.0.min(1 << 20) as u32),
            };
            if back.at < free_from || back.until >= duration {
                return self.fail_at(
                    &text,
                    "a set-back lies after the queue and the set-backs before it, and is over (at + for, 2s unless \
                     given) before the job's end",
                );
            }
            free_from = back.until;
            checked.push(back);
        }
        Ok(checked)
    }

    fn stalls(
        &self,
        texts: Vec<Spanned<StallText>>,
        duration: f64,
    ) -> Result<Vec<Stall>, ScriptError> {
        let mut free_from = 0.0;
        let mut checked = Vec::with_capacity(texts.len());
        for text in texts {
            let at = text.get_ref().at.secs();
            let stall = Stall {
                at,
                until: at + text.get_ref().lasts.secs(),
            };
            if at < free_from || at >= duration {
                return self.fail_at(
                    &text,
                    "a stall begins after the stalls before it and before the job's end",
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
        if kind == JobKind::Update {
            return self.fail_at(&files, "an update lists no files: files goes with a diff");
        }
        let counts = *files.get_ref();
        if [counts.added, counts.modified, counts.removed]
            .iter()
            .any(|n| n.0 > MOST_FILES)
        {
            return self.fail_at(
                &files,
                "that is too many files: 100000000 of each kind will do",
            );
        }
        Ok(counts)
    }

    fn names(
        &self,
        kind: JobKind,
        game: Option<Spanned<String>>,
        image: Option<Spanned<String>>,
        machine: Option<Spanned<String>>,
    ) -> Result<Names, ScriptError> {
        if let Some(name) = [&game, &image, &machine].into_iter().flatten().next()
            && kind == JobKind::Update
        {
            return self.fail_at(
                name,
                "an update has no names: game, image and machine go with a diff",
            );
        }
        let or = |name: Option<Spanned<String>>, default: &str| {
            name.map_or_else(|| default.to_owned(), Spanned::into_inner)
        };
        Ok(Names {
            game: or(game, "Simulated Game"),
            image: or(image, "simulated-image"),
            machine: or(machine, "sim-buildbox-1"),
        })
    }
}
