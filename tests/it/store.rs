//! The store on SQLite and on Postgres: one suite for both. Sessions of two replicas on one Postgres.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::Connection;
use wayleave::access::{self, AccessId, Asked, EndOfGrant, OpenRequest};
use wayleave::admin::actor::Actor;
use wayleave::admin::keys::{KeyState, Keys as SigningKeys, KeysError};
use wayleave::audit::chain::Break;
use wayleave::audit::checkpoint::Keys;
use wayleave::audit::decision::{Decided, Decision};
use wayleave::audit::verify::{Verified, Verifier};
use wayleave::clock::{Clock, ManualClock, SharedClock, Timestamp};
use wayleave::config::checked::{SessionConfig, StoreConfig};
use wayleave::identity::principal::{Groups, Principal, PrincipalKind};
use wayleave::policy::kind::Kind;
use wayleave::policy::model::Revision;
use wayleave::secret::{ExposeSecret, Sealer, SecretString, Token, TokenHash, random};
use wayleave::session::*;
use wayleave::store::access::{Most, Opened, Taken};
use wayleave::store::activity::Counted;
use wayleave::store::audit::EventFilter;
use wayleave::store::changes::{Change, FeedPoint};
use wayleave::store::decisions::{DecisionCursor, KnownPrincipals};
use wayleave::store::edges::EdgeRecord;
use wayleave::store::people::PersonId;
use wayleave::store::policy::{PolicyObject, RowKind, Written};
use wayleave::store::revoking::SessionFilter;
use wayleave::store::{After, Store, StoreError};
use wayleave::token::access::AccessToken;
use wayleave::token::assertion::Minter;

use crate::parts::served::database;

struct Place {
    config: StoreConfig,
    clock: Arc<ManualClock>,
    _folder: Option<tempfile::TempDir>,
}

impl Place {
    fn at(url: String, folder: Option<tempfile::TempDir>) -> Self {
        Self {
            config: StoreConfig {
                url: url.into(),
                key: Arc::new(Sealer::new(&random())),
                connections: 8,
            },
            clock: Arc::new(ManualClock::new(Timestamp::from_seconds(1_800_000_000))),
            _folder: folder,
        }
    }

    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/store.db", folder.path().display());
        Self::at(url, Some(folder))
    }

    async fn postgres() -> Self {
        Self::at(database().await, None)
    }

    async fn open(&self) -> Store {
        let clock: SharedClock = self.clock.clone();
        Store::open(&self.config, clock).await.unwrap()
    }
}

impl Place {
    /// Runs a statement past the store.
    async fn execute(&self, sql: &'static str) -> Result<(), sqlx::Error> {
        let url = self.config.url.expose_secret();
        if url.starts_with("sqlite") {
            let mut own = sqlx::SqliteConnection::connect(url).await?;
            sqlx::raw_sql(sql).execute(&mut own).await.map(drop)
        } else {
            let mut own = sqlx::PgConnection::connect(url).await?;
            sqlx::raw_sql(sql).execute(&mut own).await.map(drop)
        }
    }

    /// The same, as the owner of the tables.
    async fn without_triggers(&self, sql: &'static str) {
        let is_sqlite = self.config.url.expose_secret().starts_with("sqlite");
        let disarm: &[&'static str] = match is_sqlite {
            true => &[
                "DROP TRIGGER IF EXISTS audit_events_kept",
                "DROP TRIGGER IF EXISTS audit_events_unchanged",
            ],
            false => &["ALTER TABLE audit_events DISABLE TRIGGER ALL"],
        };
        for statement in disarm.iter().chain([&sql]) {
            self.execute(statement).await.unwrap();
        }
    }
}

/// Runs a test on both databases.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite { $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(super::Place::sqlite()).await; })* }
        mod postgres { $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(super::Place::postgres().await).await; })* }
    };
}
on_both!(
    eight_opens_at_once,
    feed_follows_commits,
    one_taker_of_fifty,
    l6_several_are_kept_in_one_transaction_and_the_oldest_give_way,
    one_revision_of_fifty,
    many_objects_are_written_together_and_a_small_change_is_of_few_rows,
    one_lease,
    acknowledged_is_there_without_close,
    nothing_revives,
    the_wrong_key_is_told,
    h6_fifty_loads_refresh_once,
    e8_h3_sign_in_again_and_out,
    h4_refused_refresh_ends,
    k10_events_are_chained_and_stay_as_they_are,
    k10_what_is_old_is_pruned_behind_a_checkpoint,
    decisions_are_taken_in_once_and_counted_by_the_hour,
    i10_one_grant_of_fifty,
    i10_a_request_that_is_over_stays_so,
    open_requests_are_few_and_each_rule_has_one,
    i9_grants_end_and_their_end_is_told,
    broken_glass_waits_for_a_review,
    broken_glass_that_was_taken_away_stays_so_until_it_was_looked_at,
    l6_nobody_asks_without_end,
    what_was_over_long_ago_is_forgotten,
    people_and_counts_are_kept_where_they_happen,
    sessions_are_listed_and_revoked,
    edges_say_that_they_serve,
    keys_are_published_before_they_sign_and_after,
    a_revoked_key_is_good_for_nothing_at_once,
    keys_of_a_release_without_rotation_are_taken_over,
    a_change_of_a_kind_that_is_not_known_is_passed_over,
    a_store_that_was_set_back_is_not_read_on,
);

fn principal() -> Principal {
    Principal {
        kind: PrincipalKind::User,
        provider: "demo".into(),
        issuer: "https://idp.example".into(),
        subject: "alice".into(),
        email: None,
        display_name: None,
        groups: Groups::Missing,
        claims: std::collections::BTreeMap::new(),
        acr: None,
        auth_time: None,
        agents: Vec::new(),
    }
}

fn tokens() -> ProviderTokens {
    ProviderTokens {
        refresh_token: Some(SecretString::from("r1")),
        id_token: None,
    }
}

fn arrival(replaces: Option<TokenHash>) -> Arrival<'static> {
    Arrival {
        host: "app",
        peer: None,
        browser: None,
        replaces,
    }
}

async fn session(store: &Store, clock: &ManualClock, id: &str) -> (SessionRecord, Token) {
    let now = clock.now();
    let record = SessionRecord {
        id: SessionId(id.into()),
        principal: principal(),
        provider_sid: Some("sid".into()),
        peer: Some([192, 0, 2, 7].into()),
        browser: None,
        created_at: now,
        last_seen: now,
        expires_at: now.plus(Duration::from_secs(3600)),
        refresh_at: now.plus(Duration::from_secs(600)),
    };
    let token = Token::generate();
    store
        .create_session(&record, &tokens(), token.hash(), "app")
        .await
        .unwrap();
    (record, token)
}

async fn eight_opens_at_once(place: Place) {
    let opens = (0..8).map(|_| place.open());
    futures_util::future::join_all(opens).await;
    place.open().await.ping().await.unwrap();
}

