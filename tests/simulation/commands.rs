//! What clients want of the daemon, at moments that suit nobody.

use forgewatch::control::protocol::{Answer, DeliveryLine, How, Stands};
use forgewatch_core::delivery::DeliveryId;
use forgewatch_core::job::JobRef;
use forgewatch_core::time::millis;

use crate::clock::EPOCH_MS;
use crate::lifetime::{Simulated, Stage, is_refusal};
use crate::log::{Command, DeliveryAction};

/// A client that waits for the end of a watch: the command's place in the log.
pub(crate) type Removing = Vec<(JobRef, usize)>;

/// Lets a client ask for something.
pub(crate) async fn run_one(stage: &Stage, daemon: &mut Simulated, removing: &mut Removing) {
    match stage.world.roll(|rng| rng.between(0, 9)) {
        0..=2 => add(stage, daemon).await,
        3 | 4 => remove(stage, daemon, removing),
        5 | 6 => reload(stage, daemon).await,
        7 | 8 => decide(stage, daemon).await,
        _ => look(stage, daemon).await,
    }
}

/// Answers those whose jobs are not watched any more.
pub(crate) fn answer_removals(stage: &Stage, daemon: &Simulated, removing: &mut Removing) {
    removing.retain(|&(job, number)| {
        let waits = daemon.watch_of(job).is_some();
        if !waits {
            done(stage, number);
        }
        waits
    });
}

fn begin(stage: &Stage, wish: DeliveryAction) -> usize {
    let (life, began) = (stage.world.life(), stage.world.stamp());
    let wall_off = stage.wall.off();
    stage.world.trace(|| format!("client: {wish:?}"));
    stage.world.log(|log| {
        log.commands.push(Command {
            life,
            wall_off,
            began,
            done: None,
            wish,
        });
        log.commands.len() - 1
    })
}

fn done(stage: &Stage, number: usize) {
    let at = stage.world.stamp();
    stage.world.trace(|| format!("client: {number} is done"));
    stage.world.log(|log| log.commands[number].done = Some(at));
}

fn some_job(stage: &Stage) -> JobRef {
    let jobs: Vec<JobRef> = stage.server.jobs.keys().copied().collect();
    stage.world.roll(|rng| rng.pick(&jobs))
}

async fn add(stage: &Stage, daemon: &mut Simulated) {
    let job = some_job(stage);
    let again = stage.world.roll(|rng| rng.chance(0.3));
    // What the interface promises, by what is on record: a job stays as it is that is watched, or ended within `retain`.
    let retain = millis(stage.file.borrow().retain).cast_signed();
    let wall = EPOCH_MS + stage.world.now_ms().cast_signed() + stage.wall.off();
    let may_begin = match stage.disk.newest(job) {
        None => true,
        Some(watch) => watch
            .ended_wall_ms
            .is_some_and(|at| again || at < wall - retain),
    };
    let number = begin(stage, DeliveryAction::Add { job, may_begin });
    let answer = daemon
        .add(
            vec![job],
            [("by".to_owned(), "hand".to_owned())].into(),
            again,
        )
        .await;
    if let Answer::Added(lines) = answer
        && lines
            .iter()
            .all(|line| line.how == How::Begun || line.how == How::Watched)
    {
        done(stage, number);
    }
}

fn remove(stage: &Stage, daemon: &mut Simulated, removing: &mut Removing) {
    let job = some_job(stage);
    let number = begin(stage, DeliveryAction::Remove(job));
    let (removed, _) = daemon.remove(vec![job]);
    removing.extend(removed.into_iter().map(|job| (job, number)));
    answer_removals(stage, daemon, removing);
}

async fn reload(stage: &Stage, daemon: &mut Simulated) {
    let before = stage.file.borrow().clone();
    stage.edit_the_file();
    let number = begin(stage, DeliveryAction::Reload);
    if daemon.reload(stage.orders()).await.is_ok() {
        stage.is_in_force();
        done(stage, number);
    } else {
        *stage.file.borrow_mut() = before;
    }
}

/// Tries one anew that was given up, or forgets it.
async fn decide(stage: &Stage, daemon: &mut Simulated) {
    let Answer::Deliveries { lines, .. } = daemon.hooks().await else {
        return;
    };
    let given_up = |line: &DeliveryLine| (line.standing == Stands::Failed).then(|| line.id.clone());
    let ids: Vec<String> = lines.iter().filter_map(given_up).collect();
    if ids.is_empty() {
        return;
    }
    let at = stage.world.roll(|rng| rng.between(0, ids.len() as u64 - 1)) as usize;
    let id: DeliveryId = ids[at].parse().unwrap();
    let retry = stage.world.roll(|rng| rng.chance(0.7));
    let number = begin(
        stage,
        if retry {
            DeliveryAction::Retry(id.clone())
        } else {
            DeliveryAction::Discard(id.clone())
        },
    );
    let answer = if retry {
        daemon.retry_hook(&ids[at]).await
    } else {
        daemon.discard_hook(&ids[at]).await
    };
    if !is_refusal(&answer) {
        done(stage, number);
    }
}

async fn look(stage: &Stage, daemon: &mut Simulated) {
    let number = begin(stage, DeliveryAction::Look);
    let listed = daemon.list(true).await;
    let shown = daemon.show(some_job(stage)).await;
    if !is_refusal(&listed) && !is_refusal(&shown) {
        done(stage, number);
    }
}
