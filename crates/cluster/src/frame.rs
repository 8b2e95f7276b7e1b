//! One gossip datagram: a mark, a version, the cluster's id, a checksum, the payload. Strangers and garbage are turned
//! away here, before the gossip library reads a byte. The version is where an encrypted frame will come in.

use onrush_types::ClusterId;

const MARK: [u8; 3] = *b"ONG";
const VERSION: u8 = 1;
const HEAD: usize = 3 + 1 + 16 + 4;

/// The largest UDP payload over IPv4.
pub(crate) const MAX_DATAGRAM: usize = 65_507;

/// Why a datagram is not for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stranger {
    #[error("it is not Onrush's gossip")]
    Garbage,
    #[error("it is written in version {0}, this program reads version 1")]
    Version(u8),
    #[error("it belongs to another cluster: two clusters share an address or a seed")]
    OtherCluster,
    #[error("its checksum is wrong")]
    Damaged,
}

/// Wraps a payload.
pub(crate) fn seal(cluster: ClusterId, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD + payload.len());
    frame.extend(MARK);
    frame.push(VERSION);
    frame.extend(cluster.0.as_bytes());
    frame.extend(checksum(cluster, payload).to_le_bytes());
    frame.extend(payload);
    frame
}

/// The payload of a datagram that was sealed in the same cluster.
pub(crate) fn unseal(cluster: ClusterId, frame: &[u8]) -> Result<&[u8], Stranger> {
    let (head, payload) = frame.split_at_checked(HEAD).ok_or(Stranger::Garbage)?;
    if head[..3] != MARK {
        return Err(Stranger::Garbage);
    }
    if head[3] != VERSION {
        return Err(Stranger::Version(head[3]));
    }
    if &head[4..20] != cluster.0.as_bytes() {
        return Err(Stranger::OtherCluster);
    }
    if head[20..] != checksum(cluster, payload).to_le_bytes() {
        return Err(Stranger::Damaged);
    }
    Ok(payload)
}

fn checksum(cluster: ClusterId, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(cluster.0.as_bytes()), payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn another_cluster_and_another_version_are_told_apart_from_garbage() {
        let (ours, theirs) = (ClusterId::new(), ClusterId::new());
        let mut frame = seal(ours, b"hello");
        assert_eq!(unseal(ours, &frame), Ok(&b"hello"[..]));
        assert_eq!(unseal(theirs, &frame), Err(Stranger::OtherCluster));
        frame[3] = 9;
        assert_eq!(unseal(ours, &frame), Err(Stranger::Version(9)));
        assert_eq!(unseal(ours, b"junk"), Err(Stranger::Garbage));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_never_passes(payload: Vec<u8>, place: prop::sample::Index, bit in 0..8) {
            let cluster = ClusterId::new();
            let mut frame = seal(cluster, &payload);
            let place = place.index(frame.len());
            frame[place] ^= 1_u8 << bit;
            prop_assert!(unseal(cluster, &frame).is_err());
        }

        #[test]
        fn nothing_makes_it_panic(bytes: Vec<u8>) {
            prop_assert!(unseal(ClusterId::new(), &bytes).is_err());
        }
    }
}
