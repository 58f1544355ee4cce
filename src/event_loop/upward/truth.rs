//! What a manager is to be told, from what goes on: pure, so that each life can be told in a test.
//!
//! ```text
//!   boot ──────── READY=1 ──┬─ a deploy ── RELOADING=1, then READY=1 however it ends ──┐
//!        └ fails            └───────────────────────────────────────────────────────────┴── a stop ── STOPPING=1
//! ```
//!
//! Beside these: STATUS= where it has changed, and not too often; and EXTEND_TIMEOUT_USEC= with what a boot, a deploy
//! or a stop may still take, so that nobody ends it whom srvwrap itself still waits for. That is said when it begins
//! and where it turns out to take longer, and it is never more than the deadlines that srvwrap has set.

use std::time::Duration;

use crate::core::{Notice, Outlook, Phase, Time};

/// A status is not followed by another one before this.
const STATUS_EVERY: Duration = Duration::from_millis(500);
/// From our own deadline to that of the manager: what KILL, the logs and our own end take.
const MARGIN: Duration = Duration::from_secs(10);

/// Of the words why a deploy has failed, in characters: more than a line of a terminal is read by nobody.
const REASON_LIMIT: usize = 160;

/// What the manager was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Truth {
    is_ready: bool,
    is_reloading: bool,
    is_stopping: bool,
    /// The last deploy that it knows of.
    deploy: u32,
    status: String,
    status_at: Option<Time>,
    /// There is another status, to be said then.
    status_due: Option<Time>,
    /// It waits until then.
    promised: Option<Time>,
}

impl Truth {
    pub(super) fn new() -> Truth {
        Truth {
            is_ready: false,
            is_reloading: false,
            is_stopping: false,
            deploy: 1,
            status: String::new(),
            status_at: None,
            status_due: None,
            promised: None,
        }
    }

    /// When there is something to say, though nothing may have happened.
    pub(super) fn next_turn(&self) -> Option<Time> {
        self.status_due
    }

    /// The datagrams that are to be sent now. `usec` is the time that the manager knows.
    pub(super) fn told(&mut self, now: Time, usec: u64, outlook: &Outlook<'_>) -> Vec<String> {
        let mut datagrams = self.turns(usec, outlook);
        let mut lines: Vec<String> = datagrams.pop().into_iter().collect();
        let status = status(outlook);
        self.status_due = None;
        if status != self.status {
            let due = self.status_at.map(|at| at + STATUS_EVERY).filter(|due| *due > now && lines.is_empty());
            self.status_due = due;
            if due.is_none() {
                lines.push(format!("STATUS={status}"));
                (self.status, self.status_at) = (status, Some(now));
            }
        }
        lines.extend(self.extension(now, outlook.until));
        datagrams.extend(Some(lines.join("\n")).filter(|lines| !lines.is_empty()));
        datagrams
    }

