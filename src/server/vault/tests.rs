//! Which paths are operations, and that docs/openapi.json says the same.

use std::collections::BTreeSet;

use hyper::Method;
use proptest::prelude::*;
use serde_json::Value;

use super::operation::Operation;
use super::route::{Call, NoRoute, route};

const V: &str = "0123456789abcdef0123456789abcdef";

fn operation(method: Method, path: &str) -> Result<(Operation, bool, bool), NoRoute> {
    let call = route(&method, path)?;
    Ok((call.operation, call.name.is_some(), call.version.is_some()))
}

#[test]
fn a_path_without_a_version_means_the_newest() {
    use Operation::*;
    let v = |rest: &str| format!("/keys/n/{V}{rest}");
    for (method, path, expected) in [
        (Method::GET, "/keys".to_owned(), (List, false, false)),
        (Method::GET, "/keys/n".to_owned(), (Get, true, false)),
        (Method::GET, "/keys/n/".to_owned(), (Get, true, false)),
        (Method::GET, v(""), (Get, true, true)),
        (Method::PATCH, "/keys/n/".to_owned(), (Update, true, false)),
        (Method::PATCH, v(""), (Update, true, true)),
        (Method::PUT, "/keys/n".to_owned(), (Import, true, false)),
        (Method::DELETE, "/keys/n".to_owned(), (Delete, true, false)),
        (
            Method::POST,
            "/keys/n/create".to_owned(),
            (Create, true, false),
        ),
        (
            Method::GET,
            "/keys/n/versions".to_owned(),
            (ListVersions, true, false),
        ),
        (
            Method::POST,
            "/keys/n/backup".to_owned(),
            (Backup, true, false),
        ),
        (
            Method::POST,
            "/keys/restore".to_owned(),
            (Restore, false, false),
        ),
        (Method::GET, "/keys/restore".to_owned(), (Get, true, false)),
        (
            Method::POST,
            "/keys/n/rotate".to_owned(),
            (Rotate, true, false),
        ),
        (
            Method::GET,
            "/keys/n/rotationpolicy".to_owned(),
            (GetPolicy, true, false),
        ),
        (
            Method::PUT,
            "/keys/n/rotationpolicy".to_owned(),
            (SetPolicy, true, false),
        ),
        (
            Method::POST,
            "/keys/n//encrypt".to_owned(),
            (Encrypt, true, false),
        ),
        (Method::POST, v("/encrypt"), (Encrypt, true, true)),
        (Method::POST, v("/decrypt"), (Decrypt, true, true)),
        (Method::POST, v("/wrapkey"), (Wrap, true, true)),
        (Method::POST, v("/unwrapkey"), (Unwrap, true, true)),
        (Method::POST, v("/sign"), (Sign, true, true)),
        (Method::POST, v("/verify"), (Verify, true, true)),
        (Method::POST, v("/release"), (Release, true, true)),
        (
            Method::GET,
            "/keys/n//attestation".to_owned(),
            (GetAttestation, true, false),
        ),
        (Method::POST, "/rng".to_owned(), (RandomBytes, false, false)),
        (
            Method::GET,
            "/keys/n/attestation".to_owned(),
            (GetAttestation, true, false),
        ),
        (
            Method::POST,
            "/keys/n/wrapKey".to_owned(),
            (Wrap, true, false),
        ),
        (Method::POST, v("/unwrapKey"), (Unwrap, true, true)),
        (
            Method::GET,
            "/deletedkeys".to_owned(),
            (ListDeleted, false, false),
        ),
        (
            Method::GET,
            "/deletedkeys/n".to_owned(),
            (GetDeleted, true, false),
        ),
        (
            Method::DELETE,
            "/deletedkeys/n".to_owned(),
            (Purge, true, false),
        ),
        (
            Method::POST,
            "/deletedkeys/n/recover".to_owned(),
            (Recover, true, false),
        ),
        (
            Method::GET,
            "/secrets".to_owned(),
            (SecretList, false, false),
        ),
        (
            Method::GET,
            "/secrets/n/".to_owned(),
            (SecretGet, true, false),
        ),
        (
            Method::GET,
            format!("/secrets/n/{V}"),
            (SecretGet, true, true),
        ),
        (
            Method::PUT,
            "/secrets/n".to_owned(),
            (SecretSet, true, false),
        ),
        (
            Method::POST,
            "/secrets/restore".to_owned(),
            (SecretRestore, false, false),
        ),
        (
            Method::DELETE,
            "/deletedsecrets/n".to_owned(),
            (SecretPurge, true, false),
        ),
    ] {
        assert_eq!(operation(method, &path), Ok(expected), "{path}");
    }
}

#[test]
fn what_is_no_operation_is_refused() {
    for path in [
        "",
        "/",
        "/key",
        "//keys/n",
        "/keys/n/v/sign/x",
        "/keys/n//nothing",
        "/secrets/n//v",
    ] {
        assert_eq!(operation(Method::GET, path), Err(NoRoute::Path), "{path}");
    }
    for (method, path) in [
        (Method::POST, "/keys"),
        (Method::POST, "/keys/n"),
        (Method::GET, "/keys/n//sign"),
        (Method::DELETE, "/keys/n/"),
        (Method::PUT, "/deletedkeys/n"),
    ] {
        let refused = operation(method.clone(), path);
        assert!(
            matches!(&refused, Err(NoRoute::Method(offered)) if !offered.contains(&method)),
            "{path}: {refused:?}"
        );
    }
    for path in [
        "/keys/",
        "/keys/a b",
        "/keys/%6e",
        "/keys/../x",
        "/keys/n/1",
        "/keys/n/latest",
    ] {
        let refused = operation(Method::GET, path);
        assert!(
            matches!(refused, Err(NoRoute::Malformed(_))),
            "{path}: {refused:?}"
        );
    }
}

proptest! {
    /// Whatever is sent: no panic, and a name that was taken is the name that was sent.
    #[test]
    fn no_path_names_another_key(path in "/(keys|deletedkeys|secrets)(/[a-z0-9%./-]{0,34}){0,4}") {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            if let Ok(Call { name: Some(name), .. }) = route(&method, &path) {
                prop_assert_eq!(Some(name.as_str()), path.split('/').nth(2));
            }
        }
    }
}

#[test]
fn the_published_description_lists_each_route_and_no_other() {
    let document: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
    let mut described = BTreeSet::new();
    for (template, methods) in document["paths"].as_object().unwrap() {
        let path = template
            .replace("{name}", "n")
            .replace("{version}", "0123456789abcdef0123456789abcdef");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] {
            let found = route(&method.parse::<Method>().unwrap(), &path);
            match &methods[method.to_ascii_lowercase()] {
                Value::Null => match found {
                    // A key may be named `restore`.
                    Ok(call) if template.ends_with("/restore") => assert!(call.name.is_some()),
                    other => assert!(
                        matches!(other, Err(NoRoute::Method(_))),
                        "{method} {template}: {other:?}"
                    ),
                },
                of => {
                    let call = found.unwrap_or_else(|e| panic!("{method} {template}: {e:?}"));
                    assert_eq!(
                        of["x-operation"],
                        call.operation.audited().name(),
                        "{method} {template}"
                    );
                    assert_eq!(
                        call.name.is_some(),
                        template.contains("{name}"),
                        "{template}"
                    );
                    assert_eq!(
                        call.version.is_some(),
                        template.contains("{version}"),
                        "{template}"
                    );
                    described.insert(call.operation.audited().name());
                }
            }
        }
    }
    let served: BTreeSet<_> = Operation::ALL.iter().map(|o| o.audited().name()).collect();
    assert_eq!(described, served);
}
