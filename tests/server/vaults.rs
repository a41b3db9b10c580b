//! Several vaults behind one server: each host name is its own.

use crate::client::*;

pub const PAYROLL: &str = "payroll.vault.azure.net";

pub fn made(dir: &std::path::Path, args: &[&str]) {
    let out = atrest(dir, args).output().unwrap();
    assert!(out.status.success(), "{out:?}");
}

#[test]
fn what_lies_in_one_vault_is_not_in_another() {
    let served = Served::new(&[]);
    let token = served.token();
    let create = "/keys/wages/create?api-version=7.4";
    let kind = r#"{"kty":"oct","key_size":256}"#;
    let nowhere = served.ask_at(PAYROLL, &token, "POST", create, kind);
    assert_eq!(
        (nowhere.status, nowhere.code().as_str()),
        (404, "VaultNotFound")
    );

    // Another process makes it, while the server runs.
    let dir = served.dir.path();
    made(
        dir,
        &["vault", "create", "payroll", "--retention-days", "7"],
    );
    let created = served.ask_at(PAYROLL, &token, "POST", create, kind);
    assert_eq!(created.status, 200, "{created:?}");
    let key = created.json();
    let kid = key["key"]["kid"].as_str().unwrap();
    assert!(
        kid.starts_with("https://payroll.vault.azure.net/keys/wages/"),
        "{kid}"
    );
    assert_eq!(key["attributes"]["recoverableDays"], 7);

    let get = "/keys/wages?api-version=7.4";
    assert_eq!(served.ask_at(PAYROLL, &token, "GET", get, "").status, 200);
    assert_eq!(served.ask(&token, "GET", get, "").status, 404);
    let customers = "/keys/customer-key?api-version=7.4";
    assert_eq!(served.ask(&token, "GET", customers, "").status, 200);
    assert_eq!(
        served.ask_at(PAYROLL, &token, "GET", customers, "").status,
        404
    );
    // A backup is of its own vault.
    let path = "/keys/wages/backup?api-version=7.4";
    let backup = served.ask_at(PAYROLL, &token, "POST", path, "");
    assert_eq!(backup.status, 200);
    let restored = served.ask(
        &token,
        "POST",
        "/keys/restore?api-version=7.4",
        &backup.body,
    );
    assert_eq!(restored.status, 400, "{restored:?}");

    // Sealed, it is one vault that is shut, not two.
    let passphrase = dir.join("passphrase");
    std::fs::write(&passphrase, "correct horse battery staple").unwrap();
    let file = passphrase.to_str().unwrap();
    made(
        dir,
        &[
            "vault",
            "--vault",
            "payroll",
            "seal",
            "--new-passphrase-file",
            file,
        ],
    );
    assert_eq!(served.ask_at(PAYROLL, &token, "GET", get, "").status, 503);
    assert_eq!(served.ask(&token, "GET", customers, "").status, 200);
    made(
        dir,
        &[
            "--passphrase-file",
            file,
            "vault",
            "--vault",
            "payroll",
            "unseal",
        ],
    );
    assert_eq!(served.ask_at(PAYROLL, &token, "GET", get, "").status, 200);
}

#[test]
fn a_passphrase_is_asked_for_when_the_server_starts_and_never_later() {
    let with_payroll = || {
        let dir = workspace();
        let file = dir.path().join("passphrase");
        std::fs::write(&file, "correct horse battery staple").unwrap();
        let create = ["vault", "create", "payroll", "--passphrase"];
        let words = ["--passphrase-file", file.to_str().unwrap()];
        made(dir.path(), &[&words, &create[..]].concat());
        (dir, file)
    };
    let list = "/keys?api-version=7.4";
    let (dir, file) = with_payroll();
    let served = Served::at(dir, &["--passphrase-file", file.to_str().unwrap()]);
    // Whoever could be asked later is gone.
    std::fs::remove_file(&file).unwrap();
    let token = served.token();
    assert_eq!(served.ask_at(PAYROLL, &token, "GET", list, "").status, 200);

    // Without it, that vault is as good as sealed, and the others are served.
    let (dir, _) = with_payroll();
    let served = Served::at(dir, &["--passphrase-file", "/dev/null"]);
    let token = served.token();
    assert_eq!(served.ask_at(PAYROLL, "", "GET", list, "").status, 401);
    assert_eq!(served.ask_at(PAYROLL, &token, "GET", list, "").status, 503);
    assert_eq!(served.ask(&token, "GET", list, "").status, 200);
}

