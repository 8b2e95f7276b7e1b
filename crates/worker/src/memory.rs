//! Whether the node has memory left: what it holds, against what the machine and its control group allow.

use std::{fs, path::Path, time::Duration};

use crate::admission::Admission;

/// Below the limit by this much, in percent of it, bodies are taken again.
const RELIEF: u64 = 5;

/// Watches memory for as long as the worker lives, and has the door's upkeep done on the way.
pub(crate) async fn watch(share: u8, every: Duration, admission: &Admission) {
    let share = u64::from(share.min(100));
    let allowed = allowed(Path::new("/"));
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(10)));
    let mut pressed = false;
    loop {
        ticks.tick().await;
        // Files of the kernel: nothing that could block is behind them.
        let held = fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident);
        if let (Some(held), Some(allowed)) = (held, allowed)
            && share > 0
        {
            let now = is_pressed(pressed, held, allowed, share);
            if now != pressed {
                tracing::warn!(
                    held,
                    allowed,
                    "{}",
                    if now { "memory is short: bodies are refused" } else { "memory is back" }
                );
                admission.set_pressed(now);
                pressed = now;
            }
        }
        admission.upkeep();
    }
}

/// Begins at `share` percent and ends a bit below.
fn is_pressed(was: bool, held: u64, allowed: u64, share: u64) -> bool {
    let limit = allowed / 100 * share;
    held > if was { limit / 100 * (100 - RELIEF) } else { limit }
}

/// The lowest of the machine's memory and what control groups allow.
fn allowed(root: &Path) -> Option<u64> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let machine = read("proc/meminfo").as_deref().and_then(|text| kib_after(text, "MemTotal:"));
    let groups = read("proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().filter_map(|line| {
        let (kinds, path) = line.split_once(':')?.1.split_once(':')?;
        let path = path.trim_matches('/');
        match kinds {
            // A container sees its own group as the root.
            "" => smallest(
                [format!("sys/fs/cgroup/{path}/memory.max"), "sys/fs/cgroup/memory.max".into()].map(|at| read(&at)),
            ),
            _ if kinds.split(',').any(|kind| kind == "memory") => {
                let at = |path: &str| read(&format!("sys/fs/cgroup/memory/{path}/memory.limit_in_bytes"));
                smallest([at(path), at("")])
            }
            _ => None,
        }
    });
    limits.chain(machine).min()
}

fn smallest(texts: [Option<String>; 2]) -> Option<u64> {
    texts.into_iter().flatten().filter_map(|text| text.trim().parse().ok()).min()
}

/// Bytes of memory that the process holds, from its status file.
fn resident(status: &str) -> Option<u64> {
    kib_after(status, "VmRSS:")
}

fn kib_after(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_begins_at_the_limit_and_ends_below_it() {
        assert!(!is_pressed(false, 850, 1_000, 85));
        assert!(is_pressed(false, 851, 1_000, 85));
        assert!(is_pressed(true, 830, 1_000, 85), "no flapping");
        assert!(!is_pressed(true, 760, 1_000, 85));
    }

    #[test]
    fn the_lowest_limit_counts_in_either_kind_of_group() {
        let machine = ("proc/meminfo", "MemTotal:       2000 kB\nMemFree: 1 kB\n");
        let here = |files: &[(&str, &str)]| {
            let root = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            allowed(root.path())
        };
        assert_eq!(here(&[machine]), Some(2_048_000));
        let v2 = ("proc/self/cgroup", "0::/a/b\n");
        assert_eq!(here(&[machine, v2, ("sys/fs/cgroup/a/b/memory.max", "4096\n")]), Some(4_096));
        assert_eq!(here(&[machine, v2, ("sys/fs/cgroup/memory.max", "8192\n")]), Some(8_192), "in a container");
        assert_eq!(here(&[machine, v2, ("sys/fs/cgroup/a/b/memory.max", "max\n")]), Some(2_048_000));
        let v1 = ("proc/self/cgroup", "4:memory:/x\n1:cpu:/\n");
        assert_eq!(here(&[machine, v1, ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "5000")]), Some(5_000));
    }

    #[test]
    fn this_process_holds_something_and_may_hold_more() {
        let held = resident(&fs::read_to_string("/proc/self/status").unwrap()).unwrap();
        assert!(held > 0 && held < allowed(Path::new("/")).unwrap());
    }
}
