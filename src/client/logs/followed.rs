//! One log file with its archives: its last lines, and then everything that is written, in order, each byte once.
//!
//! ```text
//!   app.log.20261120T100000.123Z.gz   app.log.20261120T110000.000Z   app.log
//!     older ─────────────────────────────────────────────> newer       the file that is written
//! ```
//!
//! A file that was renamed is read to its end before the one that has its name now; and while nobody looked there may
//! have been others in between, which are archives by now. The kernel tells what an open file is called, so that it is
//! known which those are. Where something else than srvwrap has moved or copied the file, what was moved is still
//! looked at for a while: srvwrap writes there until it is told, or notices.
//!
//! What this file does not do: wait.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;

use crate::logs::without_stamp;

use super::lines::{HEAD_BYTES, Lines, Of};

/// Takes whole lines.
type Show<'a> = &'a mut dyn FnMut(&[u8]);

#[derive(Debug)]
pub(super) struct Followed {
    path: PathBuf,
    of: Of,
    file: Option<Open>,
    /// Those that had its name before, and until when they are looked at.
    old: Vec<(Open, Instant)>,
    /// Where there was no file yet: what its newest archive was.
    after: OsString,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Read up to here.
    at: u64,
    lines: Lines,
}

/// srvwrap looks at the name of its file once a second when it writes.
const LOOKED_AT: Duration = Duration::from_secs(5);
const PIECE_BYTES: usize = 64 * 1024;

impl Followed {
    /// Shows the last lines that are whole at this moment; of archives too, where the file has not so many. What comes
    /// meanwhile is for [`Followed::go_on`]. An error is a sentence.
    pub(super) fn begin(path: PathBuf, wanted: usize, of: Of, show: Show<'_>) -> Result<Followed, String> {
        let cannot = |error: &io::Error| format!("cannot read {}: {}", path.display(), words(error));
        let file = open(&path).map_err(|error| cannot(&error))?;
        let (mut start, mut end, mut missing) = (0, 0, wanted);
        if let Some(file) = &file {
            let length = file.metadata().map_err(|error| cannot(&error))?.len();
            end = whole_lines_end(file, length).map_err(|error| cannot(&error))?;
            let found = last_lines(file, end, wanted, &of).map_err(|error| cannot(&error))?;
            (start, missing) = (found.start, wanted - found.lines);
        }
        let archives = archives(&path);
        if missing > 0 {
            let before = file.as_ref().and_then(archived_as);
            show_last_of(&archives, before.as_deref(), missing, &of, show);
        }
        let file = file.map(|file| Open { file, at: start, lines: Lines::new(of.clone(), 0) });
        let mut followed = Followed { path, of, file, old: Vec::new(), after: newest(archives) };
        if let Some(file) = &mut followed.file {
            file.read_to(end, show);
        }
        Ok(followed)
    }

