//! Steps 4 to 6: what the customer does to the key, and what the data does then.

use std::time::Instant;

use rusqlite::Connection;

use crate::base::KeyVersion;
use crate::lab::{Erasure, KeyCopy};
use crate::resource::blob::{BlobName, BlobPath, Conditions, StorageAccount};
use crate::resource::sql::SqlDatabase;
use crate::resource::{ProtectedResource, ResourceError};
use crate::vault::{AuditFilter, AuditOperation, KeyUpdate, KeyVault, VaultError};
use crate::world::Kind;

use super::copy::RECOVERY;
use super::stage::{ENVIRONMENT, PROTECTED, SQL, STORAGE, Stage, TWINS};
use crate::scenario::ScenarioError;
use crate::scenario::error::reason;
use crate::scenario::figures::{count, millis, size};
use crate::scenario::measure::Difference;
use crate::scenario::teller::{Seen, Teller};

/// Where the copy is restored after the purge.
const AFTERWARDS: &str = "afterwards";

/// Step 4: only wrapped keys change, and what was taken before keeps its old wrapped key.
pub(super) fn rotated(stage: &Stage, teller: &mut Teller<'_>) -> Result<(), ScenarioError> {
    let old = stage.vault.key(&stage.key, None)?.kid.version;
    let new = stage.vault.rotate_key(&stage.key)?.kid.version;
    let (mut sql, mut storage) = stage.open(ENVIRONMENT, PROTECTED)?;
    let protection = stage.workspace.default_protection();
    let started = Instant::now();
    sql.rewrap(&protection)?;
    storage.rewrap(&protection)?;
    let time = started.elapsed();
    let places = [sql.path().to_owned(), storage.dir().to_owned()];
    // Closed, as they were when the copy was taken.
    drop((sql, storage));
    teller.fact("Key version", format!("{} -> {}", short(old), short(new)));

    let mut seen = Seen::new(true, format!("rewrapped in {}", millis(time)));
    let resources = [
        (Kind::Sql, SQL.protected),
        (Kind::Storage, STORAGE.protected),
    ];
    for ((kind, name), live) in resources.into_iter().zip(places) {
        let difference = Difference::between(&live, &stage.stolen_copy(kind, name)?.path)?;
        let line = format!(
            "{} of {} bytes differ from the stolen copy; {} are data",
            count(difference.differing),
            count(difference.bytes),
            count(difference.data_differing),
        );
        teller.fact(name, &line);
        let only_keys = difference.differing > 0 && difference.data_differing == 0;
        let files = difference.files.join(", ");
        seen = seen.and(Seen::new(only_keys, format!("{name}: {line}, in {files}")));
    }
    teller.fact("Rewrapped in", millis(time));
    teller.compare(
        "rotation-rewraps",
        "Rotation rewrites wrapped keys, and not one byte of data",
        seen,
        Seen::new(old != new, "the key has a new version"),
    );

    let live = stage.read(ENVIRONMENT)?;
    teller.compare(
        "rotation-opens",
        "After the rotation the live resources open and hold the same data",
        Seen::new(
            live == stage.data.original,
            "read anew, compared with the original",
        ),
        Seen::new(
            stage.data.original.rows() > 0,
            "the original holds rows to compare",
        ),
    );
    old_version(stage, old, teller)
}

/// The copy depends on the old version, the live resources do not.
fn old_version(
    stage: &Stage,
    old: KeyVersion,
    teller: &mut Teller<'_>,
) -> Result<(), ScenarioError> {
    let copy = || Stage::access(&stage.workspace, RECOVERY, PROTECTED);
    let before = copy();
    let still_opens = before.iter().all(|(_, result)| result.is_ok());
    set_enabled(stage, Some(old), false)?;
    let (copy_after, live_after) = (copy(), stage.live());
    set_enabled(stage, Some(old), true)?;
    for (name, result) in &copy_after {
        let seen = result.as_ref().err().map_or_else(|| "opens".into(), reason);
        teller.fact(
            &format!("{name}, copy"),
            format!("with the old version disabled: {seen}"),
        );
    }
    teller.compare(
        "copy-needs-old-version",
        "The earlier copy still needs the old version: with that disabled it stays shut",
        Seen::refused(copy_after).and(Seen::worked(live_after)),
        Seen::worked(before).and(Seen::worked(copy())),
    );
    if still_opens {
        teller.not_protected(
            "rotation-shuts-old-copies",
            "A rotation alone shuts copies that were taken before",
            "after the rotation the earlier copy opened in the same vault".into(),
            "the copy holds its own wrapped key; it is shut by disabling or deleting the old \
             version",
        );
    }
    Ok(())
}

