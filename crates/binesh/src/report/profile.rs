//! Where the time of a run went, step by step, against what it should take.

use std::collections::HashMap;

use binesh_core::{Profile, Timed};
use serde::Serialize;

use super::columns::{Column, draw};
use super::plan::{item, what};
use super::units::thousands;

/// The times of a [`Profile`].
#[derive(Clone, Debug)]
pub struct Times {
    timed: Vec<Timed>,
    packing_seconds: f64,
}

/// Steps that take less than this share of the time are shown as one.
const SMALL: f64 = 0.005;

impl Times {
    /// What was measured so far.
    pub fn of(profile: &Profile) -> Times {
        Times { timed: profile.timed(), packing_seconds: profile.packing_seconds() }
    }

    /// Tables for people, at most `width` cells wide where texts can be cut to that: every step, the longest first, then
    /// each algorithm; forwards, then backwards.
    pub fn text(&self, width: usize) -> String {
        let mut text = String::new();
        for (backward, title) in [(false, "Forwards"), (true, "Backwards")] {
            let steps: Vec<&Timed> = self.timed.iter().filter(|timed| timed.backward == backward).collect();
            if !steps.is_empty() {
                text.push_str(&format!("{title}\n{}\n", table(&steps, width)));
            }
        }
        if text.is_empty() {
            return "no network was run\n".to_owned();
        }
        text.push_str(&format!("weights packed in {} ms\n", milliseconds(self.packing_seconds)));
        text
    }

    /// The document of `--profile --json`, see `docs/json.md`.
    pub fn json(&self) -> serde_json::Value {
        #[derive(Serialize)]
        struct Document<'a> {
            packing_ms: f64,
            steps: Vec<Step<'a>>,
        }
        let steps = self.timed.iter().map(|timed| self.step(timed)).collect();
        let document = Document { packing_ms: 1e3 * self.packing_seconds, steps };
        serde_json::to_value(document).expect("strings, numbers and lists, with field names as keys")
    }

    fn step<'a>(&self, timed: &'a Timed) -> Step<'a> {
        let same = self.timed.iter().filter(|other| other.backward == timed.backward);
        let all: f64 = same.map(|timed| timed.seconds).sum();
        let sum = Sum::of([timed]);
        Step {
            name: &timed.step.name,
            backward: timed.backward,
            operators: &timed.step.operators,
            algorithm: timed.step.algorithm.to_string(),
            shape: timed.step.shape.dims(),
            runs: timed.runs,
            total_ms: 1e3 * timed.seconds,
            mean_ms: 1e3 * timed.seconds / timed.runs as f64,
            share: timed.seconds / all,
            macs: timed.macs,
            bytes: timed.bytes,
            gflops_per_second: sum.gflops_per_second(),
            expected_ms: 1e3 * timed.expected_seconds,
            roofline_share: sum.roofline_share(),
        }
    }
}

#[derive(Serialize)]
struct Step<'a> {
    name: &'a str,
    backward: bool,
    operators: &'a str,
    algorithm: String,
    shape: &'a [usize],
    runs: u64,
    total_ms: f64,
    mean_ms: f64,
    share: f64,
    macs: u64,
    bytes: u64,
    gflops_per_second: Option<f64>,
    expected_ms: f64,
    roofline_share: f64,
}

/// Some steps together.
#[derive(Clone, Copy, Default)]
struct Sum {
    runs: u64,
    seconds: f64,
    expected_seconds: f64,
    macs: u64,
}

impl Sum {
    fn of<'a>(timed: impl IntoIterator<Item = &'a Timed>) -> Sum {
        timed.into_iter().fold(Sum::default(), |sum, timed| Sum {
            runs: sum.runs + timed.runs,
            seconds: sum.seconds + timed.seconds,
            expected_seconds: sum.expected_seconds + timed.expected_seconds,
            macs: sum.macs + timed.macs,
        })
    }

    /// None where no products are made.
    fn gflops_per_second(&self) -> Option<f64> {
        (self.macs > 0).then(|| 2e-9 * self.macs as f64 / self.seconds)
    }

    fn roofline_share(&self) -> f64 {
        self.expected_seconds / self.seconds
    }

    /// Runs, mean ms, share, GFLOP/s, share of the roofline.
    fn cells(&self, all: &Sum) -> [String; 5] {
        [
            thousands(self.runs),
            format!("{:.3}", 1e3 * self.seconds / self.runs as f64),
            percent(self.seconds / all.seconds, 1),
            self.gflops_per_second().map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
            percent(self.roofline_share(), 0),
        ]
    }
}

const NUMBERS: [Column; 5] = [
    Column::Right("runs"),
    Column::Right("ms a run"),
    Column::Right("share"),
    Column::Right("GFLOP/s"),
    Column::Right("roofline"),
];

fn table(steps: &[&Timed], width: usize) -> String {
    let all = Sum::of(steps.iter().copied());
    let mut steps = steps.to_vec();
    steps.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let large = steps.partition_point(|timed| timed.seconds >= SMALL * all.seconds);
    let (large, small) = steps.split_at(large);
    let row = |texts: [String; 3], sum: &Sum| Some(texts.into_iter().chain(sum.cells(&all)).collect());
    let mut rows: Vec<Option<Vec<String>>> = Vec::new();
    for timed in large {
        let texts = [timed.step.name.clone(), what(&timed.step), item(&timed.step)];
        rows.push(row(texts, &Sum::of([*timed])));
    }
    let label = |text: String| [text, String::new(), String::new()];
    if !small.is_empty() {
        rows.push(row(label(format!("{} smaller steps", small.len())), &Sum::of(small.iter().copied())));
    }
    rows.push(None);
    let mut by_algorithm: HashMap<String, Vec<&Timed>> = HashMap::new();
    for timed in &steps {
        by_algorithm.entry(timed.step.algorithm.to_string()).or_default().push(timed);
    }
    let mut sums: Vec<(String, Sum)> =
        by_algorithm.into_iter().map(|(name, steps)| (name, Sum::of(steps))).collect();
    sums.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
    rows.extend(sums.into_iter().map(|(name, sum)| row(label(name), &sum)));
    rows.push(None);
    rows.push(row(label("all".to_owned()), &all));
    let texts = [Column::Text("step", 20), Column::Text("what", 16), Column::Right("output")];
    draw(&[&texts[..], &NUMBERS[..]].concat(), &rows, width)
}

fn milliseconds(seconds: f64) -> String {
    let hundredths = (1e5 * seconds).round() as u64;
    format!("{}.{:02}", thousands(hundredths / 100), hundredths % 100)
}

fn percent(share: f64, decimals: usize) -> String {
    format!("{:.decimals$} %", 100.0 * share)
}
