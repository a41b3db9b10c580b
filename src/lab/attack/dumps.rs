//! Core dumps of a server that the lab has started, where gdb's gcore is there to make them.

use std::path::Path;

use crate::lab::process::Needle;
use crate::lab::tools::{self, Tool};
use crate::lab::{Evidence, LabError};

/// Dumps of one process, and what was found in them of one key.
pub(super) struct Dumps<'a> {
    process: u32,
    needle: &'a Needle,
    dir: &'a Path,
    /// Why there are none.
    absent: Option<String>,
    /// Tools that failed, with what they said. They are asked no more.
    failed: Vec<(Tool, String)>,
    /// How often the key's bytes are in memory, and in the dump.
    bytes: Vec<(u64, u64)>,
    /// How many expanded keys are in the dump, and how many of them are this one.
    expanded: Vec<(usize, usize)>,
}

impl<'a> Dumps<'a> {
    /// Of the process of this number, into `dir`.
    pub(super) fn new(process: u32, needle: &'a Needle, dir: &'a Path) -> Self {
        Self {
            process,
            needle,
            dir,
            absent: match Tool::Gcore.is_here() {
                true => Tool::Gcore.barred(),
                false => Some("it is not installed".to_owned()),
            },
            failed: Vec::new(),
            bytes: Vec::new(),
            expanded: Vec::new(),
        }
    }

    /// Dumps the process and looks for the key, which is in its memory `found` times. How often it was found
    /// in all.
    pub(super) fn take(&mut self, what: &str, found: u64) -> Result<u64, LabError> {
        if self.absent.is_some() {
            return Ok(found);
        }
        let Some(core) = self.by(Tool::Gcore, |d| tools::gcore(d.process, &d.dir.join(what)))?
        else {
            return Ok(found);
        };
        let dumped = self.needle.in_file(&core)?;
        self.bytes.push((found, dumped));
        let mut most = found.max(dumped);
        if Tool::Aeskeyfind.is_here()
            && let Some(keys) = self.by(Tool::Aeskeyfind, |_| tools::expanded_keys(&core))?
        {
            let this = keys.iter().filter(|key| *key == self.needle).count();
            self.expanded.push((keys.len(), this));
            most = most.max(this as u64);
        }
        std::fs::remove_file(&core).map_err(|e| LabError::io(&core, e))?;
        Ok(most)
    }

    /// What a tool gives, unless it fails or has failed.
    fn by<T>(
        &mut self,
        tool: Tool,
        run: impl FnOnce(&Self) -> Result<T, LabError>,
    ) -> Result<Option<T>, LabError> {
        if self.failed.iter().any(|(known, _)| *known == tool) {
            return Ok(None);
        }
        match run(self) {
            Err(e @ LabError::Tool { .. }) => {
                let told = format!("{e}. No verdict rests on what it would have found.");
                self.failed.push((tool, told));
                Ok(None)
            }
            done => done.map(Some),
        }
    }

    /// What the dumps say, in sentences.
    pub(super) fn told(&self) -> String {
        if let Some(why) = &self.absent {
            return format!(" No dump by gdb's gcore: {why}.");
        }
        let same = |(found, dumped): &(u64, u64)| (*found > 0) == (*dumped > 0);
        let mut told = match &self.bytes[..] {
            [] => String::new(),
            all if all.iter().all(same) => " Dumps by gdb's gcore say the same.".to_owned(),
            all => {
                let counts = all
                    .iter()
                    .map(|(found, dumped)| format!("{dumped} for {found}"));
                let counts: Vec<String> = counts.collect();
                format!(
                    " Dumps by gdb's gcore say otherwise: {} times.",
                    counts.join(", ")
                )
            }
        };
        let counts = self.expanded.iter();
        let counts: Vec<String> = counts
            .map(|(keys, this)| format!("{keys} and {this}"))
            .collect();
        if !counts.is_empty() {
            told.push_str(&format!(
                " Expanded AES-256 keys in them, and how many are this one, by aeskeyfind: {}.",
                counts.join(", then ")
            ));
        } else if !Tool::Aeskeyfind.is_here() {
            told.push_str(" aeskeyfind is not installed.");
        }
        told
    }

    /// The tools that failed, each with what is told of it.
    pub(super) fn failures(self) -> impl Iterator<Item = (&'static str, Evidence)> {
        let failed = self.failed.into_iter();
        failed.map(|(tool, told)| (tool.program(), Evidence::of(told)))
    }
}
