//! A server of the vault, in a process of its own, and clients that ask it over TLS connections that
//! are kept. Raw HTTP: what a client library costs is not the server's.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::base::Recorded;
use crate::vault::RemoteOptions;

use super::BenchError;
use super::conditions::processor_time;

/// The customer's vault.
pub const HOST: &str = "customer.vault.azure.net";

/// A running `atrest serve`. It is ended when this is dropped.
pub struct Served {
    dir: PathBuf,
    address: SocketAddr,
    told: Value,
    child: Child,
    started: Duration,
}

impl Served {
    /// Has `program` serve the working directory `dir`.
    pub fn start(program: &Path, dir: &Path) -> Result<Self, BenchError> {
        Self::start_with(program, dir, &[])
    }

    /// The same; it tells where the time of a request went ([`Connection::timed`]).
    pub(super) fn start_timing(program: &Path, dir: &Path) -> Result<Self, BenchError> {
        Self::start_with(program, dir, &["--timing"])
    }

    fn start_with(program: &Path, dir: &Path, options: &[&str]) -> Result<Self, BenchError> {
        let begun = Instant::now();
        let mut command = Command::new(program);
        command.arg("--dir").arg(dir);
        command.args(["--json", "--quiet", "serve", "--port", "0"]);
        command.args(options);
        // It is the server of this directory, whatever vault the user's variables name.
        command
            .env_remove("ATREST_VAULT_URL")
            .env_remove("ATREST_VAULT_CA");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let child = child.map_err(|e| BenchError::io(program, e))?;
        let mut served = Self {
            dir: dir.to_owned(),
            address: ([127, 0, 0, 1], 0).into(),
            told: Value::Null,
            child,
            started: Duration::ZERO,
        };
        let out = served
            .child
            .stdout
            .take()
            .ok_or_else(|| wrong("no output"))?;
        let mut line = String::new();
        let read = BufReader::new(out).read_line(&mut line);
        read.map_err(|e| wrong(&e.to_string()))?;
        served.started = begun.elapsed();
        served.told = serde_json::from_str(&line).map_err(|e| wrong(&e.to_string()))?;
        let proxy = served.variable("HTTPS_PROXY")?;
        let address = proxy.strip_prefix("http://").and_then(|a| a.parse().ok());
        served.address = address.ok_or_else(|| wrong("no address"))?;
        Ok(served)
    }

    fn variable(&self, name: &str) -> Result<&str, BenchError> {
        let value = self.told["variables"][name].as_str();
        value.ok_or_else(|| wrong(&format!("it did not print {name}")))
    }

