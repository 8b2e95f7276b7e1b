//! The connection to a node's API.

use std::time::Duration;

use onrush_proto::v1::{
    StatusReply, StatusRequest, cluster_client::ClusterClient, functions_client::FunctionsClient,
    routes_client::RoutesClient,
};
use onrush_types::{Code, DEFAULT_NAMESPACE, FunctionName, FunctionRef, Label, Qualifier, RouteName};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::{args::Cli, failure::Failure};

/// How long a node may take to answer the telephone.
const CONNECT: Duration = Duration::from_secs(5);

/// A catalog of ten thousand functions fits in one answer.
const LARGEST_ANSWER: usize = 64 << 20;

type Secured = InterceptedService<Channel, Token>;

/// A connection, and what the caller said about it.
#[derive(Clone)]
pub(crate) struct Client {
    channel: Channel,
    token: Token,
}

/// Adds the caller's token to each request.
#[derive(Clone, Default)]
pub(crate) struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// What to talk to, read from the arguments.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    api: String,
    token: Option<String>,
}

impl Address {
    /// As the arguments say.
    pub(crate) fn of(cli: &Cli) -> Self {
        Self { api: cli.api(), token: cli.global.token.clone() }
    }

    /// Connects.
    ///
    /// # Errors
    /// A wrong URL, or nobody there.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let api = with_scheme(&self.api)?;
        let token = self.token.as_ref().map(|token| format!("Bearer {token}").parse()).transpose();
        let token = token.map_err(|_| Failure::Usage("--token: has characters that no token has".to_owned()))?;
        let endpoint = Endpoint::from_shared(api.clone());
        let endpoint = endpoint.map_err(|error| Failure::Usage(format!("--api: {api:?} is no URL: {error}")))?;
        let channel = endpoint.connect_timeout(CONNECT).tcp_nodelay(true).connect().await;
        let channel = channel.map_err(|error| nobody_there(&api, &error))?;
        Ok(Client { channel, token: Token(token) })
    }
}

impl Client {
    /// `onrush.v1.Functions`.
    pub(crate) fn functions(&self) -> FunctionsClient<Secured> {
        FunctionsClient::with_interceptor(self.channel.clone(), self.token.clone())
            .max_decoding_message_size(LARGEST_ANSWER)
    }

    /// `onrush.v1.Routes`.
    pub(crate) fn routes(&self) -> RoutesClient<Secured> {
        RoutesClient::with_interceptor(self.channel.clone(), self.token.clone())
            .max_decoding_message_size(LARGEST_ANSWER)
    }

    /// `onrush.v1.Cluster`.
    pub(crate) fn cluster(&self) -> ClusterClient<Secured> {
        ClusterClient::with_interceptor(self.channel.clone(), self.token.clone())
    }

    /// The cluster as the node sees it.
    pub(crate) async fn status(&self) -> Result<StatusReply, Failure> {
        Ok(self.cluster().status(StatusRequest {}).await?.into_inner())
    }

    /// `http://HOST:PORT` of the gateway of the node that answers, or of another live one.
    pub(crate) async fn gateway(&self) -> Result<String, Failure> {
        let status = self.status().await?;
        let usable = |node: &&onrush_proto::v1::Node| !node.gateway.is_empty() && node.alive;
        let own = status.nodes.iter().find(|node| node.id == status.answered_by && !node.gateway.is_empty());
        let node = own.or_else(|| status.nodes.iter().find(usable)).ok_or_else(|| {
            Failure::new(Code::Unavailable, "no node of the cluster has told its gateway's address yet; try again")
        })?;
        Ok(format!("http://{}", node.gateway))
    }
}

/// A host without a scheme is taken as http.
fn with_scheme(api: &str) -> Result<String, Failure> {
    match api.split_once("://") {
        Some(("http", _)) => Ok(api.to_owned()),
        Some(("https", _)) => Err(Failure::Usage("--api: https comes with a later release; use http".to_owned())),
        Some((other, _)) => Err(Failure::Usage(format!("--api: {other}:// is unknown; use http://HOST:PORT"))),
        None => Ok(format!("http://{api}")),
    }
}

fn nobody_there(api: &str, error: &tonic::transport::Error) -> Failure {
    let mut why = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        why = error.to_string();
        source = error.source();
    }
    let why = if why.is_empty() { error.to_string() } else { why };
    let message = format!(
        "no node answers at {api} ({why}). Is a node running? Start one with `onrush dev`, or name another node with \
         --api or ONRUSH_API"
    );
    Failure::new(Code::Unavailable, message)
}

/// Reads `NAME[.NAMESPACE][@VERSION]`; a missing namespace is `namespace`, or "default".
pub(crate) fn reference(text: &str, namespace: Option<&str>) -> Result<FunctionRef, Failure> {
    let namespace = namespace.unwrap_or(DEFAULT_NAMESPACE);
    let namespace: Label = namespace.parse().map_err(|error| Failure::Usage(format!("--namespace: {error}")))?;
    FunctionRef::parse_in(text, &namespace).map_err(|error| Failure::Usage(error.to_string()))
}

/// Reads `NAME[.NAMESPACE]` of a route.
pub(crate) fn route(text: &str, namespace: Option<&str>) -> Result<RouteName, Failure> {
    let FunctionRef { function, qualifier } = reference(text, namespace)?;
    if qualifier != Qualifier::Latest || text.contains('@') {
        return Err(Failure::Usage(format!("{text:?}: a route has no versions")));
    }
    Ok(RouteName::new(function.namespace, function.name))
}

/// The same without a version, for verbs that are about a whole function: `remove hello@1` must not remove all of it.
pub(crate) fn function(text: &str, namespace: Option<&str>) -> Result<FunctionName, Failure> {
    let FunctionRef { function, qualifier } = reference(text, namespace)?;
    match qualifier {
        Qualifier::Latest => Ok(function),
        Qualifier::Version(_) | Qualifier::Alias(_) => {
            let whole = text.split('@').next().unwrap_or(text);
            Err(Failure::Usage(format!("{text:?}: this is about a function with all its versions; say {whole}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apis_are_http() {
        assert_eq!(with_scheme("node:7070").unwrap(), "http://node:7070");
        assert_eq!(with_scheme("http://node:7070").unwrap(), "http://node:7070");
        assert!(matches!(with_scheme("https://node"), Err(Failure::Usage(_))));
        assert!(matches!(with_scheme("ftp://node"), Err(Failure::Usage(_))));
    }

    #[test]
    fn verbs_about_a_whole_function_take_no_version() {
        assert_eq!(function("a", None).unwrap().to_string(), "a.default");
        assert_eq!(function("a.shop", Some("other")).unwrap().to_string(), "a.shop");
        for wrong in ["a@1", "a.shop@live", "A_b", "a.b.c"] {
            assert!(matches!(function(wrong, None), Err(Failure::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn routes_are_named_with_their_namespace() {
        assert_eq!(route("a", Some("shop")).unwrap().to_string(), "a.shop");
        assert_eq!(route("a.other", Some("shop")).unwrap().to_string(), "a.other");
        for wrong in ["a@1", "a@latest", "A_b", "a.b.c"] {
            assert!(matches!(route(wrong, None), Err(Failure::Usage(_))), "{wrong}");
        }
    }

    #[tokio::test]
    async fn nobody_there_says_how_to_start_a_node() {
        let address = Address { api: "127.0.0.1:1".to_owned(), token: None };
        let Err(Failure::Failed { code, message }) = address.connect().await else { panic!("somebody is there") };
        assert_eq!(code, Code::Unavailable);
        assert!(message.contains("onrush dev"), "{message}");
    }
}
