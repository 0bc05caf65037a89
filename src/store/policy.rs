//! Policy as revision-numbered rows: each row knows from which revision until which it holds.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::audit::event::Event;
use crate::audit::event::drafts::{Doer, PolicyWritten};
use crate::clock::Timestamp;
use crate::identity::principal::Principal;
use crate::policy::draft::{DraftId, DraftState};
use crate::policy::kind::Kind;
use crate::policy::model::Revision;
use crate::store::changes::Change;
use crate::store::dialect::{Bulk, Transaction, Turn, args, bulk};
use crate::store::drafts::{Approval, Draft};
use crate::store::{Store, StoreError, within, within_time};

mod difference;
mod digest;
mod history;
mod positions;

pub use difference::Difference;
use digest::digest_of;
pub use history::ObjectVersion;

/// What a row of `policy_objects` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowKind {
    /// An object of the policy.
    Object(Kind),
    /// No object: what heads a part of the document.
    Part,
}

/// One policy object as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyObject {
    /// What it is; names are unique among their kind.
    pub kind: RowKind,
    /// By which revisions are compared.
    pub name: String,
    /// Order among its kind.
    pub position: i64,
    /// JSON of the object in the YAML file's own shape.
    pub body: String,
    /// What its author wrote, with the comments; empty where that is not known.
    pub text: String,
}

/// A revision's own data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionRecord {
    /// Its number, from 1.
    pub revision: Revision,
    /// What it was made from; `None` for the first.
    pub parent: Option<Revision>,
    /// Who made it.
    pub author: String,
    /// Why, in their words.
    pub message: String,
    /// When.
    pub created_at: Timestamp,
    /// The draft that it was made from.
    pub draft: Option<DraftId>,
    /// An operator wrote it past the approvals that are asked for.
    pub is_emergency: bool,
    /// The earlier revision that it put in force again.
    pub restores: Option<Revision>,
}

/// A revision to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewRevision<'a> {
    /// The revision that its author saw, and which must still be the current one.
    pub parent: Option<Revision>,
    /// As the history calls them.
    pub author: &'a str,
    /// Why, in their words.
    pub message: &'a str,
    /// All objects. Positions say their order; what is stored keeps that order.
    pub objects: &'a [PolicyObject],
    /// The earlier revision whose objects they are, where that is put in force again.
    pub restores: Option<Revision>,
    /// Who writes it.
    pub doer: Doer<'a>,
    /// By what right.
    pub ground: Ground<'a>,
}

/// By what right a revision is written.
#[derive(Clone, Copy, Debug)]
pub enum Ground<'a> {
    /// Its author's own.
    Own,
    /// Its author's own, past the approvals that are asked for.
    Emergency,
    /// A draft's, which becomes it.
    Draft {
        /// As it was seen.
        draft: &'a Draft,
        /// The approvals that count.
        approvals: &'a [Approval],
    },
}

/// What became of an attempt to write a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is this one now.
    Revision(Revision),
    /// The objects are those of the current revision already.
    Unchanged(Revision),
    /// Somebody else wrote first; this is the current revision.
    Conflict(Option<Revision>),
    /// The draft is not what was seen any more.
    Overtaken,
}

#[derive(sqlx::FromRow)]
struct ObjectRow {
    kind: String,
    name: String,
    position: i64,
    body: String,
    text: String,
}

#[derive(sqlx::FromRow)]
struct RevisionRow {
    revision: i64,
    parent: Option<i64>,
    author: String,
    message: String,
    created_at: i64,
    draft: Option<i64>,
    is_emergency: i64,
    restores: Option<i64>,
}

impl From<RevisionRow> for RevisionRecord {
    fn from(row: RevisionRow) -> Self {
        Self {
            revision: Revision(row.revision),
            parent: row.parent.map(Revision),
            author: row.author,
            message: row.message,
            created_at: Timestamp::from_micros(row.created_at),
            draft: row.draft.map(DraftId),
            is_emergency: row.is_emergency != 0,
            restores: row.restores.map(Revision),
        }
    }
}

impl RowKind {
    /// A stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Object(kind) => kind.as_str(),
            Self::Part => "part",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let part = (name == Self::Part.as_str()).then_some(Self::Part);
        part.or_else(|| Kind::parse(name).map(Self::Object))
    }
}

impl TryFrom<ObjectRow> for PolicyObject {
    type Error = StoreError;

    fn try_from(row: ObjectRow) -> Result<Self, StoreError> {
        let Some(kind) = RowKind::parse(&row.kind) else {
            return Err(StoreError::Inconsistent {
                table: "policy_objects",
                id: format!("{}/{}", row.kind, row.name),
                what: "unknown kind".to_owned(),
            });
        };
        Ok(Self {
            kind,
            name: row.name,
            position: row.position,
            body: row.body,
            text: row.text,
        })
    }
}

