//! A server that answers whatever a test wants, and looks right but for that.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use atrest::base::{KeyVersion, KeyVersionRef, VaultId};
use atrest::crypto::SecretBytes;
use atrest::vault::{Credential, RemoteOptions, RemoteVault};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const VAULT: [u8; 16] = [7; 16];
pub const VERSION: [u8; 16] = [9; 16];

/// What becomes of a connection after a request.
pub enum Act {
    /// These bytes, as they are, and the connection ends.
    Raw(Vec<u8>),
    /// A status and a body.
    Reply(u16, String),
    /// The same with a line for the head.
    With(u16, &'static str, String),
    /// These bytes, and then these again and again.
    Endless(Vec<u8>, Vec<u8>),
    /// These bytes, one at a time, and then nothing: the connection stays open.
    Drip(Vec<u8>),
    /// The connection is closed.
    Close,
}

/// Whether it answers a request (`METHOD path`) at its URL, and how; what it does not is answered rightly.
type Behaviour = Box<dyn Fn(&str, &str) -> Option<Act> + Send + Sync>;
type Tokens = Box<dyn Fn(usize) -> Act + Send + Sync>;

pub struct Fake {
    pub url: String,
    /// What was asked, `METHOD path`, tokens aside.
    pub asked: Arc<Mutex<Vec<String>>>,
    pub tokens: Arc<AtomicUsize>,
    dir: TempDir,
    endpoint: String,
}

impl Fake {
    pub fn new(behaviour: impl Fn(&str) -> Option<Act> + Send + Sync + 'static) -> Self {
        Self::with_tokens(behaviour, |_| granted())
    }

    /// The same for one that needs its own URL.
    pub fn knowing(behaviour: impl Fn(&str, &str) -> Option<Act> + Send + Sync + 'static) -> Self {
        Self::start(Box::new(behaviour), Box::new(|_| granted()))
    }

    /// `tokens` answers requests for tokens, given how many there were before.
    pub fn with_tokens(
        behaviour: impl Fn(&str) -> Option<Act> + Send + Sync + 'static,
        tokens: impl Fn(usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let behaviour = move |request: &str, _: &str| behaviour(request);
        Self::start(Box::new(behaviour), Box::new(tokens))
    }

    fn start(behaviour: Behaviour, tokens: Tokens) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let config = Arc::new(config);

        let (listener, vault) = listening();
        let url = format!("https://localhost:{vault}");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, base) = (asked.clone(), url.clone());
        let behaviour = Arc::new(behaviour);
        accept(listener, move |stream| {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let stream = StreamOwned::new(connection, stream);
            let (log, base, behaviour) = (log.clone(), base.clone(), behaviour.clone());
            serve(stream, move |request| {
                log.lock().unwrap().push(request.to_owned());
                behaviour(request, &base).unwrap_or_else(|| right(&base, request))
            });
        });

        let (listener, port) = listening();
        let count = Arc::new(AtomicUsize::new(0));
        let (counted, tokens) = (count.clone(), Arc::new(tokens));
        accept(listener, move |stream| {
            let (counted, tokens) = (counted.clone(), tokens.clone());
            serve(stream, move |_| {
                tokens(counted.fetch_add(1, Ordering::SeqCst))
            });
        });
        Self {
            url,
            asked,
            tokens: count,
            dir,
            endpoint: format!("http://127.0.0.1:{port}/msi/token"),
        }
    }

    pub fn options(&self) -> RemoteOptions {
        RemoteOptions {
            url: self.url.clone(),
            ca_file: self.dir.path().join("ca.pem"),
            proxy: None,
            credential: Credential::ManagedIdentity {
                endpoint: self.endpoint.clone(),
                header: Arc::new(SecretBytes::from_vec(b"header".to_vec())),
            },
        }
    }

    pub fn vault(&self) -> RemoteVault {
        RemoteVault::open(&self.options()).unwrap()
    }

    /// How often something was asked.
    pub fn count(&self, what: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|request| request.contains(what))
            .count()
    }
}

