//! What a plan runs: what was fused, how each step is computed, what it moves, and how long it should take.

use binesh_core::{Algorithm, Plan, Runtime, StepCost};
use serde::Serialize;

use super::columns::{Column, draw};
use super::units::{size, thousands};

/// The steps of a [`Plan`].
#[derive(Clone, Debug)]
pub struct Steps {
    model: String,
    inputs: Vec<Vec<usize>>,
    threads: usize,
    isa: &'static str,
    steps: Vec<StepCost>,
    value_bytes: u64,
}

impl Steps {
    /// Those of a plan of the model of this name.
    pub fn of(model: &str, plan: &Plan, runtime: &Runtime) -> Steps {
        Steps {
            model: model.to_owned(),
            inputs: plan.inputs().iter().map(|&id| plan.shape(id).dims().to_vec()).collect(),
            threads: runtime.threads(),
            isa: runtime.isa().name(),
            steps: plan.step_costs(runtime),
            value_bytes: plan.peak_bytes() as u64,
        }
    }

    /// A table for people, at most `width` cells wide where texts can be cut to that.
    pub fn text(&self, width: usize) -> String {
        let columns = [
            Column::Text("step", 20),
            Column::Text("what", 16),
            Column::Right("output"),
            Column::Right("mult-adds"),
            Column::Right("moved"),
            Column::Right("expected ms"),
        ];
        let row = |texts: [String; 3], macs: u64, moved: u64, seconds: f64| {
            let numbers = [thousands(macs), size(moved), format!("{:.3}", 1e3 * seconds)];
            Some(texts.into_iter().chain(numbers).collect())
        };
        let step = |step: &StepCost| {
            row([step.name.clone(), what(step), item(step)], step.macs, step.bytes, step.expected_seconds)
        };
        let mut rows: Vec<Option<Vec<String>>> = self.steps.iter().map(step).collect();
        rows.push(None);
        let all = [format!("{} steps", self.steps.len()), String::new(), String::new()];
        rows.push(row(all, self.sum(|step| step.macs), self.sum(|step| step.bytes), self.expected_seconds()));
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        let inputs: Vec<String> = self.inputs.iter().map(|dims| format!("{dims:?}")).collect();
        format!(
            "Plan of \"{}\" for {}, {} {threads}, {}\n{}Weights as packed: {}\nValues at one time: {}\n",
            self.model,
            inputs.join(" and "),
            self.threads,
            self.isa,
            draw(&columns, &rows, width),
            size(self.sum(|step| step.weight_bytes)),
            size(self.value_bytes),
        )
    }

    /// The document of `summary --plan --json`, see `docs/json.md`.
    pub fn json(&self) -> serde_json::Value {
        #[derive(Serialize)]
        struct Document<'a> {
            name: &'a str,
            inputs: &'a [Vec<usize>],
            threads: usize,
            isa: &'static str,
            steps: Vec<Step<'a>>,
            macs: u64,
            bytes: u64,
            weight_bytes: u64,
            value_bytes: u64,
            expected_ms: f64,
        }
        let document = Document {
            name: &self.model,
            inputs: &self.inputs,
            threads: self.threads,
            isa: self.isa,
            steps: self.steps.iter().map(Step::of).collect(),
            macs: self.sum(|step| step.macs),
            bytes: self.sum(|step| step.bytes),
            weight_bytes: self.sum(|step| step.weight_bytes),
            value_bytes: self.value_bytes,
            expected_ms: 1e3 * self.expected_seconds(),
        };
        serde_json::to_value(document).expect("strings, numbers and lists, with field names as keys")
    }

    fn sum(&self, count: impl Fn(&StepCost) -> u64) -> u64 {
        self.steps.iter().map(count).sum()
    }

    fn expected_seconds(&self) -> f64 {
        self.steps.iter().map(|step| step.expected_seconds).sum()
    }
}

/// A step of the document.
#[derive(Serialize)]
struct Step<'a> {
    name: &'a str,
    operators: &'a str,
    algorithm: String,
    shape: &'a [usize],
    macs: u64,
    bytes: u64,
    weight_bytes: u64,
    expected_ms: f64,
}

impl<'a> Step<'a> {
    fn of(step: &'a StepCost) -> Self {
        Step {
            name: &step.name,
            operators: &step.operators,
            algorithm: step.algorithm.to_string(),
            shape: step.shape.dims(),
            macs: step.macs,
            bytes: step.bytes,
            weight_bytes: step.weight_bytes,
            expected_ms: 1e3 * step.expected_seconds,
        }
    }
}

/// The operators, the first of them by how it is computed.
pub(super) fn what(step: &StepCost) -> String {
    match (step.algorithm, step.operators.split_once(" + ")) {
        (Algorithm::Plain, _) => step.operators.clone(),
        (Algorithm::Inverted, _) => format!("{}: {}", step.algorithm, step.operators),
        (algorithm, _) if step.operators.starts_with("zero pad + ") => {
            // The zeros are part of the product.
            format!("{algorithm}, {}", step.operators)
        }
        (algorithm, Some((_, fused))) => format!("{algorithm} + {fused}"),
        (algorithm, None) => algorithm.to_string(),
    }
}

/// The shape of one picture's value.
pub(super) fn item(step: &StepCost) -> String {
    let dims = step.shape.dims().get(1..).unwrap_or_default();
    dims.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
}
