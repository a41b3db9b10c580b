//! The audit log of requests: each one has its record, in the shape of Azure's logs.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::panic::AssertUnwindSafe;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::*;

/// The log as `atrest audit list --jsonl` prints it, without what was there before the server.
fn log(served: &Served, args: &[&str]) -> Vec<Value> {
    let mut all = vec!["audit", "list", "--jsonl"];
    all.extend(args);
    let out = atrest(served.dir.path(), &all).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let text = String::from_utf8(out.stdout).unwrap();
    let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
    events.collect()
}

fn told(event: &Value) -> (String, u64) {
    let name = event["operationName"].as_str().unwrap().to_owned();
    let status = &event["properties"]["httpStatusCode"];
    (name, status.as_u64().unwrap_or_default())
}

#[test]
fn every_request_has_one_record_whatever_became_of_it() {
    let served = Served::new(&[]);
    let before = log(&served, &[]).len();
    let token = served.token();
    let key = "/keys/customer-key";
    let v = "?api-version=7.4";
    let body = |value: &str| format!(r#"{{"alg":"RSA-OAEP-256","value":"{value}"}}"#);
    let asked: &[(&str, &str, String, String, u16, &str)] = &[
        (
            "",
            "GET",
            format!("/keys{v}"),
            String::new(),
            401,
            "Authentication",
        ),
        (
            "no.valid.token",
            "GET",
            format!("/keys{v}"),
            String::new(),
            401,
            "Authentication",
        ),
        (
            &token,
            "GET",
            format!("/keys{v}"),
            String::new(),
            200,
            "KeyList",
        ),
        (
            &token,
            "GET",
            format!("{key}/versions{v}"),
            String::new(),
            200,
            "KeyListVersions",
        ),
        (
            &token,
            "GET",
            format!("{key}{v}"),
            String::new(),
            200,
            "KeyGet",
        ),
        (
            &token,
            "GET",
            format!("/keys/none{v}"),
            String::new(),
            404,
            "KeyGet",
        ),
        (&token, "GET", key.to_owned(), String::new(), 400, "KeyGet"),
        (
            &token,
            "GET",
            format!("/nothing{v}"),
            String::new(),
            404,
            "Unknown",
        ),
        (
            &token,
            "PUT",
            format!("/keys{v}"),
            String::new(),
            405,
            "Unknown",
        ),
        (
            &token,
            "POST",
            format!("{key}//wrapkey{v}"),
            body("AAAA"),
            200,
            "KeyWrap",
        ),
        (
            &token,
            "POST",
            format!("{key}//unwrapkey{v}"),
            body("AAAA"),
            400,
            "KeyUnwrap",
        ),
        (
            &token,
            "POST",
            format!("{key}//wrapkey{v}"),
            "{".into(),
            400,
            "KeyWrap",
        ),
        (
            &token,
            "POST",
            format!("/keys/k/create{v}"),
            r#"{"kty":"oct"}"#.into(),
            200,
            "KeyCreate",
        ),
        (
            &token,
            "DELETE",
            format!("/keys/k{v}"),
            String::new(),
            200,
            "KeyDelete",
        ),
        (
            &token,
            "GET",
            format!("/deletedkeys{v}"),
            String::new(),
            200,
            "KeyListDeleted",
        ),
        (
            &token,
            "DELETE",
            format!("/deletedkeys/k{v}"),
            String::new(),
            204,
            "KeyPurge",
        ),
        (
            &token,
            "PUT",
            format!("/secrets/s{v}"),
            r#"{"value":"x"}"#.into(),
            200,
            "SecretSet",
        ),
        (
            &token,
            "GET",
            format!("/secrets/s{v}"),
            String::new(),
            200,
            "SecretGet",
        ),
        (
            &token,
            "GET",
            format!("/secrets{v}"),
            String::new(),
            200,
            "SecretList",
        ),
        (
            &token,
            "GET",
            format!("{key}/rotationpolicy{v}"),
            String::new(),
            200,
            "KeyRotationPolicyGet",
        ),
    ];
    let mut expected = vec![];
    let mut ids = vec![];
    for (token, method, path, body, status, operation) in asked {
        let answer = served.ask(token, method, path, body);
        assert_eq!(answer.status, *status, "{method} {path}: {answer:?}");
        expected.push(((*operation).to_owned(), u64::from(*status)));
        ids.push(id(&answer).unwrap());
    }
    let events = log(&served, &[]).split_off(before);
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), expected);
    for (event, id) in events.iter().zip(&ids) {
        assert_eq!(event["correlationId"], *id);
        let done = told(event).1 < 400;
        assert_eq!(event["resultType"], if done { "Success" } else { "Failed" });
        assert_eq!(
            event["resultDescription"].as_str().unwrap().is_empty(),
            done
        );
    }
    // One as a whole: the members of Azure's records, and no others.
    let wrap = &events[9];
    let members: BTreeSet<_> = wrap
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        members,
        BTreeSet::from([
            "time",
            "resourceId",
            "operationName",
            "operationVersion",
            "category",
            "resultType",
            "resultSignature",
            "resultDescription",
            "durationMs",
            "callerIpAddress",
            "correlationId",
            "identity",
            "properties",
        ])
    );
    assert_eq!(wrap["category"], "AuditEvent");
    assert_eq!(wrap["operationVersion"], "7.4");
    assert_eq!(wrap["resultSignature"], "OK");
    assert_eq!(wrap["callerIpAddress"], "127.0.0.1");
    wrap["durationMs"].as_str().unwrap().parse::<u64>().unwrap();
    let claim = &wrap["identity"]["claim"];
    assert_eq!(claim["upn"], "administrator");
    assert_eq!(claim["oid"].as_str().unwrap().len(), 36);
    assert_eq!(claim["appid"].as_str().unwrap().len(), 36);
    let properties = &wrap["properties"];
    let id = properties["id"].as_str().unwrap();
    assert!(
        id.starts_with("https://customer.vault.azure.net/keys/customer-key/"),
        "{id}"
    );
    assert_eq!(properties["algorithm"], "RSA-OAEP-256");
    assert_eq!(
        properties["requestUri"],
        "https://customer.vault.azure.net/keys/customer-key//wrapkey?api-version=7.4"
    );
    assert_eq!(events[10]["resultSignature"], "Bad Request");
    assert_eq!(events[0]["identity"]["claim"], serde_json::json!({}));
    // The filters.
    assert_eq!(log(&served, &["--status", "405"]).len(), 1);
    assert_eq!(
        log(&served, &["--status", "405", "--address", "192.0.2.1"]).len(),
        0
    );
    assert_eq!(
        log(&served, &["--address", "127.0.0.1"]).len(),
        events.len()
    );
    assert_eq!(
        log(&served, &["--correlation-id", &ids[9]]),
        std::slice::from_ref(wrap)
    );
    assert_eq!(log(&served, &["--secret", "s"]).len(), 2);
    let oid = claim["oid"].as_str().unwrap();
    assert_eq!(log(&served, &["--identity", oid]).len(), events.len() - 2);
    let newest = log(&served, &["--limit", "3"]);
    assert_eq!(newest, events[events.len() - 3..]);
    let verify = atrest(served.dir.path(), &["audit", "verify"])
        .output()
        .unwrap();
    assert!(verify.status.success(), "{verify:?}");
}