    /// From its start until connections were taken.
    pub fn started(&self) -> Duration {
        self.started
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Seconds of processor time that it has taken, all threads.
    pub fn processor(&self) -> f64 {
        processor_time(self.process())
    }

    /// What a client of this program's is told.
    pub fn remote(&self) -> Result<RemoteOptions, BenchError> {
        let url = self.told["vault_url"].as_str().unwrap_or_default();
        let ca = self.dir.join("server/ca.pem");
        let variable = |name: &str| {
            let value = self.told["variables"][name].as_str();
            value.map(Into::into)
        };
        Ok(RemoteOptions::from_variables(url, Some(&ca), &variable)?)
    }

    /// A connection to the vault.
    pub fn connect(&self) -> Result<Connection, BenchError> {
        self.connect_to(HOST)
    }

    /// The same to another host of the server's.
    pub(super) fn connect_to(&self, host: &'static str) -> Result<Connection, BenchError> {
        Connection::open(self.address, &self.dir.join("server/ca.pem"), host)
    }

    /// An access token of the administrator's.
    pub fn token(&self) -> Result<String, BenchError> {
        let header = self.variable("IDENTITY_HEADER")?;
        let ask = || {
            let mut stream = TcpStream::connect(self.address)?;
            write!(
                stream,
                "GET /msi/token?api-version=2019-08-01&resource=https://vault.azure.net HTTP/1.1\r\n\
                 Host: {}\r\nX-IDENTITY-HEADER: {header}\r\nConnection: close\r\n\r\n",
                self.address
            )?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        let text = ask().map_err(|e: std::io::Error| wrong(&e.to_string()))?;
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let body: Value = serde_json::from_str(body).map_err(|e| wrong(&e.to_string()))?;
        let token = body["access_token"].as_str().map(str::to_owned);
        token.ok_or_else(|| wrong("no token"))
    }

    /// A request to wrap 32 bytes by a new symmetric key `aes`, which is imported: only a managed HSM
    /// makes one.
    pub fn wrap_request(&self, token: &str) -> Result<Vec<u8>, BenchError> {
        let k = URL_SAFE_NO_PAD.encode([7; 32]);
        let body =
            format!(r#"{{"key":{{"kty":"oct","k":"{k}","key_ops":["wrapKey","unwrapKey"]}}}}"#);
        self.connect()?
            .json(&request(token, "PUT", "/keys/aes", &body))?;
        let value = URL_SAFE_NO_PAD.encode([9; 32]);
        let body = format!(r#"{{"alg":"A256KW","value":"{value}"}}"#);
        Ok(request(token, "POST", "/keys/aes//wrapkey", &body))
    }

    /// A request to unwrap 32 bytes by the customer's key, which is an RSA key.
    pub fn unwrap_request(&self, token: &str) -> Result<Vec<u8>, BenchError> {
        let value = URL_SAFE_NO_PAD.encode([9; 32]);
        let body = format!(r#"{{"alg":"RSA-OAEP-256","value":"{value}"}}"#);
        let path = "/keys/customer-key//wrapkey";
        let wrapped = self.connect()?.json(&request(token, "POST", path, &body))?;
        let value = wrapped["value"].as_str().ok_or_else(|| wrong("no value"))?;
        let body = format!(r#"{{"alg":"RSA-OAEP-256","value":"{value}"}}"#);
        Ok(request(
            token,
            "POST",
            "/keys/customer-key//unwrapkey",
            &body,
        ))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// A request of the vault's API, as bytes.
pub fn request(token: &str, method: &str, path: &str, body: &str) -> Vec<u8> {
    request_to(HOST, token, method, path, body)
}

/// The same to another host.
pub(super) fn request_to(host: &str, token: &str, method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path}?api-version=7.4 HTTP/1.1\r\nHost: {host}\r\nUser-Agent: atrest-bench\r\n\
         Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The same request, which asks where its time goes.
pub(super) fn asking(request: &[u8]) -> Vec<u8> {
    let line = request.windows(2).position(|two| two == b"\r\n");
    let (first, rest) = request.split_at(line.map_or(0, |at| at + 2));
    [first, b"Atrest-Timing: 1\r\n", rest].concat()
}

/// A TLS connection that is kept.
pub struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    answer: Vec<u8>,
}

impl Connection {
    /// One to the server at `address`, for whose certificate as `host` the one in the file `ca` answers.
    pub fn open(address: SocketAddr, ca: &Path, host: &'static str) -> Result<Self, BenchError> {
        let failed = |e: &dyn std::fmt::Display| wrong(&e.to_string());
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(ca).map_err(|e| failed(&e))?;
        roots.add(ca).map_err(|e| failed(&e))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| failed(&e))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host).map_err(|e| failed(&e))?;
        let tls = ClientConnection::new(Arc::new(config), name).map_err(|e| failed(&e))?;
        let stream = TcpStream::connect(address).map_err(|e| failed(&e))?;
        stream.set_nodelay(true).map_err(|e| failed(&e))?;
        Ok(Self {
            stream: StreamOwned::new(tls, stream),
            answer: vec![],
        })
    }

    /// Sends one request, reads its answer; the status, and where the body begins.
    fn exchange(&mut self, request: &[u8]) -> std::io::Result<(u16, usize)> {
        self.stream.write_all(request)?;
        self.answer.clear();
        let mut chunk = [0; 16 << 10];
        loop {
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.answer.extend_from_slice(&chunk[..read]);
            let ends = |four: &[u8]| four == b"\r\n\r\n";
            let Some(head) = self.answer.windows(4).position(ends) else {
                continue;
            };
            let text = String::from_utf8_lossy(&self.answer[..head]);
            let length = text.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let is = name.eq_ignore_ascii_case("content-length");
                is.then(|| value.trim().parse().unwrap_or(0))
            });
            if self.answer.len() >= head + 4 + length.unwrap_or(0_usize) {
                let status = text.get(9..12).and_then(|code| code.parse().ok());
                return Ok((status.unwrap_or(0), head + 4));
            }
        }
    }

    /// Sends one request, whose answer must have this status.
    pub(super) fn ask_for(&mut self, status: u16, request: &[u8]) -> Result<(), BenchError> {
        match self.exchange(request) {
            Ok((given, _)) if given == status => Ok(()),
            Ok((given, body)) => Err(wrong(&format!(
                "status {given}: {}",
                String::from_utf8_lossy(&self.answer[body..])
            ))),
            Err(e) => Err(wrong(&e.to_string())),
        }
    }

    /// Sends one request, which must succeed.
    pub fn ask(&mut self, request: &[u8]) -> Result<(), BenchError> {
        self.ask_for(200, request)
    }

    /// Sends one request that asks ([`asking`]) where its time goes in the server, and whose answer must have this
    /// status.
    pub(super) fn timed(&mut self, status: u16, request: &[u8]) -> Result<Recorded, BenchError> {
        self.ask_for(status, request)?;
        let text = String::from_utf8_lossy(&self.answer);
        let told = text.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let is = name.eq_ignore_ascii_case("server-timing");
            is.then(|| Recorded::from_server_timing(value)).flatten()
        });
        told.ok_or_else(|| wrong("it did not tell where the time went"))
    }

    /// The same; its answer.
    pub fn json(&mut self, request: &[u8]) -> Result<Value, BenchError> {
        self.ask(request)?;
        let head = self.answer.windows(4).position(|four| four == b"\r\n\r\n");
        let body = &self.answer[head.map_or(0, |head| head + 4)..];
        serde_json::from_slice(body).map_err(|e| wrong(&e.to_string()))
    }
}

/// What ends a load.
#[derive(Clone, Copy)]
pub enum Until {
    /// So many seconds.
    Seconds(f64),
    /// So many answers.
    Count(u64),
}

/// What a load found.
pub struct Load {
    /// Answers.
    pub done: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The server's processor time, in seconds.
    pub processor: f64,
    /// Nanoseconds that each took, in any order.
    pub latencies: Vec<f64>,
}

impl Load {
    /// Sends `request` over `connections`, which lead to the process `server`, at once until `until`; with `rate`,
    /// so many a second in all, each at its time whatever became of the one before.
    pub fn run(
        server: u32,
        connections: &mut [Connection],
        request: &[u8],
        until: Until,
        rate: Option<f64>,
    ) -> Result<Self, BenchError> {
        let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
        let pause = rate.map(|rate| connections.len() as f64 / rate);
        let all = connections.len() as f64;
        let (begun, processor) = (Instant::now(), processor_time(server));
        let latencies = thread::scope(|scope| {
            let (stop, count) = (&stop, &count);
            let workers: Vec<_> = (connections.iter_mut().enumerate())
                .map(|(n, connection)| {
                    scope.spawn(move || {
                        let mut latencies = vec![];
                        let mut due = n as f64 * pause.unwrap_or(0.0) / all;
                        while !stop.load(Ordering::Relaxed) {
                            if let Until::Count(most) = until
                                && count.fetch_add(1, Ordering::Relaxed) >= most
                            {
                                break;
                            }
                            let at = match pause {
                                None => Instant::now(),
                                Some(pause) => {
                                    let at = begun + Duration::from_secs_f64(due);
                                    due += pause;
                                    thread::sleep(at.saturating_duration_since(Instant::now()));
                                    at
                                }
                            };
                            connection.ask(request)?;
                            latencies.push(at.elapsed().as_nanos() as f64);
                        }
                        Ok::<_, BenchError>(latencies)
                    })
                })
                .collect();
            if let Until::Seconds(seconds) = until {
                thread::sleep(Duration::from_secs_f64(seconds));
                stop.store(true, Ordering::Relaxed);
            }
            let mut all = vec![];
            for worker in workers {
                let done = worker
                    .join()
                    .unwrap_or_else(|p| std::panic::resume_unwind(p));
                all.extend(done?);
            }
            Ok::<_, BenchError>(all)
        })?;
        Ok(Self {
            done: latencies.len() as u64,
            seconds: begun.elapsed().as_secs_f64(),
            processor: processor_time(server) - processor,
            latencies,
        })
    }
}

fn wrong(why: &str) -> BenchError {
    BenchError::Served(why.to_owned())
}
