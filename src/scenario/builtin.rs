//! The scenarios that ship with heisenbed, as TOML data beside this file.

macro_rules! builtin {
    ($($name:literal),* $(,)?) => {
        /// Their names.
        pub const NAMES: &[&str] = &[$($name),*];

        /// The text of the built-in scenario `name`.
        pub(crate) fn text(name: &str) -> Option<&'static str> {
            match name {
                $($name => Some(include_str!(concat!("builtin/", $name, ".toml"))),)*
                _ => None,
            }
        }
    };
}

builtin![
    "own-buffers",
    "handoff",
    "shared-free",
    "mesh",
    "circular",
    "preallocated",
    "many-devices",
    "device-close",
    "exception",
    "real-leak",
    "mixed",
    "reported-timeline",
    "reported-symptoms",
    "dontwait-loss",
];

#[cfg(test)]
mod tests {
    use super::super::ScenarioFile;
    use super::*;

    #[test]
    fn every_builtin_scenario_resolves_under_its_own_name() {
        for name in NAMES {
            let scenario = ScenarioFile::load(name)
                .and_then(ScenarioFile::resolve)
                .expect(name);
            assert_eq!(&scenario.name, name);
            assert!(
                !scenario.about.is_empty(),
                "{name} does not say what it shows"
            );
        }
    }

    #[test]
    fn a_resolved_scenario_survives_its_text_form() {
        for name in NAMES {
            let scenario = ScenarioFile::load(name)
                .and_then(ScenarioFile::resolve)
                .expect(name);
            let text = toml::to_string(&scenario).expect("serialises");
            assert_eq!(
                toml::from_str::<super::super::Scenario>(&text).expect("parses"),
                scenario
            );
        }
    }
}
