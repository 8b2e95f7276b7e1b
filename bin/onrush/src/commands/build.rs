//! `build`: runs the manifest's build commands.

use std::process::{Command, Stdio};

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
        let why = format!("{name}: the build command failed ({status}): {command}");
        return Err(Failure::new(Code::BadRequest, why));
    }
    let source = manifest.directory.join(&function.source);
    if source.is_file() {
        return Ok(());
    }
    let why = format!("{name}: the build command left no {}; is source right?", source.display());
    Err(Failure::bad_request(why))
}
