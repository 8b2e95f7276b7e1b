//! Lines over a number, as SVG.

use plotters::prelude::*;

/// What a plot shows.
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    /// Values above are cut off.
    pub(crate) most: f64,
    pub(crate) lines: Vec<(String, Vec<(f64, f64)>)>,
}

const COLORS: [RGBColor; 8] = [
    RGBColor(214, 39, 40),
    RGBColor(127, 127, 127),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(255, 127, 14),
    RGBColor(23, 190, 207),
    RGBColor(44, 160, 44),
    RGBColor(31, 119, 180),
];

/// Draws it.
pub(crate) fn svg(plot: &Plot<'_>) -> anyhow::Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (860, 480)).into_drawing_area();
        area.fill(&WHITE)?;
        let points = || plot.lines.iter().flat_map(|(_, points)| points);
        let left = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
        let right = points().map(|point| point.0).fold(f64::NEG_INFINITY, f64::max);
        let top = points().map(|point| point.1).fold(0.0, f64::max).min(plot.most) * 1.05;
        let mut chart = ChartBuilder::on(&area)
            .caption(plot.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(left..right, 0.0..top)?;
        chart.configure_mesh().x_desc(plot.x).y_desc(plot.y).light_line_style(WHITE).draw()?;
        for ((name, points), color) in plot.lines.iter().zip(COLORS.iter().cycle()) {
            let inside = points.iter().map(|(x, y)| (*x, y.min(top)));
            chart
                .draw_series(LineSeries::new(inside, color.stroke_width(2)))?
                .label(name)
                .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(RGBColor(200, 200, 200))
            .draw()?;
        area.present()?;
    }
    Ok(text)
}
