//! The stolen-copy lab, end to end on small resources: what it says of protected copies, and that
//! it can say the opposite.

#![allow(clippy::unwrap_used)]

#[path = "common/keys.rs"]
mod keys;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use atrest::base::ResourceId;
use atrest::crypto::random_id;
use atrest::envelope::ResourceKind;
use atrest::lab::{
    ATTACKS, CanarySet, Exhibit, Lab, Outcome, Selection, StolenCopy, Stranger, Verdict, run, steal,
};
use atrest::resource::blob::{BlobName, StorageAccount};
use atrest::resource::sql::SqlDatabase;
use atrest::resource::{ProtectedResource, Protection, Wrapper};
use atrest::sqlite::PageSize;
use keys::TestVault;

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
            let name = BlobName::parse(&format!("invoices/{i}.txt")).unwrap();
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
            canaries,
            seed: 7,
            scratch: self.dir.path().join("scratch"),
        }
    }

    fn protection(&self) -> Protection {
        self.vault.protection()
    }
}

fn show(outcomes: &[Outcome]) {
    for o in outcomes.iter().filter(|o| o.verdict != Verdict::NotTried) {
        eprintln!(
            "{:>2} {} [{}] ({}): {}",
            o.attack,
            o.verdict,
            o.exhibit.as_deref().unwrap_or("-"),
            o.part.as_deref().unwrap_or("-"),
            o.evidence.summary
        );
        if let Some(c) = &o.evidence.control {
            eprintln!("     control: {} {}", c.fired, c.summary);
        }
        for (e, n) in &o.evidence.errors {
            eprintln!("     {n} x {e}");
        }
        for f in o.evidence.findings.iter().take(5) {
            eprintln!("     {} {:?} {}", f.file, f.offset, f.what);
        }
    }
}

fn timed(lab: &Lab) -> Vec<Outcome> {
    let mut all = Vec::new();
    for attack in ATTACKS {
        let only = Selection::parse(&[attack.number.to_string()], &[]).unwrap();
        let start = std::time::Instant::now();
        let outcomes = run(lab, &only, &|_, _, _| ());
        eprintln!("attack {}: {:?}", attack.number, start.elapsed());
        all.extend(outcomes);
    }
    show(&all);
    all
}

#[test]
fn every_attack_fails_on_what_is_protected_and_succeeds_on_its_twin() {
    let crime = Crime::new();
    let exhibits = vec![
        Exhibit {
            name: "finance".to_owned(),
            kind: ResourceKind::Sql,
            protected: crime.database("protected", crime.protection(), 2000),
            twin: crime.database("plain", Protection::Plain, 2000),
        },
        Exhibit {
            name: "documents".to_owned(),
            kind: ResourceKind::Storage,
            protected: crime.account("protected-account", crime.protection()),
            twin: crime.account("plain-account", Protection::Plain),
        },
    ];
    let outcomes = timed(&crime.lab(exhibits));
    for o in &outcomes {
        assert!(o.verdict.is_acceptable(), "{o:#?}");
    }
}