    /// One that is to come.
    pub(super) fn to_come(path: PathBuf, of: Of) -> Followed {
        let after = newest(archives(&path));
        Followed { path, of, file: None, old: Vec::new(), after }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Or was: in the middle of a rotation there is none for a moment.
    pub(super) fn is_there(&self) -> bool {
        self.file.is_some() || !self.after.is_empty()
    }

    /// Shows what was written since.
    pub(super) fn go_on(&mut self, now: Instant, show: Show<'_>) {
        self.old.retain_mut(|(file, until)| {
            file.read(show);
            let stays = now < *until;
            if !stays {
                file.lines.end(show);
            }
            stays
        });
        if let Some(file) = &mut self.file {
            file.read(show);
        }
        // What cannot be opened at this moment may be the next time.
        let Ok(Some(found)) = open(&self.path) else { return };
        if self.file.as_ref().is_some_and(|file| is_same(&file.file, &found)) {
            return;
        }
        self.turn_to(found, now, show);
    }

    /// Another file has the name now.
    fn turn_to(&mut self, found: File, now: Instant, show: Show<'_>) {
        let last_archive = match self.file.take() {
            None => Some(std::mem::take(&mut self.after)),
            Some(mut last) => {
                // What was written between the last look and the other file.
                last.read(show);
                let stem = archived_as(&last.file);
                match stem {
                    Some(_) => drop(last.lines.end(show)),
                    None => self.old.push((last, now + LOOKED_AT)),
                }
                stem
            }
        };
        let before = archived_as(&found);
        if let Some(last_archive) = last_archive {
            for (stem, archive) in archives(&self.path) {
                if stem > last_archive && before.as_ref().is_none_or(|before| stem < *before) {
                    show_all(&archive, &mut Lines::new(self.of.clone(), 0), show);
                }
            }
        }
        let mut file = Open { file: found, at: 0, lines: Lines::new(self.of.clone(), 0) };
        file.read(show);
        self.file = Some(file);
    }
}

impl Open {
    /// All that is there. What cannot be read now is tried again the next time.
    fn read(&mut self, show: Show<'_>) {
        self.read_to(u64::MAX, show);
        // It was truncated: copied, and begun anew.
        if self.file.metadata().is_ok_and(|found| found.len() < self.at) {
            self.lines.end(show);
            self.at = 0;
        }
    }

    /// As far as this, or all that is there.
    fn read_to(&mut self, end: u64, show: Show<'_>) {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let room = usize::try_from(end - self.at).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let Ok(count @ 1..) = self.file.read_at(&mut piece[..room], self.at) else { return };
            self.at += count as u64;
            self.lines.feed(&piece[..count], show);
        }
    }
}

/// None where there is none.
fn open(path: &Path) -> io::Result<Option<File>> {
    match File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) => Err(io::Error::other("it is not a file")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn words(error: &io::Error) -> String {
    let mut words = error.to_string();
    words.truncate(words.find(" (os error").unwrap_or(words.len()));
    words
}

fn is_same(one: &File, other: &File) -> bool {
    let identity = |file: &File| file.metadata().map(|found| (found.dev(), found.ino())).ok();
    identity(one) == identity(other)
}

/// Where the last whole line ends of the bytes before `end`: somebody writes on what stands behind.
fn whole_lines_end(file: &File, end: u64) -> io::Result<u64> {
    let (mut piece, mut piece_end) = (vec![0; PIECE_BYTES], end);
    while piece_end > 0 {
        let piece_start = piece_end.saturating_sub(PIECE_BYTES as u64);
        let bytes = &mut piece[..(piece_end - piece_start) as usize];
        file.read_exact_at(bytes, piece_start)?;
        if let Some(at) = memchr::memrchr(b'\n', bytes) {
            return Ok(piece_start + at as u64 + 1);
        }
        piece_end = piece_start;
    }
    Ok(0)
}

/// Where the last lines begin, and how many they are.
struct Last {
    start: u64,
    lines: usize,
}

/// Of the bytes before `end`, which is the end of a line, from there backwards.
fn last_lines(file: &File, end: u64, wanted: usize, of: &Of) -> io::Result<Last> {
    let mut last = Last { start: end, lines: 0 };
    let (mut piece, mut piece_end) = (vec![0; PIECE_BYTES], end);
    let mut head = [0; HEAD_BYTES];
    while piece_end > 0 && last.lines < wanted {
        let piece_start = piece_end.saturating_sub(PIECE_BYTES as u64);
        let bytes = &mut piece[..(piece_end - piece_start) as usize];
        file.read_exact_at(bytes, piece_start)?;
        let ends = memchr::memrchr_iter(b'\n', bytes).map(|at| piece_start + at as u64 + 1);
        // The first line has none before it.
        let first = Some(0).filter(|_| piece_start == 0);
        for start in ends.chain(first).filter(|start| *start < end) {
            let is_taken = *of == Of::All || {
                let count = file.read_at(&mut head, start)?;
                let line_end = memchr::memchr(b'\n', &head[..count]).unwrap_or(count);
                of.takes(&head[..line_end])
            };
            if is_taken {
                last = Last { start, lines: last.lines + 1 };
            }
            if last.lines == wanted {
                break;
            }
        }
        piece_end = piece_start;
    }
    Ok(last)
}

/// The archives of a file by their names without `.gz`, which sort by time.
fn archives(path: &Path) -> BTreeMap<OsString, PathBuf> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut archives = BTreeMap::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.as_bytes().ends_with(b".tmp") || without_stamp(&entry.path()).as_deref() != Some(path) {
            continue;
        }
        let stem = stem(&name);
        // Where both are there, the one is being made of the other, which is whole.
        if stem == name || !archives.contains_key(&stem) {
            archives.insert(stem, entry.path());
        }
    }
    archives
}

