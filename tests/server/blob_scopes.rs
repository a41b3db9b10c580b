//! Encryption scopes on the wire.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::blob_keys::{ask, headers};
use crate::blobs::{HOST, error, served};
use crate::key_loss::{await_code, await_success, run};

#[test]
fn encryption_scope_is_answered_for_while_it_is_enabled_and_its_key_is_there() {
    let (served, key) = served();
    run(
        &served,
        &["key", "create", "payroll-key", "--kind", "rsa-2048"],
    );
    let scope = [
        "blob",
        "scope",
        "create",
        "documents",
        "payroll",
        "--key",
        "payroll-key",
    ];
    run(&served, &scope);
    run(
        &served,
        &[
            "blob",
            "scope",
            "create",
            "documents",
            "open",
            "--service-managed",
        ],
    );
    let ask = |method: &str, path: &str, headers: &[&str], body: &str| {
        let headers: Vec<String> = headers.iter().map(|h| (*h).to_owned()).collect();
        ask(&served, &key, method, path, &headers, body)
    };
    let payroll = "x-ms-encryption-scope:payroll";
    let put = ask("PUT", "/default/a", &[payroll], "data");
    assert_eq!(put.status, 201, "{put:?}");
    assert!(put.head.contains("x-ms-encryption-scope: payroll"));
    let got = ask("GET", "/default/a", &[], "");
    assert_eq!(got.body, "data");
    assert!(got.head.contains("x-ms-encryption-scope: payroll"));
    assert!(got.head.contains("x-ms-server-encrypted: true"));
    assert_eq!(ask("PUT", "/default/twin", &[], "data").status, 201);
    let list = ask("GET", "/default?comp=list&restype=container", &[], "").body;
    assert_eq!(
        list.matches("<EncryptionScope>payroll</EncryptionScope>")
            .count(),
        1,
        "{list}"
    );

    // A container of its own, which allows no other.
    let container = [
        "x-ms-default-encryption-scope:payroll",
        "x-ms-deny-encryption-scope-override:true",
    ];
    let made = ask("PUT", "/strict?restype=container", &container, "");
    assert_eq!(made.status, 201, "{made:?}");
    let told = ask("GET", "/strict?restype=container", &[], "").head;
    assert!(
        told.contains("x-ms-default-encryption-scope: payroll"),
        "{told}"
    );
    assert!(
        told.contains("x-ms-deny-encryption-scope-override: true"),
        "{told}"
    );
    let put = ask("PUT", "/strict/a", &[], "data");
    assert!(
        put.head.contains("x-ms-encryption-scope: payroll"),
        "{put:?}"
    );
    let forced = (403, "RequestForbiddenByContainerEncryptionPolicy");
    let other = ask("PUT", "/strict/b", &["x-ms-encryption-scope:open"], "x");
    assert_eq!(error(&other), forced);
    let containers = ask("GET", "/?comp=list", &[], "").body;
    let told = "<DefaultEncryptionScope>payroll</DefaultEncryptionScope>";
    assert_eq!(containers.matches(told).count(), 1, "{containers}");

    for half in [&container[..1], &container[1..]] {
        let made = ask("PUT", "/half?restype=container", half, "");
        assert_eq!(error(&made), (400, "MissingRequiredHeader"));
    }

    // What does not fit.
    let both: Vec<String> = headers(&[1; 32])
        .into_iter()
        .chain([payroll.to_owned()])
        .collect();
    let both: Vec<&str> = both.iter().map(String::as_str).collect();
    assert_eq!(
        error(&ask("PUT", "/default/b", &both, "x")),
        (400, "InvalidHeaderValue")
    );
    let missing = ask("PUT", "/default/b", &["x-ms-encryption-scope:missing"], "x");
    assert_eq!(error(&missing), (404, "ResourceNotFound"));
    let mismatch = (409, "BlobCustomerSpecifiedEncryptionMismatch");
    let metadata = ask(
        "PUT",
        "/default/a?comp=metadata",
        &["x-ms-encryption-scope:open"],
        "",
    );
    assert_eq!(error(&metadata), mismatch);
    let given: Vec<String> = headers(&[1; 32]).to_vec();
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    assert_eq!(error(&ask("GET", "/default/a", &given, "")), mismatch);

    // Disabled: refused at once, and no other blob.
    run(
        &served,
        &["blob", "scope", "disable", "documents", "payroll"],
    );
    for (method, path) in [
        ("GET", "/default/a"),
        ("HEAD", "/default/a"),
        ("GET", "/default/a?comp=metadata"),
        ("PUT", "/default/a?comp=metadata"),
        ("PUT", "/default/a?comp=snapshot"),
        ("PUT", "/strict/a"),
    ] {
        assert_eq!(
            error(&ask(method, path, &[], "")),
            (403, "AuthorizationFailure"),
            "{method} {path}"
        );
    }
    assert_eq!(ask("GET", "/default/twin", &[], "").status, 200);
    // It shuts its own blobs, and no list.
    let list = ask(
        "GET",
        "/default?comp=list&include=metadata&restype=container",
        &[],
        "",
    );
    assert_eq!(list.status, 200);
    assert_eq!(
        list.body.matches("<Metadata Encrypted=\"true\">").count(),
        1,
        "{}",
        list.body
    );
    run(
        &served,
        &["blob", "scope", "enable", "documents", "payroll"],
    );
    assert_eq!(ask("GET", "/default/a", &[], "").body, "data");

    // Its key refused.
    run(&served, &["key", "disable", "payroll-key"]);
    await_code((403, "KeyVaultEncryptionKeyNotFound"), || {
        ask("GET", "/default/a", &[], "")
    });
    assert_eq!(ask("GET", "/default/twin", &[], "").status, 200);
    run(&served, &["key", "enable", "payroll-key"]);
    run(&served, &["key", "rotate", "payroll-key"]);
    run(
        &served,
        &["blob", "scope", "rewrap", "documents", "payroll"],
    );
    await_success(|| ask("GET", "/default/a", &[], ""));
}

