//! Bytes from one process to one other, through memory that both see: what the one has put in outlives the other.
//!
//! ```text
//!   memfd:  [ head | tail | sleeps … ]  [ RING_BYTES of bytes ........................ ]
//!             the writer's: all that was ever pushed, modulo 2^32; the reader's: all that was ever consumed
//!
//!   writer   push ──> head moves ──> did the reader sleep? then wake it        ask_for_room: wanted
//!   reader   readable ──> consume ──> tail moves ──> was room wanted? say so   go_to_sleep: sleeps
//! ```
//!
//! Each side changes one thing and then looks at another that the other side changes before it looks at the first:
//! the reader says that it sleeps and then looks for bytes, the writer puts bytes there and then looks for sleepers.
//! All four are sequentially consistent, so that they have one order, and whoever comes second in it sees the other:
//! either the writer sees the sleeper or the reader sees the bytes. With the room it is the same the other way round.
//! So nobody sleeps while there is something to do, and nobody is woken without having asked.
//!
//! The reader maps the bytes twice, one behind the other, so that what is there always lies in one piece. A position
//! that the other side spoilt can make wrong bytes out of right ones, and no access outside of the ring.
//!
//! What a reader takes out goes to a file, and a reader may be killed between the two. So it says here what it is about
//! to write, and where: the next one looks there how much of that has arrived, and takes so much out.
//!
//! What this file does not do: wake anybody, or know what a file is.

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::unistd::ftruncate;

/// A power of two, and as much as a worker can write before it notices that nobody takes it.
pub(crate) const RING_BYTES: usize = 256 * 1024;
/// The state has the first page, on machines with the largest pages too. What is not used of it takes no memory.
const STATE_BYTES: usize = 64 * 1024;
const WHOLE_BYTES: usize = STATE_BYTES + RING_BYTES;

/// What lies at the beginning of the memory. Each side's number has a cache line of its own.
#[repr(C)]
struct State {
    head: Line,
    tail: Line,
    /// 1: the reader sleeps, and wants to be woken.
    sleeps: Line,
    /// 1: the writer waits for room, and wants to be told.
    wanted: Line,
    /// 1: the reader consumed half a line last.
    mid_line: Line,
    begun: BegunWrite,
}

#[repr(C, align(64))]
struct Line(AtomicU32);

/// The reader's alone. Over once `tail` is not at its beginning any more.
#[repr(C, align(64))]
struct BegunWrite {
    /// 1: all of this is valid.
    valid: AtomicU32,
    tail: AtomicU32,
    device: AtomicU64,
    inode: AtomicU64,
    size: AtomicU64,
    bytes: AtomicU32,
}

/// A write of what can be read, to the end of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    /// Device and inode.
    pub(crate) file: (u64, u64),
    /// Of the file before it, in bytes.
    pub(crate) size: u64,
    /// To be written.
    pub(crate) bytes: usize,
}

/// The writer's end. The memory lives as long as one of the ends, or the descriptor.
#[derive(Debug)]
pub(crate) struct Ring {
    fd: OwnedFd,
    memory: Memory,
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// So many bytes, the first ones.
    pub(crate) taken: usize,
    /// The reader is to be woken. It is said once for each time that it went to sleep.
    pub(crate) reader_sleeps: bool,
}

impl Ring {
    /// Empty, and no memory is taken before something is pushed.
    pub(crate) fn new() -> nix::Result<Ring> {
        // SAFETY: the name is a C string; the descriptor that comes back is nobody else's.
        let fd = unsafe {
            let number = Errno::result(libc::memfd_create(c"srvwrap-log".as_ptr(), libc::MFD_CLOEXEC))?;
            OwnedFd::from_raw_fd(number)
        };
        ftruncate(&fd, WHOLE_BYTES as libc::off_t)?;
        let memory = Memory::reserve(WHOLE_BYTES)?;
        memory.place(fd.as_fd(), 0, 0..WHOLE_BYTES)?;
        Ok(Ring { fd, memory })
    }

