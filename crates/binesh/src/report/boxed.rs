//! A table in a box, laid out by the rules of the Python library `rich` (version 15) for columns of fixed width:
//! heavy lines around the header, light lines between the rows, one cell of padding on each side.

use super::wrap::{Overflow, cells, wrap};

const PADDING: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Center,
    Right,
}

#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) align: Align,
    /// The width asked for, without padding. All columns shrink evenly if the table would be wider than its lines.
    pub(crate) width: usize,
}

/// The table as text, each line ending in a line feed. Every row has one text per column.
pub(crate) fn draw(columns: &[Column], rows: &[Vec<String>], line_length: usize) -> String {
    let asked: Vec<usize> = columns.iter().map(|c| c.width + PADDING).collect();
    let widths = shrink(asked, line_length.saturating_sub(columns.len() + 1));
    let mut out = String::new();
    rule(&mut out, &widths, "┏━┳┓");
    let titles: Vec<String> = columns.iter().map(|c| c.title.to_owned()).collect();
    cell_lines(&mut out, columns, &titles, &widths, "┃", Vertical::Bottom);
    rule(&mut out, &widths, "┡━╇┩");
    for (i, row) in rows.iter().enumerate() {
        if i > 0 {
            rule(&mut out, &widths, "├─┼┤");
        }
        cell_lines(&mut out, columns, row, &widths, "│", Vertical::Top);
    }
    rule(&mut out, &widths, "└─┴┘");
    out
}

/// Takes the same from each column, in order, until they fit; a half is rounded to even.
fn shrink(mut widths: Vec<usize>, available: usize) -> Vec<usize> {
    let mut excess = widths.iter().sum::<usize>().saturating_sub(available);
    let n = widths.len();
    for (i, width) in widths.iter_mut().enumerate() {
        let share = (excess as f64 / (n - i) as f64).round_ties_even() as usize;
        let taken = share.min(*width);
        *width -= taken;
        excess -= taken;
    }
    widths
}

/// A horizontal line; `parts` is left end, line, crossing, right end.
fn rule(out: &mut String, widths: &[usize], parts: &str) {
    let mut parts = parts.chars();
    let [left, line, cross, right] = std::array::from_fn(|_| parts.next().unwrap_or(' '));
    for (i, &width) in widths.iter().enumerate() {
        out.push(if i == 0 { left } else { cross });
        out.extend(std::iter::repeat_n(line, width));
    }
    out.push(right);
    out.push('\n');
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Vertical {
    Top,
    Bottom,
}

fn cell_lines(
    out: &mut String,
    columns: &[Column],
    texts: &[String],
    widths: &[usize],
    edge: &str,
    place: Vertical,
) {
    let wrapped: Vec<Vec<String>> = texts
        .iter()
        .zip(widths)
        .map(|(text, &width)| wrap(text, width.saturating_sub(PADDING), Overflow::Ellipsis))
        .collect();
    let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
    for line_idx in 0..height {
        for ((column, lines), &width) in columns.iter().zip(&wrapped).zip(widths) {
            let above = if place == Vertical::Bottom { height - lines.len() } else { 0 };
            let line = line_idx.checked_sub(above).and_then(|i| lines.get(i));
            out.push_str(edge);
            out.push(' ');
            aligned(out, line.map_or("", String::as_str), column.align, width.saturating_sub(PADDING));
            out.push(' ');
        }
        out.push_str(edge);
        out.push('\n');
    }
}

fn aligned(out: &mut String, line: &str, align: Align, width: usize) {
    let line = if align == Align::Left { line } else { line.trim_end() };
    let free = width.saturating_sub(cells(line));
    let before = match align {
        Align::Left => 0,
        Align::Center => free / 2,
        Align::Right => free,
    };
    out.extend(std::iter::repeat_n(' ', before));
    out.push_str(line);
    out.extend(std::iter::repeat_n(' ', free - before));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_shrink_evenly_and_halves_go_to_even() {
        // 82 into 72: 10/3 -> 3, 7/2 = 3.5 -> 4, 3.
        assert_eq!(shrink(vec![36, 28, 18], 72), [33, 24, 15]);
        // 6/4 = 1.5 -> 2, 4/3 -> 1, 3/2 = 1.5 -> 2, 1.
        assert_eq!(shrink(vec![10, 10, 10, 10], 34), [8, 9, 8, 9]);
        assert_eq!(shrink(vec![5, 5], 20), [5, 5]);
    }
}
