//! How well the schedule does, in virtual time: `cargo bench --bench schedule [-- SEED]`.
//!
//! Every job is drawn once and watched by the real schedule (its packed trace, its memory) and by the reference, so
//! that a row's ratio compares like with like. A row is 2,000 jobs of one model of how servers err; "cold" is the
//! first job of a kind, "warm" lets the memory grow from job to job. A row where ours costs more is marked with `!`,
//! or with `~` if the 95 % interval does not rule out a draw.

mod models;
mod reference;

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::time::{Duration, Instant};

use forgewatch_core::job::JobKind;
use forgewatch_core::schedule::{Calibration, History, Observation, Policy as Chosen, Rules};
use models::{Answer, Job, Length, Model, Rng};
use reference::{EtaThenBackoff, Every, Policy, Reference};

const JOBS: u64 = 2_000;
const REQUEST_COST: f64 = 1.0;
const KIND: JobKind = JobKind::Diff;
/// Unix seconds of every first answer: a whole minute, so that an ETA's grain is what the model says.
const EPOCH: i64 = 1_800_000_000;

/// The real schedule, driven as the engine drives it.
struct Ours<'a> {
    memory: &'a mut Calibration,
    trace: History,
    rules: &'a Rules,
}

impl Policy for Ours<'_> {
    fn wait(&mut self, t: f64, answer: &Answer) -> f64 {
        let seen = seen(t, answer);
        let (trace, plan) = self.trace.next(&seen, self.memory.of(KIND), self.rules);
        self.trace = trace;
        plan.wait.as_secs_f64()
    }

    fn end(&mut self, _last: f64, seen: f64) {
        self.memory.learn(KIND, &self.trace.samples(millis(seen)));
    }
}

fn millis(t: f64) -> u64 {
    (t * 1e3).round() as u64
}

fn seen(t: f64, answer: &Answer) -> Observation {
    Observation {
        up_ms: millis(t),
        server_now_ms: Some(EPOCH * 1000 + millis(t) as i64),
        eta: answer.eta.map(|eta| EPOCH + eta as i64),
        start: None,
        progress: Some(answer.progress as f32),
    }
}

/// What watching a job cost.
#[derive(Clone, Copy, Default)]
struct Spent {
    requests: f64,
    delay: f64,
}

impl Spent {
    fn cost(self) -> f64 {
        self.requests + self.delay / REQUEST_COST
    }
}

fn watch(mut policy: impl Policy, mut job: Job) -> Spent {
    let (mut t, mut last, mut requests) = (0.0, 0.0, 1.0);
    while let Some(answer) = job.answer(t) {
        last = t;
        t += policy.wait(t, &answer);
        requests += 1.0;
    }
    policy.end(last, t);
    let delay = t - job.end;
    Spent { requests, delay }
}

/// Cost of the best fixed interval, had the job's end been known.
fn hindsight(end: f64) -> f64 {
    let interval = (2.0 * REQUEST_COST * end).sqrt().max(1.0);
    end / interval + 1.0 + interval / (2.0 * REQUEST_COST)
}

/// Many jobs' costs, ours beside the reference's.
#[derive(Default)]
struct Row {
    pairs: Vec<(Spent, Spent)>,
    hindsight: f64,
}

impl Row {
    fn of(model: Model, length: Length, warm: bool, seed: u64, rules: &Rules) -> Self {
        let mut row = Self::default();
        let (mut ours, mut theirs) = (Calibration::default(), reference::Calibration::new());
        let mut seeds = Rng::new(seed);
        for _ in 0..JOBS {
            if !warm {
                (ours, theirs) = (Calibration::default(), reference::Calibration::new());
            }
            let job = Job::draw(model, length, seeds.next());
            row.hindsight += hindsight(job.end);
            let mine = Ours {
                memory: &mut ours,
                trace: History::default(),
                rules,
            };
            let peer = Reference::new(&mut theirs, REQUEST_COST);
            row.pairs.push((watch(mine, job.clone()), watch(peer, job)));
        }
        row
    }

    fn mean(&self, of: impl Fn(&(Spent, Spent)) -> f64) -> f64 {
        self.pairs.iter().map(of).sum::<f64>() / self.pairs.len() as f64
    }

    /// Cost of ours by the reference's, and half of its 95 % interval (delta method on the paired costs).
    fn ratio(&self) -> (f64, f64) {
        let (ours, theirs) = (self.mean(|p| p.0.cost()), self.mean(|p| p.1.cost()));
        let ratio = ours / theirs;
        let var = self.mean(|p| (p.0.cost() - ratio * p.1.cost()).powi(2));
        let error = (var / self.pairs.len() as f64).sqrt() / theirs;
        (ratio, 1.96 * error)
    }

    fn print(&self) {
        let n = self.pairs.len() as f64;
        let (ratio, half) = self.ratio();
        let verdict = match ratio {
            _ if ratio - half > 1.0 => "!",
            _ if ratio > 1.0 => "~",
            _ => "",
        };
        println!(
            "{:6.1} {:6.2} {:5.2} | {:6.1} {:6.2} {:5.2} | {ratio:5.2} ± {half:.2} {verdict}",
            self.mean(|p| p.0.requests),
            self.mean(|p| p.0.delay),
            self.mean(|p| p.0.cost()) * n / self.hindsight,
            self.mean(|p| p.1.requests),
            self.mean(|p| p.1.delay),
            self.mean(|p| p.1.cost()) * n / self.hindsight,
        );
    }
}

