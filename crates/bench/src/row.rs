//! The list of rows: what each measures, what was promised, who measures it.

use std::{pin::Pin, time::Duration};

use crate::{bench::Bench, record::Finding, rows};

/// A measurement under way.
pub(crate) type Measuring<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Finding>> + 'a>>;

/// One row of the table.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    /// What one types.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) bar: &'static str,
    pub(crate) aim: &'static str,
    pub(crate) run: for<'a> fn(&'a Bench) -> Measuring<'a>,
}

impl Row {
    /// A row that takes longer hangs.
    pub(crate) const fn limit(&self, quick: bool) -> Duration {
        Duration::from_secs(if quick { 240 } else { 1_200 })
    }
}

macro_rules! rows {
    ($($name:literal $title:literal $bar:literal $aim:literal $run:path;)*) => {
        /// Every row, in the order of the page.
        pub(crate) const ALL: &[Row] = &[$(Row {
            name: $name,
            title: $title,
            bar: $bar,
            aim: $aim,
            run: |bench| Box::pin($run(bench)),
        }),*];
    };
}

rows! {
    "fresh" "Wasm hello, a fresh instance per call, the whole gateway on, beside `wasmtime serve`"
        "2.0 times its rate" "3.5 times" rows::hello::fresh;
    "reuse" "Wasm hello, instances reused, beside `wasmtime serve --max-instance-reuse-count 1000`"
        "1.0 times its rate" "1.5 times" rows::hello::reuse;
    "forwarded" "What a call costs more when another node runs it, on both nodes, beside nginx's hop to the same kind of origin"
        "3 times nginx's hop" "1.5 times" rows::forwarded::run;
    "cached" "A reply from the cache, beside nginx `proxy_cache`"
        "0.7 times its rate" "1.0 times" rows::cached::hit;
    "coalesced" "A reply shared with others in flight, beside a hit of nginx `proxy_cache`, by processor time"
        "0.7 times nginx" "1.0 times" rows::cached::coalesced;
    "cold" "The first call on a node that never ran the function; its artifact is local and compiled"
        "p99 10 ms" "p99 2 ms" rows::cold::run;
    "warm" "What the platform adds to a warm call's own time, at 70 % load, open loop"
        "p50 0.3 ms, p99 2 ms" "p50 0.1 ms, p99 1 ms" rows::warm::run;
    "writes" "Catalog writes, 3 nodes, 64 writers, beside etcd 3.4"
        "1.0 times its rate" "1.5 times" rows::writes::run;
    "outage" "Writes after `kill -9` of the leader, and calls meanwhile"
        "p99 5 s" "p99 2 s, no failed call" rows::outage::run;
    "overload" "Ten times the capacity offered, open loop"
        "goodput 80 % of peak" "90 %, recovered within 1 s" rows::overload::run;
    "fairness" "Two tenants, one floods: the other's p99 beside its own without the flood"
        "2.0 times" "1.5 times" rows::fairness::run;
    "slow-node" "One of three nodes slowed threefold under load: time until its share has fallen by 80 %"
        "1 s" "0.2 s" rows::slow_node::run;
    "image" "Thumbnails through a cluster of three, beside the same component in bare `wasmtime serve`"
        "5 % more processor time" "0 %" rows::image::run;
    "density" "10,000 functions registered on one node"
        "it works" "under 1 GiB, first call within the cold bar" rows::density::run;
    "identical" "10,000 identical requests at once: one gateway, three, three with scope = \"cluster\""
        "1, 3 and 1 executions, all answered" "the same" rows::identical::run;
    "simulated" "p99 beside an omniscient shortest queue, 1,000 simulated nodes at 70/90/95 % load"
        "1.2/1.5/2.0 times" "1.05/1.15/1.3 times" rows::simulated::run;
}

/// The row of that name.
pub(crate) fn find(name: &str) -> anyhow::Result<&'static Row> {
    let found = ALL.iter().find(|row| row.name == name);
    found.ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|row| row.name).collect();
        anyhow::anyhow!("there is no row {name:?}; there are: {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_unknown_ones_are_refused_with_the_list() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ALL.len());
        let Err(error) = find("nonsense") else { panic!("found") };
        assert!(error.to_string().contains("overload"), "{error}");
    }
}
