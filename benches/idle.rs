//! What srvwrap holds, and does, while its workers are idle.

use std::error::Error;
use std::fs;
use std::time::Duration;

use crate::run::Run;
use crate::{Bench, Table};

const COUNTS: [usize; 3] = [4, 100, 1000];
const IDLE: Duration = Duration::from_secs(30);

/// Memory in KiB, and descriptors.
struct Held {
    resident: u64,
    proportional: u64,
    descriptors: usize,
}

pub(crate) fn measure(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let mut runs = Vec::new();
    for count in COUNTS {
        let run = Run::srvwrap(bench, count)?;
        run.wait_until_online()?;
        runs.push(run);
    }
    let held = runs.iter().map(|run| held(run.pid())).collect::<Result<Vec<_>, _>>()?;
    for (count, held) in COUNTS.into_iter().zip(&held) {
        let Held { resident, proportional, descriptors } = held;
        let met = count > 4 || *resident <= 2048;
        let aim = if count == 4 { "RSS at most 2048 KiB" } else { "" };
        let what = format!("memory with {count} idle workers");
        table.row(&what, &format!("{resident} KiB"), "", aim, met);
        table.row(
            "  PSS; open descriptors",
            &format!("{proportional} KiB"),
            &descriptors.to_string(),
            "",
            true,
        );
    }
    for pair in [0, 1] {
        let more = COUNTS[pair + 1] - COUNTS[pair];
        let bytes = (held[pair + 1].resident.saturating_sub(held[pair].resident)) * 1024 / more as u64;
        let what = format!("growth a worker, {} to {}", COUNTS[pair], COUNTS[pair + 1]);
        table.row(&what, &format!("{bytes} B"), "", "< 4096 B", bytes < 4096);
    }
    let before = runs.iter().map(|run| switches(run.pid())).collect::<Result<Vec<_>, _>>()?;
    std::thread::sleep(IDLE);
    for ((count, run), before) in COUNTS.into_iter().zip(&runs).zip(before) {
        let during = switches(run.pid())? - before;
        let what = format!("context switches in 30 s, {count} idle workers");
        table.row(&what, &during.to_string(), "", "0", during == 0);
    }
    Ok(())
}

fn held(pid: u32) -> Result<Held, Box<dyn Error>> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    Ok(Held { resident: field(&rollup, "Rss:")?, proportional: field(&rollup, "Pss:")?, descriptors })
}

fn switches(pid: u32) -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(field(&status, "voluntary_ctxt_switches:")? + field(&status, "nonvoluntary_ctxt_switches:")?)
}

/// The number behind a name at the start of a line.
fn field(text: &str, name: &str) -> Result<u64, Box<dyn Error>> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| format!("no {name}"))?;
    Ok(value.split_whitespace().next().ok_or_else(|| format!("{name} is empty"))?.parse()?)
}
