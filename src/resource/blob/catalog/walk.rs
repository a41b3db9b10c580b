use crate::resource::ResourceError;
use crate::resource::blob::attributes::Pairs;
use crate::resource::blob::{BlobName, BlobPath, ContainerName, Snapshot};

use super::blobs::{COLUMNS, FROM, ITSELF, entry};
use super::leases::LEASE;
use super::{BAD_ROW, Catalog, Entry, Refused, get, get_json};

impl Catalog {
    /// The blobs of `container` whose names start with `prefix` and come at or after the name `from`, and
    /// after that snapshot of it, by the bytes of their names, each after its snapshots where those are
    /// wanted, as long as `visit` wants more.
    pub(in crate::resource::blob) fn walk(
        &self,
        container: &ContainerName,
        prefix: &str,
        from: (&str, Option<Snapshot>),
        with_snapshots: bool,
        visit: &mut dyn FnMut(Entry) -> bool,
    ) -> Result<(), ResourceError> {
        let sql = format!(
            "SELECT {COLUMNS}, {LEASE} FROM {FROM}
             WHERE blobs.container = ?1 AND (name, snapshot) > (?2, ?3) AND (?4 OR snapshot = {ITSELF})
             ORDER BY name, snapshot"
        );
        let (name, snapshot) = match prefix > from.0 {
            true => (prefix, i64::MIN),
            false => (from.0, from.1.map_or(i64::MIN, Snapshot::micros)),
        };
        let whole = self.run(|c| {
            let mut query = c.prepare_cached(&sql)?;
            let mut rows = query.query((container.as_str(), name, snapshot, with_snapshots))?;
            while let Some(row) = rows.next()? {
                let Some(entry) = entry(row) else {
                    return Ok(false);
                };
                if !entry.path.name.as_str().starts_with(prefix) || !visit(entry) {
                    break;
                }
            }
            Ok(true)
        })?;
        match whole {
            true => Ok(()),
            false => Err(self.malformed(BAD_ROW)),
        }
    }

    /// The blobs that have tags, at or after `from` by container and name, as long as `visit` wants more.
    pub(in crate::resource::blob) fn walk_tagged(
        &self,
        container: Option<&ContainerName>,
        from: (&str, &str),
        visit: &mut dyn FnMut(BlobPath, Pairs) -> bool,
    ) -> Result<(), ResourceError> {
        let sql = format!(
            "SELECT container, name, tags FROM blobs WHERE tags <> '{{}}' AND snapshot = {ITSELF}
             AND (?1 IS NULL OR container = ?1) AND (container, name) >= (?2, ?3)
             ORDER BY container, name"
        );
        self.read(|c| {
            let mut query = c.prepare_cached(&sql)?;
            let container = container.map(ContainerName::as_str);
            let mut rows = query.query((container, from.0, from.1))?;
            while let Some(row) = rows.next()? {
                let found = || {
                    let path = BlobPath {
                        container: get::<String>(row, 0)?.parse().ok()?,
                        name: BlobName::parse(&get::<String>(row, 1)?).ok()?,
                    };
                    Some((path, get_json(row, 2)?))
                };
                let (path, tags) = found().ok_or(Refused::Malformed)?;
                if !visit(path, tags) {
                    break;
                }
            }
            Ok(())
        })
    }
}
