//! `build`: runs the manifest's build commands.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use onrush_types::{Code, Label};

use crate::{
    args::{Build, Format},
    failure::Failure,
    manifest::{Function, Manifest},
    output,
};

pub(super) fn run(verb: &Build, format: Format) -> Result<(), Failure> {
    let manifest = Manifest::read(&verb.file)?;
    let chosen = manifest.chosen(verb.name.as_deref())?;
    for (name, function) in &chosen {
        one(&manifest, name, function)?;
    }
    let built = chosen.iter().map(
        |(name, function)| serde_json::json!({ "name": name, "source": manifest.directory.join(&function.source) }),
    );
    match format {
        Format::Json => output::json(&built.collect::<Vec<_>>()),
        Format::Table => Ok(()),
    }
}

/// What to do where the likeliest cause of a failure holds: this Rust cannot compile to what the command asks for.
fn missing_target(directory: &Path, command: &str) -> Option<String> {
    let target = ["wasm32-wasip2", "wasm32-wasip1"].into_iter().find(|target| command.contains(target))?;
    let mut rustc = Command::new("rustc");
    // There, because a project may say which Rust it wants.
    rustc.args(["--print", "target-libdir", "--target", target]).current_dir(directory).stdin(Stdio::null());
    let Ok(answer) = rustc.output() else {
        return Some("there is no rustc here; https://rustup.rs installs Rust".to_owned());
    };
    let library = String::from_utf8(answer.stdout).ok()?;
    let there = answer.status.success() && Path::new(library.trim()).is_dir();
    (!there).then(|| format!("this Rust has no target {target}; `rustup target add {target}` installs it"))
}

/// Builds one function. Its output goes to standard error: standard output is for the answer.
pub(super) fn one(manifest: &Manifest, name: &Label, function: &Function) -> Result<(), Failure> {
    let Some(command) = &function.build else {
        eprintln!("{name}: nothing to build; its manifest has no build command");
        return Ok(());
    };
    eprintln!("{name}: {command}");
    let status = Command::new("sh")
        .args(["-c", command])
        .current_dir(&manifest.directory)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .map_err(|error| Failure::here(format!("{name}: cannot run sh: {error}")))?;
    if !status.success() {
        let hint = missing_target(&manifest.directory, command).map(|hint| format!("\n{hint}")).unwrap_or_default();
        let why = format!("{name}: the build command failed ({status}): {command}{hint}");
        return Err(Failure::new(Code::BadRequest, why));
    }
    let source = manifest.directory.join(&function.source);
    if source.is_file() {
        return Ok(());
    }
    let why = format!("{name}: the build command left no {}; is source right?", source.display());
    Err(Failure::bad_request(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_a_wasm_target_is_not_blamed_on_one() {
        assert_eq!(missing_target(Path::new("."), "make"), None);
    }
}
