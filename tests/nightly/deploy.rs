//! What can be checked of the files in deploy/ and .clusterfuzzlite/ without a cluster: they are
//! there, they parse, their numbers agree, and the command lines in them are ones that the program
//! has. `tests/slurm.sh` runs the Slurm ones for real.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use yaml_rust2::{Yaml, YamlLoader};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files under these folders, by their paths from the root.
fn files(folders: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let path = path.strip_prefix(root()).expect("it is under the root");
                found.push(path.to_str().expect("UTF-8").to_owned());
            }
        }
    }
    found.sort();
    found
}

fn ready_files() -> Vec<String> {
    files(&["deploy", ".clusterfuzzlite"])
}

fn is_yaml(path: &str) -> bool {
    path.ends_with(".yml") || path.ends_with(".yaml")
}

fn yaml(path: &str) -> Vec<Yaml> {
    YamlLoader::load_from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between backticks, and in blocks that are indented by four.
fn code_in_markdown(text: &str) -> Vec<String> {
    let mut code = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("    ") {
            Some(block) => code.push(block.to_owned()),
            None => code.extend(line.split('`').skip(1).step_by(2).map(str::to_owned)),
        }
    }
    code
}

#[test]
fn every_ready_file_is_in_the_table_and_every_file_of_the_table_is_there() {
    let readme = text("deploy/README.md");
    let named: BTreeSet<String> = code_in_markdown(&readme)
        .into_iter()
        .filter(|code| code.contains('/') && !code.contains([' ', '<']) && !code.starts_with('-'))
        .filter(|code| !code.starts_with("google/") && !code.ends_with('/'))
        .collect();
    for path in &named {
        assert!(
            root().join(path).is_file(),
            "deploy/README.md names {path}, which is not there"
        );
    }
    for path in ready_files() {
        let said =
            named.contains(&path) || path.ends_with("README.md") || path.ends_with(".dockerignore");
        assert!(said, "{path} is not in the table of deploy/README.md");
    }
}

#[test]
fn yaml_parses() {
    for path in ready_files().iter().filter(|path| is_yaml(path)) {
        let documents = yaml(path);
        assert!(!documents.is_empty(), "{path} is empty");
        for document in documents {
            assert!(document.as_hash().is_some(), "{path} is no mapping");
        }
    }
}

/// The shell scripts in a file: itself, or the values of `run:` and of the lists after `bash -c`.
fn scripts(path: &str) -> Vec<String> {
    let text = text(path);
    if text.starts_with("#!") {
        return vec![text];
    }
    let mut found = Vec::new();
    if is_yaml(path) {
        for document in yaml(path) {
            scripts_in(&document, &mut found);
        }
    }
    found
}

fn scripts_in(node: &Yaml, found: &mut Vec<String>) {
    match node {
        Yaml::Hash(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    (Some("run"), Yaml::String(script)) => found.push(script.clone()),
                    (Some("args"), Yaml::Array(args)) => {
                        found.extend(args.iter().filter_map(Yaml::as_str).map(str::to_owned));
                    }
                    (_, value) => scripts_in(value, found),
                }
            }
        }
        Yaml::Array(values) => values.iter().for_each(|value| scripts_in(value, found)),
        _ => {}
    }
}

/// GitHub fills these in before the shell sees them.
fn without_expressions(script: &str) -> String {
    let mut plain = String::new();
    let mut rest = script;
    while let Some((before, after)) = rest.split_once("${{") {
        plain += before;
        plain += "1";
        rest = after.split_once("}}").expect("an expression is closed").1;
    }
    plain + rest
}

#[test]
fn shell_parses() {
    let mut checked = 0;
    for path in ready_files()
        .into_iter()
        .chain(["tests/slurm.sh".to_owned()])
    {
        for script in scripts(&path) {
            let mut bash = Command::new("bash")
                .arg("-n")
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("bash is there");
            let mut stdin = bash.stdin.take().expect("it is piped");
            stdin
                .write_all(without_expressions(&script).as_bytes())
                .expect("bash reads");
            drop(stdin);
            let output = bash.wait_with_output().expect("bash ends");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && said.is_empty(),
                "{path}: {said}\n{script}"
            );
            checked += 1;
        }
    }
    assert!(checked >= 15, "only {checked} scripts were found");
}

