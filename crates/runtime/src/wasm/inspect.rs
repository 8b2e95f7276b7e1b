//! Looks at an artifact without running it, and says in plain words what it is.

use std::{fs::File, io::Read, path::Path};

use wasmparser::{BinaryReaderError, Encoding, Parser, Payload, Validator};

use super::engine::World;
use crate::{Inspection, PrepareError};

const EXPECTED: &str = "Onrush runs components that export wasi:http/incoming-handler@0.2 or wasi:http/handler@0.3";

/// What a component turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) world: World,
    pub(super) inspection: Inspection,
}

/// Reads a file, up to `most` bytes.
pub(super) fn read(path: &Path, most: u64) -> Result<Vec<u8>, PrepareError> {
    let failed = |error| PrepareError::Failed(format!("cannot read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(unfit(format!("the component is too large: at most {} MiB are taken", most >> 20)));
    }
    Ok(bytes)
}

/// Judges an artifact's bytes.
pub(super) fn inspect(bytes: &[u8]) -> Result<Found, PrepareError> {
    if !bytes.starts_with(b"\0asm") {
        let first = match bytes {
            [] => "it is empty".to_owned(),
            [b'P', b'K', ..] => "it is a zip archive".to_owned(),
            [0x7f, b'E', b'L', b'F', ..] => "it is a program for Linux".to_owned(),
            [b'(', ..] => "it looks like the text form; 'wasm-tools parse' makes the binary one".to_owned(),
            _ => "its first bytes are not those of wasm".to_owned(),
        };
        return Err(unfit(format!("not a wasm file: {first}. {EXPECTED}")));
    }
    let top = top_level(bytes).map_err(|error| broken(&error))?;
    if !top.component {
        return Err(unfit(core_module(&top.exports)));
    }
    Validator::new_with_features(wasmparser::WasmFeatures::all())
        .validate_all(bytes)
        .map_err(|error| broken(&error))?;
    let (world, name) = choose(&top.exports).ok_or_else(|| unfit(no_http(&top.exports)))?;
    let inspection = Inspection { world: name, exports: top.exports };
    Ok(Found { world, inspection })
}

/// By what it exports: 0.3 before 0.2.
fn choose(exports: &[String]) -> Option<(World, String)> {
    let version_of = |interface: &str| {
        exports.iter().find_map(|export| export.strip_prefix(interface)?.strip_prefix('@').map(str::to_owned))
    };
    let is = |version: &String, minor: &str| version.strip_prefix(minor).is_some_and(|rest| !rest.contains('-'));
    if let Some(version) = version_of("wasi:http/handler").filter(|version| is(version, "0.3.")) {
        return Some((World::P3, format!("wasi:http/service@{version}")));
    }
    let version = version_of("wasi:http/incoming-handler").filter(|version| is(version, "0.2."))?;
    Some((World::P2, format!("wasi:http/proxy@{version}")))
}

#[derive(Default)]
struct TopLevel {
    component: bool,
    exports: Vec<String>,
}

/// Exports of the outermost module or component; what is nested inside is skipped.
fn top_level(bytes: &[u8]) -> Result<TopLevel, BinaryReaderError> {
    let mut top = TopLevel::default();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version { encoding, .. } if depth == 0 => top.component = encoding == Encoding::Component,
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ExportSection(exports) if depth == 0 => {
                for export in exports {
                    top.exports.push(export?.name.to_owned());
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                for export in exports {
                    top.exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(top)
}

fn core_module(exports: &[String]) -> String {
    let how = if exports.iter().any(|export| export == "_start") {
        "it is a program for WASI preview 1. Build it for wasm32-wasip2"
    } else {
        "build it for wasm32-wasip2, or wrap it with 'wasm-tools component new'"
    };
    format!("a core module, not a component ({}); {how}. {EXPECTED}", named(exports))
}

fn no_http(exports: &[String]) -> String {
    let command = exports.iter().any(|export| export.starts_with("wasi:cli/run@"));
    let kind = if command { "a command, which Onrush cannot run yet" } else { "a component without an HTTP handler" };
    format!("{kind} ({}). {EXPECTED}", named(exports))
}

fn named(exports: &[String]) -> String {
    if exports.is_empty() {
        return "it exports nothing".to_owned();
    }
    let more = exports.len().saturating_sub(8);
    let names = exports.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("it exports {names} and {more} more") } else { format!("it exports {names}") }
}

fn broken(error: &BinaryReaderError) -> PrepareError {
    let offset = error.offset();
    if error.message().contains("unexpected end") {
        return unfit(format!("the wasm file is truncated: it ends at byte {offset}, in the middle of something"));
    }
    unfit(format!("the wasm file is invalid at byte {offset}: {}", error.message()))
}

pub(super) const fn unfit(text: String) -> PrepareError {
    PrepareError::Unfit(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        match inspect(bytes) {
            Err(PrepareError::Unfit(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    fn component(exports: &str) -> Vec<u8> {
        wat::parse_str(format!("(component (instance $i) {exports})")).unwrap()
    }

    #[test]
    fn what_is_not_wasm_is_called_by_its_name() {
        assert!(refusal(b"").contains("not a wasm file: it is empty"));
        assert!(refusal(b"PK\x03\x04").contains("zip archive"));
        assert!(refusal(b"\x7fELF").contains("program for Linux"));
        assert!(refusal(b"hello").contains("not a wasm file"));
    }

    #[test]
    fn a_core_module_is_told_what_it_lacks() {
        let module = wat::parse_str(r#"(module (func (export "_start")) (memory (export "memory") 1))"#).unwrap();
        let text = refusal(&module);
        assert!(text.contains("core module") && text.contains("_start, memory") && text.contains("wasm32-wasip2"));
    }

    #[test]
    fn a_component_without_http_is_told_what_it_exports() {
        let text = refusal(&component(r#"(export "my:own/thing@1.0.0" (instance $i))"#));
        assert!(text.contains("my:own/thing@1.0.0") && text.contains("incoming-handler"), "{text}");
        let text = refusal(&component(r#"(export "wasi:cli/run@0.2.0" (instance $i))"#));
        assert!(text.contains("a command"), "{text}");
    }

    #[test]
    fn a_truncated_file_is_said_to_be_truncated() {
        let whole = component(r#"(export "wasi:http/incoming-handler@0.2.3" (instance $i))"#);
        assert!(inspect(&whole).is_ok());
        assert!(refusal(&whole[..whole.len() - 3]).contains("truncated"));
        assert!(refusal(&whole[..6]).contains("truncated"));
    }

    #[test]
    fn the_newer_world_wins_and_release_candidates_are_none() {
        let both = r#"(export "wasi:http/incoming-handler@0.2.3" (instance $i))
                      (export "wasi:http/handler@0.3.0" (instance $i))"#;
        let found = inspect(&component(both)).unwrap();
        assert_eq!((found.world, found.inspection.world.as_str()), (World::P3, "wasi:http/service@0.3.0"));
        let candidate = r#"(export "wasi:http/incoming-handler@0.2.0-rc-2023-12-05" (instance $i))"#;
        assert!(refusal(&component(candidate)).contains("without an HTTP handler"));
    }

    #[test]
    fn exports_of_nested_components_do_not_count() {
        let nested = r#"(component $inner (instance $j) (export "wasi:http/handler@0.3.0" (instance $j)))"#;
        assert!(refusal(&component(nested)).contains("exports nothing"));
    }

    #[test]
    fn a_file_over_the_limit_is_too_large() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [0; 100]).unwrap();
        assert!(read(file.path(), 100).is_ok());
        assert!(matches!(read(file.path(), 99), Err(PrepareError::Unfit(text)) if text.contains("too large")));
    }
}
