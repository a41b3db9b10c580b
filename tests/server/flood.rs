//! Clients that want too much: the server's memory has a bound, and others are served afterwards.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::client::{Served, answer, request};

const KEY: &str = "/keys/customer-key?api-version=7.4";
/// More than it holds with every connection open and the longest head begun on each.
const MEMORY_MAX_KIB: u64 = 100 << 10;

#[test]
fn ten_thousand_connections_take_a_bounded_part_of_memory_and_end() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let served = Served::new(&[]);
    let token = served.token();
    assert_eq!(served.ask(&token, "GET", KEY, "").status, 200);
    let head = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}",
        "x".repeat(30_000)
    );
    // A handshake record that is long, and does not come to its end.
    let hello = [&[0x16, 3, 1, 0x3f, 0xff, 1][..], &[0; 8000]].concat();
    let (mut held, mut refused) = (vec![], 0);
    for n in 0..10_000 {
        // What the system has no place for is not waited for.
        match TcpStream::connect_timeout(&served.address, Duration::from_millis(1)) {
            Ok(mut stream) => {
                let begun: &[u8] = [&b""[..], head.as_bytes(), &hello][n % 3];
                let _ = stream.set_nonblocking(true);
                let _ = stream.write(begun);
                held.push(stream);
            }
            Err(_) => refused += 1,
        }
    }
    let peak = served.peak_kib();
    println!("{} held, {refused} refused, {peak} KiB at most", held.len());
    // Otherwise nothing was tried.
    assert!(held.len() > 512, "{} connections", held.len());
    assert!(peak < MEMORY_MAX_KIB, "{peak} KiB");
    drop(held);
    assert_eq!(served.ask(&token, "GET", KEY, "").status, 200);
}

#[test]
fn a_body_without_end_or_without_bottom_is_refused_before_it_is_held() {
    let served = Served::new(&[]);
    let token = served.token();
    let create = "/keys/k/create?api-version=7.4";
    assert_eq!(
        served.ask(&token, "POST", create, r#"{"kty":"EC"}"#).status,
        200
    );
    let before = served.peak_kib();
    let chunked = request(&token, "POST", create, "")
        .replace("Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n");
    let long = request(&token, "POST", create, "").replace(
        "Content-Length: 0\r\n",
        "Content-Length: 9000000000000000\r\n",
    );
    for endless in [chunked, long] {
        let mut streams: Vec<_> = (0..20)
            .map(|_| served.tunnel(super::client::VAULT))
            .collect();
        for stream in &mut streams {
            stream.write_all(endless.as_bytes()).unwrap();
            // 64 MiB each, or until it closes the connection.
            let piece = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
            let _ = (0..1024).try_for_each(|_| stream.write_all(&piece));
        }
        for stream in &mut streams {
            let status = answer(stream).status;
            // The answer may be lost with the connection.
            assert!(matches!(status, 0 | 413), "{status}");
        }
    }
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let deep = 100_000 / open.len();
        let body = format!("{}1{}", open.repeat(deep), close.repeat(deep));
        let answer = served.ask(&token, "POST", create, &body);
        assert_eq!((answer.status, answer.code()), (400, "BadParameter".into()));
    }
    let grown = served.peak_kib() - before;
    println!("{grown} KiB more than before");
    assert!(grown < 40 << 10, "{grown} KiB");
    assert_eq!(served.ask(&token, "GET", KEY, "").status, 200);
}
