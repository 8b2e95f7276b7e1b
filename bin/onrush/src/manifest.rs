//! `onrush.toml`: what a project's functions are, how they are built, and which routes lead to them.

mod route;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use bytesize::ByteSize;
use onrush_types::{ArtifactRef, FunctionSpec, Label, Limits, RuntimeKind};
use serde::Deserialize;

pub(crate) use self::route::{Route, filter_of};
use crate::failure::Failure;

/// A manifest that was read and checked.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// Where it is; sources and build commands are relative to it.
    pub(crate) directory: PathBuf,
    /// By name.
    pub(crate) functions: BTreeMap<Label, Function>,
    /// In the manifest's order.
    pub(crate) routes: Vec<Route>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    function: BTreeMap<String, Function>,
    #[serde(default)]
    route: Vec<toml::Table>,
}

/// One `[function.NAME]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Function {
    /// What runs it.
    #[serde(default = "wasm")]
    runtime: RuntimeKind,
    /// Its component, relative to the manifest.
    pub(crate) source: PathBuf,
    /// The command that makes it.
    pub(crate) build: Option<String>,
    /// Bounds the whole call, such as `5s`.
    #[serde(default, with = "humantime_serde")]
    timeout: Option<Duration>,
    /// Memory of one instance, such as `128MiB`.
    memory: Option<ByteSize>,
    /// Calls at once in the whole cluster.
    concurrency: Option<u32>,
    /// Calls per instance before it is dropped.
    #[serde(default)]
    reuse: u32,
    /// An idle limit takes the timeout's place after the reply's head.
    #[serde(default)]
    streaming: bool,
    /// Running a call twice is harmless.
    #[serde(default)]
    idempotent: bool,
    /// What it sees in its environment.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// Names of the secrets it gets.
    #[serde(default)]
    secrets: Vec<String>,
    /// Hosts it may call. Kept, but nothing opens them yet.
    #[serde(default)]
    egress: Vec<String>,
}

const fn wasm() -> RuntimeKind {
    RuntimeKind::Wasm
}

impl Function {
    /// The version that it describes, once its code is known.
    pub(crate) fn spec(&self, artifact: ArtifactRef) -> FunctionSpec {
        let defaults = Limits::default();
        FunctionSpec {
            runtime: self.runtime,
            artifact,
            limits: Limits {
                timeout: self.timeout.unwrap_or(defaults.timeout),
                memory: self.memory.map_or(defaults.memory, |memory| memory.as_u64()),
                concurrency: self.concurrency,
                reuse: self.reuse,
                streaming: self.streaming,
            },
            environment: self.environment.clone(),
            secrets: self.secrets.clone(),
            egress: self.egress.clone(),
            idempotent: self.idempotent,
        }
    }
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// No such file, or the place in it that is wrong.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::bad_request(format!(
                "there is no {shown} here. `onrush new NAME` makes a project with one; without a manifest: `onrush \
                 deploy NAME --wasm FILE`"
            )),
            _ => Failure::here(format!("{shown}: {error}")),
        })?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::parse(&text, directory.to_owned()).map_err(|why| Failure::bad_request(format!("{shown}: {why}")))
    }

    pub(crate) fn parse(text: &str, directory: PathBuf) -> Result<Self, String> {
        let document: Document = toml::from_str(text).map_err(|error| error.to_string())?;
        if document.function.is_empty() {
            return Err("it has no function; add a [function.NAME] with its source".to_owned());
        }
        let mut functions = BTreeMap::new();
        for (name, function) in document.function {
            let label: Label = name.parse().map_err(|error| format!("[function.{name}]: {error}"))?;
            function.check().map_err(|why| format!("[function.{name}]: {why}"))?;
            functions.insert(label, function);
        }
        let routes = route::read(document.route, &functions)?;
        Ok(Self { directory, functions, routes })
    }

    /// All functions, or the one of this name.
    pub(crate) fn chosen(&self, name: Option<&str>) -> Result<Vec<(&Label, &Function)>, Failure> {
        let Some(name) = name else { return Ok(self.functions.iter().collect()) };
        let found = self.functions.iter().find(|(label, _)| label.as_str() == name);
        found.map(|one| vec![one]).ok_or_else(|| {
            let known: Vec<_> = self.functions.keys().map(Label::as_str).collect();
            Failure::bad_request(format!("the manifest has no function {name:?}; it has {}", known.join(", ")))
        })
    }
}

