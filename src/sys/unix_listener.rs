//! A unix socket at a path: taken from the dead, never from the living, and removed only while it is ours.
//!
//! ```text
//!    lock the directory ─> what is there? ─┬─ nothing ─────────────────────────────┐
//!                                          ├─ a socket that refuses ─> remove it ──┼─> bind, listen ─> unlock
//!                                          ├─ a socket that somebody listens on: an error, with the holder
//!                                          └─ anything else: an error, and it is left alone
//! ```
//!
//! The lock is on the directory itself, see `directory.rs`. It lasts for that moment only: of two that start at once
//! over a dead server's socket one wins, and the other finds it alive. A server that knows nothing of the lock is
//! recognised by its answer to `connect`.
//!
//! A name gets the owner of the process that binds it. Where it is to be another's, it is bound under another name,
//! given away, and renamed, so that nobody sees it before it is right. getsockname(2) tells that other name for ever,
//! so this is done only where it has to be.
//!
//! Abstract names have no mode, no owner and no lock, and are gone with the last who holds the socket.
//!
//! What this file does not do: make directories, or know users by their names.

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{self, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, bind as bind_socket, connect, getsockopt, socket, sockopt,
};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, lstat, umask};
use nix::unistd::{Gid, Uid, fchownat, getegid, geteuid, unlink};

use super::bind_error::{BindCause, BindError};
use super::directory::{Directory, directory_of};
use super::holder;
use super::listener::listen;

/// Who may connect to a path, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// At most 0o777.
    pub(crate) mode: u32,
    /// None leaves it as it comes, as with the group.
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

impl Access {
    #[cfg(test)]
    pub(crate) const DEFAULT: Access = Access { mode: 0o666, uid: None, gid: None };

    /// Whether what this process makes in that directory is another's.
    fn differs(&self, directory: &Directory) -> bool {
        let gid = directory.group_of_new_files().unwrap_or(getegid().as_raw());
        self.uid.is_some_and(|uid| uid != geteuid().as_raw()) || self.gid.is_some_and(|wanted| wanted != gid)
    }
}

/// Bytes in the path of a socket: the 108 of `sun_path`, less the zero at its end.
pub(crate) const MAX_PATH: usize = 107;

/// For how long a locked directory is waited for: 5 s to bind, 0.2 s to remove.
pub(super) const BIND_TRIES: u32 = 500;
pub(super) const REMOVE_TRIES: u32 = 20;

/// Where a socket of ours is bound.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    access: Access,
    identity: Identity,
}

/// Device and inode. It tells two sockets apart for as long as the first of them is open, and no longer.
pub(super) type Identity = (u64, u64);

/// A listening socket at `path`, blocking, close-on-exec. Its mode and owner are right from the first moment at which
/// it can be seen. On failure nothing has changed, but that a dead server's socket may be gone.
pub(super) fn bind(path: &Path, access: Access) -> Result<(OwnedFd, Place), BindError> {
    // Absolute, because the current directory may be another when it is removed.
    let path = path::absolute(path).map_err(|_| BindError::unix(path, BindCause::Os(Errno::EINVAL)))?;
    bind_absolute(&path, access)
        .map(|(fd, identity)| (fd, Place { path: path.clone(), access, identity }))
        .map_err(|cause| BindError::unix(&path, cause))
}

/// One of that name, of 1 to 107 bytes, in the abstract namespace.
pub(super) fn bind_abstract(name: &[u8]) -> Result<OwnedFd, BindError> {
    let shown = abstract_path(name);
    let bound = UnixAddr::new_abstract(name).and_then(|address| {
        let fd = new_socket(SockFlag::empty())?;
        bind_socket(fd.as_raw_fd(), &address)?;
        listen(&fd).map(|()| fd)
    });
    bound.map_err(|errno| BindError::unix(&shown, taken_or_other(errno, &shown)))
}

/// As the kernel shows it, where paths are expected.
pub(super) fn abstract_path(name: &[u8]) -> PathBuf {
    Path::new(OsStr::from_bytes(&[b"@", name].concat())).to_path_buf()
}

