//! Standard tools of the trade, used where they are installed. The lab's own detectors need none of
//! them; a tool that is absent is said to be.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{CHI_SQUARE_LIMIT, CanarySet, Documented, LabError};

/// A tool, by the name of its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// gdb's program that writes a core dump of a running process.
    Gcore,
    /// Carves files out of bytes by how they begin and end.
    Foremost,
    /// Matches rules: here the known texts, as they are, in UTF-16 and in base64.
    Yara,
    /// Statistics of a stream of bytes; the chi-square of all of them is taken.
    Ent,
}

impl Tool {
    /// Those that search stolen bytes.
    pub(super) const SEARCHING: [Self; 3] = [Self::Foremost, Self::Yara, Self::Ent];

    /// Its program's name.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Gcore => "gcore",
            Self::Foremost => "foremost",
            Self::Yara => "yara",
            Self::Ent => "ent",
        }
    }

    /// Whether it is on the search path.
    pub(super) fn is_here(self) -> bool {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|dir| dir.join(self.program()).is_file())
    }

    fn run<S: AsRef<OsStr>>(self, args: &[S]) -> Result<String, LabError> {
        let mut command = Command::new(self.program());
        let done = command.args(args).stdin(Stdio::null()).output();
        let done = done.map_err(|e| LabError::io(self.program().as_ref(), e))?;
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// How much it finds in these files, working in the directory `scratch`.
    pub(super) fn finds(
        self,
        files: &[PathBuf],
        canaries: &CanarySet,
        scratch: &Path,
    ) -> Result<u64, LabError> {
        let files = &files[..files.len().min(FILES_MAX)];
        match self {
            Self::Gcore => Ok(0),
            Self::Foremost => foremost(files, scratch),
            Self::Yara => yara(files, canaries, scratch),
            Self::Ent => ent(files),
        }
    }
}

/// So many files are given to a tool at most.
const FILES_MAX: usize = 400;
/// So many bytes are given to `ent` at most.
const ENT_MAX: usize = 64 << 20;

/// Files carved, of kinds whose beginning is long enough not to turn up in noise.
fn foremost(files: &[PathBuf], scratch: &Path) -> Result<u64, LabError> {
    let out = scratch.join("foremost");
    let mut args: Vec<&OsStr> = ["-Q", "-t", "jpg,png,gif,pdf,zip,htm", "-o"]
        .map(OsStr::new)
        .into();
    args.push(out.as_os_str());
    args.extend(files.iter().map(|file| file.as_os_str()));
    Tool::Foremost.run(&args)?;
    let carved = walkdir::WalkDir::new(&out).into_iter().flatten();
    let carved = carved.filter(|e| e.file_type().is_file() && e.file_name() != "audit.txt");
    let count = carved.count() as u64;
    // Made by foremost, and made again next time.
    let _ = std::fs::remove_dir_all(&out);
    Ok(count)
}

/// Matches of a rule of the known texts, and of SQLite's own first bytes.
fn yara(files: &[PathBuf], canaries: &CanarySet, scratch: &Path) -> Result<u64, LabError> {
    let mut rule = String::from("rule known {\n strings:\n  $sqlite = \"SQLite format 3\"\n");
    for (number, canary) in canaries.all().iter().enumerate() {
        let bytes = canary.bytes();
        let plain = |b: &u8| (b' '..=b'~').contains(b) && !b"\"\\".contains(b);
        match std::str::from_utf8(bytes) {
            Ok(text) if bytes.iter().all(plain) => {
                rule += &format!("  $t{number} = \"{text}\" ascii wide\n");
                rule += &format!("  $b{number} = \"{text}\" base64\n");
            }
            _ => rule += &format!("  $h{number} = {{ {} }}\n", hex::encode(bytes)),
        }
    }
    rule += " condition: any of them\n}\n";
    let rules = scratch.join("known.yar");
    std::fs::write(&rules, rule).map_err(|e| LabError::io(&rules, e))?;
    let mut matches = 0;
    for file in files {
        let args = [OsStr::new("-s"), rules.as_os_str(), file.as_os_str()];
        let told = Tool::Yara.run(&args)?;
        matches += told.lines().filter(|line| line.starts_with("0x")).count() as u64;
    }
    Ok(matches)
}

/// 1 when the chi-square of all bytes that no format documents as public is above the limit.
fn ent(files: &[PathBuf]) -> Result<u64, LabError> {
    let failed = |e| LabError::io("ent".as_ref(), e);
    let mut secret = Vec::new();
    for path in files {
        let layout = Documented::of(path)?;
        let mut bytes = Vec::new();
        let room = (ENT_MAX - secret.len()) as u64;
        let file = File::open(path).map_err(|e| LabError::io(path, e))?;
        file.take(room)
            .read_to_end(&mut bytes)
            .map_err(|e| LabError::io(path, e))?;
        layout.secret(0, &bytes, |piece| secret.extend_from_slice(piece));
        secret.truncate(ENT_MAX);
    }
    let mut child = Command::new("ent")
        .arg("-t")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut to) = child.stdin.take() {
        to.write_all(&secret).map_err(failed)?;
    }
    let done = child.wait_with_output().map_err(failed)?;
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    // Its second line: 1, bytes, entropy, chi-square, and more.
    let chi = told
        .lines()
        .nth(1)
        .and_then(|l| l.split(',').nth(3)?.parse::<f64>().ok());
    let chi = chi.ok_or_else(|| LabError::Report(format!("ent tells no chi-square: {told}")))?;
    Ok(u64::from(chi > CHI_SQUARE_LIMIT))
}

/// A core dump of a process, beginning with the path `to`; `None` where there is no `gcore`, or it may
/// not trace.
pub(super) fn gcore(id: u32, to: &Path) -> Result<Option<PathBuf>, LabError> {
    if !Tool::Gcore.is_here() {
        return Ok(None);
    }
    Tool::Gcore.run(&[OsStr::new("-o"), to.as_os_str(), id.to_string().as_ref()])?;
    let mut path = to.as_os_str().to_owned();
    path.push(format!(".{id}"));
    let path = PathBuf::from(path);
    Ok(path.is_file().then_some(path))
}
