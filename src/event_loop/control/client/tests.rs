//! One client over a pair of sockets, in a time of its own.

use super::*;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

fn at(seconds: u64) -> Time {
    Time(Duration::from_secs(seconds))
}

fn client() -> (Client, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (Client::new(ours.into(), Door::Control, 0, at(0)), theirs)
}

/// Sends, and gives the client a turn.
fn turn(client: &mut Client, theirs: &mut UnixStream, bytes: &[u8], now: Time) -> Turn {
    theirs.write_all(bytes).unwrap();
    client.turn(&Events::default(), now)
}

/// All that there is to read.
fn read(theirs: &mut UnixStream) -> String {
    let mut text = Vec::new();
    // The end, or that there is no more for now.
    let _ = theirs.read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}

const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n";
const HEAD_OF_POST: &[u8] = b"POST /scale HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n";

#[test]
fn each_part_of_a_request_has_its_time() {
    let (mut client, mut theirs) = client();
    assert_eq!(client.deadline(), Some(at(60)));
    assert!(matches!(turn(&mut client, &mut theirs, b"POST /sc", at(50)), Turn::Done));
    assert_eq!(client.deadline(), Some(at(60)));
    // More of the same is no new beginning.
    turn(&mut client, &mut theirs, b"ale HTTP/1.1\r\nHo", at(59));
    assert_eq!(client.deadline(), Some(at(60)));
    turn(&mut client, &mut theirs, b"st: a\r\nContent-Length: 8\r\n\r\n{", at(59));
    assert_eq!(client.deadline(), Some(at(89)));
    assert!(matches!(turn(&mut client, &mut theirs, b"\"to\":2}", at(80)), Turn::Request(_)));
    client.respond(at(81), Form { keep: true, chunks: true, head_only: false }, b"response");
    assert_eq!(client.deadline(), Some(at(81) + UNREAD));
    assert!(matches!(turn(&mut client, &mut theirs, b"", at(82)), Turn::Done));
    assert_eq!(client.deadline(), Some(at(81) + IDLE));
    assert_eq!(read(&mut theirs), "response");
}

#[test]
fn who_is_late_with_a_part_is_told_and_who_is_idle_is_not() {
    for (bytes, told) in
        [(b"".as_slice(), None), (b"GET", Some("head of the request")), (HEAD_OF_POST, Some("body"))]
    {
        let (mut client, mut theirs) = client();
        turn(&mut client, &mut theirs, bytes, at(0));
        let late = client.deadline().unwrap();
        assert_eq!(client.expire(late), told.is_some());
        client.turn(&Events::default(), late);
        let response = read(&mut theirs);
        match told {
            Some(what) => assert!(response.contains("408") && response.contains(what), "{response}"),
            None => assert_eq!(response, ""),
        }
    }
}

#[test]
fn a_refused_client_is_heard_out_for_a_moment_and_no_longer() {
    let (mut client, mut theirs) = client();
    turn(&mut client, &mut theirs, b"garbage\n", at(5));
    assert!(read(&mut theirs).contains("HTTP/1.1 400 "));
    turn(&mut client, &mut theirs, REQUEST, at(6));
    assert_eq!(client.deadline(), Some(at(5) + LINGER));
    assert!(!client.expire(at(7)));
    assert_eq!(read(&mut theirs), "");
    drop(theirs);
    assert!(matches!(client.turn(&Events::default(), at(6)), Turn::Over));
}

#[test]
fn nothing_is_read_while_an_answer_is_not() {
    let (mut client, mut theirs) = client();
    assert!(matches!(turn(&mut client, &mut theirs, REQUEST, at(0)), Turn::Request(_)));
    let long = vec![b'x'; 8 << 20];
    client.respond(at(0), Form { keep: true, chunks: true, head_only: false }, &long);
    theirs.write_all(REQUEST).unwrap();
    while let Turn::More = client.turn(&Events::default(), at(1)) {}
    assert!(client.has_output() && matches!(client.turn(&Events::default(), at(1)), Turn::Done));
    assert_eq!(client.deadline(), Some(at(1) + UNREAD));
    // Whoever takes a part has more time for the rest.
    assert!(!read(&mut theirs).is_empty());
    client.turn(&Events::default(), at(9));
    assert_eq!(client.deadline(), Some(at(9) + UNREAD));
}

#[test]
fn a_question_of_the_core_has_no_time_and_ends_with_its_client() {
    let (mut client, mut theirs) = client();
    assert!(matches!(turn(&mut client, &mut theirs, REQUEST, at(0)), Turn::Request(_)));
    client.ask(ClientId(7), Form { keep: true, chunks: true, head_only: false }, false);
    assert_eq!((client.deadline(), client.asking(), client.is_idle()), (None, Some(ClientId(7)), false));
    assert!(matches!(turn(&mut client, &mut theirs, REQUEST, at(999)), Turn::Done));
    client.gone = true;
    assert!(matches!(client.turn(&Events::default(), at(999)), Turn::Over));
}

#[test]
fn who_follows_takes_what_happens_and_the_end() {
    let (mut client, mut theirs) = client();
    let mut events = Events::default();
    events.push(b"early".to_vec());
    assert!(matches!(turn(&mut client, &mut theirs, REQUEST, at(0)), Turn::Request(_)));
    client.follow_from(at(0), Form { keep: true, chunks: true, head_only: false }, events.end());
    events.push(b"one".to_vec());
    assert!(matches!(client.turn(&events, at(1)), Turn::Done));
    events.push(b"two".to_vec());
    assert!(!client.last_turn(&events, at(2)));
    let all = read(&mut theirs);
    assert!(all.ends_with("\r\n\r\n4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n"), "{all}");
    assert_eq!(client.following(), None);
}

#[test]
fn a_share_is_what_one_turn_reads() {
    let (mut client, mut theirs) = client();
    let head = b"POST /deploy HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n";
    theirs.write_all(head).unwrap();
    let mut sent = 0;
    let mut turns = 0;
    while sent < 1 << 20 {
        sent += theirs.write(&[b'x'; 65536]).unwrap_or(0);
        turns += u32::from(matches!(client.turn(&Events::default(), at(0)), Turn::More));
        assert!(client.held() < 4 * sent + 8 * BUFFER_BYTES);
    }
    assert!(turns > 4, "{turns}");
}
