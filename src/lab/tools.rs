//! Standard tools of the trade, used where they are installed. The lab's own detectors need none of
//! them; a tool that is absent is said to be.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use super::process::Needle;
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
    /// Carves files out of an image, by what it knows of their insides.
    Photorec,
    /// Finds what begins with the signatures of its list. Short ones turn up in noise, so only long ones count.
    Binwalk,
    /// Writes down the system calls of a process.
    Strace,
    /// Finds AES keys in memory by their expanded form.
    Aeskeyfind,
}

impl Tool {
    /// Those that search stolen bytes.
    pub(super) const SEARCHING: [Self; 5] = [
        Self::Foremost,
        Self::Yara,
        Self::Ent,
        Self::Photorec,
        Self::Binwalk,
    ];

    /// Its program's name.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Gcore => "gcore",
            Self::Foremost => "foremost",
            Self::Yara => "yara",
            Self::Ent => "ent",
            Self::Photorec => "photorec",
            Self::Binwalk => "binwalk",
            Self::Strace => "strace",
            Self::Aeskeyfind => "aeskeyfind",
        }
    }

    /// Its version, in its own words, where it is installed: the first line of what it says of itself that has
    /// a digit in it.
    fn version(self) -> Option<String> {
        let asks = match self {
            // It is a part of gdb.
            Self::Gcore | Self::Yara | Self::Strace => "--version",
            Self::Foremost => "-V",
            // They tell none.
            Self::Ent | Self::Aeskeyfind => return None,
            Self::Photorec => "/version",
            Self::Binwalk => "--help",
        };
        let mut command = match self {
            Self::Gcore => Command::new("gdb"),
            _ => self.command(),
        };
        let said = command.arg(asks).stdin(Stdio::null()).output().ok()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned()
            + &String::from_utf8_lossy(&said.stderr);
        let line = said
            .lines()
            .find(|line| line.chars().any(|c| c.is_ascii_digit()));
        line.map(|line| line.trim().to_owned())
    }

    fn command(self) -> Command {
        let mut command = Command::new(self.program());
        // photorec draws on a terminal, and asks what kind it is.
        command.env("TERM", "linux");
        command
    }

    /// Whether it is on the search path.
    pub(super) fn is_here(self) -> bool {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|dir| dir.join(self.program()).is_file())
    }

    /// Why it cannot trace a process here although it is installed: Yama's `ptrace_scope` keeps a user from
    /// the processes of other programs (1: all but one's children), or from all (2).
    pub(super) fn barred(self) -> Option<String> {
        const CAP_SYS_PTRACE: u64 = 1 << 19;
        let least = match self {
            Self::Gcore => 1,
            Self::Strace => 2,
            _ => return None,
        };
        let read = |path| std::fs::read_to_string(path).ok();
        let scope: u32 = read("/proc/sys/kernel/yama/ptrace_scope")?
            .trim()
            .parse()
            .ok()?;
        let status = read("/proc/self/status")?;
        let capable = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
        let capable = u64::from_str_radix(capable?.trim(), 16).ok()? & CAP_SYS_PTRACE != 0;
        (scope >= least && (scope > 2 || !capable))
            .then(|| format!("the system lets it trace nothing here (ptrace_scope is {scope})"))
    }

    fn failed(self, how: impl ToString) -> LabError {
        LabError::Tool {
            program: self.program(),
            how: how.to_string(),
        }
    }

    /// What it printed. One that ended otherwise than well may have stopped anywhere: what it did not find
    /// proves nothing.
    pub(super) fn said(self, done: &Output) -> Result<String, LabError> {
        let said = String::from_utf8_lossy(&done.stdout);
        if done.status.success() {
            return Ok(said.into_owned());
        }
        let errors = String::from_utf8_lossy(&done.stderr);
        let last = |text: &str| {
            text.lines()
                .rfind(|l| !l.trim().is_empty())
                .map(str::to_owned)
        };
        let words = last(&errors).or_else(|| last(&said));
        let words = words.map(|line| format!(", and said: {}", line.trim()));
        Err(self.failed(format!("{}{}", done.status, words.unwrap_or_default())))
    }

    fn run<S: AsRef<OsStr>>(self, args: &[S]) -> Result<String, LabError> {
        let done = self.command().args(args).stdin(Stdio::null()).output();
        self.said(&done.map_err(|e| self.failed(e))?)
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
            Self::Gcore | Self::Strace | Self::Aeskeyfind => Ok(0),
            Self::Foremost => foremost(files, scratch),
            Self::Yara => yara(files, canaries, scratch),
            Self::Ent => ent(files),
            Self::Photorec => photorec(files, scratch),
            Self::Binwalk => binwalk(files),
        }
    }
}

/// So many files are given to a tool at most.
const FILES_MAX: usize = 400;
/// So many bytes are given to `ent` at most.
const ENT_MAX: usize = 64 << 20;
/// So many bytes of all files together are given to binwalk, which reads 7 MB in a second; but of no file
/// less than [`BINWALK_LEAST`].
const BINWALK_MAX: usize = 8 << 20;
const BINWALK_LEAST: usize = 64 << 10;
/// So many files are given to photorec, which takes one at a time.
const PHOTOREC_FILES: usize = 40;

/// Files carved, of kinds whose beginning is long enough not to turn up in noise.
fn foremost(files: &[PathBuf], scratch: &Path) -> Result<u64, LabError> {
    let out = scratch.join("foremost");
    let mut args: Vec<&OsStr> = ["-Q", "-t", "jpg,png,gif,pdf,zip,htm", "-o"]
        .map(OsStr::new)
        .into();
    args.push(out.as_os_str());
    args.extend(files.iter().map(|file| file.as_os_str()));
    Tool::Foremost.run(&args)?;
    let count = carved(&out, "audit.txt");
    // Made by foremost, and made again next time.
    let _ = std::fs::remove_dir_all(&out);
    Ok(count)
}