    /// For [`RingReader::open`], in another process.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Bytes. It only grows while nothing is pushed.
    pub(crate) fn room(&self) -> usize {
        RING_BYTES - self.memory.used()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.memory.used() == 0
    }

    /// Takes as much as there is room for.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Pushed {
        let state = self.memory.state();
        let taken = bytes.len().min(self.room());
        if taken == 0 {
            return Pushed { taken, reader_sleeps: false };
        }
        let head = state.head.0.load(Ordering::Relaxed);
        let at = head as usize % RING_BYTES;
        let (first, rest) = bytes[..taken].split_at(taken.min(RING_BYTES - at));
        // SAFETY: `at` and the length of `first` end within the ring, and `rest` is shorter than what was taken,
        // which is not longer than it. The reader does not look there before `head` has moved.
        unsafe {
            let start = self.memory.bytes();
            ptr::copy_nonoverlapping(first.as_ptr(), start.add(at), first.len());
            ptr::copy_nonoverlapping(rest.as_ptr(), start, rest.len());
        }
        state.head.0.store(head.wrapping_add(taken as u32), Ordering::SeqCst);
        // The swap is a look and an answer in one, so that one sleep is told once.
        Pushed { taken, reader_sleeps: was_set(&state.sleeps) }
    }

    /// For one that found no room for so many bytes: the reader will say when it has made some, perhaps less. False
    /// where there is room after all.
    pub(crate) fn ask_for_room(&self, bytes: usize) -> bool {
        let wanted = &self.memory.state().wanted.0;
        wanted.store(1, Ordering::SeqCst);
        let full = self.room() < bytes;
        if !full {
            wanted.store(0, Ordering::SeqCst);
        }
        full
    }
}

/// The reader's end.
#[derive(Debug)]
pub(crate) struct RingReader {
    memory: Memory,
}

impl RingReader {
    /// `fd` is a [`Ring::descriptor`], and not needed any more after this. A ring that a reader before this one has
    /// left is read from where that one was.
    pub(crate) fn open(fd: BorrowedFd<'_>) -> nix::Result<RingReader> {
        let memory = Memory::reserve(WHOLE_BYTES + RING_BYTES)?;
        memory.place(fd, 0, 0..WHOLE_BYTES)?;
        memory.place(fd, STATE_BYTES, WHOLE_BYTES..WHOLE_BYTES + RING_BYTES)?;
        let reader = RingReader { memory };
        reader.wake();
        Ok(reader)
    }

    /// All that is there, oldest first.
    pub(crate) fn readable(&self) -> &[u8] {
        let at = self.memory.state().tail.0.load(Ordering::Relaxed) as usize % RING_BYTES;
        // SAFETY: it begins in the first of the two mappings and is not longer than one of them. Between tail and
        // head the writer changes nothing.
        unsafe { slice::from_raw_parts(self.memory.bytes().add(at), self.memory.used()) }
    }

    /// Whether what was consumed last, by this reader or the one before it, was no newline.
    pub(crate) fn is_mid_line(&self) -> bool {
        self.memory.state().mid_line.0.load(Ordering::SeqCst) == 1
    }

    /// To be called before each write, which [`RingReader::consume`] ends if it succeeds.
    pub(crate) fn begin(&self, write: Begun) {
        let state = self.memory.state();
        let begun = &state.begun;
        begun.valid.store(0, Ordering::SeqCst);
        begun.tail.store(state.tail.0.load(Ordering::SeqCst), Ordering::SeqCst);
        begun.device.store(write.file.0, Ordering::SeqCst);
        begun.inode.store(write.file.1, Ordering::SeqCst);
        begun.size.store(write.size, Ordering::SeqCst);
        begun.bytes.store(u32::try_from(write.bytes).unwrap_or(u32::MAX), Ordering::SeqCst);
        begun.valid.store(1, Ordering::SeqCst);
    }

