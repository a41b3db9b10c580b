//! A working directory: what init, protect, unprotect, restore and a second process do to it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use atrest::base::SystemClock;
use atrest::crypto::{KeyKind, SecretBytes};
use atrest::lab;
use atrest::resource::blob::{
    Attributes, BlobName, BlobPath, Block, BlockId, Conditions, Encryption,
};
use atrest::resource::{ProtectedResource, Protection};
use atrest::sqlite::PageSize;
use atrest::vault::{KeySpec, KeyUpdate, KeyVault, VaultSettings};
use atrest::world::{
    AskPassphrase, InitOptions, Kind, NamedKey, NewVault, ResourceAddress, VaultKind, WhichVault,
    Workspace, WorldError,
};

const MARKER: &str = "the-marker-that-is-looked-for";

fn options(passphrase: Option<&str>) -> InitOptions {
    InitOptions {
        environment: "production".parse().unwrap(),
        customer_key: Some(("customer-key".parse().unwrap(), KeyKind::Oct256)),
        passphrase: passphrase.map(|p| SecretBytes::from_vec(p.into())),
        vault: VaultSettings::default(),
    }
}

fn init(dir: &Path) -> Workspace {
    Workspace::init(dir, options(None), Arc::new(SystemClock)).unwrap()
}

fn ask(answer: &'static str) -> AskPassphrase {
    Arc::new(move |_| Ok(SecretBytes::from_vec(answer.into())))
}

fn open(dir: &Path) -> Result<Workspace, WorldError> {
    let nobody: AskPassphrase = Arc::new(|_| Err("there is nobody to ask".into()));
    Workspace::open(dir, nobody, Arc::new(SystemClock))
}

#[test]
fn the_keys_of_one_vault_are_nothing_in_another() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = init(dir.path());
    let settings = VaultSettings {
        retention_days: 7,
        purge_protection: true,
    };
    let new = NewVault {
        settings,
        passphrase: None,
        kind: VaultKind::Vault,
    };
    let payroll = workspace
        .create_vault(&"payroll".parse().unwrap(), new, Arc::new(SystemClock))
        .unwrap();
    assert_eq!(payroll.settings().unwrap(), settings);
    let spec = KeySpec::new(KeyKind::Oct256);
    payroll
        .create_key(&"only-here".parse().unwrap(), &spec)
        .unwrap();
    let named: NamedKey = "payroll/only-here".parse().unwrap();
    let key = workspace.customer_key(Some(&named)).unwrap();
    assert_eq!(key.vault, payroll.id());
    let wrong = workspace.customer_key(Some(&"nobody/only-here".parse().unwrap()));
    assert!(wrong.unwrap_err().to_string().contains("VaultNotFound"));
    assert!("provider/service-managed".parse::<NamedKey>().is_err());

    // A database under it opens, also for who opens the working directory anew, and stops with it.
    let database = at("sql/wages");
    let to = Protection::CustomerManaged { key };
    workspace
        .create_sql(&database, to, PageSize::DEFAULT)
        .unwrap();
    drop(workspace);
    let workspace = open(dir.path()).unwrap();
    workspace.open_sql(&database).unwrap().connect().unwrap();
    let customer = workspace.vault(&WhichVault::Customer).unwrap();
    assert!(customer.key(&named.key, None).is_err(), "it is in both");
    let payroll = workspace.vault(&named.vault).unwrap();
    let off = KeyUpdate {
        enabled: Some(false),
        ..KeyUpdate::default()
    };
    payroll.update_key(&named.key, None, &off).unwrap();
    assert!(workspace.open_sql(&database).is_err());
    assert!(
        !workspace
            .at_rest()
            .unwrap()
            .iter()
            .any(|path| path.ends_with("vaults"))
    );
}

