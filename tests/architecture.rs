//! The plan of the house, held against the code: rooms import from the floors below, never from
//! above, and not in a circle beside. A path counts wherever it stands, in `use` or in the middle
//! of a function.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src/`, ground floor first; ARCHITECTURE.md says what each is for.
const FLOORS: [&[&str]; 14] = [
    &["planted", "numbers"],
    &["device"],
    &["tracking"],
    &["registry", "counters"],
    &["lifecycle"],
    &["scenario"],
    &["trace"],
    &["import", "server"],
    &["oracle", "proxy"],
    &["engine", "report", "observe", "diagnosis", "unbounded"],
    &["corpus", "playback", "calibration", "conformance"],
    &["export", "shrink", "fuzzing", "native"],
    &["campaign", "zoo", "facade"],
    &["cli"],
];

/// Files outside of the rooms: the crate's root and the binary.
const ROOTS: [&str; 2] = ["lib.rs", "main.rs"];

#[test]
fn rooms_import_from_the_floors_below_only() {
    let files = source_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(files.len() > 200, "the sources were not found");
    let complaints = complaints(&files);
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn the_crates_map_lists_every_room_in_the_order_of_the_floors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let text = fs::read_to_string(root).expect("the crate's root");
    let listed: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once("mod ")?.1.strip_suffix(';'))
        .collect();
    let floors: Vec<Option<usize>> = listed.iter().map(|room| floor(room)).collect();
    assert!(
        floors.is_sorted(),
        "the map is not in floor order: {listed:?}"
    );
    for room in listed {
        let line = format!("[`{room}`]");
        assert!(text.contains(&line), "lib.rs has no line about {room}");
    }
}

#[test]
fn an_arrow_up_is_found_with_file_and_line() {
    let found = complaints(&[
        file(
            "device/mod.rs",
            "//! Devices.\n\nuse crate::trace::{event::Event, file};\n",
        ),
        file("trace/mod.rs", "fn f() -> crate::numbers::N {}\n"),
    ]);
    assert_eq!(
        found,
        [
            "src/device/mod.rs:3: device is below trace and imports from it (trace::event::Event)",
            "src/device/mod.rs:3: device is below trace and imports from it (trace::file)",
        ]
    );
}

#[test]
fn an_arrow_up_through_super_is_found() {
    let text = "mod tests {\n    use super::super::super::cli::run;\n}\n";
    let found = complaints(&[file("device/range.rs", text), file("cli/mod.rs", "")]);
    assert_eq!(
        found,
        ["src/device/range.rs:2: device is below cli and imports from it (cli::run)"]
    );
}

#[test]
fn a_circle_beside_is_found() {
    let found = complaints(&[
        file("report/mod.rs", "use crate::diagnosis::Cause;\n"),
        file("diagnosis/mod.rs", "use crate::observe::Seen;\n"),
        file("observe/mod.rs", "\nuse crate::report::Timeline;\n"),
    ]);
    let [one] = found.as_slice() else {
        panic!("there is one circle: {found:?}");
    };
    let circle = "diagnosis → observe (src/diagnosis/mod.rs:1) → report (src/observe/mod.rs:2) → diagnosis (src/report/mod.rs:1)";
    assert_eq!(*one, format!("a circle of rooms: {circle}"));
}

#[test]
fn a_file_in_no_room_is_found() {
    let found = complaints(&[
        file("attic/mod.rs", ""),
        file("helpers.rs", ""),
        file("lib.rs", ""),
    ]);
    assert_eq!(
        found,
        [
            "src/attic/mod.rs: attic is no room: give it a floor in tests/architecture.rs",
            "src/helpers.rs: helpers is no room: give it a floor in tests/architecture.rs",
        ]
    );
}

#[test]
fn what_comments_and_texts_name_is_no_import() {
    let text =
        "//! See [`crate::cli`].\nconst HELP: &str = \"crate::cli::run\";\n/* crate::cli */\n";
    assert_eq!(complaints(&[file("device/mod.rs", text)]), [""; 0]);
}

#[test]
fn a_type_name_stands_for_one_thing() {
    let files = source_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let clashes = clashes(&files);
    assert!(clashes.is_empty(), "\n{}", clashes.join("\n"));
}

#[test]
fn a_type_name_that_two_files_show_is_found() {
    let found = clashes(&[
        file("device/mod.rs", "pub struct Plan;\nstruct Row;\n"),
        file("cli/mod.rs", "pub(super) enum Plan {}\nstruct Row;\n"),
    ]);
    assert_eq!(
        found,
        ["Plan is the name of several types: src/device/mod.rs, src/cli/mod.rs"]
    );
}

