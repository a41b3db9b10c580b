//! Blobs and the keys that they are under, on the wire.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::blobs::{HOST, PUT, error, served, signed};
use crate::client::*;

/// The three headers of a key that a client gives, in the order in which they are signed.
pub fn headers(key: &[u8; 32]) -> [String; 3] {
    [
        "x-ms-encryption-algorithm:AES256".to_owned(),
        format!("x-ms-encryption-key:{}", STANDARD.encode(key)),
        format!(
            "x-ms-encryption-key-sha256:{}",
            STANDARD.encode(Sha256::digest(key))
        ),
    ]
}

pub fn ask(
    served: &Served,
    key: &str,
    method: &str,
    path: &str,
    headers: &[String],
    body: &str,
) -> Answer {
    let mut all: Vec<&str> = headers.iter().map(String::as_str).collect();
    if method == "PUT" && !path.contains("comp=") {
        all.extend(PUT);
    }
    served.proxied(
        HOST,
        &signed(key, method, path, &all, body, |request| request),
    )
}

#[test]
fn blob_under_a_key_of_its_client_is_answered_to_that_key_only_and_says_so() {
    let (served, key) = served();
    let (mine, other, none) = (headers(&[1; 32]), headers(&[2; 32]), Vec::new());
    let ask = |method: &str, path: &str, headers: &[String], body: &str| {
        ask(&served, &key, method, path, headers, body)
    };
    let sha256 = format!(
        "x-ms-encryption-key-sha256: {}",
        STANDARD.encode(Sha256::digest([1; 32]))
    );
    let put = ask("PUT", "/default/a", &mine, "data");
    assert_eq!(put.status, 201, "{put:?}");
    assert!(put.head.contains(&sha256) && put.head.contains("x-ms-request-server-encrypted: true"));
    assert_eq!(ask("PUT", "/default/b", &none, "data").status, 201);
    let list = "<BlockList><Latest>QUFB</Latest></BlockList>";
    let block = ask("PUT", "/default/c?blockid=QUFB&comp=block", &mine, "data");
    assert_eq!(block.status, 201, "{block:?}");
    assert!(block.head.contains(&sha256));
    let listed = ask("PUT", "/default/c?comp=blocklist", &mine, list);
    assert_eq!(listed.status, 201, "{listed:?}");
    assert!(listed.head.contains(&sha256));
    for (method, path) in [
        ("GET", "/default/a"),
        ("GET", "/default/c"),
        ("HEAD", "/default/a"),
        ("GET", "/default/a?comp=metadata"),
        ("PUT", "/default/a?comp=metadata"),
    ] {
        let needed = (409, "BlobUsesCustomerSpecifiedEncryption");
        assert_eq!(
            error(&ask(method, path, &none, "")),
            needed,
            "{method} {path}"
        );
        let mismatch = (409, "BlobCustomerSpecifiedEncryptionMismatch");
        assert_eq!(
            error(&ask(method, path, &other, "")),
            mismatch,
            "{method} {path}"
        );
        let answer = ask(method, path, &mine, "");
        assert_eq!(answer.status, 200, "{method} {path} {answer:?}");
        assert!(answer.head.contains(&sha256), "{method} {path} {answer:?}");
        let unused = (409, "BlobDoesNotUseCustomerSpecifiedEncryption");
        let path = path.replace("/a", "/b").replace("/c", "/b");
        assert_eq!(
            error(&ask(method, &path, &mine, "")),
            unused,
            "{method} {path}"
        );
    }
    assert_eq!(ask("GET", "/default/a", &mine, "").body, "data");
    // Who gives no key sees which one it is, and no metadata.
    let list = ask(
        "GET",
        "/default?comp=list&include=metadata&restype=container",
        &none,
        "",
    );
    let named = format!(
        "<CustomerProvidedKeySha256>{}</CustomerProvidedKeySha256>",
        STANDARD.encode(Sha256::digest([1; 32]))
    );
    assert_eq!(list.body.matches(&named).count(), 2, "{}", list.body);
    assert_eq!(
        list.body.matches("<Metadata Encrypted=\"true\">").count(),
        2,
        "{}",
        list.body
    );
    // Blocks are told, and the blob deleted, without it.
    assert!(
        ask("GET", "/default/c?comp=blocklist", &none, "")
            .body
            .contains("<Size>4</Size>")
    );
    assert_eq!(ask("DELETE", "/default/a", &none, "").status, 202);
    // The key is not in the log.
    assert!(!served.log().contains(&STANDARD.encode([1; 32])));
}

#[test]
fn key_that_is_not_what_its_headers_say_is_refused_and_nothing_is_stored() {
    let (served, key) = served();
    let right = headers(&[1; 32]);
    let with = |at: usize, value: &str| {
        let mut headers = right.clone();
        let name = headers[at].split_once(':').unwrap().0.to_owned();
        headers[at] = format!("{name}:{value}");
        headers.to_vec()
    };
    let without = |at: usize| {
        let mut headers = right.to_vec();
        headers.remove(at);
        headers
    };
    let put = |headers: &[String]| ask(&served, &key, "PUT", "/default/a", headers, "data");
    for headers in [
        with(0, "AES128"),
        with(0, "aes256"),
        with(1, &STANDARD.encode([1; 31])),
        with(1, &STANDARD.encode([1; 33])),
        with(1, "no base64!"),
        with(1, &STANDARD.encode([2; 32])),
        with(2, &STANDARD.encode([0; 32])),
        with(2, "x"),
    ] {
        assert_eq!(
            error(&put(&headers)),
            (400, "InvalidHeaderValue"),
            "{headers:?}"
        );
    }
    for at in 0..3 {
        assert_eq!(
            error(&put(&without(at))),
            (400, "MissingRequiredHeader"),
            "{at}"
        );
    }
    let found = ask(&served, &key, "GET", "/default/a", &[], "");
    assert_eq!(error(&found), (404, "BlobNotFound"));
    assert_eq!(put(&right).status, 201);
}
