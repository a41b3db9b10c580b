//! What the vault's server does a second, beside the bare library: a load generator that asks
//! `atrest serve` over TLS connections that are kept, and the same operation in a loop in this process.
//! The vault lies below `target`, so on the disk that the package lies on; each answer's record is synced.
//!
//!     cargo bench --bench server                       all of it
//!     cargo bench --bench server -- wrap 10            A256KW wrap only, 10 s each step
//!     cargo bench --bench server -- million            a million wraps, then the memory
//!     cargo bench --bench server -- list               1,000 keys with 100 versions
//!
//! The server's processor time stands beside the rate, since client and server share the machine. For unwrap
//! the server has the first processor and the client the second; the loop has the first, before and after.
//! Beside it runs the least that could answer at all: TLS and HTTP around the bare operation, in a thread for
//! each connection, with no token, no rules, no record and no disk.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use atrest::base::SystemClock;
use atrest::bench::{Connection, HOST, Load, Served, Until, request};
use atrest::crypto::{EncryptionAlgorithm, KeyEncryptionKey, KeyKind};
use atrest::vault::{KeySpec, KeyVault};
use atrest::world::{AskPassphrase, WhichVault, Workspace};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A new working directory below `target`, made by the program.
fn made(args: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut init = Command::new(env!("CARGO_BIN_EXE_atrest"));
    init.arg("--dir").arg(dir.path()).arg("init").args(args);
    assert!(init.output().unwrap().status.success());
    dir
}

fn served(dir: &tempfile::TempDir) -> Served {
    Served::start(Path::new(env!("CARGO_BIN_EXE_atrest")), dir.path()).unwrap()
}

/// Resident MiB of a process: now, of these not of mapped files, and the most there ever were.
fn memory(process: u32) -> [f64; 3] {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1024.0
    };
    ["VmRSS:", "RssAnon:", "VmHWM:"].map(of)
}

/// Seconds of processor time of this process.
fn processor() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit(')').next().unwrap();
    let ticks: Vec<u64> = (after.split_whitespace().skip(11).take(2))
        .map(|text| text.parse().unwrap())
        .collect();
    (ticks[0] + ticks[1]) as f64 / 100.0
}

/// Binds all threads of a process to one processor.
fn pin(process: u32, processor: usize) {
    bind(process, &processor.to_string());
}

/// Frees this process again.
fn pin_anywhere() {
    bind(std::process::id(), "0-1");
}

fn bind(process: u32, processors: &str) {
    let mut taskset = Command::new("taskset");
    taskset.args(["-apc", processors, &process.to_string()]);
    let bound = taskset.stdout(Stdio::null()).status();
    assert!(bound.unwrap().success(), "taskset (util-linux) is needed");
}

/// Reads one message into `buffer`: whether one came before the stream's end.
fn message(stream: &mut impl Read, buffer: &mut Vec<u8>) -> bool {
    buffer.clear();
    let mut chunk = [0; 16 << 10];
    loop {
        match stream.read(&mut chunk) {
            Ok(read) if read > 0 => buffer.extend_from_slice(&chunk[..read]),
            _ => return false,
        }
        let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let text = std::str::from_utf8(&buffer[..head]).unwrap();
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.eq_ignore_ascii_case("content-length")).then(|| value.trim().parse().unwrap())
        });
        if buffer.len() >= head + 4 + length.unwrap_or(0_usize) {
            return true;
        }
    }
}

fn print(load: &mut Load, what: &str) {
    load.latencies.sort_unstable_by(f64::total_cmp);
    let percentile = |of: f64| {
        let at = (load.latencies.len() as f64 * of) as usize;
        load.latencies[at.min(load.latencies.len() - 1)] / 1e6
    };
    println!(
        "{what:38} {:8.0}/s  p50 {:6.2} ms  p99 {:6.2} ms  p99.9 {:6.2} ms  server {:5.1} µs/op",
        rate(load),
        percentile(0.5),
        percentile(0.99),
        percentile(0.999),
        load.processor * 1e6 / load.done as f64,
    );
}

fn rate(load: &Load) -> f64 {
    load.done as f64 / load.seconds
}

/// Sends `request` over `connections` until `until`; with `rate`, so many a second, each at its time
/// whatever became of the one before.
fn load(
    served: &Served,
    request: &[u8],
    connections: usize,
    until: Until,
    rate: Option<f64>,
) -> Load {
    let connect = || served.connect().unwrap();
    load_on(served.process(), connect, request, connections, until, rate)
}

/// The same, of the server that is the process `server`.
fn load_on(
    server: u32,
    connect: impl Fn() -> Connection,
    request: &[u8],
    connections: usize,
    until: Until,
    rate: Option<f64>,
) -> Load {
    let mut all: Vec<_> = (0..connections).map(|_| connect()).collect();
    all.iter_mut().for_each(|one| one.ask(request).unwrap());
    Load::run(server, &mut all, request, until, rate).unwrap()
}

