//! What clients write, well or ill, and what is made of it.

use super::*;

use proptest::prelude::*;

/// Everything that arrives when `pieces` are fed one by one.
fn read(limits: Limits, pieces: &[&[u8]]) -> Vec<Arrived> {
    let mut reader = Reader::new(limits);
    let mut arrived = Vec::new();
    for piece in pieces {
        reader.feed(piece);
        while let Some(next) = reader.next() {
            arrived.push(next);
        }
    }
    arrived
}

fn whole(bytes: &[u8]) -> Vec<Arrived> {
    read(CONTROL, &[bytes])
}

fn byte_by_byte(bytes: &[u8]) -> Vec<Arrived> {
    read(CONTROL, &bytes.chunks(1).collect::<Vec<_>>())
}

/// The one request that `bytes` are, however they come.
fn request(bytes: &str) -> Request {
    let arrived = whole(bytes.as_bytes());
    assert_eq!(byte_by_byte(bytes.as_bytes()), arrived);
    match arrived.as_slice() {
        [Arrived::Request(request)] => request.clone(),
        other => panic!("{other:?}"),
    }
}

/// The status by which `bytes` are refused, however they come.
fn refused(bytes: &[u8]) -> u16 {
    let last = |arrived: Vec<Arrived>| match arrived.last() {
        Some(Arrived::Refused(refusal)) => refusal.status,
        other => panic!("{other:?} of {}", String::from_utf8_lossy(bytes)),
    };
    let status = last(whole(bytes));
    assert_eq!(last(byte_by_byte(bytes)), status);
    status
}

const HOST: &str = "Host: localhost\r\n";

