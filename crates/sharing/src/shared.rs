//! The way of a call that may share.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{Response, StatusCode};
use onrush_invoke::{Body, Deadline, Invocation, Invoke, InvokeError, LoadReport, Reached, Reply, Scope, Sharing};
use onrush_seams::{Entropy, OsEntropy, SystemClock, WallClock};
use onrush_types::{Code, InvocationId};
use tokio::{
    sync::{Semaphore, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    answer::{Answer, Asked, Kept, reply_for},
    condition::is_common,
    config::Config,
    directives::Directives,
    execution::{Execution, Job, Led, Refresh},
    flight::{Flight, Flights, Progress, Turn},
    freshness::Standing,
    metrics::Metrics,
    room::Room,
    status::{Forwarded, Status},
    store::{Found, Store},
};

/// What this node's worker says of itself when it answers without running anything.
type Load = Box<dyn Fn() -> LoadReport + Send + Sync>;

/// Shares executions and replies in front of another [`Invoke`].
pub struct SharedInvoke {
    core: Arc<Core>,
    scope: Scope,
    load: Load,
}

/// What calls and executions have in common.
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) inner: Arc<dyn Invoke>,
    pub(crate) store: Store,
    pub(crate) flights: Flights,
    pub(crate) room: Arc<Room>,
    refreshes: Arc<Semaphore>,
    clock: Arc<dyn WallClock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: Metrics,
    pub(crate) stop: CancellationToken,
}

/// Calls look again this often when what they waited for was not for them, before they run by themselves.
const ROUNDS: u32 = 4;
/// The time of a refresh where neither the route nor a call says one.
const REFRESH_TIME: Duration = Duration::from_secs(30);

impl SharedInvoke {
    /// In front of a gateway's way to the workers, or of anything whose load nobody asks for.
    pub fn new(config: Config, inner: Arc<dyn Invoke>, scope: Scope) -> Arc<Self> {
        Self::with_load(config, inner, scope, LoadReport::default)
    }

    /// In front of a worker, whose load goes along with every reply.
    pub fn with_load<L>(config: Config, inner: Arc<dyn Invoke>, scope: Scope, load: L) -> Arc<Self>
    where
        L: Fn() -> LoadReport + Send + Sync + 'static,
    {
        let seams: (Arc<dyn WallClock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(OsEntropy));
        Self::with_seams(config, inner, (scope, Box::new(load)), seams)
    }

    fn with_seams(
        config: Config,
        inner: Arc<dyn Invoke>,
        (scope, load): (Scope, Load),
        (clock, entropy): (Arc<dyn WallClock>, Arc<dyn Entropy>),
    ) -> Arc<Self> {
        let core = Core {
            store: Store::new(&config, &*entropy),
            flights: Flights::new(config.executions),
            room: Room::new(config.collecting_bytes.as_u64()),
            refreshes: Arc::new(Semaphore::new(config.refreshes.min(Semaphore::MAX_PERMITS))),
            metrics: Metrics::new(scope),
            stop: CancellationToken::new(),
            config,
            inner,
            clock,
            entropy,
        };
        Arc::new(Self { core: Arc::new(core), scope, load })
    }

    /// Ends refreshes in the background, for a node that drains. Calls go on.
    pub fn stop(&self) {
        self.core.stop.cancel();
    }

