//! `SECURITY.md` says what the code does: every limit with its number.

use binesh::formats::Limits;
use binesh::image;

/// The fields of a plain struct as `Debug` shows it: names and numbers.
fn fields(shown: &str) -> Vec<(String, u64)> {
    let inside = shown.split_once('{').unwrap().1.trim_end_matches(['}', ' ']);
    let field = |field: &str| {
        let (name, value) = field.split_once(':').unwrap();
        (name.trim().to_owned(), value.trim().parse().unwrap())
    };
    inside.split(',').map(field).collect()
}

#[test]
fn every_limit_is_stated() {
    let page = include_str!("../../../SECURITY.md");
    let mut limits = fields(&format!("{:?}", Limits::default()));
    limits.extend(fields(&format!("{:?}", image::Limits::default())));
    assert!(limits.len() >= 13, "{limits:?}");
    let row = |line: &str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        Some((name.to_owned(), cells.next()?.replace(',', "").parse::<u64>().ok()?))
    };
    // Other tables of the page count files.
    let mut is_of_limits = false;
    let mut of_limits = |line: &&str| {
        is_of_limits = line.starts_with('|') && (is_of_limits || line.starts_with("| limit |"));
        is_of_limits
    };
    let stated: Vec<(String, u64)> = page.lines().filter(|line| of_limits(line)).filter_map(row).collect();
    assert_eq!(stated, limits);
}
