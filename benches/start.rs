//! How long until workers run: at the start, and after one has died.

use std::error::Error;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::run::{Moment, Run, median};
use crate::{Bench, Table};

/// How often each is measured, by the number of workers.
const SIZES: [(usize, usize); 4] = [(1, 101), (4, 51), (100, 15), (1000, 7)];

/// From exec of srvwrap to the first worker's main, and to all of them, beside the bare loop.
pub(crate) fn first_and_all(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    for (count, times) in SIZES {
        let (mut first, mut all, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..times {
            let run = Run::srvwrap(bench, count)?;
            first.push(run.to_first());
            all.push(run.to_all());
            drop(run);
            bare.push(Run::bare(bench, count)?.to_all());
        }
        let (first, all, bare) = (median(first), median(all), median(bare));
        if count == 1 {
            compare(table, "exec of srvwrap to the first worker's main", first, bare, 3.0);
        } else {
            let limit = if count < 100 { f64::INFINITY } else { 1.5 };
            compare(table, &format!("exec of srvwrap to {count} workers' main"), all, bare, limit);
        }
    }
    Ok(())
}

const REPLACED: usize = 40;

/// From the death of a worker that was online for more than a second to its replacement's main.
pub(crate) fn replacement(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let mut run = Run::srvwrap(bench, REPLACED)?;
    run.wait_until_online()?;
    std::thread::sleep(Duration::from_millis(1500));
    let (mut replaced, mut bare) = (Vec::new(), Vec::new());
    for worker in run.workers.clone() {
        let killed_at = Moment::now();
        kill(Pid::from_raw(worker.pid), Signal::SIGKILL)?;
        replaced.push(run.next()?.at.0 - killed_at.0);
        bare.push(Run::bare(bench, 1)?.to_all());
    }
    compare(table, "death of a worker to its replacement's main", median(replaced), median(bare), 4.0);
    Ok(())
}

fn compare(table: &mut Table, what: &str, srvwrap: Duration, bare: Duration, limit: f64) {
    let ratio = srvwrap.as_secs_f64() / bare.as_secs_f64();
    let aim = if limit.is_finite() { format!("{ratio:.2}, aim {limit}") } else { format!("{ratio:.2}") };
    let milliseconds = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1000.0);
    table.row(what, &milliseconds(srvwrap), &milliseconds(bare), &aim, ratio <= limit);
}