    async fn share(&self, call: Invocation, sharing: Box<Sharing>) -> Result<Reply, InvokeError> {
        let wants = match &sharing.cache {
            Some(caching) if caching.obey_request => Directives::of_request(call.request.headers()),
            Some(_) | None => Directives::default(),
        };
        if !is_common(call.request.headers()) || (sharing.cache.is_none() && sharing.coalesce.is_none()) {
            return self.alone(call, Forwarded::Bypass).await;
        }
        let (mut failures, mut rounds) = (0, 0);
        loop {
            let found = self.core.store.find(sharing.key, call.request.headers());
            let (stale, why) = match self.look(&found, Ask { call: &call, sharing: &sharing, wants: &wants }) {
                Looked::Hit(reply) => return Ok(reply),
                Looked::Go(stale, why) => (stale, why),
            };
            if wants.only_if_cached {
                return Ok(self.not_cached(why));
            }
            if stale.is_none() && self.core.store.is_marked(found.place, Instant::now()) {
                return self.alone(call, Forwarded::Marked).await;
            }
            let (flight, watching) =
                match (&sharing.coalesce, why) {
                    // What was asked for is a fresh execution, or there is nobody to share it with.
                    (None, _) | (_, Forwarded::Request) => Flight::unlisted(found.place),
                    (Some(_), _) if wants.no_cache => Flight::unlisted(found.place),
                    (Some(coalesce), _) => match self.core.flights.turn(found.place, coalesce, || {
                        self.fresh(Ask { call: &call, sharing: &sharing, wants: &wants })
                    }) {
                        Turn::Lead(flight, watching) => (flight, watching),
                        Turn::Found(reply) => return Ok(reply),
                        Turn::Alone => return self.alone(call, why).await,
                        Turn::Wait(mut watching) => {
                            // Nothing ran for this call.
                            let ended = call.deadline.bound(ended(&mut watching)).await;
                            let progress = ended.map_err(|_| late(Reached::NotSent))?;
                            match progress {
                                Progress::Answered(answer) if answer.is_for(call.request.headers()) => {
                                    return Ok(self.collapsed(&answer, call, why));
                                }
                                Progress::Failed(error) => {
                                    failures += 1;
                                    if failures >= self.core.config.failed_leaders {
                                        return Err(error);
                                    }
                                }
                                Progress::Refused(error) => return Err(error),
                                Progress::Alone => return self.alone(call, why).await,
                                // Somebody else's reply, for somebody who asked otherwise.
                                Progress::Answered(_) | Progress::Running => rounds += 1,
                            }
                            if rounds >= ROUNDS {
                                return self.alone(call, why).await;
                            }
                            continue;
                        }
                    },
                };
            let job = self.job(&call, sharing, (found, stale), wants);
            return self.lead(call, job, (flight, watching), why).await;
        }
    }

    /// What a call gets without asking anybody, or what is known for its way on.
    fn look(&self, found: &Found, ask: Ask<'_>) -> Looked {
        if ask.sharing.cache.is_none() {
            return Looked::Go(None, Forwarded::Miss);
        }
        let kept = match &found.kept {
            Ok(kept) => kept,
            Err(why) => return Looked::Go(None, *why),
        };
        let now = Instant::now();
        let age = kept.age(now);
        let wants = ask.wants;
        let hit = match kept.life.standing(age, wants) {
            Standing::Fresh => {
                self.core.metrics.hit.increment(1);
                true
            }
            Standing::Usable => {
                self.refresh(found, kept, ask);
                self.core.metrics.stale.increment(1);
                true
            }
            // Somebody has just tried in vain.
            Standing::Stale => {
                let covers = kept.is_resting(now) && kept.life.covers_error(age) && !wants.no_cache;
                self.core.metrics.stale.increment(u64::from(covers));
                covers
            }
        };
        if hit {
            return Looked::Hit(kept.hit(&ask.call.request, now, (self.load)()));
        }
        let asked = wants.no_cache || (age < kept.life.fresh_for && !kept.life.always_validate);
        Looked::Go(Some(Arc::clone(kept)), if asked { Forwarded::Request } else { Forwarded::Stale })
    }

    /// A second look, for what has come since the first.
    fn fresh(&self, ask: Ask<'_>) -> Option<Reply> {
        ask.sharing.cache.as_ref()?;
        let found = self.core.store.find(ask.sharing.key, ask.call.request.headers());
        let kept = found.kept.ok()?;
        let now = Instant::now();
        if kept.life.standing(kept.age(now), ask.wants) != Standing::Fresh {
            return None;
        }
        self.core.metrics.hit.increment(1);
        Some(kept.hit(&ask.call.request, now, (self.load)()))
    }

