//! Files that are written, rotated, moved, truncated and removed while they are followed.

use std::io::Write;

use super::*;

use flate2::Compression;
use flate2::write::GzEncoder;

/// The file that is followed, in a directory of its own.
struct Bench {
    directory: tempfile::TempDir,
    stamp: u32,
}

fn bench() -> Bench {
    Bench { directory: tempfile::tempdir().unwrap(), stamp: 0 }
}

impl Bench {
    fn path(&self) -> PathBuf {
        // As the kernel names it, should the directory for such things be a link.
        fs::canonicalize(self.directory.path()).unwrap().join("app.log")
    }

    fn write(&self, text: &str) {
        let mut file = File::options().append(true).create(true).open(self.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn next_archive(&mut self) -> PathBuf {
        self.stamp += 1;
        let mut path = self.path().into_os_string();
        path.push(format!(".20261120T100000.{:03}Z", self.stamp));
        PathBuf::from(path)
    }

    fn rotate(&mut self) -> PathBuf {
        let archive = self.next_archive();
        fs::rename(self.path(), &archive).unwrap();
        self.write("");
        archive
    }

    fn begin(&self, wanted: usize) -> (Followed, String) {
        self.begin_of(wanted, Of::All)
    }

    fn begin_of(&self, wanted: usize, of: Of) -> (Followed, String) {
        let mut text = Vec::new();
        let begun = Followed::begin(self.path(), wanted, of, &mut |bytes| text.extend_from_slice(bytes));
        (begun.unwrap(), String::from_utf8(text).unwrap())
    }
}

fn compress(archive: &Path) {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&fs::read(archive).unwrap()).unwrap();
    let packed = packed.finish().unwrap();
    let mut path = archive.as_os_str().to_os_string();
    path.push(".gz");
    fs::write(path, packed).unwrap();
    fs::remove_file(archive).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "any moment will do")]
fn moment() -> Instant {
    Instant::now()
}

fn news_at(followed: &mut Followed, now: Instant) -> String {
    let mut text = Vec::new();
    followed.go_on(now, &mut |bytes| text.extend_from_slice(bytes));
    String::from_utf8(text).unwrap()
}

fn news(followed: &mut Followed) -> String {
    news_at(followed, moment())
}

#[test]
fn the_last_lines_are_the_last_lines() {
    let bench = bench();
    bench.write("1\n2\n\n4\n");
    for (wanted, text) in [(0, ""), (1, "4\n"), (2, "\n4\n"), (4, "1\n2\n\n4\n"), (9, "1\n2\n\n4\n")] {
        assert_eq!(bench.begin(wanted).1, text, "{wanted}");
    }
    assert_eq!(bench.begin(usize::MAX).1, "1\n2\n\n4\n");
}

#[test]
fn what_comes_meanwhile_and_half_a_line_are_not_among_the_last_lines() {
    let bench = bench();
    bench.write("1\n2\n3\nhal");
    for (wanted, expected) in [(1, "3\n"), (2, "2\n3\n"), (usize::MAX, "1\n2\n3\n")] {
        assert_eq!(bench.begin(wanted).1, expected);
    }
    let mut text = Vec::new();
    let mut write_on = |bytes: &[u8]| {
        text.extend_from_slice(bytes);
        bench.write("f\n5\n");
    };
    bench.write(&"x".repeat(2 * PIECE_BYTES));
    let mut followed = Followed::begin(bench.path(), 2, Of::All, &mut write_on).unwrap();
    assert_eq!(text, b"2\n3\n");
    assert_eq!(news(&mut followed), format!("hal{}f\n5\n", "x".repeat(2 * PIECE_BYTES)));
    fs::write(bench.path(), "half").unwrap();
    assert_eq!(bench.begin(usize::MAX).1, "");
}

#[test]
fn lines_over_many_pieces_are_found_from_behind() {
    let bench = bench();
    let line = |number: usize| format!("{number} {}\n", "x".repeat(number * 37 % 3000));
    let lines: Vec<String> = (0..400).map(line).collect();
    bench.write(&lines.concat());
    bench.write(&format!("{}\n", "y".repeat(3 * PIECE_BYTES)));
    for wanted in [1, 2, 3, 100, 333, 400] {
        let expected = lines[401 - wanted..].concat();
        assert!(bench.begin(wanted).1.starts_with(&expected), "{wanted}");
        assert_eq!(bench.begin(wanted).1.lines().count(), wanted);
    }
}

#[test]
fn the_lines_of_one_slot_are_counted_alone() {
    let bench = bench();
    for number in 0..3000 {
        bench.write(&format!("2026-11-20T10:00:00.123Z web.{} | {number}\n", number % 3));
    }
    let text = bench.begin_of(2, Of::slot(1, "prefix").unwrap()).1;
    let stamp = "2026-11-20T10:00:00.123Z web.1 |";
    assert_eq!(text, format!("{stamp} 2995\n{stamp} 2998\n"));
    assert_eq!(bench.begin_of(2, Of::slot(7, "prefix").unwrap()).1, "");
}

