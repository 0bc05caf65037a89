use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::format::Record;
use super::*;
use crate::audit::decision::Decided;
use crate::clock::Timestamp;
use crate::identity::principal::{Groups, Principal, PrincipalKind};

fn principal(subject: &str) -> Principal {
    Principal {
        kind: PrincipalKind::User,
        provider: "okta".into(),
        issuer: "https://okta.example".into(),
        subject: subject.into(),
        email: None,
        display_name: None,
        groups: Groups::Missing,
        claims: std::collections::BTreeMap::new(),
        acr: None,
        auth_time: None,
        agents: Vec::new(),
    }
}

struct Request {
    route: Arc<str>,
    rule: Arc<str>,
    principal: Principal,
}

impl Request {
    fn new() -> Self {
        Self {
            route: "app".into(),
            rule: "everybody".into(),
            principal: principal("alice"),
        }
    }

    fn asked<'a>(&'a self, path: &'a str, seconds: i64) -> Asked<'a> {
        Asked {
            id: "id",
            at: Timestamp::from_seconds(seconds),
            caller: 1,
            principal: Some(&self.principal),
            session: Some("label"),
            reason: "",
            rule: Some(&self.rule),
            revision: 3,
            route: &self.route,
            host: "app.example",
            method: "GET",
            path,
            peer: [192, 0, 2, 1].into(),
            mesh_identity: Some("spiffe://td/ns/people/sa/alice"),
        }
    }
}

fn room(folder: &Path, bytes: u64) -> Spool {
    Spool::open(folder, bytes).unwrap()
}

/// What the next process finds.
fn left(folder: &Path) -> Vec<Decided> {
    let spool = room(folder, u64::MAX);
    let mut all = Vec::new();
    while let Some(segment) = spool.oldest() {
        all.extend(spool.read(&segment).unwrap().decided);
        spool.shipped(&segment).unwrap();
    }
    assert_eq!(spool.used(), 0);
    all
}

/// Everything stays on disk as it is; only the lock goes, as after a kill.
fn kill(spool: Spool, recorder: Recorder) {
    spool.0._lock.unlock().unwrap();
    std::mem::forget((spool, recorder));
}

#[test]
fn what_is_alike_is_counted_and_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let request = Request::new();
    let spool = room(folder.path(), u64::MAX);
    let recorder = spool.recorder();
    for second in 0..100 {
        let path = format!("/d/{second}");
        recorder.record(&request.asked(&path, second)).unwrap();
    }
    recorder.record(&request.asked("/other", 7)).unwrap();
    kill(spool, recorder);
    let decided = left(folder.path());
    let counts: Vec<_> = decided
        .iter()
        .map(|one| {
            (
                one.count,
                one.first_at,
                one.last_at,
                one.decision.template.as_str(),
            )
        })
        .collect();
    assert_eq!(
        counts,
        [
            (100, 0, 99_000_000, "/d/{*}"),
            (1, 7_000_000, 7_000_000, "/other")
        ]
    );
    assert_eq!(decided[0].decision.path, "/d/0");
    assert_eq!(decided[1].principal.as_deref(), Some(&request.principal));
}

#[test]
fn denials_of_people_are_told_apart_and_those_of_nobody_counted() {
    let folder = tempfile::tempdir().unwrap();
    let request = Request::new();
    let spool = room(folder.path(), u64::MAX);
    let recorder = spool.recorder();
    for second in 0..150 {
        let denied = Asked {
            reason: "not_allowed",
            ..request.asked("/", second)
        };
        recorder.record(&denied).unwrap();
        let nobody = Asked {
            caller: 0,
            principal: None,
            ..denied
        };
        recorder.record(&nobody).unwrap();
    }
    drop(recorder);
    drop(spool);
    let decided = left(folder.path());
    let (known, nobody): (Vec<_>, Vec<_>) = decided.iter().partition(|one| one.principal.is_some());
    assert_eq!(known.len(), 100);
    assert_eq!(known.iter().map(|one| one.count).sum::<i64>(), 150);
    assert_eq!(nobody.len(), 1);
    assert_eq!(nobody[0].count, 150);
}

#[test]
fn l5_nobody_fills_the_disk_with_paths() {
    let folder = tempfile::tempdir().unwrap();
    let request = Request::new();
    let spool = room(folder.path(), u64::MAX);
    let recorder = spool.recorder();
    let letters = |number: i64| -> String {
        let letter =
            |place: u32| char::from(b'a' + u8::try_from(number / 26_i64.pow(place) % 26).unwrap());
        (0..4).map(letter).collect()
    };
    for number in 0..5000 {
        let path = format!("/{}", letters(number));
        let known = request.asked(&path, number);
        recorder.record(&known).unwrap();
        let nobody = Asked {
            caller: 0,
            principal: None,
            ..known
        };
        recorder.record(&nobody).unwrap();
    }
    drop(recorder);
    drop(spool);
    let decided = left(folder.path());
    let (known, nobody): (Vec<_>, Vec<_>) = decided.iter().partition(|one| one.principal.is_some());
    assert_eq!((known.len(), nobody.len()), (1001, 1));
    assert_eq!(known.iter().map(|one| one.count).sum::<i64>(), 5000);
    assert_eq!(
        (nobody[0].count, nobody[0].decision.template.as_str()),
        (5000, "/{**}")
    );
}

