//! The stolen-copy lab, end to end on small resources: what it says of protected copies, and that
//! it can say the opposite.

#![allow(clippy::unwrap_used)]

#[path = "common/keys.rs"]
mod keys;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use atrest::base::ResourceId;
use atrest::crypto::{KeyKind, random_id};
use atrest::envelope::ResourceKind;
use atrest::lab::{
    ATTACKS, CanarySet, Claim, Exhibit, FiguresPair, KeyChain, Lab, Manifest, Outcome, Report,
    ReportMeta, Run, SCHEMA, Searcher, Selection, StolenCopy, Stranger, Verdict, run, steal,
};
use atrest::resource::blob::{BlobName, BlobPath, StorageAccount};
use atrest::resource::sql::SqlDatabase;
use atrest::resource::{ProtectedResource, Protection, Wrapper};
use atrest::sqlite::PageSize;
use keys::TestVault;
use serde_json::Value;

const CANARIES: [&str; 2] = [
    "Kim Akers, IBAN NL91ABNA0417164300",
    "PAYROLL-7f3a91-CANARY",
];

struct Crime {
    dir: tempfile::TempDir,
    vault: Arc<TestVault>,
}

impl Crime {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("scratch")).unwrap();
        let vault = TestVault::new();
        Self { dir, vault }
    }

    fn wrapper(&self) -> Wrapper {
        self.vault.clone()
    }

    fn database(&self, name: &str, protection: Protection, rows: u32) -> StolenCopy {
        let live = self.dir.path().join("live").join(name);
        std::fs::create_dir_all(&live).unwrap();
        let id = random_id(ResourceId::from_bytes);
        let path = live.join("data.db");
        let wrapper = self.wrapper();
        let database =
            SqlDatabase::create(&path, id, PageSize::DEFAULT, protection.clone(), &wrapper)
                .unwrap();
        let mut connection = database.connect().unwrap();
        connection
            .pragma_update(None, "journal_mode", "wal")
            .unwrap();
        let tx = connection.transaction().unwrap();
        tx.execute_batch("CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, note TEXT)")
            .unwrap();
        for i in 0..rows {
            let name = CANARIES[(i % 2) as usize];
            let note = format!("ledger line {i}, amount {}", i * 37);
            tx.execute("INSERT INTO person VALUES (?1, ?2, ?3)", (i, name, note))
                .unwrap();
        }
        tx.commit().unwrap();
        let stolen = self.steal(name, &database.files().unwrap(), &live);
        StolenCopy {
            id,
            protection,
            path: stolen.join("data.db"),
        }
    }

    fn account(&self, name: &str, protection: Protection) -> StolenCopy {
        let live = self.dir.path().join("live").join(name);
        let id = random_id(ResourceId::from_bytes);
        let key = protection.key().cloned();
        let account =
            StorageAccount::create(&live, id, protection.clone(), key.as_ref(), &self.wrapper())
                .unwrap();
        for i in 0..4usize {
            let text = format!("invoice {i} for {}\n", CANARIES[i % 2]);
            let body = text.repeat(1 + i * 5000);
            let name = BlobPath::in_default(BlobName::parse(&format!("invoices/{i}.txt")).unwrap());
            account
                .put(&name, &mut body.as_bytes(), &mut |_| ())
                .unwrap();
        }
        let path = self.steal(name, &account.files().unwrap(), &live);
        StolenCopy {
            id,
            protection,
            path,
        }
    }

    fn steal(&self, name: &str, files: &[PathBuf], root: &Path) -> PathBuf {
        let into = self.dir.path().join("stolen").join(name);
        let manifest = steal(root, files, &into, &mut |_, _| ()).unwrap();
        assert!(!manifest.files.is_empty());
        into
    }

    fn lab(&self, exhibits: Vec<Exhibit>) -> Lab {
        let mut canaries = CanarySet::default();
        assert_eq!(canaries.plant(CANARIES), CANARIES.len());
        Lab {
            exhibits,
            owner: self.wrapper(),
            strangers: vec![Stranger {
                name: "another tenant's vault".to_owned(),
                wrapper: TestVault::new(),
            }],
            vaults: Vec::new(),
            canaries,
            seed: 7,
            scratch: self.dir.path().join("scratch"),
            program: Some(env!("CARGO_BIN_EXE_atrest").into()),
        }
    }

    fn protection(&self) -> Protection {
        self.vault.protection()
    }
}

