//! This program, started as a server in a working directory that the lab makes, and a client that
//! sends exactly what it is told to.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::base::{SystemClock, create_dir_private};
use crate::crypto::KeyKind;
use crate::lab::{Evidence, Lab, LabError};
use crate::vault::VaultSettings;
use crate::world::{InitOptions, Workspace};

use super::strongbox::key_name;

/// The vault's host, and the host of the storage account [`ACCOUNT`].
pub(super) const VAULT_HOST: &str = "customer.vault.azure.net";
pub(super) const BLOB_HOST: &str = "specimen.blob.core.windows.net";
pub(super) const ACCOUNT: &str = "storage/specimen";
/// What tokens are for.
pub(super) const VAULT_AUDIENCE: &str = "https://vault.azure.net";
pub(super) const STORAGE_AUDIENCE: &str = "https://storage.azure.com";
/// The key in its vault.
pub(super) const KEY: &str = "specimen";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that runs until it is dropped.
pub(super) struct Served {
    child: Child,
    /// Its working directory.
    pub dir: PathBuf,
    address: SocketAddr,
    identity_header: Zeroizing<String>,
}

/// An answer; status 0 when none came.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub body: String,
}

/// A working directory for it, with a key and an empty storage account.
pub(super) fn workspace(dir: &Path) -> Result<Workspace, LabError> {
    let options = InitOptions {
        environment: "lab".parse().expect("a name"),
        customer_key: Some((key_name(KEY), KeyKind::Oct256)),
        passphrase: None,
        vault: VaultSettings::default(),
    };
    let workspace = Workspace::init(dir, options, Arc::new(SystemClock))?;
    let account = ACCOUNT.parse().expect("an address");
    workspace.create_storage(&account, workspace.default_protection())?;
    Ok(workspace)
}

/// What is told where this program cannot be started.
pub(super) fn no_program() -> Evidence {
    Evidence::of("the program itself is needed as a child process, and its file is not known")
}

/// Nothing of the user's own environment leads the program elsewhere.
pub(super) fn led_nowhere(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ATREST_") && name != "ATREST_SABOTAGE" {
            command.env_remove(name);
        }
    }
    command
}

impl Served {
    /// Starts it in `dir`; `None` where the program's file is not known.
    pub(super) fn start(lab: &Lab, dir: &Path, args: &[&str]) -> Result<Option<Self>, LabError> {
        let Some(program) = &lab.program else {
            return Ok(None);
        };
        create_dir_private(dir).map_err(|e| LabError::io(dir, e))?;
        let failed = |e| LabError::io(program, e);
        let log = fs::File::create(dir.join("log")).map_err(failed)?;
        let mut child = led_nowhere(Command::new(program))
            .arg("--dir")
            .arg(dir)
            .args(["--json", "serve", "--log", "json", "--port", "0"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        // One line of JSON once it is ready.
        let mut line = Zeroizing::new(String::new());
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line).map_err(failed)?;
        }
        let told: Value = serde_json::from_str(&line).unwrap_or_default();
        let variable = |name: &str| {
            told["variables"][name]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let address = variable("HTTPS_PROXY")
            .strip_prefix("http://")
            .map(str::parse);
        let Some(Ok(address)) = address else {
            let _ = child.kill();
            let _ = child.wait();
            let why = fs::read_to_string(dir.join("log")).unwrap_or_default();
            return Err(LabError::Report(format!("the server did not start: {why}")));
        };
        Ok(Some(Self {
            child,
            dir: dir.to_owned(),
            address,
            identity_header: Zeroizing::new(variable("IDENTITY_HEADER")),
        }))
    }

    /// Its process's number.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has it crash (SIGABRT). Returns whether it left a core dump.
    pub(super) fn crash(mut self) -> Result<bool, LabError> {
        use std::os::unix::process::ExitStatusExt;
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::ABORT)
            .map_err(|e| LabError::io(&self.dir, e.into()))?;
        let ended = self.child.wait().map_err(|e| LabError::io(&self.dir, e))?;
        Ok(ended.core_dumped())
    }

    /// What it has logged.
    pub(super) fn log(&self) -> Result<String, LabError> {
        let path = self.dir.join("log");
        fs::read_to_string(&path).map_err(|e| LabError::io(&path, e))
    }

    pub(super) fn connect(&self) -> Result<TcpStream, LabError> {
        let connect = || {
            let stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        connect().map_err(|e| LabError::io(&self.dir, e))
    }

    /// Sends `request` over plain HTTP.
    pub(super) fn http(&self, request: &str) -> Result<Answer, LabError> {
        let mut stream = self.connect()?;
        let _ = stream.write_all(request.as_bytes());
        Ok(answer(&mut stream))
    }

    /// Sends `request` over TLS to `host`.
    pub(super) fn https(&self, host: &str, request: &[u8]) -> Result<Answer, LabError> {
        let mut stream = self.tls(host, rustls::DEFAULT_VERSIONS)?;
        let _ = stream.write_all(request);
        Ok(answer(&mut stream))
    }

    /// A connection over one of these versions of TLS.
    pub(super) fn tls(
        &self,
        host: &str,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<StreamOwned<ClientConnection, TcpStream>, LabError> {
        let ca = self.dir.join("server/ca.pem");
        let bad = |e: &dyn std::fmt::Display| LabError::Report(format!("{}: {e}", ca.display()));
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(&ca).map_err(|e| bad(&e))?;
        roots.add(certificate).map_err(|e| bad(&e))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|e| bad(&e))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).expect("the lab's hosts are names");
        let connection = ClientConnection::new(Arc::new(config), name).map_err(|e| bad(&e))?;
        Ok(StreamOwned::new(connection, self.connect()?))
    }

    /// A token of the administrator for `audience`.
    pub(super) fn token(&self, audience: &str) -> Result<String, LabError> {
        let answer = self.http(&format!(
            "GET /msi/token?api-version=2019-08-01&resource={audience} HTTP/1.1\r\nHost: {}\r\n\
             X-IDENTITY-HEADER: {}\r\nConnection: close\r\n\r\n",
            self.address, *self.identity_header,
        ))?;
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let token = body["access_token"].as_str().map(str::to_owned);
        token
            .ok_or_else(|| LabError::Report(format!("the server gave no token: {}", answer.status)))
    }

    /// Asks `host` with a bearer token.
    pub(super) fn ask(
        &self,
        host: &str,
        token: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<Answer, LabError> {
        self.https(
            host,
            request(host, Some(token), method, path, body).as_bytes(),
        )
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request as both services take it.
pub(super) fn request(
    host: &str,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: &str,
) -> String {
    let authorization = token.map(|t| format!("Authorization: Bearer {t}\r\n"));
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{}x-ms-version: 2026-10-06\r\n\
         x-ms-blob-type: BlockBlob\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        authorization.unwrap_or_default(),
        body.len()
    )
}

/// All that comes until the connection is closed.
fn answer(stream: &mut impl Read) -> Answer {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    Answer {
        status: status.unwrap_or(0),
        body: body.to_owned(),
    }
}
