//! Copies, batches and delegations on the wire: what is read or done for nobody who may not, and what a client
//! learns of a refusal.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::blobs::{HOST, PUT, error, served, signed, token_of};
use crate::client::*;

fn same(request: String) -> String {
    request
}

fn with_token(token: &str, method: &str, path: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n\
         x-ms-version: 2026-10-06\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Short pieces may lie in long buffers, one for each: all of them at once would be a gibibyte here. And what was tried at
/// once, and left to a thread that may wait, is no failure that the log tells.
#[test]
fn short_answer_of_many_blocks_takes_no_more_memory_than_its_length() {
    let (served, key) = served();
    let ask = |method: &str, path: &str, body: &str| {
        let put: &[&str] = match method == "PUT" && !path.contains("comp=") {
            true => PUT,
            false => &[],
        };
        served.proxied(HOST, &signed(&key, method, path, put, body, same))
    };
    let block = "0123456789".repeat(6);
    let blob = "/default/b";
    let staged = ask("PUT", &format!("{blob}?blockid=QUFB&comp=block"), &block);
    assert_eq!(staged.status, 201);
    let list = "<Latest>QUFB</Latest>".repeat(4000);
    let list = format!("<BlockList>{list}</BlockList>");
    let put = ask("PUT", &format!("{blob}?comp=blocklist"), &list);
    assert_eq!(put.status, 201);
    let before = served.peak_kib();
    for _ in 0..3 {
        assert_eq!(ask("GET", blob, "").body, block.repeat(4000));
    }
    let more = served.peak_kib() - before;
    assert!(more < 96 << 10, "{more} KiB");
    let errors = |log: &str| log.lines().filter(|l| l.contains("\"ERROR\"")).count();
    assert_eq!(errors(&served.log()), 0, "{}", served.log());
    // A control: a failure is told there.
    std::fs::remove_file(served.dir.path().join("atrest.json")).unwrap();
    assert_eq!(ask("GET", blob, "").status, 500);
    assert!(errors(&served.log()) > 0, "{}", served.log());
}

#[test]
fn copy_reads_nothing_that_its_requester_could_not_read() {
    let (served, key) = served();
    let made = atrest(served.dir.path(), &["blob", "create", "archive"]).output();
    assert!(made.unwrap().status.success());
    let ask = |request: &str| served.proxied(HOST, request);
    let put = |path: &str, headers: &[&str]| ask(&signed(&key, "PUT", path, headers, "", same));
    let put_data = signed(&key, "PUT", "/default/secret", PUT, "data", same);
    assert_eq!(ask(&put_data).status, 201);
    let source = |url: &str| format!("x-ms-copy-source:{url}");
    let own = source(&format!("https://{HOST}/default/secret"));
    assert_eq!(put("/default/copy", &[&own]).status, 202);
    // A key of one account is none of another.
    let refused = (401, "CannotVerifyCopySource");
    let others = source("https://archive.blob.core.windows.net/default/x");
    assert_eq!(error(&put("/default/copy", &[&others])), refused);
    // Nothing is fetched from elsewhere, whatever it is called.
    for url in [
        "http://169.254.169.254/metadata",
        "https://example.org/x",
        "https://localhost/documents/default/secret",
        "https://documents.blob.core.windows.net.example.org/default/secret",
        "https://vault.vault.azure.net/keys",
    ] {
        let answer = put("/default/copy", &[&source(url)]);
        assert_eq!(error(&answer), (400, "CannotVerifyCopySource"), "{url}");
    }
    for url in [
        "",
        "x",
        "/default/secret",
        "https://documents.blob.core.windows.net/default",
        &format!("localhost:{}", served.address.port()),
        "documents.blob.core.windows.net:443",
    ] {
        let answer = put("/default/copy", &[&source(url)]);
        assert_eq!(answer.status, 400, "{url}: {answer:?}");
    }
    // Who may not read by his token does not read by a copy.
    let delegator = token_of(&served, "delegator", "Storage Blob Delegator");
    let reader = token_of(&served, "reader", "Storage Blob Data Reader");
    let writer = token_of(&served, "writer", "Storage Blob Data Contributor");
    let copy = |token: &str, headers: &[&str]| {
        let path = "/default/by-token";
        ask(&with_token(token, "PUT", path, headers, ""))
    };
    assert_eq!(copy(&writer, &[&own]).status, 202);
    // The request's own token counts in its account; for another's it must be shown.
    assert_eq!(error(&copy(&writer, &[&others])), refused);
    let shown = format!("x-ms-copy-source-authorization:Bearer {writer}");
    assert_eq!(copy(&writer, &[&others, &shown]).status, 404);
    let not_permitted = (403, "AuthorizationPermissionMismatch");
    assert_eq!(error(&copy(&reader, &[&own])), not_permitted);
    let shown = format!("x-ms-copy-source-authorization:Bearer {delegator}");
    let answer = copy(&writer, &[&own, &shown]);
    assert_eq!(error(&answer), (403, "CannotVerifyCopySource"));
    let shown = format!("x-ms-copy-source-authorization:Bearer {reader}");
    assert_eq!(copy(&writer, &[&own, &shown]).status, 202);
    let shown = "x-ms-copy-source-authorization:SharedKey documents:AAAA";
    assert_eq!(
        error(&copy(&writer, &[&own, shown])),
        (400, "InvalidHeaderValue")
    );
    // Where it has no meaning it is not passed over.
    let answer = put("/default/copy?comp=metadata", &[&own]);
    assert_eq!(error(&answer), (400, "UnsupportedHeader"));
    // No signature is kept with the copy, or told.
    let got = ask(&signed(&key, "HEAD", "/default/copy", &[], "", same));
    assert!(got.head.contains(&format!(
        "x-ms-copy-source: https://{HOST}/default/secret\r\n"
    )));
}

#[test]
fn snapshot_is_not_written_to_and_what_is_none_is_refused() {
    let (served, key) = served();
    let ask = |method: &str, path: &str, headers: &[&str], body: &str| {
        served.proxied(HOST, &signed(&key, method, path, headers, body, same))
    };
    assert_eq!(ask("PUT", "/default/a", PUT, "data").status, 201);
    let taken = ask("PUT", "/default/a?comp=snapshot", &[], "");
    assert_eq!(taken.status, 201);
    let at = taken
        .head
        .lines()
        .find_map(|l| l.strip_prefix("x-ms-snapshot: "));
    let at = at.unwrap();
    let of = |path: &str| format!("{path}snapshot={at}");
    assert_eq!(ask("GET", &of("/default/a?"), &[], "").body, "data");
    for (method, path) in [
        ("PUT", of("/default/a?")),
        ("PUT", of("/default/a?comp=metadata&")),
        ("PUT", of("/default/a?comp=snapshot&")),
        ("PUT", of("/default/a?comp=lease&")),
    ] {
        let answer = ask(method, &path, PUT, "");
        assert_eq!(error(&answer), (400, "UnsupportedQueryParameter"), "{path}");
    }
    // Its blocks are told, and not the blob's.
    let block = "/default/a?comp=block&blockid=QUJD";
    assert_eq!(ask("PUT", block, &[], "waits").status, 201);
    let list = "/default/a?blocklisttype=all&comp=blocklist";
    let told = |path: &str| ask("GET", path, &[], "");
    assert!(told(list).body.contains("<Name>QUJD</Name>"));
    let taken = told(&format!("{list}&snapshot={at}"));
    assert_eq!(taken.status, 200);
    assert!(!taken.body.contains("<Name>"), "{}", taken.body);
    let none = format!("{list}&snapshot=2020-01-01T00:00:00.0000000Z");
    assert_eq!(error(&told(&none)), (404, "BlobNotFound"));
    let bad = ask("GET", "/default/a?snapshot=yesterday", &[], "");
    assert_eq!(error(&bad), (400, "InvalidQueryParameterValue"));
    let both = ["x-ms-delete-snapshots:include"];
    let answer = ask("DELETE", &of("/default/a?"), &both, "");
    assert_eq!(error(&answer), (400, "InvalidHeaderValue"));
}

#[test]
fn batch_does_nothing_that_its_parts_may_not() {
    let (served, key) = served();
    let ask = |request: &str| served.proxied(HOST, request);
    for blob in ["a", "b"] {
        let put = signed(&key, "PUT", &format!("/default/{blob}"), PUT, "data", same);
        assert_eq!(ask(&put).status, 201);
    }
    let batch = |token: &str, parts: &[String], end: &str| {
        let body: String = parts
            .iter()
            .enumerate()
            .map(|(n, part)| {
                format!(
                    "--x\r\nContent-Type: application/http\r\nContent-ID: {n}\r\n\r\n{part}\r\n"
                )
            })
            .collect();
        let headers = ["Content-Type: multipart/mixed; boundary=x"];
        let path = "/?comp=batch";
        ask(&with_token(
            token,
            "POST",
            path,
            &headers,
            &format!("{body}{end}"),
        ))
    };
    let part = |token: &str, line: &str| {
        format!("{line} HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n")
    };
    let reader = token_of(&served, "reader", "Storage Blob Data Reader");
    let writer = token_of(&served, "writer", "Storage Blob Data Contributor");
    let answer = batch(
        &reader,
        &[
            part(&reader, "DELETE /default/a"),
            part(&writer, "DELETE /default/b"),
            "DELETE /default/a HTTP/1.1\r\n\r\n".to_owned(),
            part(&writer, "PUT /default/a"),
            part(&writer, "GET /default/a"),
        ],
        "--x--\r\n",
    );
    assert_eq!(answer.status, 202);
    let got: Vec<&str> = answer
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("HTTP/1.1 "))
        .map(|line| &line[..3])
        .collect();
    assert_eq!(got, ["403", "202", "401", "400", "400"], "{}", answer.body);
    let listed = ask(&signed(
        &key,
        "GET",
        "/default?comp=list&restype=container",
        &[],
        "",
        same,
    ));
    assert!(listed.body.contains("<Name>a</Name>") && !listed.body.contains("<Name>b</Name>"));
    // One that was cut off is not begun.
    let cut = batch(&writer, &[part(&writer, "DELETE /default/a")], "");
    assert_eq!(error(&cut), (400, "InvalidInput"));
    let many = vec![part(&writer, "DELETE /default/a"); 257];
    assert_eq!(
        error(&batch(&writer, &many, "--x--\r\n")),
        (400, "ExceedsMaxBatchRequestCount")
    );
    assert_eq!(
        ask(&signed(&key, "GET", "/default/a", &[], "", same)).status,
        200
    );
}

