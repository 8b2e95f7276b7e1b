//! `list`, `describe`, `remove`.

use onrush_api::shapes::{FunctionShape, VersionShape};
use onrush_proto::v1::{DescribeRequest, ListRequest, RemoveReply, RemoveRequest};
use serde_json::json;

use super::Caller;
use crate::{
    args::{Describe, Format, Remove},
    client::function,
    failure::Failure,
    output,
};

pub(super) async fn list(caller: &Caller, fresh: bool) -> Result<(), Failure> {
    let client = caller.connect().await?;
    let namespace = caller.namespace.clone().unwrap_or_default();
    let request = ListRequest { namespace, fresh };
    let functions = client.functions().list(request).await?.into_inner().functions;
    let functions: Vec<FunctionShape> = functions.into_iter().map(Into::into).collect();
    match caller.format {
        Format::Json => output::json(&functions),
        Format::Table if functions.is_empty() => {
            let place = caller.namespace.as_ref().map(|name| format!(" in namespace {name}")).unwrap_or_default();
            eprintln!("no functions{place} yet; `onrush deploy NAME --wasm FILE` adds one");
            Ok(())
        }
        Format::Table => {
            let head = ["NAME", "NAMESPACE", "VERSION", "RUNTIME", "SIZE", "DIGEST", "AGE"];
            output::line(output::table(head, functions.into_iter().map(row)))
        }
    }
}

fn row(function: FunctionShape) -> [String; 7] {
    let FunctionShape { name, namespace, latest, .. } = function;
    let [version, runtime, size, digest, age] = version_row(latest);
    [name, namespace, version, runtime, size, digest, age]
}

fn version_row(version: VersionShape) -> [String; 5] {
    let digest = version.digest.get(..12).unwrap_or(&version.digest).to_owned();
    [version.version.to_string(), version.runtime, output::bytes(version.size), digest, output::age(version.created_ms)]
}

pub(super) async fn describe(caller: &Caller, verb: &Describe) -> Result<(), Failure> {
    let name = function(&verb.name, caller.namespace.as_deref())?;
    let client = caller.connect().await?;
    let request =
        DescribeRequest { namespace: name.namespace.to_string(), name: name.name.to_string(), fresh: verb.fresh };
    let function = FunctionShape::from(client.functions().describe(request).await?.into_inner());
    if caller.format == Format::Json {
        return output::json(&function);
    }
    for (what, value) in summary(&function) {
        output::line(format_args!("{what:<14}{value}"))?;
    }
    let versions = function.versions.into_iter().rev().map(version_row);
    output::line("")?;
    output::line(output::table(["VERSION", "RUNTIME", "SIZE", "DIGEST", "AGE"], versions))
}

fn summary(function: &FunctionShape) -> Vec<(&'static str, String)> {
    let latest = &function.latest;
    let mut lines = vec![
        ("name", function.name.clone()),
        ("namespace", function.namespace.clone()),
        ("version", latest.version.to_string()),
        ("runtime", latest.runtime.clone()),
        ("digest", latest.digest.clone()),
        ("timeout", latest.timeout.clone()),
        ("memory", latest.memory.clone()),
        ("concurrency", latest.concurrency.map_or_else(|| "no cap".to_owned(), |calls| calls.to_string())),
        ("reuse", latest.reuse.to_string()),
        ("streaming", latest.streaming.to_string()),
        ("idempotent", latest.idempotent.to_string()),
    ];
    lines.extend(latest.environment.iter().map(|(key, value)| ("environment", format!("{key}={value}"))));
    lines.extend(latest.egress.iter().map(|host| ("egress", host.clone())));
    lines
}

pub(super) async fn remove(caller: &Caller, verb: &Remove) -> Result<(), Failure> {
    let name = function(&verb.name, caller.namespace.as_deref())?;
    let client = caller.connect().await?;
    let request = RemoveRequest {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        request_id: onrush_types::RequestId::new().to_string(),
        with_routes: verb.with_routes,
    };
    let RemoveReply { revision, routes } = client.functions().remove(request).await?.into_inner();
    match caller.format {
        Format::Json => {
            let answer = json!({
                "name": name.name, "namespace": name.namespace, "revision": revision, "routes": routes,
            });
            output::json(&answer)
        }
        Format::Table => {
            let routes =
                if routes.is_empty() { String::new() } else { format!(" and its routes {}", routes.join(", ")) };
            output::line(format_args!("removed {name} with all its versions{routes} (revision {revision})"))
        }
    }
}

#[cfg(test)]
mod tests {
    use onrush_proto::v1;

    use super::*;

    #[test]
    fn a_row_shows_the_newest_version_and_a_short_digest() {
        let spec =
            v1::FunctionSpec { runtime: "wasm".into(), digest: "ab".repeat(32), size: 2048, ..Default::default() };
        let latest = v1::FunctionVersion { version: 7, spec: Some(spec), ..Default::default() };
        let function =
            v1::Function { name: "f".into(), namespace: "n".into(), latest: Some(latest), ..Default::default() };
        let row = row(function.into());
        assert_eq!(&row[..4], ["f", "n", "7", "wasm"]);
        assert_eq!(row[5], "abababababab");
    }
}
