use rusqlite::{Connection, OptionalExtension};

use crate::resource::ResourceError;
use crate::resource::blob::attributes::Conditions;
use crate::resource::blob::{AccessPolicy, ContainerInfo, ContainerName};

use super::containers::{check, find};
use super::{Catalog, Refused, to_json};

impl Catalog {
    pub(in crate::resource::blob) fn policies(
        &self,
        name: &ContainerName,
        conditions: &Conditions,
    ) -> Result<(ContainerInfo, Vec<AccessPolicy>), ResourceError> {
        self.read(|c| {
            check(c, name, conditions, false, self.now())?;
            Ok((find(c, name)?, policies(c, name)?))
        })
    }

    pub(in crate::resource::blob) fn set_policies(
        &self,
        name: &ContainerName,
        policies: &[AccessPolicy],
        conditions: &Conditions,
    ) -> Result<ContainerInfo, ResourceError> {
        self.write(|c| {
            check(c, name, conditions, false, self.now())?;
            let (etag, modified) = self.next_change(c)?;
            c.prepare_cached("UPDATE containers SET etag = ?2, modified = ?3 WHERE name = ?1")?
                .execute((name.as_str(), etag.0, modified))?;
            c.prepare_cached("INSERT OR REPLACE INTO policies VALUES (?1, ?2)")?
                .execute((name.as_str(), to_json(&policies)))?;
            find(c, name)
        })
    }
}

fn policies(c: &Connection, name: &ContainerName) -> Result<Vec<AccessPolicy>, Refused> {
    let text: Option<String> = c
        .prepare_cached("SELECT policies FROM policies WHERE container = ?1")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?;
    match text {
        None => Ok(Vec::new()),
        Some(text) => serde_json::from_str(&text).map_err(|_| Refused::Malformed),
    }
}
