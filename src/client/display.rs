//! What a long command shows on a terminal while it runs: a bar, one line a slot, and what was said last.
//!
//! ```text
//!   deploy 3  [##########..........]  2/4 online  1.7s
//!     slot 0  pid 4801  generation 3  online    1.2s  warmed up
//!     slot 1  pid 4802  generation 3  starting  1.6s
//!     …
//!   worker 0 (pid 4801) online after 1.2s
//! ```
//!
//! A scene in, lines out. Where there are more slots than rows, those that are online already are left out first; where
//! there are too few columns, the bar, the generations, then the pids.
//!
//! What this file does not do: draw (`block.rs`), or ask how things are (`follow.rs`).

use std::time::Duration;

use crate::wire::control::status::{Status, Worker};

use super::block::Screen;
use super::cells::{Side, Table, Took, clean, width};
use super::tables::pid;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// The first generation.
    Start,
    /// A new generation.
    Deploy,
    /// More workers, or fewer.
    Scale,
    /// That nobody is left.
    Stop,
}

/// All that is known at one moment.
pub(super) struct Scene<'a> {
    pub(super) aim: Aim,
    /// None before the first answer.
    pub(super) status: Option<&'a Status>,
    /// The most workers that were seen at once.
    pub(super) most_workers: usize,
    /// What was said last.
    pub(super) latest: &'a str,
    /// Since the command was given.
    pub(super) elapsed: Duration,
}

pub(super) fn lines(scene: &Scene<'_>, screen: Screen) -> Vec<String> {
    let workers = scene.status.map(|status| shown(scene.aim, status)).unwrap_or_default();
    let latest = (!scene.latest.is_empty()).then(|| clean(scene.latest));
    let room = screen.rows.saturating_sub(1 + usize::from(latest.is_some()));
    let columns = screen.columns.saturating_sub(1);
    let mut lines = vec![headline(scene, columns)];
    lines.extend(slots(&workers, room, columns));
    lines.extend(latest);
    lines
}

fn headline(scene: &Scene<'_>, columns: usize) -> String {
    let progress = scene.status.map_or(Progress::default(), |status| match scene.aim {
        Aim::Start | Aim::Deploy => of_deploy(status),
        Aim::Scale => Progress { done: status.workers_online, all: status.workers_wanted, leaving: 0 },
        Aim::Stop => of_stop(status, scene.most_workers),
    });
    let deploy = scene.status.and_then(|status| status.deploy.as_ref());
    let title = match (scene.aim, deploy) {
        (Aim::Start, _) => "start".to_owned(),
        (Aim::Deploy, Some(deploy)) => format!("deploy {}", deploy.generation),
        (Aim::Deploy, None) => "deploy".to_owned(),
        (Aim::Scale, _) => "scale".to_owned(),
        (Aim::Stop, _) => "stop".to_owned(),
    };
    // It is over where its deploy is no longer told of, and only the answer is to come.
    let phase = match deploy.map(|deploy| deploy.phase.as_str()) {
        None | Some("starting" | "rolling") => String::new(),
        Some(phase) => format!(", {}", clean(phase)),
    };
    let Progress { done, all, leaving } = progress;
    let word = if scene.aim == Aim::Stop { "ended" } else { "online" };
    let leaving = if leaving > 0 { format!(", {leaving} leaving") } else { String::new() };
    // Nobody knows yet how many it will be.
    let count = if all == 0 { String::new() } else { format!("{done}/{all} {word}{leaving}{phase}  ") };
    let rest = format!("{count}{}", Took(scene.elapsed));
    let with_bar = format!("{title}  {}  {rest}", bar(done, all));
    if width(&with_bar) <= columns { with_bar } else { format!("{title}  {rest}") }
}

#[derive(Default)]
struct Progress {
    done: u32,
    all: u32,
    leaving: u32,
}

fn of_deploy(status: &Status) -> Progress {
    match &status.deploy {
        Some(deploy) => Progress { done: deploy.online, all: deploy.workers, leaving: deploy.leaving },
        None => Progress { done: status.workers_online, all: status.workers_wanted, leaving: 0 },
    }
}

