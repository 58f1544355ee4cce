//! Destinations, and which of them are refused beside each other.

use std::time::Duration;

use crate::cli::UsageError;
use crate::config::files::tests::{config, error, file, start_error, started};
use crate::logs::{Destination, Format, Full, Limits, Own};

const OUT: Destination = Destination::Own(Own::Stdout);
const ERR: Destination = Destination::Own(Own::Stderr);

#[test]
fn each_stream_goes_to_srvwraps_own_to_nowhere_or_to_a_file() {
    for (given, stdout, stderr) in [
        ("-", OUT, ERR),
        ("/dev/stdout", OUT, OUT),
        ("/dev/fd/1", OUT, OUT),
        ("/proc/self/fd/1", OUT, OUT),
        ("/dev//stderr", ERR, ERR),
        ("/dev/fd/2", ERR, ERR),
        ("/proc/self/fd/2", ERR, ERR),
        ("/dev/null", Destination::Null, Destination::Null),
        ("a/b.log", file("/srv/a/b.log"), file("/srv/a/b.log")),
        ("/a/./{slot}.log", file("/a/{slot}.log"), file("/a/{slot}.log")),
    ] {
        let logs = config(&["--stdout", given, "--stderr", given]).logs;
        assert_eq!((logs.stdout, logs.stderr), (stdout, stderr.clone()), "{given}");
        if !given.contains("{slot}") {
            assert_eq!(config(&["--log", given]).logs.notices, stderr, "{given}");
        }
    }
}

#[test]
fn in_the_background_nobody_reads_srvwraps_own() {
    for option in ["--stdout", "--stderr", "--log"] {
        for own in ["-", "/dev/stdout", "/dev/stderr", "/dev/fd/2"] {
            let problem = format!("{option} {own}: in the background nobody reads it; give a path");
            assert_eq!(start_error(&[option, own]), problem);
        }
        assert!(started(&[option, "/dev/null"]).is_ok());
    }
    let here = started(&["--daemon-mode=false", "--stdout=out.log"]).expect("a right line").0.logs;
    assert_eq!((here.stdout, here.stderr), (file("/srv/out.log"), ERR));
}

#[test]
fn two_streams_are_in_one_file_or_in_no_file_of_each_other() {
    for line in [
        ["--stdout=a", "--stderr=a", "--log=a"],
        ["--stdout={slot}", "--stderr={slot}", "--log=a"],
        ["--stdout=out-{slot}", "--stderr=err-{slot}", "--log=/dev/null"],
        ["--stdout=a", "--stderr=a.1", "--log=a.log.gz"],
    ] {
        assert!(started(&line).is_ok(), "{line:?}");
    }
    for (line, problem) in [
        (
            ["--stdout=a-{slot}", "--stderr=a-7"].as_slice(),
            "--stderr a-7: for slot 7 it is a file of --stdout a-{slot}; give a path that is none",
        ),
        (
            &["--stdout=a-7", "--stderr=a-{slot}"],
            "--stderr a-{slot}: for slot 7 it is a file of --stdout a-7; give a path that is none",
        ),
        (
            &["--stdout=a{slot}", "--stderr=a1{slot}"],
            "--stderr a1{slot}: for slot 0 it is a file of --stdout a{slot}; give a path that is none",
        ),
        (
            &["--stdout=a", "--log=a.20261120T100000.123Z"],
            "--log a.20261120T100000.123Z: archives of --stdout a are named so; give another path",
        ),
        (
            &["--stdout=a.20261120T100000.123Z.gz", "--log=a"],
            "--stdout a.20261120T100000.123Z.gz: archives of --log a are named so; give another path",
        ),
        (
            &["--stderr=a{slot}", "--pid-file=a3.20261120T100000.123Z"],
            "--pid-file a3.20261120T100000.123Z: archives of --stderr a{slot} are named so; give another path",
        ),
        (
            &["--stdout={slot}.pid", "--pid-file=3.pid"],
            "--pid-file 3.pid: --stdout {slot}.pid is the same file; give another path",
        ),
        (
            &["--stdout={slot}.sock", "--socket=3.sock"],
            "--stdout {slot}.sock: the control socket is there; give another path",
        ),
        (
            &["--stdout={slot}.sock", "-p", "unix:0.sock"],
            "--stdout {slot}.sock: -p listens there; give another path",
        ),
        (&["--stdout={slot}/"], "--stdout {slot}/: this is a directory; give a path, or - for srvwrap's own"),
        (&["--log=a-{slot}"], "--log a-{slot}: notices are of no slot; give a path without {slot}"),
    ] {
        assert_eq!(error(line), problem);
    }
}