/// Step 5: what is open at that moment stops too.
pub(super) fn disabled(stage: &Stage, teller: &mut Teller<'_>) -> Result<(), ScenarioError> {
    let protected = Open::new(stage, PROTECTED)?;
    let twin = Open::new(stage, TWINS)?;
    let before = Seen::worked(protected.use_all());
    teller.fact("Before", "a connection and an account are open, and in use");

    set_enabled(stage, None, false)?;
    let started = Instant::now();
    let stopped = protected.use_all();
    let time = started.elapsed();
    for (what, result) in &stopped {
        let seen = match result {
            Ok(()) => "goes on".to_owned(),
            Err(e) => format!("refused: {}", reason(e)),
        };
        teller.fact(what, seen);
    }
    teller.fact(
        "All refused within",
        format!("{} of the vault's answer", millis(time)),
    );
    let control = before.and(Seen::worked(twin.use_all()));
    teller.compare(
        "disabled-stops",
        "With the key disabled, what is already open stops at once, and says why",
        Seen::refused(stopped),
        control,
    );

    set_enabled(stage, None, true)?;
    let healed = Seen::worked(protected.use_all());
    let same = stage.read(ENVIRONMENT)? == stage.data.original;
    teller.fact(
        "Enabled again",
        match healed.ok && same {
            true => "the same connection and account work; the data is the same",
            false => "not everything works again",
        },
    );
    teller.compare(
        "enabled-heals",
        "Enabled again, the same connection and account go on, with the same data",
        healed.and(Seen::new(same, "read anew, compared with the original")),
        Seen::new(
            stage.data.original.rows() > 0,
            "the original holds rows to compare",
        ),
    );
    Ok(())
}

/// Step 6: without the key the data is gone, wherever its bytes are.
pub(super) fn purged(stage: &Stage, teller: &mut Teller<'_>) -> Result<(), ScenarioError> {
    let vault = &stage.vault;
    let worked = Seen::worked(stage.live());
    vault.delete_key(&stage.key)?;
    let deleted = stage.live();
    if let Err(e) = &deleted[0].1 {
        teller.fact("Deleted", reason(e));
    }
    vault.recover_key(&stage.key)?;
    teller.compare(
        "deleted-stops",
        "A deleted key stops the data, and recovering it brings the data back",
        Seen::refused(deleted),
        worked.and(Seen::worked(stage.live())),
    );

    let backup = vault.backup_key(&stage.key)?;
    let backup_len = backup.len() as u64;
    purge(stage)?;
    let environment = AFTERWARDS.parse().expect("a name");
    stage
        .workspace
        .restore(&stage.stolen, &environment, &mut |_, _| ())?;
    let copy = |names| Stage::access(&stage.workspace, AFTERWARDS, names);
    let shut = copy(PROTECTED);
    for (name, result) in &shut {
        let seen = result.as_ref().err().map_or_else(|| "opens".into(), reason);
        teller.fact(&format!("{name}, copy"), seen);
    }
    let refused = Seen::refused(shut).and(Seen::refused(stage.live()));

    // A backup was made before; this is what it does, and what it must not be there to do.
    vault.restore_key(&backup)?;
    let revived = Seen::worked(copy(PROTECTED));
    purge(stage)?;
    let again = Seen::refused(copy(PROTECTED));
    teller.compare(
        "purged-for-good",
        "With the key purged, neither the copy nor the originals open, in the same vault either",
        refused.and(again),
        Seen::worked(copy(TWINS)),
    );
    drop(backup);
    let erasure = erasure(stage, 1)?;
    teller.report().erasure(erasure);
    if revived.ok {
        teller.fact(
            "For good, only if",
            format!(
                "no backup of the key is left. One of {}, made before, revived it; it was purged \
                 again and the backup thrown away. An older copy of the vault together with its \
                 root key does the same.",
                size(backup_len)
            ),
        );
        teller.not_protected(
            "purge-beats-backups",
            "A purge also ends backups of the key, and older copies of the vault",
            format!(
                "a backup made before brought the key back: {}",
                revived.summary
            ),
            "a backup is a sealed copy of the key that this vault restores; destroy it as well",
        );
    }
    Ok(())
}

