//! What is wrong with a configuration is said by line, all of it, before anything starts.

use crate::world::Hippo;

/// What the program says of a configuration.
fn complaints(config: &str) -> String {
    let said = Hippo::embedded(config).run(&[]);
    assert!(!said.status.success());
    String::from_utf8(said.stderr).unwrap()
}

const STEP: &str = "[[frontier]]\nname = \"arrivals\"\ndirectory = \".\"\n[[step]]\nsubscribe = [\"frontier-adw\"]\n";

#[test]
fn everything_that_is_wrong_is_said_at_once_by_line() {
    let said = complaints(
        r#"[[frontier]]
name = "arrivals"

[[step]]
name = "first"
subscribe = [
  "frontier-adw",
  "nowhere",
]
command = []
timeout = "0s"

[[step]]
name = "first"
subscribe = ["frontier-adw"]
publish = "hippo-finish"
command = ["true"]
concurrency = 0
host = "here"

[gateway]
balcony = "ftp://x"
tags = "no-tags"
"#,
    );
    assert_eq!(
        said,
        "hippo.toml:2: arrivals needs either a directory, or a table and its database
hippo.toml:8: nothing publishes to \"nowhere\", to which first subscribes
hippo.toml:10: first has no command
hippo.toml:11: a timeout is from 1s to 24h
hippo.toml:14: the name \"first\" is taken
hippo.toml:16: only hippo itself publishes to \"hippo-finish\"
hippo.toml:18: a concurrency is from 1 to 256
hippo.toml:19: first has a host and no port
hippo.toml:22: \"ftp://x\" is no URL, such as http://127.0.0.1:8080
hippo.toml:23: nothing publishes to \"no-tags\"
hippo: --config: hippo.toml cannot be used, for what is said above
"
    );
}

#[test]
fn a_circle_is_named_by_the_way_around_it() {
    let step = |name: &str, from: &str, to: &str| {
        format!("[[step]]\nname = \"{name}\"\nsubscribe = [\"{from}\"]\npublish = \"{to}\"\ncommand = [\"true\"]\n")
    };
    let config = [step("a", "z", "x"), step("b", "x", "y"), step("c", "y", "z"), step("d", "y", "w")].concat();
    assert!(
        complaints(&config).starts_with("hippo.toml:2: a circle: a → b → c → a would start itself for ever\nhippo: ")
    );
    let config = step("own", "hippo-finish", "x");
    assert!(complaints(&config).starts_with("hippo.toml:2: a circle: own → own would start itself for ever\nhippo: "));
}

#[test]
fn what_is_no_toml_or_no_setting_is_said_by_line() {
    for (config, line, what) in [
        ("", 1, "there is no step"),
        ("\n[[step]\n# \"\"", 2, "unclosed"),
        ("[[step]]\nname = \"a\"\nsubscribe = []\ncommand = []\ncolour = 1\n", 5, "unknown field `colour`"),
        ("[[step]]\nname = \"a\"\ncommand = []\n", 1, "missing field `subscribe`"),
        (&format!("{STEP}command = [\"true\"]\nname = \"a\"\ntimeout = \"soon\"\n"), 8, "is no duration"),
        (&format!("{STEP}command = [\"true\"]\nname = \"A b\"\n"), 7, "is no name"),
        (&format!("{STEP}command = [\"true\"]\nname = \"jobs\"\n"), 7, "is taken"),
        (&format!("{STEP}command = [\"true\"]\nname = \"a\"\npublish = \"a b\"\n"), 8, "is no topic"),
    ] {
        let said = complaints(config);
        assert!(said.starts_with(&format!("hippo.toml:{line}: ")) && said.contains(what), "{config}\n{said}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named_with_its_setting() {
    let hippo = Hippo::embedded("");
    let said = hippo.run(&["--config", "other.toml"]);
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.starts_with("hippo: --config: other.toml cannot be read"), "{said}");
}