    /// Nothing was written, or what was is settled.
    pub(crate) fn end(&self) {
        self.memory.state().begun.valid.store(0, Ordering::SeqCst);
    }

    /// The write that the reader before this one died in.
    pub(crate) fn begun(&self) -> Option<Begun> {
        let state = self.memory.state();
        let begun = &state.begun;
        let is_open = begun.valid.load(Ordering::SeqCst) == 1
            && begun.tail.load(Ordering::SeqCst) == state.tail.0.load(Ordering::SeqCst);
        is_open.then(|| Begun {
            file: (begun.device.load(Ordering::SeqCst), begun.inode.load(Ordering::SeqCst)),
            size: begun.size.load(Ordering::SeqCst),
            bytes: begun.bytes.load(Ordering::SeqCst) as usize,
        })
    }

    /// Gives back the room of so many bytes; not more than there are. True where the writer waits for it.
    pub(crate) fn consume(&mut self, bytes: usize) -> bool {
        let state = self.memory.state();
        let bytes = bytes.min(self.memory.used());
        if bytes == 0 {
            return false;
        }
        let mid_line = self.readable()[bytes - 1] != b'\n';
        state.mid_line.0.store(u32::from(mid_line), Ordering::SeqCst);
        let tail = state.tail.0.load(Ordering::Relaxed);
        state.tail.0.store(tail.wrapping_add(bytes as u32), Ordering::SeqCst);
        was_set(&state.wanted)
    }

    /// The writer will say when it has put something there. False where there is something already.
    pub(crate) fn go_to_sleep(&self) -> bool {
        self.memory.state().sleeps.0.store(1, Ordering::SeqCst);
        let empty = self.memory.used() == 0;
        if !empty {
            self.wake();
        }
        empty
    }

    /// It does not sleep any more, whatever woke it.
    pub(crate) fn wake(&self) {
        self.memory.state().sleeps.0.store(0, Ordering::SeqCst);
    }
}

fn was_set(line: &Line) -> bool {
    // Most often it is not, and a look costs less than a change.
    line.0.load(Ordering::SeqCst) == 1 && line.0.swap(0, Ordering::SeqCst) == 1
}

/// Addresses of our own, given back when this is dropped.
#[derive(Debug)]
struct Memory {
    start: ptr::NonNull<u8>,
    length: usize,
}

impl Memory {
    fn reserve(length: usize) -> nix::Result<Memory> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: the kernel chooses addresses that nobody has.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let start =
            ptr::NonNull::new(start.cast()).expect("the kernel gives no address 0 that was not asked for");
        Ok(Memory { start, length })
    }

    /// Shows what `fd` has from `offset` on at these of our addresses.
    fn place(&self, fd: BorrowedFd<'_>, offset: usize, at: Range<usize>) -> nix::Result<()> {
        assert!(at.end <= self.length, "it is placed within what was reserved");
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        // SAFETY: the addresses are reserved and nobody has been given any of them yet.
        let placed = unsafe {
            let start = self.start.as_ptr().add(at.start).cast();
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(start, at.len(), protection, flags, fd.as_raw_fd(), offset as libc::off_t)
        };
        if placed == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(()) }
    }

    fn state(&self) -> &State {
        // SAFETY: the first page is mapped, aligned, and only ever changed through atomics; zeros are a valid state.
        unsafe { self.start.cast::<State>().as_ref() }
    }

    /// Where the ring begins.
    fn bytes(&self) -> *mut u8 {
        // SAFETY: both mappings are longer than that.
        unsafe { self.start.as_ptr().add(STATE_BYTES) }
    }

    /// Bytes that were pushed and not consumed: at most [`RING_BYTES`], whatever the positions are.
    fn used(&self) -> usize {
        let state = self.state();
        let (head, tail) = (state.head.0.load(Ordering::SeqCst), state.tail.0.load(Ordering::SeqCst));
        (head.wrapping_sub(tail) as usize).min(RING_BYTES)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the addresses are ours, and who borrowed from them borrowed this.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests;
