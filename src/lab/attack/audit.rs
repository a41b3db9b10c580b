//! The audit log, altered: by a thief who has the file, and by an insider who has the root key and
//! changes rows past the vault's own code.

use std::path::Path;

use rusqlite::Connection;

use crate::crypto::KeyKind;
use crate::lab::registry::VAULT;
use crate::lab::theft::files_below;
use crate::lab::{Attack, Control, Evidence, Lab, LabError, Outcome};
use crate::resource::ResourceError;
use crate::vault::{AuditSummary, KeySpec, KeyVault, VaultError};

use super::alter::{len, patched, read_all, with_tail};
use super::bout::{Bout, Reading, error_text};
use super::own_vaults::{self, Copied};
use super::strongbox::{Strongbox, failed, key_name};

/// What an insider does to the rows. Record 4 is a deletion of a key, which he would hide.
const EDITS: [(&str, &str); 7] = [
    (
        "another identity in a record",
        "UPDATE audit SET identity = 'somebody else' WHERE number = 4",
    ),
    (
        "another time in a record",
        "UPDATE audit SET time = time + 1 WHERE number = 4",
    ),
    (
        "another operation in a record",
        "UPDATE audit SET operation_name = iif(operation_name = 'KeyGet', 'KeyList', 'KeyGet') WHERE number = 4",
    ),
    ("a record deleted", "DELETE FROM audit WHERE number = 4"),
    (
        "a record deleted, and the later ones moved up",
        "DELETE FROM audit WHERE number = 4; \
         UPDATE audit SET number = number - 1 WHERE number > 4",
    ),
    (
        "two records exchanged",
        "UPDATE audit SET number = -4 WHERE number = 4; \
         UPDATE audit SET number = 4 WHERE number = 5; \
         UPDATE audit SET number = 5 WHERE number = -4",
    ),
    ("the tail cut off", "DELETE FROM audit WHERE number >= 4"),
];

/// Attack 29.
pub(in crate::lab) fn tamper(lab: &Lab) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(29);
    let dir = lab.scratch()?;
    let mut scene = Scene::new(dir.path())?;
    let mut outcomes = vec![
        attack.outcome(
            Some("by who has the file and not the root key"),
            VAULT,
            scene.by_a_thief()?,
        ),
        attack.outcome(
            Some("by who has the root key and changes rows"),
            VAULT,
            scene.by_an_insider(dir.path())?,
        ),
        attack.outcome(
            Some("the tail cut and the anchor put back too, against a head noted elsewhere"),
            VAULT,
            scene.against_a_noted_head()?,
        ),
    ];
    let by_a_thief = |own: Copied| {
        let part = "by who has the file and not the root key";
        Ok(vec![(
            part,
            Ok(Scene::around(own.strongbox)?.by_a_thief()?),
        )])
    };
    let by_an_insider = |own: Copied| {
        let part = "by who has the root key and changes rows";
        let scene = Scene::around(own.strongbox)?;
        let evidence = match scene.has_what_is_edited()? {
            true => Ok(scene.by_an_insider(own.scratch.path())?),
            false => Err("its log does not have records 1 to 6".to_owned()),
        };
        Ok(vec![(part, evidence)])
    };
    outcomes.extend(own_vaults::each(lab, 29, &[&by_a_thief, &by_an_insider])?);
    Ok(outcomes)
}

/// A vault with a few records.
struct Scene {
    strongbox: Strongbox,
    /// Its file, its log and its anchor, whole.
    good: Vec<(std::path::PathBuf, Vec<u8>)>,
    /// The anchor when there were three records.
    old_anchor: Vec<u8>,
    noted: AuditSummary,
}

impl Scene {
    fn new(dir: &Path) -> Result<Self, LabError> {
        let strongbox = Strongbox::create(dir, "vault")?;
        let vault = strongbox.open().map_err(failed)?;
        let spec = KeySpec::new(KeyKind::Oct256);
        for name in ["kept", "wanted"] {
            vault.create_key(&key_name(name), &spec).map_err(failed)?;
        }
        let old_anchor = read_all(&strongbox.anchor())?;
        vault.delete_key(&key_name("wanted")).map_err(failed)?;
        for _ in 0..3 {
            vault.rotate_key(&key_name("kept")).map_err(failed)?;
        }
        drop(vault);
        Ok(Self {
            old_anchor,
            ..Self::around(strongbox)?
        })
    }

