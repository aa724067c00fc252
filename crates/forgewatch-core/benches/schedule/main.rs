//! The cost of the schedule beside a reference, in virtual time: `cargo bench --bench schedule [-- SEED]`.
//!
//! Each job is watched by the real schedule and by the reference. A row is 2,000 jobs of one model of server errors;
//! "cold" is the first job of a kind, "warm" keeps the calibration from job to job. A row is marked with `!` if ours
//! costs more than the reference, and with `~` if the 95 % interval includes equality. "bound" is our cost relative to
//! the least possible; with `*`, to that of a policy that need not detect short jobs.

mod bounds;
mod models;
mod reference;

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::time::{Duration, Instant};

use bounds::Bound;
use forgewatch_core::job::JobKind;
use forgewatch_core::rng::SeededRng;
use forgewatch_core::schedule::{
    Calibration, EstimateRange, History, Observation, Policy, ScheduleSettings,
};
use models::{JobStatus, Length, ServerModel, SimulatedJob};
use reference::{EtaThenBackoff, Every, PollingPolicy, Reference, ReferenceCalibration};

const JOBS: u64 = 2_000;
const REQUEST_COST: f64 = 1.0;
const MIN_INTERVAL: f64 = 1.0;
const MAX_INTERVAL: f64 = 600.0;
const KIND: JobKind = JobKind::Diff;
/// Unix seconds of every first poll: a whole minute, so that the granularity of an ETA is that of the model, and not a
/// multiple of five minutes.
const EPOCH: i64 = 1_800_000_060;

/// The real schedule, called as by the engine.
struct ForgewatchPolicy<'a> {
    calibration: &'a mut Calibration,
    history: History,
    settings: &'a ScheduleSettings,
}

impl PollingPolicy for ForgewatchPolicy<'_> {
    fn wait(&mut self, t: f64, status: &JobStatus) -> f64 {
        let observation = observation(t, status);
        let (history, plan) =
            self.history
                .observe(&observation, self.calibration.of(KIND), self.settings);
        self.history = history;
        plan.wait.as_secs_f64()
    }

    fn end(&mut self, _last: f64, seen: f64) {
        let update = (self.history).calibration_update(millis(seen), self.calibration.of(KIND));
        self.calibration.update(KIND, None, &update);
    }
}

fn millis(t: f64) -> u64 {
    (t * 1e3).round() as u64
}

fn observation(t: f64, status: &JobStatus) -> Observation {
    Observation {
        up_ms: millis(t),
        server_now_ms: Some(EPOCH * 1000 + millis(t) as i64),
        eta: status.eta.map(|eta| EPOCH + eta as i64),
        start: None,
        progress: Some(status.progress as f32),
    }
}

/// The cost of watching a job.
#[derive(Clone, Copy, Default)]
struct WatchCost {
    requests: f64,
    delay: f64,
}

impl WatchCost {
    fn cost(self) -> f64 {
        self.requests + self.delay / REQUEST_COST
    }
}

fn watch(mut policy: impl PollingPolicy, mut job: SimulatedJob) -> WatchCost {
    let (mut t, mut last, mut requests) = (0.0, 0.0, 1.0);
    while let Some(status) = job.status(t) {
        last = t;
        t += policy.wait(t, &status);
        requests += 1.0;
    }
    policy.end(last, t);
    let delay = t - job.end;
    WatchCost { requests, delay }
}

/// The cost of the best fixed interval for a known end.
fn hindsight_cost(end: f64) -> f64 {
    let interval = (2.0 * REQUEST_COST * end).sqrt().max(1.0);
    end / interval + 1.0 + interval / (2.0 * REQUEST_COST)
}

/// The costs of many jobs, ours and the reference's.
#[derive(Default)]
struct Comparison {
    pairs: Vec<(WatchCost, WatchCost)>,
    hindsight_cost: f64,
}

