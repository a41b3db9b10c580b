//! Over a real server of Azure's Blob API, which is this program's own: an account whose bytes are in an account whose bytes
//! are in an account.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A working directory, and the environment of its commands.
pub struct Work {
    pub dir: PathBuf,
    pub environment: Vec<(String, String)>,
}

impl Work {
    pub fn new(temp: &TempDir, name: &str) -> Self {
        let work = Self {
            dir: temp.path().join(name),
            environment: Vec::new(),
        };
        work.ok(&["init", "--key-kind", "oct-256"]);
        work
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atrest"));
        command
            .env_remove("ATREST_DIR")
            .envs(self.environment.iter().cloned())
            .arg("--dir")
            .arg(&self.dir)
            .args(args);
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What it says to a command that it refuses.
    pub fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Serves its account `name`, for others to keep their bytes in.
    fn serve(&self, name: &str) -> Served {
        let ready = self.dir.join("ready.json");
        let child = self
            .command(&["serve", "--plain-http", "--port", "0", "--ready-file"])
            .arg(&ready)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let child = Running(child);
        let begun = Instant::now();
        let said: serde_json::Value = loop {
            let said = fs::read(&ready).unwrap_or_default();
            if let Ok(said) = serde_json::from_slice(&said) {
                break said;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "the server does not start"
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        let server = said["variables"]["HTTPS_PROXY"].as_str().unwrap();
        let keys: serde_json::Value =
            serde_json::from_str(&self.ok(&["--json", "blob", "keys", name])).unwrap();
        let variables = [
            ("AZURE_STORAGE_ACCOUNT_NAME", name.to_owned()),
            (
                "AZURE_STORAGE_ACCOUNT_KEY",
                keys["key1"].as_str().unwrap().to_owned(),
            ),
            ("AZURE_STORAGE_ENDPOINT", format!("{server}/{name}")),
            ("AZURE_ALLOW_HTTP", "true".to_owned()),
        ];
        Served {
            environment: variables
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            _child: child,
        }
    }

    /// Puts 20 MB from a file in `dir` into the account `letters`, as `long`, and gets them and a part of them back.
    pub fn keeps_a_long_blob(&self, dir: &Path) -> Vec<u8> {
        let long: Vec<u8> = (0..20_000_000_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let (file, back) = (dir.join("long"), dir.join("back"));
        fs::write(&file, &long).unwrap();
        self.ok(&["blob", "put", "letters", file.to_str().unwrap(), "long"]);
        self.ok(&["blob", "get", "letters", "long", back.to_str().unwrap()]);
        assert!(fs::read(back).unwrap() == long);
        let part = ["--range", "7000000-7000009"];
        let part = self.run(&[&["blob", "get", "letters", "long"][..], &part].concat());
        assert_eq!(part.stdout, &long[7_000_000..=7_000_009]);
        long
    }
}

struct Served {
    environment: Vec<(String, String)>,
    _child: Running,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn holds(dir: &Path, needle: &[u8]) -> bool {
    let files = walkdir::WalkDir::new(dir).into_iter().flatten();
    let mut files = files.filter(|f| f.file_type().is_file());
    files.any(|f| {
        fs::read(f.path())
            .unwrap()
            .windows(needle.len())
            .any(|w| w == needle)
    })
}

#[test]
fn blobs_are_kept_in_another_server_sealed_and_only_there() {
    let temp = tempfile::tempdir().unwrap();
    let far = Work::new(&temp, "far");
    far.ok(&["blob", "create", "backups"]);
    let far_served = far.serve("backups");
    let mut middle = Work::new(&temp, "middle");
    middle.environment = far_served.environment.clone();
    let made = middle.ok(&[
        "blob",
        "create",
        "archive",
        "--bytes",
        "az://default/some/place",
    ]);
    assert!(
        made.contains("its bytes are at az://default/some/place"),
        "{made}"
    );
    let middle_served = middle.serve("archive");
    let mut near = Work::new(&temp, "near");
    near.environment = middle_served.environment.clone();
    near.ok(&["blob", "create", "letters", "--bytes", "az://default"]);

    let long = near.keeps_a_long_blob(temp.path());
    near.ok(&["blob", "verify", "letters"]);
    middle.ok(&["blob", "verify", "archive"]);
    for work in [&far, &middle, &near] {
        assert!(
            !holds(&work.dir, &long[..64]),
            "no byte of it is in clear anywhere"
        );
    }

    // What copies files says that these are none.
    assert!(near.ok(&["--json", "status"]).contains("az://default"));
    for refused in [
        near.fails(&["steal", temp.path().join("loot").to_str().unwrap()]),
        near.fails(&["unprotect", "storage/letters", "--plain"]),
        near.fails(&["prove"]),
    ] {
        assert!(
            refused.contains("its bytes are at az://default"),
            "{refused}"
        );
    }
    far.ok(&["steal", temp.path().join("loot").to_str().unwrap()]);

    // The key matters as everywhere.
    near.ok(&["key", "disable", "customer-key"]);
    assert!(
        near.fails(&["blob", "get", "letters", "long"])
            .contains("KeyDisabled")
    );
    assert!(near.ok(&["blob", "list", "letters"]).contains("long"));
    near.ok(&["key", "enable", "customer-key"]);

    // Credentials are the environment's, each time; none is kept.
    let secret = near.environment[1].1.clone();
    assert!(!holds(&near.dir, secret.as_bytes()));
    near.environment.clear();
    let refused = near.fails(&["blob", "list", "letters"]);
    assert!(refused.contains("az://default"), "{refused}");
    near.environment = middle_served.environment.clone();

    near.ok(&["blob", "delete", "letters", "long"]);
    near.ok(&["blob", "verify", "letters"]);
    let left = middle.ok(&["blob", "list", "archive"]);
    assert_eq!(
        left.lines().count(),
        2,
        "the header, and who writes: {left}"
    );
}