#[test]
fn half_a_vault_never_lies_in_the_place_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = init(dir.path());
    let settings = VaultSettings {
        retention_days: 90,
        purge_protection: false,
    };
    let make = |name: &str, settings: &VaultSettings| {
        let new = NewVault {
            settings: *settings,
            passphrase: None,
            kind: VaultKind::ManagedHsm,
        };
        workspace.create_vault(&name.parse().unwrap(), new, Arc::new(SystemClock))
    };
    // What a process left behind that was killed while it made one.
    let left = dir.path().join("vaults/payroll.new");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("vault.db"), b"half").unwrap();
    make("payroll", &settings).unwrap();
    assert!(!left.exists());
    for taken in ["payroll", "customer", "provider"] {
        let refused = make(taken, &settings).err().unwrap();
        assert!(matches!(refused, WorldError::Exists(_)), "{refused}");
    }
    // One that nobody has listed is not taken over, and not removed.
    let unlisted = dir.path().join("vaults/unlisted");
    fs::create_dir(&unlisted).unwrap();
    assert!(make("unlisted", &settings).is_err() && unlisted.exists());
    let settings = VaultSettings {
        retention_days: 91,
        ..settings
    };
    assert!(make("treasury", &settings).is_err());
    let there = fs::read_dir(dir.path().join("vaults")).unwrap();
    let mut there: Vec<_> = there.map(|e| e.unwrap().file_name()).collect();
    there.sort();
    assert_eq!(there, ["payroll", "unlisted"]);
    let names = open(dir.path()).unwrap().vaults().unwrap();
    let names: Vec<_> = names.iter().map(|(which, ..)| which.to_string()).collect();
    assert_eq!(names, ["customer", "provider", "payroll"]);
}

fn at(text: &str) -> ResourceAddress {
    text.parse().unwrap()
}

/// A database and an account with the marker in each.
fn fill(workspace: &Workspace, protection: &Protection) {
    let sql = workspace
        .create_sql(&at("sql/finance"), protection.clone(), PageSize::DEFAULT)
        .unwrap();
    let conn = sql.connect().unwrap();
    conn.execute_batch(&format!(
        "CREATE TABLE t (x); INSERT INTO t VALUES ('{MARKER}');"
    ))
    .unwrap();
    let storage = workspace
        .create_storage(&at("storage/documents"), protection.clone())
        .unwrap();
    let mut bytes = MARKER.repeat(10_000).into_bytes();
    bytes.push(0);
    storage.put(&name(), &mut &bytes[..], &mut |_| ()).unwrap();
}

fn name() -> BlobPath {
    BlobPath::in_default(BlobName::parse("invoices/1.txt").unwrap())
}

/// What the database and the account in an environment hold.
fn read(workspace: &Workspace, environment: &str) -> Result<(String, usize), WorldError> {
    let sql = workspace.open_sql(&at(&format!("{environment}/sql/finance")))?;
    let found = sql
        .connect()?
        .query_row("SELECT x FROM t", (), |row| row.get(0))
        .map_err(|e| sql.explain(e))?;
    let storage = workspace.open_storage(&at(&format!("{environment}/storage/documents")))?;
    let mut bytes = Vec::new();
    storage.get(&name(), None, &mut bytes, &mut |_| ())?;
    assert!(bytes.starts_with(MARKER.as_bytes()));
    Ok((found, bytes.len()))
}

fn whole() -> (String, usize) {
    (MARKER.to_owned(), MARKER.len() * 10_000 + 1)
}

/// How many files of the data hold the marker.
fn leaks(workspace: &Workspace) -> usize {
    let roots = workspace.at_rest().unwrap();
    let files = roots
        .iter()
        .flat_map(walkdir::WalkDir::new)
        .map(Result::unwrap);
    let files = files.filter(|f| f.file_type().is_file());
    let holds = |bytes: Vec<u8>| bytes.windows(MARKER.len()).any(|w| w == MARKER.as_bytes());
    files.filter(|f| holds(fs::read(f.path()).unwrap())).count()
}

fn conversion(workspace: &Workspace, to: &Protection) -> Vec<atrest::world::Converted> {
    let addresses = [at("sql/finance"), at("storage/documents")];
    let convert = |a| workspace.set_protection(a, to, &mut |_, _| ()).unwrap();
    addresses.iter().map(convert).collect()
}

