//! Real programs, started and asked what they were given. Each test reaps only what it has started, by its number,
//! because tests are threads of one process.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proptest::prelude::*;

use super::*;
use crate::sys::apart::{Apart, run_apart};
use crate::sys::failure::{ExecResult, ProgramFault, exec_result};

/// What a program is started with in these tests, but for its words.
struct Given {
    environment: Vec<(OsString, OsString)>,
    directory: &'static Path,
    startup: Startup,
}

fn given() -> Given {
    let path = (OsString::from("PATH"), OsString::from("/usr/bin:/bin"));
    Given { environment: vec![path], directory: Path::new("/"), startup: Startup::plain() }
}

impl Given {
    fn image<'a>(&'a self, argv: &'a [OsString]) -> Image<'a> {
        Image {
            argv,
            environment: &self.environment,
            directory: self.directory,
            pid_variable: None,
            stdin: Stdin::Null,
            stdout: Output::Inherit,
            stderr: Output::Inherit,
            descriptors: &[],
        }
    }

    fn start(&self, argv: &[OsString], descriptors: &[BorrowedFd<'_>]) -> Result<Spawned, Failure> {
        spawn(&Image { descriptors, ..self.image(argv) }, &self.startup)
    }

    /// What `sh -c script` with these outputs left behind, once it has ended with 0.
    fn run(&self, script: &str, stdout: Output<'_>, stderr: Output<'_>) {
        let argv = ["sh", "-c", script].map(OsString::from);
        let image = Image { stdout, stderr, ..self.image(&argv) };
        assert_eq!(status(spawn(&image, &self.startup).unwrap().pid), 0);
    }

    /// What a shell script writes to the first of its descriptors.
    fn told_by(&self, script: &str) -> Vec<u8> {
        let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        let argv = ["sh", "-c", script].map(OsString::from);
        let spawned = self.start(&argv, &[writer.as_fd()]).unwrap();
        drop(writer);
        let mut told = Vec::new();
        File::from(reader).read_to_end(&mut told).unwrap();
        assert_eq!((settled(&spawned), status(spawned.pid)), (ExecResult::Executed, 0));
        told
    }

    fn failure_of(&self, program: &str) -> Failure {
        let spawned = self.start(&[program.into()], &[]).unwrap();
        let ExecResult::Failed(failure) = settled(&spawned) else { panic!("{program} was executed") };
        assert_eq!(libc::WEXITSTATUS(status(spawned.pid)), 127);
        failure
    }
}

fn settled(spawned: &Spawned) -> ExecResult {
    poll(&mut [PollFd::new(spawned.exec_status.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
    exec_result(&spawned.exec_status)
}

/// Waits for the end; the status as waitpid(2) has it.
fn status(pid: Pid) -> i32 {
    let mut status = -1;
    // SAFETY: writes into memory of this function.
    assert_eq!(unsafe { libc::waitpid(pid.number(), &raw mut status, 0) }, pid.number());
    status
}

fn lines(told: &[u8]) -> Vec<&str> {
    std::str::from_utf8(told).unwrap().lines().collect()
}

#[test]
fn the_environment_arrives_byte_for_byte() {
    let mut given = given();
    let odd = OsString::from_vec(b"50%\n=\xff\xfe '\"".to_vec());
    given.environment.push(("ODD".into(), odd));
    given.environment.push(("EMPTY".into(), OsString::new()));
    let told = given.told_by("cat /proc/$$/environ >&3");
    assert_eq!(told, b"PATH=/usr/bin:/bin\0ODD=50%\n=\xff\xfe '\"\0EMPTY=\0");
}

#[test]
fn arguments_arrive_byte_for_byte() {
    let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    let odd = OsString::from_vec(b"\xff \n".to_vec());
    let argv =
        ["sh".into(), "-c".into(), "cat /proc/$$/cmdline >&3".into(), OsString::new(), "-h".into(), odd];
    let spawned = given().start(&argv, &[writer.as_fd()]).unwrap();
    drop(writer);
    let mut told = Vec::new();
    File::from(reader).read_to_end(&mut told).unwrap();
    assert_eq!(told, b"sh\0-c\0cat /proc/$$/cmdline >&3\0\0-h\0\xff \n\0");
    assert_eq!(status(spawned.pid), 0);
}

#[test]
fn a_program_gets_its_directory_stdin_and_a_group_of_its_own() {
    let given = Given { directory: Path::new("/usr/bin"), ..given() };
    let script = "{ pwd -P; readlink /proc/$$/fd/0; cut -d' ' -f1,5 /proc/$$/stat; umask; } >&3";
    let told = given.told_by(script);
    let told = lines(&told);
    assert_eq!(told[..2], ["/usr/bin", "/dev/null"]);
    let (pid, group) = told[2].split_once(' ').unwrap();
    assert_eq!(pid, group);
    // SAFETY: sets and reads one number; it is put back at once, and what others make meanwhile is only theirs.
    let umask = unsafe {
        let umask = libc::umask(0o022);
        libc::umask(umask);
        umask
    };
    assert_eq!(told[3], format!("{umask:04o}"));
}

/// What a program says of its blocked and its ignored signals, but for 32 and 33 among the ignored: glibc lets nobody
/// touch those, and its own posix_spawn, by which cargo has started this, leaves 32 ignored.
fn blocked_and_ignored(given: &Given) -> [u64; 2] {
    let told = given.told_by("exec cat /proc/self/status >&3");
    let bits = |name: &str| {
        let line = *lines(&told).iter().find(|line| line.starts_with(name)).unwrap();
        u64::from_str_radix(line[name.len()..].trim(), 16).unwrap()
    };
    [bits("SigBlk:"), bits("SigIgn:") & !SignalSet::EMPTY.with(32).with(33).bits()]
}

#[test]
fn a_program_of_a_plain_start_has_no_signal_blocked_or_ignored() {
    assert!(signal_state::ignored().contains(libc::SIGPIPE), "Rust ignores PIPE, or this shows nothing");
    assert_eq!(blocked_and_ignored(&given()), [0, 0]);
}

#[test]
fn mask_and_ignored_signals_are_those_of_the_start() {
    let mask = SignalSet::EMPTY.with(libc::SIGUSR1).with(33).with(64);
    let startup = Startup { mask, ..Startup::plain() }.ignoring(libc::SIGHUP).ignoring(libc::SIGPIPE);
    let told = blocked_and_ignored(&Given { startup, ..given() });
    assert_eq!(told, [mask.bits(), startup.ignored.bits()]);
}

#[test]
fn a_program_holds_nothing_but_what_was_placed_and_has_the_old_limit() {
    let test = "sys::process::tests::a_program_holds_nothing_but_what_was_placed_and_has_the_old_limit";
    if run_apart(test, &Startup::plain()) == Apart::Done {
        return;
    }
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 1010, 2000).unwrap();
    for junk in [10, 251, 1000] {
        // SAFETY: these numbers are nobody's in this process.
        assert_eq!(unsafe { libc::dup2(1, junk) }, junk);
    }
    let given = Given { startup: Startup::take(), ..given() };
    let told = given.told_by("exec >&3; ls /proc/$$/fd; ulimit -n; ulimit -Hn");
    assert_eq!(lines(&told), ["0", "1", "2", "3", "1010", "2000"]);
}

#[test]
fn twenty_five_programs_that_exit_at_once_are_never_taken_for_exec_failures() {
    for (script, expected) in [("exit 127", 127), ("exit 1", 1)] {
        let argv = ["sh", "-c", script].map(OsString::from);
        let all: Vec<Spawned> = (0..25).map(|_| given().start(&argv, &[]).unwrap()).collect();
        for spawned in all {
            assert_eq!(settled(&spawned), ExecResult::Executed);
            assert_eq!(libc::WEXITSTATUS(status(spawned.pid)), expected);
        }
    }
}

#[test]
fn a_program_dies_with_the_thread_that_started_it() {
    let argv = ["sleep".into(), "5".into()];
    #[expect(clippy::disallowed_methods, reason = "the death of a thread is what this is about")]
    let spawned = std::thread::spawn(move || {
        let spawned = given().start(&argv, &[]).unwrap();
        assert_eq!(settled(&spawned), ExecResult::Executed);
        spawned
    });
    assert_eq!(libc::WTERMSIG(status(spawned.join().unwrap().pid)), libc::SIGKILL);
}

#[test]
fn a_nul_byte_is_refused_before_the_fork_and_named() {
    let refused = |given: &Given, argv: &[&str]| {
        let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
        given.start(&argv, &[]).map(|_| ()).unwrap_err().to_string()
    };
    let mut with_variable = given();
    with_variable.environment.push(("FOO".into(), "a\0b".into()));
    let in_directory = Given { directory: Path::new("/a\0b"), ..given() };
    let end = ": it holds a NUL byte";
    assert_eq!(refused(&given(), &["x\0"]), format!("cannot hand over the program's name{end}"));
    assert_eq!(refused(&given(), &["sh", "", "\0"]), format!("cannot hand over argument 2{end}"));
    assert_eq!(refused(&with_variable, &["sh"]), format!("cannot hand over environment variable FOO{end}"));
    assert_eq!(refused(&in_directory, &["sh"]), format!("cannot hand over the directory{end}"));
}

/// A directory of programs that cannot be executed. To be made while no other thread forks: a file that a child
/// still has open for writing is busy, which is another error.
fn unusable_programs() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str, content: &str, mode: u32| {
        let file = directory.path().join(name);
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    };
    place("plain", "#!/bin/sh\n", 0o644);
    place("garbage", "not a program\n", 0o755);
    place("orphan", "#!/no/such/interpreter -x\n", 0o755);
    place("good", "#!/bin/sh\nexit 5\n", 0o755);
    place("refused", "#!/bin/sh\n", 0o644);
    fs::create_dir(directory.path().join("directory")).unwrap();
    place("directory/plain", "#!/bin/sh\nexit 5\n", 0o755);
    place("directory/orphan", "#!/bin/sh\nexit 5\n", 0o755);
    place("directory/refused", "#!/no/such/interpreter\n", 0o755);
    std::os::unix::fs::symlink("loop", directory.path().join("loop")).unwrap();
    std::os::unix::fs::symlink("nowhere", directory.path().join("dangling")).unwrap();
    directory
}

#[test]
fn every_way_of_not_being_executable_is_told_by_its_name() {
    let test = "sys::process::tests::every_way_of_not_being_executable_is_told_by_its_name";
    if run_apart(test, &Startup::plain()) == Apart::Done {
        return;
    }
    let directory = Box::leak(Box::new(unusable_programs())).path();
    let given = Given { directory, ..given() };
    let not_found = Some(ProgramFault::NotFound);
    let not_executable = Some(ProgramFault::NotExecutable);
    for (program, words, fault) in [
        ("./nope", "cannot execute ./nope: No such file or directory", not_found),
        ("./dangling", "cannot execute ./dangling: No such file or directory", not_found),
        ("nope", "cannot find program nope in PATH", not_found),
        ("", "the program's name is empty", not_found),
        ("./plain/x", "cannot execute ./plain/x: Not a directory", not_executable),
        ("./plain", "cannot execute ./plain: Permission denied", not_executable),
        ("./directory", "cannot execute ./directory: it is a directory", not_executable),
        (
            "./garbage",
            "cannot execute ./garbage: Exec format error (a script has to begin with #! and its interpreter)",
            not_executable,
        ),
        (
            "./orphan",
            "cannot execute ./orphan: its interpreter /no/such/interpreter is missing",
            not_executable,
        ),
        ("./loop", "cannot execute ./loop: Too many levels of symbolic links", not_executable),
    ] {
        let failure = given.failure_of(program);
        assert_eq!((failure.to_string().as_str(), failure.program_fault()), (words, fault));
    }
    // What is wrong with one PATH entry is not the end of the search, but is remembered, in execvp's order.
    for (path, program, words) in [
        ("/nowhere:plain:", "nope", "cannot find program nope in PATH"),
        ("/nowhere:plain", "good", "cannot find program good in PATH, but ./good exists"),
        ("/nowhere:plain:", "plain", "cannot execute plain: Permission denied"),
        (":/usr/bin", "orphan", "cannot execute orphan: its interpreter /no/such/interpreter is missing"),
        (
            ":directory",
            "garbage",
            "cannot execute garbage: Exec format error (a script has to begin with #! and its interpreter)",
        ),
        (":directory", "refused", "cannot execute refused: Permission denied"),
        ("directory:", "refused", "cannot execute refused: Permission denied"),
    ] {
        let environment = vec![("PATH".into(), path.into())];
        assert_eq!(Given { environment, ..given }.failure_of(program).to_string(), words);
    }
    for (path, program) in [
        (":/bin", "good"),
        ("/nowhere:", "good"),
        ("plain:", "good"),
        (":directory", "plain"),
        (":directory", "orphan"),
    ] {
        let environment = vec![("PATH".into(), path.into())];
        let spawned = Given { environment, ..given }.start(&[program.into()], &[]).unwrap();
        assert_eq!(libc::WEXITSTATUS(status(spawned.pid)), 5, "{program} in {path}");
    }
}

#[test]
fn too_long_an_argument_and_a_missing_directory_name_the_stage() {
    let argv = ["/bin/true".into(), "x".repeat(200_000).into()];
    let spawned = given().start(&argv, &[]).unwrap();
    let ExecResult::Failed(failure) = settled(&spawned) else { panic!("executed") };
    assert_eq!(failure.to_string(), "cannot execute /bin/true: Argument list too long");
    status(spawned.pid);
    let failure = Given { directory: Path::new("/srv/no such"), ..given() }.failure_of("/bin/true");
    assert_eq!(failure.to_string(), "cannot change directory to /srv/no such: No such file or directory");
    assert_eq!((failure.stage, failure.program_fault()), (Stage::Directory, None));
}

#[test]
fn without_path_the_default_is_searched() {
    let given = Given { environment: Vec::new(), ..given() };
    let mask = signal_state::change_mask(Change::Block, SignalSet::EMPTY);
    let spawned = given.start(&["true".into()], &[]).unwrap();
    assert_eq!((settled(&spawned), status(spawned.pid)), (ExecResult::Executed, 0));
    assert_eq!(
        signal_state::change_mask(Change::Block, SignalSet::EMPTY),
        mask,
        "a spawn leaves the mask alone"
    );
}

/// Where the pattern of descriptors is laid out; their originals wait from `ORIGINALS` on.
const PATTERN: std::ops::Range<RawFd> = 0..21;
const ORIGINALS: RawFd = 200;

/// In a child, so that the table of descriptors is nobody else's: lays out `pattern` (which original, if any, is open
/// at which number), places `sources`, and checks what is where. 0 if all is right.
fn placed(originals: &[OwnedFd], pattern: &[Option<usize>], sources: &[RawFd], exec_status: RawFd) -> i32 {
    let mut moved = sources.to_vec();
    let numbers: Vec<RawFd> = originals.iter().map(AsRawFd::as_raw_fd).collect();
    // SAFETY: the child only makes system calls, on its own copy of the table.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above.
        unsafe { libc::_exit(lay_out_and_place(&numbers, pattern, sources, &mut moved, exec_status)) };
    }
    libc::WEXITSTATUS(status(Pid::new(child).unwrap()))
}

unsafe fn lay_out_and_place(
    numbers: &[RawFd],
    pattern: &[Option<usize>],
    sources: &[RawFd],
    moved: &mut [RawFd],
    mut exec_status: RawFd,
) -> i32 {
    // SAFETY: numbers, and memory of this function.
    unsafe {
        for (original, at) in numbers.iter().zip(ORIGINALS..) {
            libc::fcntl(*original, libc::F_DUPFD_CLOEXEC, 300);
            libc::dup3(*original, at, libc::O_CLOEXEC);
        }
        for (fd, original) in PATTERN.zip(pattern) {
            match original {
                Some(index) => libc::dup3(ORIGINALS + *index as RawFd, fd, libc::O_CLOEXEC),
                None => libc::close(fd),
            };
        }
        let file_at = |fd: RawFd| {
            let mut stat: libc::stat = std::mem::zeroed();
            if libc::fstat(fd, &raw mut stat) == 0 { (stat.st_dev, stat.st_ino) } else { (0, 0) }
        };
        let original_of = |fd: RawFd| file_at(ORIGINALS + pattern[fd as usize].unwrap_or(0) as RawFd);
        let status_file = file_at(exec_status);
        if place(moved, &mut [&mut exec_status]).is_err() {
            return 1;
        }
        for (target, source) in (FIRST_DESCRIPTOR..).zip(sources) {
            if file_at(target) != original_of(*source) {
                return 2;
            }
            if libc::fcntl(target, libc::F_GETFD) != 0 {
                return 3;
            }
        }
        let status_closes = libc::fcntl(exec_status, libc::F_GETFD) == libc::FD_CLOEXEC;
        if file_at(exec_status) == status_file && status_closes { 0 } else { 4 }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever numbers are open, and whichever of them are to be placed: 3 and the following get the right ones.
    #[test]
    fn descriptors_reach_their_places_from_any_pattern(
        pattern in proptest::collection::vec(proptest::option::of(0usize..6), 21),
        wanted in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        status in any::<prop::sample::Index>(),
    ) {
        let open: Vec<RawFd> = PATTERN.filter(|fd| pattern[*fd as usize].is_some()).collect();
        prop_assume!(!open.is_empty());
        let originals: Vec<OwnedFd> =
            (0..6).map(|_| OwnedFd::from(tempfile::tempfile().unwrap())).collect();
        let sources: Vec<RawFd> = wanted.iter().map(|index| *index.get(&open)).collect();
        prop_assert_eq!(placed(&originals, &pattern, &sources, *status.get(&open)), 0);
    }
}

#[test]
fn stdin_can_be_placed_and_one_descriptor_can_be_placed_twice() {
    let test = "sys::process::tests::stdin_can_be_placed_and_one_descriptor_can_be_placed_twice";
    if run_apart(test, &Startup::plain()) == Apart::Done {
        return;
    }
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"here").unwrap();
    let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    unistd::dup2_stdin(&file).unwrap();
    let stdin = std::io::stdin();
    let script = "cat /proc/self/fd/0 >&3; echo $(cat /proc/self/fd/4) $(cat /proc/self/fd/5) >&3";
    let argv = ["sh", "-c", script].map(OsString::from);
    let spawned = given().start(&argv, &[writer.as_fd(), stdin.as_fd(), stdin.as_fd()]).unwrap();
    drop(writer);
    let mut told = String::new();
    File::from(reader).read_to_string(&mut told).unwrap();
    assert_eq!((told.as_str(), status(spawned.pid)), ("here here\n", 0));
}

#[test]
fn stdin_is_inherited_on_request() {
    let test = "sys::process::tests::stdin_is_inherited_on_request";
    if run_apart(test, &Startup::plain()) == Apart::Done {
        return;
    }
    let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    unistd::dup2_stdin(&reader).unwrap();
    unistd::write(&writer, b"words").unwrap();
    drop(writer);
    let argv = ["sh", "-c", "test $(cat) = words"].map(OsString::from);
    let Given { environment, directory, startup } = given();
    let image = Image {
        argv: &argv,
        environment: &environment,
        directory,
        pid_variable: None,
        stdin: Stdin::Inherit,
        stdout: Output::Inherit,
        stderr: Output::Inherit,
        descriptors: &[],
    };
    assert_eq!(status(spawn(&image, &startup).unwrap().pid), 0);
}

#[test]
fn stdout_and_stderr_lead_each_to_its_own_place_and_to_no_other() {
    let given = given();
    let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    let script = "echo out; echo err >&2";
    let both = Output::To(writer.as_fd());
    given.run(script, both, Output::Null);
    given.run(script, Output::Null, both);
    given.run(script, both, both);
    // No other number leads to the pipe.
    let only_there = "pipe=$(readlink /proc/$$/fd/2); for fd in /proc/$$/fd/*; do \
                      [ ${fd##*/} -lt 3 ] || [ \"$(readlink $fd)\" != $pipe ] || exit 1; done";
    given.run(only_there, Output::Null, both);
    drop(writer);
    let mut told = String::new();
    File::from(reader).read_to_string(&mut told).unwrap();
    assert_eq!(told, "out\nerr\nout\nerr\n");
}

#[test]
fn each_may_lead_where_the_other_one_of_ours_does() {
    let test = "sys::process::tests::each_may_lead_where_the_other_one_of_ours_does";
    if run_apart(test, &Startup::plain()) == Apart::Done {
        return;
    }
    let given = given();
    let (out, out_writer) = unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    let (err, err_writer) = unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    let kept = (unistd::dup(std::io::stdout()).unwrap(), unistd::dup(std::io::stderr()).unwrap());
    unistd::dup2_stdout(&out_writer).unwrap();
    unistd::dup2_stderr(&err_writer).unwrap();
    let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
    given.run("echo out; echo err >&2", Output::To(stderr.as_fd()), Output::To(stdout.as_fd()));
    unistd::dup2_stdout(kept.0).unwrap();
    unistd::dup2_stderr(kept.1).unwrap();
    drop((out_writer, err_writer));
    let (mut to_out, mut to_err) = (String::new(), String::new());
    File::from(out).read_to_string(&mut to_out).unwrap();
    File::from(err).read_to_string(&mut to_err).unwrap();
    assert_eq!((to_out.as_str(), to_err.as_str()), ("err\n", "out\n"));
}

#[test]
fn a_program_finds_its_own_process_id_where_it_is_asked_for() {
    let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    let Given { environment, directory, startup } = given();
    let argv = ["sh", "-c", "echo \"$OWN_PID $$\" >&3"].map(OsString::from);
    let image = Image {
        argv: &argv,
        environment: &environment,
        directory,
        pid_variable: Some("OWN_PID"),
        stdin: Stdin::Null,
        stdout: Output::Inherit,
        stderr: Output::Inherit,
        descriptors: &[writer.as_fd()],
    };
    let spawned = spawn(&image, &startup).unwrap();
    drop(writer);
    let mut told = String::new();
    File::from(reader).read_to_string(&mut told).unwrap();
    let pid = spawned.pid.number();
    assert_eq!((told, status(spawned.pid)), (format!("{pid} {pid}\n"), 0));
}

#[test]
fn a_process_id_of_any_length_is_written_whole() {
    for pid in [1, 9, 10, 4711, 32_768, 4_194_304, i32::MAX] {
        let mut entry = PidEntry::of("LISTEN_PID");
        entry.write(pid);
        let text = CStr::from_bytes_until_nul(&entry.bytes).unwrap();
        assert_eq!(text.to_str().unwrap(), format!("LISTEN_PID={pid}"));
    }
}

#[test]
fn stdin_may_be_given_a_descriptor_at_whose_number_another_one_is_placed() {
    let test = "sys::process::tests::stdin_may_be_given_a_descriptor_at_whose_number_another_one_is_placed";
    if run_apart(test, &Startup::plain()) == Apart::Done {
        return;
    }
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"from the file\n").unwrap();
    file.rewind().unwrap();
    let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    let descriptors = vec![writer.as_fd(); 30];
    assert!((FIRST_DESCRIPTOR..33).contains(&file.as_raw_fd()), "it is in nobody's way");
    let argv = ["sh", "-c", "exec >&3; cat; ls /proc/$$/fd; true"].map(OsString::from);
    let Given { environment, directory, .. } = given();
    let image = Image {
        argv: &argv,
        environment: &environment,
        directory,
        pid_variable: None,
        stdin: Stdin::From(file.as_fd()),
        stdout: Output::Inherit,
        stderr: Output::Inherit,
        descriptors: &descriptors,
    };
    let spawned = spawn(&image, &Startup::take()).unwrap();
    drop(descriptors);
    drop(writer);
    let mut told = String::new();
    File::from(reader).read_to_string(&mut told).unwrap();
    assert_eq!((told.lines().count(), status(spawned.pid)), (1 + 33, 0), "{told}");
    assert!(told.starts_with("from the file\n0\n1\n"), "{told}");
}
