//! What others do to the log, the clock and srvwrap, and how it has to be when all is calm again.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use super::super::super::{Event, Rotation, Wall};
use super::super::disk::{File, LOG, Node};
use super::{Kind, World, number};

impl World {
    /// Several want it at once.
    pub(in super::super) fn ask_to_reopen(&mut self) {
        self.undisturbed = false;
        for _ in 0..1 + self.random.below(3) {
            self.asked.push_back(self.now);
            if self.in_line.is_some() {
                self.excuse();
            }
            self.happened(Event::ReopenAsked);
        }
    }

    /// As logrotate does, or rm.
    pub(in super::super) fn move_log(&mut self, to: Option<&str>) {
        self.undisturbed = false;
        self.tell(|| format!("the log is moved to {to:?}"));
        let Some(node) = self.disk.names.remove(LOG) else { return };
        let Node::File(file) = node else { return };
        self.forget(file);
        self.gone.extend(self.in_line.map(|(line, _)| line));
        self.disk.files[file].astray_since = Some(self.now);
        if let Some(to) = to {
            self.disk.names.insert(to.to_string(), node);
            self.users.insert(to.to_string(), node);
        }
    }

    /// As logrotate does with copytruncate.
    pub(in super::super) fn truncate_log(&mut self) {
        self.undisturbed = false;
        self.tell(|| "the log is truncated".to_string());
        let Some(file) = self.disk.at(LOG) else { return };
        self.forget(file);
        self.truncated = true;
        self.disk.files[file].text.clear();
        if let Some((line, _)) = self.in_line {
            self.gone.insert(line);
            self.scraps += 1;
        }
    }

    pub(in super::super) fn step_clock(&mut self, forward: bool, by: Duration) {
        self.undisturbed = false;
        let by = by.as_millis() as u64;
        self.latest = self.latest.max(self.wall);
        self.wall = if forward { self.wall + by } else { self.wall - by };
        self.stepped_back |= !forward;
        self.tell(|| "the clock steps".to_string());
        for file in &mut self.disk.files {
            file.began = file.began.min(self.wall);
        }
        if let Some(every) = self.every() {
            if self.latest / every > self.wall / every + (86_400_000 / every).max(1) {
                (self.boundary, self.latest) = (0, self.wall);
            }
        }
    }

    /// Names that look like ours, and names that ours would like to have.
    pub(in super::super) fn plant(&mut self) {
        let moment = UNIX_EPOCH + Duration::from_millis(self.wall + self.random.below(2000));
        let stamp = humantime::format_rfc3339_millis(moment).to_string().replace(['-', ':'], "");
        let is_file = self.random.one_in(2);
        let ending = match (self.random.below(3), is_file) {
            (0, false) => ".gz",
            (1, false) => ".gz.tmp",
            (_, false) => "",
            (0, true) => ".bak",
            (1, true) => "Z.gz",
            (_, true) => ".gz.tmp2",
        };
        let name = format!("{LOG}.{stamp}{ending}");
        if self.disk.names.contains_key(&name) {
            return;
        }
        self.undisturbed = false;
        self.tell(|| format!("{name} is planted"));
        if is_file {
            self.disk.add(&name, File { text: b"mine\n".to_vec(), ..File::default() });
        } else {
            self.disk.names.insert(name.clone(), Node::Other);
        }
        self.users.insert(name.clone(), self.disk.names[&name]);
    }

    /// srvwrap is killed with all that it has, and started again.
    pub(in super::super) fn crash(&mut self) {
        self.undisturbed = false;
        self.tell(|| "srvwrap is killed, and started".to_string());
        self.scraps += u64::from(self.in_line.is_some());
        self.in_line = None;
        self.gone.extend(self.queued.drain(..));
        self.ring.clear();
        self.open = None;
        self.kill_compressor();
        self.told_at.clear();
        self.failed_at.clear();
        self.uncompressed.clear();
        self.asked.clear();
        (self.troubles, self.in_trouble) = (0, false);
        (self.listed, self.list_failing_since, self.boundary) = (false, None, 0);
        self.rotation = Rotation::new(LOG.into(), self.limits.clone());
        self.turn();
    }