#[test]
fn lines_that_a_rotation_has_taken_away_are_shown_from_its_archives() {
    let mut bench = bench();
    for text in ["1\n2\n", "3\n4\n", "5\n6\n"] {
        bench.write(text);
        let archive = bench.rotate();
        if text.starts_with(['1', '3']) {
            compress(&archive);
        }
    }
    assert_eq!(bench.begin(1).1, "6\n", "right after a rotation there is something to show");
    bench.write("7\n");
    fs::write(bench.path().with_extension("log.bak"), "no archive\n").unwrap();
    for (wanted, text) in
        [(1, "7\n"), (3, "5\n6\n7\n"), (4, "4\n5\n6\n7\n"), (usize::MAX, "1\n2\n3\n4\n5\n6\n7\n")]
    {
        assert_eq!(bench.begin(wanted).1, text, "{wanted}");
    }
}

#[test]
fn what_is_written_is_shown_once_it_is_a_line() {
    let bench = bench();
    let (mut followed, text) = bench.begin(10);
    assert!(text.is_empty() && !followed.is_there());
    bench.write("one\ntw");
    assert_eq!(news(&mut followed), "one\n");
    assert_eq!(news(&mut followed), "");
    bench.write("o\n");
    assert_eq!(news(&mut followed), "two\n");
}

#[test]
fn a_rotation_loses_nothing_and_shows_nothing_twice() {
    let mut bench = bench();
    bench.write("1\n");
    let (mut followed, _) = bench.begin(0);
    bench.write("2\n");
    bench.rotate();
    bench.write("3\n");
    assert_eq!(news(&mut followed), "2\n3\n");
    assert_eq!(news(&mut followed), "");
}

#[test]
fn rotations_between_two_looks_are_seen_in_their_archives() {
    let mut bench = bench();
    let mut number = 0;
    let mut expected = String::new();
    let (mut followed, _) = bench.begin(0);
    let mut shown = String::new();
    // With none, one, two … rotations, of which some archives are compressed, and one that was open is.
    for rotations in [0, 1, 2, 3, 5, 0, 4] {
        for rotation in 0..rotations {
            number += 1;
            let line = format!("line {number}\n");
            bench.write(&line);
            expected += &line;
            let archive = bench.rotate();
            if rotation % 2 == 0 {
                compress(&archive);
            }
        }
        number += 1;
        let line = format!("line {number}\n");
        bench.write(&line);
        expected += &line;
        shown += &news(&mut followed);
    }
    // The first file was there for nobody, and what is older than the first look is not shown.
    assert_eq!(shown, expected);
}

#[test]
fn in_the_middle_of_a_rotation_nothing_is_lost_either() {
    let mut bench = bench();
    bench.write("1\n2\n");
    let archive = bench.next_archive();
    fs::rename(bench.path(), &archive).unwrap();
    let (mut followed, text) = bench.begin(1);
    assert_eq!(text, "2\n");
    assert!(followed.is_there());
    assert_eq!(news(&mut followed), "");
    bench.write("3\n");
    compress(&bench.rotate());
    bench.write("4\n");
    assert_eq!(news(&mut followed), "3\n4\n");
}

#[test]
fn what_somebody_else_has_moved_is_looked_at_for_a_while() {
    let bench = bench();
    bench.write("1\n");
    let (mut followed, _) = bench.begin(0);
    let moved = bench.path().with_extension("log.1");
    fs::rename(bench.path(), &moved).unwrap();
    assert_eq!(news(&mut followed), "");
    bench.write("");
    let now = moment();
    assert_eq!(news_at(&mut followed, now), "");
    File::options().append(true).open(&moved).unwrap().write_all(b"2\n").unwrap();
    assert_eq!(news_at(&mut followed, now), "2\n", "its writer does not know yet");
    bench.write("3\n");
    assert_eq!(news_at(&mut followed, now + LOOKED_AT), "3\n");
    assert!(followed.old.is_empty(), "and not for ever");
}

#[test]
fn a_file_that_was_truncated_or_removed_is_read_from_its_beginning() {
    let bench = bench();
    bench.write("1\n2\n");
    let (mut followed, _) = bench.begin(0);
    File::create(bench.path()).unwrap();
    assert_eq!(news(&mut followed), "");
    bench.write("3\n");
    assert_eq!(news(&mut followed), "3\n");
    fs::remove_file(bench.path()).unwrap();
    assert_eq!(news(&mut followed), "");
    bench.write("4\n");
    assert_eq!(news(&mut followed), "4\n");
}

#[test]
fn what_is_no_file_is_not_read() {
    let bench = bench();
    nix::unistd::mkfifo(&bench.path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = Followed::begin(bench.path(), 1, Of::All, &mut |_| {}).unwrap_err();
    assert!(error.ends_with("app.log: it is not a file"), "{error}");
}