/// How often a second one thread of this process does it.
fn bare(seconds: f64, mut work: impl FnMut()) -> f64 {
    let (begun, mut done) = (Instant::now(), 0_u64);
    while begun.elapsed().as_secs_f64() < seconds {
        (0..16).for_each(|_| work());
        done += 16;
    }
    done as f64 / begun.elapsed().as_secs_f64()
}

fn wrap(served: &Served, seconds: f64) {
    let token = served.token().unwrap();
    let request = served.wrap_request(&token).unwrap();
    load(served, &request, 64, Until::Seconds(1.0), None);
    let mut full = load(served, &request, 64, Until::Seconds(seconds), None);
    print(&mut full, "A256KW wrap, 64 connections");
    for rate in [self::rate(&full) / 2.0, 7500.0] {
        let mut half = load(served, &request, 64, Until::Seconds(seconds), Some(rate));
        print(&mut half, &format!("A256KW wrap, {rate:.0}/s asked for"));
    }
    let mut alone = load(served, &request, 1, Until::Seconds(seconds.min(3.0)), None);
    print(&mut alone, "A256KW wrap, 1 connection");
}

fn unwrap(seconds: f64) {
    let dir = made(&["--key-kind", "rsa-2048"]);
    let served = &served(&dir);
    let token = served.token().unwrap();
    let request = served.unwrap_request(&token).unwrap();

    let key = KeyEncryptionKey::generate(KeyKind::Rsa2048);
    let algorithm = EncryptionAlgorithm::RsaOaep256;
    let sealed = key.wrap_bytes(algorithm, &[9; 32]).unwrap();
    // On the server's processor: how often a second, and the processor time of one.
    let loop_once = || {
        pin(std::process::id(), 0);
        let before = processor();
        let rate = bare(seconds, || {
            key.unwrap_bytes(algorithm, &sealed).unwrap();
        });
        pin(std::process::id(), 1);
        (rate, (processor() - before) / (rate * seconds))
    };
    pin(served.process(), 0);
    load(served, &request, 16, Until::Seconds(1.0), None);
    let before = loop_once();
    let mut full = load(served, &request, 32, Until::Seconds(seconds), None);
    print(&mut full, "unwrapKey RSA-2048, 32 connections");
    let least = Least::new(dir.path());
    pin(least.child.id(), 0);
    let until = Until::Seconds(seconds);
    let (process, connect) = (least.child.id(), || least.connect());
    let mut least = load_on(process, connect, &request, 32, until, None);
    print(&mut least, "the least that could answer");
    let after = loop_once();
    let (bare, cost) = (before.0.midpoint(after.0), before.1.midpoint(after.1));
    println!(
        "{:38} {bare:8.0}/s  {:.1} µs/op",
        "the same in a bare loop",
        cost * 1e6
    );
    for (what, load) in [
        ("server to bare loop", full),
        ("the least to bare loop", least),
    ] {
        println!(
            "{what:38} {:7.1} %  (by processor time {:.1} %)",
            rate(&load) * 100.0 / bare,
            cost * 100.0 / (load.processor / load.done as f64),
        );
    }
    pin_anywhere();
}

/// The least that could answer: this program again, as a child.
struct Least {
    child: Child,
    address: SocketAddr,
    certificate: PathBuf,
}

/// By which the child is told what it is, and where its certificate goes.
const LEAST: &str = "the-least";

impl Least {
    fn new(dir: &Path) -> Self {
        let certificate = dir.join("least.pem");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([Path::new(LEAST), &certificate])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap();
        Self {
            child,
            address,
            certificate,
        }
    }

    fn connect(&self) -> Connection {
        Connection::open(self.address, &self.certificate, HOST).unwrap()
    }

