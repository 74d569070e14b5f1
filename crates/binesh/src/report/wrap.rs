//! Breaking text into lines of a given width, measured in terminal cells.
//!
//! The rules are those of the Python library `rich` (version 15), which Keras 3 uses for its tables: a line breaks
//! before a word that does not fit, a word keeps the white space that follows it, and a word longer than
//! a whole line is either folded or cut with an ellipsis.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What becomes of a word that is longer than a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// It goes on in the next line.
    Fold,
    /// It is cut, and ends in `…`.
    Ellipsis,
}

/// The number of terminal cells that `text` takes.
pub(crate) fn cells(text: &str) -> usize {
    text.width()
}

/// The lines of `text`, none wider than `width` (at least 1). They are not padded; white space at a break stays at
/// the end of the line before it as far as it fits.
pub(crate) fn wrap(text: &str, width: usize, overflow: Overflow) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut rest = text;
    let mut cut = 0;
    for at in breaks(text, width, overflow) {
        let (line, tail) = rest.split_at(at - cut);
        lines.push(line);
        rest = tail;
        cut = at;
    }
    lines.push(rest);
    lines.into_iter().map(|line| fit(line, width, overflow)).collect()
}

/// Control characters made visible, so that a name from a file cannot move the cursor or break the table.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Byte positions at which `text` is split.
fn breaks(text: &str, width: usize, overflow: Overflow) -> Vec<usize> {
    let mut at = Vec::new();
    let mut used = 0;
    for (start, word) in words(text) {
        let needed = cells(word.trim_end());
        if used + needed <= width {
            used += cells(word);
        } else if needed <= width {
            if used > 0 && start > 0 {
                at.push(start);
                used = cells(word);
            }
        } else if overflow == Overflow::Ellipsis {
            if start > 0 {
                at.push(start);
            }
            used = cells(word);
        } else {
            let mut piece_start = start;
            for piece in chop(word, width) {
                if piece_start > 0 {
                    at.push(piece_start);
                }
                piece_start += piece.len();
                used = cells(piece);
            }
        }
    }
    at
}

/// Words with their byte positions. White space before the first word and after any word belongs to that word.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = &text[start..];
        let word = rest.find(|c: char| !c.is_whitespace())?;
        let gap = word + rest[word..].find(char::is_whitespace).unwrap_or(rest.len() - word);
        let end = gap + rest[gap..].find(|c: char| !c.is_whitespace()).unwrap_or(rest.len() - gap);
        let found = (start, &rest[..end]);
        start += end;
        Some(found)
    })
}

/// Pieces of at most `width` cells (a single wider character is a piece by itself).
fn chop(word: &str, width: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut used) = (0, 0);
    for (i, c) in word.char_indices() {
        let w = c.width().unwrap_or(0);
        if used + w > width && i > start {
            pieces.push(&word[start..i]);
            (start, used) = (i, 0);
        }
        used += w;
    }
    pieces.push(&word[start..]);
    pieces
}

/// One line cut to `width`: first the white space at its end, then, with or without a mark, the text.
///
/// As in rich, the white space is measured in characters and the text in cells, so a line of wide characters
/// can lose a character that would have had room.
fn fit(line: &str, width: usize, overflow: Overflow) -> String {
    let mut line = line;
    while line.chars().count() > width && line.ends_with(char::is_whitespace) {
        line = &line[..line.len() - line.chars().next_back().map_or(0, char::len_utf8)];
    }
    if cells(line) <= width {
        return line.to_owned();
    }
    match overflow {
        Overflow::Fold => cut(line, width),
        Overflow::Ellipsis => cut_with_mark(line, width),
    }
}

/// The text, or as much of it as fits before `…`.
pub(crate) fn cut_with_mark(text: &str, width: usize) -> String {
    match cells(text) > width {
        true => cut(text, width.saturating_sub(1)) + "…",
        false => text.to_owned(),
    }
}

/// The first `width` cells; half of a wide character becomes a space.
fn cut(line: &str, width: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    for c in line.chars() {
        let w = c.width().unwrap_or(0);
        if used + w > width {
            out.extend(std::iter::repeat_n(' ', width - used));
            break;
        }
        out.push(c);
        used += w;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, width: usize, overflow: Overflow, expected: &[&str]) {
        assert_eq!(wrap(text, width, overflow), expected, "{text:?} at {width}");
    }

    // The expected lines of all these cases were printed by rich 15.0.0, `Text(text).wrap(console, width, overflow=...)`.

    #[test]
    fn breaks_before_a_word_that_does_not_fit() {
        check("conv2d_1 (Conv2D)", 12, Overflow::Ellipsis, &["conv2d_1 ", "(Conv2D)"]);
        check("(None, 148, 148, 32)", 10, Overflow::Ellipsis, &["(None, ", "148, 148, ", "32)"]);
    }

    #[test]
    fn white_space_beyond_the_width_is_dropped() {
        check("abcdef ghi", 6, Overflow::Fold, &["abcdef", "ghi"]);
        check("abcdef   ghi", 7, Overflow::Fold, &["abcdef ", "ghi"]);
    }

    #[test]
    fn long_words_are_cut_or_folded() {
        check("a_very_long_name (X)", 8, Overflow::Ellipsis, &["a_very_…", "(X)"]);
        check("a_very_long_name (X)", 8, Overflow::Fold, &["a_very_l", "ong_name", " (X)"]);
        check("x a_very_long_name", 8, Overflow::Fold, &["x ", "a_very_l", "ong_name"]);
    }

    #[test]
    fn leading_white_space_belongs_to_the_first_word() {
        check("   └ conv (Conv2D)", 9, Overflow::Ellipsis, &["   └ conv", "(Conv2D)"]);
        check("", 5, Overflow::Ellipsis, &[""]);
        check("      ", 3, Overflow::Ellipsis, &["   "]);
    }

    #[test]
    fn wide_characters_count_twice() {
        check("画像認識 (Conv2D)", 8, Overflow::Ellipsis, &["画像認 …", "(Conv2D)"]);
        check("画像認識モデル", 8, Overflow::Ellipsis, &["画像認 …"]);
        check("画像認識モデル", 5, Overflow::Fold, &["画像", "認識", "モデ", "ル"]);
    }

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
    }
}
