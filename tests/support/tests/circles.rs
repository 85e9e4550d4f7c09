//! No two files of a crate use each other, by whatever way round. Tests may use what they test and are not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Whose files are looked at.
const CRATES: [&str; 21] = [
    "balcony",
    "bench",
    "command-api",
    "console",
    "domain",
    "event-log",
    "examples/coffee-orders",
    "examples/hippo",
    "examples/shop-behaviour",
    "examples/word-count",
    "files",
    "http",
    "job",
    "projector",
    "query-api",
    "read-models",
    "reading-room",
    "search",
    "service",
    "statistics",
    "store",
];

/// A module or an item, by the names on the way to it from the crate's root.
type Names = Vec<String>;

/// The files of a crate, each by its module.
#[derive(Default)]
struct Crate {
    /// The words of each file.
    files: BTreeMap<Names, Vec<String>>,
    /// What stands where a file says `pub use`.
    elsewhere: BTreeMap<Names, Names>,
    /// The files that each file names something of.
    uses: BTreeMap<Names, BTreeSet<Names>>,
}

impl Crate {
    fn read(folder: &Path) -> Self {
        let mut read = Self::default();
        read.read_folder(&folder.join("src"), &[]);
        let of_tests = read.modules_of_tests();
        read.files.retain(|module, _| !of_tests.iter().any(|test| module.starts_with(test)));
        let mut named = Vec::new();
        for (module, words) in &read.files {
            for (path, name) in paths(words, |name| read.files.contains_key(&below(module, name))) {
                let path = absolute(module, &path);
                match name {
                    Some(name) => drop(read.elsewhere.insert(below(module, &name), path)),
                    None => named.push((module.clone(), path)),
                }
            }
        }
        for (module, path) in named {
            let used = read.module_of(path);
            if used != module {
                read.uses.entry(module).or_default().insert(used);
            }
        }
        read
    }

    fn read_folder(&mut self, folder: &Path, module: &[String]) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
            if path.is_dir() {
                self.read_folder(&path, &below(module, &name));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module = if name == "lib" || name == "main" { module.to_vec() } else { below(module, &name) };
                self.files.insert(module, words(&fs::read_to_string(&path).expect("a file")));
            }
        }
    }

    /// What is declared by `#[cfg(test)] mod name;`.
    fn modules_of_tests(&self) -> Vec<Names> {
        let declared = |(module, words): (&Names, &Vec<String>)| -> Vec<Names> {
            (0..words.len()).filter_map(|at| Some(below(module, test_module(words, at)?.0))).collect()
        };
        self.files.iter().flat_map(declared).collect()
    }

    /// The file that has what `path` names.
    fn module_of(&self, mut path: Names) -> Names {
        for _ in 0..8 {
            let known = (0..=path.len()).rev().find(|&length| self.files.contains_key(&path[..length]));
            let known = known.expect("the root is there");
            let Some(elsewhere) = path.get(..=known).and_then(|item| self.elsewhere.get(item)) else {
                return path[..known].to_vec();
            };
            path = elsewhere.iter().chain(&path[known + 1..]).cloned().collect();
        }
        panic!("{path:?} is named in a circle of its own")
    }

    /// What `from` uses by whatever way round, and the way: each with who uses it.
    fn reached(&self, from: &Names) -> BTreeMap<Names, Names> {
        let (mut reached, mut next) = (BTreeMap::new(), vec![from.clone()]);
        while let Some(module) = next.pop() {
            for used in self.uses.get(&module).into_iter().flatten() {
                if reached.insert(used.clone(), module.clone()).is_none() {
                    next.push(used.clone());
                }
            }
        }
        reached
    }
}

fn below(module: &[String], name: &str) -> Names {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

fn absolute(module: &[String], path: &[String]) -> Names {
    let up = path.iter().take_while(|name| *name == "super").count();
    match path[0].as_str() {
        "crate" => path[1..].to_vec(),
        "self" => [module, &path[1..]].concat(),
        "super" => [&module[..module.len() - up], &path[up..]].concat(),
        _ => [module, path].concat(),
    }
}

/// The words and signs of a file, without comments, literals, and the tests at its end.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    add_words(text.parse().expect("it is Rust"), &mut words);
    let tests = (0..words.len()).find(|&at| test_module(&words, at).is_some_and(|(_, sign)| sign == "{"));
    words.truncate(tests.unwrap_or(words.len()));
    words
}

fn add_words(tokens: TokenStream, words: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let (opens, closes) = match group.delimiter() {
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket | Delimiter::None => ("[", "]"),
                };
                words.push(opens.to_owned());
                add_words(group.stream(), words);
                words.push(closes.to_owned());
            }
            TokenTree::Ident(name) => words.push(name.to_string()),
            TokenTree::Punct(sign) if sign.as_char() == ':' && words.last().is_some_and(|last| last == ":") => {
                words.pop();
                words.push("::".to_owned());
            }
            TokenTree::Punct(sign) => words.push(sign.to_string()),
            TokenTree::Literal(_) => {}
        }
    }
}

