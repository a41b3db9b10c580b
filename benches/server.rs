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
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use atrest::base::SystemClock;
use atrest::crypto::{EncryptionAlgorithm, KeyEncryptionKey, KeyKind};
use atrest::vault::{KeySpec, KeyVault};
use atrest::world::{AskPassphrase, WhichVault, Workspace};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use serde_json::Value;

const HOST: &str = "customer.vault.azure.net";

struct Served {
    dir: tempfile::TempDir,
    address: SocketAddr,
    told: Value,
    child: Child,
    started: Duration,
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn atrest(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atrest"));
    command.arg("--dir").arg(dir);
    command
}

impl Served {
    fn new() -> Self {
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let dir = tempfile::tempdir_in(target).unwrap();
        let made = atrest(dir.path())
            .args(["init", "--key-kind", "rsa-2048"])
            .output();
        assert!(made.unwrap().status.success());
        Self::at(dir)
    }

    fn at(dir: tempfile::TempDir) -> Self {
        let begun = Instant::now();
        let mut child = atrest(dir.path())
            .args(["--json", "--quiet", "serve", "--port", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let started = begun.elapsed();
        let told: Value = serde_json::from_str(&line).unwrap();
        let url = told["variables"]["HTTPS_PROXY"].as_str().unwrap();
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        Self {
            dir,
            address,
            told,
            child,
            started,
        }
    }

    fn connect(&self) -> Tls {
        connect(self.address, &self.dir.path().join("server/ca.pem"))
    }

    fn token(&self) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let header = self.told["variables"]["IDENTITY_HEADER"].as_str().unwrap();
        write!(
            stream,
            "GET /msi/token?api-version=2019-08-01&resource=https://vault.azure.net HTTP/1.1\r\n\
             Host: {}\r\nX-IDENTITY-HEADER: {header}\r\nConnection: close\r\n\r\n",
            self.address
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let body: Value = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        body["access_token"].as_str().unwrap().to_owned()
    }

    /// Resident MiB: now, of these not of mapped files, and the most there ever were.
    fn memory(&self) -> [f64; 3] {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let of = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
            kib / 1024.0
        };
        ["VmRSS:", "RssAnon:", "VmHWM:"].map(of)
    }
}

/// A connection to the server at `address`, whose certificate `ca` answers for.
fn connect(address: SocketAddr, ca: &Path) -> Tls {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(HOST).unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    StreamOwned::new(tls, stream)
}

impl Drop for Served {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// Seconds of processor time of a process.
fn processor(pid: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
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

fn request(token: &str, method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path}?api-version=7.4 HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: atrest-bench\r\n\
         Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Reads one message into `buffer`: where its body begins; `None` at the stream's end.
fn message(stream: &mut impl Read, buffer: &mut Vec<u8>) -> Option<usize> {
    buffer.clear();
    let mut chunk = [0; 16 << 10];
    loop {
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        buffer.extend_from_slice(&chunk[..read]);
        let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let text = std::str::from_utf8(&buffer[..head]).unwrap();
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.eq_ignore_ascii_case("content-length")).then(|| value.trim().parse().unwrap())
        });
        if buffer.len() >= head + 4 + length.unwrap_or(0_usize) {
            return Some(head + 4);
        }
    }
}

/// Sends one request and reads its answer: status and where the body begins.
fn ask(stream: &mut Tls, request: &[u8], buffer: &mut Vec<u8>) -> (u16, usize) {
    stream.write_all(request).unwrap();
    let body = message(stream, buffer).expect("the server closed the connection");
    let status = std::str::from_utf8(&buffer[9..12]).unwrap();
    (status.parse().unwrap(), body)
}

fn json(stream: &mut Tls, request: &[u8]) -> Value {
    let mut buffer = vec![];
    let (status, body) = ask(stream, request, &mut buffer);
    let value = serde_json::from_slice(&buffer[body..]).unwrap();
    assert_eq!(status, 200, "{value}");
    value
}

struct Load {
    done: u64,
    seconds: f64,
    /// The server's.
    processor: f64,
    /// Microseconds, sorted.
    latencies: Vec<u32>,
}

impl Load {
    fn rate(&self) -> f64 {
        self.done as f64 / self.seconds
    }

    fn percentile(&self, of: f64) -> f64 {
        let at = (self.latencies.len() as f64 * of) as usize;
        f64::from(self.latencies[at.min(self.latencies.len() - 1)]) / 1000.0
    }

