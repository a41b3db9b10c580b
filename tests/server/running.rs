//! Start, stop, and what the log tells.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::client::*;

#[test]
fn no_secret_reaches_the_log() {
    let mut served = Served::new(&[]);
    let token = served.token();
    let dek = [0x5a; 32];
    let text = URL_SAFE_NO_PAD.encode(dek);
    let body = format!(r#"{{"alg":"RSA-OAEP-256","value":"{text}"}}"#);
    let wrap = "/keys/customer-key//wrapkey?api-version=7.4";
    let wrapped = served.ask(&token, "POST", wrap, &body).json();
    let value = wrapped["value"].as_str().unwrap().to_owned();
    let body = format!(r#"{{"alg":"RSA-OAEP-256","value":"{value}"}}"#);
    let unwrap = "/keys/customer-key//unwrapkey?api-version=7.4";
    assert_eq!(
        served.ask(&token, "POST", unwrap, &body).json()["value"],
        text
    );
    // Secrets where they do not belong, and requests that fail.
    let stray = format!("/keys/customer-key?api-version=7.4&access_token={token}");
    assert_eq!(served.ask(&token, "GET", &stray, "").status, 200);
    let broken = format!(r#"{{"kty":"oct","k":"{text}""#);
    assert_eq!(
        served
            .ask(&token, "PUT", "/keys/n?api-version=7.4", &broken)
            .status,
        400
    );
    let tampered = format!("{}AAAA", &token[..token.len() - 4]);
    assert_eq!(
        served
            .ask(&tampered, "GET", "/keys?api-version=7.4", "")
            .status,
        401
    );
    assert_eq!(served.stop(), Some(0));

    let log = served.log();
    for (what, secret) in [
        ("the key", text.as_str()),
        ("the key in hexadecimal", &hex::encode(dek)),
        ("the token", &token),
        ("the token's signature", token.rsplit('.').next().unwrap()),
        ("the identity header", served.identity_header()),
    ] {
        assert!(!log.contains(secret), "{what} is in the log: {log}");
    }
    // The control: the log is there, and says who did what.
    for line in [
        "KeyWrap",
        "KeyUnwrap",
        "KeyImport",
        "administrator",
        "Unauthorized",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(
        log.lines()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "{log}"
    );
}

#[test]
fn clients_that_say_nothing_keep_nobody_waiting() {
    let served = Served::new(&[]);
    let idle: Vec<_> = (0..100)
        .map(|i| {
            let mut stream = TcpStream::connect(served.address).unwrap();
            // Nothing, half of a head, half of a TLS record.
            let begun: &[u8] = [&b""[..], b"GET / HTTP/1.1\r\nHost:", &[0x16, 3, 1, 2]][i % 3];
            stream.write_all(begun).unwrap();
            stream
        })
        .collect();
    let path = "/keys/customer-key?api-version=7.4";
    assert_eq!(served.ask(&served.token(), "GET", path, "").status, 200);
    drop(idle);
}

#[test]
fn health_and_metrics_tell_of_requests_and_of_no_key() {
    let served = Served::new(&[]);
    let get = |path: &str| {
        served.http(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ))
    };
    assert_eq!(get("/healthz").body, "ok\n");
    assert_eq!(
        served
            .ask(
                &served.token(),
                "GET",
                "/keys/customer-key?api-version=7.4",
                ""
            )
            .status,
        200
    );
    let metrics = get("/metrics").body;
    let counted = r#"atrest_requests_total{service="vault",operation="KeyGet",status="200"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
    assert!(!metrics.contains("customer-key"), "{metrics}");
}

#[test]
fn a_token_and_a_trusted_certificate_outlive_a_restart() {
    let mut served = Served::new(&[]);
    let (token, header) = (served.token(), served.identity_header().to_owned());
    let ca = std::fs::read(served.ca_file()).unwrap();
    assert_eq!(served.stop(), Some(0));
    let dir = std::mem::replace(&mut served.dir, tempfile::tempdir().unwrap());
    let again = Served::at(dir, &[]);
    assert_eq!(
        again
            .ask(&token, "GET", "/keys/customer-key?api-version=7.4", "")
            .status,
        200
    );
    assert_eq!(again.identity_header(), header);
    assert_eq!(std::fs::read(again.ca_file()).unwrap(), ca);
}

#[test]
fn env_prints_what_leads_to_the_server_that_runs_and_nothing_else() {
    let dir = workspace();
    let env = |args: &[&str]| atrest(dir.path(), args).output().unwrap();
    assert_eq!(env(&["env"]).status.code(), Some(2), "no server runs");
    let path = dir.path().to_owned();
    let mut served = Served::at(dir, &[]);
    let env = |args: &[&str]| {
        let ran = atrest(&path, args).output().unwrap();
        (ran.status.code(), String::from_utf8(ran.stdout).unwrap())
    };
    let (code, text) = env(&["env"]);
    assert_eq!(code, Some(0));
    assert!(
        text.contains(&format!("export HTTPS_PROXY='http://{}'\n", served.address)),
        "{text}"
    );
    assert!(
        env(&["env", "--powershell"])
            .1
            .contains("$env:IDENTITY_HEADER = '")
    );
    let json: serde_json::Value = serde_json::from_str(&env(&["--json", "env"]).1).unwrap();
    assert_eq!(json, served.told);
    // Two servers of one working directory: which one `env` means would be chance.
    assert_eq!(env(&["serve", "--port", "0"]).0, Some(2));
    assert_eq!(served.stop(), Some(0));
    assert_eq!(env(&["env"]).0, Some(2), "the server is gone");
}

#[test]
fn with_ends_as_its_command_does() {
    let dir = workspace();
    let with = |script: &str| {
        let ran = atrest(dir.path(), &["with", "--", "sh", "-c", script])
            .output()
            .unwrap();
        (ran.status.code(), String::from_utf8(ran.stdout).unwrap())
    };
    assert_eq!(with("exit 0").0, Some(0));
    assert_eq!(with("exit 7").0, Some(7));
    assert_eq!(with("kill -9 $$").0, Some(137));
    let (code, text) =
        with("echo $HTTPS_PROXY $IDENTITY_ENDPOINT; test -s \"$REQUESTS_CA_BUNDLE\"");
    assert_eq!(code, Some(0));
    assert!(
        text.starts_with("http://127.0.0.1:") && text.contains("/msi/token"),
        "{text}"
    );
    let none = atrest(dir.path(), &["with", "--", "no-such-program"])
        .output()
        .unwrap();
    assert_eq!(none.status.code(), Some(2));
}

#[test]
fn a_vault_sealed_while_it_is_served_answers_again_once_it_is_unsealed() {
    let served = Served::new(&[]);
    let token = served.token();
    let key = || served.ask(&token, "GET", "/keys/customer-key?api-version=7.4", "");
    let words = served.dir.path().join("words");
    std::fs::write(&words, "correct horse battery\n").unwrap();
    let words = words.to_str().unwrap();
    let vault = |args: &[&str]| {
        let ran = atrest(served.dir.path(), &[&["vault"], args].concat())
            .args(["--passphrase-file", words])
            .output()
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
    };
    assert_eq!(key().status, 200);
    let seal = ["seal", "--new-passphrase-file", words];
    vault(&seal);
    for _ in 0..2 {
        let answer = key();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "ServiceUnavailable")
        );
        assert!(answer.head.contains("retry-after: "), "{}", answer.head);
    }
    vault(&["unseal"]);
    assert_eq!(key().status, 200);
    // Under a passphrase, which the server does not ask for, it stays out of reach.
    vault(&seal);
    assert_eq!(key().status, 503);
    vault(&["unseal", "--keep-passphrase"]);
    assert_eq!(key().status, 503);
}

#[test]
fn what_a_client_did_not_wait_for_is_done_and_told_all_the_same() {
    let served = Served::new(&[]);
    let token = served.token();
    let path = "/keys/left-behind/create?api-version=7.4";
    let create = request(&token, "POST", path, r#"{"kty":"RSA","key_size":4096}"#);
    let create = create.replace("Connection: close", "Expect: 100-continue");
    let (head, body) = create.split_at(create.find("\r\n\r\n").unwrap() + 4);
    let mut stream = served.tunnel(VAULT);
    stream.write_all(head.as_bytes()).unwrap();
    let mut begun = [0; 25];
    stream.read_exact(&mut begun).unwrap();
    assert_eq!(&begun, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).unwrap();
    // It does not wait for the answer.
    stream.sock.shutdown(Shutdown::Write).unwrap();
    let end = Instant::now() + Duration::from_secs(120);
    while !served.log().contains("KeyCreate") {
        assert!(Instant::now() < end, "{}", served.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let made = served.ask(&token, "GET", "/keys/left-behind?api-version=7.4", "");
    assert_eq!(made.status, 200);
}

#[test]
fn a_connection_through_the_proxy_is_counted_as_long_as_it_is_open() {
    let served = Served::new(&[]);
    let open = || {
        let asked = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let metrics = served.http(asked).body;
        let mut lines = metrics.lines();
        let line = lines.find_map(|line| line.strip_prefix("atrest_connections "));
        line.unwrap().parse::<u32>().unwrap()
    };
    let mut stream = served.tunnel(VAULT);
    let keep = format!("GET / HTTP/1.1\r\nHost: {VAULT}\r\n\r\n");
    stream.write_all(keep.as_bytes()).unwrap();
    stream.read_exact(&mut [0; 12]).unwrap();
    assert_eq!(open(), 2);
    drop(stream);
    let end = Instant::now() + Duration::from_secs(60);
    while open() != 1 {
        assert!(Instant::now() < end, "never closed");
    }
}