/// The key that it has.
pub fn key() -> KeyVersionRef {
    KeyVersionRef {
        vault: VaultId::from_bytes(VAULT),
        name: "k".parse().unwrap(),
        version: KeyVersion::from_bytes(VERSION),
    }
}

pub fn granted() -> Act {
    let token = json!({ "access_token": "a.b.c", "expires_in": "3600", "token_type": "Bearer" });
    Act::Reply(200, token.to_string())
}

/// `KeyOperationResult` with these bytes, by this key.
pub fn used(kid: &str, bytes: &[u8]) -> Act {
    let value = URL_SAFE_NO_PAD.encode(bytes);
    Act::Reply(200, json!({ "kid": kid, "value": value }).to_string())
}

pub fn kid(base: &str) -> String {
    format!("{base}/keys/k/{}", KeyVersion::from_bytes(VERSION))
}

pub fn bundle(base: &str) -> Value {
    json!({
        "key": {
            "kid": kid(base),
            "kty": "oct",
            "key_ops": ["wrapKey", "unwrapKey"],
            "atrest": { "kind": "oct-256", "thumbprint": "5a".repeat(32) },
        },
        "attributes": { "enabled": true, "created": 1, "updated": 1 },
    })
}

/// What an honest server answers.
fn right(base: &str, request: &str) -> Act {
    let reply = |value: Value| Act::Reply(200, value.to_string());
    match request {
        "GET /atrest/v1/vault" => reply(json!({
            "id": VaultId::from_bytes(VAULT), "retention_days": 7, "purge_protection": false,
        })),
        r if r.ends_with("/unwrapkey") => used(&kid(base), &[0x5a; 32]),
        r if r.ends_with("/wrapkey") => used(&kid(base), &[0; 40]),
        "GET /keys" | "GET /keys/k/versions" => {
            let kid = match request {
                "GET /keys" => format!("{base}/keys/k"),
                _ => kid(base),
            };
            reply(json!({ "value": [{ "kid": kid, "attributes": {} }], "nextLink": null }))
        }
        r if r.starts_with("GET /keys/k") || r.ends_with("/create") => reply(bundle(base)),
        _ => {
            let error = json!({ "error": { "code": "KeyNotFound", "message": "none" } });
            Act::Reply(404, error.to_string())
        }
    }
}

fn listening() -> (TcpListener, u16) {
    // `localhost` may be looked up as ::1 first.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn accept(listener: TcpListener, each: impl Fn(TcpStream) + Send + Sync + 'static) {
    let each = Arc::new(each);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let each = each.clone();
            thread::spawn(move || each(stream));
        }
    });
}

/// Answers requests on one connection, until it is closed. A client that goes away is no fault.
fn serve(stream: impl Read + Write, answer: impl Fn(&str) -> Act) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = request(&mut reader) {
        let stream = reader.get_mut();
        let sent = match answer(&request) {
            Act::Reply(status, body) => reply(stream, status, "X: y", &body),
            Act::With(status, line, body) => reply(stream, status, line, &body),
            Act::Raw(bytes) => {
                let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
                return;
            }
            Act::Endless(head, more) => {
                let mut sent = stream.write_all(&head);
                while sent.is_ok() {
                    sent = stream.write_all(&more);
                }
                return;
            }
            Act::Drip(bytes) => {
                for byte in bytes {
                    let sent = stream.write_all(&[byte]).and_then(|()| stream.flush());
                    if sent.is_err() {
                        return;
                    }
                    thread::sleep(std::time::Duration::from_millis(50));
                }
                // Until the client gives up.
                let _ = reader.read_to_end(&mut Vec::new());
                return;
            }
            Act::Close => return,
        };
        if sent.is_err() {
            return;
        }
    }
}

fn reply(stream: &mut impl Write, status: u16, line: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Status\r\n{line}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    stream.flush()
}

/// `METHOD path`, without the query; its body is read and forgotten.
fn request(reader: &mut impl BufRead) -> Option<String> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(text) = line.strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let path = target.split('?').next()?;
    Some(format!("{method} {path}"))
}
