//! Line charts as inline SVG. Colours and fonts come from the page's style, so a chart follows light and dark.

use std::fmt::Write;

use crate::render::contact_sheet::escape;

/// Curves over a common horizontal axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LineChart<'a> {
    /// What the chart shows, for those who cannot see it.
    pub alt: String,
    /// Label of the horizontal axis, with its unit.
    pub x_label: &'a str,
    /// Label of the vertical axis, with its unit.
    pub y_label: &'a str,
    /// Ends of the horizontal axis.
    pub x: (f64, f64),
    /// The vertical axis.
    pub y: Axis,
    /// Texts under the horizontal axis; absent for numbers.
    pub x_ticks: Option<Vec<(f64, String)>>,
    /// The curves.
    pub series: Vec<Series<'a>>,
    /// Dashed vertical lines, with a text at the upper end.
    pub rules: Vec<(f64, &'a str)>,
    /// Rings around points: `(x, y, text)`.
    pub marks: Vec<(f64, f64, String)>,
    /// Rectangles from the horizontal axis upwards: `(left, right, height, text)`.
    pub bars: Vec<(f64, f64, f64, String)>,
    /// The line of equal x and y.
    pub diagonal: bool,
}

/// The vertical axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Axis {
    /// From and to, as numbers.
    Linear(f64, f64),
    /// From and to, as percents of 1.
    Share(f64, f64),
    /// From and to, both above 0; equal distances are equal ratios.
    Log(f64, f64),
}

/// A curve.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series<'a> {
    /// What it is.
    pub name: &'a str,
    /// Its look: `first`, `second`.
    pub class: &'static str,
    /// Points from left to right with their texts; a value that is not finite leaves a gap.
    pub points: Vec<(f64, f64, String)>,
}

// Size of the drawing and its margins.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 26.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 52.0;
/// About the width of a letter of `page.css`'s 14 pixels, rather too wide.
const LETTER: f64 = 8.0;
/// More points than this are drawn as a line without dots.
const MOST_DOTS: usize = 45;

