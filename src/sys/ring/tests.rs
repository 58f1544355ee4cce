//! The ring alone, then between two threads, then between two processes.

use super::*;
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{self, ForkResult, Pid, fork, pipe};
use proptest::prelude::*;

use crate::sys::apart::{Apart, run_apart};
use crate::sys::startup::Startup;

fn pair() -> (Ring, RingReader) {
    let ring = Ring::new().unwrap();
    let reader = RingReader::open(ring.descriptor()).unwrap();
    (ring, reader)
}

/// The byte at this place of an endless text in which no two pieces that could be mistaken for each other are the same.
fn byte_at(place: u64) -> u8 {
    (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn text(from: u64, length: usize) -> Vec<u8> {
    (from..).take(length).map(byte_at).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_comes_out_is_what_went_in_across_its_end_and_across_that_of_the_numbers(
        start in any::<u32>().prop_map(|start| start | 0xffff_0000),
        steps in proptest::collection::vec((0..RING_BYTES + 100, 0..RING_BYTES + 100), 1..24),
    ) {
        let (mut ring, mut reader) = pair();
        for position in [&ring.memory.state().head, &ring.memory.state().tail] {
            position.0.store(start, Ordering::SeqCst);
        }
        let (mut pushed, mut consumed) = (0u64, 0u64);
        for (push, consume) in steps {
            let room = RING_BYTES - (pushed - consumed) as usize;
            prop_assert_eq!(ring.room(), room);
            let taken = ring.push(&text(pushed, push)).taken;
            prop_assert_eq!(taken, push.min(room));
            pushed += taken as u64;
            let there = reader.readable();
            prop_assert_eq!(there.len() as u64, pushed - consumed);
            prop_assert!(there == text(consumed, there.len()), "the bytes differ");
            let consume = consume.min(there.len());
            reader.consume(consume);
            consumed += consume as u64;
            prop_assert_eq!(ring.is_empty(), pushed == consumed);
        }
    }

    #[test]
    fn spoilt_positions_lead_nowhere_else(head: u32, tail: u32, length in 0..2 * RING_BYTES) {
        let (mut ring, mut reader) = pair();
        let state = ring.memory.state();
        state.head.0.store(head, Ordering::SeqCst);
        state.tail.0.store(tail, Ordering::SeqCst);
        prop_assert!(reader.readable().iter().map(|byte| usize::from(*byte)).sum::<usize>() == 0);
        prop_assert!(reader.readable().len() <= RING_BYTES && ring.room() <= RING_BYTES);
        prop_assert!(ring.push(&vec![1; length]).taken <= RING_BYTES);
        reader.consume(length);
    }
}

#[test]
fn a_sleeper_is_told_of_once_and_never_where_there_was_something() {
    let (mut ring, mut reader) = pair();
    assert!(!ring.push(b"a").reader_sleeps);
    assert!(!reader.go_to_sleep(), "there is something");
    assert!(!ring.push(b"b").reader_sleeps, "it did not go to sleep");
    assert!(!reader.consume(2));
    assert!(reader.go_to_sleep());
    assert_eq!(ring.push(b""), Pushed { taken: 0, reader_sleeps: false });
    assert!(ring.push(b"c").reader_sleeps);
    assert!(!ring.push(b"d").reader_sleeps, "it was told");
    assert!(!reader.consume(2));
    assert!(reader.go_to_sleep());
    reader.wake();
    assert!(!ring.push(b"e").reader_sleeps, "something else woke it");
}

#[test]
fn room_is_told_of_once_to_one_that_found_none() {
    let (mut ring, mut reader) = pair();
    assert!(!ring.ask_for_room(1), "there is room");
    assert_eq!(ring.push(&vec![b'x'; RING_BYTES + 1]).taken, RING_BYTES);
    assert_eq!(ring.push(b"x").taken, 0);
    assert!(ring.ask_for_room(1));
    assert!(!reader.consume(0), "no room was made");
    assert!(reader.consume(1));
    assert!(!reader.consume(1), "it was told");
    assert_eq!(ring.room(), 2);
}

#[test]
fn a_second_reader_goes_on_where_the_first_one_was_and_knows_half_a_line() {
    let (mut ring, mut first) = pair();
    ring.push(b"one\ntwo\n");
    assert!(!first.is_mid_line());
    assert!(first.go_to_sleep() || first.readable().len() == 8);
    first.consume(5);
    assert!(first.is_mid_line());
    drop(first);
    let mut second = RingReader::open(ring.descriptor()).unwrap();
    assert!(second.is_mid_line());
    assert_eq!(second.readable(), b"wo\n");
    assert!(!ring.push(b"three\n").reader_sleeps, "it has just begun, and looks first");
    second.consume(3);
    assert!(!second.is_mid_line());
    assert_eq!(second.readable(), b"three\n");
}

const MOVED_BYTES: u64 = 40 * 1024 * 1024;

/// Pseudo-random sizes, small ones more often.
struct Sizes(u64);

impl Sizes {
    fn next(&mut self) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let most = [1, 10, 300, 5000, RING_BYTES as u64][(self.0 >> 33) as usize % 5];
        1 + ((self.0 >> 40) % most) as usize
    }
}

/// Pushes the text; says `l` where the reader sleeps; waits, where there is no room, for an `r`.
fn push_all(mut ring: Ring, looks: &OwnedFd, rooms: &OwnedFd, seed: u64) {
    let (mut sizes, mut pushed) = (Sizes(seed), 0);
    while pushed < MOVED_BYTES {
        let bytes = text(pushed, sizes.next().min((MOVED_BYTES - pushed) as usize));
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let Pushed { taken, reader_sleeps } = ring.push(rest);
            rest = &rest[taken..];
            if reader_sleeps {
                unistd::write(looks, b"l").unwrap();
            }
            if !rest.is_empty() && ring.ask_for_room(1) {
                assert_eq!(unistd::read(rooms, &mut [0]), Ok(1));
            }
        }
        pushed += bytes.len() as u64;
    }
}

