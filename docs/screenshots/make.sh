#!/usr/bin/env bash
# Makes the pictures of report.html in this directory anew, from a run of the demo. Needs Chromium
# (Debian: apt-get install chromium) and a built atrest: `cargo build --release`.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
target/release/atrest --dir "$work/demo" demo --rows 20000 >/dev/null

# shot NAME WIDTH HEIGHT [FLAG...]: the report's first HEIGHT pixels, WIDTH wide. A frame gives the
# width: the browser's own window has a least one.
shot() {
    local name=$1 width=$2 height=$3
    shift 3
    printf '<!doctype html><body style="margin:0"><iframe src="demo/report.html" style="border:0;display:block;width:%dpx;height:%dpx" scrolling="no"></iframe>' \
        "$width" "$height" >"$work/frame.html"
    chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --allow-file-access-from-files "$@" \
        --window-size="$width,$height" --screenshot="$work/$name.png" "file://$work/frame.html" 2>/dev/null
    mv "$work/$name.png" "docs/screenshots/$name.png"
}
shot report 1400 1150
shot report-dark 1400 1150 --blink-settings=preferredColorScheme=0
shot report-narrow 400 1500
