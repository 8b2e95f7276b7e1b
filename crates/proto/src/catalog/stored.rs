//! The seal around everything that is kept on disk: one byte with the format's version, then the message.

use prost::Message;

use crate::FormatError;

/// The version of the formats that this program writes. It reads this one and those before it.
///
/// 1: nodes, functions, requests. 2: routes as well.
pub const FORMAT: u8 = 2;

/// A message as it is kept on disk.
pub fn encode_stored(message: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(message.encoded_len() + 1);
    bytes.push(FORMAT);
    message.encode_raw(&mut bytes);
    bytes
}

/// Reads what [`encode_stored`] wrote; `what` names the message in errors.
///
/// # Errors
/// [`FormatError::Newer`] for a format from the future, [`FormatError::Malformed`] for what is none.
pub fn decode_stored<M: Message + Default>(what: &'static str, bytes: &[u8]) -> Result<M, FormatError> {
    let malformed = |why: String| FormatError::Malformed { what, why };
    match bytes.split_first() {
        None => Err(malformed("it is empty".to_owned())),
        Some((0, _)) => Err(malformed("no format has version 0".to_owned())),
        Some((&found, _)) if found > FORMAT => {
            Err(FormatError::Newer { what, found: u32::from(found), known: u32::from(FORMAT) })
        }
        Some((_, message)) => M::decode(message).map_err(|error| malformed(error.to_string())),
    }
}