/// Takes all of it; false where it is not the text, or nothing came for ten seconds.
fn consume_all(mut reader: RingReader, looks: &OwnedFd, rooms: &OwnedFd, seed: u64) -> bool {
    let (mut sizes, mut consumed) = (Sizes(seed), 0);
    while consumed < MOVED_BYTES {
        let there = reader.readable();
        let count = there.len().min(sizes.next());
        if there[..count] != text(consumed, count) {
            return false;
        }
        consumed += count as u64;
        if count > 0 {
            if reader.consume(count) {
                unistd::write(rooms, b"r").unwrap();
            }
        } else if reader.go_to_sleep() {
            let mut woken = [PollFd::new(looks.as_fd(), PollFlags::POLLIN)];
            if poll(&mut woken, PollTimeout::from(10_000u16)) != Ok(1) {
                return false;
            }
            assert_eq!(unistd::read(looks, &mut [0]), Ok(1));
        }
    }
    true
}

#[test]
fn between_two_threads_every_byte_arrives_and_nobody_sleeps_for_ever() {
    for seed in 1..=3 {
        let ring = Ring::new().unwrap();
        let fd = ring.descriptor().try_clone_to_owned().unwrap();
        let (looks, look) = pipe().unwrap();
        let (rooms, room) = pipe().unwrap();
        let good = thread::scope(|scope| {
            // One that gives up closes its ends, so that the other one fails as well.
            let consumer = scope
                .spawn(move || consume_all(RingReader::open(fd.as_fd()).unwrap(), &looks, &room, seed + 100));
            push_all(ring, &look, &rooms, seed);
            consumer.join().unwrap()
        });
        assert!(good, "seed {seed}");
    }
}

#[test]
fn between_two_processes_it_is_the_same() {
    let test = "sys::ring::tests::between_two_processes_it_is_the_same";
    if run_apart(test, &Startup::plain()) == Apart::Done {
        return;
    }
    let ring = Ring::new().unwrap();
    let (looks, look) = pipe().unwrap();
    let (rooms, room) = pipe().unwrap();
    // SAFETY: a child, which does no more than this and ends without its parent's farewells.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            drop(rooms);
            let reader = RingReader::open(ring.descriptor()).unwrap();
            let good = consume_all(reader, &looks, &room, 7);
            // SAFETY: see above.
            unsafe { libc::_exit(i32::from(!good)) }
        }
        ForkResult::Parent { child } => {
            drop((room, looks));
            push_all(ring, &look, &rooms, 8);
            assert_eq!(waitpid(child, None), Ok(nix::sys::wait::WaitStatus::Exited(child, 0)));
        }
    }
}

/// A child that nothing is waited for is killed where the test fails.
struct Killed(Pid);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

#[test]
fn what_a_reader_that_was_killed_has_not_consumed_is_still_there() {
    let test = "sys::ring::tests::what_a_reader_that_was_killed_has_not_consumed_is_still_there";
    if run_apart(test, &Startup::plain()) == Apart::Done {
        return;
    }
    let mut ring = Ring::new().unwrap();
    let (told, tell) = pipe().unwrap();
    ring.push(b"one\ntwo\n");
    // SAFETY: as above.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let mut reader = RingReader::open(ring.descriptor()).unwrap();
            reader.consume(4);
            let _ = unistd::write(&tell, b"x");
            loop {
                unistd::pause();
            }
        }
        ForkResult::Parent { child } => {
            let child = Killed(child);
            unistd::read(&told, &mut [0]).unwrap();
            drop(child);
        }
    }
    ring.push(b"three\n");
    let reader = RingReader::open(ring.descriptor()).unwrap();
    assert_eq!(reader.readable(), b"two\nthree\n");
}
