//! A raw client of the Blob service, for `benches/peers/`: the same requests to any server of
//! it, over plain HTTP on connections that are kept, signed by an access key. It has one job a process:
//!
//!     cargo bench --bench storage -- JOB http://ADDRESS ACCOUNT KEY NUMBER CONNECTIONS
//!
//! JOB is `container` (makes one), `put` and `get` (a blob of NUMBER MiB in one request), `blocks` (the same in
//! blocks of 8 MiB), `small-put` and `small-get` (NUMBER objects of 64 KiB, over all connections). It prints seconds.
//!
//! `md5 NUMBER` digests NUMBER MiB in memory instead, and prints seconds.
//!
//! `least http://ADDRESS DIRECTORY` serves there instead, until it is killed: the least that could answer these requests,
//! in a thread for each connection. It checks no signature, and computes the MD5 of what is put in one request, which
//! the service's answer tells. Where a directory is given, what is put is there, and synced, before it is answered: what is
//! long in a file of its own, the small objects in one file, with one sync for all who wait. Else nothing is kept but the
//! length of the large blob.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fast_md5::Md5;
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

/// Reads until a head is in `buffer`: where it ends, and how much was read. `None` where the connection was closed.
fn head(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<Option<(usize, usize)>> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Ok(None);
        }
        filled += read;
        if let Some(end) = buffer[..filled].windows(4).position(|w| w == b"\r\n\r\n") {
            return Ok(Some((end + 4, filled)));
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
        let found = head(&mut self.stream, &mut self.buffer).unwrap();
        let (end, mut filled) =
            found.unwrap_or_else(|| panic!("{asked}: the connection was closed"));
        let head = std::str::from_utf8(&self.buffer[..end]).unwrap();
        let head = head.to_ascii_lowercase();
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "));
        let length: usize = length.unwrap_or("0").parse().unwrap();
        if status >= 300 && status != 409 {
            let so_far = String::from_utf8_lossy(&self.buffer[..filled]);
            panic!("{asked}: {so_far}");
        }
        // Azurite says it has a chunked body where there is none.
        let chunked = head.contains("transfer-encoding: chunked");
        assert!(
            !chunked || status == 201 || status == 409,
            "{asked}: {head}"
        );
        if chunked {
            let last = |b: &[u8]| b.ends_with(b"0\r\n\r\n");
            while !last(&self.buffer[end..filled]) {
                filled += self.stream.read(&mut self.buffer[filled..]).unwrap();
            }
            return;
        }
        let mut body = filled - end;
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

/// Small objects, one behind the other.
struct Appended {
    file: File,
    end: AtomicU64,
    syncs: Mutex<Syncs>,
    synced: Condvar,
}

#[derive(Default)]
struct Syncs {
    begun: u64,
    done: u64,
    is_running: bool,
}

impl Appended {
    fn in_directory(directory: &Path) -> Self {
        Self {
            file: File::create(directory.join("small")).unwrap(),
            end: AtomicU64::new(0),
            syncs: Mutex::default(),
            synced: Condvar::new(),
        }
    }

    /// Returns when it is synced, by who began after it was written.
    fn add(&self, bytes: &[u8]) -> std::io::Result<()> {
        let at = self.end.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file.write_all_at(bytes, at)?;
        let mut syncs = self.syncs.lock().unwrap();
        let mine = syncs.begun + 1;
        while syncs.done < mine {
            if syncs.is_running {
                syncs = self.synced.wait(syncs).unwrap();
                continue;
            }
            (syncs.is_running, syncs.begun) = (true, syncs.begun + 1);
            let round = syncs.begun;
            drop(syncs);
            self.file.sync_data().unwrap();
            syncs = self.syncs.lock().unwrap();
            (syncs.is_running, syncs.done) = (false, round);
            self.synced.notify_all();
        }
        Ok(())
    }
}

/// Answers on one connection until it is closed.
fn answer_least(
    mut stream: TcpStream,
    large: &AtomicUsize,
    kept: Option<(&Path, &Appended)>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 1 << 20];
    let data = vec![0x5a; 1 << 20];
    loop {
        let Some((end, filled)) = head(&mut stream, &mut buffer)? else {
            return Ok(());
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let length = head
            .lines()
            .find_map(|l| l.strip_prefix("Content-Length: "));
        let length: usize = length.unwrap_or("0").parse().unwrap();
        let is_large = head.contains("/large");
        if head.starts_with("GET") {
            let mut left = match is_large {
                true => large.load(Ordering::Relaxed),
                false => SMALL,
            };
            stream.write_all(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n").as_bytes(),
            )?;
            while left > 0 {
                let piece = left.min(data.len());
                stream.write_all(&data[..piece])?;
                left -= piece;
            }
            continue;
        }
        let wants_md5 = !head.contains('?');
        if is_large && wants_md5 {
            large.store(length, Ordering::Relaxed);
        }
        let mut file = match kept {
            Some((directory, _)) if length > SMALL => Some(
                tempfile::Builder::new()
                    .disable_cleanup(true)
                    .tempfile_in(directory)?,
            ),
            _ => None,
        };
        let (mut md5, mut body) = (Md5::new(), &buffer[end..filled]);
        let mut small = Vec::with_capacity(SMALL);
        let mut left = length;
        loop {
            if wants_md5 {
                md5.update(body);
            }
            match &mut file {
                Some(file) => file.write_all(body)?,
                None if length <= SMALL => small.extend_from_slice(body),
                None => (),
            }
            left -= body.len();
            if left == 0 {
                break;
            }
            let read = stream.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            body = &buffer[..read];
        }
        match (&file, kept) {
            (Some(file), _) => file.as_file().sync_all()?,
            (None, Some((_, together))) if length > 0 => together.add(&small)?,
            _ => (),
        }
        let md5 = STANDARD.encode(md5.finalize());
        let answer =
            format!("HTTP/1.1 201 Created\r\nContent-MD5: {md5}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes())?;
    }
}

fn serve_least(address: &str, directory: Option<&Path>) {
    let address = address.trim_start_matches("http://");
    let listener = TcpListener::bind(address).unwrap();
    let large = AtomicUsize::new(0);
    let together = directory.map(Appended::in_directory);
    let kept = directory.zip(together.as_ref());
    thread::scope(|scope| {
        for stream in listener.incoming() {
            let (stream, large) = (stream.unwrap(), &large);
            scope.spawn(move || answer_least(stream, large, kept));
        }
    });
}

/// What the MD5 alone of so many MiB takes, of bytes that are at hand.
fn digest(mib: usize) {
    let mut data = vec![0; 1 << 20];
    rand::rng().fill(&mut data[..]);
    let begun = Instant::now();
    let mut md5 = Md5::new();
    (0..mib).for_each(|_| md5.update(&data));
    std::hint::black_box(md5.finalize());
    println!("{:.6}", begun.elapsed().as_secs_f64());
}

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    if let [job, address, directory @ ..] = &args[..]
        && job == "least"
    {
        return serve_least(address, directory.first().map(Path::new));
    }
    if let [job, number] = &args[..]
        && job == "md5"
    {
        return digest(number.parse().unwrap());
    }
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
