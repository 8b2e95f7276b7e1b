//! `/openapi.json`, made from the same table as the router.

use serde_json::{Map, Value, json};

use crate::rest::endpoint::{Endpoint, Input, Output, Row};

/// The document.
pub(crate) fn document() -> Value {
    let mut paths = Map::new();
    for row in Endpoint::ALL.map(Endpoint::row) {
        let path = paths.entry(row.path).or_insert_with(|| json!({}));
        path[row.method.to_ascii_lowercase()] = operation(&row);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Onrush",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Registers functions and routes and looks after the cluster. The same over gRPC as onrush.v1.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": schemas() },
    })
}

fn operation(row: &Row) -> Value {
    let mut operation = json!({
        "summary": row.summary,
        "operationId": operation_id(row),
        "responses": responses(row),
    });
    let parameters = parameters(row);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    match row.input {
        Input::Nothing => {}
        Input::Json(schema) => {
            operation["requestBody"] = json!({ "required": true, "content": json_of(&reference(schema)) });
        }
        Input::Bytes => {
            operation["requestBody"] = json!({ "content": { "application/octet-stream": { "schema": {} } } });
        }
    }
    operation
}

/// `put_v1_cluster_voters`: unique, because method and path are.
fn operation_id(row: &Row) -> String {
    let words = row.path.split(['/', '{', '}', '.']).filter(|word| !word.is_empty());
    std::iter::once(row.method.to_ascii_lowercase()).chain(words.map(str::to_owned)).collect::<Vec<_>>().join("_")
}

fn parameters(row: &Row) -> Vec<Value> {
    let in_path = row.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path =
        in_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": path_schema(name) }));
    let in_query =
        row.query.iter().map(|(name, kind)| json!({ "name": name, "in": "query", "schema": { "type": kind } }));
    in_path.chain(in_query).collect()
}

fn path_schema(name: &str) -> Value {
    match name {
        "digest" => json!({ "type": "string", "pattern": "^(sha256:)?[0-9a-fA-F]{64}$" }),
        "node" => json!({ "type": "string" }),
        _ => json!({ "type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$" }),
    }
}

fn responses(row: &Row) -> Value {
    let content = match row.output {
        Output::Json(schema) => json_of(&reference(schema)),
        Output::Array(schema) => json_of(&json!({ "type": "array", "items": reference(schema) })),
        Output::Lines(schema) => json!({ "application/x-ndjson": { "schema": reference(schema) } }),
        Output::Text => json!({ "text/plain": { "schema": { "type": "string" } } }),
        Output::Anything => json!({ "*/*": { "schema": {} } }),
    };
    let mut responses = Map::new();
    responses.insert("200".to_owned(), json!({ "description": "Done", "content": content }));
    for status in row.refusals {
        let why = json!({ "description": "Refused or failed", "content": json_of(&reference("Error")) });
        responses.insert(status.to_string(), why);
    }
    Value::Object(responses)
}

