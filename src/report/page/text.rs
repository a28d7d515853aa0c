//! Texts from outside, as a page may show them: nothing in them is markup, moves what stands beside
//! it, or is longer than anybody reads.
//!
//! The template escapes markup. Here are the characters that browsers drop or obey: controls, NUL
//! among them, and those that turn the direction of writing. They are written out, as on a
//! terminal.

/// No text of a log is shown longer than this, in characters.
const MOST_CHARS: usize = 400;

/// `text` for a page.
pub(crate) fn shown(text: &str) -> String {
    written_out(text, MOST_CHARS)
}

/// The same, for a name in a picture: the beginning of a longer one.
pub(crate) fn shown_name(text: &str) -> String {
    written_out(text, 60)
}

/// The same, however long it is: for what is heisenbed's own, with a name from outside in it.
pub(crate) fn shown_whole(text: &str) -> String {
    written_out(text, usize::MAX)
}

fn written_out(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(4 * MOST_CHARS));
    for (number, character) in text.chars().enumerate() {
        if number == most {
            let left = text.chars().count() - most;
            out.push_str(&format!("… ({left} characters more)"));
            break;
        }
        match is_hostile(character) {
            true => out.extend(character.escape_unicode()),
            false => out.push(character),
        }
    }
    out
}

/// Controls, what has no width, and what changes the direction of what follows.
fn is_hostile(character: char) -> bool {
    (character.is_control() && character != '\n' && character != '\t')
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
        )
}

/// `text` as one word of a shell's command line.
pub(crate) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_would_obey_is_written_out() {
        assert_eq!(
            shown("a\0b\u{202e}c\u{200f}\td"),
            "a\\u{0}b\\u{202e}c\\u{200f}\td"
        );
        assert_eq!(shown("a\u{61c}\u{ad}b"), "a\\u{61c}\\u{ad}b");
        assert_eq!(shown("שלום <b>"), "שלום <b>");
    }

    #[test]
    fn what_is_too_long_says_by_how_much() {
        let text = shown(&"é".repeat(1000));
        assert!(text.ends_with("é… (600 characters more)"), "{text}");
    }

    #[test]
    fn a_command_line_has_the_file_as_one_word() {
        assert_eq!(shell_word("a/b-1.hb"), "a/b-1.hb");
        assert_eq!(shell_word("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(shell_word(""), "''");
    }
}