#[test]
fn protection_moves_through_every_state_and_the_data_stays_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = init(dir.path());
    let customer = workspace.default_protection();
    let service = Protection::ServiceManaged {
        key: workspace.service_key(),
    };
    fill(&workspace, &Protection::Plain);
    assert_eq!(leaks(&workspace), 2, "the positive control");

    let mut done = Vec::new();
    for to in [&customer, &service, &Protection::Plain, &service, &customer] {
        done.extend(conversion(&workspace, to));
        assert_eq!(read(&workspace, "production").unwrap(), whole());
        let expected = if *to == Protection::Plain { 2 } else { 0 };
        assert_eq!(leaks(&workspace), expected, "{to:?}");
        let again = open(dir.path()).unwrap();
        assert_eq!(read(&again, "production").unwrap(), whole());
        for (address, entry) in again.resources() {
            assert_eq!(entry.protection, *to);
            let key = again.key_version(&address).unwrap().map(|v| v.key());
            assert_eq!(key.as_ref(), to.key());
        }
    }
    let warned: Vec<bool> = done.iter().map(|d| d.plaintext_was_deleted).collect();
    assert_eq!(
        warned,
        [
            true, true, false, false, false, false, true, true, false, false
        ]
    );
    let untouched: Vec<bool> = done.iter().map(|d| d.bytes_untouched > 0).collect();
    assert_eq!(
        untouched,
        [
            false, false, true, true, false, false, false, false, true, true
        ]
    );
    let twice = workspace.set_protection(&at("sql/finance"), &customer, &mut |_, _| ());
    assert!(matches!(twice, Err(WorldError::Usage(_))));
}

#[test]
fn a_crash_between_the_two_renames_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = init(dir.path());
    fill(&workspace, &Protection::Plain);
    let before = fs::read(dir.path().join("atrest.json")).unwrap();
    let sql = workspace.path(&at("sql/finance")).unwrap();
    let plain = fs::read(&sql).unwrap();
    let customer = workspace.default_protection();
    workspace
        .set_protection(&at("sql/finance"), &customer, &mut |_, _| ())
        .unwrap();
    let sealed = fs::read(&sql).unwrap();

    // What the configuration said while the files were exchanged.
    let pending = String::from_utf8(before).unwrap().replacen(
        "\"protection\": \"plain\"",
        &format!(
            "\"protection\": \"plain\", \"pending\": {}",
            serde_json::to_string(&customer).unwrap()
        ),
        1,
    );
    let beside = |end: &str| format!("{}{end}", sql.display());
    // Each state that a crash can leave: what is there (live, .new, .old), and which must win.
    let states: [([Option<&[u8]>; 3], &Protection); 5] = [
        ([Some(&plain), None, None], &Protection::Plain),
        ([Some(&plain), Some(b"half"), None], &Protection::Plain),
        ([Some(&plain), Some(&sealed), None], &Protection::Plain),
        ([None, Some(&sealed), Some(&plain)], &customer),
        ([Some(&sealed), None, Some(&plain)], &customer),
    ];
    for (state, expected) in states {
        fs::write(dir.path().join("atrest.json"), &pending).unwrap();
        for (bytes, end) in state.into_iter().zip(["", ".new", ".old"]) {
            let _ = fs::remove_file(beside(end));
            if let Some(bytes) = bytes {
                fs::write(beside(end), bytes).unwrap();
            }
        }
        let workspace = open(dir.path()).unwrap();
        let (_, entry) = workspace.resource(&at("sql/finance")).unwrap();
        assert_eq!(entry.protection, *expected);
        assert_eq!(read(&workspace, "production").unwrap(), whole());
        assert!(!Path::new(&beside(".new")).exists() && !Path::new(&beside(".old")).exists());
        let config = fs::read_to_string(dir.path().join("atrest.json")).unwrap();
        assert!(!config.contains("pending"));
    }
}

