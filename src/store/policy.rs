//! Policy as revision-numbered rows: each row knows from which revision until which it holds.

use crate::policy::model::Revision;
use crate::store::changes::Change;
use crate::store::dialect::{Transaction, Turn, args};
use crate::store::{Store, StoreError, within};

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
}

/// One policy object as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyObject {
    /// What it is; names are unique among their kind.
    pub kind: ObjectKind,
    /// By which revisions are compared.
    pub name: String,
    /// Order among its kind.
    pub position: i64,
    /// JSON of the object in the YAML file's own shape.
    pub body: String,
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
}

impl ObjectKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::RouteGroup => "route_group",
            Self::People => "people",
            Self::Mapping => "mapping",
            Self::Rule => "rule",
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

    /// All objects of a revision, by kind and position.
    pub async fn policy_objects(
        &self,
        revision: Revision,
    ) -> Result<Vec<PolicyObject>, StoreError> {
        let rows: Vec<ObjectRow> = within(self.database.fetch(
            "SELECT kind, name, position, body FROM policy_objects \
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

    /// Writes a revision whose parent must still be the current one; only rows that differ are touched.
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
                    "SELECT kind, name, position, body FROM policy_objects WHERE valid_until IS NULL",
                    args![],
                )
                .await?;
            let present = rows
                .into_iter()
                .map(PolicyObject::try_from)
                .collect::<Result<Vec<_>, _>>()?;
            let gone: Vec<_> = present.iter().filter(|o| !objects.contains(o)).collect();
            let new: Vec<_> = objects.iter().filter(|o| !present.contains(o)).collect();
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
                "INSERT INTO policy_objects (kind, name, position, body, valid_from) \
                 VALUES ($1, $2, $3, $4, $5)",
                args![
                    object.kind.as_str(),
                    object.name.as_str(),
                    object.position,
                    object.body.as_str(),
                    revision.0
                ],
            )
            .await?;
        }
        Ok(())
    }
}
