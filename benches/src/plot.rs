//! The figures of a run as a picture: a bar for each server's share of the bare handler's speed, page by page.

use private_httpd::Mpm;
use svg::Document;
use svg::node::element::{Line, Rectangle, Text};

use crate::report::{Report, Series};
use crate::server::{Kind, Server};

const LABELS: f64 = 230.0;
const BARS: f64 = 520.0;
const BAR: f64 = 18.0;
const GAP: f64 = 30.0;

/// The picture, an SVG document.
pub fn draw(report: &Report) -> String {
    let mut shapes = Document::new().set("font-family", "sans-serif").set("font-size", 12);
    let mut y = 24.0;
    shapes = shapes.add(text(LABELS, y - 8.0, "start", "Speed; 1 is a bare C handler that has the bytes ready"));
    let top = y;
    for (number, page) in report.pages.iter().enumerate() {
        y += GAP;
        let title = text(8.0, y - 6.0, "start", &format!("{}: {}", page.name, page.about)).set("font-weight", "bold");
        shapes = shapes.add(title);
        for series in report.series.iter().filter(|series| series.page == number && series.kind != Kind::Bare) {
            let Some(ratio) = report.to_bare(series) else { continue };
            let label = format!("{} ({})", series.kind.name(), Server::host(series.kind, series.mpm));
            let bar = Rectangle::new()
                .set("x", LABELS)
                .set("y", y)
                .set("width", ratio.clamp(0.0, 1.2) * BARS)
                .set("height", BAR - 4.0)
                .set("fill", colour(series));
            shapes = shapes.add(text(LABELS - 8.0, y + 11.0, "end", &label)).add(bar).add(text(
                LABELS + ratio.clamp(0.0, 1.2) * BARS + 4.0,
                y + 11.0,
                "start",
                &format!("{ratio:.2}"),
            ));
            y += BAR;
        }
    }
    let bare = Line::new().set("x1", LABELS + BARS).set("x2", LABELS + BARS).set("y1", top).set("y2", y);
    shapes = shapes.add(bare.set("stroke", "#888").set("stroke-dasharray", "4 3"));
    shapes = shapes.add(text(8.0, y + 24.0, "start", &report.machine.to_string()).set("fill", "#555"));
    let (width, height) = (LABELS + BARS * 1.2 + 50.0, y + 36.0);
    let ground = Rectangle::new().set("width", width).set("height", height).set("fill", "white");
    shapes.get_children_mut().insert(0, Box::new(ground));
    shapes.set("viewBox", (0, 0, width, height)).set("width", width).set("height", height).to_string()
}

fn text(x: f64, y: f64, anchor: &str, content: &str) -> Text {
    Text::new(content).set("x", x).set("y", y).set("text-anchor", anchor)
}

fn colour(series: &Series) -> &'static str {
    match (series.kind, series.mpm) {
        (Kind::Plua, Mpm::Prefork) => "#2a6fb0",
        (Kind::Plua | Kind::PluaLimits | Kind::PluaKept, _) => "#1f5d99",
        _ => "#b8b8b8",
    }
}