impl Comparison {
    fn of(
        model: ServerModel,
        length: Length,
        warm: bool,
        seed: u64,
        settings: &ScheduleSettings,
    ) -> Self {
        let mut row = Self::default();
        let (mut ours, mut theirs) = (Calibration::default(), ReferenceCalibration::new());
        let mut seeds = SeededRng::new(seed);
        for _ in 0..JOBS {
            if !warm {
                (ours, theirs) = (Calibration::default(), ReferenceCalibration::new());
            }
            let job = SimulatedJob::draw(model, length, seeds.bits());
            row.hindsight_cost += hindsight_cost(job.end);
            let policy = ForgewatchPolicy {
                calibration: &mut ours,
                history: History::default(),
                settings,
            };
            let reference = Reference::new(&mut theirs, REQUEST_COST);
            row.pairs
                .push((watch(policy, job.clone()), watch(reference, job)));
        }
        row
    }

    fn mean(&self, of: impl Fn(&(WatchCost, WatchCost)) -> f64) -> f64 {
        self.pairs.iter().map(of).sum::<f64>() / self.pairs.len() as f64
    }

    /// The ratio of our cost to the reference's, and half of its 95 % interval (delta method on the paired costs).
    fn ratio(&self) -> (f64, f64) {
        let (ours, theirs) = (self.mean(|p| p.0.cost()), self.mean(|p| p.1.cost()));
        let ratio = ours / theirs;
        let var = self.mean(|p| (p.0.cost() - ratio * p.1.cost()).powi(2));
        let error = (var / self.pairs.len() as f64).sqrt() / theirs;
        (ratio, 1.96 * error)
    }

    /// Our cost relative to the bound.
    fn by_bound(&self, bound: Bound) -> f64 {
        self.mean(|p| p.0.cost()) / bound.cost
    }

    fn print(&self, bound: Option<Bound>) {
        let n = self.pairs.len() as f64;
        let (ratio, half) = self.ratio();
        let verdict = match ratio {
            _ if ratio - half > 1.0 => "!",
            _ if ratio > 1.0 => "~",
            _ => "",
        };
        let by_bound = bound.map_or_else(String::new, |bound| {
            let mark = if bound.short_jobs { ' ' } else { '*' };
            format!("{:.2}{mark}", self.by_bound(bound))
        });
        println!(
            "{:6.1} {:6.2} {:5.2} {by_bound:>6} | {:6.1} {:6.2} {:5.2} | {ratio:5.2} ± {half:.2} {verdict}",
            self.mean(|p| p.0.requests),
            self.mean(|p| p.0.delay),
            self.mean(|p| p.0.cost()) * n / self.hindsight_cost,
            self.mean(|p| p.1.requests),
            self.mean(|p| p.1.delay),
            self.mean(|p| p.1.cost()) * n / self.hindsight_cost,
        );
    }
}

fn table(title: &str, models: &[ServerModel], seed: u64, settings: &ScheduleSettings) {
    println!("\n{title}");
    println!(
        "{:22} {:5} {:4} {:^26} | {:^20} | ours /",
        "", "", "", "ours", "reference"
    );
    let columns = "req   late hinds.";
    println!(
        "{:22} {:5} {:4} {columns:>19}  bound | {columns:>20} | reference",
        "model", "jobs", ""
    );
    for (length, name) in [(Length::Long, "long"), (Length::Short, "short")] {
        let mut sum = 0.0;
        let mut by_bound = [const { Vec::new() }; 2];
        for &model in models {
            for warm in [false, true] {
                let row = Comparison::of(model, length, warm, seed, settings);
                let bound = Bound::of(model, length);
                by_bound[usize::from(warm)].extend(bound.map(|bound| row.by_bound(bound)));
                let heat = if warm { "warm" } else { "cold" };
                print!("{:22} {name:5} {heat:4} ", model.name());
                row.print(bound);
                sum += row.ratio().0;
            }
        }
        let mean = sum / (2.0 * models.len() as f64);
        print!("{:22} {name:5} mean of the ratios: {mean:.3}", "");
        for (heat, ratios) in ["cold", "warm"].into_iter().zip(by_bound) {
            if !ratios.is_empty() {
                let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
                let worst = ratios.iter().copied().fold(0.0, f64::max);
                print!("; {heat} / bound: mean {mean:.3}, worst {worst:.2}");
            }
        }
        println!();
    }
}