fn of_stop(status: &Status, most_workers: usize) -> Progress {
    let count = |workers: usize| u32::try_from(workers).unwrap_or(u32::MAX);
    Progress {
        done: count(most_workers.saturating_sub(status.workers.len())),
        all: count(most_workers),
        leaving: 0,
    }
}

const BAR_COLUMNS: u32 = 20;

fn bar(done: u32, all: u32) -> String {
    let filled = u64::from(done.min(all)) * u64::from(BAR_COLUMNS) / u64::from(all.max(1));
    let filled = usize::try_from(filled).unwrap_or(0);
    format!("[{}{}]", "#".repeat(filled), ".".repeat(BAR_COLUMNS as usize - filled))
}

/// In a deploy each slot has the line of its new worker as soon as there is one, and a line for each that is on its
/// way out.
fn shown(aim: Aim, status: &Status) -> Vec<&Worker> {
    let deploy = status.deploy.as_ref().filter(|_| matches!(aim, Aim::Start | Aim::Deploy));
    let Some(deploy) = deploy else { return status.workers.iter().collect() };
    let is_new = |worker: &Worker| worker.generation == deploy.generation;
    let replaced = |slot: u32| {
        status.workers.iter().any(|worker| worker.slot == slot && is_new(worker) && worker.wanted)
    };
    let shown = |worker: &&Worker| {
        is_new(worker) || !worker.wanted || !replaced(worker.slot) && worker.slot < deploy.workers
    };
    status.workers.iter().filter(shown).collect()
}

fn slots(workers: &[&Worker], room: usize, columns: usize) -> Vec<String> {
    if workers.len() <= room {
        return rows(workers, columns);
    }
    let unfinished: Vec<&Worker> =
        workers.iter().copied().filter(|worker| worker.state != "online").collect();
    if unfinished.len() <= room {
        return rows(&unfinished, columns);
    }
    let Some(room) = room.checked_sub(1) else { return Vec::new() };
    let mut lines = rows(&unfinished[..room], columns);
    lines.push(format!("  and {} more", unfinished.len() - room));
    lines
}