    /// A vault as it is.
    fn around(strongbox: Strongbox) -> Result<Self, LabError> {
        let vault = strongbox.open().map_err(failed)?;
        let noted = vault.verify_audit().map_err(failed)?;
        drop(vault);
        let mut scene = Self {
            strongbox,
            good: Vec::new(),
            old_anchor: Vec::new(),
            noted,
        };
        for file in files_below(&scene.strongbox.dir)? {
            scene.good.push((file.clone(), read_all(&file)?));
        }
        Ok(scene)
    }

    /// Whether each of the edits changes something.
    fn has_what_is_edited(&self) -> Result<bool, LabError> {
        let inside = self.strongbox.inside()?;
        let connection = inside.connect().map_err(ResourceError::from)?;
        let of = "SELECT count(*) = 6 FROM audit WHERE number BETWEEN 1 AND 6";
        Ok(connection.query_row(of, (), |row| row.get(0))?)
    }

    fn put_back(&self) -> Result<(), LabError> {
        for file in files_below(&self.strongbox.dir)? {
            std::fs::remove_file(&file).map_err(|e| LabError::io(&file, e))?;
        }
        for (path, bytes) in &self.good {
            std::fs::write(path, bytes).map_err(|e| LabError::io(path, e))?;
        }
        Ok(())
    }

    /// The same, and where that tells nothing reads every page as who has the root key does: an altered bit
    /// may lie in another table than the log's.
    fn follow_and_read(&self) -> Reading {
        match self.follow() {
            Reading::Data(log) if log == "true" => match self.strongbox.pages() {
                Ok(_) => Reading::Data(log),
                Err(_) => Reading::Refused(
                    "the log is whole, and a page of another table is refused when it is read"
                        .to_owned(),
                ),
            },
            told => told,
        }
    }

    /// Opens the vault and follows the chain; whoever is told nothing takes the log for true.
    fn follow(&self) -> Reading {
        let summary = self.strongbox.open().and_then(|v| v.verify_audit());
        match summary {
            Ok(summary) if summary == self.noted => Reading::Data("true".to_owned()),
            Ok(summary) => Reading::Data(format!("{} records", summary.records)),
            Err(e) => self.refused(&e),
        }
    }

    fn refused(&self, e: &VaultError) -> Reading {
        Reading::Refused(error_text(e, &self.strongbox.dir))
    }

    fn by_a_thief(&mut self) -> Result<Evidence, LabError> {
        let file = self.strongbox.file();
        let mut bout = Bout::new(&file, "true");
        let size = len(&file)?;
        // Unaltered, all of it is read.
        self.strongbox.pages()?;
        // Past the header, whose two copies stand for each other.
        for step in 0..64 {
            let at = 4096 + step * (size - 4096) / 64 + step % 7;
            let byte = crate::lab::theft::read_at(&file, at, 1)?[0] ^ (1 << (step % 8));
            let reading = patched(&file, &[(at, &[byte])], || self.follow_and_read())?;
            bout.record(reading, Some(at), || "one bit flipped".to_owned());
            self.put_back()?;
        }
        for (what, end) in [
            ("the last page cut off", size - 4096),
            ("half of it", size / 2),
        ] {
            let reading = with_tail(&file, end, &[], || self.follow_and_read())?;
            bout.record(reading, Some(end), || what.to_owned());
            self.put_back()?;
        }
        let mut evidence = bout.finish("bits of the vault's file flipped, and its end cut off");
        if evidence.tally.harmless > 0 {
            evidence.summary.push_str(
                " Those without effect were noticed neither by a check of the log nor by reading every page.",
            );
        }
        evidence.control = Some(plain_log(self.strongbox.dir.as_path())?);
        Ok(evidence)
    }

