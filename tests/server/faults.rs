//! Limits, failures on purpose, and what no software vault can do.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::client::*;

const KEY: &str = "/keys/customer-key?api-version=7.4";
const WRAP: &str = "/keys/customer-key//wrapkey?api-version=7.4";
const WRAP_BODY: &str = r#"{"alg":"RSA-OAEP-256","value":"AAAA"}"#;

fn metrics(served: &Served) -> String {
    let asked = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    served.http(asked).body
}

/// How many uses of the customer's key the vault recorded as done.
fn wraps(served: &Served) -> usize {
    let ran = atrest(
        served.dir.path(),
        &["--json", "audit", "list", "--operation", "KeyWrap"],
    )
    .output()
    .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let records: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let records = records.as_array().unwrap().iter();
    records
        .filter(|record| record["resultType"] == "Success")
        .count()
}

#[test]
fn who_asks_more_than_the_limit_is_told_to_wait_and_others_are_not() {
    let served = Served::new(&["--throttle=0.0001"]);
    let token = served.token();
    // One in ten seconds: within a few of them one comes too early, on however slow a machine.
    let refused = (0..1000).find_map(|_| {
        let answer = served.ask(&token, "GET", KEY, "");
        (answer.status != 200).then_some(answer)
    });
    let refused = refused.expect("no limit");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "Throttled")
    );
    let wait = refused
        .head
        .lines()
        .find_map(|line| line.strip_prefix("retry-after: "));
    assert!(
        (1..=10).contains(&wait.unwrap().parse().unwrap()),
        "{wait:?}"
    );
    // Another class of transactions, and who may not do it at all.
    assert_eq!(
        served
            .ask(&token, "GET", "/secrets?api-version=7.4", "")
            .status,
        200
    );
    assert_eq!(served.ask("none", "GET", KEY, "").status, 401);

    let served = Served::new(&[]);
    let token = served.token();
    for _ in 0..30 {
        assert_eq!(served.ask(&token, "GET", KEY, "").status, 200);
    }
}

#[test]
fn an_injected_fault_is_before_the_operation_or_after_it_and_never_hidden() {
    let served = Served::new(&[
        "--inject=wrapKey=503:#2",
        "--inject=KeyWrap@customer-key=after-500:#3",
        "--inject-seed=1",
    ]);
    let token = served.token();
    let mut done = vec![];
    for _ in 0..6 {
        let answer = served.ask(&token, "POST", WRAP, WRAP_BODY);
        if answer.status != 200 {
            assert!(answer.body.contains("Injected by"), "{answer:?}");
        }
        done.push((answer.status, wraps(&served)));
    }
    // The third was done, although its answer says otherwise; the second, fourth and sixth were not.
    assert_eq!(
        done,
        [(200, 1), (503, 1), (500, 2), (503, 2), (200, 3), (503, 3)]
    );
    assert_eq!(
        served.ask(&token, "GET", KEY, "").status,
        200,
        "no rule names it"
    );
    let counted = r#"atrest_injected_total{operation="KeyWrap",fault="status"} 4"#;
    assert!(metrics(&served).contains(counted), "{}", metrics(&served));
    let log = served.log();
    let told = log.matches(r#""injected":"wrapKey=503:#2""#).count();
    assert_eq!(told, 3, "{log}");
    assert!(log.contains("--inject-seed 1"), "{log}");
}

#[test]
fn a_lost_connection_and_a_late_answer_are_what_they_say() {
    let served = Served::new(&[
        "--inject=wrapKey=reset:#2",
        "--inject=wrapKey=after-reset:#3",
        "--inject=KeyGet=delay:300ms",
    ]);
    let token = served.token();
    let done: Vec<_> = (0..3)
        .map(|_| {
            (
                served.ask(&token, "POST", WRAP, WRAP_BODY).status,
                wraps(&served),
            )
        })
        .collect();
    assert_eq!(done, [(200, 1), (0, 1), (0, 2)], "0: no answer");
    let begun = Instant::now();
    assert_eq!(served.ask(&token, "GET", KEY, "").status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_rule_that_cannot_be_meant_stops_the_server_before_it_starts() {
    let dir = workspace();
    for (option, why) in [
        ("--inject=unwrapKy=503", "is no operation"),
        ("--inject=unwrapKey=200", "is no fault"),
        ("--inject=unwrapKey=503:5", "is no fault"),
        ("--inject=unwrapKey=503:0%", "is no rate"),
        ("--throttle=0", "is no part of Azure's limits"),
    ] {
        let ran = atrest(dir.path(), &["with", option, "--", "true"])
            .output()
            .unwrap();
        assert_eq!(ran.status.code(), Some(2), "{option}");
        let told = String::from_utf8(ran.stderr).unwrap();
        assert!(told.contains(why), "{option}: {told}");
    }
    let ran = atrest(
        dir.path(),
        &["with", "--inject=unwrapKey=503:5%", "--", "true"],
    );
    assert!({ ran }.status().unwrap().success());
}

#[test]
fn random_bytes_are_as_many_as_were_asked_for() {
    let served = Served::new(&[]);
    let token = served.token();
    let rng = |body: &str| served.ask(&token, "POST", "/rng?api-version=7.4", body);
    let bytes = |count: usize| {
        let value = rng(&format!(r#"{{"count":{count}}}"#)).json()["value"].clone();
        URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
    };
    for count in [1, 32, 128] {
        assert_eq!(bytes(count).len(), count);
    }
    assert_ne!(bytes(32), bytes(32));
    for body in [
        r#"{"count":0}"#,
        r#"{"count":129}"#,
        r#"{"count":-1}"#,
        "{}",
    ] {
        let answer = rng(body);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "BadParameter"),
            "{body}"
        );
    }
}

#[test]
fn what_needs_hardware_is_refused_and_not_made_up() {
    let served = Served::new(&[]);
    let token = served.token();
    for (method, operation) in [
        ("GET", "attestation"),
        ("POST", "release"),
        ("POST", "securewrapkey"),
        ("POST", "secureunwrapkey"),
    ] {
        let ask = |name: &str| {
            let path = format!("/keys/{name}//{operation}?api-version=7.6-preview.2");
            let answer = served.ask(&token, method, &path, "{}");
            (answer.status, answer.code())
        };
        assert_eq!(
            ask("customer-key"),
            (403, "Forbidden".into()),
            "{operation}"
        );
        assert_eq!(ask("nothing"), (404, "KeyNotFound".into()), "{operation}");
    }
    let audit = ["--json", "audit", "list", "--operation", "KeyRelease"];
    let ran = atrest(served.dir.path(), &audit).output().unwrap();
    let records: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let told = |n: usize| {
        let record = &records[n];
        let code = record["resultSignature"].as_str().unwrap();
        let described = !record["resultDescription"].as_str().unwrap().is_empty();
        (record["httpStatus"].as_u64(), code.to_owned(), described)
    };
    assert_eq!(told(0), (Some(403), "Forbidden".into(), true));
    assert_eq!(told(1), (Some(404), "KeyNotFound".into(), true));
}
