//! Three gateways, three workers, one owner for each key.

use super::*;

/// Sends calls that the cluster shares to their owner, the others wherever.
struct Routes(Vec<Arc<SharedInvoke>>);

#[async_trait]
impl Invoke for Routes {
    async fn invoke(&self, call: Invocation) -> Result<Reply, InvokeError> {
        let owner = call.sharing.as_ref().map_or(0, |sharing| usize::from(sharing.key.0[0]) % self.0.len());
        self.0[owner].invoke(call).await
    }
}

#[tokio::test(start_paused = true)]
async fn one_execution_in_the_whole_cluster_or_one_for_each_gateway() {
    for (scope, executions) in [(Scope::Cluster, 1), (Scope::Gateway, 3)] {
        let function = Function::slow(&[("cache-control", "max-age=60")]);
        let workers: Vec<_> = (0..3).map(|_| shared_with(Config::default(), &function, Scope::Cluster)).collect();
        let routes: Arc<dyn Invoke> = Arc::new(Routes(workers));
        let gateways: Vec<_> =
            (0..3).map(|_| SharedInvoke::new(Config::default(), Arc::clone(&routes), Scope::Gateway)).collect();
        let sharing = Sharing { scope, ..both() };
        let (one, two, three) = tokio::join!(
            ask_many(&gateways[0], &sharing, 1_000),
            ask_many(&gateways[1], &sharing, 1_000),
            ask_many(&gateways[2], &sharing, 1_000),
        );
        let all: Vec<_> = [one, two, three].concat().into_iter().map(Result::unwrap).collect();
        assert_eq!((function.calls(), all.len()), (executions, 3_000));
        let collapsed = all.iter().filter(|(_, said, _)| said.ends_with("; collapsed")).count();
        assert_eq!(collapsed, 3_000 - executions);
    }
}