/// The module for tests alone that is declared at `at`, from its `cfg` on, and the sign behind its name.
fn test_module(words: &[String], at: usize) -> Option<(&str, &str)> {
    let rest = words[at..].strip_prefix(&["cfg".to_owned()])?;
    let end = rest.iter().position(|word| word == "{" || word == ";")?;
    let declares = end > 2 && rest[end - 2] == "mod" && rest[..end].iter().any(|word| word == "test");
    declares.then(|| (rest[end - 1].as_str(), rest[end].as_str()))
}

/// The paths into this crate, each with the name that a `pub use` gives to what is there. `is_child` knows the modules below
/// the file's own.
fn paths(words: &[String], is_child: impl Fn(&str) -> bool) -> Vec<(Names, Option<String>)> {
    let begins = |word: &str| ["crate", "super", "self"].contains(&word) || is_child(word);
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let before = |steps: usize| at.checked_sub(steps).map_or("", |at| words[at].as_str());
        let is_use = before(1) == "use";
        // A part of another path, and where something may be seen: `pub(in crate::module)`.
        let is_none = before(1) == "::" || before(1) == "." || (before(1) == "in" && before(3) == "pub");
        let goes_on = words.get(at + 1).is_some_and(|next| next == "::");
        if (is_use && words[at] == "{") || (begins(&words[at]) && goes_on && !is_none) {
            let is_public = is_use && (before(2) == "pub" || before(2) == ")");
            let mut paths = Vec::new();
            at = take(words, at, &Vec::new(), &mut paths);
            let own = paths.into_iter().filter(|(path, _)| begins(&path[0]));
            found.extend(own.map(|(path, name)| (path, is_public.then_some(name))));
        } else {
            at += 1;
        }
    }
    found
}

/// Takes the path at `at`, behind `prefix`, with all that its braces hold, each with its name; gives where it ends.
fn take(words: &[String], mut at: usize, prefix: &Names, found: &mut Vec<(Names, String)>) -> usize {
    let mut path = prefix.clone();
    loop {
        match words[at].as_str() {
            "{" => {
                at += 1;
                while words[at] != "}" {
                    at = if words[at] == "," { at + 1 } else { take(words, at, &path, found) };
                }
                return at + 1;
            }
            "*" => {
                found.push((path, "*".to_owned()));
                return at + 1;
            }
            name => path.push(name.to_owned()),
        }
        at += 1;
        if words.get(at).is_some_and(|next| next == "::") {
            at += 1;
            continue;
        }
        // `{self, Name}` names the module itself.
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let is_renamed = words.get(at).is_some_and(|next| next == "as");
        let name = if is_renamed { &words[at + 1] } else { path.last().expect("a path has a name") };
        found.push((path.clone(), name.clone()));
        return if is_renamed { at + 2 } else { at };
    }
}

#[test]
fn no_two_files_of_a_crate_use_each_other() {
    let workspace: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (mut circles, mut uses) = (Vec::new(), 0);
    for name in CRATES {
        let read = Crate::read(&workspace.join(name));
        uses += read.uses.values().map(BTreeSet::len).sum::<usize>();
        for module in read.files.keys() {
            let reached = read.reached(module);
            if let Some(by) = reached.get(module) {
                circles.push(format!("{name}: {} is used by {}", module.join("::"), by.join("::")));
            }
        }
    }
    assert!(uses > 500, "only {uses} uses were found");
    assert_eq!(circles, [""; 0]);
}

#[test]
fn a_circle_is_found_by_whatever_way_the_files_name_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |files: &[(&str, &str)]| {
        let source = folder.path().join("src");
        let _ = fs::remove_dir_all(&source);
        for (file, text) in files {
            let path = source.join(file);
            fs::create_dir_all(path.parent().expect("it is in a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        let read = Crate::read(folder.path());
        let is_in_circle = |module: &&Names| read.reached(module).contains_key(*module);
        read.files.keys().filter(is_in_circle).map(|module| module.join("::")).collect::<Vec<_>>()
    };
    let root = "mod a;\nmod b;\npub use a::A;\npub use crate::b::{self, B};";
    let one_way = [
        ("lib.rs", root),
        ("a.rs", "use crate::B;"),
        ("b.rs", "// crate::A\n#[cfg(test)]\nmod tests { use crate::A; }"),
    ];
    assert_eq!(write(&one_way), [""; 0]);
    assert_eq!(write(&[("lib.rs", root), ("a.rs", "use crate::B;"), ("b.rs", "use super::A;")]), ["a", "b"]);
    assert_eq!(
        write(&[("lib.rs", root), ("a.rs", "fn f(_: crate::b::B) {}"), ("b.rs", "use crate::{x, a::{A}};")]),
        ["a", "b"]
    );
    let parent = [("lib.rs", "mod a;"), ("a.rs", "mod c;\nuse c::C;\nconst N: u8 = 1;"), ("a/c.rs", "use super::N;")];
    assert_eq!(write(&parent), ["a", "a::c"]);
}
