//! `srvwrap start`: returns when all is online, or with the reason why not; what stays has nothing of its caller's.

use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::thread;

use nix::sys::signal::Signal;

use crate::harness::control::Raw;
use crate::harness::daemon::{Daemon, Home, listener_at, returned};
use crate::harness::proc;
use crate::harness::terminal::in_terminal;
use crate::harness::{BINARY, before_exec, pipe, require, send, wait_until};

const IDLE: [&str; 3] = ["sh", "-c", "echo online >&3; exec sleep 1000"];
/// Online once the file `go` is there.
const GATED: [&str; 3] =
    ["sh", "-c", "echo begun >begun; until [ -e go ]; do sleep 0.02; done; echo online >&3; exec sleep 1000"];

fn with<'a>(options: &[&'a str], program: &[&'a str]) -> Vec<&'a str> {
    options.iter().chain(program).copied().collect()
}

#[test]
fn start_returns_when_all_workers_are_online_and_leaves_the_daemon_serving() {
    let home = Home::new();
    let returned = home.start(&with(&["-n2", "-p127.0.0.1:0"], &IDLE));
    assert_eq!(returned.code, 0, "{}", returned.stderr);
    assert_eq!(returned.stderr, "");
    assert!(returned.stdout.contains("workers online: 2, after "), "{}", returned.stdout);
    let said = || home.text("srvwrap.log").contains("srvwrap: workers online: 2, after ");
    wait_until("it is in the log", said);
    let daemon = home.daemon().unwrap();
    assert_eq!(proc::children(daemon.pid).len(), 2);
    daemon.stop();
    assert_eq!(home.names(), ["srvwrap.log", "stderr.log", "stdout.log"]);
    let log = home.text("srvwrap.log");
    assert!(log.ends_with("Z srvwrap: stopped\n"), "{log}");
    let times: Vec<_> = log.lines().filter_map(|line| line.split_once(" srvwrap: ")).collect();
    assert_eq!(times.len(), log.lines().count(), "{log}");
    for (time, _) in times {
        let parsed = humantime::parse_rfc3339(time).unwrap_or_else(|error| panic!("{error}: {log}"));
        assert!(parsed.elapsed().is_ok_and(|age| age.as_secs() < 600), "{log}");
    }
}

#[test]
fn start_does_not_return_before() {
    let home = Home::new();
    let mut caller = home.start_command(&GATED).spawn().unwrap();
    wait_until("the worker has begun", || home.at("begun").exists());
    assert!(caller.try_wait().unwrap().is_none());
    fs::write(home.at("go"), "").unwrap();
    assert_eq!(caller.wait().unwrap().code(), Some(0));
    home.daemon().unwrap().stop();
}

#[test]
fn a_boot_that_fails_is_told_to_the_caller_and_leaves_nothing_behind() {
    let home = Home::new();
    let options = ["-n2", "-punix:app.sock", "--pid-file", "srvwrap.pid"];
    let returned = home.start(&with(&options, &["sh", "-c", "echo no database >&2; exit 3"]));
    assert_eq!(returned.code, 1);
    assert!(returned.stderr.contains("exited with status 3 while starting"), "{}", returned.stderr);
    let pointer = format!(" (see {})\n", home.at("stderr.log").display());
    assert!(returned.stderr.ends_with(&pointer), "{}", returned.stderr);
    assert!(!home.text("srvwrap.log").contains("(see "), "who reads it is there");
    assert_eq!(home.names(), ["srvwrap.log", "stderr.log", "stdout.log"]);
    assert!(home.text("stderr.log").contains("no database"));
}

#[test]
fn a_program_that_cannot_be_executed_gives_127_and_126() {
    let home = Home::new().file("text", "not a program");
    for (program, code) in [("no-such-program", 127), ("./text", 126)] {
        let returned = home.start(&[program]);
        assert_eq!(returned.code, code, "{}", returned.stderr);
        assert!(returned.stderr.contains(program), "{}", returned.stderr);
        assert!(!returned.stderr.contains("stderr.log"), "the program has said nothing: {}", returned.stderr);
    }
}

#[test]
fn a_deploy_and_a_scale_that_fail_say_where_the_programs_own_words_are() {
    let program = "[ $SRVWRAP_SLOT$SRVWRAP_GENERATION = 01 ] || exit 3; echo online >&3; exec sleep 1000";
    let home = Home::new();
    let daemon = home.online(&["--stderr", "errors", "sh", "-c", program]);
    let pointer = format!(" (see {})", home.at("errors").display());
    for (path, body, words) in
        [("/deploy", "{}", "generation 1 keeps serving"), ("/scale", r#"{"by": 1}"#, "back to 1 worker")]
    {
        let answer = Raw::connect(&home.at("srvwrap.sock")).post(path, body);
        assert!(answer.text("message").ends_with(&format!("; {words}{pointer}")), "{answer:?}");
        assert_eq!(answer.json()["outcome"], "failed");
    }
    let other = Raw::connect(&home.at("srvwrap.sock")).post("/deploy", r#"{"program": ["no-such-program"]}"#);
    assert!(other.text("message").ends_with("; generation 1 keeps serving"), "{other:?}");
    daemon.stop();
}

#[test]
fn where_workers_write_their_errors_to_nothing_nobody_is_sent_there() {
    let home = Home::new();
    let returned = home.start(&["--stderr", "/dev/null", "sh", "-c", "exit 3"]);
    assert_eq!(returned.code, 1);
    assert!(returned.stderr.ends_with("exited with status 3 while starting\n"), "{}", returned.stderr);
}

#[test]
fn in_a_directory_that_cannot_be_written_it_is_said_what_to_do() {
    const DAC_OVERRIDE: libc::c_ulong = 1;
    let home = Home::new();
    let place = home.at("read-only");
    fs::create_dir(&place).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o555)).unwrap();
    let elsewhere = ["--stdout=/dev/null", "--stderr=/dev/null", "--log=/dev/null"];
    for (count, name, remedy) in [
        (
            0,
            "stdout.log",
            "--stdout, --stderr, --log and --socket name other places; or start it in a directory",
        ),
        (2, "srvwrap.log", "(--log names another file)"),
        (3, "srvwrap.sock", "(--socket PATH puts it elsewhere)"),
    ] {
        let mut command = home.start_command(&with(&elsewhere[..count], &IDLE));
        command.current_dir(&place).env("PWD", &place);
        before_exec(&mut command, || {
            // SAFETY: takes root's right to write everywhere away, where there is one.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, DAC_OVERRIDE) };
            Ok(())
        });
        let told = returned(command);
        assert_eq!(told.code, 1, "{}", told.stderr);
        assert!(told.stderr.contains(&format!("{name}: Permission denied")), "{}", told.stderr);
        assert!(told.stderr.contains(remedy), "{}", told.stderr);
    }
}

#[test]
fn what_goes_wrong_before_the_boot_is_told_to_the_caller_in_one_line() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("-p{}", taken.local_addr().unwrap());
    let returned = home.start(&with(&[&address, "--pid-file", "srvwrap.pid"], &IDLE));
    assert_eq!(returned.code, 1);
    assert!(returned.stderr.starts_with("srvwrap: cannot bind 127.0.0.1:"), "{}", returned.stderr);
    assert_eq!(returned.stderr.lines().count(), 1, "{}", returned.stderr);
    assert_eq!(home.names(), ["srvwrap.log", "stderr.log", "stdout.log"]);

    fs::write(home.at("file"), "").unwrap();
    let returned = home.start(&with(&["--stdout", "file/stdout.log"], &IDLE));
    assert_eq!(returned.code, 1);
    let reason = "file: File exists";
    assert!(returned.stderr.trim_end().ends_with(reason), "{}", returned.stderr);
}

#[test]
fn a_control_socket_that_cannot_be_made_is_a_reason_not_to_start() {
    let home = Home::new();
    fs::create_dir(home.at("srvwrap.sock")).unwrap();
    let returned = home.start(&IDLE);
    assert_eq!(returned.code, 1);
    assert!(returned.stderr.contains("something that is not a socket has this name"), "{}", returned.stderr);
}

#[test]
fn a_log_that_is_no_file_is_refused_and_a_fifo_is_not_waited_for() {
    let home = Home::new();
    nix::unistd::mkfifo(&home.at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", home.at("link")).unwrap();
    for option in ["--log", "--stdout", "--stderr"] {
        for (name, kind) in [("fifo", "a FIFO"), ("link", "a symbolic link")] {
            let returned = home.start(&with(&[option, name], &IDLE));
            assert_eq!(returned.code, 1, "{option} {name}");
            let words = format!("{name}: it is {kind} and not a file; it is left alone");
            assert!(returned.stderr.trim_end().ends_with(&words), "{}", returned.stderr);
        }
    }
    let home = Home::new();
    let daemon =
        home.online(&with(&["--log", "/dev/null", "--stdout", "/dev/null", "--stderr", "/dev/null"], &IDLE));
    assert_eq!(home.names(), ["srvwrap.sock"]);
    daemon.stop();
}

#[test]
fn the_daemon_has_a_session_without_a_terminal_its_own_output_and_nothing_of_its_callers() {
    let home = Home::new();
    let (reader, writer) = pipe();
    let mut command = home.start_command(&with(&["-n1"], &IDLE));
    let number = writer.as_raw_fd();
    before_exec(&mut command, move || {
        // SAFETY: changes one flag of a descriptor, and copies it.
        unsafe {
            libc::fcntl(number, libc::F_SETFD, 0);
            libc::dup2(number, 200);
        }
        Ok(())
    });
    let returned = returned(command);
    assert_eq!(returned.code, 0, "{}", returned.stderr);
    drop(writer);
    let mut rest = String::new();
    assert_eq!(File::from(reader).read_to_string(&mut rest).unwrap(), 0, "nobody else has the pipe");

    let daemon = home.daemon().unwrap();
    let session: i32 = daemon.stat(6).parse().unwrap();
    assert_ne!(session, daemon.pid, "it could get a terminal");
    assert_ne!(session, nix::unistd::getsid(None).unwrap().as_raw());
    assert_eq!(daemon.stat(7), "0", "no terminal");
    assert_eq!(proc::directory(daemon.pid).to_str(), Some("/"));
    let open = proc::descriptors(daemon.pid);
    let at = |name: &str| home.at(name).canonicalize().unwrap().to_string_lossy().into_owned();
    assert_eq!(open[&0], "/dev/null");
    assert_eq!((open[&1].as_str(), open[&2].as_str()), ("/dev/null", "/dev/null"));
    let writer = proc::descriptors(proc::log_writer(daemon.pid).expect("it has one"));
    for name in ["stdout.log", "stderr.log", "srvwrap.log"] {
        assert!(writer.values().any(|path| *path == at(name)), "{writer:?}");
    }
    daemon.stop();
}

#[test]
fn output_of_workers_is_appended_to_files_and_each_start_adds_to_them() {
    let home = Home::new();
    for round in 1..=2 {
        let program = ["sh", "-c", "echo out; echo err >&2; echo online >&3; exec sleep 1000"];
        home.online(&with(&["-n2"], &program)).stop();
        assert_eq!(home.text("stdout.log"), "out\n".repeat(2 * round));
        assert_eq!(home.text("stderr.log"), "err\n".repeat(2 * round));
    }
}

#[test]
fn a_terminal_that_is_closed_is_nothing_to_the_daemon() {
    let home = Home::new();
    let mut command = home.start_command(&IDLE);
    command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    let mut terminal = in_terminal(command);
    assert_eq!(terminal.exit_code(), 0, "{}", terminal.text());
    let daemon = home.daemon().unwrap();
    let workers = proc::children(daemon.pid);
    terminal.hang_up();
    drop(terminal);
    assert!(daemon.is_alive());
    assert_eq!(proc::children(daemon.pid), workers);
    daemon.signal(Signal::SIGHUP);
    wait_until("a HUP deploys", || home.text("srvwrap.log").contains("deploy 2 done"));
    daemon.stop();
}

#[test]
fn a_caller_that_is_killed_changes_nothing() {
    let home = Home::new();
    let mut caller = home.start_command(&with(&["-n2"], &GATED)).spawn().unwrap();
    wait_until("the worker has begun", || home.at("begun").exists());
    let daemon = home.daemon().unwrap();
    caller.kill().unwrap();
    caller.wait().unwrap();
    fs::write(home.at("go"), "").unwrap();
    wait_until("it is online", || home.text("srvwrap.log").contains("workers online: 2"));
    assert!(daemon.is_alive());
    daemon.stop();
}

#[test]
fn a_stop_before_all_are_online_ends_the_start_too() {
    let home = Home::new();
    let mut caller = home.start_command(&GATED).spawn().unwrap();
    wait_until("the worker has begun", || home.at("begun").exists());
    home.daemon().unwrap().stop();
    assert_eq!(caller.wait().unwrap().code(), Some(5));
    assert!(!home.at("srvwrap.sock").exists());
}

#[test]
fn a_daemon_that_is_killed_while_booting_is_told_as_that() {
    let home = Home::new();
    let caller = home.start_command(&GATED).spawn().unwrap();
    wait_until("the worker has begun", || home.at("begun").exists());
    home.daemon().unwrap().signal(Signal::SIGKILL);
    let output = caller.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("without a word") && said.contains("srvwrap.log"), "{said}");
}

#[test]
fn where_one_is_running_nothing_is_touched_and_start_fails() {
    let home = Home::new();
    let daemon = home.online(&with(&["--pid-file", "srvwrap.pid"], &IDLE));
    // Another process writes it; this is the last that there is to say.
    wait_until("all is in the log", || home.text("srvwrap.log").contains("workers online: 1, after "));
    let before = (home.text("srvwrap.log"), home.text("srvwrap.pid"), home.names());
    let returned = home.start(&with(&["--pid-file", "srvwrap.pid"], &IDLE));
    assert_eq!(returned.code, 1);
    assert!(returned.stderr.contains("srvwrap is running already"), "{}", returned.stderr);
    assert!(returned.stdout.contains(&daemon.pid.to_string()), "its status: {}", returned.stdout);
    assert_eq!((home.text("srvwrap.log"), home.text("srvwrap.pid"), home.names()), before);
    assert_eq!(listener_at(&home.at("srvwrap.sock")), Some(daemon.pid));
    daemon.stop();
}

#[test]
fn start_or_deploy_starts_where_none_runs_and_deploys_where_one_does() {
    let home =
        Home::new().file("new.sh", "#!/bin/sh\necho $COLOUR >>seen; echo online >&3; exec sleep 1000\n");
    let daemon = home.online(&with(&["--or-deploy"], &IDLE));
    let mut command = home.start_command(&["--or-deploy", "-n2", "./new.sh"]);
    command.env("COLOUR", "green");
    let told = returned(command);
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert_eq!(home.text("seen"), "green\ngreen\n");
    assert_eq!(listener_at(&home.at("srvwrap.sock")), Some(daemon.pid));
    assert_eq!(proc::children(daemon.pid).len(), 2);

    let told = home.start(&["--or-deploy", "sh", "-c", "exit 3"]);
    assert_eq!(told.code, 1, "{}", told.stderr);
    assert_eq!(proc::children(daemon.pid).len(), 2);
    daemon.stop();
}

#[test]
fn start_or_deploy_says_which_options_the_running_one_does_not_take() {
    let home = Home::new();
    let first = home.start(&with(&["--or-deploy", "-p127.0.0.1:0", "--bake=1s"], &IDLE));
    assert_eq!((first.code, first.stderr.as_str()), (0, ""));
    let daemon = home.daemon().unwrap();

    let told = home.start(&with(&["--or-deploy", "-p", "8123", "--health", "9", "-n2"], &IDLE));
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert_eq!(
        told.stderr,
        "srvwrap: -p 8123 and --health 9 have no effect on the srvwrap that is running; stop and start it to change \
         them\n"
    );
    assert!(told.stdout.contains("both generations serve for 1s"), "its bake is kept: {}", told.stdout);
    assert_eq!(proc::children(daemon.pid).len(), 2);

    let told = home.start(&["--or-deploy", "--on-crash=exit", "--bake=0s", "sh", "-c", "exit 3"]);
    assert_eq!(told.code, 1, "{}", told.stderr);
    let remark = "srvwrap: --on-crash exit has no effect on the srvwrap that is running; stop and start it to change it";
    assert_eq!(told.stderr.lines().next(), Some(remark));
    let told = home.start(&with(&["--or-deploy", "--on-crash=exit", "--bake=0s", "--quiet"], &IDLE));
    assert_eq!((told.code, told.stderr.as_str()), (0, ""));
    daemon.stop();
}

#[test]
fn an_interrupt_of_start_ends_what_it_has_begun() {
    let home = Home::new();
    let caller = home.start_command(&GATED).spawn().unwrap();
    wait_until("the worker has begun", || home.at("begun").exists());
    let daemon = home.daemon().unwrap();
    send(caller.id() as i32, Signal::SIGINT);
    let output = caller.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
    daemon.wait();
    assert_eq!(home.names(), ["begun", "srvwrap.log", "stderr.log", "stdout.log"]);
}

#[test]
fn of_many_that_start_at_once_one_comes_online_and_the_others_say_why_not() {
    let home = Home::new();
    let codes: Vec<i32> = thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| home.start(&IDLE).code)).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 1).count(), 3, "{codes:?}");
    home.daemon().unwrap().stop();
}