async fn feed_follows_commits(place: Place) {
    let store = place.open().await;
    for n in 0..40 {
        session(&store, &place.clock, &format!("s{n}")).await;
    }
    let ids: Vec<_> = (0..40).map(|n| SessionId(format!("s{n}").into())).collect();
    let reader = async {
        let (mut at, mut seen) = (FeedPoint::default(), 0);
        while seen < 40 {
            for (point, _) in store.changes_after(at).await.unwrap() {
                assert_eq!(point.seq, at.seq + 1, "no gap is ever filled later");
                at = point;
                seen += 1;
            }
            store.wait_for_change(Duration::from_millis(200)).await;
        }
    };
    let writers = futures_util::future::join_all(
        ids.iter()
            .map(|id| store.end_session(id, EndReason::SignedOut)),
    );
    let ((), ended) = tokio::join!(reader, writers);
    assert!(ended.into_iter().all(|e| e.unwrap()));
}

async fn one_taker_of_fifty(place: Place) {
    let store = place.open().await;
    let key = Token::generate().hash();
    let until = place.clock.now().plus(Duration::from_secs(60));
    assert!(store.put_once("code", key, b"v", until).await.unwrap());
    assert!(!store.put_once("code", key, b"w", until).await.unwrap());
    let taken = futures_util::future::join_all((0..50).map(|_| store.take_once("code", key))).await;
    let got: Vec<_> = taken.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(got, [b"v".to_vec()]);
}

async fn one_revision_of_fifty(place: Place) {
    let store = place.open().await;
    let object = |n: i64| PolicyObject {
        kind: RowKind::Object(Kind::Rule),
        name: "r".into(),
        position: 0,
        body: n.to_string(),
        text: String::new(),
    };
    let objects: Vec<_> = (0..50).map(|n| [object(n)]).collect();
    let writes = objects
        .iter()
        .map(|o| store.write_revision(None, "a", "m", o));
    let written = futures_util::future::join_all(writes).await;
    let won = written
        .iter()
        .filter(|w| matches!(w, Ok(Written::Revision(Revision(1)))));
    assert_eq!(won.count(), 1);
    let kept = store.policy_objects(Revision(1)).await.unwrap();
    let same = store
        .write_revision(Some(Revision(1)), "a", "m", &kept)
        .await
        .unwrap();
    assert_eq!(same, Written::Unchanged(Revision(1)));
    let next = store
        .write_revision(Some(Revision(1)), "a", "m", &[object(99)])
        .await
        .unwrap();
    assert_eq!(next, Written::Revision(Revision(2)));
    assert_eq!(store.policy_objects(Revision(1)).await.unwrap(), kept);
}

async fn many_objects_are_written_together_and_a_small_change_is_of_few_rows(place: Place) {
    let store = place.open().await;
    let object = |n: i64| PolicyObject {
        kind: RowKind::Object(Kind::Rule),
        name: format!("r{n}"),
        position: n << 20,
        body: format!("{{\"name\": \"r{n}\"}}"),
        text: format!("- name: r{n} # \u{e9}\\ '\"\n\t"),
    };
    // More than go with one statement, twice.
    let mut objects: Vec<_> = (0..12_001).map(object).collect();
    let first = store
        .write_revision(None, "a", "m", &objects)
        .await
        .unwrap();
    assert_eq!(first, Written::Revision(Revision(1)));
    let before = store.policy_objects(Revision(1)).await.unwrap();
    assert_eq!(before, objects);

    objects[7_000].body = "{}".to_owned();
    objects.remove(3_000);
    let parent = Some(Revision(1));
    let second = store
        .write_revision(parent, "a", "m", &objects)
        .await
        .unwrap();
    assert_eq!(second, Written::Revision(Revision(2)));
    assert_eq!(store.policy_objects(Revision(2)).await.unwrap(), objects);
    assert_eq!(store.policy_objects(Revision(1)).await.unwrap(), before);
    for (name, versions) in [("r7000", 2), ("r3000", 1), ("r0", 1), ("r12000", 1)] {
        let found = store.object_versions(Kind::Rule, name).await.unwrap();
        assert_eq!(found.len(), versions, "{name}");
        let is_over = found.last().unwrap().until == Some(Revision(2));
        assert_eq!(is_over, matches!(name, "r7000" | "r3000"), "{name}");
    }
}

async fn one_lease(place: Place) {
    let store = place.open().await;
    let (record, _) = session(&store, &place.clock, "s").await;
    let until = place.clock.now().plus(Duration::from_secs(10));
    let leases = (0..20).map(|_| store.lease_refresh(&record.id, until));
    let got = futures_util::future::join_all(leases).await;
    assert_eq!(got.into_iter().filter(|l| *l.as_ref().unwrap()).count(), 1);
}

async fn acknowledged_is_there_without_close(place: Place) {
    let store = place.open().await;
    let (record, token) = session(&store, &place.clock, "s").await;
    let again = place.open().await;
    assert_eq!(
        again.session_by_cookie(token.hash(), "app").await.unwrap(),
        Some(record)
    );
    assert_eq!(
        again
            .session_by_cookie(token.hash(), "other")
            .await
            .unwrap(),
        None
    );
}

async fn nothing_revives(place: Place) {
    let store = place.open().await;
    let (record, token) = session(&store, &place.clock, "s").await;
    assert!(
        store
            .end_session(&record.id, EndReason::SignedOut)
            .await
            .unwrap()
    );
    assert!(
        !store
            .end_session(&record.id, EndReason::SignedOut)
            .await
            .unwrap()
    );
    let later = place.clock.now().plus(Duration::from_secs(5));
    store
        .touch_sessions(&[(record.id.clone(), later)])
        .await
        .unwrap();
    assert!(!store.store_refreshed(&record, &tokens()).await.unwrap());
    assert!(
        !store
            .add_session_cookie(&record.id, Token::generate().hash(), "b")
            .await
            .unwrap()
    );
    assert!(!store.lease_refresh(&record.id, later).await.unwrap());
    assert!(store.provider_tokens(&record.id).await.unwrap().is_none());
    assert!(store.session(&record.id).await.unwrap().is_none());
    assert!(
        store
            .session_by_cookie(token.hash(), "app")
            .await
            .unwrap()
            .is_none()
    );
}

async fn l6_several_are_kept_in_one_transaction_and_the_oldest_give_way(place: Place) {
    let store = place.open().await;
    let now = place.clock.now();
    let ids: Vec<Token> = (0..20).map(|_| Token::generate()).collect();
    let seconds = Duration::from_secs;
    let values: Vec<_> = (60..)
        .zip(&ids)
        .map(|(until, id)| store.sealed_once("attempt", id.hash(), b"v", now.plus(seconds(until))))
        .collect();
    // The store refuses one of them, so none is kept.
    let refusing = match place.config.url.expose_secret().starts_with("sqlite") {
        true => {
            "CREATE TRIGGER full BEFORE INSERT ON one_time WHEN (SELECT COUNT(*) FROM one_time) >= 10 \
                 BEGIN SELECT RAISE(ABORT, 'full'); END"
        }
        false => {
            "CREATE FUNCTION full_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                  IF (SELECT COUNT(*) FROM one_time) >= 10 THEN RAISE EXCEPTION 'full'; END IF; RETURN NEW; END $$; \
                  CREATE TRIGGER full_up BEFORE INSERT ON one_time FOR EACH ROW EXECUTE FUNCTION full_up()"
        }
    };
    place.execute(refusing).await.unwrap();
    assert!(store.put_all_once(&values).await.is_err());
    let is_there = async |id: &Token| {
        let kept = store.peek_once("attempt", id.hash()).await.unwrap();
        kept.is_some()
    };
    assert!(!is_there(&ids[0]).await);
    let again = match place.config.url.expose_secret().starts_with("sqlite") {
        true => "DROP TRIGGER full",
        false => "DROP TRIGGER full_up ON one_time",
    };
    place.execute(again).await.unwrap();

    assert_eq!(store.put_all_once(&values).await.unwrap(), [true; 20]);
    assert_eq!(store.put_all_once(&values[..2]).await.unwrap(), [false; 2]);
    let until = now.plus(seconds(1));
    let other = Token::generate();
    let put = store.put_once("exchange", other.hash(), b"v", until);
    assert!(put.await.unwrap());
    store.thin_once("attempt", 20, 5).await.unwrap();
    assert!(is_there(&ids[0]).await, "there are not too many");
    store.thin_once("attempt", 15, 3).await.unwrap();
    for (place, id) in ids.iter().enumerate() {
        assert_eq!(is_there(id).await, place >= 8, "{place}");
    }
    let kept = store.peek_once("exchange", other.hash()).await.unwrap();
    assert!(kept.is_some(), "of another kind");
}

