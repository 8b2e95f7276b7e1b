//! What a call may share in the whole cluster: wire <-> words.

use std::time::Duration;

use bytes::Bytes;
use onrush_invoke::{Caching, Coalesce, Scope, Sharing, SharingKey};

use super::wire::micros;
use crate::{FormatError, internal as pb};

/// What travels to the key's owner. Sharing among the calls of one gateway ends there.
pub(super) fn sharing_out(sharing: &Sharing) -> Option<pb::Sharing> {
    match sharing.scope {
        Scope::Gateway => None,
        Scope::Cluster => Some(pb::Sharing {
            key: Bytes::copy_from_slice(&sharing.key.0),
            coalesce: sharing.coalesce.as_ref().map(|coalesce| pb::Coalesce {
                waiters: coalesce.waiters,
                share_errors: coalesce.share_errors,
                lock_age_us: micros(coalesce.lock_age),
            }),
            cache: sharing.cache.as_ref().map(|cache| pb::Caching {
                obey_request: cache.obey_request,
                ttl_us: cache.ttl.map(micros),
                stale_while_revalidate_us: cache.stale_while_revalidate.map(micros),
                stale_if_error_us: cache.stale_if_error.map(micros),
                hit_for_miss_us: micros(cache.hit_for_miss),
            }),
            largest: sharing.largest,
            timeout_us: sharing.timeout.map(micros),
        }),
    }
}

/// What came.
pub(super) fn sharing_in(sharing: pb::Sharing) -> Result<Sharing, FormatError> {
    let key = <[u8; 32]>::try_from(&*sharing.key);
    Ok(Sharing {
        key: SharingKey(key.map_err(|_| FormatError::Field { what: "Sharing", field: "key" })?),
        scope: Scope::Cluster,
        coalesce: sharing.coalesce.map(|coalesce| Coalesce {
            waiters: coalesce.waiters,
            share_errors: coalesce.share_errors,
            lock_age: Duration::from_micros(coalesce.lock_age_us),
        }),
        cache: sharing.cache.map(|cache| Caching {
            obey_request: cache.obey_request,
            ttl: cache.ttl_us.map(Duration::from_micros),
            stale_while_revalidate: cache.stale_while_revalidate_us.map(Duration::from_micros),
            stale_if_error: cache.stale_if_error_us.map(Duration::from_micros),
            hit_for_miss: Duration::from_micros(cache.hit_for_miss_us),
        }),
        largest: sharing.largest,
        timeout: sharing.timeout_us.map(Duration::from_micros),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cluster_shares_arrives_as_it_was_sent_and_the_rest_does_not() {
        let second = Duration::from_secs(1);
        let full = Sharing {
            key: SharingKey([7; 32]),
            scope: Scope::Cluster,
            coalesce: Some(Coalesce { waiters: 3, share_errors: true, lock_age: second }),
            cache: Some(Caching {
                obey_request: true,
                ttl: Some(second),
                stale_while_revalidate: Some(second * 2),
                stale_if_error: Some(second * 3),
                hit_for_miss: second * 4,
            }),
            largest: 5,
            timeout: Some(second * 6),
        };
        let empty = Sharing { coalesce: None, cache: None, timeout: None, ..full };
        for sharing in [full.clone(), empty] {
            assert_eq!(sharing_in(sharing_out(&sharing).unwrap()).unwrap(), sharing);
        }
        assert!(sharing_out(&Sharing { scope: Scope::Gateway, ..full.clone() }).is_none());
        let cut = pb::Sharing { key: Bytes::from_static(&[7; 31]), ..sharing_out(&full).unwrap() };
        assert!(sharing_in(cut).is_err());
    }
}
