//! Small pictures: lines over a logarithmic axis, with the spread of each point.

use std::{fmt::Write as _, fs, path::Path};

use crate::{
    stage::Stage,
    table::{Number, Spread},
};

/// One line of a picture.
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    /// Sizes, above zero and growing, with what was measured.
    pub(crate) points: Vec<(f64, Spread)>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 620.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 280.0;
/// Told apart by those who do not tell red from green, on white and on black.
const COLOURS: [&str; 3] = ["#0077bb", "#ee7733", "#888888"];

/// An SVG document. The y axis begins at zero.
pub(crate) fn plot(title: &str, lines: &[Line<'_>]) -> String {
    let all = || lines.iter().flat_map(|line| &line.points);
    let top = round_up(all().map(|(_, spread)| spread.most).fold(0.0, f64::max));
    let first = all().map(|(size, _)| *size).fold(f64::INFINITY, f64::min);
    let last = all().map(|(size, _)| *size).fold(0.0, f64::max);
    let span = (last / first).ln().max(f64::MIN_POSITIVE);
    let x = |size: f64| LEFT + 20.0 + (size / first).ln() / span * (RIGHT - LEFT - 40.0);
    let y = |value: f64| BOTTOM - value / top * (BOTTOM - TOP);

    // Writing to a string cannot fail.
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{title}</text>\n"
    );
    for quarter in 0..=4 {
        let value = top * f64::from(quarter) / 4.0;
        let height = y(value);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {height:.1}H{RIGHT}\" stroke=\"#dddddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            height + 4.0,
            Number(value, usize::from(top < 40.0) + usize::from(top < 4.0))
        );
    }
    for (size, _) in lines.iter().take(1).flat_map(|line| &line.points) {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x(*size),
            BOTTOM + 20.0,
            Number(*size, 0)
        );
    }
    for ((line, colour), number) in lines.iter().zip(COLOURS).zip(0..) {
        let path: Vec<_> = line
            .points
            .iter()
            .map(|(size, spread)| format!("{:.1},{:.1}", x(*size), y(spread.median)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for (size, spread) in &line.points {
            let _ = writeln!(
                svg,
                "<path d=\"M{0:.1} {1:.1}V{2:.1}\" stroke=\"{colour}\"/>\
                 <circle cx=\"{0:.1}\" cy=\"{3:.1}\" r=\"3.5\" fill=\"{colour}\"/>",
                x(*size),
                y(spread.least),
                y(spread.most),
                y(spread.median)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"40\" fill=\"{colour}\">{}</text>",
            LEFT + 100.0 * f64::from(number),
            line.name
        );
    }
    svg + "</svg>\n"
}

/// One, two or five times a power of ten, not below `value`.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(f64::MIN_POSITIVE).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps
        .into_iter()
        .find(|step| *step >= value)
        .unwrap_or(value)
}

/// Into `docs/performance`; what a quick run has drawn does not belong there.
pub(crate) fn write(stage: &Stage, name: &str, picture: &str) {
    let folder = if stage.quick {
        std::env::temp_dir().join("toolgate-performance")
    } else {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance")
    };
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(format!("{name}.svg"));
    fs::write(&path, picture).expect("written");
    println!("![{name}](performance/{name}.svg)\n");
    eprintln!("drew {}", path.display());
}