fn attack(lab: &Lab) -> Vec<Outcome> {
    run(lab, &Selection::default(), &|_, _, _| ())
}

fn database_exhibit(protected: StolenCopy, twin: StolenCopy) -> Exhibit {
    Exhibit {
        name: "finance".to_owned(),
        kind: ResourceKind::Sql,
        protected,
        twin,
    }
}

fn account_exhibit(protected: StolenCopy, twin: StolenCopy) -> Exhibit {
    Exhibit {
        name: "documents".to_owned(),
        kind: ResourceKind::Storage,
        protected,
        twin,
    }
}

#[test]
fn every_attack_fails_on_what_is_protected_and_succeeds_on_its_twin() {
    let crime = Crime::new();
    let lab = crime.lab(vec![
        database_exhibit(
            crime.database("protected", crime.protection(), 2000),
            crime.database("plain", Protection::Plain, 2000),
        ),
        account_exhibit(
            crime.account("protected-account", crime.protection()),
            crime.account("plain-account", Protection::Plain),
        ),
    ]);
    let before = contents(crime.dir.path());
    let outcomes = attack(&lab);
    assert_eq!(
        before,
        contents(crime.dir.path()),
        "the copies stay as they are"
    );
    for o in &outcomes {
        assert!(o.verdict.is_acceptable(), "{o:#?}");
    }
    let not_protected: Vec<_> = outcomes
        .iter()
        .filter(|o| o.verdict == Verdict::NotProtected)
        .map(|o| (o.attack, o.exhibit.as_deref().unwrap()))
        .collect();
    let declared = [
        (4, "finance"),
        (5, "documents"),
        (6, "finance"),
        (16, "documents"),
        (17, "finance"),
        (17, "documents"),
        (18, "finance"),
        (18, "documents"),
        (24, "finance"),
        (24, "documents"),
        (28, "a vault"),
        (30, "finance"),
        (30, "documents"),
    ];
    assert_eq!(not_protected, declared);
    for attack in ATTACKS {
        let tried = outcomes.iter().any(|o| o.attack == attack.number);
        assert!(tried, "attack {}", attack.number);
    }
}

#[test]
fn a_lab_that_cannot_fail_is_found_out_by_data_that_is_not_protected() {
    let crime = Crime::new();
    let plain = |name: &str| crime.database(name, Protection::Plain, 2000);
    let plain_account = |name: &str| crime.account(name, Protection::Plain);
    let lab = crime.lab(vec![
        database_exhibit(plain("a"), plain("b")),
        account_exhibit(plain_account("c"), plain_account("d")),
    ]);
    let only_resources = Selection {
        resources_only: true,
        ..Selection::default()
    };
    let outcomes = run(&lab, &only_resources, &|_, _, _| ());
    let on_resources = ATTACKS.iter().filter(|a| matches!(a.run, Run::Each(..)));
    for attack in on_resources {
        let of = |o: &&Outcome| o.attack == attack.number;
        let failed = |o: &Outcome| o.verdict == Verdict::Fails;
        assert!(
            outcomes.iter().filter(of).any(failed),
            "attack {}",
            attack.number
        );
        let holds = |o: &Outcome| o.verdict == Verdict::Holds;
        assert!(
            !outcomes.iter().filter(of).any(holds),
            "attack {}",
            attack.number
        );
    }
}