fn table(title: &str, models: &[Model], seed: u64, rules: &Rules) {
    println!("\n{title}");
    println!(
        "{:22} {:5} {:4} {:^20} | {:^20} | ours /",
        "", "", "", "ours", "reference"
    );
    let columns = "req   late hinds.";
    println!(
        "{:22} {:5} {:4} {columns:>20} | {columns:>20} | reference",
        "model", "jobs", ""
    );
    for (length, name) in [(Length::Long, "long"), (Length::Short, "short")] {
        let mut sum = 0.0;
        for &model in models {
            for warm in [false, true] {
                let row = Row::of(model, length, warm, seed, rules);
                let heat = if warm { "warm" } else { "cold" };
                print!("{:22} {name:5} {heat:4} ", model.name());
                row.print();
                sum += row.ratio().0;
            }
        }
        let mean = sum / (2.0 * models.len() as f64);
        println!("{:22} {name:5} mean of the ratios: {mean:.3}", "");
    }
}

/// What people use today, on the yardstick's models.
fn peers(seed: u64) {
    println!("\nwhat people use today (requests, mean delay, cost against hindsight)");
    for (length, name) in [(Length::Long, "long"), (Length::Short, "short")] {
        for model in Model::YARDSTICK {
            print!("{:22} {name:5}", model.name());
            for (title, make) in [
                ("1 s", (|| Box::new(Every(1.0))) as fn() -> Box<dyn Policy>),
                ("10 s", || Box::new(Every(10.0))),
                ("eta, then x1.5", || Box::new(EtaThenBackoff(1.0))),
            ] {
                let (mut requests, mut delay, mut best) = (0.0, 0.0, 0.0);
                let mut seeds = Rng::new(seed);
                for _ in 0..JOBS {
                    let job = Job::draw(model, length, seeds.next());
                    best += hindsight(job.end);
                    let spent = watch(make(), job);
                    requests += spent.requests / JOBS as f64;
                    delay += spent.delay / JOBS as f64;
                }
                let ratio = (requests + delay / REQUEST_COST) * JOBS as f64 / best;
                print!(" | {title}: {requests:.1} {delay:.1} {ratio:.2}");
            }
            println!();
        }
    }
}

/// Twenty short jobs of mixed models, each the first of its kind: the one-shot of a pipeline.
fn one_shot(seed: u64, rules: &Rules) {
    let models = &Model::YARDSTICK[..5];
    let mut seeds = Rng::new(seed);
    let (mut ours, mut loop_) = (Spent::default(), Spent::default());
    for i in 0..JOBS {
        let job = Job::draw(
            models[i as usize % models.len()],
            Length::Short,
            seeds.next(),
        );
        let mut memory = Calibration::default();
        let mine = Ours {
            memory: &mut memory,
            trace: History::default(),
            rules,
        };
        for (sum, spent) in [
            (&mut ours, watch(mine, job.clone())),
            (&mut loop_, watch(Every(1.0), job)),
        ] {
            sum.requests += spent.requests / JOBS as f64;
            sum.delay += spent.delay / JOBS as f64;
        }
    }
    println!(
        "\none-shot, 20-60 s, the five models with an ETA, cold: {:.2} s late (to reach: 2.5), {:.3} of the requests \
         of a one-second loop (to reach: 0.2)",
        ours.delay,
        ours.requests / loop_.requests
    );
}

/// What one decision costs, on answers as they really come.
fn speed(seed: u64, rules: &Rules) {
    struct Recorder<'a>(Ours<'a>, &'a mut Vec<(History, Observation)>);
    impl Policy for Recorder<'_> {
        fn wait(&mut self, t: f64, answer: &Answer) -> f64 {
            self.1.push((self.0.trace, seen(t, answer)));
            self.0.wait(t, answer)
        }
    }
    let mut memory = Calibration::default();
    let mut calls = Vec::new();
    let mut seeds = Rng::new(seed);
    for model in Model::YARDSTICK.iter().cycle().take(700) {
        let mine = Ours {
            memory: &mut memory,
            trace: History::default(),
            rules,
        };
        watch(
            Recorder(mine, &mut calls),
            Job::draw(*model, Length::Long, seeds.next()),
        );
    }
    let kind = memory.of(KIND);
    let runs = (0..41).map(|_| {
        let start = Instant::now();
        for (trace, seen) in &calls {
            black_box(trace.next(black_box(seen), kind, rules));
        }
        start.elapsed().as_secs_f64() * 1e9 / calls.len() as f64
    });
    // Whatever else the machine does can only add.
    let least = runs.fold(f64::INFINITY, f64::min);
    println!(
        "\none decision: {least:.0} ns (least of 41 runs over {} answers; to reach: 1500), {} bytes a watch",
        calls.len(),
        size_of::<History>()
    );
}

fn main() {
    let given = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0) % 1_000_000_000);
    let rules = Rules {
        policy: Chosen::Inspection,
        request_cost: Duration::from_secs_f64(REQUEST_COST),
        min_interval: Duration::from_secs(1),
        max_interval: Duration::from_mins(10),
    };
    println!(
        "seed {seed}, {JOBS} jobs a row, request_cost {REQUEST_COST} s; long: median 8 min, short: 20-60 s"
    );
    println!(
        "req: mean requests; late: mean delay in seconds; hinds.: cost against the best fixed interval known in hindsight"
    );
    table("the yardstick", &Model::YARDSTICK, seed, &rules);
    table("other servers", &Model::OTHERS, seed, &rules);
    peers(seed);
    one_shot(seed, &rules);
    speed(seed, &rules);
}
