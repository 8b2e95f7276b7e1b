//! What the seeds' answers mean: join, form a cluster, or wait. Pure.

use std::collections::BTreeMap;

use onrush_types::{ClusterId, NodeId};

/// What one seed answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is this process.
    Myself,
    /// It belongs to nothing.
    Pristine {
        /// Its list of seeds is the same, word for word.
        same_list: bool,
    },
    /// It belongs to this cluster; `node` is 0 while it is only about to.
    Member { cluster: ClusterId, node: NodeId },
    /// Nothing.
    Silent { why: String },
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is a cluster; these seeds (by position) may let this node in.
    Join { cluster: ClusterId, through: Vec<usize> },
    /// There is none, and it is on this node to form it.
    Form,
    /// What is missing, for people.
    Wait(Vec<String>),
}

/// The seeds belong to different clusters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the seeds belong to two clusters: {one_seed} to {one}, {other_seed} to {other}. Start this node with the seeds of \
     the one it shall join"
)]
pub struct TwoClusters {
    one: ClusterId,
    one_seed: String,
    other: ClusterId,
    other_seed: String,
}

/// Judges one round of answers, one per seed. Safe because a cluster is formed by the lowest seed only, and only when
/// every other seed has said that it knows of none and counts the same seeds.
pub(crate) fn judge(seeds: &[String], answers: &[Answer]) -> Result<Verdict, TwoClusters> {
    if let Some((cluster, through)) = known_cluster(seeds, answers)? {
        return Ok(match through.is_empty() {
            false => Verdict::Join { cluster, through },
            true => Verdict::Wait(vec![format!("a member of cluster {cluster}")]),
        });
    }
    let missing: Vec<_> = seeds.iter().zip(answers).filter_map(|(seed, answer)| lacks(seed, answer)).collect();
    let lowest = seeds.iter().zip(answers).min_by_key(|(seed, _)| *seed);
    match lowest {
        Some((_, Answer::Myself)) if missing.is_empty() => Ok(Verdict::Form),
        Some((_, Answer::Myself)) | None => Ok(Verdict::Wait(missing)),
        Some((seed, Answer::Pristine { .. } | Answer::Member { .. } | Answer::Silent { .. })) => {
            let rest = format!("{seed}, the lowest seed, to form the cluster");
            Ok(Verdict::Wait(missing.into_iter().chain([rest]).collect()))
        }
    }
}

/// The one cluster that seeds know, and those of them who can let others in.
fn known_cluster(seeds: &[String], answers: &[Answer]) -> Result<Option<(ClusterId, Vec<usize>)>, TwoClusters> {
    let mut clusters = BTreeMap::new();
    let mut through = Vec::new();
    for (i, (seed, answer)) in seeds.iter().zip(answers).enumerate() {
        let Answer::Member { cluster, node } = answer else { continue };
        clusters.entry(*cluster).or_insert(seed);
        if node.0 != 0 {
            through.push(i);
        }
    }
    let mut known = clusters.into_iter();
    match (known.next(), known.next()) {
        (Some((one, one_seed)), Some((other, other_seed))) => {
            Err(TwoClusters { one, one_seed: one_seed.clone(), other, other_seed: other_seed.clone() })
        }
        (one, _) => Ok(one.map(|(cluster, _)| (cluster, through))),
    }
}

fn lacks(seed: &str, answer: &Answer) -> Option<String> {
    match answer {
        Answer::Myself | Answer::Pristine { same_list: true } | Answer::Member { .. } => None,
        Answer::Pristine { same_list: false } => Some(format!(
            "{seed} (it was started with another list of seeds: give every node the same --seed list, word for word)"
        )),
        Answer::Silent { why } => Some(format!("{seed} ({why})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAME: Answer = Answer::Pristine { same_list: true };

    fn seeds() -> Vec<String> {
        ["a:1", "b:1", "c:1"].map(str::to_owned).to_vec()
    }

    fn silent() -> Answer {
        Answer::Silent { why: "connection refused".to_owned() }
    }

    fn waits_for(answers: &[Answer]) -> String {
        match judge(&seeds(), answers).unwrap() {
            Verdict::Wait(missing) => missing.join("; "),
            verdict => panic!("{verdict:?}"),
        }
    }

    #[test]
    fn only_the_lowest_seed_forms_and_only_when_all_others_are_pristine_with_the_same_list() {
        assert_eq!(judge(&seeds(), &[Answer::Myself, SAME, SAME]), Ok(Verdict::Form));
        assert!(waits_for(&[SAME, Answer::Myself, SAME]).contains("a:1, the lowest"));
        assert!(waits_for(&[SAME, SAME, SAME]).contains("a:1, the lowest"), "not in the list: never forms");
        assert!(waits_for(&[Answer::Myself, silent(), SAME]).contains("b:1 (connection refused)"));
        assert!(waits_for(&[Answer::Myself, SAME, Answer::Pristine { same_list: false }]).contains("c:1 (it was"));
    }

    #[test]
    fn the_order_of_the_list_does_not_matter_for_who_is_lowest() {
        let seeds: Vec<_> = ["b:1", "a:1"].map(str::to_owned).to_vec();
        assert_eq!(judge(&seeds, &[SAME, Answer::Myself]), Ok(Verdict::Form));
        assert!(matches!(judge(&seeds, &[Answer::Myself, SAME]), Ok(Verdict::Wait(_))));
    }

    #[test]
    fn a_single_seed_that_is_this_node_forms_at_once() {
        assert_eq!(judge(&["a:1".to_owned()], &[Answer::Myself]), Ok(Verdict::Form));
    }

    #[test]
    fn a_known_cluster_is_joined_whoever_is_missing() {
        let cluster = ClusterId::new();
        let member = Answer::Member { cluster, node: NodeId(2) };
        let verdict = judge(&seeds(), &[Answer::Myself, silent(), member.clone()]).unwrap();
        assert_eq!(verdict, Verdict::Join { cluster, through: vec![2] });
        let about_to = Answer::Member { cluster, node: NodeId(0) };
        assert!(waits_for(&[Answer::Myself, SAME, about_to.clone()]).contains(&cluster.to_string()));
        let verdict = judge(&seeds(), &[about_to, member, silent()]).unwrap();
        assert_eq!(verdict, Verdict::Join { cluster, through: vec![1] });
    }

    #[test]
    fn two_clusters_are_an_error_that_names_both() {
        let [one, other] = [1, 2].map(|node| Answer::Member { cluster: ClusterId::new(), node: NodeId(node) });
        let error = judge(&seeds(), &[Answer::Myself, one, other]).unwrap_err().to_string();
        assert!(error.contains("b:1") && error.contains("c:1"), "{error}");
    }
}