fn rows(workers: &[&Worker], columns: usize) -> Vec<String> {
    use Side::{Left, Right};
    let mut table = Table::bare(&[Left, Left, Left, Left, Right, Left]);
    for worker in workers {
        table.row(&[
            &format!("  slot {}", worker.slot),
            &format!("pid {}", pid(worker.pid)),
            &format!("generation {}", worker.generation),
            &worker.state,
            &Took(worker.uptime).to_string(),
            &worker.said,
        ]);
    }
    // The pids go after the generations, and before the states are cut, which takes a column for the mark.
    table.fitted(&[2, 1], 3, columns.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::super::tables::tests::{serving, worker};
    use super::*;
    use crate::wire::control::status::Deploying;

    const SCREEN: Screen = Screen { columns: 80, rows: 24 };

    fn scene<'a>(aim: Aim, status: &'a Status, latest: &'a str) -> Scene<'a> {
        let most_workers = status.workers.len().max(4);
        Scene { aim, status: Some(status), most_workers, latest, elapsed: Duration::from_millis(1700) }
    }

    fn deploying(phase: &str, workers: Vec<Worker>, leaving: u32) -> Status {
        let online = workers.iter().filter(|worker| worker.generation == 3 && worker.state == "online");
        let deploy = Deploying {
            generation: 3,
            phase: phase.to_owned(),
            by: "client (uid 0)".to_owned(),
            online: u32::try_from(online.count()).unwrap(),
            workers: 2,
            leaving,
            elapsed: Duration::from_millis(1650),
        };
        Status { deploy: Some(deploy), activity: "deploying".to_owned(), ..serving(workers) }
    }

    #[test]
    fn a_deploy_shows_the_new_worker_of_each_slot() {
        let status = deploying(
            "starting",
            vec![
                worker(0, 10, 2, "online"),
                worker(0, 4801, 3, "online"),
                worker(1, 11, 2, "online"),
                Worker { said: "loading\x07".to_owned(), ..worker(1, 4802, 3, "starting") },
            ],
            0,
        );
        assert_eq!(
            lines(&scene(Aim::Deploy, &status, "worker 0 (pid 4801) online after 1.2s"), SCREEN),
            [
                "deploy 3  [##########..........]  1/2 online  1.7s",
                "  slot 0  pid 4801  generation 3  online    1.2s",
                "  slot 1  pid 4802  generation 3  starting  1.2s  loading\\u{7}",
                "worker 0 (pid 4801) online after 1.2s",
            ]
        );
    }

    #[test]
    fn the_old_ones_are_shown_while_they_leave() {
        let status = deploying(
            "draining",
            vec![worker(0, 10, 2, "retiring"), worker(0, 4801, 3, "online"), worker(1, 4802, 3, "online")],
            1,
        );
        assert_eq!(
            lines(&scene(Aim::Deploy, &status, ""), SCREEN),
            [
                "deploy 3  [####################]  2/2 online, 1 leaving, draining  1.7s",
                "  slot 0  pid 10    generation 2  retiring  1.2s",
                "  slot 0  pid 4801  generation 3  online    1.2s",
                "  slot 1  pid 4802  generation 3  online    1.2s",
            ]
        );
    }

    #[test]
    fn a_slot_whose_turn_has_not_come_shows_who_serves_it() {
        let workers = vec![worker(0, 4801, 3, "online"), worker(1, 11, 2, "online")];
        let shown = lines(&scene(Aim::Deploy, &deploying("rolling", workers, 0), ""), SCREEN);
        assert_eq!(shown[2], "  slot 1  pid 11    generation 2  online  1.2s");
    }

    #[test]
    fn before_the_first_answer_there_is_a_bar() {
        let nothing = Scene {
            aim: Aim::Start,
            status: None,
            most_workers: 0,
            latest: "listening on 127.0.0.1:8000",
            elapsed: Duration::ZERO,
        };
        assert_eq!(
            lines(&nothing, SCREEN),
            ["start  [....................]  0.0s", "listening on 127.0.0.1:8000"]
        );
    }

    #[test]
    fn a_stop_counts_those_that_have_ended() {
        let status = serving(vec![worker(3, 13, 2, "retiring")]);
        assert_eq!(
            lines(&scene(Aim::Stop, &status, ""), SCREEN),
            [
                "stop  [###############.....]  3/4 ended  1.7s",
                "  slot 3  pid 13  generation 2  retiring  1.2s"
            ]
        );
    }

    #[test]
    fn on_a_narrow_screen_the_state_is_what_stays() {
        let status = serving(vec![worker(0, 4801, 2, "online"), worker(1, 4802, 2, "starting")]);
        let shown = |columns| lines(&scene(Aim::Scale, &status, ""), Screen { columns, rows: 24 });
        assert_eq!(shown(60)[0], "scale  [##########..........]  1/2 online  1.7s");
        assert_eq!(shown(60)[2], "  slot 1  pid 4802  generation 2  starting  1.2s");
        assert_eq!(
            shown(30),
            [
                "scale  1/2 online  1.7s",
                "  slot 0  pid 4801  online    1.2s",
                "  slot 1  pid 4802  starting  1.2s",
            ]
        );
        assert_eq!(shown(29)[2], "  slot 1  starting  1.2s");
    }

    #[test]
    fn on_a_small_screen_those_online_are_left_out_then_the_last_ones() {
        let state = |slot: u32| if slot % 2 == 0 { "online" } else { "starting" };
        let status = serving((0..10).map(|slot| worker(slot, slot + 100, 2, state(slot))).collect());
        let shown = |rows| lines(&scene(Aim::Scale, &status, "said"), Screen { columns: 80, rows });
        assert_eq!(shown(12).len(), 12);
        let small = shown(11);
        assert_eq!(small.len(), 7, "{small:?}");
        assert!(small[1..6].iter().all(|line| line.contains("starting")), "{small:?}");
        let smaller = shown(5);
        assert_eq!(smaller.len(), 5, "{smaller:?}");
        assert_eq!(smaller[3..], ["  and 3 more", "said"]);
        for rows in 0..4 {
            let tiny = shown(rows);
            assert!(tiny[0].starts_with("scale  [##########..........]  5/10 online"), "{tiny:?}");
        }
    }
}