#[test]
fn signature_in_an_identitys_name_ends_with_its_rights() {
    let (served, key) = served();
    let ask = |request: &str| served.proxied(HOST, request);
    let put = signed(&key, "PUT", "/default/a", PUT, "data", same);
    assert_eq!(ask(&put).status, 201);
    let reader = token_of(&served, "reader", "Storage Blob Data Reader");
    let path = "/?restype=service&comp=userdelegationkey";
    let body = "<KeyInfo><Expiry>2000-01-01T00:00:00Z</Expiry></KeyInfo>";
    let past = ask(&with_token(&reader, "POST", path, &[], body));
    assert_eq!(error(&past), (400, "InvalidXmlNodeValue"));
    let in_an_hour = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let in_an_hour = in_an_hour.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let body = format!("<KeyInfo><Expiry>{in_an_hour}</Expiry></KeyInfo>");
    let nobody = token_of(&served, "nobody", "Key Vault Administrator");
    let answer = ask(&with_token(&nobody, "POST", path, &[], &body));
    assert_eq!(error(&answer), (403, "AuthorizationPermissionMismatch"));
    let issued = ask(&with_token(&reader, "POST", path, &[], &body));
    assert_eq!(issued.status, 200, "{issued:?}");
    let field = |name: &str| {
        let (_, rest) = issued.body.split_once(&format!("<{name}>")).unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    };
    let whose = [
        "SignedOid",
        "SignedTid",
        "SignedStart",
        "SignedExpiry",
        "SignedService",
        "SignedVersion",
    ]
    .map(field);
    let secret = STANDARD.decode(field("Value")).unwrap();
    let sign = |permissions: &str, whose: &[String; 6]| {
        let version = "2026-04-06";
        let to_sign = format!(
            "{permissions}\n\n{in_an_hour}\n/blob/documents/default/a\n{}\n\n\n\n\n\n\n\n{version}\nb\n\n\n\n\n\n\n\n\n",
            whose.join("\n")
        );
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
        mac.update(to_sign.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let signature: String = form_urlencoded::byte_serialize(signature.as_bytes()).collect();
        let [oid, tid, start, expiry, service, of] = whose;
        format!(
            "/default/a?sv={version}&sr=b&sp={permissions}&se={in_an_hour}&skoid={oid}&sktid={tid}&skt={start}\
             &ske={expiry}&sks={service}&skv={of}&sig={signature}"
        )
    };
    let get = |path: &str, method: &str| {
        ask(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nx-ms-version: 2026-04-06\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        ))
    };
    let reads = sign("r", &whose);
    assert_eq!(get(&reads, "GET").body, "data");
    // It gives nothing that the identity does not have.
    let answer = get(&sign("rd", &whose), "DELETE");
    assert_eq!(error(&answer), (403, "AuthorizationPermissionMismatch"));
    // The key is of this identity and this time, and of no other.
    for at in 0..6 {
        let mut other = whose.clone();
        other[at] = match at {
            0 | 1 => "11111111-2222-3333-4444-555555555555".into(),
            2 => "2020-01-01T00:00:00Z".into(),
            3 => "2099-01-01T00:00:00Z".into(),
            4 => "q".into(),
            _ => "2020-02-10".into(),
        };
        assert_eq!(
            error(&get(&sign("r", &other), "GET")),
            (403, "AuthenticationFailed")
        );
    }
    let none: [String; 6] = Default::default();
    assert_eq!(
        error(&get(&sign("r", &none), "GET")),
        (403, "AuthenticationFailed")
    );
    // With the role the signature loses its worth, and with the identity.
    let run = |args: &[&str]| {
        let ran = atrest(served.dir.path(), args).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
    };
    let role = ["--role", "Storage Blob Data Reader"];
    run(&[&["identity", "revoke", "reader"], &role[..]].concat());
    assert_eq!(
        error(&get(&reads, "GET")),
        (403, "AuthorizationPermissionMismatch")
    );
    run(&[&["identity", "grant", "reader"], &role[..]].concat());
    assert_eq!(get(&reads, "GET").status, 200);
    run(&["identity", "remove", "reader"]);
    assert_eq!(error(&get(&reads, "GET")), (403, "AuthenticationFailed"));
    // Neither key nor signature is in the log.
    let log = served.log();
    assert!(log.contains("GetUserDelegationKey"));
    assert!(!log.contains(&field("Value")) && !log.contains("sig="));
}

