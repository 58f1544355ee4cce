//! Numbers of processes come round again. Where there are only a hundred of them, each signal that srvwrap sends to a
//! number a moment too late hits somebody else.

use std::process::{Command, Stdio};

use crate::harness::{BINARY, require};

/// Process 1 of a namespace with a hundred process numbers: runs srvwrap, whose workers end in every way at every
/// moment, beside strangers that lead groups of their own, live for a moment, and tell of each signal that they get.
const WORLD: &str = r#"
import os, random, signal, subprocess, sys, time
open('/proc/sys/kernel/pid_max', 'w').write('400')
binary, seconds = sys.argv[1], float(sys.argv[2])
worker = '''
case $(($$ % 4)) in
    0) ( trap "" TERM; sleep 0.2 ) & ;;
    1) sleep 0.2 & ;;
esac
echo online >&3
until [ -e booted ]; do sleep 0.02; done
case $(($$ % 3)) in
    0) trap "" TERM; sleep 0.3 ;;
    1) sleep 0.1; exit 1 ;;
    2) exec sleep 1000 ;;
esac
'''
supervisor = subprocess.Popen([binary, '-n', '3', '--stop-timeout', '50ms', 'sh', '-c', worker],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open('log', 'w'))
# In a boot the first worker that ends would end everything.
while 'workers online' not in open('log').read():
    if supervisor.poll() is not None: sys.exit('srvwrap did not boot')
    time.sleep(0.01)
open('booted', 'w').close()
everything = set(range(1, 65)) - {9, 19, 32, 33}
signal.pthread_sigmask(signal.SIG_BLOCK, everything)
hit, born, seen, strangers = 0, 0, set(), 0

def live():
    os.setpgid(0, 0)
    info = signal.sigtimedwait(everything, random.random() * 0.06)
    os._exit(0 if info is None else info.si_signo)

end, next_deploy, next_kill = time.monotonic() + seconds, 0, 0
def busy(now):
    # On a crowded machine until there were enough of them to meet.
    return now < end or born < 500 and now < end + 60
while busy(time.monotonic()) or strangers:
    now = time.monotonic()
    if busy(now) and strangers < 60:
        try:
            child = os.fork()
            if child == 0: live()
            born, strangers = born + 1, strangers + 1
            seen.add(child)
        except BlockingIOError: pass
    if busy(now) and now > next_deploy:
        next_deploy = now + random.random() * 0.1
        os.kill(supervisor.pid, signal.SIGHUP)
    if busy(now) and now > next_kill:
        next_kill = now + random.random() * 0.1
        # srvwrap is stopped meanwhile, so that it cannot have reaped whom we kill.
        os.kill(supervisor.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, supervisor.pid, os.WSTOPPED)
        workers = open(f'/proc/{supervisor.pid}/task/{supervisor.pid}/children').read().split()
        if workers: os.kill(int(random.choice(workers)), random.choice([signal.SIGKILL, signal.SIGTERM]))
        os.kill(supervisor.pid, signal.SIGCONT)
    while True:
        dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if dead is None or dead.si_pid == supervisor.pid: break
        os.waitpid(dead.si_pid, 0)
        if dead.si_pid in seen:
            seen.discard(dead.si_pid)
            strangers -= 1
            if dead.si_code != os.CLD_EXITED or dead.si_status != 0:
                hit += 1
                print('stranger', dead.si_pid, 'got signal', dead.si_status, flush=True)
    if dead is not None and dead.si_pid == supervisor.pid: break
supervisor.poll()
alive = supervisor.returncode is None
if alive: supervisor.send_signal(signal.SIGTERM)
print('srvwrap lived:', alive, 'and ended with', supervisor.wait(timeout=60))
print('hit:', hit, 'of', born)
"#;

/// Crashes, kills, deploys and KILLs at the limit, for some seconds (or `SRVWRAP_TEST_PID_REUSE_SECONDS`), while every
/// number is used again many times a second: a stranger never gets a signal.
#[test]
fn a_stranger_that_has_a_dead_workers_number_never_gets_its_signals() {
    if !(require::pid_namespace() && require::program("python3") && own_pid_max()) {
        return;
    }
    let seconds = std::env::var("SRVWRAP_TEST_PID_REUSE_SECONDS").unwrap_or_else(|_| "5".to_string());
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let output = Command::new("unshare")
        .args(["--fork", "--pid", "--mount-proc", "--kill-child", "python3", "-c", WORLD, BINARY, &seconds])
        .current_dir(directory.path())
        .env("PWD", directory.path())
        .env_remove("WEB_CONCURRENCY")
        .stdin(Stdio::null())
        .output()
        .expect("unshare can be started");
    let (said, fault) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let log = std::fs::read_to_string(directory.path().join("log")).unwrap_or_default();
    let tail: Vec<&str> = log.lines().rev().take(30).collect();
    assert!(said.contains("srvwrap lived: True and ended with 0"), "{said}{fault}\n{tail:#?}");
    assert!(said.contains("hit: 0 of "), "{said}{fault}\n{tail:#?}");
    let count = |words: &str| log.matches(words).count();
    let strangers = said.rsplit(' ').next().and_then(|born| born.trim().parse().ok()).unwrap_or(0);
    assert!(strangers > 400, "too few strangers to have met anybody: {said}");
    assert!(count(" online after ") > 20 && count("within its limit") > 3, "too quiet a time:\n{log}");
    assert!(!log.contains("fault of srvwrap"), "{log}");
}

/// Whether a pid namespace has a limit of its own. In older kernels there is one limit for the whole machine.
fn own_pid_max() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    require::require("a limit of process numbers for each namespace (Linux 6.14)", version >= (6, 14))
}