/// A signature of a version that knows no scopes covers none: whoever has the URL could add one.
#[test]
fn a_scope_that_a_signature_does_not_cover_is_not_taken_from_its_query() {
    let (served, key) = served();
    let scope = ["blob", "scope", "create", "documents", "open"];
    run(&served, &[&scope[..], &["--service-managed"]].concat());
    let ask = |version: &str, method: &str, scope: &str| {
        let expiry = "2099-01-01T00:00:00Z";
        let covered = match version {
            "2020-12-06" => format!("{scope}\n"),
            _ => String::new(),
        };
        let to_sign = format!(
            "rcw\n\n{expiry}\n/blob/documents/default\n\n\n\n{version}\nc\n\n{covered}\n\n\n\n"
        );
        let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(&key).unwrap()).unwrap();
        mac.update(to_sign.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let signature: String = form_urlencoded::byte_serialize(signature.as_bytes()).collect();
        let body = if method == "PUT" { "data" } else { "" };
        served.proxied(
            HOST,
            &format!(
                "{method} /default/a?sv={version}&sr=c&sp=rcw&se={expiry}&ses={scope}&sig={signature} HTTP/1.1\r\n\
                 Host: {HOST}\r\nx-ms-version: 2026-10-06\r\nx-ms-blob-type: BlockBlob\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            ),
        )
    };
    for (version, under) in [("2020-12-06", true), ("2020-10-02", false)] {
        let put = ask(version, "PUT", "open");
        assert_eq!(put.status, 201, "{version} {put:?}");
        assert_eq!(
            put.head.contains("x-ms-encryption-scope: open"),
            under,
            "{version}: {put:?}"
        );
        assert_eq!(ask(version, "GET", "open").body, "data");
    }
}