#[test]
fn the_providers_vault_is_nobodys_to_ask() {
    let served = Served::new(&["--vault", "contoso"]);
    let token = served.token();
    let get = "/keys/service-managed?api-version=7.4";
    let list = "/keys?api-version=7.4";
    assert_eq!(
        served
            .ask_at("contoso.vault.azure.net", &token, "GET", list, "")
            .status,
        200
    );
    for host in ["provider.vault.azure.net", VAULT] {
        for path in [get, list] {
            let answer = served.ask_at(host, &token, "GET", path, "");
            assert_eq!(answer.code(), "VaultNotFound", "{host}{path}");
        }
    }
}

#[test]
fn a_managed_hsm_is_none_of_the_vaults() {
    let served = Served::new(&[]);
    let (dir, token) = (served.dir.path(), served.token());
    made(dir, &["vault", "create", "vaulted"]);
    made(dir, &["vault", "create", "hardware", "--managed-hsm"]);
    let hsm = "hardware.managedhsm.azure.net";
    // It wants tokens of its own audience, and says so.
    let list = "/keys?api-version=7.4";
    let refused = served.ask_at(hsm, &token, "GET", list, "");
    assert_eq!(refused.status, 401);
    assert!(
        refused
            .head
            .contains("resource=\"https://managedhsm.azure.net\""),
        "{refused:?}"
    );
    let for_hsm = served.token_for("https://managedhsm.azure.net");
    assert_eq!(served.ask(&for_hsm, "GET", list, "").status, 401);

    let create = "/keys/k/create?api-version=7.4";
    let made = served.ask_at(
        hsm,
        &for_hsm,
        "POST",
        create,
        r#"{"kty":"oct","key_size":256}"#,
    );
    assert_eq!(made.status, 200, "{made:?}");
    let key = made.json()["key"].clone();
    assert_eq!(key["kty"], "oct-HSM");
    assert!(
        key["kid"]
            .as_str()
            .unwrap()
            .starts_with("https://hardware.managedhsm.azure.net/keys/k/")
    );
    let secret = served.ask_at(
        hsm,
        &for_hsm,
        "PUT",
        "/secrets/s?api-version=7.4",
        r#"{"value":"x"}"#,
    );
    assert_eq!(secret.status, 404);
    for host in [
        "vaulted.managedhsm.azure.net",
        "customer.managedhsm.azure.net",
    ] {
        assert_eq!(
            served.ask_at(host, &for_hsm, "GET", list, "").code(),
            "VaultNotFound",
            "{host}"
        );
    }
    // It has no access policies, as a vault has.
    for (vault, code) in [("hardware", 2), ("vaulted", 0)] {
        let model = ["identity", "model", vault, "access-policy"];
        let ran = atrest(dir, &model).output().unwrap();
        assert_eq!(ran.status.code(), Some(code), "{ran:?}");
    }
    let as_vault = served.ask_at("hardware.vault.azure.net", &token, "GET", list, "");
    assert_eq!(as_vault.code(), "VaultNotFound");
    assert_eq!(
        served
            .ask_at("vaulted.vault.azure.net", &token, "GET", list, "")
            .status,
        200
    );
}

#[test]
fn two_vaults_never_share_a_host() {
    let dir = workspace();
    made(dir.path(), &["vault", "create", "contoso"]);
    let out = atrest(dir.path(), &["serve", "--port", "0", "--vault", "contoso"]).output();
    let out = out.unwrap();
    assert_eq!(out.status.code(), Some(2), "{out:?}");
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(told.contains("contoso is another of the vaults"), "{told}");
    // The control.
    let mut served = Served::at(dir, &["--vault", "fabrikam"]);
    assert_eq!(served.stop(), Some(0));
}