#[test]
fn start_is_not_for_a_service_manager() {
    let home = Home::new();
    let script = format!("SYSTEMD_EXEC_PID=$$ exec {BINARY} start sleep 1000");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(home.path());
    let told = returned(command);
    assert_eq!(told.code, 2);
    assert!(told.stderr.contains("srvwrap run") && told.stderr.contains("Type=notify"), "{}", told.stderr);

    // The variable is inherited, and not about us where it names somebody else.
    let mut command = home.start_command(&IDLE);
    command.env("SYSTEMD_EXEC_PID", std::process::id().to_string());
    assert_eq!(returned(command).code, 0);
    home.daemon().unwrap().stop();
}

#[test]
fn start_is_not_for_process_1() {
    if !require::pid_namespace() {
        return;
    }
    let home = Home::new();
    let mut command = Command::new("unshare");
    command.args(["--fork", "--pid", "--mount-proc", "--kill-child", BINARY, "start", "sleep", "1000"]);
    command.current_dir(home.path());
    let told = returned(command);
    assert_eq!(told.code, 2);
    assert!(told.stderr.contains("srvwrap run"), "{}", told.stderr);
    assert!(home.names().is_empty());
}

#[test]
fn no_death_signal_is_armed_before_the_daemon_is_made() {
    if !require::strace() {
        return;
    }
    let home = Home::new();
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-e",
        "trace=prctl,setsid,fork,vfork,clone,clone3,execve",
        "-o",
        "trace",
        BINARY,
        "start",
    ]);
    command.args(IDLE).current_dir(home.path());
    command.env_remove("SYSTEMD_EXEC_PID").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut traced = command.spawn().unwrap();
    wait_until("it is online", || {
        home.at("srvwrap.log").exists() && home.text("srvwrap.log").contains("online: 1")
    });
    let daemon = home.daemon().unwrap();
    daemon.stop();
    assert!(traced.wait().unwrap().success());
    let trace = home.text("trace");
    let line_of = |word: &str| trace.lines().position(|line| line.contains(word));
    let armed = line_of("PR_SET_PDEATHSIG").expect("workers die with srvwrap");
    let session = line_of("setsid(").expect("a session of its own");
    let second_fork = trace
        .lines()
        .enumerate()
        .skip(session)
        .find(|(_, line)| line.contains("clone") || line.contains("fork("));
    assert!(second_fork.is_some_and(|(number, _)| number < armed), "{trace}");
    let daemon_pid = trace.lines().nth(armed).and_then(|line| line.split_whitespace().next()).unwrap();
    assert_ne!(daemon_pid, trace.split_whitespace().next().unwrap(), "armed in a worker, not in the caller");
}

#[test]
fn an_orphan_of_a_worker_becomes_the_daemons_child() {
    let home = Home::new();
    let program = ["sh", "-c", "(sleep 1000 & echo $! >orphan); echo online >&3; exec sleep 1000"];
    let daemon: Daemon = home.online(&program);
    let orphan: i32 = home.text("orphan").trim().parse().unwrap();
    wait_until("it is adopted", || proc::children(daemon.pid).contains(&orphan));
    daemon.stop();
}