impl Function {
    /// What the cluster would refuse, said before anything is built or sent.
    fn check(&self) -> Result<(), String> {
        if self.runtime == RuntimeKind::Process {
            return Err("runtime: \"process\" comes with a later release; this one runs \"wasm\" components".to_owned());
        }
        if !self.secrets.is_empty() {
            return Err("secrets: come with a later release; use environment meanwhile".to_owned());
        }
        let nothing_known = ArtifactRef { digest: onrush_types::Digest([0; 32]), size: 1 };
        let problems: Vec<_> = self.spec(nothing_known).problems().iter().map(ToString::to_string).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Manifest, String> {
        Manifest::parse(text, PathBuf::from("."))
    }

    #[test]
    fn a_full_manifest_becomes_a_spec() {
        let manifest = parse(
            r#"
            [function.thumbnail]
            runtime = "wasm"
            source = "target/wasm32-wasip2/release/thumbnail.wasm"
            build = "cargo build --release --target wasm32-wasip2"
            timeout = "5s"
            memory = "128MiB"
            concurrency = 64
            reuse = 0
            environment = { QUALITY = "80" }
            egress = ["https://images.example.com"]
            idempotent = true
            "#,
        )
        .unwrap();
        let (name, function) = manifest.chosen(Some("thumbnail")).unwrap()[0];
        let spec = function.spec(ArtifactRef { digest: onrush_types::Digest([1; 32]), size: 9 });
        assert_eq!(name.as_str(), "thumbnail");
        assert_eq!(spec.limits.timeout, Duration::from_secs(5));
        assert_eq!((spec.limits.memory, spec.limits.concurrency), (128 << 20, Some(64)));
        assert_eq!(spec.environment["QUALITY"], "80");
        assert!(spec.idempotent && !spec.limits.streaming);
        assert!(manifest.chosen(Some("other")).is_err());
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let manifest = parse("[function.a]\nsource = 'a.wasm'").unwrap();
        let artifact = ArtifactRef { digest: onrush_types::Digest([1; 32]), size: 9 };
        assert_eq!(manifest.chosen(None).unwrap()[0].1.spec(artifact), FunctionSpec::new(RuntimeKind::Wasm, artifact));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, words) in [
            ("[function.a]\nsource = 'a'\nmemroy = '1MiB'", ["memroy", "line 3"]),
            ("[function.a]\nsource = 'a'\ntimeout = 'soon'", ["timeout", "line 3"]),
            ("[function.a]\nsource = 'a'\ntimeout = '1h'", ["function.a", "timeout"]),
            ("[function.a]", ["source", "missing"]),
            ("[function.A_b]\nsource = 'a'", ["A_b", "no name"]),
            ("[function.a]\nsource = 'a'\nruntime = 'process'", ["process", "later release"]),
            ("[function.a]\nsource = 'a'\nruntime = 'jvm'", ["jvm", "line 3"]),
            ("[function.a]\nsource = 'a'\nsecrets = ['x']", ["secrets", "later release"]),
            ("[functions.a]\nsource = 'a'", ["functions", "line 1"]),
            ("", ["no function", "[function.NAME]"]),
        ] {
            let why = parse(text).unwrap_err();
            assert!(words.iter().all(|word| why.contains(word)), "{text:?}: {why}");
        }
    }

    #[test]
    fn no_manifest_says_what_to_do() {
        let Err(Failure::Failed { message, .. }) = Manifest::read(Path::new("/no/onrush.toml")) else { panic!() };
        assert!(message.contains("onrush new"), "{message}");
    }
}
