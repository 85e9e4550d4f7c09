//! The plan of the house: which crates know which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates of the library: for programs of others.
const LIBRARY: [&str; 10] = [
    "balcony-console",
    "balcony-event-log",
    "balcony-files",
    "balcony-http",
    "balcony-job",
    "balcony-projector",
    "balcony-service",
    "balcony-statistics",
    "balcony-store",
    "balcony-timestamp",
];

const DOMAIN: &str = "balcony-domain";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The crates of the workspace by name, and what each depends on, in its tests too.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).expect("the workspace's manifest");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = [")).expect("the members");
    let member = |folder: &str| {
        let path = workspace().join(folder).join("Cargo.toml");
        let manifest = fs::read_to_string(path).expect("a member's manifest");
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = ")).expect("its name");
        let begins = |line: &str| line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
        let known = manifest.lines().map(begins).filter(|word| word.starts_with("balcony-")).collect();
        (name.trim_matches('"').to_owned(), known)
    };
    members.split('"').skip(1).step_by(2).map(member).collect()
}

#[test]
fn the_library_knows_nothing_but_itself() {
    let crates = crates();
    for name in LIBRARY {
        for known in &crates[name] {
            assert!(LIBRARY.contains(&known.as_str()), "{name} knows {known}");
        }
    }
}

#[test]
fn no_crate_below_the_read_models_knows_the_domain() {
    let crates = crates();
    let mut below: BTreeSet<&String> = crates["balcony-read-models"].iter().filter(|name| *name != DOMAIN).collect();
    loop {
        let further: BTreeSet<&String> = below.iter().flat_map(|name| &crates[*name]).collect();
        let count = below.len();
        below.extend(further);
        if below.len() == count {
            break;
        }
    }
    assert!(below.len() > 4, "{below:?}");
    for name in below {
        assert!(name != DOMAIN && !crates[name].contains(DOMAIN), "{name} knows the domain");
    }
}