    fn job(
        &self,
        call: &Invocation,
        sharing: Box<Sharing>,
        (found, stale): (Found, Option<Arc<Kept>>),
        wants: Directives,
    ) -> Job {
        let asked = Asked { method: call.request.method().clone(), headers: call.request.headers().clone() };
        let deadline = sharing.timeout.map_or(call.deadline, |timeout| Deadline::after(timeout).max(call.deadline));
        Job {
            key: sharing.key,
            place: found.place,
            asked: Arc::new(asked),
            wants,
            stale,
            deadline,
            sharing,
            refresh: None,
        }
    }

    /// Executes, for itself and for whoever comes to wait.
    async fn lead(
        &self,
        mut call: Invocation,
        job: Job,
        (flight, watching): (Arc<Flight>, watch::Receiver<Progress>),
        why: Forwarded,
    ) -> Result<Reply, InvokeError> {
        self.core.metrics.run.increment(1);
        let (leader, led) = oneshot::channel();
        let (asked, own_deadline) = (Arc::clone(&job.asked), call.deadline);
        call.deadline = job.deadline;
        let began = Instant::now();
        let execution = Execution { core: Arc::clone(&self.core), flight, job, leader: Some(leader), began };
        tokio::spawn(execution.run(call));
        let led = own_deadline.bound(led).await.map_err(|_| late(Reached::MaybeRan))?;
        let lost = || InvokeError::interrupted(Code::Internal, "the shared execution of this call ended early");
        let reply = match led.map_err(|_| lost())? {
            Led::Failed(error) => return Err(error),
            Led::Answered(answer) => answer.reply(&asked, told(&answer, why, false), (self.load)()),
            Led::Own(reply) => {
                let Reply { response, node, .. } = *reply;
                let (parts, body) = response.into_parts();
                let status = Status { forwarded: Some(why), ..Status::default() };
                reply_for(&asked, (parts.status, parts.headers, body), status, (node, (self.load)()))
            }
        };
        // Held until now: an execution that nobody watches ends.
        drop(watching);
        Ok(reply)
    }

    /// Shares somebody else's execution.
    fn collapsed(&self, answer: &Answer, call: Invocation, why: Forwarded) -> Reply {
        self.core.metrics.collapsed.increment(1);
        let (parts, _) = call.request.into_parts();
        let asked = Asked { method: parts.method, headers: parts.headers };
        answer.reply(&asked, told(answer, why, true), (self.load)())
    }

    /// Executes for itself.
    async fn alone(&self, call: Invocation, why: Forwarded) -> Result<Reply, InvokeError> {
        self.core.metrics.bypass.increment(1);
        let mut reply = self.core.inner.invoke(call).await?;
        Status { forwarded: Some(why), ..Status::default() }.write(reply.response.headers_mut());
        Ok(reply)
    }

    /// The request wanted what is kept or nothing (RFC 9111, 5.2.1.7).
    fn not_cached(&self, why: Forwarded) -> Reply {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
        Status { forwarded: Some(why), ..Status::default() }.write(response.headers_mut());
        Reply { response, node: "".into(), load: (self.load)() }
    }

