//! The chart: one group of bars a work, logarithmic, since the works differ by three orders of magnitude.

use std::fmt::Write as _;

use super::Summary;

const WIDTH: f64 = 760.0;
/// Where bars begin and end.
const LEFT: f64 = 270.0;
const RIGHT: f64 = 690.0;
const BAR: f64 = 18.0;
const TITLE: f64 = 30.0;
/// The shortest time on the axis, in seconds, and its length in powers of ten.
const SHORTEST: f64 = 0.01;
const DECADES: u8 = 4;

/// An SVG file. Colours are readable on light and dark pages.
pub(super) fn draw(rows: &[Summary<'_>], caption: &str) -> String {
    let mut body = String::new();
    let mut y = 20.0;
    let mut group = ("", "");
    for row in rows {
        if (row.set, row.work) != group {
            group = (row.set, row.work);
            y += TITLE;
            text(&mut body, (10.0, y - 6.0), "title", &format!("{} files: {}", row.files, row.work));
        }
        bar(&mut body, y, row);
        y += BAR + 4.0;
    }
    y += 24.0;
    let grid = grid(y - 16.0);
    text(&mut body, (10.0, y + 8.0), "note", &format!("seconds, median, logarithmic; {caption}"));
    let height = y + 20.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">\n\
         <style>text {{ font: 12px sans-serif; fill: #777 }} .title {{ font-weight: bold }} .note {{ font-size: 11px }} \
         .ours {{ fill: #2a7de1 }} .peer {{ fill: #999 }} line {{ stroke: #999; stroke-opacity: 0.4 }}</style>\n\
         {grid}{body}</svg>\n"
    )
}

fn bar(body: &mut String, y: f64, row: &Summary<'_>) {
    let end = position(row.seconds);
    let class = if row.program.starts_with("ostree-seal") { "ours" } else { "peer" };
    text(body, (20.0, y + 13.0), "", row.program);
    // Writing into a String doesn't fail.
    let _ = writeln!(
        body,
        "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" class=\"{class}\"/>",
        end - LEFT
    );
    let label = format!("{:.3} s, {} MB", row.seconds, row.peak_bytes / 1_000_000);
    text(body, (end + 4.0, y + 13.0), "", &label);
}

fn grid(bottom: f64) -> String {
    let mut lines = String::new();
    for decade in 0..=DECADES {
        let seconds = SHORTEST * 10_f64.powi(i32::from(decade));
        let x = position(seconds);
        let _ = writeln!(lines, "<line x1=\"{x:.1}\" y1=\"24\" x2=\"{x:.1}\" y2=\"{bottom}\"/>");
        text(&mut lines, (x - 10.0, 18.0), "note", &seconds.to_string());
    }
    lines
}

fn position(seconds: f64) -> f64 {
    let part = (seconds / SHORTEST).max(1.0).log10() / f64::from(DECADES);
    LEFT + (RIGHT - LEFT) * part
}

fn text(body: &mut String, (x, y): (f64, f64), class: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(body, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{text}</text>");
}
