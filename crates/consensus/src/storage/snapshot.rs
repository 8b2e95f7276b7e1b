//! A snapshot's bytes: magic, crc32c of the rest, the length of the description, the sealed description, the sealed
//! catalog.

use onrush_catalog::Catalog;
use onrush_proto::{
    FormatError,
    catalog::{decode_catalog, decode_stored, encode_catalog, encode_stored},
    internal,
};

use crate::{
    convert::{bare_snapshot_meta, read_snapshot_meta},
    types::{LogId, SnapshotFile, SnapshotMeta, StoredMembership},
};

const WHAT: &str = "snapshot";
const MAGIC: &[u8; 8] = b"onrsnap\n";
const HEAD: usize = 16;

/// Writes one. The same state makes the same bytes and the same id on every node.
pub(crate) fn encode(
    catalog: &Catalog,
    applied: Option<LogId>,
    membership: &StoredMembership,
) -> (SnapshotMeta, SnapshotFile) {
    let catalog = encode_catalog(catalog);
    let at = applied.map_or_else(|| "empty".to_owned(), |id| id.to_string());
    let meta = SnapshotMeta {
        last_log_id: applied,
        last_membership: membership.clone(),
        snapshot_id: format!("{at}-{:08x}", crc32c::crc32c(&catalog)),
    };
    let described = encode_stored(&bare_snapshot_meta(&meta));
    let length = u32::try_from(described.len()).expect("a description holds a few ids, not 4 GiB");
    let mut bytes = Vec::with_capacity(HEAD + described.len() + catalog.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&described);
    bytes.extend_from_slice(&catalog);
    let crc = crc32c::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    (meta, SnapshotFile::new(bytes.into()))
}

/// Reads only what it says of itself, after the checksum over all of it.
pub(crate) fn describe(file: &SnapshotFile) -> Result<SnapshotMeta, FormatError> {
    Ok(split(file)?.0)
}

/// Reads all of it.
pub(crate) fn decode(file: &SnapshotFile) -> Result<(SnapshotMeta, Catalog), FormatError> {
    let (meta, catalog) = split(file)?;
    Ok((meta, decode_catalog(catalog)?))
}

fn split(file: &SnapshotFile) -> Result<(SnapshotMeta, &[u8]), FormatError> {
    let malformed = |why: &str| FormatError::Malformed { what: WHAT, why: why.to_owned() };
    let bytes: &[u8] = file.bytes();
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if bytes.get(..8) != Some(MAGIC) {
        return Err(malformed("it does not begin like one"));
    }
    let (Some(crc), Some(length), Some(body)) = (word(8), word(12), bytes.get(HEAD..)) else {
        return Err(malformed("it is cut off"));
    };
    if crc != crc32c::crc32c(&bytes[12..]) {
        return Err(malformed("its checksum is wrong"));
    }
    let length = usize::try_from(length).map_err(|_| malformed("its description is too long"))?;
    let (described, catalog) = body.split_at_checked(length).ok_or_else(|| malformed("its description is cut off"))?;
    let described: internal::SnapshotMeta = decode_stored("SnapshotMeta", described)?;
    Ok((read_snapshot_meta(described)?, catalog))
}

impl SnapshotFile {
    /// Verifies a file that came from a peer against its description, before openraft is asked to install it: a
    /// failing install stops the node, a failing transfer only has to be repeated.
    ///
    /// # Errors
    /// Damaged, of a newer format, or another snapshot than the description says.
    pub fn verify(&self, meta: &SnapshotMeta) -> Result<(), FormatError> {
        let (own, _) = decode(self)?;
        if own != *meta {
            let why = format!("it is {}, described as {}", own.snapshot_id, meta.snapshot_id);
            return Err(FormatError::Malformed { what: WHAT, why });
        }
        Ok(())
    }
}
