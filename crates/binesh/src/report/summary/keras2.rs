//! The table of Keras 2.0.8 (`keras.utils.print_summary`, 2017), which the book's listings show.

use super::{Connection, Row, Summary, length};
use crate::report::{units::thousands, wrap::printable};

/// Where each column ends, for a chain of layers and for a graph.
const CHAIN: (usize, &[usize]) = (65, &[29, 55, 65]);
const GRAPH: (usize, &[usize]) = (100, &[33, 55, 67, 100]);

impl Summary {
    /// The summary as Keras 2.0.8 prints it: 65 columns wide, or 100 with the column `Connected to` if the layers are
    /// not one chain. Names that are too long are cut. A nested model is one row.
    pub fn keras2(&self) -> String {
        let chain = self.is_chain(true);
        let (width, ends) = if chain { CHAIN } else { GRAPH };
        let mut out = String::new();
        rule(&mut out, '_', width);
        fields(&mut out, ends, &["Layer (type)", "Output Shape", "Param #", "Connected to"]);
        rule(&mut out, '=', width);
        for (i, row) in self.rows.iter().enumerate() {
            self.layer(&mut out, row, ends, chain);
            rule(&mut out, if i + 1 == self.rows.len() { '=' } else { '_' }, width);
        }
        let (trainable, frozen) = (self.trainable.count, self.non_trainable.count);
        let total = thousands(trainable.saturating_add(frozen));
        let (trainable, frozen) = (thousands(trainable), thousands(frozen));
        out += &format!(
            "Total params: {total}\nTrainable params: {trainable}\nNon-trainable params: {frozen}\n"
        );
        rule(&mut out, '_', width);
        out
    }

    fn layer(&self, out: &mut String, row: &Row, ends: &[usize], chain: bool) {
        // Keras 2 had one class for all models that are not Sequential.
        let class = if row.class == "Functional" { "Model" } else { &row.class };
        let title = printable(&format!("{} ({class})", row.name));
        let shape = output_shape(row);
        let params = row.params.to_string();
        let shown = if chain { &[][..] } else { &row.connected_to[..] };
        let sources: Vec<String> = shown.iter().map(|c| self.source(c)).collect();
        let first = sources.first().map_or("", String::as_str);
        fields(out, ends, &[&title, &shape, &params, first]);
        for source in sources.iter().skip(1) {
            fields(out, ends, &["", "", "", source]);
        }
    }

    /// `conv1[0][0]`. In Keras 2 making a model was its call 0.
    fn source(&self, from: &Connection) -> String {
        let model = self.rows.iter().any(|row| row.name == from.layer && row.is_model());
        let node = from.node.saturating_add(usize::from(model));
        printable(&format!("{}[{node}][{}]", from.layer, from.tensor))
    }
}

/// The text that Python gives a tuple of lengths, or a list of such tuples; `multiple` where Keras 2 knew of no
/// single answer.
fn output_shape(row: &Row) -> String {
    let tuple = |shape: &Vec<Option<usize>>| match &shape[..] {
        [one] => format!("({},)", length(*one)),
        all => format!("({})", all.iter().map(|&n| length(n)).collect::<Vec<_>>().join(", ")),
    };
    match &row.outputs[..] {
        _ if row.outputs_vary => "multiple".to_owned(),
        [] => "multiple".to_owned(),
        [one] => tuple(one),
        all => format!("[{}]", all.iter().map(tuple).collect::<Vec<_>>().join(", ")),
    }
}

/// One line: each text is followed by at least one space and cut where its column ends.
fn fields(out: &mut String, ends: &[usize], texts: &[&str]) {
    let mut line: Vec<char> = Vec::new();
    for (i, (text, &end)) in texts.iter().zip(ends).enumerate() {
        if i > 0 {
            line.pop();
            line.push(' ');
        }
        line.extend(text.chars());
        line.resize(end, ' ');
    }
    out.extend(line);
    out.push('\n');
}

fn rule(out: &mut String, c: char, width: usize) {
    out.extend(std::iter::repeat_n(c, width));
    out.push('\n');
}