impl LineChart<'_> {
    /// The `<svg>` element.
    pub(crate) fn svg(&self) -> String {
        let mut out = format!(
            "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            escape(&self.alt)
        );
        self.axes(&mut out);
        for (left, right, height, text) in &self.bars {
            let (x, y, floor) = (self.at_x(*left) + 1.0, self.at_y(*height), self.at_y(self.y.ends().0));
            let (width, height) = (self.at_x(*right) - 1.0 - x, floor - y);
            put(
                &mut out,
                format_args!(
                    "<rect class=\"fill\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\">{}</rect>",
                    title(text)
                ),
            );
        }
        if self.diagonal {
            let (low, high) = (self.x.0, self.x.1);
            let from = (self.at_x(low), self.at_y(low));
            put(
                &mut out,
                format_args!(
                    "<path class=\"diagonal\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>",
                    from.0,
                    from.1,
                    self.at_x(high),
                    self.at_y(high)
                ),
            );
        }
        self.rules(&mut out);
        for series in &self.series {
            self.curve(&mut out, series);
        }
        for (x, y, text) in &self.marks {
            self.mark(&mut out, *x, *y, text);
        }
        self.legend(&mut out);
        out += "</svg>\n";
        out
    }

    fn axes(&self, out: &mut String) {
        for (value, text) in self.y.ticks() {
            let y = self.at_y(value);
            put(out, format_args!("<path class=\"grid\" d=\"M{LEFT} {y:.1}H{}\"/>", WIDTH - RIGHT));
            put(
                out,
                format_args!(
                    "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                    LEFT - 8.0,
                    y + 5.0
                ),
            );
        }
        let floor = HEIGHT - BOTTOM;
        put(out, format_args!("<path class=\"axis\" d=\"M{LEFT} {floor}H{}\"/>", WIDTH - RIGHT));
        let numbers =
            || linear_ticks(self.x.0, self.x.1, 8, true).into_iter().map(|v| (v, number(v))).collect();
        for (value, text) in self.x_ticks.clone().unwrap_or_else(numbers) {
            put(
                out,
                format_args!(
                    "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                    self.at_x(value),
                    floor + 20.0,
                    escape(&text)
                ),
            );
        }
        put(
            out,
            format_args!(
                "<text class=\"label\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                HEIGHT - 8.0,
                escape(self.x_label)
            ),
        );
        put(out, format_args!("<text class=\"label\" x=\"6\" y=\"18\">{}</text>", escape(self.y_label)));
    }

    fn rules(&self, out: &mut String) {
        // Where the texts of each row of them end. A text that would run into another one takes the next row.
        let mut ends: Vec<f64> = Vec::new();
        for (x, text) in &self.rules {
            let x = self.at_x(*x);
            // The axis is there already.
            if x > LEFT {
                put(
                    out,
                    format_args!("<path class=\"rule\" d=\"M{x:.1} {}V{}\"/>", TOP - 24.0, HEIGHT - BOTTOM),
                );
            }
            let length = LETTER * text.chars().count() as f64;
            // On the left of its line where the picture ends; an arrow says that what it names is on the right.
            let start = if x + 4.0 + length > WIDTH { x - 4.0 - length } else { x + 4.0 };
            let row = ends.iter().position(|end| *end < start).unwrap_or(ends.len());
            ends.resize(ends.len().max(row + 1), 0.0);
            ends[row] = start + length;
            let (anchor, at, arrow) =
                if start < x { ("end", x - 4.0, " →") } else { ("start", x + 4.0, "") };
            put(
                out,
                format_args!(
                    "<text class=\"rule-text\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}{arrow}</text>",
                    TOP - 13.0 + 16.0 * row as f64,
                    escape(text)
                ),
            );
        }
    }

    fn curve(&self, out: &mut String, series: &Series) {
        let (class, points) = (series.class, &series.points);
        let mut path = String::new();
        let mut pen_down = false;
        for (x, y, _) in points {
            if self.y.shows(*y) {
                let _ = write!(
                    path,
                    "{}{:.1} {:.1}",
                    if pen_down { 'L' } else { 'M' },
                    self.at_x(*x),
                    self.at_y(*y)
                );
            }
            pen_down = self.y.shows(*y);
        }
        put(out, format_args!("<path class=\"line {class}\" d=\"{path}\"/>"));
        // Without dots the texts still answer to the pointer, on circles that do not show.
        let (radius, look) = if points.len() <= MOST_DOTS { (3.5, "dot") } else { (5.0, "dot hidden") };
        for (x, y, text) in points.iter().filter(|(_, y, _)| self.y.shows(*y)) {
            put(
                out,
                format_args!(
                    "<circle class=\"{look} {class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\">{}</circle>",
                    self.at_x(*x),
                    self.at_y(*y),
                    title(text)
                ),
            );
        }
    }

    fn mark(&self, out: &mut String, x: f64, y: f64, text: &str) {
        if !self.y.shows(y) {
            return;
        }
        let (x, y) = (self.at_x(x), self.at_y(y));
        put(out, format_args!("<circle class=\"ring\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8\"/>"));
        // On the side where there is room, and where the curve is not.
        let (anchor, shift) = if x > WIDTH / 2.0 { ("end", -2.0) } else { ("start", 2.0) };
        let below = if y < TOP + 60.0 { 28.0 } else { -16.0 };
        put(
            out,
            format_args!(
                "<text class=\"ring-text\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                x + shift,
                y + below,
                escape(text)
            ),
        );
    }

    /// Names of the curves, in the line of the vertical axis' label, from the right.
    fn legend(&self, out: &mut String) {
        let mut x = WIDTH - RIGHT;
        for series in self.series.iter().rev().filter(|_| self.series.len() > 1) {
            put(
                out,
                format_args!(
                    "<text class=\"key\" x=\"{x:.1}\" y=\"18\" text-anchor=\"end\">{}</text>",
                    escape(series.name)
                ),
            );
            // Half of a letter's height is about its mean width.
            x -= series.name.chars().count() as f64 * 8.4 + 32.0;
            put(out, format_args!("<path class=\"line {}\" d=\"M{x:.1} 13h26\"/>", series.class));
            x -= 16.0;
        }
    }

    fn at_x(&self, x: f64) -> f64 {
        let (low, high) = self.x;
        // A single epoch stands in the middle.
        let part = if high > low { (x - low) / (high - low) } else { 0.5 };
        LEFT + (WIDTH - LEFT - RIGHT) * part
    }

    fn at_y(&self, y: f64) -> f64 {
        let (low, high) = self.y.ends();
        let part = match self.y {
            Axis::Log(..) => (y / low).ln() / (high / low).ln(),
            _ => (y - low) / (high - low),
        };
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part.clamp(0.0, 1.0)
    }
}

