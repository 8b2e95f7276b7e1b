//! What functions wrote: a bounded ring per function, in memory.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{StreamExt, stream};
use onrush_catalog::{ControlError, LogQuery, LogStreamOf};
use onrush_runtime::GuestLog;
use onrush_seams::WallClock;
use onrush_types::{Code, FunctionName, InvocationId, LogLine, LogStream, VersionNumber};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::config::LogConfig;

/// The lines that this node keeps.
pub struct LogRing {
    config: LogConfig,
    node: Arc<str>,
    clock: Arc<dyn WallClock>,
    rings: Mutex<Rings>,
}

#[derive(Default)]
struct Rings {
    functions: HashMap<FunctionName, Ring>,
    followers: HashMap<FunctionName, broadcast::Sender<Arc<LogLine>>>,
    bytes: usize,
    /// Counts lines; tells which function has been silent for longest.
    clock: u64,
}

#[derive(Default)]
struct Ring {
    lines: VecDeque<Arc<LogLine>>,
    bytes: usize,
    last: u64,
}

impl LogRing {
    /// An empty one.
    pub fn new(config: LogConfig, node: Arc<str>, clock: Arc<dyn WallClock>) -> Arc<Self> {
        Arc::new(Self { config, node, clock, rings: Mutex::default() })
    }

    /// Where the guests of one version write.
    pub fn guest(self: &Arc<Self>, function: FunctionName, version: VersionNumber) -> Arc<dyn GuestLog> {
        Arc::new(VersionLog { ring: Arc::clone(self), function, version })
    }

    /// The newest lines of a function and, where the query follows, those that come.
    pub fn logs(self: &Arc<Self>, query: &LogQuery) -> LogStreamOf {
        let tail = usize::try_from(query.tail).unwrap_or(usize::MAX);
        let mut rings = self.lock();
        let lines = rings.functions.get(&query.function).map(|ring| &ring.lines);
        let old: Vec<_> = lines
            .map(|lines| lines.iter().skip(lines.len().saturating_sub(tail)).cloned().collect())
            .unwrap_or_default();
        // Subscribed under the same lock: no line is lost or told twice in between.
        let new = query.follow.then(|| rings.follow(&query.function, &self.config));
        drop(rings);
        let old = stream::iter(old).map(|line| Ok(LogLine::clone(&line)));
        match new {
            None => old.boxed(),
            Some(Err(error)) => old.chain(stream::iter([Err(error)])).boxed(),
            Some(Ok(receiver)) => old.chain(self.followed(query.function.clone(), receiver)).boxed(),
        }
    }

    fn followed(
        self: &Arc<Self>,
        function: FunctionName,
        receiver: broadcast::Receiver<Arc<LogLine>>,
    ) -> impl futures::Stream<Item = Result<LogLine, ControlError>> + Send + use<> {
        let ring = Arc::clone(self);
        stream::unfold((ring, function, receiver), |(ring, function, mut receiver)| async move {
            let line = match receiver.recv().await {
                Ok(line) => LogLine::clone(&line),
                Err(RecvError::Lagged(lost)) => {
                    let text = format!("{lost} lines are missing here: they came faster than they were read");
                    ring.make_line(&function, VersionNumber::default(), None, (LogStream::Platform, &text))
                }
                Err(RecvError::Closed) => return None,
            };
            Some((Ok(line), (ring, function, receiver)))
        })
    }

    fn make_line(
        &self,
        function: &FunctionName,
        version: VersionNumber,
        invocation: Option<InvocationId>,
        (stream, text): (LogStream, &str),
    ) -> LogLine {
        LogLine {
            at_ms: self.clock.now_ms(),
            node: self.node.to_string(),
            function: function.clone(),
            version,
            invocation,
            stream,
            text: cut(text, self.config.line).to_owned(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rings {
    fn push(&mut self, line: Arc<LogLine>, config: &LogConfig) {
        if let Some(followers) = self.followers.get(&line.function)
            && followers.send(Arc::clone(&line)).is_err()
        {
            self.followers.remove(&line.function);
        }
        self.clock += 1;
        let size = line.text.len();
        if !self.functions.contains_key(&line.function) && self.functions.len() >= config.functions.max(1) {
            self.forget_the_most_silent();
        }
        let ring = self.functions.entry(line.function.clone()).or_default();
        ring.last = self.clock;
        ring.lines.push_back(line);
        ring.bytes += size;
        self.bytes += size;
        let limit = limit(config.function_bytes);
        while ring.lines.len() > config.lines || ring.bytes > limit {
            let Some(old) = ring.lines.pop_front() else { break };
            ring.bytes -= old.text.len();
            self.bytes -= old.text.len();
        }
        while self.bytes > self::limit(config.bytes) && self.functions.len() > 1 {
            self.forget_the_most_silent();
        }
    }

    fn forget_the_most_silent(&mut self) {
        let silent = self.functions.iter().min_by_key(|(_, ring)| ring.last).map(|(function, _)| function.clone());
        if let Some(ring) = silent.and_then(|function| self.functions.remove(&function)) {
            self.bytes -= ring.bytes;
        }
    }

    fn follow(
        &mut self,
        function: &FunctionName,
        config: &LogConfig,
    ) -> Result<broadcast::Receiver<Arc<LogLine>>, ControlError> {
        if let Some(sender) = self.followers.get(function) {
            return Ok(sender.subscribe());
        }
        self.followers.retain(|_, sender| sender.receiver_count() > 0);
        if self.followers.len() >= config.followed {
            let why = format!("{} functions are followed already; stop one and try again", config.followed);
            return Err(ControlError { code: Code::Overloaded, why });
        }
        let (sender, receiver) = broadcast::channel(config.backlog.max(1));
        self.followers.insert(function.clone(), sender);
        Ok(receiver)
    }
}

fn limit(size: bytesize::ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

/// At most `limit` bytes of a text, whole characters.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

struct VersionLog {
    ring: Arc<LogRing>,
    function: FunctionName,
    version: VersionNumber,
}

impl GuestLog for VersionLog {
    fn line(&self, invocation: Option<InvocationId>, stream: LogStream, text: &str) {
        let line = self.ring.make_line(&self.function, self.version, invocation, (stream, text));
        self.ring.lock().push(Arc::new(line), &self.ring.config);
    }
}

#[cfg(test)]
mod tests;
