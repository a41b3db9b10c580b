//! The server is killed while clients put blobs, whose rows are committed in groups: each put that it answered
//! is there, whole, and of the one that it had not answered yet all or nothing.

use std::io::Write;
use std::net::TcpStream;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::blobs::{HOST, PUT, served_with, signed};
use crate::client::{Served, answer, atrest};

const CLIENTS: usize = 6;

/// What the `n`th put of a client holds: some of one chunk, some of more.
fn content(n: usize) -> String {
    format!("{n:08}").repeat(1 + n % 5 * 4_000)
}

fn request(key: &str, method: &str, client: usize, body: &str) -> String {
    let headers = if method == "PUT" { PUT } else { &[] };
    let path = format!("/documents/default/{client}");
    signed(key, method, &path, headers, body, |r| {
        r.replace(HOST, "localhost")
    })
}

/// The status that answered, if any did.
fn put(served: &Served, request: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(served.address).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    Some(answer(&mut stream).status).filter(|status| *status != 0)
}

#[test]
fn a_killed_server_loses_no_blob_that_it_answered_and_leaves_none_half_written() {
    let (mut open, mut taken) = (0, 0);
    for kill_after in [1, 5, 23, 50] {
        let (mut served, key) = served_with(&["--plain-http"]);
        let answered = AtomicUsize::new(0);
        // How many puts of each client were answered.
        let ends: Vec<usize> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (served, key, answered) = (&served, &key, &answered);
                    scope.spawn(move || {
                        for n in 0.. {
                            match put(served, &request(key, "PUT", client, &content(n))) {
                                Some(status) => assert_eq!(status, 201),
                                None => return n,
                            }
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                        unreachable!("until it is killed")
                    })
                })
                .collect();
            while answered.load(Ordering::SeqCst) < kill_after {
                thread::yield_now();
            }
            served.signal(rustix::process::Signal::KILL);
            clients.into_iter().map(|c| c.join().unwrap()).collect()
        });
        served.wait();
        let dir = std::mem::replace(&mut served.dir, tempfile::tempdir().unwrap());
        drop(served);
        let verified: Output = atrest(dir.path(), &["blob", "verify", "documents"])
            .output()
            .unwrap();
        assert!(verified.status.success(), "{verified:?}");
        let served = Served::at(dir, &["--plain-http"]);
        for (client, puts) in ends.into_iter().enumerate() {
            let got = served.http(&request(&key, "GET", client, ""));
            let is_last = got.status == 200 && got.body == content(puts);
            let is_before = match puts.checked_sub(1) {
                Some(n) => got.status == 200 && got.body == content(n),
                None => got.status == 404,
            };
            assert!(is_before || is_last, "client {client}, {puts}: {got:?}");
            open += 1;
            taken += usize::from(is_last);
        }
    }
    // Were every put at the kill taken, it would not have been killed in their middle.
    assert!(taken < open, "{taken} of {open}");
}
