//! How long the control socket takes to answer: on an idle srvwrap, and while 500 clients idle and one floods.

use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::run::Run;
use crate::{Bench, Table};

const STATUS: &[u8] = b"GET /status HTTP/1.1\r\nHost: srvwrap\r\n\r\n";
const ROUND_TRIPS: usize = 400;
const IDLE_CLIENTS: usize = 500;
const WORKERS: usize = 4;
/// Requests that the flood has on the way at a time.
const AT_ONCE: usize = 64;

pub(crate) fn measure(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let run = Run::srvwrap(bench, WORKERS)?;
    run.wait_until_online()?;
    let socket = &run.socket();
    let quiet = round_trips(socket)?;
    let crowd = crowd(socket)?;
    let crowded = round_trips(socket)?;
    let over = AtomicBool::new(false);
    let (flooded, answered) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(socket, &over));
        let flooded = round_trips(socket);
        over.store(true, Ordering::Relaxed);
        let answered = flood.join().map_err(|_| "the flood panicked")?;
        Ok::<_, Box<dyn Error>>((flooded?, answered.map_err(|error| error.to_string())?))
    })?;
    drop(crowd);
    for (what, part) in [("median", 50), ("99 of 100", 99)] {
        let row = |times: &[Duration]| times[times.len() * part / 100];
        let (quiet, crowded, flooded) = (row(&quiet), row(&crowded), row(&flooded));
        let shown = |time: Duration| format!("{:.3} ms", time.as_secs_f64() * 1000.0);
        let ratio = |time: Duration| format!("{:.2}", time.as_secs_f64() / quiet.as_secs_f64());
        let name = format!("GET /status, {what}: 500 clients idle");
        table.row(&name, &shown(crowded), &shown(quiet), &ratio(crowded), true);
        let name = format!("GET /status, {what}: and one floods");
        table.row(&name, &shown(flooded), &shown(quiet), &ratio(flooded), true);
    }
    table.row("  requests of the flood meanwhile", &answered.to_string(), "", "", answered > 0);
    Ok(())
}

/// Sorted. Each on a connection of its own, as a command does it.
fn round_trips(socket: &Path) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..ROUND_TRIPS {
        let began = Instant::now();
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(STATUS)?;
        read_response(&mut stream, &mut Vec::new())?;
        times.push(began.elapsed());
    }
    times.sort();
    Ok(times)
}

/// Clients that have asked once and keep their connection.
fn crowd(socket: &Path) -> Result<Vec<UnixStream>, Box<dyn Error>> {
    let client = |_| {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(STATUS)?;
        read_response(&mut stream, &mut Vec::new())?;
        Ok(stream)
    };
    (0..IDLE_CLIENTS).map(client).collect()
}

/// Asks without a pause on one connection. Returns how many were answered.
fn flood(socket: &Path, over: &AtomicBool) -> std::io::Result<u64> {
    let mut stream = UnixStream::connect(socket)?;
    let (requests, mut left, mut answered) = (STATUS.repeat(AT_ONCE), Vec::new(), 0);
    while !over.load(Ordering::Relaxed) {
        stream.write_all(&requests)?;
        for _ in 0..AT_ONCE {
            read_response(&mut stream, &mut left)?;
            answered += 1;
        }
    }
    Ok(answered)
}

/// Takes one response off the stream; what came of the next one is in `left`.
fn read_response(stream: &mut UnixStream, left: &mut Vec<u8>) -> std::io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(end) = end_of_response(left) {
            left.drain(..end);
            return Ok(());
        }
        match stream.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => left.extend_from_slice(&buffer[..count]),
        }
    }
}

fn end_of_response(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?.to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    let end = head + length.trim().parse::<usize>().ok()?;
    (bytes.len() >= end).then_some(end)
}