async fn the_wrong_key_is_told(mut place: Place) {
    let (record, _) = session(&place.open().await, &place.clock, "s").await;
    place.config.key = Arc::new(Sealer::new(&random()));
    let read = place.open().await.provider_tokens(&record.id).await;
    assert!(matches!(read, Err(StoreError::Sealed)));
}

/// Counts how often it is asked.
struct Provider(AtomicUsize, Option<RefreshFault>);

impl Refresher for Provider {
    fn refresh<'a>(
        &'a self,
        principal: &'a Principal,
        _tokens: &'a ProviderTokens,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Refreshed, RefreshFault>> + Send + 'a>> {
        Box::pin(async {
            self.0.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
            let refreshed = Refreshed {
                principal: principal.clone(),
                tokens: tokens(),
            };
            self.1.map_or(Ok(refreshed), Err)
        })
    }

    fn vouches_for(&self, _principal: &Principal, _until: Timestamp) -> bool {
        true
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's task ends with its runtime"
)]
async fn sessions(
    place: &Place,
    fault: Option<RefreshFault>,
) -> (Arc<Sessions>, Arc<Provider>, Store) {
    let seconds = Duration::from_secs;
    let config = SessionConfig {
        idle: seconds(3600),
        absolute: seconds(7200),
        refresh_every: seconds(600),
        refresh_grace: seconds(300),
        max_staleness: seconds(600),
    };
    let provider = Arc::new(Provider(AtomicUsize::new(0), fault));
    let store = place.open().await;
    let sessions = Sessions::new(store.clone(), place.clock.clone(), config, provider.clone());
    tokio::spawn(Arc::clone(&sessions).maintain());
    (sessions, provider, store)
}

async fn h6_fifty_loads_refresh_once(place: Place) {
    let (one, asked, _) = sessions(&place, None).await;
    let (two, asked_too, _) = sessions(&place, None).await;
    let (_, token) = one
        .start(principal(), tokens(), None, arrival(None))
        .await
        .unwrap();
    place.clock.advance(Duration::from_secs(601));
    let loads = (0..50).map(|n| if n % 2 == 0 { &one } else { &two }.load(token.hash(), "app"));
    let loaded = futures_util::future::join_all(loads).await;
    assert!(loaded.into_iter().all(|l| l.unwrap().is_some()));
    assert_eq!(
        asked.0.load(Ordering::SeqCst) + asked_too.0.load(Ordering::SeqCst),
        1
    );
}

async fn e8_h3_sign_in_again_and_out(place: Place) {
    let (one, _, _) = sessions(&place, None).await;
    let (old, cookie) = one
        .start(principal(), tokens(), None, arrival(None))
        .await
        .unwrap();
    let again = one
        .start(principal(), tokens(), None, arrival(Some(cookie.hash())))
        .await;
    let (new, next) = again.unwrap();
    assert_ne!(old.id, new.id);
    assert!(old.end.is_cancelled() && !old.is_live(place.clock.now()));
    assert!(one.load(cookie.hash(), "app").await.unwrap().is_none());
    assert!(one.load(next.hash(), "other").await.unwrap().is_none());
    one.end(&new.id, EndReason::SignedOut).await.unwrap();
    assert!(one.load(next.hash(), "app").await.unwrap().is_none());
    let (_, last) = one
        .start(principal(), tokens(), None, arrival(None))
        .await
        .unwrap();
    place.clock.advance(Duration::from_secs(7201));
    assert!(one.load(last.hash(), "app").await.unwrap().is_none(), "h10");
}

async fn h4_refused_refresh_ends(place: Place) {
    let (one, _, store) = sessions(&place, Some(RefreshFault::Refused)).await;
    let (session, token) = one
        .start(principal(), tokens(), None, arrival(None))
        .await
        .unwrap();
    place.clock.advance(Duration::from_secs(601));
    assert!(one.load(token.hash(), "app").await.unwrap().is_none());
    assert!(session.end.is_cancelled());
    let feed = store.changes_after(FeedPoint::default()).await.unwrap();
    assert_eq!(feed[0].1, Some(Change::SessionEnded(session.id.clone())));
}

/// Reads the whole log, and verifies it with what signs its checkpoints.
async fn verified(store: &Store, minter: &Minter) -> Result<Verified, Break> {
    let keys = Keys::read(&minter.all_keys()).unwrap();
    let signed = store.checkpoints().await.unwrap();
    let signed = signed.iter().map(|one| (one.seq, one.token.as_str()));
    let mut verifier = Verifier::new(signed, &keys)?;
    let all = EventFilter::default();
    for entry in store.events_after(0, &all, 1000).await.unwrap() {
        verifier.event(&entry)?;
    }
    let (seq, link) = store.audit_head().await.unwrap();
    verifier.end(Some((seq, &link.to_string())))
}

async fn minter(store: &Store, place: &Place) -> Arc<Minter> {
    let clock: SharedClock = place.clock.clone();
    let issuer = "https://access.example".to_owned();
    Minter::load(store, clock, issuer).await.unwrap()
}

async fn sign(store: &Store, minter: &Minter) {
    let (seq, link) = store.audit_head().await.unwrap();
    let token = minter.checkpoint(seq, link);
    store.keep_checkpoint(seq, &token).await.unwrap();
}

