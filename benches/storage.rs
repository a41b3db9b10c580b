//! A raw client of the Blob service, for `benches/peers/`: the same requests to any server of
//! it, over plain HTTP on connections that are kept, signed by an access key. It has one job a process:
//!
//!     cargo bench --bench storage -- JOB http://ADDRESS ACCOUNT KEY NUMBER CONNECTIONS
//!
//! JOB is `container` (makes one), `put` and `get` (a blob of NUMBER MiB in one request), `blocks` (the same in
//! blocks of 8 MiB), `small-put` and `small-get` (NUMBER objects of 64 KiB, over all connections). It prints seconds.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rand::RngExt;
use sha2::Sha256;

const SMALL: usize = 64 << 10;
const BLOCK: usize = 8 << 20;
const VERSION: &str = "2021-08-06";

struct Account {
    address: String,
    name: String,
    key: Vec<u8>,
}

struct Connection<'a> {
    account: &'a Account,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Account {
    fn connect(&self) -> Connection<'_> {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        Connection {
            account: self,
            stream,
            buffer: vec![0; 1 << 20],
        }
    }
}

impl Connection<'_> {
    /// Sends a request whose body is `pieces` times `piece`, and throws the answer's body away.
    fn ask(
        &mut self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        piece: &[u8],
        pieces: usize,
    ) {
        let account = self.account;
        let date = httpdate::fmt_http_date(std::time::SystemTime::now());
        let blob = method == "PUT" && query.is_empty();
        let kind = if blob {
            "x-ms-blob-type:BlockBlob\n"
        } else {
            ""
        };
        let length = piece.len() * pieces;
        let shown = if length == 0 {
            String::new()
        } else {
            length.to_string()
        };
        let path = format!("/{}/bench{path}", account.name);
        let mut to_sign = format!(
            "{method}\n\n\n{shown}\n\n\n\n\n\n\n\n\n{kind}x-ms-date:{date}\nx-ms-version:{VERSION}\n/{}{path}",
            account.name
        );
        let mut asked = path;
        for (at, (name, value)) in query.iter().enumerate() {
            to_sign += &format!("\n{name}:{value}");
            let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
            asked += &format!("{}{name}={value}", if at == 0 { '?' } else { '&' });
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(&account.key).unwrap();
        mac.update(to_sign.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let head = format!(
            "{method} {asked} HTTP/1.1\r\nHost: {}\r\nAuthorization: SharedKey {}:{signature}\r\n{}\
             x-ms-date:{date}\r\nx-ms-version:{VERSION}\r\nContent-Length: {length}\r\n\r\n",
            account.address,
            account.name,
            kind.replace('\n', "\r\n"),
        );
        self.stream.write_all(head.as_bytes()).unwrap();
        for _ in 0..pieces {
            self.stream.write_all(piece).unwrap();
        }
        self.answer(&asked);
    }

    fn answer(&mut self, asked: &str) {
        let mut filled = 0;
        let (status, length, mut body) = loop {
            let read = self.stream.read(&mut self.buffer[filled..]).unwrap();
            assert!(read > 0, "{asked}: the connection was closed");
            filled += read;
            let so_far = &self.buffer[..filled];
            let Some(end) = so_far.windows(4).position(|w| w == b"\r\n\r\n") else {
                continue;
            };
            let head = std::str::from_utf8(&so_far[..end])
                .unwrap()
                .to_ascii_lowercase();
            let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("content-length: "));
            let length: usize = length.unwrap_or("0").parse().unwrap();
            if status >= 300 && status != 409 {
                panic!("{asked}: {}", String::from_utf8_lossy(so_far));
            }
            // Azurite says it has a chunked body where there is none.
            let chunked = head.contains("transfer-encoding: chunked");
            assert!(
                !chunked || status == 201 || status == 409,
                "{asked}: {head}"
            );
            if chunked {
                let last = |b: &[u8]| b.ends_with(b"0\r\n\r\n");
                while !last(&self.buffer[end + 4..filled]) {
                    filled += self.stream.read(&mut self.buffer[filled..]).unwrap();
                }
                return;
            }
            break (status, length, filled - end - 4);
        };
        while body < length {
            let read = self.stream.read(&mut self.buffer).unwrap();
            assert!(
                read > 0,
                "{asked}: {status}, cut off after {body} bytes of {length}"
            );
            body += read;
        }
    }
}

fn small(account: &Account, method: &str, count: usize, connections: usize, data: &[u8]) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut connection = account.connect();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let pieces = usize::from(method == "PUT");
                    connection.ask(method, &format!("/small-{number}"), &[], data, pieces);
                }
            });
        }
    });
}

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let [job, address, name, key, number, connections] = &args[..] else {
        println!("A client for benches/peers/, which says how it is used.");
        return;
    };
    let account = Account {
        address: address.trim_start_matches("http://").to_owned(),
        name: name.clone(),
        key: STANDARD.decode(key).unwrap(),
    };
    let (number, connections): (usize, usize) =
        (number.parse().unwrap(), connections.parse().unwrap());
    let mut data = vec![0; BLOCK];
    rand::rng().fill(&mut data[..]);
    let begun = Instant::now();
    let mut one = account.connect();
    match job.as_str() {
        "container" => one.ask("PUT", "", &[("restype", "container")], &[], 0),
        "put" => one.ask("PUT", "/large", &[], &data[..1 << 20], number),
        "get" => one.ask("GET", "/large", &[], &[], 0),
        "blocks" => {
            let mut list = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>".to_owned();
            for block in 0..number * (1 << 20) / BLOCK {
                let id = STANDARD.encode(format!("{block:08}"));
                let query = [("blockid", id.as_str()), ("comp", "block")];
                one.ask("PUT", "/large", &query, &data, 1);
                list += &format!("<Latest>{id}</Latest>");
            }
            list += "</BlockList>";
            one.ask(
                "PUT",
                "/large",
                &[("comp", "blocklist")],
                list.as_bytes(),
                1,
            );
        }
        "small-put" => small(&account, "PUT", number, connections, &data[..SMALL]),
        "small-get" => small(&account, "GET", number, connections, &[]),
        other => panic!("no job {other}"),
    }
    println!("{:.6}", begun.elapsed().as_secs_f64());
}