/// Empty, which sorts before all, where there is none.
fn newest(archives: BTreeMap<OsString, PathBuf>) -> OsString {
    archives.into_keys().next_back().unwrap_or_default()
}

fn stem(name: &OsStr) -> OsString {
    OsString::from_vec(name.as_bytes().strip_suffix(b".gz").unwrap_or(name.as_bytes()).to_vec())
}

/// What an open file is called now, if that is the name of an archive; also where it has been removed since.
fn archived_as(file: &File) -> Option<OsString> {
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let path = path.as_os_str().as_bytes();
    let path = Path::new(OsStr::from_bytes(path.strip_suffix(b" (deleted)").unwrap_or(path)));
    without_stamp(path).and(path.file_name()).map(OsStr::to_os_string)
}

/// Shows the last `missing` lines of those archives that are older than `before`.
fn show_last_of(
    archives: &BTreeMap<OsString, PathBuf>,
    before: Option<&OsStr>,
    mut missing: usize,
    of: &Of,
    show: Show<'_>,
) {
    let mut shown = Vec::new();
    for (_, archive) in
        archives.iter().rev().filter(|(name, _)| before.is_none_or(|before| name.as_os_str() < before))
    {
        let lines = if missing == usize::MAX {
            0
        } else {
            show_all(archive, &mut Lines::new(of.clone(), usize::MAX), show)
        };
        shown.push((archive, lines.saturating_sub(missing)));
        missing = missing.saturating_sub(lines);
        if missing == 0 {
            break;
        }
    }
    for (archive, skip) in shown.into_iter().rev() {
        show_all(archive, &mut Lines::new(of.clone(), skip), show);
    }
}

/// Returns how many lines there are. An archive that is gone meanwhile, or cannot be read, has none.
fn show_all(archive: &Path, lines: &mut Lines, show: Show<'_>) -> usize {
    let mut count = 0;
    let is_packed = archive.as_os_str().as_bytes().ends_with(b".gz");
    let mut packed = archive.as_os_str().to_os_string();
    packed.push(".gz");
    // It may have been compressed since its name was read.
    let found = match open(archive) {
        Ok(Some(file)) => Some((file, is_packed)),
        Ok(None) | Err(_) if is_packed => None,
        Ok(None) | Err(_) => open(Path::new(&packed)).ok().flatten().map(|file| (file, true)),
    };
    match found {
        Some((file, true)) => count += feed(MultiGzDecoder::new(file), lines, show),
        Some((file, false)) => count += feed(file, lines, show),
        None => {}
    }
    count + lines.end(show)
}

/// As far as it can be read; how many lines that are.
fn feed(mut text: impl Read, lines: &mut Lines, show: Show<'_>) -> usize {
    let (mut piece, mut count) = (vec![0; PIECE_BYTES], 0);
    while let Ok(read @ 1..) = text.read(&mut piece) {
        count += lines.feed(&piece[..read], show);
    }
    count
}

#[cfg(test)]
mod tests;