    fn print(&self, what: &str) {
        println!(
            "{what:38} {:8.0}/s  p50 {:6.2} ms  p99 {:6.2} ms  p99.9 {:6.2} ms  server {:5.1} µs/op",
            self.rate(),
            self.percentile(0.5),
            self.percentile(0.99),
            self.percentile(0.999),
            self.processor * 1e6 / self.done as f64,
        );
    }
}

/// What ends a load.
#[derive(Clone, Copy)]
enum Until {
    Seconds(f64),
    Count(u64),
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
    let connect = || served.connect();
    load_on(&served.child, connect, request, connections, until, rate)
}

/// The same, of the server that is the process `child`.
fn load_on(
    child: &Child,
    connect: impl Fn() -> Tls,
    request: &[u8],
    connections: usize,
    until: Until,
    rate: Option<f64>,
) -> Load {
    let of_server = || processor(&child.id().to_string());
    let streams: Vec<_> = (0..connections)
        .map(|_| {
            let mut stream = connect();
            assert_eq!(ask(&mut stream, request, &mut vec![]).0, 200);
            stream
        })
        .collect();
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let (begun, before) = (Instant::now(), of_server());
    let latencies = thread::scope(|scope| {
        let workers: Vec<_> = (streams.into_iter().enumerate())
            .map(|(n, mut stream)| {
                let (stop, count) = (&stop, &count);
                scope.spawn(move || {
                    let (mut buffer, mut latencies) = (vec![], vec![]);
                    let pause = rate.map(|rate| connections as f64 / rate);
                    let mut due = n as f64 * pause.unwrap_or(0.0) / connections as f64;
                    while !stop.load(Ordering::Relaxed) {
                        let at = match pause {
                            None => Instant::now(),
                            Some(pause) => {
                                let at = begun + Duration::from_secs_f64(due);
                                due += pause;
                                thread::sleep(at.saturating_duration_since(Instant::now()));
                                at
                            }
                        };
                        assert_eq!(ask(&mut stream, request, &mut buffer).0, 200);
                        latencies.push(at.elapsed().as_micros() as u32);
                        let done = count.fetch_add(1, Ordering::Relaxed) + 1;
                        if matches!(until, Until::Count(most) if done >= most) {
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                    latencies
                })
            })
            .collect();
        if let Until::Seconds(seconds) = until {
            thread::sleep(Duration::from_secs_f64(seconds));
            stop.store(true, Ordering::Relaxed);
        }
        let all = workers.into_iter().flat_map(|w| w.join().unwrap());
        all.collect::<Vec<_>>()
    });
    let mut latencies = latencies;
    latencies.sort_unstable();
    Load {
        done: latencies.len() as u64,
        seconds: begun.elapsed().as_secs_f64(),
        processor: of_server() - before,
        latencies,
    }
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

fn wrap_request(served: &Served, token: &str) -> Vec<u8> {
    let mut stream = served.connect();
    // Only a managed HSM makes symmetric keys for Azure; import works for both.
    let k = URL_SAFE_NO_PAD.encode([7; 32]);
    let body = format!(r#"{{"key":{{"kty":"oct","k":"{k}","key_ops":["wrapKey","unwrapKey"]}}}}"#);
    json(&mut stream, &request(token, "PUT", "/keys/aes", &body));
    let value = URL_SAFE_NO_PAD.encode([9; 32]);
    let body = format!(r#"{{"alg":"A256KW","value":"{value}"}}"#);
    request(token, "POST", "/keys/aes//wrapkey", &body)
}

fn wrap(served: &Served, seconds: f64) {
    let token = served.token();
    let request = wrap_request(served, &token);
    load(served, &request, 64, Until::Seconds(1.0), None);
    let full = load(served, &request, 64, Until::Seconds(seconds), None);
    full.print("A256KW wrap, 64 connections");
    for rate in [full.rate() / 2.0, 7500.0] {
        let half = load(served, &request, 64, Until::Seconds(seconds), Some(rate));
        half.print(&format!("A256KW wrap, {rate:.0}/s asked for"));
    }
    let alone = load(served, &request, 1, Until::Seconds(seconds.min(3.0)), None);
    alone.print("A256KW wrap, 1 connection");
}

fn unwrap(served: &Served, seconds: f64) {
    let token = served.token();
    let mut stream = served.connect();
    let value = URL_SAFE_NO_PAD.encode([9; 32]);
    let body = format!(r#"{{"alg":"RSA-OAEP-256","value":"{value}"}}"#);
    let path = "/keys/customer-key//wrapkey";
    let wrapped = json(&mut stream, &request(&token, "POST", path, &body));
    let value = wrapped["value"].as_str().unwrap();
    let body = format!(r#"{{"alg":"RSA-OAEP-256","value":"{value}"}}"#);
    let request = request(&token, "POST", "/keys/customer-key//unwrapkey", &body);

    let key = KeyEncryptionKey::generate(KeyKind::Rsa2048);
    let algorithm = EncryptionAlgorithm::RsaOaep256;
    let sealed = key.wrap_bytes(algorithm, &[9; 32]).unwrap();
    // On the server's processor: how often a second, and the processor time of one.
    let loop_once = || {
        pin(std::process::id(), 0);
        let before = processor("self");
        let rate = bare(seconds, || {
            key.unwrap_bytes(algorithm, &sealed).unwrap();
        });
        pin(std::process::id(), 1);
        (rate, (processor("self") - before) / (rate * seconds))
    };
    pin(served.child.id(), 0);
    load(served, &request, 16, Until::Seconds(1.0), None);
    let before = loop_once();
    let full = load(served, &request, 32, Until::Seconds(seconds), None);
    full.print("unwrapKey RSA-2048, 32 connections");
    let least = Least::new(served.dir.path());
    pin(least.child.id(), 0);
    let until = Until::Seconds(seconds);
    let least = load_on(&least.child, || least.connect(), &request, 32, until, None);
    least.print("the least that could answer");
    let after = loop_once();
    let (rate, cost) = (before.0.midpoint(after.0), before.1.midpoint(after.1));
    println!(
        "{:38} {rate:8.0}/s  {:.1} µs/op",
        "the same in a bare loop",
        cost * 1e6
    );
    for (what, load) in [
        ("server to bare loop", full),
        ("the least to bare loop", least),
    ] {
        println!(
            "{what:38} {:7.1} %  (by processor time {:.1} %)",
            load.rate() * 100.0 / rate,
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

    fn connect(&self) -> Tls {
        connect(self.address, &self.certificate)
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
                while message(&mut stream, &mut buffer).is_some() {
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
    let token = served.token();
    let request = wrap_request(served, &token);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let makers: Vec<_> = (0..4)
            .map(|n| {
                let (stop, token, served) = (&stop, &token, served);
                scope.spawn(move || {
                    let mut stream = served.connect();
                    let body = r#"{"kty":"RSA","key_size":4096}"#;
                    let path = format!("/keys/made-{n}/create");
                    let request = self::request(token, "POST", &path, body);
                    let mut made = 0;
                    while !stop.load(Ordering::Relaxed) {
                        json(&mut stream, &request);
                        made += 1;
                    }
                    made
                })
            })
            .collect();
        let beside = load(served, &request, 8, Until::Seconds(seconds), Some(500.0));
        stop.store(true, Ordering::Relaxed);
        let made: u32 = makers.into_iter().map(|m| m.join().unwrap()).sum();
        beside.print(&format!("500/s beside {made} RSA-4096 keys made"));
    });
}

fn million(served: &Served) {
    let token = served.token();
    let request = wrap_request(served, &token);
    let [before, ..] = served.memory();
    let load = load(served, &request, 64, Until::Count(1_000_000), None);
    load.print("A256KW wrap, a million");
    let [after, own, most] = served.memory();
    println!(
        "resident: {before:.1} MiB before, {after:.1} after ({own:.1} without mapped files), {most:.1} at most"
    );
}

fn list() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let made = atrest(dir.path()).args(["init"]).output().unwrap();
    assert!(made.status.success());
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
    let served = Served::at(dir);
    println!(
        "ready {:.0} ms after it was started, with 100,000 versions",
        served.started.as_secs_f64() * 1e3
    );
    let token = served.token();
    let mut stream = served.connect();
    let [before, ..] = served.memory();
    let begun = Instant::now();
    let mut walk = |first: String| {
        let (mut path, mut items, mut pages) = (first, 0, 0);
        loop {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            let page = json(&mut stream, request.as_bytes());
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
    let [after, own, most] = served.memory();
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
        let served = Served::new();
        println!(
            "ready {:.0} ms after it was started",
            served.started.as_secs_f64() * 1e3
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
        unwrap(&Served::new(), seconds);
    }
    if is("list") {
        list();
    }
}
