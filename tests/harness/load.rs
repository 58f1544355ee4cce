//! Clients that never pause, until they are told to end, and what they have met.
//!
//! A client keeps the rules of HTTP: it does not use a connection again after `Connection: close`, and it lets go of
//! one that it has not used for longer than a server may be expected to keep it.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::http::{Connection, Target, Trouble};
use super::{Srvwrap, command, wait_until};

/// Clients at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    /// Of whom each client's last answer was.
    generations: Vec<Arc<AtomicU32>>,
    clients: Vec<thread::JoinHandle<Report>>,
}

/// What clients have met.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) answers: usize,
    pub(crate) failures: Vec<Failure>,
}

/// A request without a whole answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) client: usize,
    pub(crate) trouble: Trouble,
    /// Who had answered on this connection before.
    pub(crate) held_by: Option<i32>,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

impl Load {
    const CLIENTS_OF_EACH_KIND: usize = 2;

    /// Half of them keep their connections.
    pub(crate) fn begin(targets: &[Target]) -> Load {
        Load::of(targets.iter().flat_map(|target| [(target, true), (target, false)]))
    }

    /// Each request by a connection of its own.
    pub(crate) fn of_new_connections(target: &Target) -> Load {
        Load::of([(target, false); 2].into_iter())
    }

    fn of<'t>(kinds: impl Iterator<Item = (&'t Target, bool)>) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut generations, mut clients) = (Vec::new(), Vec::new());
        for (target, keep) in kinds.flat_map(|kind| [kind; Self::CLIENTS_OF_EACH_KIND]) {
            let client = Client::new(clients.len(), target.clone(), keep);
            generations.push(Arc::clone(&client.generation));
            let stop = Arc::clone(&stop);
            clients.push(thread::spawn(move || client.run(&stop)));
        }
        Load { stop, generations, clients }
    }

    /// Until every client has had an answer from this generation.
    pub(crate) fn wait_for_generation(&self, generation: u32) {
        wait_until("every client is answered by the new workers", || {
            self.generations.iter().all(|each| each.load(Ordering::SeqCst) == generation)
        });
    }

    /// Through so many deploys of srvwrap, which has its first generation, and to its end. Each deploy finds every
    /// client on the workers that it is to replace, and nobody is killed. What the clients have met, and srvwrap's log.
    pub(crate) fn through_deploys(self, mut srvwrap: Srvwrap, deploys: u32) -> (Report, String) {
        for generation in 2..deploys + 2 {
            self.wait_for_generation(generation - 1);
            srvwrap.signal(Signal::SIGHUP);
            srvwrap.wait_for(&format!("deploy {generation} done"));
        }
        self.end_with(srvwrap, deploys + 1)
    }

    /// The same through a deploy of each of these programs, by the command.
    pub(crate) fn through_programs(self, srvwrap: Srvwrap, programs: &[Vec<OsString>]) -> (Report, String) {
        for (generation, program) in (1..).zip(programs) {
            self.wait_for_generation(generation);
            let program = program.iter().map(|word| word.to_str().expect("a path of ours"));
            let arguments: Vec<&str> = ["deploy", "--"].into_iter().chain(program).collect();
            let told = command::told(srvwrap.path(), &arguments);
            assert_eq!(told.code, 0, "{arguments:?}: {told:?}");
        }
        self.end_with(srvwrap, programs.len() as u32 + 1)
    }

    /// Once this generation answers every client.
    fn end_with(self, srvwrap: Srvwrap, generation: u32) -> (Report, String) {
        self.wait_for_generation(generation);
        let report = self.end();
        let log = srvwrap.stop();
        assert!(!log.contains("killed"), "{log}");
        (report, log)
    }

    pub(crate) fn end(self) -> Report {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Report::default();
        for client in self.clients {
            let report = client.join().expect("a client does not panic");
            assert!(report.answers > 0, "a client that was never answered shows nothing");
            all.answers += report.answers;
            all.failures.extend(report.failures);
        }
        all
    }
}

struct Client {
    number: usize,
    target: Target,
    keep: bool,
    kept: Option<Kept>,
    generation: Arc<AtomicU32>,
    report: Report,
}

/// A connection that has had an answer and may have another.
struct Kept {
    connection: Connection,
    by: i32,
    since: Instant,
}

impl Client {
    /// Servers that drain keep an idle connection for half a second. A client that the machine has kept from running
    /// for nearly as long takes a new one.
    const LONGEST_IDLE: Duration = Duration::from_millis(250);
    /// Between two requests, so that the machine has time for the deploys too.
    const PAUSE: Duration = Duration::from_millis(4);

    fn new(number: usize, target: Target, keep: bool) -> Client {
        Client { number, target, keep, kept: None, generation: Arc::default(), report: Report::default() }
    }

    fn run(mut self, stop: &AtomicBool) -> Report {
        for turn in 0.. {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            self.request(if turn % 50 == 49 { "/slow" } else { "/" });
            thread::sleep(Self::PAUSE);
        }
        self.report
    }

    fn request(&mut self, path: &str) {
        let kept = self.kept.take().filter(|kept| kept.since.elapsed() < Self::LONGEST_IDLE);
        let held_by = kept.as_ref().map(|kept| kept.by);
        let began = Instant::now();
        let (connection, idle_since) = match kept {
            Some(kept) => (Ok(kept.connection), kept.since),
            None => (Connection::open(&self.target), Instant::now()),
        };
        let mut asked_late = false;
        let answered = connection.and_then(|mut connection| {
            let asked = connection.ask(path, !self.keep);
            asked_late = idle_since.elapsed() >= Self::LONGEST_IDLE;
            asked?;
            let answer = connection.answer(!self.keep)?;
            Ok((connection, answer))
        });
        match answered {
            Ok((connection, answer)) => {
                let by = answer.by();
                self.report.answers += 1;
                self.generation.store(by.generation, Ordering::SeqCst);
                if !answer.last {
                    // Counted from the request: it may be long until this client is given the processor again.
                    self.kept = Some(Kept { connection, by: by.pid, since: began });
                }
            }
            // Until then nobody had asked on it, and the server was free to close it.
            Err(Trouble::Truncated | Trouble::Reset) if asked_late => self.request(path),
            Err(trouble) => {
                let ended = Instant::now();
                self.report.failures.push(Failure { client: self.number, trouble, held_by, began, ended });
            }
        }
    }
}