#[test]
fn a_request_is_its_method_path_and_body() {
    let Request { method, path, body, form } = request("GET /status?verbose=1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((method.as_str(), path.as_str(), body.len()), ("GET", "/status", 0));
    assert_eq!(form, Form { keep: true, chunks: true, head_only: false });
    let post = request(&format!("POST /scale HTTP/1.1\r\n{HOST}content-length: 8\r\n\r\n{{\"to\":2}}"));
    assert_eq!(post.body, b"{\"to\":2}");
    let chunked = format!(
        "POST /scale HTTP/1.1\r\n{HOST}Transfer-Encoding: Chunked\r\n\r\n4\r\n{{\"to\r\n4\r\n\":2}}\r\n0\r\n\r\n"
    );
    assert_eq!(request(&chunked).body, post.body);
}

#[test]
fn a_proxy_may_write_the_host_before_the_path() {
    assert_eq!(request(&format!("GET http://localhost/status?a HTTP/1.1\r\n{HOST}\r\n")).path, "/status");
    assert_eq!(request(&format!("GET http://localhost HTTP/1.1\r\n{HOST}\r\n")).path, "/");
}

#[test]
fn the_connection_goes_on_unless_one_side_has_said_otherwise() {
    for (version, connection, keep) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: foo, Close\r\n", false),
        ("1.0", "", false),
        ("1.0", "connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let request = request(&format!("GET / HTTP/{version}\r\n{HOST}{connection}\r\n"));
        assert_eq!(request.form.keep, keep, "{version} {connection}");
        assert_eq!(request.form.chunks, version == "1.1");
    }
    assert!(request("HEAD / HTTP/1.0\r\n\r\n").form.head_only);
}

#[test]
fn a_client_that_waits_to_be_told_is_told_once_and_one_that_does_not_is_not() {
    let head = format!("POST /stop HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    let arrived = read(CONTROL, &[head.as_bytes(), b"{", b"}"]);
    assert!(matches!(arrived.as_slice(), [Arrived::Continue, Arrived::Request(_)]), "{arrived:?}");
    let at_once = whole(format!("{head}{{}}").as_bytes());
    assert!(matches!(at_once.as_slice(), [Arrived::Request(_)]), "{at_once:?}");
    let too_long = head.replace("Length: 2", "Length: 5000000");
    assert!(matches!(whole(too_long.as_bytes()).as_slice(), [Arrived::Refused(Refusal { status: 413, .. })]));
    assert_eq!(refused(head.replace("100-continue", "a-miracle").as_bytes()), 417);
}

#[test]
fn where_a_body_ends_must_be_certain() {
    for fields in [
        "Content-Length: 1\r\nContent-Length: 1\r\n",
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: +1\r\n",
        "Content-Length: 1, 1\r\n",
        "Content-Length: 0x1\r\n",
        "Content-Length:\r\n",
        "Transfer-Encoding: chunked\r\n\r\nzz",
        "Transfer-Encoding: chunked\r\n\r\n1\r\nabc",
    ] {
        assert_eq!(refused(format!("POST /stop HTTP/1.1\r\n{HOST}{fields}\r\n").as_bytes()), 400, "{fields}");
    }
    assert_eq!(refused(b"POST /stop HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
    for coding in ["gzip", "gzip, chunked", "chunked, chunked", "chunked\r\nTransfer-Encoding: chunked"] {
        let head = format!("POST /stop HTTP/1.1\r\n{HOST}Transfer-Encoding: {coding}\r\n\r\n");
        assert_eq!(refused(head.as_bytes()), 501, "{coding}");
    }
}

#[test]
fn what_is_not_http_is_refused_at_its_first_line() {
    for bytes in [
        b"status\n".as_slice(),
        b"{\"to\": 8}\r\n",
        b"GET /status\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\n",
        b"G\xffT / HTTP/1.1\r\n",
        b"\0\0\0\n",
        b"\x16\x03\x01\x02\x00\x01\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ] {
        assert_eq!(refused(bytes), 400, "{}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(refused(b"GET / HTTP/2.0\r\n"), 505);
}

#[test]
fn a_head_and_a_body_have_limits() {
    let longest = CONTROL.head - format!("GET / HTTP/1.1\r\n{HOST}A: \r\n\r\n").len();
    let with_header =
        |length| format!("GET / HTTP/1.1\r\n{HOST}A: {}\r\n\r\n", "x".repeat(length)).into_bytes();
    assert!(matches!(whole(&with_header(longest)).as_slice(), [Arrived::Request(_)]));
    assert_eq!(refused(&with_header(longest + 1)), 431);
    assert_eq!(refused(&vec![b'x'; 1 << 20]), 431);
    let headers =
        |count: usize| format!("GET / HTTP/1.1\r\n{HOST}{}\r\n", "A: b\r\n".repeat(count - 1)).into_bytes();
    assert!(matches!(whole(&headers(MOST_HEADERS)).as_slice(), [Arrived::Request(_)]));
    assert_eq!(refused(&headers(MOST_HEADERS + 1)), 431);
    let body =
        |length: &str| format!("POST / HTTP/1.1\r\n{HOST}Content-Length: {length}\r\n\r\n").into_bytes();
    assert!(whole(&body("4194304")).is_empty());
    assert_eq!(refused(&body("4194305")), 413);
    assert_eq!(refused(&body("99999999999999999999999999")), 413);
    let mut chunked =
        format!("POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n500000\r\n").into_bytes();
    chunked.extend(vec![b'x'; CONTROL.body + 1]);
    assert!(matches!(whole(&chunked).as_slice(), [Arrived::Refused(Refusal { status: 413, .. })]));
    assert!(matches!(
        read(HEALTH, &[&body("1")]).as_slice(),
        [Arrived::Refused(Refusal { status: 413, .. })]
    ));
}

#[test]
fn ten_thousand_requests_may_come_in_one() {
    let mut reader = Reader::new(CONTROL);
    let (mut requests, mut held) = (0, 0);
    let all = format!("GET /status HTTP/1.1\r\n{HOST}\r\n").repeat(10_000);
    for piece in all.as_bytes().chunks(64 << 10) {
        reader.feed(piece);
        held = held.max(reader.held());
        while let Some(arrived) = reader.next() {
            assert!(matches!(arrived, Arrived::Request(_)), "{arrived:?}");
            requests += 1;
        }
    }
    assert_eq!((requests, reader.progress(), reader.held()), (10_000, Progress::Between, 0));
    assert!(held <= 4 * (64 << 10), "{held} bytes");
}

#[test]
fn nothing_is_read_behind_a_refusal() {
    let mut reader = Reader::new(CONTROL);
    reader.feed(b"garbage\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(matches!(reader.next(), Some(Arrived::Refused(_))));
    reader.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((reader.next(), reader.held()), (None, 0));
}

#[test]
fn a_length_is_believed_when_its_bytes_are_there() {
    let mut reader = Reader::new(CONTROL);
    reader.feed(format!("POST / HTTP/1.1\r\n{HOST}Content-Length: 4194304\r\n\r\nx").as_bytes());
    assert_eq!((reader.next(), reader.progress()), (None, Progress::Body));
    assert!(reader.held() < 1024, "{} bytes", reader.held());
}

#[test]
fn how_far_a_client_is_can_be_seen() {
    let mut reader = Reader::new(CONTROL);
    let mut progress = |bytes: &str| {
        reader.feed(bytes.as_bytes());
        while reader.next().is_some() {}
        reader.progress()
    };
    assert_eq!(progress(""), Progress::Between);
    assert_eq!(progress("\r\n"), Progress::Between);
    assert_eq!(progress("P"), Progress::Head);
    assert_eq!(progress("OST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"), Progress::Body);
    assert_eq!(progress("{"), Progress::Body);
    assert_eq!(progress("}"), Progress::Between);
}

proptest! {
    #[test]
    fn the_pieces_that_bytes_come_in_make_no_difference(
        requests in prop::collection::vec(prop::sample::select(vec![
            "GET /status HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\nGET /status HTTP/1.0\n\n",
            "POST /scale HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n{\"to\":2}",
            "POST /scale HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
            "POST /scale HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\n",
            "garbage\r\n",
        ]), 0..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
    ) {
        let bytes = requests.concat().into_bytes();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        ends.extend([0, bytes.len()]);
        ends.sort_unstable();
        let pieces: Vec<&[u8]> = ends.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(read(CONTROL, &pieces), whole(&bytes));
        prop_assert_eq!(byte_by_byte(&bytes), whole(&bytes));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_are_bounded(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..40),
        beginning in prop::sample::select(vec!["", "GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"]),
    ) {
        let limits = Limits { head: 100, body: 100 };
        let mut reader = Reader::new(limits);
        reader.feed(beginning.as_bytes());
        for piece in &pieces {
            reader.feed(piece);
            while reader.next().is_some() {}
            prop_assert!(reader.held() <= 2 * (100 + 200 + 100), "{}", reader.held());
        }
    }
}
