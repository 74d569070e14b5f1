//! The summary table of a model: what its layers are, what they put out, and how many parameters they hold.
//!
//! A [`Summary`] is plain data, made from a network by [`Summary::of`]. It is drawn as Keras 2.0.8 did ([`Summary::keras2`]), as Keras 3 does
//! ([`Summary::keras3`], with columns of our own on request), or given as JSON ([`Summary::json`]).

mod keras2;
mod keras3;
mod of;

use serde::{Deserialize, Serialize};

pub use keras3::Keras3Style;

/// A model as its summary shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The model's name.
    pub name: String,
    /// How the model was built; decides, with the rows, whether connections are shown.
    pub kind: ModelKind,
    /// The layers in the model's own order. A sequential model has no row for its input, a functional one has.
    pub rows: Vec<Row>,
    /// Parameters that training changes, each tensor once.
    pub trainable: ParamCount,
    /// Parameters that training leaves alone: frozen ones and moving statistics, each tensor once.
    pub non_trainable: ParamCount,
    /// The optimizer's variables, once it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<ParamCount>,
    /// What else travels with the model, such as its preprocessing and class names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

/// How a model was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// A plain list of layers.
    Sequential,
    /// A graph of layers.
    Functional,
}

/// One layer, or one nested model with its layers as [`children`](Row::children).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The layer's own name, without the names of the models around it.
    pub name: String,
    /// The Keras class: `Conv2D`, `Functional`.
    pub class: String,
    /// The shapes of the outputs of the layer's last call, `None` (JSON `null`) where a length varies.
    /// Empty if the layer was never called.
    pub outputs: Vec<Vec<Option<usize>>>,
    /// The layer was called on inputs of different shapes, so that no single output shape is true of it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub outputs_vary: bool,
    /// The layer's variables exist.
    pub built: bool,
    /// The number of parameters, frozen ones and moving statistics included, those of nested layers too.
    pub params: u64,
    /// Whether training may change the layer; `None` if the layer has no parameters.
    pub trainable: Option<bool>,
    /// The tensors that the layer is called on, call by call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connected_to: Vec<Connection>,
    /// The layers of a nested model. A nested functional model has a row for each of its inputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Row>,
    /// Multiply-adds for one picture, all calls of the layer together; of a nested model, those of its layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mult_adds: Option<u64>,
    /// Bytes of the outputs for one picture, all calls of the layer together; of a nested model, of all its layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_bytes: Option<u64>,
    /// Other layers that use the same parameters, by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_with: Vec<String>,
}

/// A tensor that a layer is called on, named by where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Which call of the layer takes the tensor, from 0.
    #[serde(default)]
    pub call: usize,
    /// The name of the layer that the tensor comes from.
    pub layer: String,
    /// Which call of that layer made it, from 0, as Keras 3 counts. (Keras 2 counts the calls of a nested model from 1.)
    pub node: usize,
    /// Which output of that call.
    pub tensor: usize,
}

/// A number of parameters and the memory that they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamCount {
    /// How many numbers.
    pub count: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// A fact about the model that is not in its layers: `Input`, `224 x 224 RGB, scaled to -1..1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What the fact is about.
    pub label: String,
    /// The fact.
    pub text: String,
}

impl Summary {
    /// Parameters of the model and of its optimizer, as Keras 3 adds them up.
    pub fn total(&self) -> ParamCount {
        self.trainable + self.non_trainable + self.optimizer.unwrap_or_default()
    }

    /// Multiply-adds of the whole model for one picture; `None` if they are not known for some layer.
    pub fn mult_adds(&self) -> Option<u64> {
        self.rows.iter().map(|row| row.mult_adds).try_fold(0_u64, |sum, n| Some(sum.saturating_add(n?)))
    }

    /// Bytes of all layers' outputs for one picture; `None` if they are not known for some layer.
    pub fn activation_bytes(&self) -> Option<u64> {
        self.rows
            .iter()
            .map(|row| row.activation_bytes)
            .try_fold(0_u64, |sum, n| Some(sum.saturating_add(n?)))
    }

    /// The summary as JSON: its fields, and the totals. `docs/json.md` says what each field means.
    pub fn json(&self) -> serde_json::Value {
        #[derive(Serialize)]
        struct WithTotals<'a> {
            #[serde(flatten)]
            summary: &'a Summary,
            total: ParamCount,
            mult_adds: Option<u64>,
            activation_bytes: Option<u64>,
        }
        let all = WithTotals {
            summary: self,
            total: self.total(),
            mult_adds: self.mult_adds(),
            activation_bytes: self.activation_bytes(),
        };
        serde_json::to_value(all).expect("strings, numbers and lists, with field names as keys")
    }

    /// The layers are one chain: each takes one tensor, and each tensor goes to one layer.
    /// `per_call` judges each call of a layer by itself, as Keras 2 does; Keras 3 takes a second call for a fork.
    fn is_chain(&self, per_call: bool) -> bool {
        if self.kind == ModelKind::Sequential {
            return true;
        }
        let mut sources = std::collections::HashSet::new();
        let mut roots = 0;
        for row in &self.rows {
            roots += usize::from(row.connected_to.is_empty());
            let mut calls = std::collections::HashSet::new();
            for c in &row.connected_to {
                let call = if per_call { c.call } else { 0 };
                if !calls.insert(call) || !sources.insert((&c.layer, c.node)) {
                    return false;
                }
            }
        }
        roots <= 1
    }
}

impl Row {
    /// A whole model inside the model.
    fn is_model(&self) -> bool {
        !self.children.is_empty() || matches!(self.class.as_str(), "Functional" | "Model" | "Sequential")
    }
}

impl std::ops::Add for ParamCount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { count: self.count.saturating_add(other.count), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

fn is_false(b: &bool) -> bool {
    !b
}

/// `None`, or the number.
fn length(n: Option<usize>) -> String {
    n.map_or_else(|| "None".to_owned(), |n| n.to_string())
}
