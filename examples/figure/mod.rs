//! How the figures of the examples look: one style, one colour for each way of sampling, SVG to a file.

// Each program uses its own part of this.
#![allow(dead_code)]

use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use qsd::files::write_whole;
use qsd::{Error, Result};

use crate::analytic::Way;

/// A part of a figure.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// The chart of a panel.
pub type Chart<'a, 'b, X, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>;

/// Text and axes.
pub const INK: RGBColor = RGBColor(38, 42, 50);
/// What the exact law is drawn in.
pub const EXACT: RGBColor = RGBColor(214, 217, 222);
/// The height of text, in the figure's units.
pub const TEXT: i32 = 34;

/// The colour of a way: of Okabe and Ito's, which colour-blind readers can tell apart.
pub fn colour(way: Way) -> RGBColor {
    match way {
        Way::PlainOde => RGBColor(204, 121, 167),
        Way::PlainSde => RGBColor(86, 180, 233),
        Way::ProjectedOde => RGBColor(0, 158, 115),
        Way::ProjectedSde => RGBColor(0, 90, 160),
        Way::WithoutCurvature => RGBColor(230, 159, 0),
        Way::FlippedCurvature => RGBColor(213, 94, 0),
    }
}

/// Turns a failure of the plotting library into one of this crate.
pub fn drawn<T, E: std::fmt::Display>(result: std::result::Result<T, E>) -> Result<T> {
    result.map_err(|error| Error::Data(format!("the figure could not be drawn: {error}")))
}

/// Text of the figure's height, scaled.
pub fn text(size: f64) -> TextStyle<'static> {
    ("sans-serif", f64::from(TEXT) * size).into_font().color(&INK)
}

/// Writes a panel's letter and title above it.
pub fn title(area: &Area<'_>, letter: &str, title: &str) -> Result<()> {
    drawn(area.draw_text(
        letter,
        &("sans-serif", 1.1 * f64::from(TEXT), FontStyle::Bold).into_font().color(&INK),
        (20, 8),
    ))?;
    drawn(area.draw_text(title, &text(1.0), (64, 10)))
}

/// A panel's frame: axes on the left and below.
pub struct Frame<'a> {
    /// The panel's letter.
    pub letter: &'a str,
    /// Its title.
    pub title: &'a str,
    /// What the abscissa counts.
    pub x: &'a str,
    /// What the ordinate counts.
    pub y: &'a str,
    /// How the abscissa's numbers are written.
    pub x_labels: &'a dyn Fn(&f64) -> String,
}

/// Draws a frame and gives the chart within it.
pub fn chart<'a, 'b, X, Y>(
    area: &'a Area<'b>,
    frame: &Frame<'_>,
    x: X,
    y: Y,
) -> Result<Chart<'a, 'b, X::CoordDescType, Y::CoordDescType>>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    title(area, frame.letter, frame.title)?;
    let mut builder = ChartBuilder::on(area);
    builder.margin_top(3 * TEXT / 2 + 16).margin_right(30).margin_left(12).margin_bottom(6);
    let mut chart = drawn(builder.x_label_area_size(86).y_label_area_size(118).build_cartesian_2d(x, y))?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_mesh().axis_style(INK.stroke_width(2)).label_style(text(0.85)).axis_desc_style(text(0.95));
    mesh.x_desc(frame.x).y_desc(frame.y).x_labels(6).y_labels(6).set_all_tick_mark_size(10);
    mesh.x_label_formatter(frame.x_labels).y_label_formatter(&number);
    drawn(mesh.draw())?;
    Ok(chart)
}

/// A number as short as it can be written.
pub fn number(value: &f64) -> String {
    ((value * 1e6).round() / 1e6).to_string()
}

/// A row of samples of colour and what they stand for, centred in an area one line high.
pub fn legend(area: &Area<'_>, entries: &[(RGBColor, &str)]) -> Result<()> {
    let (width, height) = area.dim_in_pixel();
    let middle = height as i32 / 2;
    let widths: Vec<i32> = entries.iter().map(|(_, label)| 120 + label.chars().count() as i32 * TEXT / 2).collect();
    let mut x = (width as i32 - widths.iter().sum::<i32>()) / 2;
    let style = text(1.0).pos(Pos::new(HPos::Left, VPos::Center));
    for ((colour, label), width) in entries.iter().zip(widths) {
        drawn(area.draw(&Rectangle::new([(x, middle - 7), (x + 60, middle + 7)], colour.filled())))?;
        drawn(area.draw(&Text::new(*label, (x + 76, middle), style.clone())))?;
        x += width;
    }
    Ok(())
}

/// Draws a figure of this width and height into a file that appears whole or not at all.
pub fn save(path: &Path, size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<()> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        drawn(area.fill(&WHITE))?;
        draw(&area)?;
        drawn(area.present())?;
    }
    write_whole(path, svg.as_bytes())
}