    /// Fetches a newer reply, unless somebody does already, has just failed to, or there is no room.
    fn refresh(&self, found: &Found, kept: &Arc<Kept>, Ask { call, sharing, wants }: Ask<'_>) {
        let Some(again) = copy(call, sharing) else { return };
        if self.core.stop.is_cancelled() || !kept.begin_refresh(Instant::now()) {
            return;
        }
        let Ok(permit) = Arc::clone(&self.core.refreshes).try_acquire_owned() else { return kept.end_refresh() };
        let refresh = Refresh { kept: Arc::clone(kept), _permit: permit };
        let (flight, watching) = match &sharing.coalesce {
            None => Flight::unlisted(found.place),
            Some(coalesce) => match self.core.flights.turn(found.place, coalesce, || None::<()>) {
                Turn::Lead(flight, watching) => (flight, watching),
                // Somebody executes, or too much is executed; the guard lets the next one try.
                Turn::Wait(_) | Turn::Alone | Turn::Found(()) => return,
            },
        };
        let here = Found { place: found.place, kept: Ok(Arc::clone(kept)) };
        let job = self.job(&again, Box::new(sharing.clone()), (here, Some(Arc::clone(kept))), *wants);
        let job = Job { refresh: Some(refresh), ..job };
        let core = Arc::clone(&self.core);
        let execution = Execution { core, flight, job, leader: None, began: Instant::now() };
        tokio::spawn(async move {
            execution.run(again).await;
            // Held for as long as it runs: nobody need wait for it.
            drop(watching);
        });
    }
}

/// A call that looks for what it may share.
#[derive(Clone, Copy)]
struct Ask<'a> {
    call: &'a Invocation,
    sharing: &'a Sharing,
    /// What the request says about caches, if the route obeys it.
    wants: &'a Directives,
}

enum Looked {
    Hit(Reply),
    Go(Option<Arc<Kept>>, Forwarded),
}

impl Core {
    pub(crate) fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.clock.now_ms())
    }

    pub(crate) fn keep(&self, place: onrush_invoke::SharingKey, kept: Arc<Kept>, worth: Duration) {
        self.store.keep(place, kept, worth);
        self.metrics.stored.increment(1);
        #[allow(clippy::cast_precision_loss, reason = "a gauge")]
        self.metrics.kept.set(self.store.bytes() as f64);
    }
}

/// A call of nobody's that asks the same. None if its body can be had only once.
fn copy(call: &Invocation, sharing: &Sharing) -> Option<Invocation> {
    let body = call.request.body().as_whole()?;
    let mut request = http::Request::new(Body::whole(body));
    *request.method_mut() = call.request.method().clone();
    *request.uri_mut() = call.request.uri().clone();
    *request.headers_mut() = call.request.headers().clone();
    let deadline = Deadline::after(sharing.timeout.unwrap_or(REFRESH_TIME));
    Some(Invocation {
        id: InvocationId::new(),
        target: call.target.clone(),
        deadline,
        attempt: 1,
        sharing: None,
        request,
    })
}

/// What is said of an answer to one of those who share it.
fn told(answer: &Answer, why: Forwarded, collapsed: bool) -> Status {
    // That it is kept is said once.
    Status { forwarded: Some(why), collapsed, stored: answer.status.stored && !collapsed, ..answer.status }
}

fn late(reached: Reached) -> InvokeError {
    InvokeError::deadline(reached, "the shared execution of this call did not answer in time")
}

/// What becomes of an execution.
async fn ended(watching: &mut watch::Receiver<Progress>) -> Progress {
    match watching.wait_for(|progress| !matches!(progress, Progress::Running)).await {
        Ok(progress) => progress.clone(),
        Err(_) => {
            let why = "the execution that this call waited for is gone";
            Progress::Failed(InvokeError::refused(Code::Unavailable, why))
        }
    }
}

impl Invoke for SharedInvoke {
    // As `async_trait` would write it, but for calls that share nothing: their future is the inner one's, without
    // another box around it.
    fn invoke<'a, 'b>(
        &'a self,
        mut call: Invocation,
    ) -> Pin<Box<dyn Future<Output = Result<Reply, InvokeError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        match call.sharing.take_if(|sharing| sharing.scope == self.scope) {
            Some(sharing) => Box::pin(self.share(call, sharing)),
            None => self.core.inner.invoke(call),
        }
    }
}

#[cfg(test)]
mod tests;
