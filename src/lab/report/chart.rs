use plotters::prelude::*;

use crate::lab::{Figures, LabError};

// Colours as the page's style sheet knows them: it replaces each by its own, for light and dark.
const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
pub(super) const PLAIN: RGBColor = RGBColor(3, 3, 3);
pub(super) const PROTECTED: RGBColor = RGBColor(4, 4, 4);

/// The share of each byte value, as bars: a picture of 560 by 210 units. `top` is the share at the
/// upper edge, in percent; taller bars are cut there.
pub(super) fn distribution(
    figures: &Figures,
    colour: RGBColor,
    top: f64,
) -> Result<String, LabError> {
    let mut svg = String::new();
    draw(&mut svg, figures, colour, top).map_err(|e| LabError::Report(e.to_string()))?;
    // The page scales the picture; a fixed size would overflow narrow screens.
    Ok(svg.replacen("width=\"560\" height=\"210\" ", "", 1))
}

fn draw(
    svg: &mut String,
    figures: &Figures,
    colour: RGBColor,
    top: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    let total: u64 = figures.histogram.iter().sum();
    let share = |value: usize| match total {
        0 => 0.0,
        n => (100.0 * figures.histogram[value] as f64 / n as f64).min(top),
    };
    let root = SVGBackend::with_string(svg, (560, 210)).into_drawing_area();
    let text = ("sans-serif", 18).into_font().color(&INK);
    let mut chart = ChartBuilder::on(&root)
        .margin(10)
        .margin_right(12)
        .x_label_area_size(26)
        .y_label_area_size(54)
        .build_cartesian_2d(0.0..256.0, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .x_labels(5)
        .y_labels(4)
        .x_label_style(text.clone())
        .y_label_style(text)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.1} %"))
        .draw()?;
    chart.draw_series((0..256).map(|value| {
        let x = value as f64;
        Rectangle::new([(x, 0.0), (x + 1.0, share(value))], colour.filled())
    }))?;
    root.present()?;
    Ok(())
}

/// The share, in percent, at the upper edge of both pictures of a pair: both distributions whole,
/// as far as that leaves even bars visible.
pub(super) fn top(plain: &Figures, protected: &Figures) -> f64 {
    const CUT: f64 = 4.0;
    let tallest = |f: &Figures| {
        let (total, most) = (f.histogram.iter().sum::<u64>(), f.histogram.iter().max());
        100.0 * most.copied().unwrap_or(0) as f64 / total.max(1) as f64
    };
    (tallest(plain).max(tallest(protected)) * 1.05).clamp(1.0, CUT)
}
