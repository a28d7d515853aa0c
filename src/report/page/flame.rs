//! The flame graph of what was never released: a level a frame, as wide as its bytes.
//!
//! It is plain SVG, drawn here: it prints, it can be searched, and it needs no script.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::picture::LeakRow;
use super::text::shown;

const WIDTH: f64 = 1200.0;
const LEVEL: f64 = 20.0;
/// Deeper frames, and narrower ones, are not drawn.
const MOST_LEVELS: usize = 40;
const LEAST_WIDTH: f64 = 2.0;
/// How wide a character is at most.
const CHARACTER: f64 = 7.2;

/// A frame with all that was allocated under it.
#[derive(Default)]
struct FlameFrame<'a> {
    bytes: u128,
    buffers: u64,
    under: BTreeMap<&'a str, FlameFrame<'a>>,
}

/// The graph of these places.
pub(super) fn graph(places: &[LeakRow]) -> Markup {
    let mut root = FlameFrame::default();
    for place in places {
        root.add(place, place.frames.iter().rev().map(String::as_str));
    }
    let mut drawn = Vec::new();
    root.draw(0.0, WIDTH, 0, &mut drawn);
    let levels = drawn.iter().map(|frame| frame.level + 1).max().unwrap_or(0);
    let height = levels as f64 * LEVEL;
    html! {
        svg class="flame" viewBox={ "0 0 " (WIDTH) " " (height) } width="100%"
            role="img" aria-label="Flame graph: bytes that were never released, by call stack" {
            @for frame in &drawn {
                g {
                    title { (shown(&frame.title)) }
                    rect x=(round(frame.left)) y=(frame.level as f64 * LEVEL)
                        width=(round(frame.width - 1.0)) height=(LEVEL - 1.0)
                        class={ "f" (frame.level % 3) } {}
                    @if let Some(name) = &frame.name {
                        text x=(round(frame.left + 4.0)) y=(frame.level as f64 * LEVEL + 14.0) {
                            (name)
                        }
                    }
                }
            }
        }
    }
}

/// A frame with its place.
struct DrawnFrame {
    left: f64,
    width: f64,
    level: usize,
    name: Option<String>,
    title: String,
}

impl<'a> FlameFrame<'a> {
    fn add(&mut self, place: &LeakRow, frames: impl Iterator<Item = &'a str>) {
        self.bytes += place.bytes;
        self.buffers += place.buffers;
        let mut here = self;
        for frame in frames.take(MOST_LEVELS) {
            here = here.under.entry(frame).or_default();
            here.bytes += place.bytes;
            here.buffers += place.buffers;
        }
    }

    fn draw(&self, left: f64, width: f64, level: usize, drawn: &mut Vec<DrawnFrame>) {
        let all = self.bytes.max(1) as f64;
        let mut left = left;
        for (name, frame) in &self.under {
            let own = width * frame.bytes as f64 / all;
            if own >= LEAST_WIDTH {
                let room = ((own - 8.0) / CHARACTER) as usize;
                let name = shown(name);
                let fits: String = match name.chars().count() <= room {
                    true => name.clone(),
                    false => name
                        .chars()
                        .take(room.saturating_sub(1))
                        .chain(['…'])
                        .collect(),
                };
                drawn.push(DrawnFrame {
                    left,
                    width: own,
                    level,
                    name: (room > 2).then_some(fits),
                    title: format!(
                        "{name}: {} bytes in {} buffers",
                        crate::numbers::grouped_sum(frame.bytes),
                        crate::numbers::grouped(frame.buffers)
                    ),
                });
                frame.draw(left, own, level + 1, drawn);
            }
            left += own;
        }
    }
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_as_wide_as_its_bytes() {
        let place = |bytes, frames: &[&str]| LeakRow {
            buffers: 1,
            bytes,
            position: None,
            place: String::new(),
            frames: frames.iter().map(|frame| (*frame).to_owned()).collect(),
            not_users: 0,
        };
        let places = [
            place(75, &["alloc", "main"]),
            place(25, &["load<T>", "main"]),
        ];
        let text = graph(&places).into_string();
        assert!(
            text.contains("<title>main: 100 bytes in 2 buffers</title>"),
            "{text}"
        );
        assert!(
            text.contains("width=\"899\"") && text.contains("width=\"299\""),
            "{text}"
        );
        assert!(text.contains("load&lt;T&gt;"), "{text}");
    }
}
