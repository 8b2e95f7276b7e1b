use std::{fs, path::Path};

use super::*;
use crate::storage::{OpenError, open};

fn refusal(dir: &Path) -> OpenError {
    open(dir, &impatient()).unwrap_err()
}

#[test]
fn a_directory_in_use_is_refused_until_it_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path(), &Config::default()).unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains("in use by another process"));
    // A node that restarts waits for its predecessor.
    let path = dir.path().to_owned();
    let successor = std::thread::spawn(move || {
        let config = Config { lock_wait: std::time::Duration::from_secs(30), ..Config::default() };
        open(&path, &config).map(drop)
    });
    drop(storage);
    successor.join().unwrap().unwrap();
}

#[test]
fn a_strangers_directory_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
    let error = refusal(dir.path());
    assert!(matches!(&error, OpenError::NotOurs { why, .. } if why.contains("thesis.txt")), "{error:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

    let file = dir.path().join("thesis.txt");
    assert!(matches!(refusal(&file), OpenError::NotOurs { .. }));
    assert!(matches!(refusal(&file.join("below")), OpenError::Io { .. }));

    let dir = tempfile::tempdir().unwrap();
    for text in [&b"something else"[..], b"onrush catalog, format one", b"onrush catalog, format 0", b"\xff\xfe"] {
        fs::write(dir.path().join("FORMAT"), text).unwrap();
        assert!(matches!(refusal(dir.path()), OpenError::NotOurs { .. }));
    }
}

#[test]
fn a_newer_layout_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("FORMAT"), "onrush catalog, format 2\n").unwrap();
    assert!(matches!(refusal(dir.path()), OpenError::Newer { found: 2, known: 1, .. }));
}

#[test]
fn a_crash_during_the_very_first_start_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("FORMAT.new"), "onru").unwrap();
    drop(open(dir.path(), &Config::default()).unwrap());
    drop(open(dir.path(), &Config::default()).unwrap());
}

#[tokio::test]
async fn a_lost_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut storage = open(dir.path(), &Config::default()).unwrap();
    storage.log.blocking_append([blank(1, 0)]).await.unwrap();
    drop(storage);
    fs::remove_dir_all(dir.path().join("db")).unwrap();
    let error = refusal(dir.path());
    assert!(matches!(&error, OpenError::Damaged { why, .. } if why.contains("had reached entry 0")), "{error:?}");
}