    fn by_an_insider(&self, dir: &Path) -> Result<Evidence, LabError> {
        let mut bout = Bout::new(&self.strongbox.file(), "");
        for (what, sql) in EDITS {
            self.put_back()?;
            self.edit(sql)?;
            bout.record(self.follow(), None, || what.to_owned());
        }
        self.put_back()?;
        let mut evidence = bout.finish("records changed, deleted, exchanged and cut off");
        evidence.control = Some(plain_log(dir)?);
        Ok(evidence)
    }

    fn edit(&self, sql: &str) -> Result<(), LabError> {
        let connection = self
            .strongbox
            .inside()?
            .connect()
            .map_err(ResourceError::from)?;
        Ok(connection.execute_batch(sql)?)
    }

    /// Everything in the vault's directory fits together again: only what was noted elsewhere tells.
    fn against_a_noted_head(&self) -> Result<Evidence, LabError> {
        self.put_back()?;
        self.edit(EDITS[6].1)?;
        let anchor = self.strongbox.anchor();
        std::fs::write(&anchor, &self.old_anchor).map_err(|e| LabError::io(&anchor, e))?;
        let mut bout = Bout::new(&self.strongbox.file(), "");
        let now = self.strongbox.open().and_then(|v| v.verify_audit());
        let alone = now.is_ok();
        let reading = match &now {
            Err(e) => self.refused(e),
            // The log grew from the noted head, or it is not the same log.
            Ok(now) if now.records < self.noted.records => Reading::Refused(format!(
                "{} records, {} were noted",
                now.records, self.noted.records
            )),
            Ok(now) => Reading::Data(format!("{} records", now.records)),
        };
        bout.record(reading, None, || "a log without its tail".to_owned());
        if alone {
            let reading = self.grown_again()?;
            bout.record(reading, None, || {
                "a log with another tail of the same length".to_owned()
            });
        }
        self.put_back()?;
        let mut evidence = bout.finish(
            "the tail cut and the older anchor put back; and then records written up to the same number",
        );
        evidence.control = Some(Control {
            fired: alone,
            summary: match alone {
                true => {
                    "without the noted head nothing tells: the vault opens, and its chain holds."
                }
                false => "the vault is refused already, without the noted head.",
            }
            .to_owned(),
            ..Control::default()
        });
        Ok(evidence)
    }

    /// The thief goes on with the cut log until it is as long as the noted one: then only the head tells.
    fn grown_again(&self) -> Result<Reading, LabError> {
        let vault = self.strongbox.open().map_err(failed)?;
        let mut now = vault.verify_audit().map_err(failed)?;
        while now.records < self.noted.records {
            vault.rotate_key(&key_name("kept")).map_err(failed)?;
            now = vault.verify_audit().map_err(failed)?;
        }
        if now.records > self.noted.records {
            let why = "the log has grown past the noted number";
            return Err(LabError::Report(why.to_owned()));
        }
        Ok(match now.head == self.noted.head {
            true => Reading::Data("the noted head".to_owned()),
            false => Reading::Refused("as many records, and another head".to_owned()),
        })
    }
}

/// The same edits on the log of a program that keeps it in an ordinary table.
fn plain_log(dir: &Path) -> Result<Control, LabError> {
    let path = dir.join("plain-log.db");
    let mut control = Control::default();
    for (_, sql) in EDITS {
        let connection = Connection::open(&path)?;
        connection.execute_batch(
            "DROP TABLE IF EXISTS audit;
             CREATE TABLE audit (number INTEGER PRIMARY KEY, time, operation_name, identity);
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 7)
             INSERT INTO audit SELECT i, i, 'KeyDelete', 'administrator' FROM n",
        )?;
        connection.execute_batch(sql)?;
        let sound: String = connection.query_row("PRAGMA integrity_check", [], |r| r.get(0))?;
        control.tally.trials += 1;
        match sound.as_str() {
            "ok" => control.tally.succeeded += 1,
            _ => control.tally.refused += 1,
        }
    }
    std::fs::remove_file(&path).map_err(|e| LabError::io(&path, e))?;
    control.fired = control.tally.succeeded == control.tally.trials;
    control.summary = format!(
        "in an ordinary table {} of {} edits leave no trace.",
        control.tally.succeeded, control.tally.trials
    );
    Ok(control)
}
