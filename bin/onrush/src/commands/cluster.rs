//! `cluster status|set` and `node ...`.

use onrush_api::shapes::{NodeShape, StatusShape};
use onrush_proto::v1::{ChangeReply, CordonRequest, DrainRequest, RemoveNodeRequest, SetVotersRequest};
use onrush_types::RequestId;
use serde_json::json;

use super::Caller;
use crate::{
    args::{ClusterVerb, Format, NodeVerb, Setting, Undoable},
    failure::Failure,
    output,
};

pub(super) async fn cluster(caller: &Caller, verb: ClusterVerb) -> Result<(), Failure> {
    match verb {
        ClusterVerb::Status(_) => status(caller).await,
        ClusterVerb::Set(set) => {
            let Setting::Voters(wanted) = set.setting;
            let request = SetVotersRequest { wanted, request_id: RequestId::new().to_string() };
            let reply = caller.connect().await?.cluster().set_voters(request).await?.into_inner();
            match caller.format {
                Format::Json => output::json(&json!({ "voters": wanted, "revision": reply.revision })),
                Format::Table => {
                    let nodes = if wanted == 1 { "node" } else { "nodes" };
                    output::line(format_args!("{wanted} {nodes} shall vote (revision {})", reply.revision))
                }
            }
        }
    }
}

async fn status(caller: &Caller) -> Result<(), Failure> {
    let status = StatusShape::from(caller.connect().await?.status().await?);
    if caller.format == Format::Json {
        return output::json(&status);
    }
    let leader = status.nodes.iter().find(|node| Some(node.id) == status.leader);
    let leader = leader.map_or_else(|| "unknown".to_owned(), |node| node.name.clone());
    let quorum = if status.quorum { "yes" } else { "no: deploys stop, calls go on" };
    for (what, value) in [
        ("cluster", status.cluster.as_deref().unwrap_or("not formed yet").to_owned()),
        ("leader", leader),
        ("quorum", quorum.to_owned()),
        ("voters", status.voters.to_string()),
        ("revision", status.revision.to_string()),
    ] {
        output::line(format_args!("{what:<10}{value}"))?;
    }
    output::line("")?;
    output::line(nodes(status.nodes))
}

fn nodes(nodes: Vec<NodeShape>) -> String {
    let head = ["ID", "NAME", "STATE", "VOTER", "LEADER", "GATEWAY", "API", "PEER", "ROLES"];
    output::table(head, nodes.into_iter().map(row))
}

fn row(node: NodeShape) -> [String; 9] {
    let state = state(&node).to_owned();
    [
        node.id.to_string(),
        node.name,
        state,
        output::mark(node.voter),
        output::mark(node.leader),
        node.gateway.unwrap_or_default(),
        node.api.unwrap_or_default(),
        node.peer,
        node.roles.join(","),
    ]
}

/// One word for what matters most.
const fn state(node: &NodeShape) -> &'static str {
    match (node.alive, node.ready, node.cordoned, node.draining) {
        (false, ..) => "dead",
        (true, _, true, _) => "cordoned",
        (true, _, false, true) => "draining",
        (true, false, false, false) => "starting",
        (true, true, false, false) => "ready",
    }
}

pub(super) async fn node(caller: &Caller, verb: NodeVerb) -> Result<(), Failure> {
    let verb = match verb {
        NodeVerb::Drain(wish) if wish.undo => NodeVerb::Undrain(wish.name),
        NodeVerb::Cordon(wish) if wish.undo => NodeVerb::Uncordon(wish.name),
        other => other,
    };
    let client = caller.connect().await?;
    let request_id = RequestId::new().to_string();
    let mut cluster = client.cluster();
    let (node, reply, done) = match verb {
        NodeVerb::List(_) => {
            let shapes: Vec<NodeShape> = client.status().await?.nodes.into_iter().map(Into::into).collect();
            return match caller.format {
                Format::Json => output::json(&shapes),
                Format::Table => output::line(nodes(shapes)),
            };
        }
        NodeVerb::Drain(Undoable { name, .. }) => {
            let request = DrainRequest { node: name.node.clone(), undo: false };
            (name.node, cluster.drain(request).await?, "takes nothing new and finishes what it has")
        }
        NodeVerb::Undrain(name) => {
            let request = DrainRequest { node: name.node.clone(), undo: true };
            (name.node, cluster.drain(request).await?, "serves again")
        }
        NodeVerb::Cordon(Undoable { name, .. }) => {
            let request = CordonRequest { node: name.node.clone(), undo: false, request_id };
            (name.node, cluster.cordon(request).await?, "is not used until it is uncordoned")
        }
        NodeVerb::Uncordon(name) => {
            let request = CordonRequest { node: name.node.clone(), undo: true, request_id };
            (name.node, cluster.cordon(request).await?, "may be used again")
        }
        NodeVerb::Remove(name) => {
            let request = RemoveNodeRequest { node: name.node.clone(), request_id };
            (name.node, cluster.remove_node(request).await?, "is out of the cluster for good")
        }
    };
    let ChangeReply { revision } = reply.into_inner();
    match caller.format {
        Format::Json => output::json(&json!({ "node": node, "revision": revision })),
        Format::Table => output::line(format_args!("{node} {done}")),
    }
}

#[cfg(test)]
mod tests {
    use onrush_proto::v1;

    use super::*;

    fn three() -> v1::StatusReply {
        let node = |id, alive, draining| v1::Node {
            id,
            name: format!("node-{id}"),
            gateway: "127.0.0.1:8080".into(),
            peer: "127.0.0.1:7071".into(),
            alive,
            ready: true,
            draining,
            roles: "gateway,worker".into(),
            ..Default::default()
        };
        v1::StatusReply {
            cluster: "c".into(),
            leader: 1,
            nodes: vec![node(1, true, false), node(2, true, true), node(3, false, false)],
            ..Default::default()
        }
    }

    #[test]
    fn the_json_of_status_has_the_fields_that_are_promised() {
        let json = serde_json::to_value(StatusShape::from(three())).unwrap();
        for field in ["cluster", "leader", "revision", "quorum", "nodes"] {
            assert!(json.get(field).is_some(), "{field}");
        }
        for field in ["id", "name", "gateway", "api", "peer", "alive", "voter", "leader", "draining"] {
            assert!(json["nodes"][0].get(field).is_some(), "{field}");
        }
        assert_eq!(json["leader"], 1);
    }

    #[test]
    fn the_table_says_in_one_word_how_a_node_is() {
        let text = nodes(StatusShape::from(three()).nodes);
        let states: Vec<_> = text.lines().skip(1).map(|line| line.split_whitespace().nth(2).unwrap()).collect();
        assert_eq!(states, ["ready", "draining", "dead"]);
    }
}
