//! Storage accounts over plain HTTP: only where that was asked for, and only to this machine.

use crate::blobs::{HOST, PUT, by_signature, error, served_with, signed};
use crate::client::*;

const PATH: &str = "/documents/default/a";

#[test]
fn blobs_leave_over_plain_http_only_where_that_was_asked_for() {
    let put = |served: &Served, key: &str, host: &str| {
        let named = |request: String| request.replace(HOST, host);
        served.http(&signed(key, "PUT", PATH, PUT, "data", named))
    };
    let (served, key) = served_with(&[]);
    assert_eq!(put(&served, &key, "127.0.0.1").status, 405);

    let (served, key) = served_with(&["--plain-http"]);
    assert_eq!(put(&served, &key, "127.0.0.1").status, 201);
    let get = signed(&key, "GET", PATH, &[], "", |r| r.replace(HOST, "localhost"));
    assert_eq!(served.http(&get).body, "data");
    // A name that somebody points at this machine; a request that nobody signed.
    assert_eq!(put(&served, &key, "evil.example").status, 421);
    let forged = get.replace("SharedKey documents:", "SharedKey documents:A");
    assert_eq!(error(&served.http(&forged)), (403, "AuthenticationFailed"));
    // A signature that is for https only, and the control.
    let by = |protocol: &str| {
        by_signature(&key, ["GET", PATH], ["r", protocol], &[]).replace(HOST, "localhost")
    };
    let answer = served.http(&by("https"));
    assert_eq!(error(&answer), (403, "AuthorizationProtocolMismatch"));
    assert_eq!(served.https("localhost", &by("https")).body, "data");
    assert_eq!(served.http(&by("https,http")).body, "data");
}

#[test]
fn token_is_not_taken_over_plain_http() {
    let (served, _) = served_with(&["--plain-http"]);
    let token = served.token_for("https://storage.azure.com");
    let get = request(&token, "GET", PATH, "")
        .replace("\r\n\r\n", "\r\nx-ms-version: 2026-10-06\r\n\r\n");
    let get = get.replace(VAULT, "localhost");
    assert_eq!(error(&served.http(&get)), (403, "AuthenticationFailed"));
    // The control: over TLS it is.
    assert_eq!(
        error(&served.https("localhost", &get)),
        (404, "BlobNotFound")
    );
    let vault = "/keys/customer-key?api-version=7.4";
    let vault = request(&served.token(), "GET", vault, "").replace(VAULT, "localhost");
    assert_eq!(served.http(&vault).status, 404, "the vault stays at https");
}

#[test]
fn other_machines_are_never_served_over_plain_http() {
    let dir = workspace();
    let serve = ["serve", "--port", "0", "--plain-http", "--listen"];
    for address in ["0.0.0.0", "::"] {
        let ran = atrest(dir.path(), &[&serve[..], &[address]].concat())
            .output()
            .unwrap();
        let why = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(2), "{address}: {why}");
        assert!(why.contains("plain HTTP"), "{why}");
    }
}