/// Common polling loops, on the yardstick's models.
fn common_loops(seed: u64) {
    println!("\ncommon polling loops (requests, mean delay, cost against hindsight)");
    for (length, name) in [(Length::Long, "long"), (Length::Short, "short")] {
        for model in ServerModel::YARDSTICK {
            print!("{:22} {name:5}", model.name());
            for (title, make) in [
                (
                    "1 s",
                    (|| Box::new(Every(1.0))) as fn() -> Box<dyn PollingPolicy>,
                ),
                ("10 s", || Box::new(Every(10.0))),
                ("eta, then x1.5", || Box::new(EtaThenBackoff(1.0))),
            ] {
                let (mut requests, mut delay, mut best) = (0.0, 0.0, 0.0);
                let mut seeds = SeededRng::new(seed);
                for _ in 0..JOBS {
                    let job = SimulatedJob::draw(model, length, seeds.bits());
                    best += hindsight_cost(job.end);
                    let cost = watch(make(), job);
                    requests += cost.requests / JOBS as f64;
                    delay += cost.delay / JOBS as f64;
                }
                let ratio = (requests + delay / REQUEST_COST) * JOBS as f64 / best;
                print!(" | {title}: {requests:.1} {delay:.1} {ratio:.2}");
            }
            println!();
        }
    }
}

/// How often the range shown to people holds the true time left, after each poll and ten times between two polls.
fn estimates(title: &str, models: &[ServerModel], seed: u64, settings: &ScheduleSettings) {
    struct Recorder<'a>(
        ForgewatchPolicy<'a>,
        &'a mut Vec<(f64, bool, EstimateRange)>,
    );
    impl PollingPolicy for Recorder<'_> {
        fn wait(&mut self, t: f64, status: &JobStatus) -> f64 {
            let wait = self.0.wait(t, status);
            for part in 0..10 {
                let at = t + wait * f64::from(part) / 10.0;
                let kind = self.0.calibration.of(KIND);
                let range = self.0.history.estimate(kind, millis(at));
                self.1.extend(range.map(|range| (at, part == 0, range)));
            }
            wait
        }

        fn end(&mut self, last: f64, seen: f64) {
            self.0.end(last, seen);
        }
    }
    println!(
        "\nestimates, {title}: held by the range at polls, and at all times; median of high / low"
    );
    for (length, name) in [(Length::Long, "long"), (Length::Short, "short")] {
        for &model in models {
            let mut calibration = Calibration::default();
            let mut seeds = SeededRng::new(seed);
            let (mut held, mut ratios) = ([(0.0, 0.0); 2], Vec::new());
            for _ in 0..JOBS {
                let job = SimulatedJob::draw(model, length, seeds.bits());
                let end = job.end;
                let mut ranges = Vec::new();
                let policy = ForgewatchPolicy {
                    calibration: &mut calibration,
                    history: History::default(),
                    settings,
                };
                watch(Recorder(policy, &mut ranges), job);
                ranges.retain(|(at, ..)| *at < end);
                for (at, at_poll, range) in ranges {
                    let left = Duration::from_secs_f64(end - at);
                    let holds = f64::from(u8::from(range.low <= left && left <= range.high));
                    for (all, n) in held.iter_mut().skip(usize::from(!at_poll)) {
                        *all += holds;
                        *n += 1.0;
                    }
                    if at_poll {
                        ratios.push(range.high.as_secs_f64() / range.low.as_secs_f64().max(1e-3));
                    }
                }
            }
            ratios.sort_by(f64::total_cmp);
            let median = ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN);
            let share = held.map(|(all, n)| all / n);
            println!(
                "{:22} {name:5} {:.2} {:.2} {median:6.2}",
                model.name(),
                share[0],
                share[1]
            );
        }
    }
}

