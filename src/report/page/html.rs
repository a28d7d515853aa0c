//! The page as HTML: the frame, its policy, and the parts in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::kinds::{REMARKS, WORDS};
use super::picture::PagePart;
use super::sections;
use super::text::shown;

const SCRIPTS: [&str; 8] = [
    include_str!("assets/uplot.min.js"),
    include_str!("assets/data.js"),
    include_str!("assets/model.js"),
    include_str!("assets/view.js"),
    include_str!("assets/coverage.js"),
    include_str!("assets/lanes.js"),
    include_str!("assets/memory.js"),
    include_str!("assets/main.js"),
];
const STYLES: [&str; 2] = [
    include_str!("assets/uplot.min.css"),
    include_str!("assets/page.css"),
];
const UPLOT_LICENCE: &str = include_str!("assets/uplot.LICENSE");

/// The page of these parts.
pub(crate) fn page(parts: &[PagePart]) -> String {
    let script = script();
    let styles = STYLES.join("\n");
    let title = parts.first().map_or("nothing", |part| part.name.as_str());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy(&script, &styles));
                meta name="generator" content={ "heisenbed " (env!("CARGO_PKG_VERSION")) };
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { "heisenbed: " (shown(title)) }
                style { (PreEscaped(&styles)) }
            }
            body {
                a class="skip" href="#main" { "To the verdict" }
                header class="top" {
                    h1 { "heisenbed report" }
                    (tabs(parts))
                }
                main id="main" {
                    noscript { p class="note" {
                        "Pictures, filters and jumps need JavaScript, which this page has in it. \
                         The texts are all here without."
                    } }
                    @for (number, part) in parts.iter().enumerate() {
                        (sections::part(number, part))
                    }
                }
                footer {
                    p {
                        "Made by heisenbed " (env!("CARGO_PKG_VERSION"))
                        ". Nothing was loaded or sent. Curves are drawn by uPlot (MIT)."
                    }
                }
                script type="application/json" id="words" { (PreEscaped(words())) }
                script { (PreEscaped(&script)) }
            }
        }
    };
    page.into_string()
}

fn tabs(parts: &[PagePart]) -> Markup {
    let shown_parts = parts.iter().filter(|part| !part.is_hidden).count();
    html! {
        @if shown_parts < parts.len() || shown_parts > 1 {
            nav aria-label="files" {
                @for (number, part) in parts.iter().enumerate() {
                    @if !part.is_hidden {
                        button type="button" data-tab=(number) { bdi { (shown(&part.name)) } }
                    }
                }
            }
        }
    }
}

/// All scripts as one, so that nothing of them is seen beyond. uPlot's licence goes with it.
fn script() -> String {
    let mut script = String::from("/*\n");
    script.push_str(UPLOT_LICENCE);
    script.push_str("*/\n(() => {\n'use strict';\n");
    for part in SCRIPTS {
        script.push_str(part);
        script.push('\n');
    }
    script.push_str("})();\n");
    script
}

/// What the browser may do: run and style by what stands here, and nothing else.
fn policy(script: &str, styles: &str) -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'",
        hash(script),
        hash(styles),
    )
}

fn words() -> String {
    in_script(&json!({ "words": &WORDS[..], "remarks": &REMARKS[..] }))
}

/// JSON that may stand inside of `script`: nothing in it ends the element.
pub(super) fn in_script(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string(value).expect("a page's data have string keys only");
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 64);
    for character in text.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn nothing_in_json_ends_its_element() {
        let text = in_script(&["</script><!--", "a & b\u{2028}"]);
        assert!(!text.contains(['<', '>', '&', '\u{2028}']), "{text}");
        let again: Vec<String> = serde_json::from_str(&text).expect("JSON");
        assert_eq!(again, ["</script><!--", "a & b\u{2028}"]);
    }

    #[test]
    fn a_hostile_name_is_no_markup() {
        let part = PagePart {
            name: "</title><script>alert(1)</script>\0".to_owned(),
            sentence: "<img src=x onerror=alert(1)>".to_owned(),
            ..PagePart::default()
        };
        let page = page(&[part]);
        assert!(!page.contains("<script>alert") && !page.contains("<img"));
        assert!(page.contains(super::super::MARK) && !page.contains('\0'));
    }

    /// How light a colour is, as eyes see it.
    fn luminance(colour: &str) -> f64 {
        let part = |at: usize| {
            let byte = u8::from_str_radix(&colour[at..at + 2], 16).expect("#rrggbb");
            let share = f64::from(byte) / 255.0;
            match share <= 0.03928 {
                true => share / 12.92,
                false => ((share + 0.055) / 1.055).powf(2.4),
            }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    }

    #[test]
    fn what_is_written_and_drawn_stands_out_from_its_ground_in_every_theme() {
        let themes: Vec<BTreeMap<&str, &str>> = STYLES[1]
            .split(":root {")
            .skip(1)
            .map(|theme| {
                let theme = theme.split_once('}').expect("it ends").0;
                let rules = theme.split(';').filter_map(|rule| rule.split_once(':'));
                let named = rules.filter_map(|(name, value)| {
                    Some((name.trim().strip_prefix("--")?, value.trim()))
                });
                named.collect()
            })
            .collect();
        assert_eq!(themes.len(), 3);
        for theme in &themes {
            for (name, colour) in theme {
                // As the accessibility guidelines have it: text, and what is drawn.
                let least = match *name {
                    "paper" | "panel" | "line" => continue,
                    "live" => 3.0,
                    _ => 4.5,
                };
                for ground in ["paper", "panel"] {
                    let (a, b) = (luminance(colour), luminance(theme[ground]));
                    let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                    assert!(contrast >= least, "{name} {colour} on {ground}: {contrast}");
                }
            }
        }
    }

    #[test]
    fn no_script_ends_its_element_or_names_another_place() {
        let script = script();
        assert!(!script.contains("</script") && !script.contains("<!--"));
    }
}