#[test]
fn refusal_reaches_a_client_that_is_still_sending() {
    let (served, key) = served();
    let large = "x".repeat(24 << 20);
    let put = |change: &dyn Fn(String) -> String| {
        served.proxied(
            HOST,
            &signed(&key, "PUT", "/default/a", PUT, &large, change),
        )
    };
    let forged =
        put(&|request| request.replacen("SharedKey documents:", "SharedKey documents:A", 1));
    assert_eq!(error(&forged), (403, "AuthenticationFailed"));
    let malformed = put(&|request| request.replacen("2026-10-06", "tomorrow", 1));
    assert_eq!(error(&malformed), (400, "InvalidHeaderValue"));
    assert_eq!(put(&same).status, 201);
    let tags = served.proxied(
        HOST,
        &signed(&key, "PUT", "/default/a?comp=tags", &[], &large, same),
    );
    assert_eq!(error(&tags), (413, "RequestBodyTooLarge"));
}

#[test]
fn block_of_a_source_is_no_larger_than_one_that_is_sent() {
    let (served, key) = served();
    let ask = |method: &str, path: &str, headers: &[&str], body: &str| {
        served.proxied(HOST, &signed(&key, method, path, headers, body, same))
    };
    // 104 MiB, of one block of 8.
    let block = "/default/large?blockid=QUJD&comp=block";
    let put = ask("PUT", block, &[], &"x".repeat(8 << 20));
    assert_eq!(put.status, 201);
    let list = format!(
        "<BlockList>{}</BlockList>",
        "<Latest>QUJD</Latest>".repeat(13)
    );
    let put = ask("PUT", "/default/large?comp=blocklist", &[], &list);
    assert_eq!(put.status, 201);
    let made = ask("PUT", "/default/log", &["x-ms-blob-type:AppendBlob"], "");
    assert_eq!(made.status, 201);
    let append = |range: &[&str]| {
        let source = format!("x-ms-copy-source:https://{HOST}/default/large");
        let headers = [&[source.as_str()], range].concat();
        ask("PUT", "/default/log?comp=appendblock", &headers, "")
    };
    assert_eq!(error(&append(&[])), (413, "RequestBodyTooLarge"));
    assert_eq!(append(&["x-ms-source-range:bytes=0-9"]).status, 201);
    let got = ask("HEAD", "/default/log", &[], "");
    assert!(got.head.contains("content-length: 10\r\n"), "{}", got.head);
}