#[test]
fn a_conversion_that_the_vault_refuses_leaves_the_data_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = init(dir.path());
    fill(&workspace, &Protection::Plain);
    let vault = workspace.vault(&WhichVault::Customer).unwrap();
    let key = "customer-key".parse().unwrap();
    let enabled = |enabled| KeyUpdate {
        enabled: Some(enabled),
        ..KeyUpdate::default()
    };
    vault.update_key(&key, None, &enabled(false)).unwrap();
    let before = fs::read(dir.path().join("atrest.json")).unwrap();
    let customer = workspace.default_protection();
    for address in [at("sql/finance"), at("storage/documents")] {
        let refused = workspace.set_protection(&address, &customer, &mut |_, _| ());
        assert!(refused.unwrap_err().to_string().contains("KeyDisabled"));
    }
    assert_eq!(fs::read(dir.path().join("atrest.json")).unwrap(), before);
    assert_eq!(read(&workspace, "production").unwrap(), whole());
    vault.update_key(&key, None, &enabled(true)).unwrap();
    conversion(&workspace, &customer);
    assert_eq!(read(&workspace, "production").unwrap(), whole());
}

#[test]
fn a_copy_opens_only_where_its_key_is() {
    let dir = tempfile::tempdir().unwrap();
    let (home, away) = (dir.path().join("home"), dir.path().join("away"));
    let workspace = init(&home);
    fill(&workspace, &workspace.default_protection());
    let loot = dir.path().join("loot");
    lab::steal(&home, &workspace.at_rest().unwrap(), &loot, &mut |_, _| ()).unwrap();
    assert!(!loot.join("customer").exists() && !loot.join("provider").exists());

    let environment = "recovery".parse().unwrap();
    let restored = workspace
        .restore(&loot, &environment, &mut |_, _| ())
        .unwrap();
    assert_eq!(restored.len(), 2);
    assert_eq!(read(&workspace, "recovery").unwrap(), whole());
    assert_eq!(read(&workspace, "production").unwrap(), whole());
    let ambiguous = workspace.open_sql(&at("sql/finance")).err().unwrap();
    assert!(matches!(ambiguous, WorldError::WhichEnvironment(_)));

    let elsewhere = init(&away);
    let restored = elsewhere
        .restore(&loot, &environment, &mut |_, _| ())
        .unwrap();
    for address in restored {
        let refused = elsewhere.check_access(&address).unwrap_err().to_string();
        assert!(refused.contains("KeyNotFound"), "{refused}");
    }
    let again = elsewhere.restore(&loot, &environment, &mut |_, _| ());
    assert!(matches!(again, Err(WorldError::Exists(_))));
}

/// Who looks whether the file is another one must not be misled by one of the same length, at the same time, or in
/// the same place of the disk.
#[test]
fn a_change_by_another_process_is_never_missed() {
    let dir = tempfile::tempdir().unwrap();
    let server = init(dir.path());
    let other = open(dir.path()).unwrap();
    for round in 0..20 {
        let name = format!("scans{round}");
        let named = || server.named(Kind::Storage, &name).len();
        server.reload().unwrap();
        assert_eq!(named(), 0, "{round}");
        let address = at(&format!("storage/{name}"));
        other.create_storage(&address, Protection::Plain).unwrap();
        server.reload().unwrap();
        assert_eq!(named(), 1, "{round}");
    }
    // One that is written in place, as by an editor.
    let config = dir.path().join("atrest.json");
    server.reload().unwrap();
    let text = fs::read_to_string(&config).unwrap();
    assert_eq!(server.environments()[0].as_str(), "production");
    fs::write(&config, text.replace("production", "editorials")).unwrap();
    server.reload().unwrap();
    assert_eq!(server.environments()[0].as_str(), "editorials");
    fs::remove_file(&config).unwrap();
    assert!(matches!(server.reload(), Err(WorldError::NoWorkspace(_))));
}

#[test]
fn a_second_process_cannot_change_the_directory_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = init(dir.path());
    let other = fs::File::open(dir.path().join("atrest.lock")).unwrap();
    other.lock().unwrap();
    let create = || workspace.create_storage(&at("storage/scans"), Protection::Plain);
    let text = create().err().unwrap().to_string();
    assert!(text.contains("another process"), "{text}");
    assert!(open(dir.path()).is_ok(), "looking is allowed");
    drop(other);
    create().unwrap();
    assert_eq!(open(dir.path()).unwrap().resources().len(), 1);
}

