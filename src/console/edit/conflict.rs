//! The policy moved on while somebody edited: who changed what meanwhile, and how to go on from there.

use askama::Template;

use crate::admin::editing::Started;
use crate::console::Console;
use crate::console::answer::Refused;
use crate::console::changes::{Changes, Part};
use crate::console::edit::{Shown, Target};
use crate::console::frame::Frame;
use crate::console::guard::Visit;
use crate::policy::diff::Change;
use crate::policy::kind::Kind;
use crate::store::policy::RevisionRecord;
use crate::web::moment::Moment;
use crate::web::parameters::Parameters;

#[derive(Template)]
#[template(path = "console/conflict.html")]
pub(super) struct ConflictPage {
    frame: Frame,
    target: Shown,
    yaml: String,
    message: String,
    current: i64,
    author: String,
    why: String,
    at: Moment,
    /// Somebody changed the same object.
    is_same: bool,
    /// The object is there no more.
    is_gone: bool,
    changes: Changes,
}

pub(super) async fn page(
    console: &Console,
    visit: &Visit,
    target: &Target,
    started: &Started,
    form: &Parameters,
    current: &RevisionRecord,
) -> Result<ConflictPage, Refused> {
    let found = match started.parent {
        Some(parent) => console.revisions.diff(parent, current.revision).await?,
        None => console.revisions.show(current.revision).await?.1,
    };
    let is_it =
        |kind: &Kind, name: &str| *kind == target.kind.kind && target.name.as_deref() == Some(name);
    let is_same = found.iter().any(|change| match change {
        Change::Added { kind, name, .. }
        | Change::Removed { kind, name, .. }
        | Change::Changed { kind, name, .. } => is_it(kind, name),
        Change::Reordered { .. } => false,
    });
    let now_there = console
        .revisions
        .start(console.revisions.current_base().await?);
    let now_there = now_there.await?.policy;
    let known = now_there.names(target.kind.kind);
    let is_gone = target
        .name
        .as_deref()
        .is_some_and(|name| !known.contains(&name));
    let mut shown = target.shown(&now_there);
    if is_gone {
        // What is not there any more is made anew.
        shown.name = String::new();
    }
    Ok(ConflictPage {
        frame: Frame::of(visit, "The policy was changed meanwhile"),
        target: shown,
        yaml: form.one("yaml").unwrap_or_default().to_owned(),
        message: form.one("message").unwrap_or_default().to_owned(),
        current: current.revision.0,
        author: current.author.clone(),
        why: current.message.clone(),
        at: Moment::of(current.created_at, console.clock.now()),
        is_same,
        is_gone,
        changes: Changes::of(&found, &Part::default()),
    })
}

#[cfg(test)]
pub(super) fn sample(text: &str) -> (&'static str, String) {
    use crate::clock::Timestamp;
    let page = ConflictPage {
        frame: Frame::sample(text),
        target: Shown {
            kind: crate::console::kinds::of(Kind::Rule),
            name: text.to_owned(),
            revision: 7,
            draft: None,
            before: text.to_owned(),
            others: Vec::new(),
            removes: false,
        },
        yaml: text.to_owned(),
        message: text.to_owned(),
        current: 8,
        author: text.to_owned(),
        why: text.to_owned(),
        at: Moment::of(Timestamp::from_seconds(0), Timestamp::from_seconds(9)),
        is_same: true,
        is_gone: true,
        changes: crate::console::changes::sample(text),
    };
    ("conflict", page.render().unwrap())
}
