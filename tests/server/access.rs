//! Who may what, and where.

use std::io::{Read, Write};

use crate::client::*;
use crate::vaults::{PAYROLL, made};

const KEY: &str = "/keys/customer-key?api-version=7.4";
const KIND: &str = r#"{"kty":"oct","key_size":256}"#;

/// A server whose managed identity is `app`, which may nothing yet.
fn served_to_app() -> Served {
    let dir = workspace();
    made(dir.path(), &["vault", "create", "payroll"]);
    made(dir.path(), &["identity", "add", "app"]);
    for vault in ["customer", "payroll"] {
        let create = [
            "--quiet", "key", "--vault", vault, "create", "wages", "--kind", "oct-256",
        ];
        made(dir.path(), &create);
    }
    Served::at(dir, &["--identity", "app"])
}

fn refusal(answer: &Answer) -> (u16, String) {
    let inner = answer.json()["error"]["innererror"]["code"].clone();
    (answer.status, inner.as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_role_for_one_key_opens_no_other_and_no_list() {
    let served = served_to_app();
    let (dir, token) = (served.dir.path(), served.token());
    let by_role = (403, "ForbiddenByRbac".to_owned());
    let wages = "/keys/wages?api-version=7.4";
    assert_eq!(refusal(&served.ask(&token, "GET", wages, "")), by_role);
    let role = ["--role", "Key Vault Crypto Officer"];
    let scope = ["--scope", "payroll/keys/wages"];
    made(
        dir,
        &[&["identity", "grant", "app"][..], &role, &scope].concat(),
    );
    let in_payroll =
        |method: &str, path: &str, body: &str| served.ask_at(PAYROLL, &token, method, path, body);
    assert_eq!(in_payroll("GET", wages, "").status, 200);
    let path = "/keys/wages/create?api-version=7.4";
    assert_eq!(in_payroll("POST", path, KIND).status, 200);
    for (method, path) in [
        ("GET", "/keys?api-version=7.4"),
        ("GET", "/deletedkeys?api-version=7.4"),
        ("POST", "/keys/other/create?api-version=7.4"),
        ("POST", "/keys/restore?api-version=7.4"),
        ("GET", "/secrets/wages?api-version=7.4"),
    ] {
        assert_eq!(refusal(&in_payroll(method, path, KIND)), by_role, "{path}");
    }
    assert_eq!(refusal(&served.ask(&token, "GET", wages, "")), by_role);

    // The vault's scope is wider; taken away, nothing is left, at once.
    let wider = ["--scope", "payroll"];
    made(
        dir,
        &[&["identity", "grant", "app"][..], &role, &wider].concat(),
    );
    assert_eq!(in_payroll("GET", "/keys?api-version=7.4", "").status, 200);
    assert_eq!(refusal(&served.ask(&token, "GET", wages, "")), by_role);
    made(
        dir,
        &[&["identity", "revoke", "app"][..], &role, &wider].concat(),
    );
    made(
        dir,
        &[&["identity", "revoke", "app"][..], &role, &scope].concat(),
    );
    assert_eq!(refusal(&in_payroll("GET", wages, "")), by_role);
}

#[test]
fn a_role_taken_away_while_a_request_is_sent_is_missed_at_its_end() {
    let served = served_to_app();
    let (dir, token) = (served.dir.path(), served.token());
    let role = ["--role", "Key Vault Crypto User", "--scope", "customer"];
    let change = |what: &str| made(dir, &[&["identity", what, "app"][..], &role].concat());
    let path = "/keys/wages//wrapkey?api-version=7.4";
    let wrap = request(
        &token,
        "POST",
        path,
        r#"{"alg":"A256KW","value":"AAAAAAAAAAAAAAAAAAAAAA"}"#,
    );
    let wrap = wrap.replace(
        "Connection: close",
        "Connection: close\r\nExpect: 100-continue",
    );
    let (head, body) = wrap.split_at(wrap.find("\r\n\r\n").unwrap() + 4);
    for (meanwhile, status) in [("grant", "200"), ("revoke", "403")] {
        // What else changes takes nothing away.
        if meanwhile == "grant" {
            change("grant");
        }
        let mut stream = served.tunnel(VAULT);
        stream.write_all(head.as_bytes()).unwrap();
        let mut begun = [0; 25];
        stream.read_exact(&mut begun).unwrap();
        assert_eq!(&begun, b"HTTP/1.1 100 Continue\r\n\r\n");
        match meanwhile {
            "grant" => made(dir, &["identity", "add", "somebody"]),
            _ => change("revoke"),
        }
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
}

#[test]
fn where_access_policies_decide_no_role_opens_anything() {
    let served = served_to_app();
    let (dir, token) = (served.dir.path(), served.token());
    made(
        dir,
        &[
            "identity",
            "grant",
            "app",
            "--role",
            "Key Vault Administrator",
        ],
    );
    let wages = "/keys/wages?api-version=7.4";
    assert_eq!(served.ask(&token, "GET", KEY, "").status, 200);
    made(dir, &["identity", "model", "payroll", "access-policy"]);
    let in_payroll =
        |method: &str, path: &str, body: &str| served.ask_at(PAYROLL, &token, method, path, body);
    let by_policy = (403, "ForbiddenByPolicy".to_owned());
    let refused = in_payroll("GET", wages, "");
    assert_eq!(refusal(&refused), by_policy);
    assert!(
        refused
            .body
            .contains("does not have keys get permission on key vault"),
        "{refused:?}"
    );
    // The other vault is as it was.
    assert_eq!(served.ask(&token, "GET", KEY, "").status, 200);

    let policy = ["identity", "policy", "payroll", "app", "--keys", "get,list"];
    made(dir, &[&policy[..], &["--secrets", "set"]].concat());
    assert_eq!(in_payroll("GET", wages, "").status, 200);
    assert_eq!(in_payroll("GET", "/keys?api-version=7.4", "").status, 200);
    let set = in_payroll("PUT", "/secrets/a?api-version=7.4", r#"{"value":"b"}"#);
    assert_eq!(set.status, 200, "{set:?}");
    for (method, path) in [
        ("POST", "/keys/wages/create?api-version=7.4"),
        ("POST", "/keys/wages//wrapkey?api-version=7.4"),
        ("DELETE", "/keys/wages?api-version=7.4"),
        ("GET", "/secrets/a?api-version=7.4"),
        ("GET", "/secrets?api-version=7.4"),
    ] {
        assert_eq!(
            refusal(&in_payroll(method, path, KIND)),
            by_policy,
            "{path}"
        );
    }
    made(dir, &["identity", "policy", "payroll", "app"]);
    assert_eq!(refusal(&in_payroll("GET", wages, "")), by_policy);
    made(dir, &["identity", "model", "payroll", "rbac"]);
    assert_eq!(in_payroll("GET", wages, "").status, 200);
}

#[test]
fn how_long_each_step_takes_is_told_only_by_a_server_started_for_it_and_to_who_asks() {
    for (args, is_started_for_it) in [(&[][..], false), (&["--timing"][..], true)] {
        let served = Served::new(args);
        let plain = request(&served.token(), "GET", KEY, "");
        let asking = plain.replace("\r\nHost:", "\r\nAtrest-Timing: 1\r\nHost:");
        for (request, asks) in [(plain, false), (asking, true)] {
            let answer = served.https(VAULT, &request);
            assert_eq!(answer.status, 200, "{answer:?}");
            let head = answer.head.to_ascii_lowercase();
            let is_told = head.contains("\r\nserver-timing: ");
            assert_eq!(is_told, is_started_for_it && asks, "{answer:?}");
            let right = head.split("right;dur=").nth(1);
            let right = right.and_then(|rest| rest.split(", ").next());
            // Who asks; whether he may, before and after the body came.
            assert_eq!(
                is_told,
                right.is_some_and(|right| right.ends_with(";desc=3"))
            );
        }
    }
}