#[test]
fn a_search_whose_control_finds_nothing_is_inconclusive() {
    let crime = Crime::new();
    let mut lab = crime.lab(vec![database_exhibit(
        crime.database("protected", crime.protection(), 500),
        crime.database("plain", Protection::Plain, 500),
    )]);
    let search = Selection::parse(&["2".to_owned()], &[]).unwrap();
    let known_texts = |lab: &Lab| run(lab, &search, &|_, _, _| ())[0].verdict;
    assert_eq!(known_texts(&lab), Verdict::Holds);
    lab.canaries = CanarySet::default();
    assert_eq!(lab.canaries.plant(["this text is nowhere in the data"]), 1);
    assert_eq!(known_texts(&lab), Verdict::Inconclusive);
}

#[test]
fn the_report_is_whole_escaped_and_needs_nothing_else() {
    let crime = Crime::new();
    let lab = crime.lab(vec![Exhibit {
        name: "<script>alert(1)</script>".to_owned(),
        ..database_exhibit(
            crime.database("protected", crime.protection(), 500),
            crime.database("plain", Protection::Plain, 500),
        )
    }]);
    let mut report = Report::new(ReportMeta {
        title: "A & B".to_owned(),
        command: "atrest prove".to_owned(),
        generated: "2026-03-01T12:00:00Z".parse().unwrap(),
        seed: 7,
        parameters: Default::default(),
    });
    assert_eq!(report.exit_code(), 1, "nothing was proved yet");
    let searcher = Searcher::new(&lab.canaries).unwrap();
    let stolen = crime.dir.path().join("stolen");
    let pair = FiguresPair::take(&lab.exhibits[0], &stolen, &searcher).unwrap();
    assert_eq!(pair.protected.figures.alarms(), Vec::<&str>::new());
    assert_eq!(pair.protected.path.as_deref(), Some("protected/data.db"));
    let name = lab.exhibits[0].name.clone();
    report.figures(pair);
    report.keys(KeyChain::new(
        name,
        "vault/keys/k",
        KeyKind::Rsa2048,
        ResourceKind::Sql,
    ));
    assert_eq!(report.strength_bits(), Some(112));
    let only = Selection::parse(&["1".to_owned(), "2".to_owned(), "4".to_owned()], &[]).unwrap();
    run(&lab, &only, &|_, _, _| ())
        .into_iter()
        .for_each(|o| report.claim(o));
    assert_eq!(report.exit_code(), 0);
    let written = report.write(crime.dir.path()).unwrap();

    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(written.json).unwrap()).unwrap();
    assert_eq!(json["schema"], SCHEMA);
    assert_eq!(
        json["claims"].as_array().unwrap().len(),
        report.claims().len()
    );
    let html = std::fs::read_to_string(written.html).unwrap();
    assert!(!html.contains("<script"));
    assert!(html.contains("A &#38; B") || html.contains("A &amp; B"));
    for loads in ["src=", "href=", "url(", "@import", "http://", "https://"] {
        let found = html
            .replace("xmlns=\"http://www.w3.org/2000/svg\"", "")
            // To a place in the page itself.
            .replace("href=\"#", "")
            .contains(loads);
        assert!(!found, "{loads}");
    }
}

