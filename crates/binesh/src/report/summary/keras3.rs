//! The table of Keras 3 (`keras.utils.summary_utils`, 3.15.1), with columns of our own on request.

use super::{Row, Summary, length};
use crate::report::{
    boxed::{Align, Column, draw},
    units::{count, size, thousands},
    wrap::{Overflow, printable, wrap},
};

/// How [`Summary::keras3`] draws.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keras3Style {
    /// The columns of the terminal; 80 where there is none, as in a pipe.
    pub terminal_columns: usize,
    /// The width of the table, whatever the terminal. By default 88, 108 with connections, more with further columns,
    /// but always 4 less than the terminal.
    pub line_length: Option<usize>,
    /// Show the layers of nested models.
    pub expand_nested: bool,
    /// Add the column `Trainable`: `Y`, `N`, or `-` for a layer without parameters.
    pub show_trainable: bool,
    /// Add the columns `Mult-Adds` and `Activation` and their totals, for one picture. Keras has no such columns.
    pub show_costs: bool,
    /// Add the model's [`notes`](Summary::notes) under the totals. Keras has no such lines.
    pub show_notes: bool,
}

impl Default for Keras3Style {
    fn default() -> Self {
        Self {
            terminal_columns: 80,
            line_length: None,
            expand_nested: false,
            show_trainable: false,
            show_costs: false,
            show_notes: false,
        }
    }
}

/// What the column `Trainable` adds to the default width.
const TRAINABLE_WIDTH: usize = 12;
/// The width of each column of ours, in a table of any width: room for `Activation` and `1023.00 KB`.
const COST_WIDTH: usize = 13;
/// With at least this, every column keeps a cell of text. Keras refuses to draw a column narrower than 4 and leaves
/// one of 4 empty; we widen the table instead.
const NARROWEST_COLUMN: usize = 5;

impl Summary {
    /// The summary as Keras 3 prints it where colors are off.
    pub fn keras3(&self, style: &Keras3Style) -> String {
        let chain = self.is_chain(false);
        let (columns, line_length) = columns(chain, style);
        let mut rows = Vec::new();
        for row in &self.rows {
            add_rows(&mut rows, row, 0, chain, style);
        }
        let screen = style.terminal_columns.max(line_length);
        let mut out = String::new();
        line(&mut out, &format!("Model: \"{}\"", printable(&self.name)), screen);
        out += &draw(&columns, &rows, line_length);
        self.totals(&mut out, screen, style);
        out
    }

    fn totals(&self, out: &mut String, screen: usize, style: &Keras3Style) {
        let params = [
            ("Total", Some(self.total())),
            ("Trainable", Some(self.trainable)),
            ("Non-trainable", Some(self.non_trainable)),
            ("Optimizer", self.optimizer),
        ];
        for (label, n) in params {
            if let Some(n) = n {
                line(out, &format!(" {label} params: {} ({})", thousands(n.count), size(n.bytes)), screen);
            }
        }
        if style.show_costs {
            let macs = self.mult_adds().map_or_else(unknown, |n| format!("{} ({})", thousands(n), count(n)));
            let bytes = self.activation_bytes().map_or_else(unknown, size);
            line(out, &format!(" Mult-adds: {macs}"), screen);
            line(out, &format!(" Activations: {bytes}"), screen);
        }
        if style.show_notes {
            for note in &self.notes {
                line(out, &format!(" {}: {}", printable(&note.label), printable(&note.text)), screen);
            }
        }
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The columns, and the width of the table. Keras gives each column a share of the width, here by where it ends; ours
/// take their room from all of them.
fn columns(chain: bool, style: &Keras3Style) -> (Vec<Column>, usize) {
    use Align::{Center, Left, Right};
    let mut columns = vec![("Layer (type)", Left), ("Output Shape", Left), ("Param #", Right)];
    let mut ends = vec![0.45, 0.80, 1.0];
    let mut length = 88;
    if !chain {
        columns.push(("Connected to", Left));
        ends = vec![0.3, 0.56, 0.74, 1.0];
        length = 108;
    }
    if style.show_trainable {
        columns.push(("Trainable", Center));
        ends = ends.iter().map(|end| end * 0.90).chain([1.0]).collect();
        length += TRAINABLE_WIDTH;
    }
    let ours: &[_] = if style.show_costs { &[("Mult-Adds", Right), ("Activation", Right)] } else { &[] };
    let ours_length = ours.len() * COST_WIDTH;
    length = (length + ours_length).min(style.terminal_columns.saturating_sub(4));
    length = style.line_length.unwrap_or(length).saturating_sub(ours_length);
    let keras_widths = loop {
        let widths = widths(&ends, length);
        if widths.iter().all(|&w| w >= NARROWEST_COLUMN) {
            break widths;
        }
        length += 1;
    };
    let widths = keras_widths.into_iter().chain(ours.iter().map(|_| COST_WIDTH));
    let columns = columns.iter().chain(ours).zip(widths);
    (columns.map(|(&(title, align), width)| Column { title, align, width }).collect(), length + ours_length)
}

fn widths(ends: &[f64], length: usize) -> Vec<usize> {
    let mut before = 0;
    let width = |end: &f64| {
        let end = (end * length as f64) as usize;
        let width = end - before;
        before = end;
        width
    };
    ends.iter().map(width).collect()
}

fn add_rows(rows: &mut Vec<Vec<String>>, row: &Row, depth: usize, chain: bool, style: &Keras3Style) {
    let branch = if depth == 0 { String::new() } else { "   ".repeat(depth) + "└ " };
    // Keras 3 gives this name to what a file of Keras 2 calls a Model.
    let class = if row.class == "Model" { "Functional" } else { &row.class };
    let params = if row.built { thousands(row.params) } else { "0 (unbuilt)".to_owned() };
    let mut texts = vec![printable(&format!("{branch}{} ({class})", row.name)), output_shape(row), params];
    if !chain {
        texts.push(connections(row, depth));
    }
    if style.show_trainable {
        texts.push(row.trainable.map_or("-", |t| if t { "Y" } else { "N" }).to_owned());
    }
    if style.show_costs {
        texts.push(row.mult_adds.map_or_else(|| "-".to_owned(), count));
        texts.push(row.activation_bytes.map_or_else(|| "-".to_owned(), size));
    }
    rows.push(texts);
    if style.expand_nested {
        for child in &row.children {
            add_rows(rows, child, depth + 1, chain, style);
        }
    }
}

/// `(None, 4, 4, 512)`, `[(None, 1), (None, 2)]`, or `?` before the first call.
fn output_shape(row: &Row) -> String {
    let tuple = |shape: &Vec<Option<usize>>| {
        format!("({})", shape.iter().map(|&n| length(n)).collect::<Vec<_>>().join(", "))
    };
    match &row.outputs[..] {
        [] => "?".to_owned(),
        [one] => tuple(one),
        all => format!("[{}]", all.iter().map(tuple).collect::<Vec<_>>().join(", ")),
    }
}

/// Where the layer's inputs come from. Connections inside a nested model are not the outer model's, and not shown.
fn connections(row: &Row, depth: usize) -> String {
    if depth > 0 || row.connected_to.is_empty() {
        return "-".to_owned();
    }
    let from = row.connected_to.iter().map(|c| format!("{}[{}][{}]", printable(&c.layer), c.node, c.tensor));
    from.collect::<Vec<_>>().join(", ")
}

/// A line of text, folded where the screen ends.
fn line(out: &mut String, text: &str, screen: usize) {
    for part in wrap(text, screen, Overflow::Fold) {
        *out += &part;
        out.push('\n');
    }
}
