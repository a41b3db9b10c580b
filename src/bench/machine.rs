//! Where a run took place, and with which program: what a reader needs to repeat it.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::thread;

use serde::{Deserialize, Serialize};

use crate::crypto;

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Processors that this process may use.
    pub processors: usize,
    /// Of the processor's features, those that AES-GCM and copying are made of.
    pub features: Vec<String>,
    /// Whether it is a virtual machine, as far as the processor says.
    pub virtual_machine: bool,
    /// The system and its version.
    pub system: String,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// The directory that files were in.
    pub dir: String,
    /// Its file system, and what that lies on.
    pub file_system: String,
}

/// The program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Build {
    /// Its version.
    pub version: String,
    /// The compiler.
    pub rustc: String,
    /// How it was compiled.
    pub profile: String,
    /// The library that computed AES-256-GCM of sealed files.
    pub backend: String,
    /// The version of SQLite.
    pub sqlite: String,
    /// `OPENSSL_ia32cap`, by which aws-lc is told which features to use; null when it is not set.
    pub openssl_ia32cap: Option<String>,
}

const FEATURES: [&str; 14] = [
    "aes",
    "vaes",
    "pclmulqdq",
    "vpclmulqdq",
    "avx",
    "avx2",
    "avx512f",
    "avx512vl",
    "avx512bw",
    "bmi2",
    "sha_ni",
    "pmull",
    "sha2",
    "erms",
];

impl Machine {
    pub(super) fn here(dir: &Path) -> Self {
        let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = about.lines().find(|line| line.starts_with(name));
            line.and_then(|line| Some(line.split_once(':')?.1.trim()))
        };
        let flags: BTreeSet<&str> = (field("flags").or(field("Features")))
            .map_or(BTreeSet::new(), |flags| flags.split_whitespace().collect());
        let of = |path: &str| {
            fs::read_to_string(path)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let memory = of("/proc/meminfo");
        let memory = memory
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"));
        let kib: u64 = memory
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or(0);
        Self {
            processor: field("model name").unwrap_or(env::consts::ARCH).to_owned(),
            processors: thread::available_parallelism().map_or(1, usize::from),
            features: (FEATURES.iter().filter(|f| flags.contains(*f)))
                .map(|f| (*f).to_owned())
                .collect(),
            virtual_machine: flags.contains("hypervisor"),
            system: format!("Linux {}", of("/proc/sys/kernel/osrelease")),
            memory_mib: kib / 1024,
            dir: dir.display().to_string(),
            file_system: file_system(&of("/proc/mounts"), dir),
        }
    }

    /// Whether files in its directory reach a disk at all.
    pub(super) fn is_memory(&self) -> bool {
        ["tmpfs", "ramfs"]
            .iter()
            .any(|fs| self.file_system.starts_with(fs))
    }
}

/// Of the mount that `dir` lies in: `ext4 on /dev/vda`.
fn file_system(mounts: &str, dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let found = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (on, at, kind) = (words.next()?, words.next()?, words.next()?);
        dir.starts_with(at)
            .then_some((at.len(), format!("{kind} on {on}")))
    });
    // The deepest, and of those the one that was mounted last.
    let found = found.max_by_key(|(depth, _)| *depth);
    found.map_or_else(|| "unknown".to_owned(), |(_, name)| name)
}

impl Build {
    /// The one that runs.
    pub fn this() -> Self {
        let assertions = match cfg!(debug_assertions) {
            true => ", with debug assertions",
            false => "",
        };
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            rustc: env!("ATREST_RUSTC").to_owned(),
            profile: format!(
                "{}, opt-level {}{assertions}",
                env!("ATREST_PROFILE"),
                env!("ATREST_OPT_LEVEL")
            ),
            backend: crypto::backend().to_string(),
            sqlite: rusqlite::version().to_owned(),
            openssl_ia32cap: env::var("OPENSSL_ia32cap").ok(),
        }
    }

    /// What makes its figures those of another program.
    pub(super) fn doubts(&self) -> Vec<String> {
        let mut doubts = vec![];
        if env!("ATREST_OPT_LEVEL") != "3" {
            doubts.push(format!(
                "the program was compiled with opt-level {}, not 3: use `cargo build --release`",
                env!("ATREST_OPT_LEVEL")
            ));
        }
        match self.openssl_ia32cap.as_deref() {
            None => (),
            Some("") => doubts.push(
                "OPENSSL_ia32cap is set and empty: aws-lc then uses no feature of the processor, and is many \
                 times slower; unset it"
                    .to_owned(),
            ),
            Some(set) => doubts.push(format!(
                "OPENSSL_ia32cap={set}: aws-lc does not use all of the processor"
            )),
        }
        doubts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_named_is_the_one_measured() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /proc tmpfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/")), "ext4 on /dev/a");
        assert_eq!(
            file_system(mounts, Path::new("/proc/self/..")),
            "tmpfs on tmpfs"
        );
        assert_eq!(file_system("", Path::new("/")), "unknown");
    }
}
