//! The shape of the source tree: who may depend on whom, which crate owns which heavy dependency, how big a file gets.
//!
//! Each rule is a function from facts to complaints, so that the tests at the end can show it a tree that breaks it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Which layer a crate is in (`docs/architecture.md`). A crate may depend on lower layers only.
const LAYERS: &[(&str, u8)] = &[
    ("onrush-types", 0),
    ("onrush-seams", 0),
    ("onrush-catalog", 1),
    ("onrush-invoke", 1),
    ("onrush-server", 1),
    ("onrush-filters", 2),
    ("onrush-proto", 2),
    ("onrush-runtime", 2),
    ("onrush-api", 3),
    ("onrush-sharing", 3),
    ("onrush-artifacts", 3),
    ("onrush-cluster", 3),
    ("onrush-consensus", 3),
    ("onrush-gateway", 3),
    ("onrush-router", 3),
    ("onrush-worker", 3),
    ("onrush-node", 4),
    ("onrush", 5),
    ("onrush-sim", 6),
    ("onrush-bench", 6),
    // The harness knows the command line alone; who tests a binary may use it.
    ("onrush-tests", 0),
];

/// The one door of each heavy dependency: (how the package's name starts, the crate that may name it).
const DOORS: &[(&str, &str)] = &[
    ("openraft", "onrush-consensus"),
    ("rocksdb", "onrush-consensus"),
    ("chitchat", "onrush-cluster"),
    ("wasmtime", "onrush-runtime"),
];

/// Names that say nothing about what a file holds.
const VAGUE: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc", "manager"];

/// Lines of a file that are not tests.
const FILE_CEILING: usize = 500;

/// A `lib.rs` is a contents page.
const CONTENTS_PAGE_CEILING: usize = 80;

/// A workspace member and the packages that its manifest names, of every kind: normal, build and dev.
struct Crate {
    name: String,
    dependencies: BTreeSet<String>,
}

/// One Rust file of the workspace.
struct Source {
    path: PathBuf,
    text: String,
}

fn layer(name: &str) -> Option<u8> {
    LAYERS.iter().find(|(known, _)| *known == name).map(|(_, layer)| *layer)
}

fn upward_dependencies(crates: &[Crate]) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in crates {
        let Some(own) = layer(&package.name) else {
            complaints.push(format!(
                "{} has no layer: give it one in tests/tests/layers.rs and in docs/architecture.md",
                package.name
            ));
            continue;
        };
        // A crate names itself to switch its own test features on.
        for dependency in package.dependencies.iter().filter(|name| **name != package.name) {
            if let Some(other) = layer(dependency)
                && other >= own
            {
                complaints.push(format!(
                    "{} (layer {own}) depends on {dependency} (layer {other}): only lower layers are allowed; \
                     siblings meet in onrush-node",
                    package.name
                ));
            }
        }
    }
    complaints
}

fn side_doors(crates: &[Crate]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (heavy, door) in DOORS {
        let users: Vec<&str> = crates
            .iter()
            .filter(|package| package.dependencies.iter().any(|name| name.starts_with(heavy)))
            .map(|package| package.name.as_str())
            .collect();
        if users != [*door] {
            complaints.push(format!("{heavy} enters through {door} and nowhere else, but {users:?} name it"));
        }
    }
    complaints
}

fn is_test_code(path: &Path) -> bool {
    let in_test_folder = path.components().any(|part| part.as_os_str() == "tests");
    in_test_folder || path.file_name().is_some_and(|name| name == "tests.rs")
}

/// Lines up to the module of tests. A line that only names such a module, as in a contents page, does not end them.
fn production_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let opens_tests =
        |i: usize| lines[i] == "#[cfg(test)]" && lines.get(i + 1).is_some_and(|next| !next.ends_with(';'));
    (0..lines.len()).find(|&i| opens_tests(i)).unwrap_or(lines.len())
}

fn long_files(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for Source { path, text } in sources {
        let lines = production_lines(text);
        if !is_test_code(path) && lines > FILE_CEILING {
            complaints.push(format!("{}: {lines} lines, the ceiling is {FILE_CEILING}", path.display()));
        }
        if path.ends_with("src/lib.rs") && lines > CONTENTS_PAGE_CEILING {
            complaints.push(format!(
                "{}: {lines} lines; a lib.rs is a contents page of at most {CONTENTS_PAGE_CEILING}",
                path.display()
            ));
        }
    }
    complaints
}