/// Short jobs of mixed models, each the first of its kind: the one-shot of a pipeline.
fn one_shot(seed: u64, settings: &ScheduleSettings) {
    let models = &ServerModel::YARDSTICK[..5];
    let mut seeds = SeededRng::new(seed);
    let (mut ours, mut fixed) = (WatchCost::default(), WatchCost::default());
    for i in 0..JOBS {
        let job = SimulatedJob::draw(
            models[i as usize % models.len()],
            Length::Short,
            seeds.bits(),
        );
        let mut calibration = Calibration::default();
        let policy = ForgewatchPolicy {
            calibration: &mut calibration,
            history: History::default(),
            settings,
        };
        for (sum, cost) in [
            (&mut ours, watch(policy, job.clone())),
            (&mut fixed, watch(Every(1.0), job)),
        ] {
            sum.requests += cost.requests / JOBS as f64;
            sum.delay += cost.delay / JOBS as f64;
        }
    }
    println!(
        "\none-shot, 20-60 s, the five models with an ETA, cold: {:.2} s late (target: 2.5), {:.3} of the requests \
         of a one-second loop (target: 0.2)",
        ours.delay,
        ours.requests / fixed.requests
    );
}

/// The time of one call of `History::observe`, on realistic observations.
fn speed(seed: u64, settings: &ScheduleSettings) {
    struct Recorder<'a>(ForgewatchPolicy<'a>, &'a mut Vec<(History, Observation)>);
    impl PollingPolicy for Recorder<'_> {
        fn wait(&mut self, t: f64, status: &JobStatus) -> f64 {
            self.1.push((self.0.history, observation(t, status)));
            self.0.wait(t, status)
        }
    }
    let mut calibration = Calibration::default();
    let mut calls = Vec::new();
    let mut seeds = SeededRng::new(seed);
    for model in ServerModel::YARDSTICK.iter().cycle().take(700) {
        let policy = ForgewatchPolicy {
            calibration: &mut calibration,
            history: History::default(),
            settings,
        };
        watch(
            Recorder(policy, &mut calls),
            SimulatedJob::draw(*model, Length::Long, seeds.bits()),
        );
    }
    let kind = calibration.of(KIND);
    let runs = (0..41).map(|_| {
        let start = Instant::now();
        for (history, observation) in &calls {
            black_box(history.observe(black_box(observation), kind, settings));
        }
        start.elapsed().as_secs_f64() * 1e9 / calls.len() as f64
    });
    // Other load on the machine can only add.
    let fastest = runs.fold(f64::INFINITY, f64::min);
    println!(
        "\none decision: {fastest:.0} ns (fastest of 41 runs over {} observations; target: 1500), {} bytes per watch",
        calls.len(),
        size_of::<History>()
    );
}

fn main() {
    let given = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0) % 1_000_000_000);
    let settings = ScheduleSettings {
        policy: Policy::Inspection,
        request_cost: Duration::from_secs_f64(REQUEST_COST),
        min_interval: Duration::from_secs_f64(MIN_INTERVAL),
        max_interval: Duration::from_secs_f64(MAX_INTERVAL),
    };
    println!(
        "seed {seed}, {JOBS} jobs per row, request_cost {REQUEST_COST} s; long: median 8 min, short: 20-60 s"
    );
    println!(
        "req: mean requests; late: mean delay in seconds; hinds.: cost against the best fixed interval known in hindsight"
    );
    table("the yardstick", &ServerModel::YARDSTICK, seed, &settings);
    table("other servers", &ServerModel::OTHERS, seed, &settings);
    table("odd servers", &ServerModel::ODD, seed, &settings);
    estimates("the yardstick", &ServerModel::YARDSTICK, seed, &settings);
    estimates("other servers", &ServerModel::OTHERS, seed, &settings);
    estimates("odd servers", &ServerModel::ODD, seed, &settings);
    common_loops(seed);
    one_shot(seed, &settings);
    speed(seed, &settings);
}