fn bind_absolute(path: &Path, access: Access) -> Result<(OwnedFd, Identity), BindCause> {
    let length = path.as_os_str().len();
    if length > MAX_PATH {
        return Err(BindCause::PathTooLong(length));
    }
    let address = UnixAddr::new(path).map_err(BindCause::Os)?;
    let directory = Directory::locked(directory_of(path), BIND_TRIES).map_err(BindCause::Directory)?;
    make_way(path, &address)?;
    if access.differs(&directory) {
        return bind_for_another(path, &directory, access);
    }
    bind_in_locked(path, &address, access.mode, SockFlag::empty())
        .map_err(|errno| taken_or_other(errno, path))
}

fn taken_or_other(errno: Errno, path: &Path) -> BindCause {
    match matches!(errno, Errno::EADDRINUSE | Errno::EEXIST) {
        true => BindCause::PathTaken(holder::path_holders(path)),
        false => BindCause::Os(errno),
    }
}

/// Bound under another name, given away, renamed. That name is short, so the directory is entered: what is long enough
/// for the path may be too short for it.
fn bind_for_another(
    path: &Path,
    directory: &Directory,
    access: Access,
) -> Result<(OwnedFd, Identity), BindCause> {
    let parent = directory_of(path);
    directory.judge(parent).map_err(BindCause::Directory)?;
    let name = path.file_name().ok_or(BindCause::Os(Errno::EINVAL))?;
    let _visit = directory.enter(parent).map_err(BindCause::Directory)?;
    remove_left_over();
    let temporary = format!("{TEMPORARY_PREFIX}{}{TEMPORARY_SUFFIX}", std::process::id());
    let address = UnixAddr::new(temporary.as_str()).map_err(BindCause::Os)?;
    let fd = new_socket(SockFlag::empty()).map_err(BindCause::Os)?;
    bind_with_mode(&fd, &address, access.mode).map_err(BindCause::Os)?;
    let done = give_away(&temporary, access).map_err(BindCause::Owner).and_then(|()| {
        let renamed = listen(&fd).and_then(|()| rename_to_nothing(temporary.as_ref(), name));
        renamed.and_then(|()| lstat(name)).map_err(|errno| taken_or_other(errno, path))
    });
    if done.is_err() {
        let _ = unlink(temporary.as_str());
    }
    done.map(|status| (fd, identity(&status)))
}

const TEMPORARY_PREFIX: &str = ".srvwrap.";
const TEMPORARY_SUFFIX: &str = ".sock";

/// What somebody has left here who was killed between the two names. Nobody else is between them: the directory is
/// locked.
fn remove_left_over() {
    for entry in fs::read_dir(".").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(TEMPORARY_PREFIX)?.strip_suffix(TEMPORARY_SUFFIX));
        let is_socket = lstat(name.as_os_str()).is_ok_and(|status| is_socket(&status));
        if is_socket && pid.is_some_and(|pid| pid.bytes().all(|byte| byte.is_ascii_digit())) {
            let _ = unlink(name.as_os_str());
        }
    }
}

/// Opened first, and looked at: the name may lead to something else by now, where others may write.
fn give_away(name: &str, access: Access) -> nix::Result<()> {
    let there = open(name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    if !is_socket(&fstat(&there)?) {
        return Err(Errno::EPERM);
    }
    let (uid, gid) = (access.uid.map(Uid::from_raw), access.gid.map(Gid::from_raw));
    fchownat(&there, "", uid, gid, AtFlags::AT_EMPTY_PATH)
}

/// Fails where there is something; but some file systems cannot do it so.
fn rename_to_nothing(from: &OsStr, to: &OsStr) -> nix::Result<()> {
    let [from, to] = [from, to].map(|name| CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL));
    let (from, to, here) = (from?, to?, libc::AT_FDCWD);
    // SAFETY: two C strings; the rest are numbers.
    let renamed = Errno::result(unsafe {
        libc::syscall(libc::SYS_renameat2, here, from.as_ptr(), here, to.as_ptr(), libc::RENAME_NOREPLACE)
    });
    match renamed {
        Err(Errno::EINVAL | Errno::ENOSYS) => {
            // SAFETY: two C strings.
            let renamed = unsafe { libc::rename(from.as_ptr(), to.as_ptr()) };
            Errno::result(renamed).map(drop)
        }
        renamed => renamed.map(drop),
    }
}