#[test]
fn a_record_that_was_cut_short_ends_the_segment() {
    let folder = tempfile::tempdir().unwrap();
    let request = Request::new();
    let spool = room(folder.path(), u64::MAX);
    let recorder = spool.recorder();
    recorder.record(&request.asked("/a", 1)).unwrap();
    recorder.record(&request.asked("/b", 2)).unwrap();
    drop(recorder);
    let segment = spool.oldest().unwrap();
    let bytes = std::fs::read(&segment.path).unwrap();
    // Where records end: each begins with the length of its text.
    let mut ends = vec![0];
    while let Some(head) = bytes[ends[ends.len() - 1]..].first_chunk() {
        let text = usize::try_from(u32::from_le_bytes(*head)).unwrap();
        ends.push(ends[ends.len() - 1] + format::HEAD + text);
    }
    for length in 0..bytes.len() {
        let read = format::read(&bytes[..length]);
        assert!(read.decided.iter().all(|one| one.decision.path == "/a"));
        assert!(read.decided.len() < 2);
        assert_eq!(read.unread == 0, ends.contains(&length), "{length}");
        // What is left is told of, but for nothing at all.
        assert_eq!(
            format::read(&[&bytes[..length], &[0; 64]].concat()).unread,
            read.unread
        );
    }
    for at in (0..bytes.len()).filter(|at| bytes[*at] == b'b') {
        let mut spoilt = bytes.clone();
        spoilt[at] = b'c';
        assert!(
            format::read(&spoilt)
                .decided
                .iter()
                .all(|one| one.decision.path != "/c")
        );
    }
}

/// As a later version may find what an earlier one wrote.
#[test]
fn a_whole_record_that_cannot_be_read_is_told_of_and_what_is_before_it_kept() {
    let folder = tempfile::tempdir().unwrap();
    let spool = room(folder.path(), u64::MAX);
    let recorder = spool.recorder();
    recorder.record(&Request::new().asked("/a", 1)).unwrap();
    drop(recorder);
    let mut bytes = std::fs::read(spool.oldest().unwrap().path).unwrap();
    let whole = bytes.len();
    let unknown = Record::<(), _>::Decision(None, 1, "x");
    format::write(&mut bytes, &unknown, 1).unwrap();
    let read = format::read(&bytes);
    assert_eq!((read.decided.len(), read.unread), (1, bytes.len() - whole));
    assert!(read.why.is_some());

    // Nobody asked so often: such a head was spoilt.
    let mut spoilt = bytes[..whole].to_vec();
    let decision = spoilt.len()
        - spoilt
            .windows(9)
            .rev()
            .position(|part| part == b"{\"Decisio")
            .unwrap()
        - 9;
    let count = decision - format::HEAD + format::COUNT_AT;
    spoilt[count..count + 8].copy_from_slice(&i64::MAX.to_le_bytes());
    assert!(format::read(&spoilt).decided.is_empty());
}

#[test]
fn a_full_spool_takes_no_more_and_counts_on() {
    let folder = tempfile::tempdir().unwrap();
    let request = Request::new();
    let spool = room(folder.path(), 2000);
    let recorder = spool.recorder();
    let paths: Vec<String> = (b'a'..=b'z')
        .map(|letter| format!("/{}", char::from(letter)))
        .collect();
    let taken = paths
        .iter()
        .take_while(|path| recorder.record(&request.asked(path, 1)).is_ok())
        .count();
    assert!((2..26).contains(&taken), "{taken}");
    assert!(spool.used() <= 2000);
    // What is known already needs no room.
    recorder.record(&request.asked("/a", 2)).unwrap();
    let refused = recorder.record(&request.asked("/z", 2));
    assert!(matches!(refused, Err(SpoolError::Full)));
    drop(recorder);
    let segment = spool.oldest().unwrap();
    assert_eq!(spool.read(&segment).unwrap().decided.len(), taken);
    spool.shipped(&segment).unwrap();
    spool.recorder().record(&request.asked("/z", 3)).unwrap();
}

#[test]
fn segments_are_ended_when_they_are_old_unless_others_wait() {
    let folder = tempfile::tempdir().unwrap();
    let request = Request::new();
    let spool = room(folder.path(), u64::MAX);
    let recorder = spool.recorder();
    recorder.record(&request.asked("/", 1)).unwrap();
    recorder.tidy(Timestamp::from_micros(1_500_000));
    assert!(spool.oldest().is_none());
    recorder.tidy(Timestamp::from_seconds(2));
    let first = spool.oldest().unwrap();
    recorder.record(&request.asked("/", 3)).unwrap();
    recorder.tidy(Timestamp::from_seconds(10));
    assert_eq!(lock(&spool.0.open).len(), 2);
    spool.sync().unwrap();
    assert_eq!(lock(&spool.0.open).len(), 1, "what has ended is let go");
    spool.shipped(&first).unwrap();
    assert!(spool.oldest().is_none());
    recorder.tidy(Timestamp::from_seconds(10).plus(Duration::from_millis(1)));
    assert_ne!(spool.oldest().unwrap().id, first.id);
    assert!(
        Spool::open(folder.path(), 1).is_err(),
        "the folder is in use"
    );
}
