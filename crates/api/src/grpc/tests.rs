use std::sync::atomic::Ordering;

use onrush_proto::{
    status_code,
    v1::{
        CordonRequest, DeployRequest, DescribeRequest, DescribeRouteRequest, DrainRequest, FunctionSpec, InvokeRequest,
        ListFiltersRequest, ListRequest, ListRoutesRequest, LogsRequest, RemoveRequest, RemoveRouteRequest, Route,
        RouteFilter, SetRouteRequest, StatusRequest, UploadHead, UploadRequest, cluster_client::ClusterClient,
        deploy_event::Event, functions_client::FunctionsClient, invocations_client::InvocationsClient,
        routes_client::RoutesClient, upload_request::Part,
    },
};
use onrush_types::{Code, NodeId};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::{v1, v1alpha};

use crate::testing::{Bench, bench};

/// Serves on loopback and connects to it. The server ends with the test's runtime.
async fn connect(bench: &Bench) -> Channel {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = bench.api.router().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

fn part(part: Part) -> UploadRequest {
    UploadRequest { part: Some(part) }
}

async fn upload(functions: &mut FunctionsClient<Channel>, bytes: &'static [u8]) -> String {
    let head = part(Part::Head(UploadHead { digest: String::new(), size: bytes.len() as u64 }));
    let messages = [head, part(Part::Data(bytes.into()))];
    functions.upload(futures::stream::iter(messages)).await.unwrap().into_inner().digest
}

async fn deploy(functions: &mut FunctionsClient<Channel>, digest: String) -> Result<Vec<Event>, tonic::Status> {
    let spec = Some(FunctionSpec { digest, ..FunctionSpec::default() });
    let request = DeployRequest { name: "hello".to_owned(), spec, ..DeployRequest::default() };
    let mut events = functions.deploy(request).await?.into_inner();
    let mut seen = Vec::new();
    while let Some(event) = events.message().await? {
        seen.extend(event.event);
    }
    Ok(seen)
}

#[tokio::test]
async fn a_function_is_uploaded_deployed_shown_and_removed() {
    let bench = bench();
    let mut functions = FunctionsClient::new(connect(&bench).await);
    let digest = upload(&mut functions, b"component").await;
    let events = deploy(&mut functions, digest.clone()).await.unwrap();
    let (last, steps) = events.split_last().unwrap();
    assert!(steps.iter().all(|event| matches!(event, Event::Step(_))), "the outcome comes last");
    assert_eq!(steps.len(), 5);
    let Event::Done(done) = last else { panic!("no outcome") };
    assert!(done.changed);

    let listed = functions.list(ListRequest::default()).await.unwrap().into_inner().functions;
    let spec = listed[0].latest.as_ref().and_then(|latest| latest.spec.clone()).unwrap();
    assert_eq!((spec.digest, spec.timeout_ms, spec.memory_bytes), (digest, 30_000, 128 << 20));
    let name = || "hello".to_owned();
    let one = DescribeRequest { name: name(), ..DescribeRequest::default() };
    assert_eq!(functions.describe(one.clone()).await.unwrap().into_inner().versions.len(), 1);
    functions.remove(RemoveRequest { name: name(), ..RemoveRequest::default() }).await.unwrap();
    assert_eq!(status_code(&functions.describe(one).await.unwrap_err()), Code::NotFound);
}

#[tokio::test]
async fn refusals_carry_their_code() {
    let bench = bench();
    let mut functions = FunctionsClient::new(connect(&bench).await);
    let digest = upload(&mut functions, b"component").await;
    bench.runtime.refuse();
    assert_eq!(status_code(&deploy(&mut functions, digest).await.unwrap_err()), Code::BadRequest);
    let wrong = part(Part::Head(UploadHead { digest: "00".repeat(32), size: 1 }));
    let messages = [wrong, part(Part::Data(b"x".as_slice().into()))];
    let refused = functions.upload(futures::stream::iter(messages)).await.unwrap_err();
    assert_eq!(status_code(&refused), Code::BadRequest);
    let request = ListRequest { namespace: "No_Name".to_owned(), ..ListRequest::default() };
    assert_eq!(status_code(&functions.list(request).await.unwrap_err()), Code::BadRequest);
}

#[tokio::test]
async fn nodes_are_found_by_name_and_by_id() {
    let bench = bench();
    let mut cluster = ClusterClient::new(connect(&bench).await);
    cluster.drain(DrainRequest { node: "node-1".to_owned(), undo: false }).await.unwrap();
    cluster.drain(DrainRequest { node: "1".to_owned(), undo: true }).await.unwrap();
    assert_eq!(*bench.control.draining.lock().unwrap(), [(NodeId(1), true), (NodeId(1), false)]);
    let cordon = |node: &str| CordonRequest { node: node.to_owned(), ..CordonRequest::default() };
    cluster.cordon(cordon("1")).await.unwrap();
    let status = cluster.status(StatusRequest {}).await.unwrap().into_inner();
    assert!(status.nodes[0].cordoned);
    let refused = cluster.cordon(cordon("node-7")).await.unwrap_err();
    assert_eq!(status_code(&refused), Code::NotFound);
    assert!(refused.message().contains("node-1"), "{}", refused.message());
}

#[tokio::test]
async fn a_call_echoes_through_the_api() {
    let bench = bench();
    let channel = connect(&bench).await;
    let mut functions = FunctionsClient::new(channel.clone());
    let digest = upload(&mut functions, b"component").await;
    deploy(&mut functions, digest).await.unwrap();
    let mut invocations = InvocationsClient::new(channel);
    let request = InvokeRequest {
        function: "hello@1".to_owned(),
        path: "/a?b=c".to_owned(),
        body: b"ping".as_slice().into(),
        ..InvokeRequest::default()
    };
    let reply = invocations.invoke(request).await.unwrap().into_inner();
    assert_eq!((reply.status, &reply.body[..], reply.node.as_str()), (200, &b"ping"[..], "fake"));
    let seen = bench.invoke.seen().await;
    assert_eq!(seen[0].2, http::Method::POST, "a body makes it a POST");
    assert_eq!(seen[0].3.to_string(), "http://hello.default/a?b=c");
    let unknown = InvokeRequest { function: "nobody".to_owned(), ..InvokeRequest::default() };
    assert_eq!(status_code(&invocations.invoke(unknown).await.unwrap_err()), Code::NotFound);
}

#[tokio::test]
async fn a_node_without_its_lines_says_so_and_the_others_still_come() {
    let bench = bench();
    let mut functions = FunctionsClient::new(connect(&bench).await);
    let digest = upload(&mut functions, b"component").await;
    deploy(&mut functions, digest).await.unwrap();
    let request = LogsRequest { name: "hello".to_owned(), ..LogsRequest::default() };
    let mut lines = functions.logs(request).await.unwrap().into_inner();
    assert_eq!(lines.message().await.unwrap().unwrap().text, "tail 100");
    let lost = lines.message().await.unwrap().unwrap();
    assert_eq!((lost.stream.as_str(), lost.text.as_str()), ("platform", "node-2 does not answer"));
    assert!(lines.message().await.unwrap().is_none());
}

#[tokio::test]
async fn routes_are_set_listed_and_removed() {
    let bench = bench();
    let channel = connect(&bench).await;
    let mut functions = FunctionsClient::new(channel.clone());
    let digest = upload(&mut functions, b"component").await;
    deploy(&mut functions, digest).await.unwrap();
    let mut routes = RoutesClient::new(channel);
    let route = Route {
        name: "thumb".to_owned(),
        host: "*.example.com".to_owned(),
        path: "/{*rest}".to_owned(),
        function: "hello".to_owned(),
        qualifier: "1".to_owned(),
        ..Route::default()
    };
    let set = |route: Route| SetRouteRequest { route: Some(route), ..SetRouteRequest::default() };
    let reply = routes.set(set(route.clone())).await.unwrap().into_inner();
    assert!(reply.changed);
    let shown = Route { namespace: "default".to_owned(), revision: reply.revision, ..route.clone() };
    assert_eq!(reply.route.as_ref(), Some(&shown));
    assert_eq!(
        routes.list(ListRoutesRequest::default()).await.unwrap().into_inner().routes,
        std::slice::from_ref(&shown)
    );
    let name = || "thumb".to_owned();
    let one = DescribeRouteRequest { name: name(), ..DescribeRouteRequest::default() };
    assert_eq!(routes.describe(one.clone()).await.unwrap().into_inner(), shown);

    let filter = RouteFilter { r#use: "no-such-filter".to_owned(), parameters: String::new() };
    let refused = routes.set(set(Route { filters: vec![filter.clone()], ..route.clone() })).await.unwrap_err();
    assert_eq!(status_code(&refused), Code::BadRequest);
    assert!(refused.message().contains("route \"thumb\": filters[0].use: "), "{}", refused.message());
    let filter = RouteFilter { parameters: "[]".to_owned(), ..filter };
    let refused = routes.set(set(Route { filters: vec![filter], ..route })).await.unwrap_err();
    assert!(refused.message().contains("filters[0].parameters"), "{}", refused.message());
    let refused = routes.set(SetRouteRequest::default()).await.unwrap_err();
    assert!(refused.message().contains("route: missing"), "{}", refused.message());

    routes.remove(RemoveRouteRequest { name: name(), ..RemoveRouteRequest::default() }).await.unwrap();
    assert_eq!(status_code(&routes.describe(one).await.unwrap_err()), Code::NotFound);
    let filters = routes.list_filters(ListFiltersRequest {}).await.unwrap().into_inner().filters;
    assert_eq!(filters.len(), onrush_filters::documentation().len());
}

#[tokio::test]
async fn health_follows_readiness() {
    let bench = bench();
    let mut health = HealthClient::new(connect(&bench).await);
    let ask = |service: &str| HealthCheckRequest { service: service.to_owned() };
    assert_eq!(health.check(ask("")).await.unwrap().into_inner().status, 1);
    assert_eq!(health.check(ask("onrush.v1.Functions")).await.unwrap().into_inner().status, 1);
    bench.ready.store(false, Ordering::SeqCst);
    assert_eq!(health.check(ask("")).await.unwrap().into_inner().status, 2);
    assert_eq!(health.check(ask("nobody")).await.unwrap_err().code(), tonic::Code::NotFound);
    let mut watch = health.watch(ask("")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 2);
}

const SERVICES: [&str; 5] =
    ["grpc.health.v1.Health", "onrush.v1.Cluster", "onrush.v1.Functions", "onrush.v1.Invocations", "onrush.v1.Routes"];

#[tokio::test]
async fn reflection_lists_the_services_in_both_versions() {
    let bench = bench();
    let channel = connect(&bench).await;

    let list = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let answers = client.server_reflection_info(futures::stream::iter([request])).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else { panic!() };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert!(SERVICES.iter().all(|service| names.iter().any(|name| name == service)), "{names:?}");

    let list = v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let answers = client.server_reflection_info(futures::stream::iter([request])).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap().message_response.unwrap();
    let v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else { panic!() };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert!(SERVICES.iter().all(|service| names.iter().any(|name| name == service)), "{names:?}");
}
