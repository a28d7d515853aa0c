//! `heisenbed scenarios`: lists and shows scenarios.

use clap::{Args, Subcommand};
use serde_json::json;

use super::outcome::{CommandOutcome, Format};
use crate::scenario::{Scenario, ScenarioError, ScenarioFile, builtin};

/// List and show scenarios.
#[derive(Clone, Debug, Args)]
pub(crate) struct ScenariosArgs {
    #[command(subcommand)]
    command: Option<Action>,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// The built-in scenarios, with what they show (the default)
    List,
    /// A scenario, complete, as TOML: a start for one of your own
    Show {
        /// The name of a built-in scenario, or a TOML file
        #[arg(value_name = "NAME|FILE")]
        scenario: String,
    },
}

/// Runs the subcommand.
pub(crate) fn run(args: &ScenariosArgs, format: Format) -> CommandOutcome {
    let shown = match args.command.as_ref().unwrap_or(&Action::List) {
        Action::List => list(format),
        Action::Show { scenario } => show(scenario, format),
    };
    match shown {
        Ok(stdout) => CommandOutcome {
            stdout,
            ..CommandOutcome::default()
        },
        Err(error) => CommandOutcome::bad_input(error, format),
    }
}

fn list(format: Format) -> Result<String, ScenarioError> {
    let scenarios: Vec<Scenario> = builtin::NAMES
        .iter()
        .map(|name| load(name))
        .collect::<Result<_, _>>()?;
    Ok(match format {
        Format::Json => {
            let entry =
                |scenario: &Scenario| json!({ "name": scenario.name, "about": scenario.about });
            format!(
                "{}\n",
                json!({ "scenarios": scenarios.iter().map(entry).collect::<Vec<_>>() })
            )
        }
        Format::Human => {
            let width = builtin::NAMES
                .iter()
                .map(|name| name.len())
                .max()
                .unwrap_or(0);
            scenarios
                .iter()
                .map(|scenario| format!("{:width$}  {}\n", scenario.name, scenario.about))
                .collect()
        }
    })
}

fn show(name: &str, format: Format) -> Result<String, ScenarioError> {
    Ok(match format {
        Format::Json => {
            let scenario = load(name)?;
            format!(
                "{}\n",
                serde_json::to_string(&scenario).expect("a scenario has string keys only")
            )
        }
        Format::Human => {
            load(name)?;
            let file = ScenarioFile::load(name)?;
            toml::to_string(&file).expect("a scenario file has string keys only")
        }
    })
}

fn load(name: &str) -> Result<Scenario, ScenarioError> {
    ScenarioFile::load(name)?.resolve()
}
