//! What is told of keys and secrets, by whomever they were changed.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::*;

fn read(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.lines().filter(|line| line.ends_with('}'));
    whole
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn eventually<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        match look() {
            Some(found) => return found,
            None => assert!(Instant::now() < end, "never: {what}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn run(dir: &Path, args: &[&str]) {
    let ran = atrest(dir, args).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
}

#[test]
fn a_change_by_the_command_line_is_told_and_nothing_is_told_again_after_a_restart() {
    let dir = workspace();
    let (path, told) = (dir.path().to_owned(), dir.path().join("events"));
    let option = format!("--events={}", told.display());
    let has = |kind: &str, name: &str| {
        let found = read(&told)
            .into_iter()
            .find(|e| e["type"] == kind && e["subject"] == name);
        found.filter(|event| event["data"]["ObjectName"] == name)
    };
    let mut served = Served::at(dir, &[&option]);
    eventually("a first look", || {
        fs::metadata(path.join("server/events.json")).ok()
    });
    assert_eq!(read(&told), [Value::Null; 0], "what was there before");
    run(
        &path,
        &[
            "key",
            "create",
            "soon",
            "--kind",
            "ec-p256",
            "--expires",
            "2027-01-31",
        ],
    );
    run(&path, &["key", "disable", "customer-key"]);
    let made = eventually("a new key", || {
        has("Microsoft.KeyVault.KeyNewVersionCreated", "soon")
    });
    assert_eq!(made["specversion"], "1.0");
    assert_eq!(made["data"]["VaultName"], "customer");
    assert_eq!(made["data"]["EXP"], 1_801_353_600);
    assert_eq!(made["data"]["NBF"], Value::Null);
    let id = made["data"]["Id"].as_str().unwrap();
    assert!(
        id.starts_with("https://customer.vault.azure.net/keys/soon/"),
        "{id}"
    );
    assert!(
        id.ends_with(made["data"]["Version"].as_str().unwrap()),
        "{id}"
    );
    eventually("disabled", || {
        has("Atrest.KeyVault.KeyDisabled", "customer-key")
    });
    run(&path, &["identity", "model", "customer", "access-policy"]);
    eventually("access by policies", || {
        has("Microsoft.KeyVault.VaultAccessPolicyChanged", "customer")
    });
    let set = r#"{"value":"v"}"#;
    assert_eq!(
        served
            .ask(&served.token(), "PUT", "/secrets/s?api-version=7.4", set)
            .status,
        200
    );
    // The last look is when it stops.
    assert_eq!(served.stop(), Some(0));
    assert!(has("Microsoft.KeyVault.SecretNewVersionCreated", "s").is_some());
    run(&path, &["key", "delete", "soon"]);

    let dir = std::mem::replace(&mut served.dir, tempfile::tempdir().unwrap());
    let mut served = Served::at(dir, &[&option]);
    eventually("deleted", || has("Atrest.KeyVault.KeyDeleted", "soon"));
    // Two servers that tell of one vault would tell everything twice.
    let second = atrest(&path, &["with", &option, "--", "true"])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(2), "{second:?}");
    assert_eq!(served.stop(), Some(0));
    let all = read(&told);
    let ids: BTreeSet<_> = all.iter().map(|e| e["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), all.len(), "told twice: {all:?}");
}

#[test]
fn a_webhook_that_fails_at_first_gets_the_event_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let option = format!(
        "--events=http://{}/hook?a=b",
        listener.local_addr().unwrap()
    );
    let served = Served::new(&[&option]);
    eventually("a first look", || {
        fs::metadata(served.dir.path().join("server/events.json")).ok()
    });
    run(
        served.dir.path(),
        &["key", "create", "k", "--kind", "ec-p256"],
    );
    let mut got = vec![];
    for answer in ["500 Internal Server Error", "200 OK"] {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            reader.read_line(&mut head).unwrap();
        }
        for line in head.lines() {
            let line = line.to_ascii_lowercase();
            length = line
                .strip_prefix("content-length: ")
                .map_or(length, |n| n.parse().unwrap());
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("application/cloudevents+json"), "{head}");
        got.push(serde_json::from_slice::<Value>(&body).unwrap());
    }
    assert_eq!(got[0]["id"], got[1]["id"]);
    assert_eq!(got[0]["type"], "Microsoft.KeyVault.KeyNewVersionCreated");
}

#[test]
fn a_webhook_that_is_gone_keeps_no_request_waiting_and_its_events_are_counted_as_dropped() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let served = Served::new(&[&format!("--events=http://{free}/")]);
    eventually("a first look", || {
        fs::metadata(served.dir.path().join("server/events.json")).ok()
    });
    let token = served.token();
    let create = "/keys/k/create?api-version=7.4";
    assert_eq!(
        served.ask(&token, "POST", create, r#"{"kty":"EC"}"#).status,
        200
    );
    eventually("dropped", || {
        let asked = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        served
            .http(asked)
            .body
            .contains("atrest_events_dropped_total 1")
            .then_some(())
    });
    assert!(
        served.log().contains("an event was dropped"),
        "{}",
        served.log()
    );
}

#[test]
fn a_webhook_whom_nobody_vouches_for_is_told_nothing() {
    // It takes TLS, and answers what it is not asked for with 401.
    let hook = Served::new(&[]);
    let option = format!("--events=https://localhost:{}/", hook.address.port());
    let other = Served::new(&[]);
    for (certificate, why) in [
        (hook.ca_file(), "the webhook answered 401 Unauthorized"),
        (other.ca_file(), "invalid peer certificate"),
    ] {
        let served = Served::trusting(workspace(), &[&option], Some(&certificate));
        eventually("a first look", || {
            fs::metadata(served.dir.path().join("server/events.json")).ok()
        });
        run(
            served.dir.path(),
            &["key", "create", "k", "--kind", "ec-p256"],
        );
        eventually(why, || served.log().contains(why).then_some(()));
    }
}
