//! A plain table: a title, a rule, a row a line.

use super::wrap::{cells, cut_with_mark, printable};

/// How wide a column may be, and where its text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// Text, cut where the table would be too wide, but not below this many cells.
    Text(&'static str, usize),
    /// A number or a short text, on the right; never cut.
    Right(&'static str),
}

const GAP: &str = "  ";

/// The table, no wider than `width` cells if its texts can be cut to that; `None` is a rule.
pub(crate) fn draw(columns: &[Column], rows: &[Option<Vec<String>>], width: usize) -> String {
    let titles = columns.iter().map(|column| column.title().to_owned()).collect();
    let mut lines: Vec<Option<Vec<String>>> = vec![Some(titles), None];
    let shown = |cells: &Vec<String>| cells.iter().map(|cell| printable(cell)).collect();
    lines.extend(rows.iter().map(|row| row.as_ref().map(shown)));
    let widths = widths(columns, &lines, width);
    let rule = "-".repeat(widths.iter().sum::<usize>() + GAP.len() * (widths.len() - 1));
    let mut text = String::new();
    for line in &lines {
        let line = match line {
            None => rule.clone(),
            Some(row) => {
                let cells = columns.iter().zip(row).zip(&widths);
                let cells: Vec<String> =
                    cells.map(|((column, cell), &width)| column.fit(cell, width)).collect();
                cells.join(GAP)
            }
        };
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Cells of each column. What is too much is taken from the widest text, again and again.
fn widths(columns: &[Column], lines: &[Option<Vec<String>>], width: usize) -> Vec<usize> {
    let widest = |at: usize| lines.iter().flatten().map(|row| cells(&row[at])).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..columns.len()).map(widest).collect();
    let gaps = GAP.len() * (columns.len() - 1);
    let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(width);
    while excess > 0 {
        let can_shrink = |at: &usize| columns[*at].least().is_some_and(|least| widths[*at] > least);
        let Some(at) = (0..columns.len()).filter(can_shrink).max_by_key(|&at| widths[at]) else { break };
        widths[at] -= 1;
        excess -= 1;
    }
    widths
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Column::Text(title, _) | Column::Right(title) => title,
        }
    }

    fn least(self) -> Option<usize> {
        match self {
            Column::Text(title, least) => Some(least.max(cells(title))),
            Column::Right(_) => None,
        }
    }

    fn fit(self, text: &str, width: usize) -> String {
        let text = cut_with_mark(text, width);
        let pad = " ".repeat(width - cells(&text).min(width));
        match self {
            Column::Text(..) => text + &pad,
            Column::Right(_) => pad + &text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_give_way_and_numbers_do_not() {
        let columns = [Column::Text("step", 4), Column::Text("what", 6), Column::Right("ms")];
        let row = |cells: [&str; 3]| Some(cells.map(str::to_owned).to_vec());
        let rows = [row(["first_layer", "conv + relu", "12.5"]), None, row(["all", "", "1,012.5"])];
        let wide = "\
step         what              ms
---------------------------------
first_layer  conv + relu     12.5
---------------------------------
all                       1,012.5
";
        assert_eq!(draw(&columns, &rows, 100), wide);
        let narrow = "\
step     what          ms
-------------------------
first_…  conv +…     12.5
-------------------------
all               1,012.5
";
        assert_eq!(draw(&columns, &rows, 25), narrow);
    }
}
