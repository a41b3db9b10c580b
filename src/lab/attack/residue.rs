//! What is left of data that was deleted, and of the plain data that an encryption replaced.
//!
//! A second name (a hard link) of each file stands for the raw disk: it keeps the blocks that the
//! file had, as a file system that writes in place leaves them, whatever becomes of the first name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{SystemClock, create_dir_private};
use crate::crypto::KeyKind;
use crate::envelope::ResourceKind;
use crate::lab::theft::{duplicate, files_below};
use crate::lab::{Attack, Control, Evidence, Exhibit, Figures, Lab, LabError, Outcome};
use crate::resource::blob::{BlobName, BlobPath, Conditions};
use crate::resource::{Protection, ResourceError};
use crate::vault::VaultSettings;
use crate::world::{InitOptions, ResourceAddress, Workspace};

use super::account::Account;
use super::bout::{Bout, Reading, both_arms, control};
use super::database::Database;
use super::known::{Known, marker};
use super::sql::page_size;
use super::vault::Arm;

/// So often the known text is in the data.
const TIMES: usize = 400;

/// Gives every file of `from` a second name in `to`, now and each time it is called.
fn keep_blocks(from: &Path, to: &Path, prefix: &str) -> Result<(), LabError> {
    create_dir_private(to).map_err(|e| LabError::io(to, e))?;
    for (number, file) in files_below(from)?.into_iter().enumerate() {
        let link = to.join(format!("{prefix}-{number}"));
        std::fs::hard_link(&file, &link).map_err(|e| LabError::io(&file, e))?;
    }
    Ok(())
}

/// Records whether the known text is in `files`.
fn record(bout: &mut Bout, known: &Known, files: &[PathBuf], place: &str) -> Result<(), LabError> {
    let seen: Figures = known.in_files(files)?;
    let reading = match seen.canary_hits {
        0 => Reading::Refused(format!("not in {place}")),
        n => Reading::Data(format!("{n} times")),
    };
    bout.record(reading, None, || {
        format!("{} times in {place}", seen.canary_hits)
    });
    Ok(())
}

/// Attack 19.
pub(in crate::lab) fn deleted(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let evidence = both_arms(lab, exhibit, |arm, dir| match exhibit.kind {
        ResourceKind::Sql => deleted_rows(dir, arm, exhibit),
        _ => deleted_blobs(dir, arm),
    })?;
    let part = "a specimen's files, and the blocks that they had";
    Ok(vec![Attack::number(19).outcome(
        Some(part),
        exhibit,
        evidence,
    )])
}

fn deleted_rows(dir: &Path, arm: &Arm, exhibit: &Exhibit) -> Result<Evidence, LabError> {
    let (live, raw) = (dir.join("live"), dir.join("raw"));
    create_dir_private(&live).map_err(|e| LabError::io(&live, e))?;
    let database = Database::specimen(&live, "deleted", arm, page_size(exhibit)?, 19)?;
    let text = marker("deleted row");
    let known = Known::new(&[&text])?;
    let mut bout = Bout::new(&database.path, "");
    for mode in ["delete", "wal"] {
        let open = database.open()?;
        let connection = open.connect()?;
        connection.pragma_update(None, "journal_mode", mode)?;
        connection.pragma_update(None, "secure_delete", false)?;
        connection.execute_batch("CREATE TABLE gone (id INTEGER PRIMARY KEY, body TEXT)")?;
        let mut insert = connection.prepare("INSERT INTO gone (body) VALUES (?1 || ?2)")?;
        connection.execute_batch("BEGIN")?;
        for number in 0..TIMES {
            insert.execute((&text, number.to_string()))?;
        }
        drop(insert);
        connection.execute_batch("COMMIT")?;
        connection.execute("DELETE FROM gone WHERE id % 2 = 0", [])?;
        connection.execute_batch("BEGIN; DROP TABLE gone")?;
        // While the transaction is open, its journal or log is there.
        keep_blocks(&live, &raw, mode)?;
        connection.execute_batch("COMMIT")?;
        record(
            &mut bout,
            &known,
            &files_below(&live)?,
            &format!("free pages, slack and logs, journal_mode {mode}"),
        )?;
    }
    record(
        &mut bout,
        &known,
        &files_below(&raw)?,
        "the blocks of files that are deleted",
    )?;
    Ok(bout.finish("rows deleted and a table dropped, and the bytes searched"))
}

fn deleted_blobs(dir: &Path, arm: &Arm) -> Result<Evidence, LabError> {
    let (live, raw) = (dir.join("live"), dir.join("raw"));
    let account = Account::specimen(&live, arm)?;
    let text = marker("deleted blob");
    let known = Known::new(&[&text])?;
    let mut bout = Bout::new(&live, "");
    account.put("deleted.txt", text.repeat(TIMES).into_bytes())?;
    account.put("replaced.txt", text.repeat(TIMES).into_bytes())?;
    keep_blocks(&live, &raw, "before")?;
    let open = account.open()?;
    let name = BlobName::parse("deleted.txt").expect("a blob's name");
    open.delete(&BlobPath::in_default(name), &Conditions::default())?;
    drop(open);
    account.put("replaced.txt", b"nothing of it".repeat(TIMES))?;
    record(&mut bout, &known, &files_below(&live)?, "the account")?;
    record(
        &mut bout,
        &known,
        &files_below(&raw)?,
        "the blocks of files that are deleted",
    )?;
    Ok(bout.finish("a blob deleted and one replaced, and the bytes searched"))
}