#[test]
fn a_directory_with_something_in_it_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("letter.txt"), "dear").unwrap();
    let refused = Workspace::init(dir.path(), options(None), Arc::new(SystemClock));
    assert!(matches!(refused, Err(WorldError::NotEmpty(_))));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert!(matches!(open(dir.path()), Err(WorldError::NoWorkspace(_))));
    // Fails half way, for the passphrase is too short: nothing is left.
    let fresh = dir.path().join("fresh");
    let refused = Workspace::init(&fresh, options(Some("short")), Arc::new(SystemClock));
    assert!(matches!(refused, Err(WorldError::Vault(_))));
    assert!(!fresh.exists());
    assert!(Workspace::init(&fresh, options(None), Arc::new(SystemClock)).is_ok());
}

#[test]
fn a_wrong_passphrase_opens_no_vault_and_what_needs_no_key_asks_for_none() {
    let dir = tempfile::tempdir().unwrap();
    let passphrase = "correct horse battery staple";
    let made = Workspace::init(dir.path(), options(Some(passphrase)), Arc::new(SystemClock));
    fill(&made.unwrap(), &Protection::Plain);
    assert!(!dir.path().join("customer/root.key").exists());
    let open = |answer| Workspace::open(dir.path(), ask(answer), Arc::new(SystemClock)).unwrap();
    let wrong = open("not the passphrase");
    assert_eq!(read(&wrong, "production").unwrap(), whole());
    let vault = wrong.vault(&WhichVault::Customer).err().unwrap();
    assert!(
        vault.to_string().contains("root key does not open"),
        "{vault}"
    );
    assert!(open(passphrase).vault(&WhichVault::Customer).is_ok());
}

#[test]
fn a_failed_import_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = init(dir.path());
    let source = dir.path().join("notes.txt");
    fs::write(
        &source,
        "this is no database, but it is long enough to look at".repeat(9),
    )
    .unwrap();
    let protection = workspace.default_protection();
    let address = at("sql/notes");
    let refused = workspace.import_sql(&address, protection.clone(), &source, &mut |_, _| ());
    assert!(refused.err().unwrap().to_string().contains("notes.txt"));
    assert!(workspace.resources().is_empty());
    let made = workspace.create_sql(&address, protection, PageSize::DEFAULT);
    assert_eq!(made.unwrap().files().unwrap().len(), 1);
}

#[test]
fn blocks_that_wait_to_be_committed_are_not_lost_to_a_change_of_protection() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = init(dir.path());
    let address = at("storage/documents");
    workspace
        .create_storage(&address, Protection::Plain)
        .unwrap();
    let to = workspace.default_protection();
    let change = || workspace.set_protection(&address, &to, &mut |_, _| ());
    let path = BlobPath::in_default(BlobName::parse("report").unwrap());
    let id = BlockId::from_bytes(b"1").unwrap();
    let account = workspace.open_storage(&address).unwrap();
    let put = account.put_block(
        &path,
        &id,
        &mut &b"half"[..],
        Encryption::default(),
        &mut || Ok(()),
    );
    assert_eq!(put.unwrap().size, 4);
    drop(account);
    let refused = change().unwrap_err().to_string();
    assert!(
        refused.contains("blocks that are not committed"),
        "{refused}"
    );

    let account = workspace.open_storage(&address).unwrap();
    let (said, any) = (Attributes::default(), Conditions::default());
    let list = [Block::Uncommitted(id)];
    account
        .put_block_list(&path, &list, &said, Encryption::default(), &any)
        .unwrap();
    drop(account);
    change().unwrap();
    let account = workspace.open_storage(&address).unwrap();
    let mut read = vec![];
    account.get(&path, None, &mut read, &mut |_| ()).unwrap();
    assert_eq!(read, b"half");
}