fn json_of(schema: &Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

fn closed(required: &[&str], properties: Value) -> Value {
    let mut schema = object(required, properties);
    schema["additionalProperties"] = false.into();
    schema
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn number() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn flag() -> Value {
    json!({ "type": "boolean" })
}

fn nullable(kind: &str) -> Value {
    json!({ "type": [kind, "null"] })
}

fn spec() -> Value {
    json!({
        "runtime": text(), "digest": text(), "size": number(), "timeout": text(), "memory": text(),
        "concurrency": nullable("integer"), "reuse": number(), "streaming": flag(), "idempotent": flag(),
        "environment": { "type": "object", "additionalProperties": text() },
        "secrets": { "type": "array", "items": text() },
        "egress": { "type": "array", "items": text() },
    })
}

fn route() -> Value {
    json!({
        "host": nullable("string"), "path": text(), "methods": { "type": "array", "items": text() },
        "function": text(), "qualifier": text(), "filters": { "type": "array", "items": reference("FilterUse") },
    })
}

fn route_schemas() -> Value {
    let names = ["name", "namespace", "path", "methods", "function", "qualifier", "filters", "revision"];
    let shown = with(&route(), &json!({ "name": text(), "namespace": text(), "revision": number() }));
    let asked = json!({ "expected_revision": nullable("integer"), "request_id": text() });
    let mut used = object(&["use"], json!({ "use": text() }));
    used["additionalProperties"] = true.into();
    let parameter = json!({
        "name": text(), "form": text(), "default": nullable("string"), "meaning": text(),
    });
    json!({
        "FilterUse": used,
        "SetRoute": closed(&["path", "function"], with(&route(), &asked)),
        "Route": object(&names, shown.clone()),
        "RouteSet": object(&names, with(&shown, &json!({ "catalog_revision": number(), "changed": flag() }))),
        "Filter": object(
            &["name", "summary", "parameters", "example"],
            json!({
                "name": text(), "summary": text(), "example": text(),
                "parameters": {
                    "type": "array", "items": object(&["name", "form", "default", "meaning"], parameter),
                },
            }),
        ),
    })
}

fn with(base: &Value, more: &Value) -> Value {
    let mut merged = base.as_object().cloned().unwrap_or_default();
    merged.extend(more.as_object().cloned().unwrap_or_default());
    Value::Object(merged)
}

fn schemas() -> Value {
    let version = with(&spec(), &json!({ "version": number(), "revision": number(), "created_ms": number() }));
    let function = with(
        &version,
        &json!({
            "name": text(), "namespace": text(), "changed_revision": number(),
            "versions": { "type": "array", "items": reference("Version") },
        }),
    );
    let deployed = with(
        &function,
        &json!({ "catalog_revision": number(), "changed": flag(), "laggards": { "type": "array", "items": text() } }),
    );
    let memory = json!({ "memory": { "type": ["string", "integer"] } });
    let asked = json!({ "expected_revision": nullable("integer"), "request_id": text() });
    let names = ["name", "namespace", "version", "runtime", "digest"];
    let functions = json!({
        "Any": {},
        "Error": object(&["code", "message"], json!({ "code": text(), "message": text() })),
        "Removed": object(
            &["revision", "routes"],
            json!({ "revision": number(), "routes": { "type": "array", "items": text() } }),
        ),
        "Change": object(&["revision"], json!({ "revision": number() })),
        "Artifact": object(&["digest", "size"], json!({ "digest": text(), "size": number() })),
        "SetVoters": closed(
            &["wanted"],
            json!({ "wanted": { "type": "integer", "enum": [1, 3, 5, 7] }, "request_id": text() }),
        ),
        "Deploy": closed(&["digest"], with(&with(&spec(), &memory), &asked)),
        "Deployed": object(&names, deployed),
        "Version": object(&["version", "runtime", "digest"], version),
        "Function": object(&names, function),
        "LogLine": object(
            &["at_ms", "node", "stream", "text"],
            json!({
                "at_ms": number(), "node": text(), "version": number(), "invocation": nullable("string"),
                "stream": text(), "text": text(),
            }),
        ),
        "Cluster": object(&["cluster", "leader", "revision", "quorum", "nodes"], cluster()),
        "Node": object(&["id", "name", "peer", "alive", "voter", "leader", "draining"], node()),
    });
    with(&functions, &route_schemas())
}

fn cluster() -> Value {
    json!({
        "cluster": nullable("string"), "leader": nullable("integer"), "revision": number(), "quorum": flag(),
        "voters": number(), "answered_by": number(), "nodes": { "type": "array", "items": reference("Node") },
    })
}

fn node() -> Value {
    json!({
        "id": number(), "name": text(), "gateway": nullable("string"), "api": nullable("string"), "peer": text(),
        "alive": flag(), "ready": flag(), "voter": flag(), "leader": flag(), "draining": flag(), "cordoned": flag(),
        "roles": { "type": "array", "items": text() }, "zone": nullable("string"), "version": text(),
    })
}
