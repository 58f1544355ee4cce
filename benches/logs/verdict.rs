//! Whether what a logger has written is what was written to it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::LINE_BYTES;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Verdict {
    /// Lines that are nowhere, or not in their place.
    pub(crate) lost: u64,
    /// Lines that are not one of those that were written.
    pub(crate) torn: u64,
}

/// Reads these files one after the other; `count` lines of each of so many writers are to be there.
pub(crate) fn judge(files: &[PathBuf], writers: u64, count: u64) -> Result<Verdict, Box<dyn Error>> {
    let mut next: BTreeMap<u64, u64> = (0..writers).map(|writer| (writer, 0)).collect();
    let (mut verdict, mut good) = (Verdict::default(), 0);
    // One reader for all, as `cat` would: a line that begins in one file and ends in the next is whole to nobody else.
    for file in files {
        let (reader, child) = open(file)?;
        for line in reader.split(b'\n') {
            match number_of(&line?) {
                Some((writer, number)) if next.get(&writer) == Some(&number) => {
                    next.insert(writer, number + 1);
                    good += 1;
                }
                Some((writer, number)) => {
                    next.insert(writer, number + 1);
                    good += 1;
                    verdict.lost += 1;
                }
                None => verdict.torn += 1,
            }
        }
        if let Some(mut child) = child {
            child.wait()?;
        }
    }
    verdict.lost += (writers * count).abs_diff(good);
    Ok(verdict)
}

type Opened = (BufReader<Box<dyn Read>>, Option<std::process::Child>);

fn open(path: &Path) -> Result<Opened, Box<dyn Error>> {
    let is_gzip = path.extension().is_some_and(|extension| extension == "gz");
    let (reader, child): (Box<dyn Read>, _) = if is_gzip {
        let mut child = Command::new("gzip").arg("-dc").arg(path).stdout(Stdio::piped()).spawn()?;
        (Box::new(child.stdout.take().ok_or("no stdout")?), Some(child))
    } else {
        (Box::new(File::open(path)?), None)
    };
    Ok((BufReader::with_capacity(1 << 20, reader), child))
}

/// Of a line as `lines.c` writes it, whatever stands before and behind it: its writer and its number.
fn number_of(line: &[u8]) -> Option<(u64, u64)> {
    const TEXT: usize = LINE_BYTES as usize - 1;
    let text = match line.first()? {
        b'{' => {
            let start = memchr::memmem::find(line, b"\"msg\":\"")? + 7;
            line[start..].strip_suffix(b"\"}")?
        }
        _ if line.len() > TEXT => &line[memchr::memmem::find(line, b" | ")? + 3..],
        _ => line,
    };
    if text.len() != TEXT {
        return None;
    }
    let mut words = text.split(|byte| *byte == b' ');
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse().ok();
    let (writer, number) = (number()?, number()?);
    words.next()?.iter().all(|byte| *byte == b'x').then_some((writer, number))
}

/// The files below a directory whose names begin so, in the order of their names; `current` is the last.
pub(crate) fn files_in(
    directory: &Path,
    prefix: &str,
    current: &str,
) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(prefix) && name != current && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    files.push(directory.join(current));
    Ok(files)
}
