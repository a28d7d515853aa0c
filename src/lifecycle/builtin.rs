//! The disciplines that ship with heisenbed, as the TOML files in `builtin/`, and [`load`], which
//! finds a discipline by name or file.
//!
//! Each is written track-first with late publication; the switches give the other forms.

use std::path::Path;
use std::sync::LazyLock;

use super::discipline::Discipline;
use super::parser::DisciplineError;
use super::step::edit_distance;

const SOURCES: [(&str, &str); 10] = [
    ("unlocked.toml", include_str!("builtin/unlocked.toml")),
    (
        "tracker-mutex.toml",
        include_str!("builtin/tracker-mutex.toml"),
    ),
    (
        "lifecycle-narrow.toml",
        include_str!("builtin/lifecycle-narrow.toml"),
    ),
    (
        "lifecycle-wide.toml",
        include_str!("builtin/lifecycle-wide.toml"),
    ),
    (
        "lifecycle-array8.toml",
        include_str!("builtin/lifecycle-array8.toml"),
    ),
    ("global-wide.toml", include_str!("builtin/global-wide.toml")),
    (
        "in-allocator.toml",
        include_str!("builtin/in-allocator.toml"),
    ),
    (
        "claimed-wide.toml",
        include_str!("builtin/claimed-wide.toml"),
    ),
    ("views-first.toml", include_str!("builtin/views-first.toml")),
    ("sequenced.toml", include_str!("builtin/sequenced.toml")),
];

static ALL: LazyLock<Vec<Discipline>> = LazyLock::new(|| {
    let parse = |(file, text)| Discipline::from_toml(file, text)?.accepted(file);
    SOURCES
        .into_iter()
        .map(parse)
        .collect::<Result<_, DisciplineError>>()
        .expect("a test reads every built-in")
});

/// Every built-in discipline, from no lock to the strongest.
pub fn all() -> &'static [Discipline] {
    &ALL
}

/// The built-in discipline of that name.
pub(crate) fn get(name: &str) -> Option<&'static Discipline> {
    all().iter().find(|discipline| discipline.name == name)
}

/// The discipline of that name, or else in the file of that name, if the lint accepts it.
pub fn load(name_or_file: &str) -> Result<Discipline, DisciplineError> {
    find(name_or_file)?.accepted(name_or_file)
}

/// As [`load`], without linting.
pub(crate) fn find(name_or_file: &str) -> Result<Discipline, DisciplineError> {
    if let Some(discipline) = get(name_or_file) {
        return Ok(discipline.clone());
    }
    let path = Path::new(name_or_file);
    let meant_as_file = name_or_file.contains('/') || name_or_file.ends_with(".toml");
    if meant_as_file || path.exists() {
        return Discipline::from_file(path);
    }
    Err(DisciplineError::NotFound {
        name: name_or_file.to_string(),
        remedy: names_remedy(name_or_file),
    })
}

fn names_remedy(wanted: &str) -> String {
    let names = || all().iter().map(|discipline| discipline.name.as_str());
    let near = names()
        .map(|name| (edit_distance(wanted, name), name))
        .min()
        .filter(|(distance, name)| *distance <= name.len().div_ceil(3));
    match near {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None => format!(
            "use a file, or one of {}",
            names().collect::<Vec<_>>().join(", ")
        ),
    }
}