    /// What has turned since it was last told, each turn a datagram.
    fn turns(&mut self, usec: u64, outlook: &Outlook<'_>) -> Vec<String> {
        let mut turns = Vec::new();
        let ready = || "READY=1".to_string();
        if outlook.phase == Phase::Stopping {
            turns.extend((!self.is_stopping).then(|| "STOPPING=1".to_string()));
            self.is_stopping = true;
            return turns;
        }
        if !self.is_ready && outlook.generation.is_some() {
            self.is_ready = true;
            turns.push(ready());
        }
        if self.is_ready && outlook.begun > self.deploy {
            // One that has followed another at once.
            turns.extend(self.is_reloading.then(ready));
            turns.push(format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
            (self.is_reloading, self.deploy) = (true, outlook.begun);
        }
        if self.is_reloading && outlook.phase == Phase::Serving {
            self.is_reloading = false;
            turns.push(ready());
        }
        turns
    }

    fn extension(&mut self, now: Time, until: Option<Time>) -> Option<String> {
        let Some(until) = until else {
            self.promised = None;
            return None;
        };
        if self.promised.is_some_and(|promised| until + MARGIN / 2 <= promised) {
            return None;
        }
        self.promised = Some(until + MARGIN);
        Some(format!("EXTEND_TIMEOUT_USEC={}", (until + MARGIN - now).as_micros()))
    }
}

fn status(outlook: &Outlook<'_>) -> String {
    let Outlook { count, online, begun, leaving, of_deploy: (all_new, new), .. } = outlook;
    let generation = outlook.generation.unwrap_or(*begun);
    let failed = outlook.failed.map(reason);
    let workers = |count: u32| if count == 1 { "worker" } else { "workers" };
    let of_all = format!("{online} of {count} {} online", workers(*count));
    match outlook.phase {
        Phase::Booting => format!("booting: {of_all}"),
        Phase::Serving | Phase::Undoing => {
            let failed = failed.map_or(String::new(), |failed| format!("; {failed}"));
            format!("{of_all}, generation {generation}{failed}")
        }
        Phase::Deploying => format!("deploying generation {begun}: {new} of {all_new} online"),
        Phase::Draining => format!("generation {generation} online, {leaving} of the old workers left"),
        // A boot that has failed: nothing that comes later says why.
        Phase::Stopping if outlook.generation.is_none() && failed.is_some() => failed.unwrap_or_default(),
        Phase::Stopping => format!("stopping: {leaving} {} left", workers(*leaving)),
    }
}

/// As `deploy 3 failed: worker 0 (pid 7) exited with status 1 while starting`: one line, of so many characters at most.
fn reason(failed: &Notice) -> String {
    let words = failed.to_string();
    // Which generation serves is said already.
    let short = words.rsplit_once("; generation ").map_or(words.as_str(), |(short, _)| short);
    let line =
        short.chars().map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter });
    let mut line: String = line.take(REASON_LIMIT + 1).collect();
    if let Some((cut, _)) = line.char_indices().nth(REASON_LIMIT) {
        line.truncate(cut);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{DeployNews, Fault};

    fn at(milliseconds: u64) -> Time {
        Time(Duration::from_millis(milliseconds))
    }

    fn outlook(phase: Phase, generation: Option<u32>, begun: u32) -> Outlook<'static> {
        let (until, failed) = (None, None);
        Outlook {
            phase,
            generation,
            count: 2,
            online: 0,
            begun,
            of_deploy: (2, 0),
            leaving: 0,
            until,
            failed,
        }
    }

    /// One second a look; what is told, without status.
    fn turns(looks: &[Outlook<'_>]) -> Vec<String> {
        let mut truth = Truth::new();
        let told = (1..).zip(looks).flat_map(|(second, look)| truth.told(at(second * 1000), second, look));
        let without_status = |datagram: String| {
            let lines: Vec<&str> = datagram.lines().filter(|line| !line.starts_with("STATUS=")).collect();
            lines.join(" ")
        };
        told.map(without_status).filter(|told| !told.is_empty()).collect()
    }

    #[test]
    fn ready_is_said_once_when_the_first_generation_is_online() {
        let (booting, serving) = (outlook(Phase::Booting, None, 1), outlook(Phase::Serving, Some(1), 1));
        assert_eq!(turns(&[booting.clone(), booting.clone()]), [""; 0]);
        assert_eq!(turns(&[booting, serving.clone(), serving]), ["READY=1"]);
    }

    #[test]
    fn a_deploy_is_a_reload_however_it_ends() {
        let serving = outlook(Phase::Serving, Some(1), 1);
        let deploying = outlook(Phase::Deploying, Some(1), 2);
        for (middle, end) in [
            (outlook(Phase::Draining, Some(2), 2), outlook(Phase::Serving, Some(2), 2)),
            (outlook(Phase::Undoing, Some(1), 2), outlook(Phase::Serving, Some(1), 2)),
        ] {
            let told = turns(&[serving.clone(), deploying.clone(), middle, end.clone(), end]);
            assert_eq!(told, ["READY=1", "RELOADING=1 MONOTONIC_USEC=2", "READY=1"]);
        }
    }

    #[test]
    fn a_deploy_that_fails_between_two_looks_was_one_all_the_same() {
        let told = turns(&[outlook(Phase::Serving, Some(1), 1), outlook(Phase::Serving, Some(1), 2)]);
        assert_eq!(told, ["READY=1", "RELOADING=1 MONOTONIC_USEC=2", "READY=1"]);
    }

    #[test]
    fn a_deploy_behind_another_is_a_reload_of_its_own_and_so_is_one_behind_the_boot() {
        let reload = |usec: u32| format!("RELOADING=1 MONOTONIC_USEC={usec}");
        let told = turns(&[outlook(Phase::Deploying, Some(1), 2), outlook(Phase::Deploying, Some(2), 3)]);
        assert_eq!(told, ["READY=1", &reload(1), "READY=1", &reload(2)]);
    }

    #[test]
    fn a_stop_is_said_once_and_nothing_of_readiness_after_it() {
        let (booting, stopping) = (outlook(Phase::Booting, None, 1), outlook(Phase::Stopping, None, 1));
        assert_eq!(turns(&[booting, stopping.clone(), stopping]), ["STOPPING=1"]);
        let late = outlook(Phase::Stopping, Some(1), 2);
        let told = turns(&[outlook(Phase::Deploying, Some(1), 2), late.clone(), late]);
        assert_eq!(told, ["READY=1", "RELOADING=1 MONOTONIC_USEC=1", "STOPPING=1"]);
    }

    #[test]
    fn a_status_is_said_when_it_changes_and_the_last_of_many_is_said_too() {
        let mut truth = Truth::new();
        let mut look = outlook(Phase::Booting, None, 1);
        assert_eq!(truth.told(at(0), 0, &look), ["STATUS=booting: 0 of 2 workers online"]);
        assert_eq!((truth.told(at(1), 0, &look), truth.next_turn()), (vec![], None));
        look.online = 1;
        assert_eq!((truth.told(at(2), 0, &look), truth.next_turn()), (vec![], Some(at(500))));
        look.online = 2;
        assert_eq!(truth.told(at(499), 0, &look), [""; 0]);
        assert_eq!(truth.told(at(500), 0, &look), ["STATUS=booting: 2 of 2 workers online"]);
        assert_eq!(truth.next_turn(), None);
        look.online = 1;
        assert_eq!((truth.told(at(501), 0, &look), truth.next_turn()), (vec![], Some(at(1000))));
        look.online = 2;
        assert_eq!((truth.told(at(502), 0, &look), truth.next_turn()), (vec![], None), "it is what it was");
        // With a turn it goes at once.
        let serving = Outlook { online: 2, ..outlook(Phase::Serving, Some(1), 1) };
        assert_eq!(truth.told(at(503), 0, &serving), ["READY=1\nSTATUS=2 of 2 workers online, generation 1"]);
    }

    #[test]
    fn each_phase_has_a_status_with_its_counts() {
        let look =
            Outlook { online: 1, leaving: 3, of_deploy: (5, 4), ..outlook(Phase::Serving, Some(1), 2) };
        for (phase, words) in [
            (Phase::Booting, "booting: 1 of 2 workers online"),
            (Phase::Serving, "1 of 2 workers online, generation 1"),
            (Phase::Deploying, "deploying generation 2: 4 of 5 online"),
            (Phase::Draining, "generation 1 online, 3 of the old workers left"),
            (Phase::Undoing, "1 of 2 workers online, generation 1"),
            (Phase::Stopping, "stopping: 3 workers left"),
        ] {
            assert_eq!(status(&Outlook { phase, ..look.clone() }), words);
        }
    }

    #[test]
    fn one_worker_is_one() {
        let look = Outlook { count: 1, online: 1, leaving: 1, ..outlook(Phase::Serving, Some(1), 1) };
        for (phase, words) in [
            (Phase::Booting, "booting: 1 of 1 worker online"),
            (Phase::Serving, "1 of 1 worker online, generation 1"),
            (Phase::Stopping, "stopping: 1 worker left"),
        ] {
            assert_eq!(status(&Outlook { phase, ..look.clone() }), words);
        }
    }

    fn deploy_failed(why: &str) -> Notice {
        let fault = Fault::NotSpawned(why.to_string());
        Notice::Deploy { generation: 3, news: DeployNews::Cut { fault, keeps: Some(2) } }
    }

    #[test]
    fn a_deploy_that_has_failed_is_in_the_status_until_another_one() {
        let failed = deploy_failed("no\nroom");
        let look = Outlook { failed: Some(&failed), online: 2, ..outlook(Phase::Serving, Some(2), 3) };
        let words = "2 of 2 workers online, generation 2; deploy 3 failed: no\u{fffd}room";
        assert_eq!(status(&look), words);
        assert_eq!(status(&Outlook { phase: Phase::Undoing, ..look.clone() }), words);
        let stopping = Outlook { phase: Phase::Stopping, leaving: 2, ..look.clone() };
        assert_eq!(status(&stopping), "stopping: 2 workers left");
        let long = deploy_failed(&"é".repeat(300));
        let long = status(&Outlook { failed: Some(&long), ..look });
        assert!(long.ends_with("éé…") && long.chars().count() < 220, "{long}");
    }

    #[test]
    fn a_boot_that_has_failed_says_why_until_the_end() {
        let fault = Fault::NotSpawned("no room".to_string());
        let failed = Notice::Deploy { generation: 1, news: DeployNews::Cut { fault, keeps: None } };
        let look = Outlook { failed: Some(&failed), leaving: 1, ..outlook(Phase::Stopping, None, 1) };
        assert_eq!(status(&look), "cannot start: no room");
    }

    #[test]
    fn what_it_may_take_is_said_at_the_start_and_where_it_becomes_more_and_no_more_than_that() {
        let mut truth = Truth::new();
        let mut extension = |now, until: Option<u64>| truth.extension(at(now), until.map(at));
        let usec = |seconds: u64| Some(format!("EXTEND_TIMEOUT_USEC={seconds}000000"));
        assert_eq!(extension(0, Some(60_000)), usec(70));
        assert_eq!(extension(10_000, Some(60_000)), None);
        assert_eq!(extension(10_000, Some(20_000)), None, "it may be over earlier");
        assert_eq!(extension(10_000, Some(65_000)), None, "the margin has room for it");
        assert_eq!(extension(10_000, Some(66_000)), usec(66));
        assert_eq!(extension(20_000, None), None);
        assert_eq!(extension(30_000, Some(31_000)), usec(11), "another wait");
    }
}