/// What a client finds its request by.
fn id(answer: &Answer) -> Option<String> {
    let mut lines = answer.head.lines();
    lines.find_map(|line| line.strip_prefix("x-ms-request-id: ").map(str::to_owned))
}

#[test]
fn what_a_killed_server_answered_is_recorded() {
    let mut served = Served::new(&[]);
    let token = served.token();
    let answered = Mutex::new(vec![]);
    let body = r#"{"alg":"RSA-OAEP-256","value":"AAAA"}"#;
    let pid = served.pid();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (served, token, answered) = (&served, &token, &answered);
            scope.spawn(move || {
                loop {
                    let path = match n {
                        0 => "/keys?api-version=7.4",
                        _ => "/keys/customer-key//wrapkey?api-version=7.4",
                    };
                    let method = if n == 0 { "GET" } else { "POST" };
                    let asked = || served.ask(token, method, path, body);
                    // Once it is killed, a connection fails somewhere.
                    let Ok(answer) = std::panic::catch_unwind(AssertUnwindSafe(asked)) else {
                        return;
                    };
                    match (answer.status, id(&answer)) {
                        (200, Some(id)) => answered.lock().unwrap().push(id),
                        (0, _) => return,
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
        while answered.lock().unwrap().len() < 60 {
            std::thread::sleep(Duration::from_millis(5));
        }
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    });
    served.wait();
    let recorded: BTreeSet<_> = log(&served, &[])
        .iter()
        .map(|event| event["correlationId"].as_str().unwrap().to_owned())
        .collect();
    let answered = answered.into_inner().unwrap();
    assert!(answered.len() >= 60);
    for id in answered {
        assert!(
            recorded.contains(&id),
            "{id} was answered and is not recorded"
        );
    }
    let verify = atrest(served.dir.path(), &["audit", "verify"])
        .output()
        .unwrap();
    assert!(verify.status.success(), "{verify:?}");
}

#[test]
fn who_has_no_token_does_not_fill_the_log() {
    let begun = Instant::now();
    let mut served = Served::new(&[]);
    let ask = || served.ask("", "GET", "/keys?api-version=7.4", "").status;
    for _ in 0..120 {
        assert_eq!(ask(), 401);
    }
    let records = |served: &Served| log(served, &["--operation", "Authentication"]);
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    let some = records(&served).len();
    assert!((60..=61 + seconds).contains(&some), "{some}");
    // What was left out is told when the server stops, at the latest.
    assert_eq!(served.stop(), Some(0));
    let all = records(&served);
    let told: u64 = all
        .iter()
        .filter_map(|event| {
            let text = event["resultDescription"].as_str().unwrap();
            let (_, rest) = text.split_once("one by one: ")?;
            rest.split(' ').next().unwrap().parse::<u64>().ok()
        })
        .sum();
    let alone = all
        .iter()
        .filter(|e| !e["properties"]["httpStatusCode"].is_null())
        .count();
    assert_eq!(alone as u64 + told, 120);
}

#[test]
fn new_records_are_followed_until_who_follows_is_stopped() {
    let served = Served::new(&[]);
    let token = served.token();
    let follow = [
        "audit",
        "list",
        "--jsonl",
        "--follow",
        "--operation",
        "KeyGet",
    ];
    let mut child = atrest(served.dir.path(), &follow)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        served.ask(&token, "GET", "/keys?api-version=7.4", "");
        served.ask(&token, "GET", "/keys/customer-key?api-version=7.4", "");
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(told(&event), ("KeyGet".to_owned(), 200));
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(child.try_wait().unwrap().is_none());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    child.wait().unwrap();
    assert!(lines.next().is_none());
    std::io::stdout().flush().unwrap();
}
