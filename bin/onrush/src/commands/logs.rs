//! `logs`.

use onrush_api::shapes::LogShape;
use onrush_proto::v1::LogsRequest;

use super::Caller;
use crate::{
    args::{Format, Logs},
    client::function,
    failure::Failure,
    output,
};

pub(super) async fn run(caller: &Caller, verb: &Logs) -> Result<(), Failure> {
    let name = function(&verb.name, caller.namespace.as_deref())?;
    let client = caller.connect().await?;
    let request = LogsRequest {
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        tail: verb.tail,
        follow: verb.follow,
    };
    let mut seen = false;
    let mut lines = client.functions().logs(request).await?.into_inner();
    while let Some(line) = lines.message().await? {
        seen = true;
        let line = LogShape::from(line);
        match caller.format {
            Format::Json => output::json_line(&line)?,
            Format::Table => output::line(shown(&line))?,
        }
    }
    if !seen && caller.format == Format::Table {
        eprintln!("{name} has written nothing that is still kept; what a function prints is its log");
    }
    Ok(())
}

fn shown(line: &LogShape) -> String {
    let LogShape { at_ms, node, version, stream, text, .. } = line;
    let node = if node.is_empty() { "-" } else { node };
    format!("{} {node} v{version} {stream}: {}", output::moment(*at_ms), plain(text))
}

/// What a function writes must not steer the terminal of whoever reads it.
fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() && char != '\t' { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_where_and_what_and_no_escape_sequence_gets_through() {
        let line = LogShape {
            at_ms: 1_500,
            node: "node-1".into(),
            version: 2,
            invocation: None,
            stream: "stdout".into(),
            text: "a\x1b[2Jb".into(),
        };
        assert_eq!(shown(&line), "1970-01-01T00:00:01.500Z node-1 v2 stdout: a\u{fffd}[2Jb");
    }
}