/// The command lines of heisenbed in a file: its command (`campaign run`), and the options.
fn command_lines(path: &str) -> Vec<(Vec<String>, BTreeSet<String>)> {
    let text = text(path);
    let lines = if path.ends_with(".md") {
        // A line of prose may break within a span, a command line doesn't.
        code_in_markdown(&text)
    } else {
        text.replace("\\\n", " ")
            .lines()
            .flat_map(|line| match line.trim_start().strip_prefix('#') {
                Some(comment) => code_in_markdown(comment),
                None => vec![line.to_owned()],
            })
            .collect()
    };
    lines.iter().filter_map(|line| command_line(line)).collect()
}

fn command_line(line: &str) -> Option<(Vec<String>, BTreeSet<String>)> {
    let bare = |word: &str| word.trim_matches(['"', '\'', ',', '(', ')']).to_owned();
    let mut words = line
        .split_whitespace()
        .take_while(|word| !matches!(*word, "|" | "||" | "&&" | ";" | "#"));
    let mut command: Vec<String> = loop {
        // `heisenbed`, `bin/heisenbed`, "${HEISENBED:-heisenbed}", but not the last of what a
        // sentence counts (… heisenbed).
        let word = words.next()?.trim_matches('"');
        let name = word.trim_end_matches('}').rsplit(['/', '-']).next()?;
        match name {
            "heisenbed" => break Vec::new(),
            "campaign.sbatch" => break vec!["campaign".to_owned(), "run".to_owned()],
            "merge.sbatch" => break vec!["campaign".to_owned(), "merge".to_owned()],
            _ => {}
        }
    };
    let mut options = BTreeSet::new();
    let mut naming = command.is_empty();
    for word in words {
        let word = bare(word);
        naming &= !word.is_empty() && word.chars().all(|letter| letter.is_ascii_lowercase());
        if naming {
            command.push(word);
        } else if let Some(option) = word.strip_prefix("--") {
            let name = option.split('=').next().unwrap_or(option);
            options.insert(format!("--{name}"));
        }
    }
    (!command.is_empty()).then_some((command, options))
}

#[test]
fn every_command_line_is_one_that_the_program_has() {
    let mut helps: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut checked = BTreeMap::new();
    let paths = ready_files()
        .into_iter()
        .chain(["docs/nightly.md".to_owned()]);
    for path in paths {
        for (command, options) in command_lines(&path) {
            let help = helps.entry(command.clone()).or_insert_with(|| {
                let output = crate::common::run(&format!("{} --help", command.join(" ")));
                assert!(
                    output.status.success(),
                    "{path}: there is no `heisenbed {}`",
                    command.join(" ")
                );
                String::from_utf8(output.stdout).expect("UTF-8")
            });
            for option in &options {
                let known = help
                    .split(|letter: char| letter.is_whitespace() || letter == ',')
                    .any(|word| word == option);
                assert!(
                    known,
                    "{path}: `heisenbed {}` has no {option}",
                    command.join(" ")
                );
            }
            *checked.entry(path.clone()).or_insert(0) += 1;
        }
    }
    for path in [
        "deploy/slurm/campaign.sbatch",
        "deploy/slurm/merge.sbatch",
        "deploy/slurm/README.md",
        "deploy/kubernetes/indexed-job.yaml",
        "deploy/github/pr-smoke.yml",
        "deploy/github/nightly.yml",
        "docs/nightly.md",
    ] {
        assert!(
            checked.contains_key(path),
            "no command line was found in {path}"
        );
    }
}