/// Where a copy of the purged key may be left. `thrown_away`: backups that this demo made and has no more.
fn erasure(stage: &Stage, thrown_away: usize) -> Result<Erasure, ScenarioError> {
    let vault = &stage.vault;
    let gone = |found: Result<(), VaultError>| match found {
        Err(VaultError::KeyNotFound(_)) => Ok(false),
        Err(e) => Err(e),
        Ok(()) => Ok(true),
    };
    let copy = |what: &str, left, seen: String| KeyCopy {
        what: what.to_owned(),
        left,
        seen,
    };
    let live = gone(vault.key(&stage.key, None).map(drop))?;
    let deleted = gone(vault.deleted_key(&stage.key).map(drop))?;
    let backups = vault.audit(&AuditFilter {
        operation: Some(AuditOperation::KeyBackup),
        key: Some(stage.key.clone()),
        ..AuditFilter::default()
    })?;
    let unwrapped = stage.live().iter().any(|(_, opened)| opened.is_ok());
    Ok(Erasure {
        key: stage.key.to_string(),
        copies: vec![
            copy(
                "versions in the vault",
                live,
                "the vault was asked".to_owned(),
            ),
            copy(
                "the soft-deleted key",
                deleted,
                "the vault was asked".to_owned(),
            ),
            copy(
                "backups",
                backups.len() > thrown_away,
                format!(
                    "{} in the audit log, {thrown_away} made and thrown away by this run",
                    backups.len()
                ),
            ),
            copy(
                "unwrapped data keys",
                unwrapped,
                "what was open refuses".to_owned(),
            ),
        ],
    })
}

fn purge(stage: &Stage) -> Result<(), ScenarioError> {
    stage.vault.delete_key(&stage.key)?;
    Ok(stage.vault.purge_key(&stage.key)?)
}

fn set_enabled(
    stage: &Stage,
    version: Option<KeyVersion>,
    enabled: bool,
) -> Result<(), ScenarioError> {
    let update = KeyUpdate {
        enabled: Some(enabled),
        ..KeyUpdate::default()
    };
    stage.vault.update_key(&stage.key, version, &update)?;
    Ok(())
}

fn short(version: KeyVersion) -> String {
    version.to_string()[..8].to_owned()
}

/// A connection and an account, open, and what is done with them.
struct Open {
    database: SqlDatabase,
    conn: Connection,
    read: String,
    account: StorageAccount,
    blob: BlobPath,
}

impl Open {
    fn new(stage: &Stage, names: (&str, &str)) -> Result<Self, ScenarioError> {
        let (database, account) = stage.open(ENVIRONMENT, names)?;
        let table = stage.data.original.largest_table();
        let blobs = account.blobs()?;
        let first = blobs.into_iter().next();
        let nothing = || ResourceError::NotFound("a blob to read".into());
        Ok(Self {
            conn: database.connect()?,
            database,
            read: format!(
                "SELECT count(*) FROM {}",
                table.unwrap_or("sqlite_schema".into())
            ),
            account,
            blob: first.ok_or_else(nothing)?.path(),
        })
    }

    /// Reads and writes in both. What is written is taken back.
    fn use_all(&self) -> Vec<(String, Result<(), ResourceError>)> {
        let probe = BlobName::parse("atrest-probe").expect("a blob name");
        let probe = BlobPath::in_default(probe);
        let tried = [
            ("SQL read", self.sql(&self.read)),
            ("SQL write", self.write()),
            ("Blob read", self.get()),
            ("Blob write", self.put(&probe)),
        ];
        tried.map(|(what, result)| (what.to_owned(), result)).into()
    }

    fn sql(&self, statement: &str) -> Result<(), ResourceError> {
        let done = self.conn.query_row(statement, (), |_| Ok(()));
        done.map_err(|e| self.database.explain(e))
    }

    fn write(&self) -> Result<(), ResourceError> {
        let made = self
            .conn
            .execute_batch("BEGIN IMMEDIATE; CREATE TABLE \"atrest probe\" (x)");
        let failed = made.map_err(|e| self.database.explain(e));
        // Also when the first of the two went well.
        let _ = self.conn.execute_batch("ROLLBACK");
        failed
    }

    fn get(&self) -> Result<(), ResourceError> {
        let mut sink = std::io::sink();
        self.account
            .get(&self.blob, None, &mut sink, &mut |_| ())
            .map(drop)
    }

    fn put(&self, path: &BlobPath) -> Result<(), ResourceError> {
        self.account.put(path, &mut &b"probe"[..], &mut |_| ())?;
        self.account.delete(path, &Conditions::default())
    }
}