#[test]
fn what_was_meant_as_the_slot_is_refused() {
    for (value, because) in [
        ("{slto}.log", "nothing stands for {slto}"),
        ("a-{slot}/{pid}.log", "nothing stands for {pid}"),
        ("a{slots}", "nothing stands for {slots}"),
        ("{slot", "{slot has no end"),
        ("{slot.log", "{slot has no end"),
        ("{slot}-{slot", "{slot has no end"),
    ] {
        for option in ["--stdout", "--stderr"] {
            let problem = format!("{option} {value}: {because}; give {{slot}} for one file a slot");
            assert_eq!(error(&[option, value]), problem);
        }
    }
    for value in ["{slot}", "{{slot}}", "{}", "{", "{Slot}", "{a-b}", "{x", "{1}", "a}", "sl{ot"] {
        assert!(started(&[&format!("--stdout=a{value}")]).is_ok(), "{value}");
    }
}

#[test]
fn form_size_time_and_number_of_logs_are_as_they_were_given() {
    let line =
        "--log-format=json --max-log-size=1k --log-every=1d --log-keep=0 --log-total=1G --log-full=drop-old";
    let logs = config(&line.split(' ').collect::<Vec<_>>()).logs;
    assert_eq!((logs.format, logs.full), (Format::Json, Full::DropOld));
    let every = Some(Duration::from_secs(86_400));
    assert_eq!(logs.limits, Limits { max_size: Some(1024), every, keep: 0, total: Some(1 << 30) });
    let never = config(&["--max-log-size", "0", "--log-format=prefix", "--log-full=drop-new"]).logs;
    assert_eq!((never.limits.max_size, never.format, never.full), (None, Format::Prefix, Full::DropNew));
}

#[test]
fn what_means_nothing_is_refused_with_what_would() {
    for (line, problem) in [
        ("--log-format=xml", "--log-format xml: no such form of a line; give plain, prefix or json"),
        ("--max-log-size=10X", "--max-log-size 10X: not a size; give a size, as in 10M, or 0 for never"),
        ("--max-log-size=-1", "--max-log-size -1: not a size; give a size, as in 10M, or 0 for never"),
        ("--log-total=99999999999G", "--log-total 99999999999G: no disk is so large; give a size, as in 1G"),
        (
            "--log-total=1M",
            "--log-total 1M: an archive has up to --max-log-size before it is compressed; give that or more, or a \
             smaller --max-log-size",
        ),
        ("--log-total=0", "--log-total 0: no archive is so small; give --log-keep 0 to keep none"),
        ("--log-every=daily", "--log-every daily: not a duration; give a duration, as in 1h or 1d"),
        ("--log-every=0", "--log-every 0: that is all the time; give 1s or more, or leave it out for never"),
        ("--log-keep=all", "--log-keep all: no such number; give a number of archives"),
        (
            "--log-full=drop",
            "--log-full drop: no such answer to a full disk; give block, drop-new or drop-old",
        ),
    ] {
        assert_eq!(error(&[line]), problem);
    }
}

#[test]
fn what_is_said_of_logs_is_for_a_new_one() -> Result<(), UsageError> {
    let line = [
        "--log-format=json",
        "--max-log-size=1k",
        "--log-keep=3",
        "--log-full=block",
        "--log-every=1d",
        "--log-total=1G",
    ];
    let typed = started(&line)?.1.expect("it goes to the background").for_a_new_one;
    assert_eq!(typed, line.map(|word| word.replace('=', " ")));
    Ok(())
}