    /// Serves, in the child, until it is killed.
    fn serve(certificate: &Path) {
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        fs::write(certificate, made.cert.pem()).unwrap();
        let secret = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], secret)
            .unwrap();
        let config = Arc::new(config);
        let key = Arc::new(KeyEncryptionKey::generate(KeyKind::Rsa2048));
        let algorithm = EncryptionAlgorithm::RsaOaep256;
        let sealed = Arc::new(key.wrap_bytes(algorithm, &[9; 32]).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        println!("{}", listener.local_addr().unwrap());
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            let tls = ServerConnection::new(config.clone()).unwrap();
            let (key, sealed) = (key.clone(), sealed.clone());
            thread::spawn(move || {
                let (mut stream, mut buffer) = (StreamOwned::new(tls, stream), vec![]);
                // As long as an answer of the vault's.
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 160\r\n\r\n{:160}", "");
                while message(&mut stream, &mut buffer) {
                    key.unwrap_bytes(algorithm, &sealed).unwrap();
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    }
}

impl Drop for Least {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the generation of keys keeps others waiting.
fn create(served: &Served, seconds: f64) {
    let token = served.token().unwrap();
    let request = served.wrap_request(&token).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let makers: Vec<_> = (0..4)
            .map(|n| {
                let (stop, token) = (&stop, &token);
                scope.spawn(move || {
                    let mut connection = served.connect().unwrap();
                    let body = r#"{"kty":"RSA","key_size":4096}"#;
                    let path = format!("/keys/made-{n}/create");
                    let request = self::request(token, "POST", &path, body);
                    let mut made = 0;
                    while !stop.load(Ordering::Relaxed) {
                        connection.ask(&request).unwrap();
                        made += 1;
                    }
                    made
                })
            })
            .collect();
        let mut beside = load(served, &request, 8, Until::Seconds(seconds), Some(500.0));
        stop.store(true, Ordering::Relaxed);
        let made: u32 = makers.into_iter().map(|m| m.join().unwrap()).sum();
        print(
            &mut beside,
            &format!("500/s beside {made} RSA-4096 keys made"),
        );
    });
}

fn million(served: &Served) {
    let token = served.token().unwrap();
    let request = served.wrap_request(&token).unwrap();
    let [before, ..] = memory(served.process());
    let mut load = load(served, &request, 64, Until::Count(1_000_000), None);
    print(&mut load, "A256KW wrap, a million");
    let [after, own, most] = memory(served.process());
    println!(
        "resident: {before:.1} MiB before, {after:.1} after ({own:.1} without mapped files), {most:.1} at most"
    );
}

fn list() {
    let dir = made(&[]);
    {
        let ask: AskPassphrase = Arc::new(|_| Err("no passphrase".to_owned()));
        let workspace = Workspace::open(dir.path(), ask, Arc::new(SystemClock)).unwrap();
        let vault = workspace.vault(&WhichVault::Customer).unwrap();
        let next = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= 100_000 {
                            break;
                        }
                        let name = format!("key-{:04}", n % 1000).parse().unwrap();
                        vault
                            .create_key(&name, &KeySpec::new(KeyKind::Oct256))
                            .unwrap();
                    }
                });
            }
        });
    }
    let served = served(&dir);
    println!(
        "ready {:.0} ms after it was started, with 100,000 versions",
        served.started().as_secs_f64() * 1e3
    );
    let token = served.token().unwrap();
    let mut connection = served.connect().unwrap();
    let [before, ..] = memory(served.process());
    let begun = Instant::now();
    let mut walk = |first: String| {
        let (mut path, mut items, mut pages) = (first, 0, 0);
        loop {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            let page = connection.json(request.as_bytes()).unwrap();
            items += page["value"].as_array().unwrap().len();
            pages += 1;
            match page["nextLink"].as_str() {
                Some(next) => path = next.split_once(HOST).unwrap().1.to_owned(),
                None => return (items, pages),
            }
        }
    };
    let (keys, pages) = walk("/keys?api-version=7.4".into());
    let listed = begun.elapsed();
    let (mut versions, mut more) = (0, 0);
    for n in 0..1000 {
        let path = format!("/keys/key-{n:04}/versions?api-version=7.4");
        let (found, in_pages) = walk(path);
        versions += found;
        more += in_pages;
    }
    let [after, own, most] = memory(served.process());
    println!(
        "{keys} keys in {pages} pages, {:.1} ms; {versions} versions in {more} pages, {:.1} s in all",
        listed.as_secs_f64() * 1e3,
        begun.elapsed().as_secs_f64(),
    );
    println!(
        "resident: {before:.1} MiB before, {after:.1} after ({own:.1} without mapped files), {most:.1} at most"
    );
}

fn main() {
    let mut args = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"));
    let what = args.next().unwrap_or_else(|| "all".into());
    if what == LEAST {
        let certificate = args.next().expect("a path");
        return Least::serve(Path::new(&certificate));
    }
    let seconds: f64 = args.next().map_or(5.0, |text| text.parse().unwrap());
    let is = |name: &str| what == "all" || what == name;
    if is("wrap") || is("create") || is("million") {
        let dir = made(&["--key-kind", "rsa-2048"]);
        let served = served(&dir);
        println!(
            "ready {:.0} ms after it was started",
            served.started().as_secs_f64() * 1e3
        );
        if is("wrap") {
            wrap(&served, seconds);
        }
        if is("create") {
            create(&served, seconds);
        }
        if is("million") {
            million(&served);
        }
    }
    if is("unwrap") {
        unwrap(seconds);
    }
    if is("list") {
        list();
    }
}