/// A revision of a hundred thousand objects takes longer than other calls may.
const WRITE_DEADLINE: Duration = Duration::from_secs(25);

/// Objects that a revision has no more.
const END: Bulk = bulk!(
    "UPDATE policy_objects SET valid_until = $2 WHERE valid_until IS NULL AND (kind, name) IN (",
    (kind text, name text),
    "",
    ")"
);

/// Objects that a revision is the first to have.
const BEGIN: Bulk = bulk!(
    "INSERT INTO policy_objects (kind, name, position, body, text, valid_from)",
    (kind text, name text, position bigint, body text, text text),
    ", $2",
    ""
);

const NEWEST: &str = "SELECT MAX(revision) FROM revisions";

fn newest(rows: &[(Option<i64>,)]) -> Option<Revision> {
    rows.first().and_then(|&(number,)| number).map(Revision)
}

fn read(rows: Vec<ObjectRow>) -> Result<Vec<PolicyObject>, StoreError> {
    rows.into_iter().map(PolicyObject::try_from).collect()
}

impl Store {
    /// The newest revision, if there is any.
    pub async fn current_revision(&self) -> Result<Option<Revision>, StoreError> {
        let rows = within(self.database.fetch(NEWEST, args![])).await?;
        Ok(newest(&rows))
    }

    /// The newest revisions before one, or of all, newest first; at most `limit`.
    pub async fn revisions(
        &self,
        before: Option<Revision>,
        limit: u16,
    ) -> Result<Vec<RevisionRecord>, StoreError> {
        let before = before.map_or(i64::MAX, |revision| revision.0);
        let rows: Vec<RevisionRow> = within(self.database.fetch(
            "SELECT revision, parent, author, message, created_at, draft, is_emergency, restores FROM revisions \
             WHERE revision < $1 ORDER BY revision DESC LIMIT $2",
            args![before, i64::from(limit)],
        ))
        .await?;
        Ok(rows.into_iter().map(RevisionRecord::from).collect())
    }

    /// One revision's own data.
    pub async fn revision(&self, revision: Revision) -> Result<Option<RevisionRecord>, StoreError> {
        let after = Revision(revision.0.saturating_add(1));
        let newest = self.revisions(Some(after), 1).await?;
        Ok(newest
            .into_iter()
            .find(|record| record.revision == revision))
    }

    /// What says who is owner in a revision, and nothing else of it: its role bindings, and the people whom these may name.
    pub async fn owners_of(&self, revision: Revision) -> Result<Vec<PolicyObject>, StoreError> {
        let rows: Vec<ObjectRow> = within(self.database.fetch(
            "SELECT kind, name, position, body, text FROM policy_objects \
             WHERE kind IN ($2, $3) AND valid_from <= $1 AND (valid_until IS NULL OR valid_until > $1)",
            args![
                revision.0,
                Kind::RoleBinding.as_str(),
                Kind::People.as_str()
            ],
        ))
        .await?;
        read(rows)
    }

    /// All objects of a revision, by kind and position.
    pub async fn policy_objects(
        &self,
        revision: Revision,
    ) -> Result<Vec<PolicyObject>, StoreError> {
        self.objects_by(
            "SELECT kind, name, position, body, text FROM policy_objects \
             WHERE valid_from <= $1 AND (valid_until IS NULL OR valid_until > $1)",
            revision,
        )
        .await
    }

    /// As [`Self::policy_objects`], without what authors wrote: half of the memory, for who only decides by them.
    pub async fn policy_bodies(&self, revision: Revision) -> Result<Vec<PolicyObject>, StoreError> {
        self.objects_by(
            "SELECT kind, name, position, body, '' AS text FROM policy_objects \
             WHERE valid_from <= $1 AND (valid_until IS NULL OR valid_until > $1)",
            revision,
        )
        .await
    }

    async fn objects_by(
        &self,
        query: &'static str,
        revision: Revision,
    ) -> Result<Vec<PolicyObject>, StoreError> {
        let rows = within(self.database.fetch(query, args![revision.0])).await?;
        let mut objects = read(rows)?;
        objects.sort_by(|a, b| (a.kind, a.position, &a.name).cmp(&(b.kind, b.position, &b.name)));
        Ok(objects)
    }

    /// Writes a revision by its author's own right; see [`Self::write`].
    pub async fn write_revision(
        &self,
        parent: Option<Revision>,
        author: &str,
        message: &str,
        objects: &[PolicyObject],
    ) -> Result<Written, StoreError> {
        self.write(&NewRevision {
            parent,
            author,
            message,
            objects,
            restores: None,
            doer: Doer {
                name: author,
                principal: None,
            },
            ground: Ground::Own,
        })
        .await
    }

