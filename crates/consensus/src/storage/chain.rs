//! Log rows. Each carries its own checksum and that of the row before it, so that the log is a chain: a hole, a swap,
//! an old row that came back or a flipped bit breaks it.
//!
//! A row: crc32c of all that follows (4 bytes, little-endian), the checksum of the row before it (4), the sealed entry.

use onrush_proto::{
    catalog::{decode_stored, encode_stored},
    internal,
};

use super::{
    disk::{Disk, Table},
    error::Fault,
};
use crate::{
    convert::Wire,
    types::{Entry, LogId},
};

/// The end of the chain: what the next row is tied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Link(u32);

/// A row's key; keys sort like indexes.
pub(crate) fn key(index: u64) -> Vec<u8> {
    index.to_be_bytes().to_vec()
}

/// Behind every key.
pub(crate) fn end() -> Vec<u8> {
    vec![0xff; 9]
}

/// The row of an entry behind `before`, and the link for the next one.
pub(crate) fn encode(entry: &Entry, before: Link) -> (Vec<u8>, Link) {
    let sealed = encode_stored(&entry.to_wire());
    let mut row = vec![0; 4];
    row.extend_from_slice(&before.0.to_le_bytes());
    row.extend_from_slice(&sealed);
    let crc = crc32c::crc32c(&row[4..]);
    row[..4].copy_from_slice(&crc.to_le_bytes());
    (row, Link(crc))
}

/// A row that was read: its entry, the link it is and the link that it follows.
pub(crate) struct Row {
    pub(crate) entry: Entry,
    pub(crate) link: Link,
    before: Link,
}

pub(crate) fn decode(key: &[u8], row: &[u8]) -> Result<Row, Fault> {
    let index = key.try_into().map(u64::from_be_bytes);
    let index = index.map_err(|_| Fault::damaged(format!("the log has a row with the key {key:02x?}")))?;
    let (Some((crc, rest)), Some(before)) = (row.split_first_chunk::<4>(), row.get(4..8)) else {
        return Err(Fault::damaged(format!("log entry {index} is cut off")));
    };
    let crc = u32::from_le_bytes(*crc);
    if crc != crc32c::crc32c(rest) {
        return Err(Fault::damaged(format!("log entry {index} has changed since it was written (checksum)")));
    }
    let before = before.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
    let entry = Entry::from_wire(decode_stored::<internal::Entry>("Entry", &rest[4..])?)?;
    if entry.log_id.index != index {
        return Err(Fault::damaged(format!("log entry {index} is in fact entry {}", entry.log_id.index)));
    }
    Ok(Row { entry, link: Link(crc), before: Link(before) })
}

/// Follows the whole chain and returns its end: the last id (or the purged one, where there is no row) and the link.
pub(crate) fn check(disk: &Disk, purged: Option<LogId>) -> Result<(Option<LogId>, Link), Fault> {
    let mut last = purged;
    let mut tied: Option<Link> = None;
    disk.rows.scan(Table::Log, &[], &mut |key, row| {
        let row = decode(key, row)?;
        let id = row.entry.log_id;
        let expected = last.map_or(0, |last| last.index + 1);
        if id.index != expected {
            return Err(Fault::damaged(format!("the log goes on with entry {}, not with {expected}", id.index)));
        }
        if tied.is_some_and(|link| link != row.before) {
            return Err(Fault::damaged(format!("log entry {} does not follow the one before it", id.index)));
        }
        if last.is_some_and(|last| last.leader_id > id.leader_id) {
            return Err(Fault::damaged(format!("log entry {} is of an older term than the one before it", id.index)));
        }
        last = Some(id);
        tied = Some(row.link);
        Ok(true)
    })?;
    Ok((last, tied.unwrap_or_default()))
}
