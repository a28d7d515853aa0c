//! Which frames of call stacks to show people: those that tell the stacks apart.
//!
//! The innermost frames of an allocation are the allocator's own, the same for all. Frames are
//! texts like `forward (model.py:42)`, innermost first.
//!
//! The rules, for stacks that are shown together:
//! - The allocator's own leading frames are left out, unless there are no others.
//! - Where a stack has frames of Python files, those are shown: they are the user's.
//! - Where two stacks would show the same, each shows what the others don't have.

use std::collections::HashMap;

/// Beginnings of frames that are the allocator's own, or what recorded the stack.
const OWN: [&str; 22] = [
    "torch::",
    "CapturedTraceback",
    "gather",
    "c10::",
    "at::",
    "DeviceCachingAllocator",
    "NativeCachingAllocator",
    "CUDACachingAllocator",
    "CachingAllocator",
    "alloc_block",
    "THPVariable",
    "THPFunction",
    "PyObject",
    "PyEval",
    "_PyEval",
    "_PyObject",
    "_PyFunction",
    "PyVectorcall",
    "pybind11::",
    "std::",
    "(anonymous namespace)::",
    "void at::",
];

/// Python packages that are the allocator's own.
const OWN_PACKAGES: [&str; 2] = ["site-packages/torch/", "dist-packages/torch/"];

/// Frames of one stack, chosen for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TellingFrames<'a> {
    /// The frames, innermost first.
    pub(crate) frames: Vec<&'a str>,
    /// How many others the stack has.
    pub(crate) left_out: usize,
}

/// Chooses at most `most` frames of each stack.
pub(crate) fn choose<'a>(stacks: &[Vec<&'a str>], most: usize) -> Vec<TellingFrames<'a>> {
    let users: Vec<Vec<&str>> = stacks.iter().map(|stack| users_part(stack)).collect();
    let mut shown: Vec<Vec<&str>> = users
        .iter()
        .map(|part| part.iter().copied().take(most).collect())
        .collect();
    let mut alike: HashMap<Vec<&str>, Vec<usize>> = HashMap::new();
    for (index, frames) in shown.iter().enumerate() {
        alike.entry(frames.clone()).or_default().push(index);
    }
    for group in alike.into_values().filter(|group| group.len() > 1) {
        let mut uses: HashMap<&str, usize> = HashMap::new();
        for index in &group {
            let mut frames = stacks[*index].clone();
            frames.sort_unstable();
            frames.dedup();
            for frame in frames {
                *uses.entry(frame).or_default() += 1;
            }
        }
        for index in &group {
            let apart = |frame: &&&str| uses.get(**frame).is_some_and(|uses| *uses < group.len());
            // What differs in the user's part comes first.
            let differ: Vec<&str> = match users[*index].iter().filter(apart).count() {
                0 => stacks[*index].iter().filter(apart).copied().collect(),
                _ => users[*index].iter().filter(apart).copied().collect(),
            };
            if !differ.is_empty() {
                shown[*index] = differ.into_iter().take(most).collect();
            }
        }
    }
    let left_out = |(stack, frames): (&Vec<&str>, Vec<&'a str>)| TellingFrames {
        left_out: stack.len().saturating_sub(frames.len()),
        frames,
    };
    stacks.iter().zip(shown).map(left_out).collect()
}

/// How many of the innermost frames of a stack are not the user's.
pub(crate) fn before_users(stack: &[&str]) -> usize {
    let users = users_part(stack);
    let first = users.first();
    first.map_or(0, |first| {
        let at = stack.iter().position(|frame| frame == first);
        at.unwrap_or(0)
    })
}

/// The frames of Python files, the user's where there are some, else those after the allocator's
/// own leading ones, else all.
fn users_part<'a>(stack: &[&'a str]) -> Vec<&'a str> {
    let python: Vec<&str> = stack
        .iter()
        .copied()
        .filter(|frame| is_python(frame))
        .collect();
    let users: Vec<&str> = python
        .iter()
        .copied()
        .filter(|frame| !OWN_PACKAGES.iter().any(|own| frame.contains(own)))
        .collect();
    if !users.is_empty() {
        return users;
    }
    if !python.is_empty() {
        return python;
    }
    let own = stack
        .iter()
        .take_while(|frame| OWN.iter().any(|own| frame.starts_with(own)))
        .count();
    match own == stack.len() {
        true => stack.to_vec(),
        false => stack[own..].to_vec(),
    }
}

/// `NAME (FILE.py:LINE)`, or of what was typed in: `NAME (<stdin>:LINE)`.
fn is_python(frame: &str) -> bool {
    let file = frame.rsplit_once(':').map(|(before, _)| before);
    file.is_some_and(|file| {
        file.ends_with(".py")
            || file.ends_with('>')
                && file
                    .rsplit_once('(')
                    .is_some_and(|(_, name)| name.starts_with('<'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen<'a>(stacks: &[&[&'a str]]) -> Vec<Vec<&'a str>> {
        let stacks: Vec<Vec<&str>> = stacks.iter().map(|stack| stack.to_vec()).collect();
        choose(&stacks, 2)
            .into_iter()
            .map(|telling| telling.frames)
            .collect()
    }

    #[test]
    fn the_allocators_own_frames_are_left_out() {
        let own = ["torch::unwind::unwind() (??:0)", "c10::Allocate (??:0)"];
        assert_eq!(
            chosen(&[&[own[0], own[1], "make_table (app.cpp:3)", "main (app.cpp:9)"]]),
            [["make_table (app.cpp:3)", "main (app.cpp:9)"]]
        );
        assert_eq!(chosen(&[&own]), [own]);
        assert_eq!(chosen(&[&[]]), [Vec::<&str>::new()]);
    }

    #[test]
    fn frames_of_python_files_are_preferred() {
        assert_eq!(
            chosen(&[&["at::empty (??:0)", "other (a.cpp:1)", "step (train.py:42)"]]),
            [["step (train.py:42)"]]
        );
        assert_eq!(
            chosen(&[&["c10::List<at::Tensor> (??:0)", "<module> (<stdin>:3)"]]),
            [["<module> (<stdin>:3)"]]
        );
        let torch = "_call_impl (/usr/lib/python3/dist-packages/torch/nn/module.py:9)";
        assert_eq!(
            chosen(&[&[torch, torch, torch, "step (train.py:42)"], &[torch]]),
            [vec!["step (train.py:42)"], vec![torch]]
        );
    }

    #[test]
    fn stacks_that_would_look_alike_show_what_differs() {
        let (a, b, c) = ["f (a.py:1)", "g (a.py:2)", "h (a.py:3)"].into();
        assert_eq!(
            chosen(&[&[a, b, c, "x (a.py:4)"], &[a, b, c, "y (a.py:5)"]]),
            [["x (a.py:4)"], ["y (a.py:5)"]]
        );
        assert_eq!(
            chosen(&[&["c10::x (??:0)", a, b], &["c10::y (??:0)", a, b]]),
            [["c10::x (??:0)"], ["c10::y (??:0)"]]
        );
        // One is the beginning of the other.
        assert_eq!(chosen(&[&[a, b], &[a, b, c]]), [vec![a, b], vec![c]]);
    }
}
