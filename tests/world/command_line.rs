//! The README's story on the command line, and what a machine reads of it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

struct Shell<'a>(&'a Path);

impl Shell<'_> {
    fn run(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atrest"));
        for name in ["ATREST_VAULT_URL", "ATREST_PASSPHRASE_FILE"] {
            command.env_remove(name);
        }
        command
            .env("ATREST_DIR", self.0)
            .args(line.split_whitespace())
            .output()
            .unwrap()
    }

    fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("--json {line}"))).unwrap()
    }

    /// What it says when it refuses.
    fn refused(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(output.stdout.is_empty(), "{line}");
        String::from_utf8(output.stderr).unwrap()
    }
}

#[test]
fn the_story_of_the_readme_goes_as_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    let shell = Shell(&work);
    shell.ok("init --purge-protection --key-kind rsa-2048");
    assert!(
        shell.refused("env list").contains("no landscape"),
        "before there is one"
    );
    assert!(
        shell.refused("env").contains("no server"),
        "alone it is the server's"
    );
    for line in [
        "tenant create contoso",
        "project create erp --tenant contoso",
        "env create prod --project erp",
        "env create-power org-prod --tenant contoso",
        "offer install prod finance",
        "addin install prod tax-calculation",
        "env link prod org-prod",
        "clock advance 1h",
        "policy create cmk --tenant contoso --location europe --key customer-key",
        "policy grant cmk",
        "policy share cmk contoso-admin",
    ] {
        shell.ok(line);
    }
    let refused = shell.refused("policy apply cmk prod");
    assert!(
        refused.contains("E_ENV_NAME (I6)") && refused.contains("use org-prod"),
        "{refused}"
    );
    let applied = shell.json("policy apply cmk org-prod");
    assert_eq!(applied["resources"], 4);
    let page = dir.path().join("coverage.html");
    let line = format!("coverage prod --html {}", page.display());
    let coverage = shell.json(&line);
    assert_eq!(coverage["verdict"], "partial");
    let resources = coverage["rows"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["kind"] == "resource");
    assert!(
        resources.clone().count() == 4 && resources.clone().all(|row| row["verdict"] == "covered")
    );
    let html = std::fs::read_to_string(page).unwrap();
    assert!(html.contains("Tax Calculation") && html.contains("STALE"));
    assert!(
        !html.contains("http://") && !html.contains("https://") && !html.contains("<script"),
        "self-contained"
    );
    let proof = shell.json("coverage prod --prove");
    let tried = proof["pulled"].as_array().unwrap();
    assert!(tried.len() == 7 && tried.iter().all(|one| one["proof"] == "holds"));
    let told = shell.ok("coverage prod --prove");
    for part in [
        "As of 2022-12: \"Manage your",
        "(STALE)",
        "refused",
        "opens",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(
        shell
            .refused("unprotect prod/sql/axdb")
            .contains("decided by its policy")
    );
    shell.ok("policy revoke cmk");
    assert!(
        shell
            .refused("sql query prod/sql/axdb SELECT")
            .contains("E_LOCKED (L2)")
    );
    assert!(
        shell
            .refused("policy remove org-prod")
            .contains("E_LOCKED (L2)")
    );
    assert_eq!(
        shell.run("coverage prod --prove").status.code(),
        Some(1),
        "what was locked before proves nothing"
    );
    shell.ok("policy grant cmk");
    shell.ok("env enable org-prod");
    let disabled = shell.run("key disable customer-key");
    let said = String::from_utf8_lossy(&disabled.stderr).into_owned();
    assert!(
        disabled.status.success() && said.contains("W_VERSION_IN_USE (R2)"),
        "{said}"
    );
    assert_eq!(
        shell.json("env show prod")["power"]["key"]["state"],
        "locked"
    );
    shell.ok("key enable customer-key");
    shell.ok("env enable org-prod");
    shell.ok("policy remove org-prod");
    assert_eq!(
        shell.json("env show org-prod")["power"]["key"]["state"],
        "mmk"
    );
    shell.ok("key delete customer-key");
    assert!(
        shell
            .refused("key purge customer-key")
            .contains("E_PURGE_PROTECTED (X1)")
    );
    // The vaults go by the landscape's clock.
    shell.ok("clock advance 90d");
    assert!(
        shell
            .refused("key recover customer-key")
            .contains("KeyNotFound")
    );
    let audit = dir.path().join("audit.jsonl");
    shell.ok(&format!(
        "lockbox audit --operation CMK- --export {}",
        audit.display()
    ));
    let lines = std::fs::read_to_string(audit).unwrap();
    let events: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let outcomes: Vec<_> = events
        .iter()
        .map(|e| {
            (
                e["operation"].as_str().unwrap(),
                e["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            ("CMK-Renewed environment", "E_ENV_NAME"),
            ("CMK-Renewed environment", "ok"),
            ("CMK-Reverted environment", "E_LOCKED"),
            ("CMK-Reverted environment", "ok"),
        ]
    );
}

#[test]
fn every_entity_is_listed_and_shown_for_machines_too() {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    let shell = Shell(&work);
    for line in [
        "init --purge-protection --key-kind rsa-2048",
        "tenant create contoso",
        "project create erp --tenant contoso",
        "env create prod --project erp",
        "env create-power org-prod --tenant contoso",
        "policy create cmk --tenant contoso --location europe --key customer-key",
        "policy grant cmk",
        "policy share cmk contoso-admin",
        "policy apply cmk org-prod",
        "env backup org-prod first",
        "tenant person sam --duty provider-engineer",
        "tenant person kim --duty provider-engineer",
        "lockbox enable contoso",
        "clock advance 1d",
        "lockbox request org-prod --engineer sam --internal-approver kim --ticket 7 --reason broken",
    ] {
        shell.ok(line);
    }
    for (line, count) in [
        ("tenant list", 1),
        ("project list", 1),
        ("env list", 2),
        ("env backups", 1),
        ("policy list", 1),
        ("offer list", 7),
        ("addin list", 2),
        ("lockbox list", 1),
        ("lockbox list --engineer kim", 0),
        ("coverage --all", 2),
    ] {
        assert_eq!(shell.json(line).as_array().unwrap().len(), count, "{line}");
    }
    for (line, field, value) in [
        ("tenant show contoso", "name", "contoso"),
        ("project show erp", "name", "erp"),
        ("policy show cmk", "key", "customer-key"),
        ("offer show prod", "name", "prod"),
        ("lockbox show lb-00001", "engineer", "sam"),
        ("coverage org-prod", "environment", "org-prod"),
    ] {
        assert_eq!(shell.json(line)[field], value, "{line}");
    }
    let policy = shell.json("policy show cmk");
    assert_eq!(policy["state"], "Healthy");
    assert_eq!(policy["environments"]["org-prod"], "Encrypted");
    assert_eq!(policy["version_states"].as_object().unwrap().len(), 1);
    let said = shell.refused("lockbox list --status pending");
    assert!(said.contains("expected one of Action needed"), "{said}");
    // Given again, it is done already.
    assert_eq!(shell.json("policy apply cmk org-prod")["resources"], 0);
    shell.ok("policy revoke cmk --permission unwrapKey");
    let why = shell.json("policy show cmk")["cannot_be_used"].to_string();
    assert!(why.contains("lacks unwrapKey"), "{why}");
    let shown = shell.ok("env show org-prod");
    assert!(
        shown.contains("lacks unwrapKey") && shown.contains("30 days"),
        "{shown}"
    );
    shell.ok("policy grant cmk");
    let shown = shell.ok("env show org-prod");
    assert!(shown.contains("`atrest env enable org-prod`"), "{shown}");
    shell.ok("env enable org-prod");
    let read = "lockbox read sam org-prod-dataverse/sql/dataverse SELECT";
    assert!(shell.refused(read).contains("E_NO_GRANT (K3)"));
    assert!(
        shell
            .refused("lockbox approve lb-00001 --as contoso-admin")
            .contains("E_NOT_APPROVER (K1)")
    );
    shell.ok("lockbox approve lb-00001");
    assert!(
        shell
            .refused("lockbox revoke lb-00001")
            .contains("E_NOT_REVOCABLE (K2)")
    );
    assert!(
        shell.refused(read).contains("incomplete input"),
        "it is let in, and the statement is wrong"
    );
}

#[test]
fn the_clock_of_a_landscape_is_chosen_once_and_no_choice_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    for (name, option, runs) in [
        ("still", "", false),
        ("runs", " --real-time", true),
        ("then", " --at 2022-12-15", false),
    ] {
        let work = dir.path().join(name);
        let shell = Shell(&work);
        shell.ok("init --key-kind rsa-2048");
        shell.ok(&format!("tenant create contoso{option}"));
        assert_eq!(shell.json("clock show")["real_time"], runs, "{name}");
        for late in [" --real-time", " --at 2023-01-01"] {
            let said = shell.refused(&format!("tenant create fabrikam{late}"));
            assert!(said.contains("has a clock already"), "{name}: {said}");
        }
        assert_eq!(shell.json("tenant list").as_array().unwrap().len(), 1);
        shell.ok("tenant create fabrikam");
        assert_eq!(shell.json("clock show")["real_time"], runs, "{name}");
    }
    let work = dir.path().join("still");
    for (line, told) in [
        (
            "coverage nowhere",
            "no environment nowhere; `atrest env list`",
        ),
        (
            "env show nowhere",
            "no environment nowhere; `atrest env list`",
        ),
        ("env backup nowhere b", "`atrest env list` lists them"),
        ("env restore nothing nowhere", "`atrest env"),
        ("policy show nothing", "`atrest policy list` lists them"),
        ("project show nothing", "`atrest project list` lists them"),
        ("tenant show nobody", "`atrest tenant list` lists them"),
        ("lockbox show lb-00001", "`atrest lockbox list` lists them"),
        ("env attach nowhere", "`atrest steal` makes one"),
        (
            "env create-power org --tenant contoso --service rcs",
            "has no service of an environment's",
        ),
        (
            "policy vault provider --delete",
            "name one of the customer's",
        ),
    ] {
        let said = Shell(&work).refused(line);
        assert!(said.contains(told), "{line}: {said}");
    }
    Shell(&work).ok("env create-power org --tenant contoso");
    let said = Shell(&work).refused("env set org");
    assert!(
        said.contains("--managed, --licensed or --capacity"),
        "{said}"
    );
    let said = Shell(&work).refused("env enable org");
    assert!(said.contains("nothing to enable"), "{said}");
    assert_eq!(Shell(&work).json("policy resume"), serde_json::json!([]));
}