/// Makes the socket and lets it listen, in a directory that is locked, at a path where there is nothing.
pub(super) fn bind_in_locked(
    path: &Path,
    address: &UnixAddr,
    mode: u32,
    flags: SockFlag,
) -> nix::Result<(OwnedFd, Identity)> {
    let fd = new_socket(flags)?;
    bind_with_mode(&fd, address, mode)?;
    match listen(&fd).and_then(|()| lstat(path)) {
        Ok(status) => Ok((fd, identity(&status))),
        Err(errno) => {
            let _ = unlink(path);
            Err(errno)
        }
    }
}

/// Removes the socket of a dead server.
fn make_way(path: &Path, address: &UnixAddr) -> Result<(), BindCause> {
    let status = match lstat(path) {
        Err(Errno::ENOENT) => return Ok(()),
        found => found.map_err(BindCause::Os)?,
    };
    if !is_socket(&status) {
        return Err(BindCause::NotASocket);
    }
    if let Some(Alive { pid }) = who_listens(address).map_err(BindCause::Os)? {
        // One that was renamed is in no table by its path.
        // And one of our own is bound by a name that others have as well.
        let by_path = || holder::path_holders(path);
        let listens = pid.map(holder::process);
        let ours = listens.clone().filter(holder::Holders::are_this_process);
        return Err(BindCause::PathTaken(ours.or_else(by_path).or(listens)));
    }
    // A server that does not know the lock may have come meanwhile.
    if lstat(path).map(|now| identity(&now)) == Ok(identity(&status)) {
        unlink(path).map_err(BindCause::Stale)?;
    }
    Ok(())
}

/// Somebody listens, or may; the process that called listen, where the kernel tells.
struct Alive {
    pid: Option<u32>,
}

/// Only a refusal shows that nobody is there: a queue that is full, or a socket that is not for us, has an owner.
fn who_listens(address: &UnixAddr) -> nix::Result<Option<Alive>> {
    let probe = new_socket(SockFlag::SOCK_NONBLOCK)?;
    if matches!(connect(probe.as_raw_fd(), address), Err(Errno::ECONNREFUSED | Errno::ENOENT)) {
        return Ok(None);
    }
    let pid = getsockopt(&probe, sockopt::PeerCredentials).ok().map(|peer| peer.pid());
    Ok(Some(Alive { pid: pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0) }))
}

fn is_socket(status: &FileStat) -> bool {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK
}

pub(super) fn new_socket(flags: SockFlag) -> nix::Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC | flags, None)
}

/// The name gets the mode of the socket, less the umask. So the one is set before there is a name, and the other
/// is out of the way for this one call.
pub(super) fn bind_with_mode(fd: &OwnedFd, address: &UnixAddr, mode: u32) -> nix::Result<()> {
    fchmod(fd, Mode::from_bits_truncate(mode))?;
    let usual = umask(Mode::empty());
    let bound = bind_socket(fd.as_raw_fd(), address);
    umask(usual);
    bound
}

pub(super) fn identity(status: &FileStat) -> Identity {
    (status.st_dev, status.st_ino)
}

impl Place {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn access(&self) -> Access {
        self.access
    }

    /// Whether the path is still that of our socket, which the caller has not closed yet.
    pub(super) fn is_ours(&self) -> bool {
        lstat(&self.path).is_ok_and(|now| identity(&now) == self.identity)
    }