async fn k10_events_are_chained_and_stay_as_they_are(place: Place) {
    let stores = [place.open().await, place.open().await];
    let minter = minter(&stores[0], &place).await;
    // Two replicas at once.
    let ids: Vec<String> = (0..40).map(|n| format!("s{n}")).collect();
    let works = ids
        .iter()
        .zip(stores.iter().cycle())
        .map(async |(id, store)| {
            let (record, _) = session(store, &place.clock, id).await;
            store
                .end_session(&record.id, EndReason::SignedOut)
                .await
                .unwrap();
        });
    futures_util::future::join_all(works).await;
    sign(&stores[0], &minter).await;
    session(&stores[1], &place.clock, "later").await;
    let whole = verified(&stores[0], &minter).await.unwrap();
    assert_eq!((whole.events, whole.checkpoints, whole.last), (81, 1, 81));
    let ended = EventFilter {
        kind: Some("session_ended".to_owned()),
        contains: Some("Signed_OUT".to_owned()),
        ..EventFilter::default()
    };
    let ended = stores[0]
        .events_before(i64::MAX, &ended, 1000)
        .await
        .unwrap();
    assert_eq!(ended.len(), 40);

    for change in [
        "UPDATE audit_events SET body = '{}' WHERE seq = 7",
        "UPDATE audit_events SET kind = 'x' WHERE seq = 7",
        "DELETE FROM audit_events WHERE seq = 7",
        "DELETE FROM audit_events",
    ] {
        let refused = place.execute(change).await.unwrap_err().to_string();
        assert!(refused.contains("audit events are"), "{change}: {refused}");
    }
    // Whoever owns the database can take even that away, and is found out.
    for (change, first_bad) in [
        ("UPDATE audit_events SET at = at + 1 WHERE seq = 60", 60),
        ("DELETE FROM audit_events WHERE seq = 50", 50),
        ("DELETE FROM audit_events WHERE seq < 50", 1),
        // Right behind a checkpoint, and no event says so.
        ("DELETE FROM audit_events WHERE seq <= 80", 1),
    ] {
        place.without_triggers(change).await;
        assert_eq!(
            verified(&stores[0], &minter).await.unwrap_err().seq,
            first_bad,
            "{change}"
        );
    }
    assert!(place.open().await.ping().await.is_ok());
}

async fn k10_what_is_old_is_pruned_behind_a_checkpoint(place: Place) {
    let store = place.open().await;
    let minter = minter(&store, &place).await;
    for n in 0..10 {
        session(&store, &place.clock, &format!("old{n}")).await;
        if n == 6 || n == 9 {
            sign(&store, &minter).await;
        }
    }
    place.clock.advance(Duration::from_secs(7200));
    // Their time was up, and nobody had told of it.
    store.sweep().await.unwrap();
    let whole = verified(&store, &minter).await.unwrap();
    assert_eq!(whole.events, 20);
    let expired = store
        .events_after(10, &EventFilter::default(), 1)
        .await
        .unwrap();
    assert!(
        expired[0].body.contains("\"reason\":\"expired\""),
        "{}",
        expired[0].body
    );

    store
        .prune_events(
            place.clock.now().minus(Duration::from_secs(7201)),
            Duration::ZERO,
        )
        .await
        .unwrap();
    assert_eq!(verified(&store, &minter).await.unwrap().events, 20);
    store
        .prune_events(
            place.clock.now().minus(Duration::from_secs(60)),
            Duration::ZERO,
        )
        .await
        .unwrap();
    let pruned = verified(&store, &minter).await.unwrap();
    assert_eq!(
        (pruned.events, pruned.last),
        (11, 21),
        "11 to 20, and that it was done"
    );
    // Without the checkpoint nobody could say that they were pruned.
    place
        .execute("DELETE FROM audit_checkpoints")
        .await
        .unwrap();
    assert_eq!(verified(&store, &minter).await.unwrap_err().seq, 1);
}

fn decided(place: &Place, id: &str, path: &str, is_allowed: bool) -> Decided {
    let at = place.clock.now().micros();
    let decision = Decision {
        id: id.to_owned(),
        is_allowed,
        reason: if is_allowed { "" } else { "not_allowed" }.to_owned(),
        rule: None,
        revision: 1,
        route: "app".into(),
        host: "app.example".to_owned(),
        method: "GET".to_owned(),
        path: path.to_owned(),
        template: "/d/{*}".to_owned(),
        peer: [192, 0, 2, 1].into(),
        session: None,
        mesh_identity: None,
    };
    Decided {
        principal: Some(Arc::new(principal())),
        decision,
        count: 2,
        first_at: at,
        last_at: at + 10,
    }
}

async fn decisions_are_taken_in_once_and_counted_by_the_hour(place: Place) {
    let (store, began) = (place.open().await, place.clock.now());
    let alike = [
        decided(&place, "a1", "/d/1", true),
        decided(&place, "a2", "/d/2", true),
        decided(&place, "n1", "/d/3", false),
        decided(&place, "n2", "/d/3", false),
    ];
    // Two edges at once, and one of them twice, as after a crash before the segment was deleted.
    let parts = ["one/0", "two/0", "one/0", "two/1"];
    let works = parts.iter().map(|part| store.take_in(part, &alike));
    for outcome in futures_util::future::join_all(works).await {
        outcome.unwrap();
    }
    place.clock.advance(Duration::from_secs(3600));
    let later = [decided(&place, "a3", "/d/9", true)];
    store.take_in("one/1", &later).await.unwrap();

    let read = async |since: Timestamp| {
        let (cursor, mut known) = (DecisionCursor::since(since), KnownPrincipals::default());
        let until = place.clock.now().plus(Duration::from_secs(1));
        let page = store.decisions(cursor, until, &mut known).await.unwrap();
        let (page, next) = page;
        assert!(next.is_none());
        let rows = page.rows(&known).map(|row| row.unwrap());
        rows.map(|row| (row.principal.cloned(), row.count))
            .collect::<Vec<_>>()
    };
    let all = read(began).await;
    let counts: Vec<i64> = all.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts.iter().sum::<i64>(), 3 * 8 + 2, "{counts:?}");
    assert_eq!(
        all.len(),
        4,
        "one for the hour, two denials, one for the next hour"
    );
    assert!(
        all.iter()
            .all(|(person, _)| person.as_deref() == Some(&principal()))
    );
    assert_eq!(read(began.plus(Duration::from_secs(60))).await.len(), 1);
    let denied = store.decision("n2").await.unwrap().unwrap();
    assert_eq!(denied.decision.reason, "not_allowed");

    let denials = EventFilter {
        kind: Some("denied".to_owned()),
        ..EventFilter::default()
    };
    let events = store.events_after(0, &denials, 100).await.unwrap();
    assert_eq!(events.len(), 6, "two for each part");
    store
        .prune_decisions(began.plus(Duration::from_secs(60)))
        .await
        .unwrap();
    assert_eq!(read(began).await.len(), 1);
    store
        .prune_decisions(place.clock.now().plus(Duration::from_secs(60)))
        .await
        .unwrap();
    assert!(store.decision("a3").await.unwrap().is_none());
}

fn asked(place: &Place, id: &str, rule: &str) -> Asked {
    let at = place.clock.now();
    Asked {
        id: AccessId(id.into()),
        principal: principal(),
        rule: rule.into(),
        place: access::Place {
            route: "app".into(),
            method: "GET".to_owned(),
            host: "app.example".to_owned(),
            target: "/d/1?x=1".to_owned(),
        },
        reason: "the pager".to_owned(),
        lasting: Duration::from_secs(600),
        at,
        expires_at: at.plus(Duration::from_secs(3600)),
    }
}

const MOST: Most = Most {
    open: 10,
    a_day: 50,
};

fn approver() -> Principal {
    Principal {
        subject: "bob".into(),
        ..principal()
    }
}

async fn opened(store: &Store, asked: &Asked) -> OpenRequest {
    let open = OpenRequest::new(asked.clone());
    let outcome = store.open_access_request(&open, MOST, Some("label")).await;
    assert_eq!(outcome.unwrap(), Opened::Waits(asked.id.clone()));
    open
}

