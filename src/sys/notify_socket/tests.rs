//! Notify sockets: where they are, and what comes by them, with a sender and without descriptors.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::super::apart::own_umask;
use super::*;

fn bound(directory: &Path) -> NotifySocket {
    NotifySocket::bind(&directory.join("a.notify")).unwrap()
}

fn message_of(path: &Path) -> String {
    NotifySocket::bind(path).unwrap_err().to_string()
}

#[test]
fn it_is_there_from_the_start_and_gone_at_the_end_and_replaces_a_dead_one() {
    own_umask(0o022);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.notify");
    drop(UnixDatagram::bind(&path).unwrap());
    let socket = bound(directory.path());
    assert_eq!((socket.path(), socket.name()), (Some(path.as_path()), path.as_os_str()));
    let facts = fs::symlink_metadata(&path).unwrap();
    assert!(facts.file_type().is_socket() && socket.is_in_place());
    assert_eq!(facts.permissions().mode() & 0o777, mode(geteuid().is_root()));
    assert_eq!((mode(true), mode(false)), (0o666, 0o600));
    drop(socket);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn what_lives_or_is_no_socket_is_left_alone() {
    own_umask(0o022);
    let directory = tempfile::tempdir().unwrap();
    let in_it = |name| directory.path().join(name);
    let _living = UnixDatagram::bind(in_it("datagrams")).unwrap();
    let _other = UnixListener::bind(in_it("stream")).unwrap();
    fs::write(in_it("file"), "precious").unwrap();
    for name in ["datagrams", "stream", "file"] {
        let message = message_of(&in_it(name));
        assert!(message.ends_with(": something else is there; it is left alone"), "{message}");
        assert!(in_it(name).exists());
    }
    let message = message_of(&in_it(&"x".repeat(107)));
    assert!(message.ends_with(" bytes long and a socket's path may have 107"), "{message}");
    assert!(message_of(Path::new("/nowhere/a")).ends_with("/nowhere: No such file or directory"));
}

#[test]
fn one_whose_path_was_removed_is_made_anew_and_a_successor_is_not_robbed() {
    own_umask(0o022);
    let directory = tempfile::tempdir().unwrap();
    let mut socket = bound(directory.path());
    let path = socket.path().unwrap().to_owned();
    fs::remove_file(&path).unwrap();
    assert!(!socket.is_in_place());
    socket.bind_anew().unwrap();
    assert!(socket.is_in_place());
    fs::remove_file(&path).unwrap();
    let successor = bound(directory.path());
    assert!(socket.bind_anew().is_err());
    drop(socket);
    assert!(successor.is_in_place());
}

#[test]
fn a_name_that_is_no_path_can_be_written_to_as_well() {
    use std::os::linux::net::SocketAddrExt;
    let (one, other) = (NotifySocket::bind_abstract().unwrap(), NotifySocket::bind_abstract().unwrap());
    assert!(one.name() != other.name() && one.path().is_none() && one.is_in_place());
    let name = one.name().as_bytes().strip_prefix(b"@").unwrap();
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    UnixDatagram::unbound().unwrap().send_to_addr(b"READY=1", &address).unwrap();
    assert_eq!(one.receive(&mut [0; 16]).unwrap().length, 7);
    assert!(other.receive(&mut [0; 16]).is_none());
}

#[test]
fn each_datagram_has_its_sender_and_is_told_to_be_cut_where_it_was() {
    own_umask(0o022);
    let directory = tempfile::tempdir().unwrap();
    let socket = bound(directory.path());
    let client = UnixDatagram::unbound().unwrap();
    let mut buffer = [0; 8];
    for (sent, length, is_cut) in
        [(b"".as_slice(), 0, false), (b"12345678", 8, false), (b"123456789", 8, true)]
    {
        client.send_to(sent, socket.path().unwrap()).unwrap();
        let datagram = socket.receive(&mut buffer).unwrap();
        assert_eq!((datagram.length, datagram.is_cut), (length, is_cut));
        let pid = Pid::new(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert_eq!(datagram.sender, Some(Sender { pid, uid: geteuid().as_raw() }));
        assert_eq!(&buffer[..length], &sent[..length]);
    }
    assert!(socket.receive(&mut buffer).is_none());
}

/// The other end of a pipe tells when the last copy of one end is closed.
#[test]
fn descriptors_are_closed_however_many_came() {
    own_umask(0o022);
    let directory = tempfile::tempdir().unwrap();
    let socket = bound(directory.path());
    let client = UnixDatagram::unbound().unwrap();
    client.connect(socket.path().unwrap()).unwrap();
    for count in [0, 1, 2, MOST_DESCRIPTORS] {
        let (reader, writer) =
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK).unwrap();
        let descriptors = vec![writer.as_raw_fd(); count];
        let part = [std::io::IoSlice::new(b"BARRIER=1")];
        let with = [ControlMessage::ScmRights(&descriptors)];
        let with = if count == 0 { &with[..0] } else { &with };
        sendmsg::<()>(client.as_raw_fd(), &part, with, MsgFlags::empty(), None).unwrap();
        drop(writer);
        let before = nix::unistd::read(&reader, &mut [0; 1]);
        assert_eq!(before, if count == 0 { Ok(0) } else { Err(Errno::EAGAIN) });
        let datagram = socket.receive(&mut [0; 64]).unwrap();
        assert!(datagram.length == 9 && datagram.sender.is_some());
        let while_it_is_handled = nix::unistd::read(&reader, &mut [0; 1]);
        assert_eq!(while_it_is_handled, before, "they are kept until then");
        drop(datagram);
        assert_eq!(nix::unistd::read(&reader, &mut [0; 1]), Ok(0), "{count} are not closed");
    }
}

/// A stranger's connection with much to send and nobody who reads it, whose close would wait for a minute.
#[test]
fn a_socket_that_lingers_holds_nobody_up() {
    own_umask(0o022);
    let directory = tempfile::tempdir().unwrap();
    let socket = bound(directory.path());
    let client = UnixDatagram::unbound().unwrap();
    client.connect(socket.path().unwrap()).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (_reader, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    while std::io::Write::write(&mut &stream, &[0; 65536]).is_ok() {}
    setsockopt(&stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 60 }).unwrap();
    let part = [std::io::IoSlice::new(b"x")];
    let with = [ControlMessage::ScmRights(&[stream.as_raw_fd()])];
    sendmsg::<()>(client.as_raw_fd(), &part, &with, MsgFlags::empty(), None).unwrap();
    drop(stream);
    #[expect(clippy::disallowed_methods, reason = "it is measured")]
    let started = std::time::Instant::now();
    assert!(socket.receive(&mut [0; 64]).is_some());
    assert!(started.elapsed() < std::time::Duration::from_secs(30), "it has waited");
}
