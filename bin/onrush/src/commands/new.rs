//! `new`: writes a function's project from a template that is part of this program.

use std::{fs, path::Path};

use onrush_types::Label;

use crate::{
    args::{Format, New},
    failure::Failure,
    output,
};

/// A kind of project: where each file goes, and what is in it; `{{name}}` and `{{crate}}` are replaced.
struct Template {
    name: &'static str,
    /// The rustup targets that it takes.
    targets: &'static str,
    files: &'static [(&'static str, &'static str)],
}

/// The files of a template's folder.
macro_rules! files {
    ($folder:literal: $($file:literal),*) => {
        &[$(($file, include_str!(concat!("../../../../examples/templates/", $folder, "/", $file)))),*]
    };
}

const TEMPLATES: [Template; 2] = [
    Template {
        name: "rust",
        targets: "wasm32-wasip2",
        files: files!("rust": "Cargo.toml", "src/lib.rs", "onrush.toml", "README.md", ".gitignore"),
    },
    Template {
        name: "rust-lean",
        targets: "wasm32-unknown-unknown wasm32-wasip2",
        files: files!(
            "rust-lean": "Cargo.toml", ".cargo/config.toml", "src/lib.rs", "src/arena.rs", "onrush.toml", "README.md", ".gitignore"
        ),
    },
];

pub(super) fn run(verb: &New, format: Format) -> Result<(), Failure> {
    let name: Label = verb.name.parse().map_err(|error| Failure::Usage(format!("{error}")))?;
    let Some(template) = TEMPLATES.iter().find(|template| template.name == verb.template) else {
        let known = TEMPLATES.map(|template| template.name).join(", ");
        return Err(Failure::Usage(format!("there is no template {:?}; there are: {known}", verb.template)));
    };
    write(Path::new(name.as_str()), &name, template)?;
    match format {
        Format::Json => output::json(&serde_json::json!({ "name": name, "directory": name })),
        Format::Table => output::line(format_args!(
            "wrote {name}/\n\nnext:\n  rustup target add {}      once\n  cd {name}\n  onrush up                            builds \
             and deploys it\n  onrush invoke {name}",
            template.targets
        )),
    }
}

fn write(directory: &Path, name: &Label, template: &Template) -> Result<(), Failure> {
    let failed = |path: &Path, error: std::io::Error| Failure::here(format!("{}: {error}", path.display()));
    fs::create_dir(directory).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::bad_request(format!("{} is there already; nothing was written", directory.display()))
        }
        _ => failed(directory, error),
    })?;
    for (file, text) in template.files {
        let path = directory.join(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        }
        fs::write(&path, fill(file, text, name)).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

fn fill(file: &str, text: &str, name: &Label) -> String {
    // Cargo's package names may not start with a digit, our names may.
    let package = if name.as_str().starts_with(|first: char| first.is_ascii_digit()) {
        format!("function-{name}")
    } else {
        name.to_string()
    };
    let called = if file == "Cargo.toml" { &package } else { name.as_str() };
    text.replace("{{name}}", called).replace("{{crate}}", &package.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    /// Both are complete projects that one may copy, so each has the allocator whole.
    #[test]
    fn the_lean_example_has_the_templates_allocator() {
        let lean = TEMPLATES.iter().find(|template| template.name == "rust-lean").unwrap();
        let (_, arena) = lean.files.iter().find(|(file, _)| *file == "src/arena.rs").unwrap();
        assert_eq!(*arena, include_str!("../../../../examples/hello-lean/src/arena.rs"));
    }

    #[test]
    fn a_new_project_has_a_manifest_that_reads_and_nothing_left_to_fill_in() {
        for template in &TEMPLATES {
            let home = tempfile::tempdir().unwrap();
            let directory = home.path().join("2-fast");
            write(&directory, &"2-fast".parse().unwrap(), template).unwrap();
            for (file, _) in template.files {
                let text = fs::read_to_string(directory.join(file)).unwrap();
                assert!(!text.contains("{{"), "{file}: {text}");
            }
            let manifest = Manifest::read(&directory.join("onrush.toml")).unwrap();
            let (_, function) = manifest.chosen(Some("2-fast")).unwrap()[0];
            assert!(function.source.ends_with("function_2_fast.wasm"), "{:?}", function.source);
            let package = fs::read_to_string(directory.join("Cargo.toml")).unwrap();
            assert!(package.contains("name = \"function-2-fast\""), "{package}");
            let again = write(&directory, &"2-fast".parse().unwrap(), template);
            assert!(again.is_err(), "wrote over what was there");
        }
    }
}
