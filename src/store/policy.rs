//! Policy as revision-numbered rows: each row knows from which revision until which it holds.

use std::collections::HashSet;

use crate::audit::event::Event;
use crate::clock::Timestamp;
use crate::policy::model::Revision;
use crate::store::changes::Change;
use crate::store::dialect::{Transaction, Turn, args};
use crate::store::{Store, StoreError, within};

mod positions;

/// The kind of a policy object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A host and where it leads.
    Route,
    /// Routes that are named together.
    RouteGroup,
    /// Callers who are named together.
    People,
    /// Who somebody is in the mesh.
    Mapping,
    /// What is allowed or denied.
    Rule,
    /// Who may look after the edge.
    RoleBinding,
    /// What the author expects.
    Test,
    /// No object: what heads a part of the document.
    Part,
}

/// One policy object as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyObject {
    /// What it is; names are unique among their kind.
    pub kind: ObjectKind,
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
}

impl From<RevisionRow> for RevisionRecord {
    fn from(row: RevisionRow) -> Self {
        Self {
            revision: Revision(row.revision),
            parent: row.parent.map(Revision),
            author: row.author,
            message: row.message,
            created_at: Timestamp::from_micros(row.created_at),
        }
    }
}

impl ObjectKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::RouteGroup => "route_group",
            Self::People => "people",
            Self::Mapping => "mapping",
            Self::Rule => "rule",
            Self::RoleBinding => "role_binding",
            Self::Test => "test",
            Self::Part => "part",
        }
    }
}

impl TryFrom<ObjectRow> for PolicyObject {
    type Error = StoreError;

    fn try_from(row: ObjectRow) -> Result<Self, StoreError> {
        let kind = match row.kind.as_str() {
            "route" => ObjectKind::Route,
            "route_group" => ObjectKind::RouteGroup,
            "people" => ObjectKind::People,
            "mapping" => ObjectKind::Mapping,
            "rule" => ObjectKind::Rule,
            "role_binding" => ObjectKind::RoleBinding,
            "test" => ObjectKind::Test,
            "part" => ObjectKind::Part,
            _ => {
                return Err(StoreError::Inconsistent {
                    table: "policy_objects",
                    id: format!("{}/{}", row.kind, row.name),
                    what: "unknown kind".to_owned(),
                });
            }
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

const NEWEST: &str = "SELECT MAX(revision) FROM revisions";

fn newest(rows: &[(Option<i64>,)]) -> Option<Revision> {
    rows.first().and_then(|&(number,)| number).map(Revision)
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
            "SELECT revision, parent, author, message, created_at FROM revisions \
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

    /// All objects of a revision, by kind and position.
    pub async fn policy_objects(
        &self,
        revision: Revision,
    ) -> Result<Vec<PolicyObject>, StoreError> {
        let rows: Vec<ObjectRow> = within(self.database.fetch(
            "SELECT kind, name, position, body, text FROM policy_objects \
             WHERE valid_from <= $1 AND (valid_until IS NULL OR valid_until > $1)",
            args![revision.0],
        ))
        .await?;
        let mut objects = rows
            .into_iter()
            .map(PolicyObject::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        objects.sort_by(|a, b| (a.kind, a.position, &a.name).cmp(&(b.kind, b.position, &b.name)));
        Ok(objects)
    }

    /// Writes a revision whose parent must still be the current one; only rows that differ are touched. Positions say the order of the objects given;
    /// what is stored keeps that order.
    /// Two objects of one kind and name are refused by the table's key.
    pub async fn write_revision(
        &self,
        parent: Option<Revision>,
        author: &str,
        message: &str,
        objects: &[PolicyObject],
    ) -> Result<Written, StoreError> {
        within(async {
            let mut transaction = self.database.begin().await?;
            transaction.take_turn(Turn::WriteRevision).await?;
            let current = newest(&transaction.fetch(NEWEST, args![]).await?);
            if current != parent {
                return Ok(Written::Conflict(current));
            }
            let rows: Vec<ObjectRow> = transaction
                .fetch(
                    "SELECT kind, name, position, body, text FROM policy_objects WHERE valid_until IS NULL",
                    args![],
                )
                .await?;
            let present = rows
                .into_iter()
                .map(PolicyObject::try_from)
                .collect::<Result<Vec<_>, _>>()?;
            let objects = positions::assign(&present, objects);
            let (old, now): (HashSet<_>, HashSet<_>) = (present.iter().collect(), objects.iter().collect());
            let gone: Vec<_> = present.iter().filter(|object| !now.contains(object)).collect();
            let new: Vec<_> = objects.iter().filter(|object| !old.contains(object)).collect();
            if let Some(current) = current
                && gone.is_empty()
                && new.is_empty()
            {
                return Ok(Written::Unchanged(current));
            }
            let revision = Revision(current.map_or(1, |r| r.0.saturating_add(1)));
            transaction
                .execute(
                    "INSERT INTO revisions (revision, parent, author, message, created_at) \
                     VALUES ($1, $2, $3, $4, $5)",
                    args![revision.0, parent.map(|r| r.0), author, message, self.clock.now()],
                )
                .await?;
            transaction.replace_objects(revision, &gone, &new).await?;
            let event = Event::policy_written(author, message, revision.0, parent.map(|r| r.0));
            transaction.tell(&[event], self.clock.now()).await?;
            let change = Change::PolicyRevision(revision);
            transaction.append(&[change], self.clock.now()).await?;
            transaction.commit().await?;
            Ok(Written::Revision(revision))
        })
        .await
    }
}

impl Transaction {
    async fn replace_objects(
        &mut self,
        revision: Revision,
        gone: &[&PolicyObject],
        new: &[&PolicyObject],
    ) -> Result<(), StoreError> {
        for object in gone {
            self.execute(
                "UPDATE policy_objects SET valid_until = $1 \
                 WHERE kind = $2 AND name = $3 AND valid_until IS NULL",
                args![revision.0, object.kind.as_str(), object.name.as_str()],
            )
            .await?;
        }
        for object in new {
            self.execute(
                "INSERT INTO policy_objects (kind, name, position, body, text, valid_from) \
                 VALUES ($1, $2, $3, $4, $5, $6)",
                args![
                    object.kind.as_str(),
                    object.name.as_str(),
                    object.position,
                    object.body.as_str(),
                    object.text.as_str(),
                    revision.0
                ],
            )
            .await?;
        }
        Ok(())
    }
}