    /// It leaves what it has at any of its steps.
    fn kill_compressor(&mut self) {
        let Some(compressing) = self.compressing.take() else { return };
        let name = compressing.name.clone();
        let partial = format!("{name}.gz.tmp");
        let is_free = !self.users.contains_key(&partial);
        match self.random.below(4) {
            0 => {}
            1 if is_free => {
                self.disk.add(&partial, File { compressed: true, ..File::default() });
            }
            published => {
                let source = self.disk.names.get(&name).copied();
                self.publish(compressing);
                if is_free {
                    self.disk.names.remove(&partial);
                }
                if let (3, Some(source)) = (published, source) {
                    self.disk.names.insert(name, source);
                }
            }
        }
    }

    pub(in super::super) fn outage(&mut self, kind: Kind, time: Duration) {
        self.undisturbed = false;
        self.tell(|| format!("{kind:?} fails for {time:?}"));
        self.fails_until.insert(kind, self.now + time);
    }

    pub(in super::super) fn fill_disk(&mut self, free: u64) {
        self.undisturbed = false;
        self.capacity = self.disk.used() + free;
    }

    /// Nothing fails any more: all that waits is written, and in the end the directory is as it should be.
    pub(in super::super) fn finish(&mut self) {
        self.tell(|| "all is well from now on".to_string());
        self.fails_one_in.clear();
        self.fails_until.clear();
        self.capacity = u64::MAX;
        self.run_for(Duration::from_millis(2001));
        assert!(self.ring.is_empty(), "lines are not written");
        self.run_for(Duration::from_secs(61));
        for _ in 0..3 {
            let length = self.limits.max_size.unwrap_or(9).min(1000) as usize;
            (0..3).for_each(|_| self.line(length));
            self.run_for(self.limits.every.unwrap_or_default() + Duration::from_millis(2001));
        }
        self.run_for(Duration::from_secs(605) * (1 + self.limits.keep));
        assert!(self.asked.is_empty() && self.ring.is_empty());
        if self.limits.max_size.is_some() || self.limits.every.is_some() {
            self.is_tidy();
        }
        for (name, node) in &self.users {
            assert_eq!(self.disk.names.get(name), Some(node), "{name} is touched");
        }
        assert_eq!(self.rotation.share(self.now, Wall(self.wall), b""), 0);
        self.has_every_line();
        self.is_idle();
    }

    fn is_tidy(&self) {
        let archive_there = self.disk.archives().len();
        // By time alone, a clock that has stepped back has to come to the next boundary first.
        let late = self.stepped_back && self.limits.max_size.is_none();
        let least = if late { 0 } else { (self.limits.keep as usize).min(2) };
        assert!(self.limits.total.is_some() || archive_there >= least, "nothing was rotated");
        self.limits_hold();
        if self.disordered {
            return;
        }
        let ours = self.disk.names.keys().filter(|name| *name != LOG && !self.users.contains_key(*name));
        let mut plain = ours.filter(|name| !name.ends_with(".gz"));
        // One whose compressed name is somebody else's stays as it is, and that is told for as long.
        let is_taken = |name: &&String| self.users.contains_key(&format!("{name}.gz"));
        assert!(plain.clone().any(|name| is_taken(&name)) || !self.in_trouble, "the trouble is never over");
        let left = plain.find(|name| !is_taken(name));
        assert!(left.is_none(), "{left:?} is left");
    }

    fn is_idle(&self) {
        let timeout = self.rotation.poll_timeout(self.now, Wall(self.wall));
        let empty = self.disk.at(LOG).is_none_or(|log| self.disk.files[log].text.is_empty());
        let may = (self.limits.every.is_some() && !empty) || !self.uncompressed.is_empty();
        assert!(timeout.is_none() || may, "it wakes up for nothing: {timeout:?}");
    }

    /// Every line is there once and in order, but for what others took.
    fn has_every_line(&mut self) {
        let (mut last, mut seen) = (0, BTreeSet::new());
        for line in self.disk.all_lines() {
            let Some(number) = number(&line) else {
                assert!(self.scraps > 0, "a scrap: {}", String::from_utf8_lossy(&line));
                self.scraps -= 1;
                continue;
            };
            let whole = self.lengths.get(&number) == Some(&(line.len() + 1));
            assert!(whole || self.gone.contains(&number), "line {number} is torn");
            assert!(seen.insert(number), "line {number} is there twice");
            assert!(number > last || self.disordered, "line {number} comes after {last}");
            last = number;
        }
        let lost = (1..self.next_line).find(|line| !seen.contains(line) && !self.gone.contains(line));
        assert_eq!(lost, None, "a line is lost");
    }
}