/// Runs the program in the working directory `dir`.
/// What the page says at its top, in a report with these claims; of a theft, or of nothing stolen.
fn headline(stolen: bool, claims: &[(&str, Verdict)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut report = Report::new(ReportMeta {
        title: "A run".to_owned(),
        command: "atrest prove".to_owned(),
        generated: "2026-03-01T12:00:00Z".parse().unwrap(),
        seed: 7,
        parameters: Default::default(),
    });
    if stolen {
        report.stolen("everything", Manifest::default());
    }
    for (id, verdict) in claims {
        report.claim(Claim {
            id: (*id).to_owned(),
            text: "A claim.".to_owned(),
            verdict: *verdict,
            evidence: Default::default(),
        });
    }
    let written = report.write(dir.path()).unwrap();
    let page = std::fs::read_to_string(written.html).unwrap();
    let (_, rest) = page.split_once("<div class=\"outcome").unwrap();
    let (head, _) = rest.split_once("</div>").unwrap();
    let (_, text) = head.split_once("<span>").unwrap();
    let good = if rest.starts_with(" bad") {
        "bad"
    } else {
        "good"
    };
    format!("{good}: {}", text.trim_end_matches("</span>"))
}

#[test]
fn a_page_does_not_say_that_all_is_of_no_use_when_some_of_it_is_readable_or_nothing_was_tried() {
    use Verdict::{Fails, Holds, NotProtected, NotTried};
    let both = [("attack-1/x", Holds), ("attack-2/x", Holds)];
    let with = |more: &[(&'static str, Verdict)]| [&both[..], more].concat();
    let of_no_use = "good: Without the key, nothing that was tried could read what was stolen.";
    assert_eq!(headline(true, &both), of_no_use);
    let limit = with(&[("attack-17/x", NotProtected)]);
    let limits = " Known limits: 1, listed below.";
    assert_eq!(headline(true, &limit), format!("{of_no_use}{limits}"));
    for bare in ["plain/sql/x", "readable/export.csv"] {
        assert_eq!(
            headline(true, &with(&[(bare, NotProtected)])),
            "bad: Some of what was stolen is not protected, and can be read: see below."
        );
    }
    let all = "good: Every claim below holds.";
    assert_eq!(headline(false, &both), all);
    assert_eq!(headline(true, &both[1..]), all);
    assert_eq!(
        headline(true, &[("attack-1/x", Holds), ("attack-2", NotTried)]),
        "good: What was tried holds."
    );
    let failed = headline(true, &with(&[("attack-7/x", Fails)]));
    assert!(failed.starts_with("bad: Protection failed"), "{failed}");
}

fn atrest(dir: &Path, args: &[&str]) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_atrest"));
    let done = command.arg("--dir").arg(dir).args(args).output().unwrap();
    assert!(done.status.success(), "{args:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn a_proof_leaves_the_users_data_alone_and_names_what_lies_beside_it_in_plain() {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    atrest(&work, &["init", "--key-kind", "oct-256"]);
    let plain = dir.path().join("plain.db");
    let connection = rusqlite::Connection::open(&plain).unwrap();
    connection
        .execute_batch("CREATE TABLE person (name TEXT)")
        .unwrap();
    for i in 0..300 {
        let name = format!("{} {i}", CANARIES[i % 2]);
        connection
            .execute("INSERT INTO person VALUES (?1)", [name])
            .unwrap();
    }
    drop(connection);
    atrest(&work, &["sql", "import", plain.to_str().unwrap(), "ledger"]);
    let backup = "environments/production/sql/ledger.db.before";
    std::fs::copy(&plain, work.join(backup)).unwrap();
    // The vaults record that their keys were used; all else stays as it is, to the byte.
    let data = || contents(&work.join("environments"));
    let (before, names) = (data(), std::fs::read_dir(&work).unwrap().count());
    let told = atrest(&work, &["--json", "prove", "--only", "1,2,7,18,20,24"]);
    assert_eq!(before, data());
    assert_eq!(names, std::fs::read_dir(&work).unwrap().count());
    let report: Value = serde_json::from_str(&told).unwrap();
    let claims = report["claims"].as_array().unwrap();
    let of_backup = claims
        .iter()
        .find(|c| c["id"] == format!("readable/{backup}"));
    assert_eq!(of_backup.unwrap()["verdict"], "not-protected", "{told}");
    let readable = claims
        .iter()
        .filter(|c| c["id"].as_str().unwrap().starts_with("readable/"));
    assert_eq!(readable.count(), 1, "{told}");
    // What tries nothing is no proof.
    for none in [
        &["--only", "1", "--skip", "1"][..],
        &["--only", "13", "--resource", "sql/ledger"],
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_atrest"));
        let done = command
            .arg("--dir")
            .arg(&work)
            .arg("prove")
            .args(none)
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(2), "{done:?}");
        assert!(String::from_utf8_lossy(&done.stderr).contains("nothing was tried"));
    }
}

/// Claims of one attack on a database, and how the run ended, where only these programs are on the search path.
fn proved_with(work: &Path, attack: &str, programs: &[(&str, &str)]) -> (Vec<Value>, i32) {
    use std::os::unix::fs::PermissionsExt;
    let path = tempfile::tempdir().unwrap();
    for (name, does) in programs {
        let program = path.path().join(name);
        std::fs::write(&program, format!("#!/bin/sh\n{does}\n")).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_atrest"));
    command.arg("--dir").arg(work).args(["--json", "prove"]);
    command.args(["--only", attack]);
    let done = command.env("PATH", path.path()).output().unwrap();
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let claims = report["claims"].as_array().unwrap().clone();
    (claims, done.status.code().unwrap())
}

/// The verdict and the summary of the claim whose name ends so.
fn told<'a>(claims: &'a [Value], ending: &str) -> Option<(&'a str, &'a str)> {
    let ends = |c: &&Value| c["id"].as_str().unwrap().ends_with(ending);
    let claim = claims.iter().find(ends)?;
    let summary = claim["evidence"]["summary"].as_str().unwrap();
    Some((claim["verdict"].as_str().unwrap(), summary))
}

/// A tool that dies has found nothing in the protected copy, either.
#[test]
fn a_tool_that_fails_is_neither_taken_for_one_that_found_nothing_nor_for_one_that_is_absent() {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path();
    atrest(work, &["init", "--key-kind", "oct-256"]);
    atrest(work, &["sql", "create", "ledger"]);
    let rows = "CREATE TABLE person (name TEXT, note TEXT);
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
        INSERT INTO person SELECT 'Kim Akers, number ' || i, 'IBAN NL91ABNA' || (417164300 + i) FROM n";
    atrest(work, &["sql", "exec", "ledger", rows]);
    let dies = |name| (name, "echo it cannot go on >&2; exit 3");
    let killed = |name| (name, "kill -9 $$");
    let finds = (
        "yara",
        "/usr/bin/grep -q 'SQLite format 3' \"$3\" && echo '0x0:$sqlite: SQLite'; exit 0",
    );
    // The controls: none of them, and one that works.
    let (none, code) = proved_with(work, "2", &[]);
    assert_eq!(
        (told(&none, "standard-tools"), code),
        (None, 0),
        "{none:#?}"
    );
    let (works, code) = proved_with(work, "2", &[finds]);
    let (verdict, _) = told(&works, "standard-tools").unwrap();
    assert_eq!((verdict, code), ("holds", 0), "{works:#?}");
    // With each other one broken, in either way.
    let broken = [
        finds,
        dies("foremost"),
        dies("ent"),
        killed("photorec"),
        killed("binwalk"),
    ];
    let (claims, code) = proved_with(work, "2", &broken);
    let (verdict, summary) = told(&claims, "standard-tools").unwrap();
    assert_eq!((verdict, code), ("holds", 1), "{claims:#?}");
    assert!(!summary.contains("ent"), "{summary}");
    for (tool, how) in [
        ("foremost", "exit status: 3, and said: it cannot go on"),
        ("ent", "exit status: 3"),
        ("photorec", "signal: 9"),
        ("binwalk", "signal: 9"),
    ] {
        let ending = format!("standard-tools--{tool}");
        let (verdict, summary) = told(&claims, &ending).unwrap();
        assert_eq!(verdict, "inconclusive", "{tool}");
        let failed = format!("{tool} failed: {how}");
        assert!(summary.starts_with(&failed), "{summary}");
    }
    // All of them broken.
    let (claims, _) = proved_with(work, "2", &[dies("yara")]);
    assert!(told(&claims, "standard-tools").is_none());
    assert_eq!(
        told(&claims, "standard-tools--yara").unwrap().0,
        "inconclusive"
    );
    // What traces.
    let part = "while-the-program-does-the-same-work";
    let (absent, code) = proved_with(work, "12", &[]);
    assert_eq!((told(&absent, part), code), (None, 0));
    let whole = "while-it-works";
    assert!(
        told(&absent, whole)
            .unwrap()
            .1
            .contains("strace is not installed")
    );
    let (failed, code) = proved_with(work, "12", &[dies("strace")]);
    let (verdict, summary) = told(&failed, part).unwrap();
    assert_eq!((verdict, code), ("inconclusive", 1), "{failed:#?}");
    assert!(
        summary.contains("strace failed: exit status: 3"),
        "{summary}"
    );
    assert!(!told(&failed, whole).unwrap().1.contains("not installed"));
    let part = "dumps-of-a-server-s-process--by-gcore";
    let (failed, code) = proved_with(work, "21", &[dies("gcore")]);
    let (verdict, summary) = told(&failed, part).unwrap();
    assert_eq!((verdict, code), ("inconclusive", 1), "{failed:#?}");
    assert!(
        summary.contains("gcore failed: exit status: 3"),
        "{summary}"
    );
}

/// What `prove` says of a resource whose key is gone, and what it ends with.
#[test]
fn what_a_purge_erased_is_shown_to_be_erased_and_a_key_that_can_come_back_is_no_erasure() {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path();
    atrest(work, &["init", "--key-kind", "oct-256"]);
    atrest(work, &["sql", "create", "ledger"]);
    let rows = "CREATE TABLE person (name TEXT); INSERT INTO person VALUES ('Kim Akers')";
    atrest(work, &["sql", "exec", "ledger", rows]);
    let prove = |only: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_atrest"));
        command.arg("--dir").arg(work).args(["--json", "prove"]);
        command.args(["--only", only]).output().unwrap()
    };
    let claims = |done: &std::process::Output| -> Vec<Value> {
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        report["claims"].as_array().unwrap().clone()
    };
    // Deleted, it can be recovered: nothing is erased, nothing is proved, and the error says what to do.
    atrest(work, &["key", "delete", "customer-key"]);
    let deleted = prove("1");
    let told_of = claims(&deleted);
    let (verdict, summary) = told(&told_of, "twin/production/sql/ledger").unwrap();
    assert_eq!((verdict, deleted.status.code()), ("inconclusive", Some(1)));
    assert!(
        summary.contains("recover it with `atrest key recover`"),
        "{summary}"
    );
    assert!(told(&told_of, "erased/production/sql/ledger").is_none());
    // Purged, it is gone.
    atrest(work, &["key", "purge", "customer-key"]);
    let purged = prove("32");
    let told_of = claims(&purged);
    let (verdict, summary) = told(&told_of, "erased/production/sql/ledger").unwrap();
    assert_eq!(
        (verdict, purged.status.code()),
        ("holds", Some(0)),
        "{told_of:#?}"
    );
    assert!(summary.contains("no detector raises an alarm"), "{summary}");
    let (verdict, summary) = told(&told_of, "twin/production/sql/ledger").unwrap();
    assert_eq!(verdict, "not-tried");
    assert!(summary.contains("Its key was purged"), "{summary}");
    // What was chosen cannot be tried on it, which is no success.
    let in_vain = prove("3");
    assert_eq!(in_vain.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&in_vain.stderr).contains("nothing was tried"));
    // Bytes that are no noise are not erased, whatever became of the key.
    let file = work.join("environments/production/sql/ledger.db");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend(b"Kim Akers, and her account. ".repeat(1000));
    std::fs::write(&file, bytes).unwrap();
    let altered = prove("32");
    let told_of = claims(&altered);
    let (verdict, _) = told(&told_of, "erased/production/sql/ledger").unwrap();
    assert_eq!((verdict, altered.status.code()), ("fails", Some(1)));
}

