//! Commands of clients, at random moments.

use std::collections::BTreeMap;

use forgewatch::daemon::{AddResult, DeliveryReport};
use forgewatch_core::delivery::{DeliveryId, DeliveryState};
use forgewatch_core::event::WatchId;
use forgewatch_core::job::JobRef;
use forgewatch_core::time::millis;

use crate::clock::EPOCH_MS;
use crate::lifetime::{Simulated, Simulation};
use crate::log::{ClientCommand, CommandKind};

/// Clients that wait for the end of a watch, with the index of the command in the log.
pub(crate) type PendingRemovals = Vec<(JobRef, WatchId, usize)>;

/// Sends a random command.
pub(crate) async fn run_random_command(
    sim: &Simulation,
    daemon: &mut Simulated,
    pending_removals: &mut PendingRemovals,
) {
    match sim.world.draw(|rng| rng.between(0, 9)) {
        0..=2 => add(sim, daemon).await,
        3 | 4 => remove(sim, daemon, pending_removals).await,
        5 | 6 => reload(sim, daemon).await,
        7 | 8 => retry_or_discard(sim, daemon).await,
        _ => query(sim, daemon).await,
    }
}

/// Confirms the removal of jobs that are no longer watched. One that another process watches now fails.
pub(crate) fn confirm_removals(
    sim: &Simulation,
    daemon: &mut Simulated,
    pending_removals: &mut PendingRemovals,
) {
    let interrupted = daemon.take_interrupted_removals();
    pending_removals.retain(|(_, id, _)| !interrupted.contains(id));
    pending_removals.retain(|&(job, id, number)| {
        let is_watched = daemon.watch_of(job) == Some(id);
        if !is_watched {
            confirm(sim, number);
        }
        is_watched
    });
}

fn begin_command(sim: &Simulation, kind: CommandKind) -> usize {
    let (process, began) = (sim.world.current_process(), sim.world.stamp());
    let wall_offset = sim.wall_clock.offset_ms();
    sim.world.log(|log| {
        let number = log.commands.len();
        sim.world
            .trace(|| format!("client: command {number}: {kind:?}"));
        log.commands.push(ClientCommand {
            process,
            wall_offset,
            began,
            confirmed: None,
            kind,
        });
        number
    })
}

fn confirm(sim: &Simulation, number: usize) {
    let at = sim.world.stamp();
    sim.world
        .trace(|| format!("client: command {number} confirmed"));
    sim.world
        .log(|log| log.commands[number].confirmed = Some(at));
}

fn random_job(sim: &Simulation) -> JobRef {
    let jobs: Vec<JobRef> = sim.server.jobs.keys().copied().collect();
    sim.world.draw(|rng| rng.pick(&jobs))
}

async fn add(sim: &Simulation, daemon: &mut Simulated) {
    let job = random_job(sim);
    let again = sim.world.draw(|rng| rng.chance(0.3));
    // By the interface, `add` starts no watch of a job that is watched, or whose watch ended within `retain`.
    let retain = millis(sim.config_file.borrow().retain).cast_signed();
    let wall_clock = EPOCH_MS + sim.world.now_ms().cast_signed() + sim.wall_clock.offset_ms();
    let may_start = match sim.disk.newest(job) {
        None => true,
        Some(watch) => watch
            .ended_wall_ms
            .is_some_and(|at| again || at < wall_clock - retain),
    };
    let number = begin_command(sim, CommandKind::Add { job, may_start });
    let added = daemon
        .add(
            vec![job],
            [("by".to_owned(), "hand".to_owned())].into(),
            again,
        )
        .await;
    if let Ok(added) = added
        && added
            .iter()
            .all(|added| matches!(added.result, AddResult::Started | AddResult::AlreadyWatched))
    {
        confirm(sim, number);
    }
}

async fn remove(sim: &Simulation, daemon: &mut Simulated, pending_removals: &mut PendingRemovals) {
    let job = random_job(sim);
    let number = begin_command(sim, CommandKind::Remove(job));
    let Ok((removed, _)) = daemon.remove(vec![job]).await else {
        return;
    };
    let running = removed.into_iter();
    let running = running.map(|job| (job, daemon.watch_of(job).unwrap(), number));
    pending_removals.extend(running);
    confirm_removals(sim, daemon, pending_removals);
}

async fn reload(sim: &Simulation, daemon: &mut Simulated) {
    let before = sim.config_file.borrow().clone();
    sim.edit_config_file();
    let number = begin_command(sim, CommandKind::Reload);
    if daemon.reload(sim.daemon_config()).await.is_ok() {
        sim.record_active_config();
        confirm(sim, number);
    } else {
        *sim.config_file.borrow_mut() = before;
    }
}

/// Retries or discards a failed delivery.
async fn retry_or_discard(sim: &Simulation, daemon: &mut Simulated) {
    let Ok(list) = daemon.deliveries().await else {
        return;
    };
    let failed = |report: &DeliveryReport| match report {
        DeliveryReport::Stored(row) if matches!(row.state, DeliveryState::Failed(_)) => {
            Some(row.id.clone())
        }
        _ => None,
    };
    let ids: Vec<DeliveryId> = list.deliveries.iter().filter_map(failed).collect();
    if ids.is_empty() {
        return;
    }
    let at = sim.world.draw(|rng| rng.between(0, ids.len() as u64 - 1)) as usize;
    let id = ids[at].clone();
    let retry = sim.world.draw(|rng| rng.chance(0.7));
    let number = begin_command(
        sim,
        if retry {
            CommandKind::Retry(id.clone())
        } else {
            CommandKind::Discard(id.clone())
        },
    );
    let id = ids[at].to_string();
    let result = if retry {
        daemon.retry(&id).await
    } else {
        daemon.discard(&id).await
    };
    if result.is_ok() {
        confirm(sim, number);
    }
}

async fn query(sim: &Simulation, daemon: &mut Simulated) {
    let number = begin_command(sim, CommandKind::Query);
    let running = || sim.disk.content().running().watches.into_iter();
    let before: Vec<_> = running().map(|watch| watch.id).collect();
    let listed = daemon.list(true, &[], &BTreeMap::new(), None, None).await;
    if let Ok(page) = &listed {
        let at = sim.world.stamp();
        let listed: Vec<_> = page
            .watches
            .iter()
            .map(|report| report.watch.id())
            .collect();
        let unlisted =
            running().filter(|watch| before.contains(&watch.id) && !listed.contains(&watch.id));
        sim.world.log(|log| {
            log.wrongly_listed
                .extend(unlisted.map(|watch| (at, watch.job)));
        });
    }
    let job = random_job(sim);
    let of_job = daemon
        .list(true, &[job], &BTreeMap::new(), None, None)
        .await;
    if of_job.is_ok_and(|page| page.watches.len() > 1) {
        let at = sim.world.stamp();
        sim.world.log(|log| log.wrongly_listed.push((at, job)));
    }
    let shown = daemon.show(job).await;
    if listed.is_ok() && shown.is_ok() {
        confirm(sim, number);
    }
}
