//! Text as a terminal may be given it: what was read from logs, names and command lines must not
//! move its cursor, change its title, or turn lines around.

/// `text` with control characters, but for newlines and tabs, written out as in `\u{1b}`.
pub(super) fn cleaned(text: &str) -> String {
    if !text.contains(is_hostile) {
        return text.to_owned();
    }
    let mut cleaned = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match is_hostile(character) {
            true => cleaned.extend(character.escape_unicode()),
            false => cleaned.push(character),
        }
    }
    cleaned
}

/// JSON with the same characters escaped; outside of its strings there are none.
pub(super) fn cleaned_json(text: &str) -> String {
    if !text.contains(is_hostile) {
        return text.to_owned();
    }
    let mut cleaned = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match is_hostile(character) {
            true => cleaned.push_str(&format!("\\u{:04x}", u32::from(character))),
            false => cleaned.push(character),
        }
    }
    cleaned
}

/// Control characters, and those that change the direction of what follows. All are below U+10000.
fn is_hostile(character: char) -> bool {
    (character.is_control() && character != '\n' && character != '\t')
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_is_written_out() {
        assert_eq!(
            cleaned("a\u{1b}[2Jb\r\u{9b}\u{202e}c\td\n"),
            "a\\u{1b}[2Jb\\u{d}\\u{9b}\\u{202e}c\td\n"
        );
        assert_eq!(cleaned("✗ plain ü\n"), "✗ plain ü\n");
    }

    #[test]
    fn json_stays_json_and_means_the_same() {
        let value = serde_json::json!({ "line": "a\u{1b}b\u{9b}c\u{7f}" });
        let text = cleaned_json(&value.to_string());
        assert!(!text.contains(is_hostile));
        let again: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(again, value);
    }
}