    /// Removes the path if it is still that of our socket, which the caller has not closed yet. A directory that
    /// a stranger keeps locked is no reason to leave the path behind: as long as our socket is open nobody who
    /// asks takes it for a dead one, and nobody else's has its identity.
    pub(super) fn remove(&self) {
        let _lock = Directory::locked(directory_of(&self.path), REMOVE_TRIES);
        if self.is_ours() {
            // Nothing can be done about a failure, and the next start takes the path over.
            let _ = unlink(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::Barrier;
    use std::thread;

    use super::super::apart::own_umask;
    use super::super::directory::DirectoryError;
    use super::super::listener::Listener;

    fn listener_at(path: &Path) -> Listener {
        Listener::bind_unix(path, Access::DEFAULT).unwrap()
    }

    fn cause_at(path: &Path) -> BindCause {
        Listener::bind_unix(path, Access::DEFAULT).unwrap_err().cause
    }

    fn is_socket(path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_socket())
    }

    /// What a server leaves behind that was killed.
    fn leave_a_dead_socket(path: &Path) {
        drop(UnixListener::bind(path).unwrap());
        assert!(is_socket(path));
    }

    #[test]
    fn the_path_is_made_at_the_start_and_gone_at_the_end_with_nothing_beside_it() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let listener = listener_at(&path);
        UnixStream::connect(&path).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        drop(listener);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_mode_is_right_from_the_first_visible_moment_whatever_the_umask() {
        let directory = tempfile::tempdir().unwrap();
        for (round, umask, mode) in [(0, 0o077, 0o666), (1, 0o000, 0o600), (2, 0o022, 0o660)].repeat(50) {
            let path = directory.path().join(format!("{round}.sock"));
            let started = Barrier::new(2);
            let (first_seen, after) = thread::scope(|scope| {
                let watcher = scope.spawn(|| {
                    started.wait();
                    loop {
                        if let Ok(facts) = fs::symlink_metadata(&path) {
                            return facts.permissions().mode() & 0o7777;
                        }
                    }
                });
                let binder = scope.spawn(|| {
                    own_umask(umask);
                    started.wait();
                    let listener = Listener::bind_unix(&path, Access { mode, ..Access::DEFAULT }).unwrap();
                    let first_seen = watcher.join().unwrap();
                    drop(listener);
                    (first_seen, super::umask(Mode::empty()).bits())
                });
                binder.join().unwrap()
            });
            assert_eq!((first_seen, after), (mode, umask), "umask {umask:o}");
        }
    }

    /// Its maker's alone leave nothing to give away.
    #[test]
    fn another_name_is_used_only_where_the_owner_is_another() {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let directory = tempfile::tempdir().unwrap();
        let differs = |uid, gid| {
            let open = Directory::open(directory.path()).unwrap();
            Access { uid, gid, ..Access::DEFAULT }.differs(&open)
        };
        assert!(!differs(None, None) && !differs(Some(uid), Some(gid)));
        assert!(differs(Some(uid + 1), None) && differs(None, Some(gid + 1)));
        // Whatever is made in it has the group of the directory.
        let mode = fs::Permissions::from_mode(0o2755);
        fs::set_permissions(directory.path(), mode).unwrap();
        assert!(!differs(Some(uid), Some(gid)));
        if std::os::unix::fs::chown(directory.path(), None, Some(gid + 1)).is_ok() {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o2755)).unwrap();
            assert!(differs(None, Some(gid)) && !differs(None, Some(gid + 1)));
        }
    }

