//! Reading what functions wrote.

use futures::{Stream, StreamExt as _};
use onrush_catalog::{ControlError, LogQuery};
use onrush_types::{FunctionName, LogLine};

use super::{enter, no_function};
use crate::{Api, ApiError};

/// Old lines per node where the reader does not say.
pub(crate) const DEFAULT_TAIL: u32 = 100;

impl Api {
    /// A function's lines from every node. The place among the readers is held as long as the stream.
    pub(crate) async fn logs(
        &self,
        function: FunctionName,
        tail: u32,
        follow: bool,
    ) -> Result<impl Stream<Item = Result<LogLine, ControlError>> + Send + use<>, ApiError> {
        if !self.catalog(false).await?.functions.contains_key(&function) {
            return Err(no_function(&function));
        }
        let place = enter(&self.log_readers, "log readers")?;
        let query = LogQuery { function, tail: tail.min(self.config.max_log_tail), follow };
        let lines = self.parts.control.logs(query).await?;
        Ok(lines.map(move |line| {
            let _held = &place;
            line
        }))
    }
}