/// Kinds of the events about access, in order.
async fn access_events(store: &Store) -> Vec<String> {
    let events = store.events_after(0, &EventFilter::default(), 1000).await;
    let bodies = events.unwrap().into_iter().map(|event| {
        let body: serde_json::Value = serde_json::from_str(&event.body).unwrap();
        body["kind"].as_str().unwrap().to_owned()
    });
    bodies.filter(|kind| kind.starts_with("access_")).collect()
}

async fn grant_changes(store: &Store) -> usize {
    let changes = store.changes_after(FeedPoint::default()).await.unwrap();
    let granted = changes
        .iter()
        .filter(|(_, change)| *change == Some(Change::GrantsChanged));
    granted.count()
}

async fn i10_one_grant_of_fifty(place: Place) {
    let store = place.open().await;
    let asked = asked(&place, "a", "r");
    let open = opened(&store, &asked).await;
    assert_eq!(
        store.access_request(&asked.id).await.unwrap(),
        Some(access::Request::Open(open.clone()))
    );
    let (by, now) = (approver(), place.clock.now());
    let granted = open.clone().approve(&by, Duration::from_secs(60), now);
    let refused = open.clone().refuse(&by, "no".to_owned(), now);
    let withdrawn = open.withdraw(now);
    let grants =
        futures_util::future::join_all((0..50).map(|_| store.grant_access(&granted, None)));
    let others = futures_util::future::join_all((0..5).map(|_| async {
        let refused = store.refuse_access(&refused, None).await.unwrap();
        let withdrawn = store.withdraw_access(&withdrawn, None).await.unwrap();
        usize::from(refused) + usize::from(withdrawn)
    }));
    let (grants, others) = tokio::join!(grants, others);
    let granted = grants
        .into_iter()
        .filter(|done| *done.as_ref().unwrap())
        .count();
    assert_eq!(granted + others.iter().sum::<usize>(), 1, "one of all");
    assert_eq!(store.live_grants().await.unwrap().len(), granted);
    assert_eq!(grant_changes(&store).await, granted);
    assert_eq!(access_events(&store).await.len(), 2);
}

async fn i10_a_request_that_is_over_stays_so(place: Place) {
    let store = place.open().await;
    let by = approver();
    let late = opened(&store, &asked(&place, "late", "r")).await;
    place.clock.advance(Duration::from_secs(3600));
    let now = place.clock.now();
    let expired = store.access_request(&late.asked().id).await.unwrap();
    assert!(matches!(expired, Some(access::Request::Expired(_))));
    assert!(store.open_access_requests().await.unwrap().is_empty());
    let granted = late.clone().approve(&by, Duration::from_secs(60), now);
    assert!(!store.grant_access(&granted, None).await.unwrap());
    let refused = late.refuse(&by, "no".to_owned(), now);
    assert!(!store.refuse_access(&refused, None).await.unwrap());
    store.sweep().await.unwrap();
    store.sweep().await.unwrap();
    assert_eq!(
        access_events(&store).await,
        ["access_asked", "access_expired"]
    );
    assert!(store.live_grants().await.unwrap().is_empty());
    assert_eq!(grant_changes(&store).await, 0);

    let open = opened(&store, &asked(&place, "refused", "r")).await;
    let refused = open.clone().refuse(&by, "no".to_owned(), now);
    assert!(store.refuse_access(&refused, None).await.unwrap());
    let granted = open.approve(&by, Duration::from_secs(60), now);
    assert!(!store.grant_access(&granted, None).await.unwrap());
    let read = store.access_request(&refused.asked.id).await.unwrap();
    assert!(matches!(read, Some(access::Request::Refused { why, .. }) if why == "no"));
}

async fn open_requests_are_few_and_each_rule_has_one(place: Place) {
    let store = place.open().await;
    let first = asked(&place, "first", "r");
    opened(&store, &first).await;
    let again = OpenRequest::new(asked(&place, "again", "r"));
    let outcome = store.open_access_request(&again, MOST, None).await.unwrap();
    assert_eq!(outcome, Opened::Waits(first.id.clone()));
    assert_eq!(store.access_request(&again.asked().id).await.unwrap(), None);
    // Twenty at once, of which only some fit.
    let more: Vec<OpenRequest> = (0..20)
        .map(|n| OpenRequest::new(asked(&place, &format!("m{n}"), &format!("r{n}"))))
        .collect();
    let all = more
        .iter()
        .map(|open| store.open_access_request(open, MOST, None));
    let all = futures_util::future::join_all(all).await;
    let too_many = all
        .iter()
        .filter(|one| *one.as_ref().unwrap() == Opened::TooMany);
    assert_eq!(too_many.count(), 11);
    assert_eq!(store.open_access_requests().await.unwrap().len(), 10);
    assert_eq!(
        store
            .access_requests_of(&principal(), 50)
            .await
            .unwrap()
            .len(),
        10
    );
    assert!(
        store
            .access_requests_of(&approver(), 50)
            .await
            .unwrap()
            .is_empty()
    );
    // Somebody else of the same name at another issuer is somebody else.
    let other = Principal {
        issuer: "https://other.example".into(),
        ..principal()
    };
    assert!(
        store
            .access_requests_of(&other, 50)
            .await
            .unwrap()
            .is_empty()
    );
}

async fn i9_grants_end_and_their_end_is_told(place: Place) {
    let store = place.open().await;
    let (by, now) = (approver(), place.clock.now());
    for (id, rule) in [("a", "r"), ("b", "s")] {
        let open = opened(&store, &asked(&place, id, rule)).await;
        // No longer than was asked for.
        let granted = open.approve(&by, Duration::from_secs(86_400), now);
        assert_eq!(granted.until, now.plus(Duration::from_secs(600)));
        assert!(store.grant_access(&granted, Some("label")).await.unwrap());
    }
    let live = store.live_grants().await.unwrap();
    assert_eq!(live.len(), 2);
    assert_eq!((&*live[0].rule, live[0].by.as_str()), ("r", "demo/bob"));
    let revoke = || store.end_grant(&live[0], &by, EndOfGrant::Revoked, None);
    let ends = futures_util::future::join_all((0..10).map(|_| revoke())).await;
    assert_eq!(
        ends.into_iter()
            .filter(|end| *end.as_ref().unwrap())
            .count(),
        1
    );
    assert_eq!(store.live_grants().await.unwrap().len(), 1);
    assert_eq!(grant_changes(&store).await, 3);
    place.clock.advance(Duration::from_micros(599_999_999));
    assert_eq!(store.live_grants().await.unwrap().len(), 1);
    place.clock.advance(Duration::from_micros(1));
    assert!(store.live_grants().await.unwrap().is_empty());
    assert!(!revoke().await.unwrap(), "nothing ends twice");
    let late = store
        .end_grant(&live[1], &by, EndOfGrant::Revoked, None)
        .await;
    assert!(!late.unwrap(), "nor what is over by itself");
    store.sweep().await.unwrap();
    store.sweep().await.unwrap();
    let events = access_events(&store).await;
    assert_eq!(events[4..], ["access_ended", "access_ended"]);
    let between = async |from: i64, to: i64| {
        let at = |seconds| now.plus(Duration::from_secs(u64::try_from(seconds).unwrap()));
        store.grants_between(at(from), at(to)).await.unwrap().len()
    };
    assert_eq!((between(0, 1).await, between(600, 700).await), (2, 0));
    assert_eq!(store.grants_of(&principal(), 50).await.unwrap().len(), 2);
}

