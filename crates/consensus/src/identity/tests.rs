use super::*;

fn identity() -> Identity {
    Identity { cluster: ClusterId::new(), node: NodeId(3), name: "c".parse().unwrap(), founding: None }
}

#[test]
fn an_identity_is_found_again_and_ends_the_request_for_admission() {
    let temp = tempfile::tempdir().unwrap();
    let identity = identity();
    {
        let dir = DataDir::open(&temp.path().join("new")).unwrap();
        assert_eq!(dir.identity().unwrap(), None);
        let join = PendingJoin { cluster: identity.cluster, request: RequestId::new(), name: identity.name.clone() };
        dir.keep_join(&join).unwrap();
        assert_eq!(dir.pending_join().unwrap(), Some(join));
        dir.keep_identity(&identity).unwrap();
    }
    let dir = DataDir::open(&temp.path().join("new")).unwrap();
    assert_eq!(dir.identity().unwrap(), Some(identity));
    assert_eq!(dir.pending_join().unwrap(), None);
}

#[test]
fn a_second_user_of_a_directory_is_refused_until_the_first_has_gone() {
    let temp = tempfile::tempdir().unwrap();
    let first = DataDir::open(temp.path()).unwrap();
    assert!(matches!(DataDir::open(temp.path()).unwrap_err(), DirError::InUse { .. }));
    drop(first);
    DataDir::open(temp.path()).unwrap();
}

#[test]
fn generations_grow_even_if_the_clock_goes_back() {
    let temp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temp.path()).unwrap();
    assert_eq!(dir.next_generation(1_000).unwrap(), 1_000);
    assert_eq!(dir.next_generation(10).unwrap(), 1_001);
    drop(dir);
    assert_eq!(DataDir::open(temp.path()).unwrap().next_generation(10).unwrap(), 1_002);
}

#[test]
fn somebody_elses_directory_is_refused_and_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("thesis.tex"), "x").unwrap();
    let error = DataDir::open(temp.path()).unwrap_err();
    assert!(matches!(&error, DirError::Foreign { found, .. } if found == "thesis.tex"), "{error}");
    assert_eq!(temp.path().read_dir().unwrap().count(), 1);
}

#[test]
fn a_damaged_or_newer_file_is_refused_with_its_name() {
    let temp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temp.path()).unwrap();
    fs::write(temp.path().join(IDENTITY), "{\"format\":1,\"clus").unwrap();
    let error = dir.identity().unwrap_err();
    assert!(matches!(error, DirError::Damaged { .. }) && error.to_string().contains(IDENTITY), "{error}");
    fs::write(temp.path().join(IDENTITY), "{\"format\":9}").unwrap();
    assert!(matches!(dir.identity().unwrap_err(), DirError::Newer { found: 9, .. }));
}

#[test]
fn a_log_that_is_gone_is_noticed_but_one_that_never_was_is_not_missed() {
    let temp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temp.path()).unwrap();
    let raft = dir.raft(NodeId(1)).unwrap();
    fs::create_dir(&raft).unwrap();
    fs::write(raft.join("CURRENT"), "x").unwrap();
    dir.mark_started().unwrap();
    dir.raft(NodeId(1)).unwrap();
    fs::remove_dir_all(&raft).unwrap();
    assert!(matches!(dir.raft(NodeId(1)).unwrap_err(), DirError::LogLost { .. }));
}