/// Attack 18.
pub(in crate::lab) fn in_place(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(18);
    let is_plain = exhibit.protected.protection == Protection::Plain;
    let dir = lab.scratch()?;
    let scene = Enabled::new(dir.path(), exhibit.kind)?;
    let left_plain = scene.search(&[("the resource", files_below(&scene.live)?)])?;
    if !is_plain {
        scene.enable()?;
    }
    let blocks = [
        ("its files", files_below(&scene.live)?),
        ("the blocks of its plain files", files_below(&scene.raw)?),
    ];
    let mut evidence = scene.search(&blocks)?;
    let mut outcomes = Vec::new();
    match exhibit.kind {
        ResourceKind::Sql => {
            evidence.control = Some(scene.removed()?);
            let part = "a specimen's blocks after `atrest sql protect`, where files are overwritten in place";
            outcomes.push(attack.outcome(Some(part), exhibit, evidence));
            let mut kept = scene.search(&[("a snapshot's blocks", files_below(&scene.kept)?)])?;
            kept.control = Some(control(left_plain));
            outcomes.push(attack.declared(
                "its blocks where the medium keeps what is overwritten",
                exhibit,
                kept,
                "file systems that copy on write, snapshots and solid-state disks keep old blocks, whatever is \
                 written over them: the command says so. Journals and temporary files from before stay as they \
                 are, too. Only what was protected from its first byte has none.",
            ));
        }
        _ => {
            evidence.control = Some(control(left_plain));
            outcomes.push(attack.declared(
                "a specimen's blocks after `atrest protect`",
                exhibit,
                evidence,
                "the blobs are written anew and their plain files deleted, which does not scrub them: the command \
                 says so. Only what was protected from its first byte leaves none.",
            ));
        }
    }
    Ok(outcomes)
}

/// A working directory with one plain resource that is to be encrypted in its place.
struct Enabled {
    workspace: Workspace,
    address: ResourceAddress,
    kind: ResourceKind,
    live: PathBuf,
    /// The blocks of its files, and a snapshot of them.
    raw: PathBuf,
    kept: PathBuf,
    known: Known,
}

impl Enabled {
    fn new(dir: &Path, kind: ResourceKind) -> Result<Self, LabError> {
        let options = InitOptions {
            environment: "lab".parse().expect("a name"),
            customer_key: Some((super::strongbox::key_name("specimen"), KeyKind::Oct256)),
            passphrase: None,
            vault: VaultSettings::default(),
        };
        let workspace = Workspace::init(&dir.join("work"), options, Arc::new(SystemClock))?;
        let text = marker("plain before");
        let address: ResourceAddress = match kind {
            ResourceKind::Sql => "sql/plain",
            _ => "storage/plain",
        }
        .parse()
        .expect("an address");
        if kind == ResourceKind::Sql {
            let page_size = crate::sqlite::PageSize::DEFAULT;
            let database = workspace.create_sql(&address, Protection::Plain, page_size)?;
            let connection = database.connect()?;
            connection
                .execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT); BEGIN")?;
            for number in 0..TIMES {
                let row = (&text, number.to_string());
                connection.execute("INSERT INTO t (body) VALUES (?1 || ?2)", row)?;
            }
            connection.execute_batch("COMMIT")?;
        } else {
            let account = workspace.create_storage(&address, Protection::Plain)?;
            let name = BlobName::parse("plain.txt").expect("a blob's name");
            let body = text.repeat(TIMES);
            account.put(
                &BlobPath::in_default(name),
                &mut body.as_bytes(),
                &mut |_| (),
            )?;
        }
        let live = workspace.path(&address)?;
        let live = match kind {
            ResourceKind::Sql => live.parent().unwrap_or(&live).to_owned(),
            _ => live,
        };
        let (raw, kept) = (dir.join("raw"), dir.join("kept"));
        keep_blocks(&live, &raw, "plain")?;
        duplicate(&live, &kept)?;
        Ok(Self {
            known: Known::new(&[&text])?,
            workspace,
            address,
            kind,
            live,
            raw,
            kept,
        })
    }

    fn enable(&self) -> Result<(), LabError> {
        let to = self.workspace.default_protection();
        if self.kind == ResourceKind::Sql {
            self.workspace
                .encrypt_in_place(&self.address, &to, &mut |_, _| ())?;
            return Ok(());
        }
        let done = self
            .workspace
            .set_protection(&self.address, &to, &mut |_, _| ())?;
        match done.plaintext_was_deleted {
            true => Ok(()),
            false => Err(ResourceError::Usage(
                "the command does not say that plain files were deleted, not scrubbed".to_owned(),
            )
            .into()),
        }
    }

    fn search(&self, places: &[(&str, Vec<PathBuf>)]) -> Result<Evidence, LabError> {
        let mut bout = Bout::new(&self.live, "");
        for (place, files) in places {
            record(&mut bout, &self.known, files, place)?;
        }
        Ok(bout.finish("a text that was there in plain, looked for"))
    }

    /// The control: the same blocks when the plain file is only removed.
    fn removed(&self) -> Result<Control, LabError> {
        let (copy, raw) = (self.kept.join("copy"), self.kept.join("copy-blocks"));
        create_dir_private(&copy).map_err(|e| LabError::io(&copy, e))?;
        duplicate(
            &self.kept.join(self.live.file_name().unwrap_or_default()),
            &copy,
        )?;
        keep_blocks(&copy, &raw, "removed")?;
        std::fs::remove_dir_all(&copy).map_err(|e| LabError::io(&copy, e))?;
        let found =
            self.search(&[("the blocks of a file that was removed", files_below(&raw)?)])?;
        std::fs::remove_dir_all(&raw).map_err(|e| LabError::io(&raw, e))?;
        Ok(control(found))
    }
}