async fn broken_glass_waits_for_a_review(place: Place) {
    let store = place.open().await;
    let taken = OpenRequest::new(asked(&place, "a", "r")).break_glass();
    let granted = |id: &str| Taken::Granted(AccessId(id.into()));
    let first = store.take_access(&taken, MOST, None).await.unwrap();
    assert_eq!(first, granted("a"));
    // A second press of the button takes nothing more.
    let again = OpenRequest::new(asked(&place, "b", "r")).break_glass();
    let both = (0..10).map(|_| store.take_access(&again, MOST, None));
    for taken in futures_util::future::join_all(both).await {
        assert_eq!(taken.unwrap(), granted("a"));
    }
    assert_eq!(store.live_grants().await.unwrap().len(), 1);
    place.clock.advance(Duration::from_secs(200 * 86_400));
    store.sweep().await.unwrap();
    let waiting = store.grants_to_review().await.unwrap();
    assert_eq!(waiting.len(), 1, "it waits for as long as it takes");
    let by = approver();
    let reviews = (0..5).map(|_| store.review_grant(&waiting[0], &by, "fine", None));
    let reviews = futures_util::future::join_all(reviews).await;
    assert_eq!(
        reviews
            .into_iter()
            .filter(|one| *one.as_ref().unwrap())
            .count(),
        1
    );
    assert!(store.grants_to_review().await.unwrap().is_empty());
    let expected = ["access_break_glass", "access_ended", "access_reviewed"];
    assert_eq!(access_events(&store).await, expected);
}

async fn broken_glass_that_was_taken_away_stays_so_until_it_was_looked_at(place: Place) {
    let store = place.open().await;
    let take = async |id: &str| {
        let taken = OpenRequest::new(asked(&place, id, "r")).break_glass();
        store.take_access(&taken, MOST, None).await.unwrap()
    };
    let granted = |id: &str| Taken::Granted(AccessId(id.into()));
    assert_eq!(take("a").await, granted("a"));
    let (by, live) = (approver(), store.live_grants().await.unwrap());
    let revoked = store.end_grant(&live[0], &by, EndOfGrant::Revoked, None);
    assert!(revoked.await.unwrap());
    assert_eq!(take("b").await, Taken::Revoked);
    let waiting = store.grants_to_review().await.unwrap();
    let reviewed = store.review_grant(&waiting[0], &by, "a slip", None);
    assert!(reviewed.await.unwrap());
    assert_eq!(take("c").await, granted("c"));
    // What somebody gives back themselves they may take again.
    let live = store.live_grants().await.unwrap();
    let own = principal();
    let given = store.end_grant(&live[0], &own, EndOfGrant::GivenBack, None);
    assert!(given.await.unwrap());
    assert_eq!(take("d").await, granted("d"));
    // Looked at first and taken away then, or granted by an approver and taken away: not again before it would have ended.
    let live = store.live_grants().await.unwrap();
    let reviewed = store.review_grant(&live[0], &by, "fine", None);
    assert!(reviewed.await.unwrap());
    place.clock.advance(Duration::from_secs(1));
    let revoked = store.end_grant(&live[0], &by, EndOfGrant::Revoked, None);
    assert!(revoked.await.unwrap());
    assert_eq!(take("e").await, Taken::Revoked);
    place.clock.advance(Duration::from_secs(3600));
    let approved = opened(&store, &asked(&place, "f", "r")).await;
    let approved = approved.approve(&by, Duration::from_secs(600), place.clock.now());
    assert!(store.grant_access(&approved, None).await.unwrap());
    let live = store.live_grants().await.unwrap();
    let revoked = store.end_grant(&live[0], &by, EndOfGrant::Revoked, None);
    assert!(revoked.await.unwrap());
    assert_eq!(take("g").await, Taken::Revoked);
    place.clock.advance(Duration::from_secs(600));
    assert_eq!(take("h").await, granted("h"));
}

async fn l6_nobody_asks_without_end(place: Place) {
    let store = place.open().await;
    let most = Most { open: 3, a_day: 5 };
    let ask = async |id: &str, reason: &str| {
        let mut asked = asked(&place, id, "r");
        asked.reason = reason.to_owned();
        let open = OpenRequest::new(asked);
        let outcome = store.open_access_request(&open, most, None).await.unwrap();
        (open, outcome)
    };
    for round in 0..5 {
        let id = format!("a{round}");
        let (open, outcome) = ask(&id, "why").await;
        assert_eq!(outcome, Opened::Waits(open.asked().id.clone()));
        let (_, outcome) = ask("other", "another reason").await;
        assert_eq!(outcome, Opened::Otherwise(AccessId(id.into())));
        let withdrawn = open.withdraw(place.clock.now());
        assert!(store.withdraw_access(&withdrawn, None).await.unwrap());
    }
    assert_eq!(ask("more", "why").await.1, Opened::TooOften);
    let taken = OpenRequest::new(asked(&place, "glass", "s")).break_glass();
    let taken = store.take_access(&taken, most, None).await.unwrap();
    assert_eq!(taken, Taken::TooOften);
    place.clock.advance(Duration::from_secs(DAY));
    let (open, outcome) = ask("later", "why").await;
    assert_eq!(outcome, Opened::Waits(open.asked().id.clone()));
}

async fn what_was_over_long_ago_is_forgotten(place: Place) {
    let store = place.open().await;
    let granted = opened(&store, &asked(&place, "a", "r")).await;
    let granted = granted.approve(&approver(), Duration::from_secs(60), place.clock.now());
    assert!(store.grant_access(&granted, None).await.unwrap());
    place.clock.advance(Duration::from_secs(89 * 86_400));
    store.sweep().await.unwrap();
    assert!(store.grant(&granted.asked.id).await.unwrap().is_some());
    place.clock.advance(Duration::from_secs(2 * 86_400));
    store.sweep().await.unwrap();
    assert_eq!(store.grant(&granted.asked.id).await.unwrap(), None);
    assert_eq!(store.access_request(&granted.asked.id).await.unwrap(), None);
}

async fn people_and_counts_are_kept_where_they_happen(place: Place) {
    let (store, began) = (place.open().await, place.clock.now());
    session(&store, &place.clock, "s").await;
    let parts = [
        decided(&place, "a1", "/d/1", true),
        decided(&place, "n1", "/d/2", false),
    ];
    // Two edges at once.
    let works = ["one/0", "two/0"].map(|part| store.take_in(part, &parts));
    for outcome in futures_util::future::join_all(works).await {
        outcome.unwrap();
    }
    let counts = store.activity(began).await.unwrap();
    let counts: Vec<_> = counts
        .iter()
        .map(|c| (c.counted, &*c.route, c.count))
        .collect();
    let expected = [
        (Counted::Allowed, "app", 4),
        (Counted::Denied, "app", 4),
        (Counted::SignIn, "", 1),
    ];
    assert_eq!(counts, expected);
    let later = began.plus(Duration::from_secs(3600));
    assert_eq!(store.activity(later).await.unwrap(), []);

    let found = store.people(Some("ALI"), None, 10).await.unwrap();
    let [alice] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(alice.id, PersonId::of(&principal()));
    assert_eq!(store.people(Some("subject"), None, 10).await.unwrap(), []);
    let after = After {
        at: alice.last_seen.micros(),
        id: alice.id.as_str().to_owned(),
    };
    assert_eq!(store.people(None, Some(&after), 10).await.unwrap(), []);
    let about = store.decisions_about(&alice.id, 10).await.unwrap();
    assert_eq!(about.len(), 2, "{about:?}");
    // Groups of an hour later are theirs now.
    place.clock.advance(Duration::from_secs(3600));
    let mut grown = decided(&place, "a2", "/d/1", true);
    let mut alice = principal();
    alice.groups = Groups::Known(["sre".into()].into());
    grown.principal = Some(Arc::new(alice));
    store.take_in("one/1", &[grown]).await.unwrap();
    let found = store.people(Some("sre"), None, 10).await.unwrap();
    assert_eq!((found.len(), found[0].first_seen), (1, began));
    store.prune_decisions(later).await.unwrap();
    assert_eq!(store.activity(began).await.unwrap().len(), 1);
}

