//! A server of its own for a test, and a client that sends exactly what it is told to.

#![allow(dead_code, reason = "each test uses a part")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

pub const ATREST: &str = env!("CARGO_BIN_EXE_atrest");
pub const VAULT: &str = "customer.vault.azure.net";

/// `atrest serve`, in a working directory of its own; its log is kept.
pub struct Served {
    pub dir: tempfile::TempDir,
    pub address: SocketAddr,
    pub told: Value,
    child: Child,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The head, as it came.
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The error's code.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }
}

pub fn atrest(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(ATREST);
    command.env_remove("ATREST_VAULT_URL");
    command.arg("--dir").arg(dir).args(args);
    command
}

pub fn workspace() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let made = atrest(dir.path(), &["init", "--key-kind", "rsa-2048"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    dir
}

impl Served {
    pub fn new(args: &[&str]) -> Self {
        Self::at(workspace(), args)
    }

    pub fn at(dir: tempfile::TempDir, args: &[&str]) -> Self {
        Self::trusting(dir, args, None)
    }

    /// One that trusts this certificate, in place of those of the system.
    pub fn trusting(dir: tempfile::TempDir, args: &[&str], certificate: Option<&Path>) -> Self {
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let any_port: &[&str] = match args.contains(&"--port") {
            true => &[],
            false => &["--port", "0"],
        };
        let mut child = atrest(dir.path(), &["--json", "serve", "--log", "json"])
            .args(any_port)
            .args(args)
            .envs(certificate.map(|path| ("SSL_CERT_FILE", path)))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        // One line of JSON once it is ready.
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            let log = fs::read_to_string(dir.path().join("log")).unwrap();
            panic!("not ready: {line} {log}")
        });
        let url = told["variables"]["HTTPS_PROXY"].as_str().unwrap();
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        Self {
            dir,
            address,
            told,
            child,
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("server/ca.pem")
    }

    pub fn identity_header(&self) -> &str {
        self.told["variables"]["IDENTITY_HEADER"].as_str().unwrap()
    }

    /// Sends `request` over plain HTTP.
    pub fn http(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        answer(&mut stream)
    }

    /// Sends `request` over TLS to `host`, without the proxy.
    pub fn https(&self, host: &str, request: &str) -> Answer {
        let stream = TcpStream::connect(self.address).unwrap();
        let mut stream = self.tls(host, stream);
        stream.write_all(request.as_bytes()).unwrap();
        answer(&mut stream)
    }

    /// The same through the proxy.
    pub fn proxied(&self, host: &str, request: &str) -> Answer {
        let mut stream = self.tunnel(host);
        stream.write_all(request.as_bytes()).unwrap();
        answer(&mut stream)
    }

    /// A connection to `host`, without the proxy; nothing when the server has gone.
    pub fn try_connect(&self, host: &str) -> Option<StreamOwned<ClientConnection, TcpStream>> {
        Some(self.tls(host, TcpStream::connect(self.address).ok()?))
    }

    /// A connection to `host` through the proxy.
    pub fn tunnel(&self, host: &str) -> StreamOwned<ClientConnection, TcpStream> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(
            stream,
            "CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n"
        )
        .unwrap();
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(
            head.starts_with(b"HTTP/1.1 200 "),
            "{}",
            String::from_utf8_lossy(&head)
        );
        self.tls(host, stream)
    }

    fn tls(&self, host: &str, stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.ca_file()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        StreamOwned::new(connection, stream)
    }

    /// A token of the managed identity for the vault.
    pub fn token(&self) -> String {
        self.token_for("https://vault.azure.net")
    }

    /// One for `audience`.
    pub fn token_for(&self, audience: &str) -> String {
        let answer = self.http(&format!(
            "GET /msi/token?api-version=2019-08-01&resource={audience} HTTP/1.1\r\n\
             Host: {}\r\nX-IDENTITY-HEADER: {}\r\nConnection: close\r\n\r\n",
            self.address,
            self.identity_header(),
        ));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// Asks the vault, with a token.
    pub fn ask(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        self.ask_at(VAULT, token, method, path, body)
    }

    /// Asks the vault whose host is `host`.
    pub fn ask_at(&self, host: &str, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let request = request(token, method, path, body).replace(VAULT, host);
        self.proxied(host, &request)
    }

    /// The most memory that it held at once, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        line.unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    }

    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) {
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and gives its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.child.wait().unwrap().code()
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request to the vault.
pub fn request(token: &str, method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {VAULT}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// All that comes until the connection is closed. A peer may close it without TLS's goodbye.
pub fn answer(stream: &mut impl Read) -> Answer {
    let mut bytes = vec![];
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    Answer {
        status: status.unwrap_or(0),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}
