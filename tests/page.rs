//! The report's page in a real browser: it logs no error, and nothing sticks out at 400 or 1,400
//! pixels. Skipped where there is no Chromium: it is too large to install for one test.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the browser said and showed: the lines of its console, and which widths the page overflows.
fn shown(dir: &Path, page: &str) -> Option<(String, String)> {
    const WIDTHS: [u32; 2] = [400, 1400];
    let frame = |width: u32| {
        format!("<iframe src='{page}' style='border:0;width:{width}px;height:900px'></iframe>")
    };
    let script = "<script>onload = () => { for (const f of document.querySelectorAll('iframe')) {
        const root = f.contentDocument.documentElement;
        document.body.dataset['w' + f.clientWidth] = root.scrollWidth > root.clientWidth ? 'OVERFLOWS' : 'fits';
    } }</script>";
    let frames: String = WIDTHS.map(frame).concat();
    fs::write(
        dir.join("frames.html"),
        format!("<!doctype html><body>{frames}{script}"),
    )
    .unwrap();
    let profile = format!("--user-data-dir={}", dir.join("profile").display());
    let ran = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .args([
            "--allow-file-access-from-files",
            "--enable-logging=stderr",
            "--dump-dom",
            &profile,
        ])
        .arg(format!("file://{}", dir.join("frames.html").display()))
        .stdin(Stdio::null())
        .output();
    let ran = ran.ok()?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let console = text(&ran.stderr);
    let console: Vec<&str> = console.lines().filter(|l| l.contains("CONSOLE")).collect();
    let dom = text(&ran.stdout);
    let body = dom
        .lines()
        .find(|l| l.contains("data-w"))
        .unwrap_or_default();
    Some((
        console.join("\n"),
        body.get(..120).unwrap_or(body).to_owned(),
    ))
}

#[test]
fn the_page_logs_no_error_and_fits_a_telephone() {
    let dir = tempfile::tempdir().unwrap();
    let wide = "<!doctype html><p style='width: 3000px'>wide</p><script>nothing()</script>";
    fs::write(dir.path().join("broken.html"), wide).unwrap();
    let Some((console, widths)) = shown(dir.path(), "broken.html") else {
        eprintln!("skipped: no chromium on this machine");
        return;
    };
    assert!(console.contains("nothing is not defined"), "{console}");
    assert_eq!(widths.matches("OVERFLOWS").count(), 2, "{widths}");

    let made = Command::new(env!("CARGO_BIN_EXE_atrest"))
        .args(["demo", "--rows", "600", "--key-kind", "oct-256", "--dir"])
        .arg(dir.path().join("demo"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let (console, widths) = shown(dir.path(), "demo/report.html").unwrap();
    assert_eq!(console, "");
    assert_eq!(widths.matches("fits").count(), 2, "{widths}");
}