async fn sessions_are_listed_and_revoked(place: Place) {
    let store = place.open().await;
    let (one, cookie) = session(&store, &place.clock, "one").await;
    place.clock.advance(Duration::from_secs(1));
    let (two, _) = session(&store, &place.clock, "two").await;
    let all = SessionFilter::since(one.created_at);
    let ids = async |filter: &SessionFilter, after: Option<&After>| {
        let found = store.live_sessions(filter, after, 10).await.unwrap();
        found
            .into_iter()
            .map(|session| session.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&all, None).await, [two.id.clone(), one.id.clone()]);
    assert_eq!(store.count_sessions(&all).await.unwrap(), (2, 1));
    let after = After {
        at: two.last_seen.micros(),
        id: two.id.0.to_string(),
    };
    assert_eq!(ids(&all, Some(&after)).await, std::slice::from_ref(&one.id));
    let later = SessionFilter::since(two.created_at);
    assert_eq!(ids(&later, None).await, std::slice::from_ref(&two.id));
    for (filter, expected) in [
        (
            SessionFilter {
                contains: Some("ALICE".into()),
                ..all.clone()
            },
            2,
        ),
        (
            SessionFilter {
                contains: Some("%".into()),
                ..all.clone()
            },
            0,
        ),
        (
            SessionFilter {
                label: Some(one.id.label()),
                ..all.clone()
            },
            1,
        ),
        (
            SessionFilter {
                person: Some(("https://idp.example".into(), "alice".into())),
                ..all.clone()
            },
            2,
        ),
        (
            SessionFilter {
                person: Some(("https://idp.example".into(), "bob".into())),
                ..all.clone()
            },
            0,
        ),
    ] {
        assert_eq!(ids(&filter, None).await.len(), expected, "{filter:?}");
    }
    let reason = EndReason::Revoked("ada@corp.example".into());
    let both = [two.id.clone(), one.id.clone()];
    // Of several who revoke the same, each is told of those that were theirs.
    let works = [0; 4].map(|_| store.end_sessions(&both, &reason));
    let ended = futures_util::future::join_all(works).await;
    let ended: usize = ended.into_iter().map(|ended| ended.unwrap().len()).sum();
    assert_eq!(ended, 2);
    assert_eq!(ids(&all, None).await, []);
    assert!(
        store
            .session_by_cookie(cookie.hash(), "app")
            .await
            .unwrap()
            .is_none()
    );
    let wanted = EventFilter {
        kind: Some("session_ended".into()),
        actor: Some("ada@corp.example".into()),
        ..EventFilter::default()
    };
    let events = store.events_before(i64::MAX, &wanted, 10).await.unwrap();
    assert_eq!(events.len(), 2);
    assert!(
        events
            .iter()
            .all(|event| event.body.contains("\"reason\":\"revoked\""))
    );
    assert!(store.end_sessions(&[], &reason).await.unwrap().is_empty());
}

async fn edges_say_that_they_serve(place: Place) {
    let (store, now) = (place.open().await, place.clock.now());
    let mut edge = EdgeRecord {
        id: "a".into(),
        name: "host".into(),
        version: "1".into(),
        revision: 1,
        started_at: now,
        fresh_at: now,
        seen_at: now,
    };
    store.keep_edge(&edge).await.unwrap();
    edge.revision = 2;
    store.keep_edge(&edge).await.unwrap();
    assert_eq!(store.edges().await.unwrap(), [edge.clone()]);
    let other = EdgeRecord {
        id: "b".into(),
        seen_at: now.plus(Duration::from_secs(2 * 24 * 3600)),
        ..edge
    };
    store.keep_edge(&other).await.unwrap();
    assert_eq!(store.edges().await.unwrap(), [other]);
}

/// The signing keys as an edge on this store has them.
async fn signing_keys(store: &Store, place: &Place) -> SigningKeys {
    SigningKeys {
        store: store.clone(),
        minter: minter(store, place).await,
        lifetime: Duration::from_secs(90 * DAY),
        lead: Duration::from_secs(3600),
        clock: place.clock.clone(),
    }
}

const DAY: u64 = 24 * 60 * 60;
const OPERATOR: Actor = Actor::Operator { name: None };

fn states(keys: &SigningKeys) -> Vec<&'static str> {
    let all = keys.minter.keys();
    all.iter().map(|key| key.state.as_str()).collect()
}