#[test]
fn comments_and_pages_are_wrapped_at_100_columns() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut long = Vec::new();
    for folder in [
        "src",
        "tests",
        "benches",
        "client",
        "examples",
        "fuzz/fuzz_targets",
    ] {
        for file in source_files(&root.join(folder)) {
            let comments = long_lines(&file.text, |line| line.trim_start().starts_with("//"));
            long.extend(comments.map(|line| format!("{folder}/{}:{line}", file.path)));
        }
    }
    for page in pages(root) {
        let text = fs::read_to_string(root.join(&page)).expect("a page");
        let mut is_sample = false;
        let prose = long_lines(&text, |line| {
            let is_fence = line.trim_start().starts_with("```");
            is_sample ^= is_fence;
            !is_sample && !is_fence && !line.starts_with("    ") && !line.contains("](")
        });
        long.extend(prose.map(|line| format!("{page}:{line}")));
    }
    assert!(long.is_empty(), "above 100 columns:\n{}", long.join("\n"));
}

/// The pages that people read: those beside the sources, and all in `docs/` and `deploy/`.
fn pages(root: &Path) -> Vec<String> {
    let mut pages = Vec::new();
    for folder in [".", "docs", "deploy", "deploy/slurm"] {
        for entry in fs::read_dir(root.join(folder)).expect("a folder") {
            let name = entry.expect("an entry").file_name().into_string();
            let name = name.expect("a name that is text");
            if name.ends_with(".md") {
                pages.push(format!("{folder}/{name}"));
            }
        }
    }
    assert!(pages.len() > 12, "the pages were not found: {pages:?}");
    pages
}

/// The numbers of the lines that count and are too long. Rows of tables cannot be wrapped.
fn long_lines(text: &str, mut counts: impl FnMut(&str) -> bool) -> impl Iterator<Item = usize> {
    let is_row = |line: &str| line.trim_start_matches(['/', '!', ' ']).starts_with('|');
    let mut long = move |line: &str| counts(line) && line.chars().count() > 100 && !is_row(line);
    text.lines()
        .enumerate()
        .filter(move |(_, line)| long(line))
        .map(|(index, _)| index + 1)
}

/// Type names that several files show beyond themselves.
fn clashes(files: &[SourceFile]) -> Vec<String> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        for line in without_comments_and_texts(&file.text).lines() {
            let Some(rest) = line.strip_prefix("pub") else {
                continue;
            };
            let rest = rest
                .strip_prefix('(')
                .and_then(|rest| rest.split_once(')'))
                .map_or(rest, |it| it.1);
            let mut words = rest.split(|c: char| !c.is_alphanumeric() && c != '_');
            let kind = words.find(|word| !word.is_empty());
            if matches!(kind, Some("struct" | "enum" | "trait" | "type" | "union"))
                && let Some(name) = words.next()
            {
                places
                    .entry(name.to_owned())
                    .or_default()
                    .push(format!("src/{}", file.path));
            }
        }
    }
    places.retain(|_, files| files.len() > 1);
    let words = |(name, files): (String, Vec<String>)| {
        format!("{name} is the name of several types: {}", files.join(", "))
    };
    places.into_iter().map(words).collect()
}

/// A source file: its path below `src/` and its text.
struct SourceFile {
    path: String,
    text: String,
}

/// An import of one room by another.
struct Arrow {
    from: String,
    to: String,
    /// What is imported, without `crate::`.
    what: String,
    place: String,
}

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

/// Everything that is wrong with the plan of these files.
fn complaints(files: &[SourceFile]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut arrows = Vec::new();
    for file in files
        .iter()
        .filter(|file| !ROOTS.contains(&file.path.as_str()))
    {
        let room = room_of(&file.path);
        match floor(room) {
            Some(_) => arrows.extend(arrows_of(file, room)),
            None => complaints.push(format!(
                "src/{}: {room} is no room: give it a floor in tests/architecture.rs",
                file.path
            )),
        }
    }
    let up = |arrow: &&Arrow| floor(&arrow.to) > floor(&arrow.from);
    complaints.extend(arrows.iter().filter(up).map(|arrow| {
        let Arrow {
            from,
            to,
            what,
            place,
        } = arrow;
        format!("{place}: {from} is below {to} and imports from it ({what})")
    }));
    complaints.extend(circle(&arrows).map(|circle| format!("a circle of rooms: {circle}")));
    complaints
}