#[test]
fn the_attacks_on_vaults_are_tried_on_copies_of_the_users_own_and_say_what_a_passphrase_keeps_from_them()
 {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path();
    atrest(work, &["init", "--key-kind", "oct-256"]);
    atrest(work, &["sql", "create", "ledger"]);
    for _ in 0..3 {
        atrest(work, &["key", "rotate", "customer-key"]);
    }
    atrest(work, &["vault", "create", "guarded", "--purge-protection"]);
    atrest(
        work,
        &[
            "key", "create", "kept", "--kind", "oct-256", "--vault", "guarded",
        ],
    );
    let (claims, code) = proved_with(work, "28,29,31,32", &[]);
    assert_eq!(code, 0, "{claims:#?}");
    let of = |vault: &str, number: u8, part: &str| {
        let id = format!("attack-{number}/the-vault-{vault}/{part}");
        let (verdict, _) = told(&claims, &id).unwrap_or_else(|| panic!("{id}: {claims:#?}"));
        verdict.to_owned()
    };
    // Its files fall under the attacks on any stolen file, too.
    let (on_files, _) = proved_with(work, "1,2,25", &[]);
    for part in [
        "attack-1/the-vault-customer/opened-by-who-has-its-files-and-not-the-root-key",
        "attack-2/the-vault-customer/known-texts--what-its-tables-hold",
        "attack-2/the-vault-customer/file-structures",
        "attack-2/the-vault-customer/statistics-of-its-database",
        "attack-25/the-vault-customer/nonces-of-its-files",
    ] {
        let found = told(&on_files, part).unwrap_or_else(|| panic!("{part}: {on_files:#?}"));
        assert_eq!(found.0, "holds", "{part}: {}", found.1);
    }
    let parts = [
        (29, "by-who-has-the-file-and-not-the-root-key"),
        (29, "by-who-has-the-root-key-and-changes-rows"),
        (31, "opened-by-who-has-its-files-and-not-the-root-key"),
        (
            31,
            "a-key-that-is-purged-in-a-copy--by-who-has-the-file-and-the-root-key",
        ),
        (32, "the-backup-of-a-key--made-by-a-copy"),
    ];
    for (number, part) in parts {
        assert_eq!(of("customer", number, part), "holds", "{number} {part}");
    }
    assert_eq!(of("customer", 28, "what-a-guess-costs"), "not-tried");
    // Purge protection holds in a copy as well.
    assert_eq!(of("guarded", 31, parts[3].1), "not-tried");
    assert_eq!(of("guarded", 31, parts[2].1), "holds");
    // Where a passphrase seals it, it is guessed at, and nothing is tried that would have to know it.
    let (sealed, file) = (dir.path().join("sealed"), dir.path().join("words"));
    std::fs::write(&file, "correct horse battery staple\n").unwrap();
    let words = file.to_str().unwrap();
    let init = [
        "--passphrase-file",
        words,
        "init",
        "--passphrase",
        "--key-kind",
        "oct-256",
    ];
    atrest(&sealed, &init);
    atrest(
        &sealed,
        &["--passphrase-file", words, "sql", "create", "ledger"],
    );
    let prove = [
        "--passphrase-file",
        words,
        "--json",
        "prove",
        "--only",
        "28,31",
    ];
    let report: Value = serde_json::from_str(&atrest(&sealed, &prove)).unwrap();
    let claims = report["claims"].as_array().unwrap();
    let (verdict, summary) = told(claims, "the-vault-customer/what-a-guess-costs").unwrap();
    assert_eq!(verdict, "holds");
    assert!(summary.contains("One guess takes 64 MiB"), "{summary}");
    let of_vault = |c: &&Value| c["id"] == "attack-31/the-vault-customer";
    let untried = claims.iter().find(of_vault).unwrap();
    assert_eq!(untried["verdict"], "not-tried");
    let reason = untried["evidence"]["reason"].as_str().unwrap();
    assert!(reason.contains("passphrase"), "{reason}");
    // Nothing of it happened to the vaults themselves.
    assert!(atrest(work, &["key", "list"]).contains("customer-key"));
    atrest(work, &["sql", "exec", "ledger", "SELECT 1"]);
    atrest(work, &["audit", "verify"]);
}

/// Every file below `dir`, with its bytes.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = walkdir::WalkDir::new(dir).sort_by_file_name().into_iter();
    let files = files
        .map(|e| e.unwrap().into_path())
        .filter(|p| p.is_file());
    files
        .map(|p| (p.clone(), std::fs::read(&p).unwrap()))
        .collect()
}