    /// Writes a revision whose parent must still be the current one; only rows that differ are touched.
    /// Two objects of one kind and name are refused by the table's key.
    pub async fn write(&self, new: &NewRevision<'_>) -> Result<Written, StoreError> {
        within_time(WRITE_DEADLINE, async {
            let mut transaction = self.database.begin().await?;
            transaction.take_turn(Turn::WriteRevision).await?;
            let current = newest(&transaction.fetch(NEWEST, args![]).await?);
            if current != new.parent {
                return Ok(Written::Conflict(current));
            }
            let rows: Vec<ObjectRow> = transaction
                .fetch(
                    "SELECT kind, name, position, body, text FROM policy_objects WHERE valid_until IS NULL",
                    args![],
                )
                .await?;
            let present = read(rows)?;
            let objects = positions::assign(&present, new.objects);
            let (old, now): (HashSet<_>, HashSet<_>) = (present.iter().collect(), objects.iter().collect());
            let gone: Vec<_> = present.iter().filter(|object| !now.contains(object)).collect();
            let added: Vec<_> = objects.iter().filter(|object| !old.contains(object)).collect();
            if let Some(current) = current
                && gone.is_empty()
                && added.is_empty()
            {
                return Ok(Written::Unchanged(current));
            }
            let revision = Revision(current.map_or(1, |r| r.0.saturating_add(1)));
            let at = self.clock.now();
            transaction.insert_revision(revision, new, at).await?;
            transaction.replace_objects(revision, &gone, &added).await?;
            if let Ground::Draft { draft, .. } = new.ground
                && !transaction.move_draft(&draft.record, &DraftState::Applied(revision), at).await?
            {
                return Ok(Written::Overtaken);
            }
            let mut events = new.events(revision, &digest_of(&objects));
            let mut changes = vec![Change::PolicyRevision(revision)];
            let ended = transaction.end_access_without_rule(&rule_names(&objects), at).await?;
            if !ended.is_empty() {
                changes.push(Change::GrantsChanged);
                events.extend(ended);
            }
            transaction.commit_with(&events, &changes, at).await?;
            Ok(Written::Revision(revision))
        })
        .await
    }
}

fn rule_names(objects: &[PolicyObject]) -> HashSet<&str> {
    let rules = objects
        .iter()
        .filter(|object| object.kind == RowKind::Object(Kind::Rule));
    rules.map(|rule| &*rule.name).collect()
}

impl NewRevision<'_> {
    /// That it was written, and by what right if that is not its author's own.
    fn events(&self, revision: Revision, digest: &str) -> Vec<Event> {
        let doer = self.doer;
        let written = PolicyWritten {
            revision: revision.0,
            parent: self.parent.map(|parent| parent.0),
            restores: self.restores.map(|restored| restored.0),
            message: self.message,
            digest,
        };
        let mut events = vec![Event::policy_written(doer, &written)];
        match self.ground {
            Ground::Own => {}
            Ground::Emergency => {
                events.push(Event::policy_emergency(doer, self.message, revision.0));
            }
            Ground::Draft { draft, approvals } => {
                let approvers: Vec<Principal> = approvals
                    .iter()
                    .map(|approval| approval.principal.clone())
                    .collect();
                events.push(draft.tell(|about| {
                    Event::draft_applied(doer, about, revision.0, self.author, &approvers)
                }));
            }
        }
        events
    }
}

impl Transaction {
    async fn insert_revision(
        &mut self,
        revision: Revision,
        new: &NewRevision<'_>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let draft = match new.ground {
            Ground::Draft { draft, .. } => Some(draft.record.id.0),
            Ground::Own | Ground::Emergency => None,
        };
        let is_emergency = matches!(new.ground, Ground::Emergency);
        self.execute(
            "INSERT INTO revisions (revision, parent, author, message, created_at, draft, is_emergency, restores) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            args![
                revision.0,
                new.parent.map(|parent| parent.0),
                new.author,
                new.message,
                at,
                draft,
                i64::from(is_emergency),
                new.restores.map(|restored| restored.0)
            ],
        )
        .await?;
        Ok(())
    }

    async fn replace_objects(
        &mut self,
        revision: Revision,
        gone: &[&PolicyObject],
        new: &[&PolicyObject],
    ) -> Result<(), StoreError> {
        let named =
            |object: &&PolicyObject| json!({ "kind": object.kind.as_str(), "name": object.name });
        let gone: Vec<Value> = gone.iter().map(named).collect();
        self.execute_bulk(&END, &gone, revision.0).await?;
        let whole = |object: &&PolicyObject| {
            json!({
                "kind": object.kind.as_str(),
                "name": object.name,
                "position": object.position,
                "body": object.body,
                "text": object.text,
            })
        };
        let new: Vec<Value> = new.iter().map(whole).collect();
        self.execute_bulk(&BEGIN, &new, revision.0).await
    }
}