    #[test]
    fn a_name_that_is_taken_meanwhile_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let [ours, theirs] = ["a", "b"].map(|name| directory.path().join(name));
        fs::write(&ours, "ours").unwrap();
        fs::write(&theirs, "theirs").unwrap();
        assert_eq!(rename_to_nothing(ours.as_os_str(), theirs.as_os_str()), Err(Errno::EEXIST));
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
        fs::remove_file(&theirs).unwrap();
        rename_to_nothing(ours.as_os_str(), theirs.as_os_str()).unwrap();
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "ours");
    }

    #[test]
    fn the_socket_of_a_dead_server_is_replaced() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        leave_a_dead_socket(&path);
        let _listener = listener_at(&path);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_server_that_lives_is_never_robbed_and_where_it_is_this_process_that_is_said() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let living = UnixListener::bind(&path).unwrap();
        let error = Listener::bind_unix(&path, Access::DEFAULT).unwrap_err().to_string();
        let told = format!("cannot bind unix:{}: srvwrap itself listens on it already, ", path.display());
        assert!(error.starts_with(&told), "{error}");
        living.accept().unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_server_whose_queue_is_full_is_taken_for_a_living_one() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let living = UnixListener::bind(&path).unwrap();
        // SAFETY: a system call on an open descriptor; no memory is involved.
        assert_eq!(unsafe { libc::listen(living.as_raw_fd(), 0) }, 0);
        let _in_the_queue = UnixStream::connect(&path).unwrap();
        assert!(matches!(cause_at(&path), BindCause::PathTaken(_)));
        assert!(is_socket(&path));
    }

    #[test]
    fn what_is_not_a_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let in_it = |name| directory.path().join(name);
        fs::write(in_it("file"), "precious").unwrap();
        fs::create_dir(in_it("directory")).unwrap();
        nix::unistd::mkfifo(&in_it("fifo"), Mode::S_IRWXU).unwrap();
        leave_a_dead_socket(&in_it("dead.sock"));
        symlink(in_it("dead.sock"), in_it("link")).unwrap();
        symlink(in_it("nowhere"), in_it("dangling")).unwrap();
        for name in ["file", "directory", "fifo", "link", "dangling"] {
            assert_eq!(cause_at(&in_it(name)), BindCause::NotASocket, "{name}");
            assert!(fs::symlink_metadata(in_it(name)).is_ok(), "{name}");
        }
        assert_eq!(fs::read(in_it("file")).unwrap(), b"precious");
        assert!(is_socket(&in_it("dead.sock")));
    }

    #[test]
    fn a_path_has_107_bytes_at_most() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let name_length = MAX_PATH - directory.path().as_os_str().len() - 1;
        let longest = directory.path().join("x".repeat(name_length));
        let _listener = listener_at(&longest);
        UnixStream::connect(&longest).unwrap();

        let error = Listener::bind_unix(&directory.path().join("x".repeat(name_length + 1)), Access::DEFAULT)
            .unwrap_err();
        assert_eq!(error.cause, BindCause::PathTooLong(108));
        assert!(
            error.to_string().ends_with("is 108 bytes long and a socket's may have 107; use a shorter one")
        );
    }

    #[test]
    fn a_name_that_is_not_utf_8_is_bound_byte_for_byte() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(std::ffi::OsStr::from_bytes(b"app\xff.sock"));
        let _listener = listener_at(&path);
        assert!(is_socket(&path));
    }

    #[test]
    fn a_directory_that_does_not_exist_is_named() {
        let error = Listener::bind_unix(Path::new("/nowhere/at/all/app.sock"), Access::DEFAULT).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot bind unix:/nowhere/at/all/app.sock: cannot open the directory /nowhere/at/all: No such file or \
             directory"
        );
    }

    #[test]
    fn an_end_does_not_remove_the_socket_of_a_successor() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let first = listener_at(&path);
        // What a cleaner of temporary files may do.
        fs::remove_file(&path).unwrap();
        let second = listener_at(&path);
        drop(first);
        UnixStream::connect(&path).unwrap();
        drop(second);
        assert!(!is_socket(&path));
    }

    #[test]
    fn a_socket_that_is_bound_anew_keeps_its_path_and_mode_and_removes_it_at_the_end() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let mut listener = Listener::bind_unix(&path, Access { mode: 0o620, ..Access::DEFAULT }).unwrap();
        shutdown_all(&listener);
        listener.bind_anew().unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o620);
        drop(listener);
        assert!(!is_socket(&path));
    }

    #[test]
    fn binding_anew_does_not_rob_one_who_took_the_path_meanwhile() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let mut listener = listener_at(&path);
        shutdown_all(&listener);
        fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        assert!(listener.bind_anew().is_err());
        drop(listener);
        UnixStream::connect(&path).unwrap();
        drop(other);
    }

    fn shutdown_all(listener: &Listener) {
        nix::sys::socket::shutdown(listener.as_fd().as_raw_fd(), nix::sys::socket::Shutdown::Both).unwrap();
    }

    #[test]
    fn of_many_who_find_the_same_dead_server_one_wins() {
        let directory = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let path = directory.path().join(format!("{round}.sock"));
            leave_a_dead_socket(&path);
            let together = Barrier::new(4);
            let attempt = || {
                own_umask(0o022);
                together.wait();
                let bound = Listener::bind_unix(&path, Access::DEFAULT);
                together.wait(); // nobody leaves before all have tried
                bound.is_ok()
            };
            let winners = thread::scope(|scope| {
                let rivals: Vec<_> = (0..4).map(|_| scope.spawn(attempt)).collect();
                rivals.into_iter().map(|rival| rival.join().unwrap()).filter(|&won| won).count()
            });
            assert_eq!(winners, 1);
        }
    }

    #[test]
    fn a_directory_that_a_stranger_keeps_locked_is_an_error_and_no_reason_to_leave_a_path_behind() {
        own_umask(0o022);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let listener = listener_at(&path);
        let stranger = Directory::locked(directory.path(), 1).unwrap();
        let second = Directory::locked(directory.path(), 2).map(drop);
        assert_eq!(second, Err(DirectoryError::Locked(directory.path().to_owned())));
        drop(listener);
        assert!(!is_socket(&path));
        drop(stranger);
        Directory::locked(directory.path(), 1).unwrap();
    }
}