fn published(keys: &SigningKeys) -> Vec<String> {
    let set = keys.minter.jwks();
    let all = set["keys"].as_array().unwrap().iter();
    all.map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

fn access_token(keys: &SigningKeys, place: &Place) -> String {
    keys.minter.access_token(&AccessToken {
        issuer: "https://access.example".to_owned(),
        audience: "https://app.example".to_owned(),
        subject: "alice".to_owned(),
        client: "wayleave-cli".to_owned(),
        family: "0123".to_owned(),
        key_thumbprint: None,
        agents: Vec::new(),
        route: None,
        issued_at: place.clock.now(),
        expires_at: place.clock.now().plus(Duration::from_secs(3600)),
    })
}

fn is_good(keys: &SigningKeys, token: &str, place: &Place) -> bool {
    let (issuer, audience) = ("https://access.example", "https://app.example");
    let now = place.clock.now();
    let read = keys.minter.verify_access(token, issuer, audience, now);
    read.is_ok()
}

async fn private_halves(store: &Store) -> usize {
    let all = store.signing_keys().await.unwrap();
    all.iter().filter(|key| key.private_key.is_some()).count()
}

async fn keys_are_published_before_they_sign_and_after(place: Place) {
    let stores = [place.open().await, place.open().await];
    let one = signing_keys(&stores[0], &place).await;
    let behind = signing_keys(&stores[1], &place).await;
    let day = Duration::from_secs(DAY);
    one.keep().await.unwrap();
    assert_eq!(states(&one), ["active"], "it is too early for another");
    let first = published(&one);

    // Fifty edges find at once that it is time; one makes the key.
    place.clock.advance(day * 90 - Duration::from_secs(3600));
    let keeping = (0..50).map(|at| {
        let keys = if at % 2 == 0 {
            one.clone()
        } else {
            behind.clone()
        };
        async move { keys.keep().await }
    });
    for kept in futures_util::future::join_all(keeping).await {
        kept.unwrap();
    }
    one.keep().await.unwrap();
    behind.keep().await.unwrap();
    assert_eq!(states(&one), ["next", "active"]);
    assert_eq!(published(&one).len(), 2);
    let made = EventFilter {
        kind: Some("signing_key_made".to_owned()),
        ..EventFilter::default()
    };
    let events = stores[0].events_after(0, &made, 10).await.unwrap();
    assert_eq!(events.len(), 1);
    let under_way = one.rotate(&OPERATOR).await;
    assert!(matches!(under_way, Err(KeysError::UnderWay(..))));

    // Until its moment the first one signs; from then on the second, also at an edge that does not reach the store.
    place.clock.advance(Duration::from_secs(3599));
    assert!(one.minter.is_signing(&first[0]));
    sign(&stores[0], &one.minter).await;
    let early = access_token(&one, &place);
    place.clock.advance(Duration::from_secs(1));
    assert_eq!(states(&behind), ["active", "retired"]);
    assert!(!behind.minter.is_signing(&first[0]));
    let late = access_token(&behind, &place);
    for token in [&early, &late] {
        assert!(is_good(&one, token, &place) && is_good(&behind, token, &place));
    }
    place.clock.advance(Duration::from_secs(600));
    one.keep().await.unwrap();
    assert_eq!(private_halves(&stores[0]).await, 1);
    assert_eq!(states(&one), ["active", "retired"]);

    // What it signed has ended by now: it verifies checkpoints and nothing else, for ever.
    place.clock.advance(day);
    one.keep().await.unwrap();
    assert_eq!(states(&one), ["active", "archived"]);
    assert!(!published(&one).contains(&first[0]));
    let verified = verified(&stores[0], &one.minter).await.unwrap();
    assert_eq!(verified.checkpoints, 1);
    let started = signing_keys(&place.open().await, &place).await;
    assert_eq!(states(&started), ["active", "archived"]);
}

async fn a_revoked_key_is_good_for_nothing_at_once(place: Place) {
    let stores = [place.open().await, place.open().await];
    let one = signing_keys(&stores[0], &place).await;
    let other = signing_keys(&stores[1], &place).await;
    let stolen = published(&one).remove(0);
    let token = access_token(&one, &place);
    assert!(is_good(&other, &token, &place));
    session(&stores[0], &place.clock, "s1").await;
    sign(&stores[0], &one.minter).await;
    place.clock.advance(Duration::from_secs(60));
    let before = stores[1].feed_point().await.unwrap();

    assert!(one.revoke(&OPERATOR, &stolen).await.unwrap().signs);
    let feed = stores[1].changes_after(before).await.unwrap();
    assert_eq!(feed[0].1, Some(Change::SigningKeys));
    other.keep().await.unwrap();
    for keys in [&one, &other] {
        assert!(!is_good(keys, &token, &place));
        assert_eq!(states(keys), ["active", "revoked"]);
        assert!(!published(keys).contains(&stolen));
        let token = access_token(keys, &place);
        assert!(is_good(&one, &token, &place) && is_good(&other, &token, &place));
    }
    assert_eq!(
        private_halves(&stores[0]).await,
        1,
        "its private half is gone"
    );
    let again = one.revoke(&OPERATOR, &stolen).await;
    assert!(matches!(again, Err(KeysError::Revoked)));
    let unknown = one.revoke(&OPERATOR, "x").await;
    assert!(matches!(unknown, Err(KeysError::Unknown(_))));

    // What it signed of the log counts where a good key has signed since.
    let counted = async || verified(&stores[0], &one.minter).await.unwrap().checkpoints;
    assert_eq!(counted().await, 0);
    sign(&stores[0], &one.minter).await;
    assert_eq!(counted().await, 2);

    // A key that was to sign next does at once when the active one is revoked; one that is revoked before it signs takes nobody's place.
    one.rotate(&OPERATOR).await.unwrap();
    let next = published(&one).remove(0);
    one.revoke(&OPERATOR, &next).await.unwrap();
    assert_eq!(states(&one), ["revoked", "active", "revoked"]);
    one.rotate(&OPERATOR).await.unwrap();
    let active = one
        .minter
        .keys()
        .into_iter()
        .find(|key| key.state == KeyState::Active);
    place.clock.advance(Duration::from_secs(1));
    one.revoke(&OPERATOR, &active.unwrap().kid).await.unwrap();
    let all = states(&one);
    assert_eq!(all.iter().filter(|state| **state == "active").count(), 1);
    assert_eq!(all.iter().filter(|state| **state == "revoked").count(), 3);
    assert_eq!(all.len(), 4);
}

async fn keys_of_a_release_without_rotation_are_taken_over(place: Place) {
    let store = place.open().await;
    let first = published(&signing_keys(&store, &place).await);
    place
        .execute("DELETE FROM signing_key_lives")
        .await
        .unwrap();
    let keys = signing_keys(&store, &place).await;
    assert_eq!(published(&keys), first);
    assert_eq!(states(&keys), ["active"]);
    keys.rotate(&OPERATOR).await.unwrap();
    assert_eq!(states(&keys), ["next", "active"]);
    // A release without rotation reads the table that it knows.
    place
        .execute("DELETE FROM signing_key_lives")
        .await
        .unwrap();
    assert_eq!(signing_keys(&store, &place).await.minter.keys().len(), 2);
}

async fn a_store_that_was_set_back_is_not_read_on(place: Place) {
    let store = place.open().await;
    for n in 0..3 {
        let (record, _) = session(&store, &place.clock, &format!("s{n}")).await;
        place.clock.advance(Duration::from_secs(1));
        store
            .end_session(&record.id, EndReason::SignedOut)
            .await
            .unwrap();
    }
    let end = store.feed_point().await.unwrap();
    assert_eq!(store.changes_after(end).await.unwrap(), []);
    // Old changes are deleted, and the last one known with them, but for the newest.
    place.clock.advance(Duration::from_secs(3 * DAY));
    store.sweep().await.unwrap();
    assert_eq!(store.changes_after(end).await.unwrap(), []);
    let refused = async |after| {
        let read = store.changes_after(after).await;
        assert!(matches!(read, Err(StoreError::AnotherHistory)), "{read:?}");
    };
    let earlier = FeedPoint {
        seq: end.seq - 1,
        at: end.at,
    };
    refused(earlier).await;

    // Set back to before the last change: shorter, and as long again by other changes.
    place
        .execute("DELETE FROM changes; UPDATE feed_head SET seq = 0")
        .await
        .unwrap();
    refused(end).await;
    let unknown = FeedPoint { at: None, ..end };
    refused(unknown).await;
    for n in 3..7 {
        let (record, _) = session(&store, &place.clock, &format!("s{n}")).await;
        store
            .end_session(&record.id, EndReason::SignedOut)
            .await
            .unwrap();
    }
    refused(end).await;
}

async fn a_change_of_a_kind_that_is_not_known_is_passed_over(place: Place) {
    let store = place.open().await;
    place
        .execute("INSERT INTO changes (seq, kind, subject, at) VALUES (1, 'of_the_future', '', 0)")
        .await
        .unwrap();
    let feed = store.changes_after(FeedPoint::default()).await.unwrap();
    assert_eq!((feed[0].0.seq, feed.len()), (1, 1));
    assert_eq!(feed[0].1, None);
}