impl Axis {
    /// A linear axis from 0 that holds all values.
    pub(crate) fn from_zero(values: impl IntoIterator<Item = f64>) -> Axis {
        let most = values.into_iter().filter(|v| v.is_finite()).fold(0.0, f64::max);
        let step = nice_step(0.0, most, 6);
        Axis::Linear(0.0, if most > 0.0 { (most / step - 1e-9).ceil() * step } else { 1.0 })
    }

    /// Shares up to 100 %, from a round one below all values.
    pub(crate) fn shares(values: impl IntoIterator<Item = f64>) -> Axis {
        let least = values.into_iter().filter(|v| v.is_finite()).fold(1.0, f64::min);
        // A little room under the lowest point; less than two steps would show noise as if it were much.
        Axis::Share((((least - 0.03) * 10.0).floor() / 10.0).clamp(0.0, 0.8), 1.0)
    }

    /// Whole decades around all values.
    pub(crate) fn log(values: impl IntoIterator<Item = f64> + Clone) -> Axis {
        let positive = || values.clone().into_iter().filter(|v| v.is_finite() && *v > 0.0);
        let least = positive().fold(f64::INFINITY, f64::min);
        let most = positive().fold(0.0, f64::max);
        if most == 0.0 {
            return Axis::Log(0.1, 1.0);
        }
        // Powers of ten that are exact, whatever the logarithm's rounding.
        let low = (least.log10() + 1e-9).floor();
        let high = (most.log10() - 1e-9).ceil().max(low + 1.0);
        Axis::Log(10_f64.powf(low), 10_f64.powf(high))
    }

    fn ends(self) -> (f64, f64) {
        match self {
            Axis::Linear(low, high) | Axis::Share(low, high) | Axis::Log(low, high) => (low, high),
        }
    }

    fn shows(self, value: f64) -> bool {
        value.is_finite() && (value > 0.0 || !matches!(self, Axis::Log(..)))
    }

    fn ticks(self) -> Vec<(f64, String)> {
        match self {
            Axis::Linear(low, high) => {
                linear_ticks(low, high, 6, false).into_iter().map(|v| (v, number(v))).collect()
            }
            Axis::Share(low, high) => {
                let text = |v: f64| format!("{} %", number(v * 100.0));
                linear_ticks(low, high, 6, false).into_iter().map(|v| (v, text(v))).collect()
            }
            Axis::Log(low, high) => {
                let decades = low.log10().round() as i32..=high.log10().round() as i32;
                let every = (decades.clone().count() - 1).div_ceil(6).max(1);
                decades.step_by(every).map(|e| (10_f64.powi(e), format!("10{}", superscript(e)))).collect()
            }
        }
    }
}

/// Round numbers from `low` to `high`, at most about `most` of them.
fn linear_ticks(low: f64, high: f64, most: usize, whole: bool) -> Vec<f64> {
    let mut step = nice_step(low, high, most);
    if whole {
        step = step.max(if high - low < 1.5 && low.fract() != 0.0 { step } else { 1.0 });
    }
    if low >= high {
        return vec![low];
    }
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// The smallest of 1, 2, 5, 10, ... (and their tenths, ...) that makes at most `most` steps.
fn nice_step(low: f64, high: f64, most: usize) -> f64 {
    let least = (high - low) / most as f64;
    if !(least > 0.0 && least.is_finite()) {
        return 1.0;
    }
    let decade = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|m| m * decade)
        .into_iter()
        .find(|s| *s >= least * (1.0 - 1e-9))
        .unwrap_or(decade * 10.0)
}

/// Without the digits that floating point adds: `0.3`, not `0.30000000000000004`.
fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn superscript(exponent: i32) -> String {
    let digit = |c| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        c => char::from_u32('⁰' as u32 + c as u32 - '0' as u32).unwrap_or(c),
    };
    exponent.to_string().chars().map(digit).collect()
}

