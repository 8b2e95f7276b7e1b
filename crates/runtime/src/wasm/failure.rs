//! Says in plain words how a guest failed.

use onrush_invoke::{InvokeError, Reached};
use onrush_types::Code;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::limits::Refused;

/// How a call can end without an answer, or after an answer that was not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The guest itself failed.
    Function(String),
    /// There was no room for an instance; nothing ran.
    NoRoom,
    /// The time was over.
    Deadline(String),
}

impl Failure {
    /// What a trap, an exit or a refused limit means for the author of the function.
    pub(super) fn of(error: &wasmtime::Error, refused: Option<Refused>, memory: u64) -> Self {
        if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
            return Self::NoRoom;
        }
        if let Some(I32Exit(status)) = error.downcast_ref::<I32Exit>() {
            return Self::Function(format!("the function exited with status {status} instead of answering"));
        }
        let mut text = match error.downcast_ref::<Trap>() {
            Some(Trap::UnreachableCodeReached) => "the function trapped: it panicked or aborted".to_owned(),
            Some(Trap::StackOverflow) => "the function trapped: its stack is full".to_owned(),
            Some(trap) => format!("the function trapped: {trap}"),
            None => format!("the function failed: {}", error.root_cause()),
        };
        match refused {
            Some(Refused::Memory) => text.push_str(&format!(
                "; before that it asked for more memory than its limit of {} MiB ('memory' in its manifest)",
                memory >> 20
            )),
            Some(Refused::NodeMemory) => text.push_str("; before that this node had no memory left for functions"),
            Some(Refused::Table) => text.push_str("; before that it asked for a larger table than allowed"),
            None => {}
        }
        Self::Function(text)
    }

    /// For the caller.
    pub(super) fn error(&self) -> InvokeError {
        match self {
            Self::Function(text) => InvokeError::function(Code::FunctionFailed, text),
            Self::NoRoom => no_room("all instances of this node are in use"),
            Self::Deadline(text) => InvokeError::deadline(Reached::MaybeRan, text),
        }
    }
}

/// A refusal: nothing ran, another node may take the call.
pub(super) fn no_room(text: &str) -> InvokeError {
    InvokeError::refused(Code::Overloaded, text)
}

/// Where in the guest's code it happened, for its log: a few frames, by name.
pub(super) fn trace(error: &wasmtime::Error) -> Option<String> {
    let backtrace = error.downcast_ref::<WasmBacktrace>()?;
    let names: Vec<_> = backtrace.frames().iter().filter_map(|frame| frame.func_name()).take(12).collect();
    let mut text = names.join(" < ");
    text.truncate(text.floor_char_boundary(2 << 10));
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(error: impl Into<wasmtime::Error>, refused: Option<Refused>) -> String {
        Failure::of(&error.into(), refused, 128 << 20).error().message().to_owned()
    }

    #[test]
    fn a_failure_names_its_cause() {
        assert!(text(Trap::UnreachableCodeReached, None).contains("panicked"));
        assert!(text(Trap::UnreachableCodeReached, Some(Refused::Memory)).contains("limit of 128 MiB"));
        assert!(text(I32Exit(3), None).contains("exited with status 3"));
        assert!(text(wasmtime::Error::msg("why"), None).contains("why"));
    }

    #[test]
    fn blame_and_retry_follow_the_kind() {
        let function = Failure::Function(String::new()).error();
        assert_eq!((function.code, function.origin), (Code::FunctionFailed, onrush_types::Origin::Function));
        assert!(Failure::NoRoom.error().may_move(false));
        let late = Failure::Deadline(String::new()).error();
        assert_eq!((late.code, late.reached), (Code::DeadlineExceeded, Reached::MaybeRan));
    }
}
