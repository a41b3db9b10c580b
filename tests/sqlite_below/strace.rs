//! Runs a part of this test binary as a child under `strace`, and reads what it wrote down.
//!
//! With `-xx` every string is `\x..`, so that quotes, commas and brackets are never data.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;

use crate::fixture::{Scratch, scratch};

/// Calls that change a file or its name, and those that lead to one. A child that used another of
/// the last line would be seen, and the test would say that it does not know what that does.
pub const CALLS: &str = "open,openat,creat,close,lseek,write,pwrite64,writev,pwritev,pwritev2,\
    ftruncate,truncate,fallocate,fsync,fdatasync,unlink,unlinkat,rename,renameat,renameat2,mmap,\
    dup,dup2,dup3,sync_file_range,msync,copy_file_range,sendfile,splice,link,linkat,symlink,symlinkat,\
    io_uring_setup,io_submit,process_vm_writev";

/// One system call that returned.
pub struct Line {
    pub name: String,
    args: Vec<String>,
    result: String,
}

impl Line {
    /// `None` for what is no call: signals, exits.
    fn parse(line: &str) -> Option<Self> {
        let (name, rest) = line.split_once('(')?;
        let known = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.chars().all(known) {
            return None;
        }
        let (args, result) = rest.rsplit_once(" = ").unwrap_or_else(|| panic!("{line}"));
        // Padding before the result.
        let args = args.trim_end().strip_suffix(')').unwrap_or(args);
        Some(Self {
            name: name.to_owned(),
            args: split(args),
            result: result.to_owned(),
        })
    }

    /// What the call returned, when it did not fail.
    pub fn returned(&self) -> Option<u64> {
        if self.result.starts_with("0x") {
            return Some(0);
        }
        let end = self.result.find(|c: char| !c.is_ascii_digit());
        self.result[..end.unwrap_or(self.result.len())].parse().ok()
    }

    /// Whether strace made it fail.
    pub fn is_injected(&self) -> bool {
        self.result.ends_with("(INJECTED)")
    }

    pub fn arg(&self, index: usize) -> &str {
        self.args.get(index).map_or("", String::as_str)
    }

    pub fn number(&self, index: usize) -> u64 {
        let arg = self.arg(index);
        arg.parse()
            .unwrap_or_else(|_| panic!("{}: {arg}", self.name))
    }

    /// The number of the descriptor in argument `index`.
    pub fn fd(&self, index: usize) -> Option<u64> {
        self.arg(index).split('<').next()?.parse().ok()
    }

    /// The path behind the descriptor in argument `index`, when it is a file's.
    pub fn fd_path(&self, index: usize) -> Option<PathBuf> {
        fd_path(self.arg(index))
    }

    /// The path behind the descriptor that the call returned: no link leads to another.
    pub fn returned_path(&self) -> Option<PathBuf> {
        fd_path(&self.result)
    }

    /// The path in argument `index`.
    pub fn path(&self, index: usize) -> PathBuf {
        path_of(&self.bytes(index)).unwrap_or_default()
    }

    /// The strings in argument `index`, one after the other.
    pub fn bytes(&self, index: usize) -> Vec<u8> {
        let arg = self.arg(index);
        assert!(!arg.contains("\"..."), "strace cut a string: {}", self.name);
        let strings = arg.split('"').skip(1).step_by(2);
        strings.flat_map(|hex| unescape(hex).unwrap()).collect()
    }
}

fn fd_path(fd: &str) -> Option<PathBuf> {
    let (_, path) = fd.split_once('<')?;
    let hex = path.split(['<', '>']).next()?;
    path_of(&unescape(hex)?).filter(|path| path.is_absolute())
}

fn path_of(bytes: &[u8]) -> Option<PathBuf> {
    Some(PathBuf::from(str::from_utf8(bytes).ok()?))
}

fn unescape(escaped: &str) -> Option<Vec<u8>> {
    let digits: String = escaped.split("\\x").collect();
    hex::decode(digits).ok()
}

/// Splits at the commas that are outside all brackets and strings.
fn split(args: &str) -> Vec<String> {
    let (mut out, mut start, mut depth, mut quoted) = (Vec::new(), 0, 0, false);
    for (at, byte) in args.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' | b'(' | b'<' => depth += 1,
            b']' | b'}' | b')' | b'>' => depth -= 1,
            b',' if depth == 0 => {
                out.push(args[start..at].trim().to_owned());
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(args[start..].trim().to_owned());
    out
}

/// How a child ended, and what it did.
pub struct Traced {
    pub status: ExitStatus,
    pub stderr: String,
    pub calls: Vec<Line>,
}

/// Runs the test `part` of this binary in a child under strace.
pub fn run(part: &str, options: &[String], variables: &[(&str, &str)]) -> Traced {
    usable();
    let dir = scratch();
    let log = dir.path().join("trace");
    let child = strace(&log)
        .args(options)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", part, "--nocapture", "--test-threads=1"])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    Traced {
        status: child.status,
        stderr: String::from_utf8_lossy(&child.stderr).into_owned(),
        calls: read(&log, &dir),
    }
}

fn strace(log: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "--seccomp-bpf", "-yy", "-xx", "-s", "1000000", "-o"]);
    command.arg(log);
    command
}

/// Calls of all threads, each where it ended.
fn read(log: &Path, _alive: &Scratch) -> Vec<Line> {
    let text = fs::read_to_string(log).unwrap();
    let mut begun: Vec<(&str, &str)> = Vec::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let (thread, call) = line.split_once(char::is_whitespace).unwrap();
        let call = call.trim_start();
        if let Some(start) = call.strip_suffix(" <unfinished ...>") {
            begun.push((thread, start));
        } else if let Some(rest) = call.strip_prefix("<... ") {
            let at = begun.iter().position(|(t, _)| *t == thread).unwrap();
            let (_, rest) = rest.split_once(" resumed>").unwrap();
            calls.extend(Line::parse(&(begun.remove(at).1.to_owned() + rest)));
        } else {
            calls.extend(Line::parse(call));
        }
    }
    calls
}

/// Fails with a sentence that says what to do where strace is missing or may not trace.
fn usable() {
    static CHECKED: OnceLock<Result<(), String>> = OnceLock::new();
    let checked = CHECKED.get_or_init(|| {
        let tried = strace(Path::new("/dev/null"))
            .args(["-e", "trace=none", "true"])
            .output()
            .map_err(|e| {
                format!(
                    "these tests watch system calls with strace, which cannot be run ({e}): \
                     install it (apt-get install strace)"
                )
            })?;
        match tried.status.success() {
            true => Ok(()),
            false => Err(format!(
                "these tests watch system calls with strace, which may not trace here; allow \
                 ptrace (in a container: --cap-add=SYS_PTRACE). It says: {}",
                String::from_utf8_lossy(&tried.stderr)
            )),
        }
    });
    if let Err(why) = checked {
        panic!("{why}");
    }
}