fn vague_names(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for path in sources.iter().map(|source| &source.path) {
        if path.file_name().is_some_and(|name| name == "mod.rs") {
            complaints.push(format!("{}: write foo.rs beside foo/, not foo/mod.rs", path.display()));
        }
        let vague = path.components().any(|part| {
            let name = part.as_os_str().to_string_lossy();
            VAGUE.contains(&name.trim_end_matches(".rs"))
        });
        if vague {
            complaints.push(format!("{}: name the place, not the pattern", path.display()));
        }
    }
    complaints
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate sits in a folder of the workspace").to_owned()
}

fn workspace() -> Vec<Crate> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata");
    let members: BTreeMap<_, _> =
        metadata.packages.into_iter().map(|package| (package.name.clone(), package)).collect();
    members
        .into_values()
        .map(|package| Crate {
            name: package.name.to_string(),
            dependencies: package.dependencies.into_iter().map(|dependency| dependency.name).collect(),
        })
        .collect()
}

fn collect(folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a folder of the workspace") {
        let path = entry.expect("a folder entry").path();
        // Guests and build output are not the host's source.
        let skipped = path.file_name().is_some_and(|name| name == "target" || name == "guests");
        if path.is_dir() && !skipped {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            sources.push(Source { path: path.strip_prefix(root()).expect("below the root").to_owned(), text });
        }
    }
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for folder in ["crates", "bin", "tests"] {
        collect(&root().join(folder), &mut sources);
    }
    sources
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn crates_depend_on_lower_layers_only() {
    assert_none(&upward_dependencies(&workspace()));
}

#[test]
fn heavy_dependencies_enter_through_one_crate_each() {
    assert_none(&side_doors(&workspace()));
}

#[test]
fn files_stay_short() {
    assert_none(&long_files(&sources()));
}

#[test]
fn files_are_named_after_what_they_hold() {
    assert_none(&vague_names(&sources()));
}

fn package(name: &str, dependencies: &[&str]) -> Crate {
    Crate { name: name.into(), dependencies: dependencies.iter().map(|&name| name.into()).collect() }
}

fn source(path: &str, lines: usize, tests: usize) -> Source {
    let text = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(lines), "x\n".repeat(tests));
    Source { path: path.into(), text }
}

#[test]
fn a_dependency_on_a_sibling_or_a_higher_layer_is_found() {
    let broken = [
        package("onrush-router", &["onrush-worker", "onrush-types", "serde"]),
        package("onrush-types", &["onrush-catalog"]),
        package("onrush-surprise", &[]),
    ];
    let complaints = upward_dependencies(&broken);
    assert_eq!(complaints.len(), 3, "{complaints:?}");
    let sound = [package("onrush-node", &["onrush-router", "onrush-worker"]), package("onrush-node", &["onrush-node"])];
    assert_none(&upward_dependencies(&sound));
}

#[test]
fn a_second_door_or_a_missing_one_is_found() {
    let mut crates = vec![
        package("onrush-consensus", &["openraft", "rocksdb"]),
        package("onrush-cluster", &["chitchat"]),
        package("onrush-runtime", &["wasmtime", "wasmtime-wasi"]),
    ];
    assert_none(&side_doors(&crates));
    crates.push(package("onrush-api", &["wasmtime-wasi-http"]));
    assert_eq!(side_doors(&crates).len(), 1);
    crates.remove(1);
    assert_eq!(side_doors(&crates).len(), 2);
}

#[test]
fn a_long_file_is_found_and_its_tests_do_not_count() {
    let long = [source("crates/a/src/a.rs", 501, 0), source("crates/a/src/lib.rs", 81, 0)];
    assert_eq!(long_files(&long).len(), 2);
    let sound = [
        source("crates/a/src/a.rs", 500, 900),
        source("crates/a/src/lib.rs", 80, 900),
        source("crates/a/src/a/tests.rs", 900, 0),
        source("tests/tests/failover.rs", 900, 0),
    ];
    assert_none(&long_files(&sound));
}

#[test]
fn a_module_of_tests_that_is_only_named_does_not_hide_what_follows() {
    assert_eq!(production_lines("a\n#[cfg(test)]\nmod tests;\nb\n"), 4);
    assert_eq!(production_lines("a\n#[cfg(test)]\nmod tests {\nb\n}\n"), 1);
}

#[test]
fn a_vague_name_is_found() {
    let vague = [source("crates/a/src/utils.rs", 1, 0), source("crates/a/src/b/mod.rs", 1, 0)];
    assert_eq!(vague_names(&vague).len(), 2);
    assert_none(&vague_names(&[source("crates/a/src/admission.rs", 1, 0)]));
}
