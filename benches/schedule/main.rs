//! When to ask: the real schedule against its reference.
mod models;
mod reference;

use std::time::Duration;

use forgewatch::core::job::JobKind;
use forgewatch::core::schedule::{Memory, Policy as Chosen, Rules, Seen, Trace, forecast};
use models::{Answer, Job, Length, Model};
use reference::{EtaThenBackoff, Every, Policy, Reference};

const EPOCH: i64 = 1_800_000_000;

struct Ours<'a> {
    memory: &'a mut Memory,
    trace: Trace,
    rules: Rules,
}
fn ms(t: f64) -> u64 {
    (t * 1e3).round() as u64
}
impl Policy for Ours<'_> {
    fn wait(&mut self, t: f64, a: &Answer) -> f64 {
        let seen = Seen {
            up_ms: 77_000 + ms(t),
            server_now_ms: Some(EPOCH * 1000 + ms(t) as i64),
            eta: a.eta.map(|e| EPOCH + e as i64),
            start: None,
            progress: Some(a.progress as f32),
        };
        let (trace, plan) = self
            .trace
            .next(&seen, self.memory.of(JobKind::Diff), &self.rules);
        self.trace = trace;
        plan.wait.as_secs_f64()
    }
    fn end(&mut self, _last: f64, seen: f64) {
        let s = self.trace.samples(77_000 + ms(seen));
        self.memory.learn(JobKind::Diff, &s);
    }
}
fn watch(policy: &mut dyn Policy, mut job: Job, log: bool) -> (f64, f64) {
    let (mut t, mut last, mut n) = (0.0, 0.0, 0.0);
    loop {
        n += 1.0;
        let Some(a) = job.answer(t) else { break };
        last = t;
        let w = policy.wait(t, &a);
        if log {
            print!("{t:.0}({:.0},{:.0}) ", a.eta.unwrap_or(-1.0), a.progress);
        }
        t += w;
    }
    if log {
        println!("| {:.1} n={n} late={:.1}", job.end, t - job.end);
    }
    policy.end(last, t);
    (n, t - job.end)
}
fn hindsight(end: f64, k: f64) -> f64 {
    let d = (2.0 * k * end).sqrt().max(1.0);
    end / d + 1.0 + d / 2.0 / k
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let get = |name: &str| {
        args.iter()
            .position(|a| a == name)
            .and_then(|i| args.get(i + 1))
    };
    let jobs: u64 = get("-n").map_or(500, |s| s.parse().unwrap());
    let seed: u64 = get("-s").map_or(1, |s| s.parse().unwrap());
    for (i, a) in args.iter().enumerate() {
        if a == "-k" {
            let (x, y) = args[i + 1].split_once('=').unwrap();
            forecast::KNOBS
                .with(|k| k.borrow_mut()[x.parse::<usize>().unwrap()] = y.parse().unwrap());
        }
    }
    let log = get("-v").cloned();
    let k = 1.0;
    let rules = Rules {
        policy: Chosen::Inspection,
        request_cost: Duration::from_secs(1),
        min_interval: Duration::from_secs(1),
        max_interval: Duration::from_secs(600),
    };
    for (title, list) in [
        ("yardstick", &Model::YARDSTICK[..]),
        ("others", &Model::OTHERS[..]),
    ] {
        let mut all = [0.0; 4];
        for &model in list {
            print!("{:22}", model.name());
            for (li, length) in [Length::Long, Length::Short].into_iter().enumerate() {
                for (wi, warm) in [false, true].into_iter().enumerate() {
                    let (mut om, mut rm) = (Memory::default(), reference::Memory::new());
                    let mut s = [0.0; 5];
                    for i in 0..jobs {
                        let js = seed * 1_000_003 + i * 7919;
                        if !warm {
                            om = Memory::default();
                            rm = reference::Memory::new();
                        }
                        let l =
                            log.as_deref() == Some(&format!("{model:?}/{li}/{wi}")) && i > jobs - 8;
                        let (a, b) = watch(
                            &mut Ours {
                                memory: &mut om,
                                trace: Trace::default(),
                                rules: rules.clone(),
                            },
                            Job::draw(model, length, js),
                            l,
                        );
                        let (c, d) = watch(
                            &mut Reference::new(&mut rm, k),
                            Job::draw(model, length, js),
                            l,
                        );
                        s[0] += a;
                        s[1] += b;
                        s[2] += c;
                        s[3] += d;
                        s[4] += hindsight(Job::draw(model, length, js).end, k);
                    }
                    let n = jobs as f64;
                    let ratio = (s[0] + s[1] / k) / (s[2] + s[3] / k);
                    all[li * 2 + wi] += ratio;
                    print!(
                        " |{:5.1}/{:5.1} {:5.1}/{:5.1} {:.2} {:5.2}{}",
                        s[0] / n,
                        s[1] / n,
                        s[2] / n,
                        s[3] / n,
                        (s[0] + s[1] / k) / s[4],
                        ratio,
                        if ratio > 1.0 { "!" } else { " " }
                    );
                    if l_dump(&log, model, li, wi) {
                        println!("{om:?}");
                    }
                }
            }
            println!();
        }
        println!("{title} mean {:?}", all.map(|x| x / list.len() as f64));
    }
    if get("-v").is_some_and(|v| v == "peers") {
        let _ = (Every(1.0), EtaThenBackoff(1.0));
    }
}
fn l_dump(log: &Option<String>, model: Model, li: usize, wi: usize) -> bool {
    log.as_deref() == Some(&format!("{model:?}/{li}/{wi}"))
}
