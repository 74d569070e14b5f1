//! Why weights are not those of an architecture: what it reads and what the file holds, side by side.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

/// Rows before the first difference, and from it on.
const BEFORE: usize = 3;
const FROM: usize = 10;
/// Longest name that is not cut.
const WIDTH: usize = 44;

/// The two lists of tensors around the first that differs.
///
/// `asked`: what the architecture has read, in its order, up to where it failed. `file`: names and shapes in the file's.
pub(super) fn side_by_side(architecture: &str, asked: &[String], file: &[(String, Vec<usize>)]) -> String {
    let shapes: HashMap<&str, &[usize]> =
        file.iter().map(|(name, dims)| (name.as_str(), &dims[..])).collect();
    let first = asked.iter().position(|name| !shapes.contains_key(&name[..])).unwrap_or(asked.len());
    let read: HashSet<&String> = asked[..first].iter().collect();
    let mut rows = Vec::new();
    if first > BEFORE {
        rows.push(("...".to_owned(), "...".to_owned(), ' '));
    }
    for name in &asked[first.saturating_sub(BEFORE)..first] {
        rows.push((name.clone(), entry(name, shapes[&name[..]]), ' '));
    }
    let counters = |name: &str| name.ends_with("num_batches_tracked");
    let mut rest = file.iter().filter(|(name, _)| !counters(name) && !read.contains(name));
    let mut missing = asked[first..].iter();
    let mut shown = 0;
    loop {
        let (left, right) = (missing.next(), rest.next());
        if left.is_none() && right.is_none() {
            break;
        }
        if shown == FROM {
            rows.push((String::new(), format!("... and {} more", 1 + rest.count()), ' '));
            break;
        }
        let right = right.map_or("(nothing more)".to_owned(), |(name, dims)| entry(name, dims));
        rows.push((left.cloned().unwrap_or_default(), right, if shown == 0 { '|' } else { ' ' }));
        shown += 1;
    }
    let heading = format!("{architecture} reads");
    let width = rows.iter().map(|(left, ..)| left.chars().count()).chain([heading.len()]).max().unwrap_or(0);
    let mut table = format!("  {heading:width$}   the file holds");
    for (left, right, mark) in rows {
        write!(table, "\n  {left:width$} {mark} {right}").expect("a string takes all text");
    }
    table
}

/// The first of the tensors that a file holds.
pub(super) fn list(file: &[(String, Vec<usize>)]) -> String {
    let mut text = "  the file holds".to_owned();
    for (name, dims) in file.iter().take(FROM) {
        write!(text, "\n  {}", entry(name, dims)).expect("a string takes all text");
    }
    if file.len() > FROM {
        write!(text, "\n  ... and {} more", file.len() - FROM).expect("a string takes all text");
    }
    text
}

fn entry(name: &str, dims: &[usize]) -> String {
    let count = name.chars().count();
    let name: String = match count > WIDTH {
        true => name.chars().take(WIDTH).chain("...".chars()).collect(),
        false => name.to_owned(),
    };
    format!("{name} {dims:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked: &[&str], file: &[(&str, &[usize])], want: &str) {
        let asked: Vec<String> = asked.iter().map(|name| (*name).to_owned()).collect();
        let file: Vec<(String, Vec<usize>)> =
            file.iter().map(|(name, dims)| ((*name).to_owned(), dims.to_vec())).collect();
        assert_eq!(side_by_side("net", &asked, &file), want);
    }

    #[test]
    fn around_the_first_difference() {
        check(
            &["a.weight", "b.weight", "c.weight"],
            &[("a.weight", &[2, 3]), ("b.weight", &[4]), ("d.weight", &[5]), ("e", &[])],
            "  net reads   the file holds\n  a.weight    a.weight [2, 3]\n  b.weight    b.weight [4]\n  c.weight  | d.weight [5]\n              e []",
        );
    }

    #[test]
    fn a_file_that_ends_too_early_and_one_that_has_more() {
        check(
            &["a", "b"],
            &[("a", &[1])],
            "  net reads   the file holds\n  a           a [1]\n  b         | (nothing more)",
        );
        check(
            &["a"],
            &[("a", &[1]), ("b", &[2])],
            "  net reads   the file holds\n  a           a [1]\n            | b [2]",
        );
    }

    #[test]
    fn long_lists_are_cut() {
        let asked: Vec<String> = (0..9).map(|i| format!("w{i}")).collect();
        let file: Vec<(String, Vec<usize>)> = (0..30).map(|i| (format!("w{i}"), vec![i])).collect();
        let table = side_by_side("net", &asked, &file);
        assert_eq!(table.lines().count(), 1 + 1 + BEFORE + FROM + 1, "{table}");
        assert!(table.contains("  ...         ...\n  w6          w6 [6]"), "{table}");
        assert!(table.ends_with("... and 11 more"), "{table}");
    }
}