#[test]
fn an_option_or_a_command_that_is_not_there_is_seen() {
    let line = |line| command_line(line).expect("a command line");
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let run: Vec<String> = words(&["campaign", "run"]);
    let (command, options) = line(
        "exec \"${HEISENBED:-heisenbed}\" campaign run --shard \"$i/$n\" --out=x \"$@\" || --no",
    );
    assert_eq!(command, run);
    assert_eq!(
        options.into_iter().collect::<Vec<_>>(),
        ["--out", "--shard"]
    );
    // What is before the script is for sbatch.
    let (command, options) = line("sbatch --array=3 deploy/slurm/campaign.sbatch 8 DIR --seed 1");
    assert_eq!(
        (command, options.into_iter().collect::<Vec<_>>()),
        (run, vec!["--seed".to_owned()])
    );
    assert_eq!(command_line("cargo build --release"), None);
    assert_eq!(
        command_line("its job (slurmstepd, heisenbed) with it"),
        None
    );
    assert_eq!(command_line("COPY heisenbed /usr/local/bin/"), None);
}

#[test]
fn as_many_pods_and_runners_as_shards() {
    let documents = yaml("deploy/kubernetes/indexed-job.yaml");
    let named = |name: &str| {
        documents
            .iter()
            .find(|document| document["metadata"]["name"].as_str() == Some(name))
            .unwrap_or_else(|| panic!("no {name}"))
    };
    let (campaign, merge) = (named("heisenbed-campaign"), named("heisenbed-merge"));
    assert_eq!(campaign["spec"]["completionMode"].as_str(), Some("Indexed"));
    let completions = campaign["spec"]["completions"].as_i64().expect("a number");
    let script = scripts("deploy/kubernetes/indexed-job.yaml").concat();
    assert!(script.contains(&format!("--shard \"$shard/{completions}\"")));
    // A folder belongs to one at a time, and tries are counted a shard.
    for (key, value) in [
        ("podReplacementPolicy", Yaml::String("Failed".to_owned())),
        ("backoffLimitPerIndex", Yaml::Integer(5)),
    ] {
        assert_eq!(campaign["spec"][key], value, "{key}");
    }
    // Both see the same folder, and the merge does not start by itself.
    let claim = |job: &Yaml| job["spec"]["template"]["spec"]["volumes"][0].clone();
    assert_eq!(claim(campaign), claim(merge));
    assert_eq!(merge["spec"]["suspend"], Yaml::Boolean(true));

    let nightly = &yaml("deploy/github/nightly.yml")[0];
    let shards = nightly["jobs"]["shard"]["strategy"]["matrix"]["shard"]
        .as_vec()
        .expect("a list");
    let counted: Vec<i64> = shards.iter().filter_map(Yaml::as_i64).collect();
    assert_eq!(
        counted,
        (1..=shards.len() as i64).collect::<Vec<_>>(),
        "shards are numbered from 1"
    );
    let script = scripts("deploy/github/nightly.yml").concat();
    assert!(script.contains(&format!(
        "--shard ${{{{ matrix.shard }}}}/{} ",
        shards.len()
    )));
}

#[test]
fn jobs_of_a_workflow_wait_for_jobs_that_it_has() {
    for path in files(&["deploy/github"])
        .iter()
        .filter(|path| is_yaml(path))
    {
        let workflow = &yaml(path)[0];
        let jobs = workflow["jobs"].as_hash().expect("jobs");
        for (name, job) in jobs {
            assert!(job["runs-on"].as_str().is_some(), "{path}: {name:?}");
            for step in job["steps"].as_vec().expect("steps") {
                let does = [&step["run"], &step["uses"]].map(|what| what.as_str().is_some());
                assert!(
                    does[0] != does[1],
                    "{path}: a step of {name:?} runs or uses something"
                );
            }
            let needs = match &job["needs"] {
                Yaml::Array(needs) => needs.clone(),
                Yaml::BadValue => Vec::new(),
                one => vec![one.clone()],
            };
            for need in needs {
                assert!(
                    jobs.contains_key(&need),
                    "{path}: {name:?} waits for {need:?}"
                );
            }
        }
    }
}