fn room_of(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or(path);
    first.strip_suffix(".rs").unwrap_or(first)
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The imports of other rooms in one file.
fn arrows_of(file: &SourceFile, room: &str) -> Vec<Arrow> {
    let code = without_comments_and_texts(&file.text);
    let mut arrows = Vec::new();
    for (at, word) in words(&code, &["crate", "super"]) {
        let line = code[..at].matches('\n').count() + 1;
        let Some(mut rest) = code[at + word.len()..].strip_prefix("::") else {
            continue;
        };
        if word == "super" {
            if code[..at].ends_with("::") {
                continue;
            }
            let mut ups = 1;
            while let Some(further) = rest.strip_prefix("super::") {
                (ups, rest) = (ups + 1, further);
            }
            if ups != depth(&file.path) + inline_modules_around(&code, at) {
                continue;
            }
        }
        for what in leaves("", rest) {
            let to = what.split("::").next().unwrap_or_default().to_owned();
            if to != room && floor(&to).is_some() {
                arrows.push(Arrow {
                    from: room.to_owned(),
                    to,
                    what,
                    place: format!("src/{}:{line}", file.path),
                });
            }
        }
    }
    arrows
}

/// How many modules deep a file is: `super` so many times is the crate.
fn depth(path: &str) -> usize {
    let parts = path.split('/').count();
    parts - usize::from(path.ends_with("/mod.rs"))
}

/// How many `mod x { … }` are open at a place.
fn inline_modules_around(code: &str, at: usize) -> usize {
    let opens = words(&code[..at], &["mod"]).filter(|(start, word)| {
        let rest = code[start + word.len()..].trim_start();
        let name: usize = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(0);
        let Some(body) = rest[name..].trim_start().strip_prefix('{') else {
            return false;
        };
        let body_at = code.len() - body.len();
        let depth = code[body_at.min(at)..at]
            .chars()
            .fold(1_i64, |depth, c| match c {
                '{' => depth + 1,
                '}' if depth > 0 => depth - 1,
                _ => depth,
            });
        body_at <= at && depth > 0
    });
    opens.count()
}

/// The paths that a tree of imports names: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn leaves(prefix: &str, tree: &str) -> Vec<String> {
    let tree = tree.trim_start();
    let end = tree.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let (path, rest) = tree.split_at(end.unwrap_or(tree.len()));
    let Some(inside) = rest
        .strip_prefix('{')
        .filter(|_| path.is_empty() || path.ends_with("::"))
    else {
        return vec![format!("{prefix}{path}")];
    };
    let mut found = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let branch = &inside[start..at];
                if !branch.trim().is_empty() {
                    found.extend(leaves(&format!("{prefix}{path}"), branch));
                }
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

/// A circle of rooms, if there is one, with the place of each arrow.
fn circle(arrows: &[Arrow]) -> Option<String> {
    let mut next: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for arrow in arrows {
        let to = next.entry(&arrow.from).or_default();
        to.entry(&arrow.to).or_insert(&arrow.place);
    }
    fn walk<'a>(
        room: &'a str,
        next: &BTreeMap<&'a str, BTreeMap<&'a str, &'a str>>,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> bool {
        if let Some(start) = path.iter().position(|seen| *seen == room) {
            path.drain(..start);
            return true;
        }
        if done.contains(room) {
            return false;
        }
        path.push(room);
        let found = next
            .get(room)
            .is_some_and(|to| to.keys().any(|to| walk(to, next, path, done)));
        if !found {
            path.pop();
            done.insert(room);
        }
        found
    }
    let mut done = BTreeSet::new();
    next.keys().find_map(|room| {
        let mut path = Vec::new();
        walk(room, &next, &mut path, &mut done).then(|| {
            let steps = path.iter().zip(path.iter().cycle().skip(1));
            let steps = steps.map(|(from, to)| format!(" → {to} ({})", next[from][to]));
            format!("{}{}", path[0], steps.collect::<String>())
        })
    })
}

/// Where each of `wanted` stands as a word of its own.
fn words<'a>(code: &'a str, wanted: &'a [&'a str]) -> impl Iterator<Item = (usize, &'a str)> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.char_indices().filter_map(move |(at, c)| {
        if !is_part(c) || code[..at].ends_with(is_part) {
            return None;
        }
        let rest = &code[at..];
        let word = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
        wanted.contains(&word).then_some((at, word))
    })
}

/// The code with comments and string literals blanked out, line breaks kept.
fn without_comments_and_texts(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").map_or(rest.len(), |end| end + 2)
        } else if c == '"' {
            literal_length(rest)
        } else if rest.starts_with("'\"'") {
            3
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        code.extend(rest[..length].chars().filter(|c| *c == '\n'));
        rest = &rest[length..];
    }
    code
}

fn literal_length(text: &str) -> usize {
    let mut escaped = true;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn source_files(root: &Path) -> Vec<SourceFile> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(root).expect("below the sources");
                files.push(SourceFile {
                    path: below.to_str().expect("a plain name").to_owned(),
                    text: fs::read_to_string(&path).expect("a source file"),
                });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}
