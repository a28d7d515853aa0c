//! What a terminal gets that a pipe does not: verdicts in colour, and timelines of its width.
//!
//! Colour is only on a terminal, and not where `NO_COLOR` is set. Timelines keep to the width of
//! the terminal, or to `COLUMNS` where that is set; else they are as wide as in files.

use console::{Color, Style, Term, colors_enabled};

use crate::report::Timeline;

/// Narrower than the first nothing is set, nor wider than the second.
const NARROWEST: usize = 60;
const WIDEST: usize = 200;

/// Words that are coloured wherever they stand alone.
const COLOURED: [(&str, Color); 5] = [
    ("diverged", Color::Red),
    ("failed", Color::Red),
    ("inconclusive", Color::Yellow),
    ("clean", Color::Green),
    ("proved", Color::Green),
];

/// `text` with its verdicts in colour, if stdout takes that.
pub(super) fn styled(text: String) -> String {
    if colors_enabled() {
        coloured(&text)
    } else {
        text
    }
}

/// A timeline as text of the width that there is.
pub(super) fn timeline(timeline: &Timeline<'_>) -> String {
    match width() {
        Some(width) => timeline.render_within(width),
        None => timeline.render(),
    }
}

/// What stands above a timeline, in lines of its width.
pub(super) fn above_timeline(text: &str) -> String {
    match width() {
        Some(width) => wrapped(text, width),
        None => text.to_owned(),
    }
}

/// `text` in lines of at most `width` characters, as far as its words can; what goes on is indented
/// by two more than its line.
fn wrapped(text: &str, width: usize) -> String {
    let mut result = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut room = width;
        let mut rest = line;
        let indent = line.len() - line.trim_start_matches(' ').len();
        while let Some((at, next)) = rest.trim_end().char_indices().nth(room) {
            // Not in the indent; and after a word that no line holds.
            let from = rest.len() - rest.trim_start_matches(' ').len();
            let end = at + next.len_utf8();
            let before = rest[from..end].rfind(' ').map(|cut| from + cut);
            let after = || rest.trim_end()[end..].find(' ').map(|cut| end + cut);
            let Some(cut) = before.or_else(after) else {
                break;
            };
            result.push_str(rest[..cut].trim_end());
            result.push('\n');
            result.push_str(&" ".repeat(indent + 2));
            rest = rest[cut..].trim_start_matches(' ');
            room = width.saturating_sub(indent + 2).max(1);
        }
        result.push_str(rest);
    }
    result
}

/// How wide what people read may be, where a terminal or COLUMNS says.
pub(super) fn width() -> Option<usize> {
    let of_terminal = Term::stdout()
        .size_checked()
        .map(|(_, columns)| usize::from(columns));
    let of_variable = || std::env::var("COLUMNS").ok()?.parse().ok();
    let width = of_terminal.or_else(of_variable)?;
    Some(width.clamp(NARROWEST, WIDEST))
}

fn coloured(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let is_part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        match COLOURED.iter().find(|(coloured, _)| *coloured == word) {
            Some((_, color)) => {
                let style = Style::new().fg(*color).force_styling(true);
                result.push_str(&style.apply_to(word).to_string());
            }
            None => result.push_str(word),
        }
        let between = after.find(is_part).unwrap_or(after.len());
        result.push_str(&after[..between]);
        rest = &after[between..];
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_go_on_indented_and_no_word_is_cut_or_lost() {
        let text = "short\n  one two three four five six\nunbreakable-word-of-many and\n\nend";
        let narrow = wrapped(text, 14);
        assert_eq!(
            narrow,
            "short\n  one two\n    three four\n    five six\nunbreakable-word-of-many\n  and\n\nend"
        );
        assert_eq!(wrapped(text, 60), text);
    }

    #[test]
    fn verdicts_are_coloured_where_they_stand_alone() {
        assert_eq!(
            coloured("diverged: 3\n"),
            "\u{1b}[31mdiverged\u{1b}[0m: 3\n"
        );
        let untouched = "undiverged un-clean ✗ proven\n";
        assert_eq!(coloured(untouched), untouched);
    }
}
