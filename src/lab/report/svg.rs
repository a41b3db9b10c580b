//! Pictures of a copy page by page: one path for all pages of a colour, so that a thousand pages
//! take no more than some kilobytes. Colours are classes of the page's style sheet.

use std::fmt::Write;

use crate::lab::{CHI_SQUARE_LIMIT, PageKind, Profile};

// As large as the pictures of chart.rs, so that one scale of text fits both.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 92.0;
const RIGHT: f64 = 548.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 174.0;

/// Chi-square of each page, on a logarithmic scale, with the limit above which a page is flagged.
/// `class` colours the dots.
pub(super) fn chi_square(profile: &Profile, class: &str) -> String {
    let height = |chi: f64| (chi.clamp(100.0, 1.1e6).log10() - 2.0) / 4.05;
    let ticks = [
        (100.0, "100"),
        (1e3, "1,000"),
        (1e4, "10,000"),
        (1e5, "100,000"),
        (1e6, "1,000,000"),
    ];
    let ticks = ticks.map(|(chi, label)| (height(chi), label));
    let mut svg = frame(&ticks, profile);
    let y = vertical(height(CHI_SQUARE_LIMIT));
    let _ = write!(svg, r#"<path class="limit" d="M{LEFT} {y:.1}H{RIGHT}"/>"#);
    let heights = profile
        .chi_square
        .iter()
        .map(|v| v.map(|v| height(v as f64)));
    dots(&mut svg, heights, class);
    svg + "</svg>"
}

/// Entropy of each page, from 0 to 8 bits per byte.
pub(super) fn entropy(profile: &Profile, class: &str) -> String {
    let ticks = [
        (0.0, "0"),
        (0.25, "2"),
        (0.5, "4"),
        (0.75, "6"),
        (1.0, "8 bits"),
    ];
    let mut svg = frame(&ticks, profile);
    let heights = profile
        .entropy
        .iter()
        .map(|v| v.map(|v| f64::from(v) / 8000.0));
    dots(&mut svg, heights, class);
    svg + "</svg>"
}

/// Every cell as a square, from left to right and from top to bottom, in the colour of its kind.
pub(super) fn map(profile: &Profile) -> String {
    let kinds: Vec<PageKind> = profile.cell_kinds().collect();
    let columns = ((kinds.len() as f64 * 3.0).sqrt().ceil() as usize).clamp(24, 64);
    let rows = kinds.len().div_ceil(columns).max(1);
    let mut svg = format!(
        r#"<svg viewBox="0 0 {} {}" class="map" role="img">"#,
        columns * 10,
        rows * 10
    );
    for (kind, _) in PageKind::ALL {
        let mut path = String::new();
        for (at, _) in kinds.iter().enumerate().filter(|(_, k)| **k == kind) {
            let (x, y) = (at % columns * 10, at / columns * 10);
            let _ = write!(path, "M{x} {y}h9v9h-9z");
        }
        if !path.is_empty() {
            let _ = write!(svg, r#"<path class="{}" d="{path}"/>"#, class(kind));
        }
    }
    svg + "</svg>"
}

/// The style sheet's class for a kind.
pub(super) fn class(kind: PageKind) -> &'static str {
    match kind {
        PageKind::Noise => "k-noise",
        PageKind::Header => "k-header",
        PageKind::Zero => "k-zero",
        PageKind::Free => "k-free",
        PageKind::Patterned => "k-pattern",
        PageKind::Tree => "k-tree",
    }
}

fn vertical(height: f64) -> f64 {
    BOTTOM - height * (BOTTOM - TOP)
}

/// The beginning of a picture: lines and labels at these heights (0 to 1), and the pages' numbers.
fn frame(ticks: &[(f64, &str)], profile: &Profile) -> String {
    let mut svg = format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">"#);
    for (height, label) in ticks {
        let y = vertical(*height);
        let _ = write!(
            svg,
            r#"<path class="grid" d="M{LEFT} {y:.1}H{RIGHT}"/><text class="tick" x="{:.0}" y="{:.1}" text-anchor="end">{label}</text>"#,
            LEFT - 8.0,
            y + 5.0,
        );
    }
    let y = BOTTOM + 24.0;
    let pages = profile.pages;
    let _ = write!(
        svg,
        r#"<text class="tick" x="{LEFT}" y="{y}">first page</text><text class="tick" x="{RIGHT}" y="{y}" text-anchor="end">page {pages}</text>"#
    );
    svg
}

fn dots(svg: &mut String, heights: impl ExactSizeIterator<Item = Option<f64>>, class: &str) {
    let count = heights.len().max(1) as f64;
    let mut path = String::new();
    for (at, height) in heights.enumerate() {
        if let Some(height) = height {
            let x = LEFT + (at as f64 + 0.5) / count * (RIGHT - LEFT);
            let _ = write!(path, "M{x:.1} {:.1}h0", vertical(height));
        }
    }
    let _ = write!(svg, r#"<path class="dots {class}" d="{path}"/>"#);
}