/// Files below `dir` that are not named `own`, which is the tool's own record.
fn carved(dir: &Path, own: &str) -> u64 {
    let all = walkdir::WalkDir::new(dir).into_iter().flatten();
    let carved = all.filter(|e| e.file_type().is_file() && e.file_name() != own);
    carved.count() as u64
}

/// Files recovered: databases of SQLite, texts, documents and pictures.
fn photorec(files: &[PathBuf], scratch: &Path) -> Result<u64, LabError> {
    let out = scratch.join("photorec");
    std::fs::create_dir_all(&out).map_err(|e| LabError::io(&out, e))?;
    let kinds = "fileopt,everything,disable,sqlite,enable,txt,enable,zip,enable,pdf,enable,doc,enable,jpg,enable,\
                 png,enable,gif,enable,wholespace,search";
    let what = format!("partition_none,{kinds}");
    // It refuses an empty file.
    let holds = |file: &&PathBuf| file.metadata().is_ok_and(|m| m.len() > 0);
    for file in files.iter().filter(holds).take(PHOTOREC_FILES) {
        // It makes `found.1` and so on.
        let into = out.join("found");
        let args = [
            OsStr::new("/d"),
            into.as_os_str(),
            OsStr::new("/cmd"),
            file.as_os_str(),
            OsStr::new(&what),
        ];
        Tool::Photorec.run(&args)?;
    }
    let count = carved(&out, "report.xml");
    // Made again next time.
    let _ = std::fs::remove_dir_all(&out);
    Ok(count)
}

/// Signatures found of those that are long enough not to turn up in noise.
fn binwalk(files: &[PathBuf]) -> Result<u64, LabError> {
    const LONG: [&str; 6] = [
        "SQLite",
        "Zip archive data",
        "PDF document",
        "PNG image",
        "Microsoft Office",
        "XML document",
    ];
    let each = (BINWALK_MAX / files.len().max(1)).max(BINWALK_LEAST);
    let length = format!("--length={each}");
    let mut args: Vec<&OsStr> = vec![OsStr::new(&length)];
    args.extend(files.iter().map(|file| file.as_os_str()));
    let told = Tool::Binwalk.run(&args)?;
    // A row is an offset, the same in hexadecimal, and a description.
    let description = |line: &str| {
        let mut words = line.split_whitespace();
        let offset = words.next()?.parse::<u64>().is_ok();
        (offset && words.next()?.starts_with("0x")).then(|| words.collect::<Vec<_>>().join(" "))
    };
    let long = |what: &String| LONG.iter().any(|long| what.starts_with(long));
    Ok(told.lines().filter_map(description).filter(long).count() as u64)
}

/// Each tool by the name of its program, and its version or that it is not here. Asked once: it takes a
/// second, and does not change.
pub(super) fn versions() -> &'static [(&'static str, String)] {
    static VERSIONS: OnceLock<Vec<(&str, String)>> = OnceLock::new();
    let version = |tool: Tool| match tool.is_here() {
        true => (tool.version()).unwrap_or_else(|| "it tells no version".to_owned()),
        false => "not installed".to_owned(),
    };
    VERSIONS.get_or_init(|| {
        let tools = [Tool::Gcore, Tool::Strace, Tool::Aeskeyfind]
            .into_iter()
            .chain(Tool::SEARCHING);
        tools.map(|tool| (tool.program(), version(tool))).collect()
    })
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
    let failed = |e| Tool::Ent.failed(e);
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
    let mut child = Tool::Ent
        .command()
        .arg("-t")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let written = child.stdin.take().map(|mut to| to.write_all(&secret));
    let done = child.wait_with_output().map_err(failed)?;
    // One that has died reads no further: how it died says more than that.
    let told = Tool::Ent.said(&done)?;
    written.transpose().map_err(failed)?;
    // Its second line: 1, bytes, entropy, chi-square, and more.
    let chi = told
        .lines()
        .nth(1)
        .and_then(|l| l.split(',').nth(3)?.parse::<f64>().ok());
    let chi = chi.ok_or_else(|| Tool::Ent.failed(format!("it tells no chi-square: {told}")))?;
    Ok(u64::from(chi > CHI_SQUARE_LIMIT))
}

/// A core dump of a process, beginning with the path `to`.
pub(super) fn gcore(id: u32, to: &Path) -> Result<PathBuf, LabError> {
    Tool::Gcore.run(&[OsStr::new("-o"), to.as_os_str(), id.to_string().as_ref()])?;
    let mut path = to.as_os_str().to_owned();
    path.push(format!(".{id}"));
    let path = PathBuf::from(path);
    match path.is_file() {
        true => Ok(path),
        false => Err(Tool::Gcore.failed("it ended well, and left no dump")),
    }
}

/// What to look for of the AES-256 keys whose expanded form lies in a core dump.
pub(super) fn expanded_keys(core: &Path) -> Result<Vec<Needle>, LabError> {
    let said = Tool::Aeskeyfind.run(&[OsStr::new("-q"), core.as_os_str()])?;
    let key = |line: &str| {
        let bytes: [u8; 32] = hex::decode(line.trim()).ok()?.try_into().ok()?;
        Some(Needle::of(&bytes))
    };
    Ok(said.lines().filter_map(key).collect())
}