fn title(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("<title>{}</title>", escape(text)) }
}

fn put(out: &mut String, text: std::fmt::Arguments) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(axis: Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn axes_hold_all_values_between_round_numbers() {
        let cases = [
            (Axis::from_zero([0.31, f64::NAN, 1.52]), "0 0.5 1 1.5 2"),
            (Axis::from_zero([0.0003]), "0 0.00005 0.0001 0.00015 0.0002 0.00025 0.0003"),
            (Axis::from_zero([]), "0 0.2 0.4 0.6 0.8 1"),
            (Axis::from_zero([0.6]), "0 0.1 0.2 0.3 0.4 0.5 0.6"),
            (Axis::shares([0.52, 0.97]), "40 % 50 % 60 % 70 % 80 % 90 % 100 %"),
            (Axis::shares([0.99]), "80 % 85 % 90 % 95 % 100 %"),
            (Axis::log([1e-3, 1e-5]), "10⁻⁵ 10⁻⁴ 10⁻³"),
            (Axis::log([0.002, 0.0, f64::INFINITY]), "10⁻³ 10⁻²"),
            (Axis::log([1.0]), "10⁰ 10¹"),
            (Axis::log([]), "10⁻¹ 10⁰"),
        ];
        for (axis, expected) in cases {
            assert_eq!(ticks(axis).join(" "), expected, "{axis:?}");
        }
    }

    #[test]
    fn epochs_are_whole() {
        let numbers = |low, high| linear_ticks(low, high, 8, true);
        assert_eq!(numbers(1.0, 4.0), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(numbers(1.0, 30.0), [5.0, 10.0, 15.0, 20.0, 25.0, 30.0]);
        assert_eq!(numbers(1.0, 1.0), [1.0]);
    }

    /// The plot is 428 x 226 with its lower left corner at (66, 288).
    #[test]
    fn points_are_where_their_values_are() {
        let point = |x: f64, y: f64| (x, y, format!("{x} {y}"));
        let chart = LineChart {
            alt: "a < b".into(),
            x_label: "x",
            y_label: "y",
            x: (0.0, 4.0),
            y: Axis::Log(0.01, 1.0),
            x_ticks: None,
            series: vec![Series {
                name: "s",
                class: "first",
                points: vec![
                    point(0.0, 0.01),
                    point(1.0, 0.1),
                    point(2.0, f64::NAN),
                    point(3.0, 1.0),
                    point(4.0, 9.0),
                ],
            }],
            rules: vec![(0.0, "one"), (2.0, "two")],
            marks: vec![(1.0, 0.1, "best".into())],
            bars: Vec::new(),
            diagonal: false,
        };
        let svg = chart.svg();
        for part in [
            "aria-label=\"a &lt; b\"",
            "d=\"M66.0 288.0L173.0 175.0M387.0 62.0L494.0 62.0\"",
            "<circle class=\"dot first\" cx=\"173.0\" cy=\"175.0\" r=\"3.5\"><title>1 0.1</title></circle>",
            "<path class=\"rule\" d=\"M280.0 38V288\"/>",
            "<circle class=\"ring\" cx=\"173.0\" cy=\"175.0\" r=\"8\"/>",
            ">10⁻²</text>",
        ] {
            assert!(svg.contains(part), "{part} is not in\n{svg}");
        }
        assert!(svg.contains("x=\"284.0\" y=\"49\" text-anchor=\"start\">two</text>"), "{svg}");
        // One text that would leave the picture, and one that would run into another.
        let crowded =
            LineChart { rules: vec![(1.9, "first"), (2.0, "second"), (4.0, "the last")], ..chart.clone() }
                .svg();
        assert!(crowded.contains("y=\"49\" text-anchor=\"start\">first</text>"), "{crowded}");
        assert!(crowded.contains("y=\"65\" text-anchor=\"start\">second</text>"), "{crowded}");
        assert!(crowded.contains("x=\"490.0\" y=\"49\" text-anchor=\"end\">the last →</text>"), "{crowded}");
        // No line over the axis, one curve of four points, and no legend for a single curve.
        assert_eq!(svg.matches("class=\"rule\"").count(), 1);
        assert_eq!(svg.matches("class=\"dot").count(), 4);
        assert!(!svg.contains("class=\"key\""));
    }
}
