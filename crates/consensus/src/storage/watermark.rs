//! How far the log and the vote must reach at least.
//!
//! Rows vouch for themselves, but nothing in a table tells that its end is missing. This record lies in a file of its own
//! and is written after each synced write, itself unsynced: it survives a crash of the process, may lag behind after a
//! power cut, and is never ahead. Only a truncation lowers it, and then it is synced first.

use crate::types::{LeaderId, LogId, Vote};

/// The file has two slots, used in turn, so that a torn write leaves the other one whole. Each lies in its own sector.
pub(crate) const SLOT: usize = 512;
const USED: usize = 64;
const MAGIC: [u8; 4] = *b"onrw";
const VERSION: u32 = 1;

/// What was promised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Watermark {
    /// Counts the writes; the larger one is the newer one.
    pub(crate) count: u64,
    pub(crate) vote: Option<Vote>,
    pub(crate) last: Option<LogId>,
}

impl Watermark {
    /// Which slot it belongs into.
    pub(crate) const fn slot(&self) -> u64 {
        self.count % 2
    }

    pub(crate) fn encode(&self) -> [u8; USED] {
        let vote = self.vote.unwrap_or_default();
        let last = self.last.unwrap_or_default();
        let flags =
            u32::from(self.vote.is_some()) | u32::from(vote.committed) << 1 | u32::from(self.last.is_some()) << 2;
        let numbers = [
            self.count,
            vote.leader_id.term,
            vote.leader_id.node_id,
            last.leader_id.term,
            last.leader_id.node_id,
            last.index,
        ];
        let mut bytes = [0; USED];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&(VERSION << 8 | flags).to_le_bytes());
        for (place, number) in bytes[12..60].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The newest whole slot, if there is one.
    pub(crate) fn newest(file: &[u8]) -> Option<Self> {
        file.chunks(SLOT).filter_map(|slot| Self::decode(slot.get(..USED)?)).max_by_key(|mark| mark.count)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let number = |n: usize| Some(u64::from_le_bytes(bytes.get(12 + 8 * n..20 + 8 * n)?.try_into().ok()?));
        if bytes.get(..4)? != MAGIC || word(4)? != crc32c::crc32c(bytes.get(8..)?) || word(8)? >> 8 != VERSION {
            return None;
        }
        let flags = word(8)?;
        let mut vote = Vote::new(number(1)?, number(2)?);
        vote.committed = flags & 2 != 0;
        let last = LogId::new(LeaderId::new(number(3)?, number(4)?), number(5)?);
        Some(Self { count: number(0)?, vote: (flags & 1 != 0).then_some(vote), last: (flags & 4 != 0).then_some(last) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(count: u64) -> Watermark {
        let last = Some(LogId::new(LeaderId::new(3, 1), 7));
        Watermark { count, vote: Some(Vote::new_committed(4, 2)), last }
    }

    #[test]
    fn a_torn_write_leaves_the_one_before_it() {
        let mut file = vec![0; 2 * SLOT];
        file[..USED].copy_from_slice(&mark(2).encode());
        file[SLOT..SLOT + USED].copy_from_slice(&mark(3).encode());
        assert_eq!(Watermark::newest(&file), Some(mark(3)));
        file[SLOT + 20] ^= 1;
        assert_eq!(Watermark::newest(&file), Some(mark(2)));
        file[20] ^= 1;
        assert_eq!(Watermark::newest(&file), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..1200)) {
            let _ = Watermark::newest(&bytes);
        }
    }
}
