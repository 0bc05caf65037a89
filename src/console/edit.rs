//! The editor: one object as a form and as YAML, each made from the other, and what would come of it before anything is saved.
//!
//! Form and text are sent together, with word of which one is meant; the answer has both, and the preview. The script does the same as somebody types.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde_json::{Value, json};

use crate::admin::actor::Actor;
use crate::admin::drafts::{DraftsError, Seen};
use crate::admin::editing::{Base, Started};
use crate::admin::objects::Names;
use crate::admin::revisions::{RevisionsError, Writing};
use crate::console::answer::{Answer, Refused, html, page, see_other, sentence};
use crate::console::changes::Part;
use crate::console::form::{Drawn, Group, read, schema, shown};
use crate::console::frame::Frame;
use crate::console::guard::{Query, Submitted, Visit};
use crate::console::kinds::{self, KindPages};
use crate::console::preview::{FaultLine, Preview, faults};
use crate::console::{Console, cursor};
use crate::policy::document::written_object;
use crate::policy::draft::DraftId;
use crate::policy::edit::{Edit, EditFault, Edited, edited, merged, object_text};
use crate::policy::kind::Kind;
use crate::policy::model::{Policy, Revision};
use crate::policy::yaml;
use crate::web::parameters::Parameters;
use crate::web::stylesheet;

mod conflict;

/// What is edited, and on what.
struct Target {
    kind: &'static KindPages,
    /// `None` for a new object.
    name: Option<String>,
    base: Base,
    /// Goes before this one.
    before: Option<String>,
    /// Is taken out.
    removes: bool,
}

/// What is suggested while somebody writes.
struct Suggestions {
    names: Names,
    people: Vec<String>,
    routes: Vec<String>,
    route_groups: Vec<String>,
}

#[derive(Template)]
#[template(path = "console/edit.html")]
struct EditPage {
    frame: Frame,
    editor_script: &'static str,
    target: Shown,
    groups: Vec<Group>,
    yaml: String,
    suggestions: Suggestions,
    preview: Option<Preview>,
    message: String,
    /// Why it was not saved.
    refusal: Option<String>,
    /// Why it cannot be applied by whoever asks.
    not_applied: Option<String>,
}

/// The target as the page has it.
struct Shown {
    kind: &'static KindPages,
    name: String,
    /// 0 where there has never been any, or with a draft.
    revision: i64,
    draft: Option<(i64, i64)>,
    before: String,
    /// Objects that it can go before; only where order counts.
    others: Vec<String>,
    removes: bool,
}

impl Target {
    /// Reads the same fields from an address and from a form.
    async fn of(console: &Console, fields: &Parameters) -> Result<Self, Refused> {
        let kind = fields.one("kind").and_then(kinds::named);
        let kind = kind.ok_or(Refused::NotFound)?;
        let number = |name| fields.one(name).map(cursor::number).transpose();
        let (draft, version) = (number("draft")?, number("version")?);
        let base = match (draft, version, number("revision")?) {
            (Some(draft), Some(version), _) => Base::Draft(Seen {
                draft: DraftId(draft),
                version,
            }),
            (Some(_), None, _) => {
                let said = "Which version of the draft is not said.";
                return Err(Refused::Unreadable(said.to_owned()));
            }
            (_, _, Some(0)) => Base::Revision(None),
            (_, _, Some(revision)) => Base::Revision(Some(Revision(revision))),
            (_, _, None) => console.revisions.current_base().await?,
        };
        Ok(Self {
            kind,
            name: fields.one("name").map(str::to_owned),
            base,
            before: fields.one("before").map(str::to_owned),
            removes: fields.one("remove") == Some("1"),
        })
    }

    fn edit<'a>(&'a self, object: &'a str) -> Edit<'a> {
        Edit {
            kind: self.kind.kind,
            name: self.name.as_deref(),
            object: (!self.removes).then_some(object),
            before: self.before.as_deref(),
        }
    }

    fn shown(&self, policy: &Policy) -> Shown {
        let others = match self.kind.kind {
            Kind::Mapping => policy.names(Kind::Mapping),
            _ => Vec::new(),
        };
        let others = others
            .into_iter()
            .filter(|other| self.name.as_deref() != Some(other));
        Shown {
            kind: self.kind,
            name: self.name.clone().unwrap_or_default(),
            revision: match self.base {
                Base::Revision(revision) => revision.map_or(0, |revision| revision.0),
                Base::Draft(_) => 0,
            },
            draft: match self.base {
                Base::Revision(_) => None,
                Base::Draft(seen) => Some((seen.draft.0, seen.version)),
            },
            before: self.before.clone().unwrap_or_default(),
            others: others.map(str::to_owned).collect(),
            removes: self.removes,
        }
    }

    fn title(&self) -> String {
        let one = self.kind.one;
        match &self.name {
            None => format!("New {one}"),
            Some(name) if self.removes => format!("Remove {one} {name}"),
            Some(name) => format!("Edit {one} {name}"),
        }
    }
}

/// An object of a policy, as the form takes it.
fn object_json(policy: &Policy, kind: Kind, at: usize) -> Option<Value> {
    let objects = policy.objects(kind);
    objects.get(at).map(|object| object.to_json())
}

/// Both sides of the editor.
struct Sides {
    yaml: String,
    object: Value,
}

impl Sides {
    /// As it stands, or as a new one begins.
    fn begin(target: &Target, started: &Started, copied: Option<&str>) -> Result<Self, Refused> {
        let kind = target.kind.kind;
        let Some(name) = target.name.as_deref().or(copied) else {
            let mut object = json!({ "name": format!("new-{}", kind.as_str().replace('_', "-")) });
            if target.kind.kind == Kind::Rule {
                object["action"] = "allow".into();
                object["from"] = json!([]);
            }
            let yaml = written_object(&object);
            return Ok(Self { yaml, object });
        };
        let policy = &started.policy;
        let at = policy.names(kind).iter().position(|known| *known == name);
        let object = at.and_then(|at| object_json(policy, kind, at));
        let object = object.ok_or(Refused::NotFound)?;
        let yaml = object_text(&started.text, policy, kind, name);
        let yaml = yaml.unwrap_or_else(|| written_object(&object));
        if copied.is_none() {
            return Ok(Self { yaml, object });
        }
        let mut copy = object.clone();
        copy["name"] = format!("{name}-copy").into();
        Ok(Self {
            yaml: merged(&yaml, &object, &copy),
            object: copy,
        })
    }

    /// As they were sent: the one that is meant makes the other.
    fn sent(target: &Target, started: &Started, form: &Parameters) -> Self {
        let kind = target.kind.kind;
        let yaml = form.one("yaml").unwrap_or_default().replace("\r\n", "\n");
        let filled = read(schema::of(kind), form);
        let known = (!target.removes)
            .then(|| said(started, &target.edit(&yaml)))
            .flatten();
        if form.one("side") == Some("form") {
            let yaml = match &known {
                Some(before) => merged(&yaml, before, &filled),
                None => written_object(&filled),
            };
            let object = said(started, &target.edit(&yaml)).unwrap_or(filled);
            return Self { yaml, object };
        }
        Self {
            yaml,
            object: known.unwrap_or(filled),
        }
    }
}

/// What an edited object says, if the whole can be read.
fn said(started: &Started, edit: &Edit<'_>) -> Option<Value> {
    let edited = edited(&started.text, &started.policy, edit).ok()?;
    let policy = yaml::parse(&edited.text).ok()?;
    object_json(&policy, edit.kind, edited.at)
}

/// `GET /console/edit`.
pub(super) async fn ask(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Query(query): Query,
) -> Answer {
    console.revisions.check_own_writing(&visit.actor)?;
    let target = Target::of(&console, &query).await?;
    let started = console.revisions.start(target.base).await?;
    let sides = Sides::begin(&target, &started, query.one("copy"))?;
    let preview = match target.removes {
        true => Some(
            foreseen(&console, &visit.actor, &started, &target, "")
                .await?
                .0,
        ),
        false => None,
    };
    page(&edit_page(&console, &visit, &target, &started, (sides, preview)).await?)
}

/// `POST /console/edit`: both sides anew, and what would come of it.
pub(super) async fn preview(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Submitted(form): Submitted,
) -> Answer {
    let target = Target::of(&console, &form).await?;
    let started = console.revisions.start(target.base).await?;
    let sides = Sides::sent(&target, &started, &form);
    let (preview, _) = foreseen(&console, &visit.actor, &started, &target, &sides.yaml).await?;
    let mut shown = edit_page(&console, &visit, &target, &started, (sides, Some(preview))).await?;
    if let Some(message) = form.one("message") {
        shown.message = message.to_owned();
    }
    page(&shown)
}

/// What would come of an edit, and the whole text if it can be read.
async fn foreseen(
    console: &Console,
    actor: &Actor,
    started: &Started,
    target: &Target,
    yaml: &str,
) -> Result<(Preview, Option<Edited>), Refused> {
    let edited = match edited(&started.text, &started.policy, &target.edit(yaml)) {
        Ok(edited) => edited,
        Err(fault) => return Ok((Preview::faulty(fault_lines(&fault)), None)),
    };
    let now = console.clock.now();
    let lines = edited.lines.clone();
    let in_view = |line| lines.contains(&line).then(|| line - lines.start + 1);
    let preview = match console.revisions.foresee(actor, &edited.text, now).await? {
        Ok(foreseen) => Preview::of(&foreseen, &Part::default(), now),
        Err(found) => Preview::faulty(faults(&found, in_view)),
    };
    Ok((preview, Some(edited)))
}

fn fault_lines(fault: &EditFault) -> Vec<FaultLine> {
    match fault {
        EditFault::Faults(found) => faults(found, |line| (line > 0).then_some(line)),
        EditFault::Unknown(..) => vec![FaultLine {
            place: String::new(),
            message: fault.to_string(),
        }],
    }
}

async fn edit_page(
    console: &Console,
    visit: &Visit,
    target: &Target,
    started: &Started,
    (sides, preview): (Sides, Option<Preview>),
) -> Result<EditPage, Refused> {
    let kind = target.kind.kind;
    let owned = |kind: Kind| -> Vec<String> {
        let names = started.policy.names(kind).into_iter();
        names.take(1000).map(str::to_owned).collect()
    };
    let revisions = &console.revisions;
    let message = match (&started.draft, &target.name) {
        (Some(draft), _) => draft.message.clone(),
        (None, Some(name)) if target.removes => format!("remove {} {name}", target.kind.one),
        (None, Some(name)) => format!("change {} {name}", target.kind.one),
        (None, None) => format!("a new {}", target.kind.one),
    };
    let not_applied = match target.base {
        Base::Revision(_) => {
            let refused = revisions.check_own_revision(&visit.actor).err();
            refused.map(|error| sentence(&error))
        }
        Base::Draft(_) => Some("A draft is applied on its own page.".to_owned()),
    };
    Ok(EditPage {
        frame: Frame::of(visit, target.title()),
        editor_script: &stylesheet::EDITOR_PATH,
        target: target.shown(&started.policy),
        groups: match target.removes {
            true => Vec::new(),
            false => shown(schema::of(kind), &sides.object),
        },
        yaml: sides.yaml,
        suggestions: Suggestions {
            names: revisions.names().await?,
            people: owned(Kind::People),
            routes: owned(Kind::Route),
            route_groups: owned(Kind::RouteGroup),
        },
        preview,
        message,
        refusal: None,
        not_applied,
    })
}

/// `POST /console/edit/save`: as a draft, for review, or at once; onto what the page saw and nothing else.
pub(super) async fn save(
    State(console): State<Arc<Console>>,
    visit: Visit,
    Submitted(form): Submitted,
) -> Answer {
    let target = Target::of(&console, &form).await?;
    let started = console.revisions.start(target.base).await?;
    let sides = Sides::sent(&target, &started, &form);
    let (preview, edited) =
        foreseen(&console, &visit.actor, &started, &target, &sides.yaml).await?;
    let message = form.one("message").unwrap_or_default();
    let refused = match edited.filter(|_| preview.faults.is_empty()) {
        None => None,
        Some(edited) => {
            let saved = put_down(&console, &visit, &started, edited.text, &form).await;
            match saved {
                Ok(path) => return see_other(&path),
                Err(DraftsError::Revisions(RevisionsError::Conflict(Some(current)))) => {
                    let page = conflict::page(&console, &visit, &target, &started, &form, &current);
                    return html(http::StatusCode::CONFLICT, &page.await?);
                }
                Err(error) => Some(error),
            }
        }
    };
    let said = refused.as_ref().map(sentence);
    match refused.map(Refused::from) {
        None | Some(Refused::Conflict(_) | Refused::Unreadable(_)) => {}
        Some(refused) => return Err(refused),
    }
    let shown = edit_page(&console, &visit, &target, &started, (sides, Some(preview)));
    let mut shown = shown.await?;
    shown.message = message.to_owned();
    shown.refusal = said;
    html(http::StatusCode::CONFLICT, &shown)
}

/// Does what the button says, and tells where to go on.
async fn put_down(
    console: &Console,
    visit: &Visit,
    started: &Started,
    text: String,
    form: &Parameters,
) -> Result<String, DraftsError> {
    let (revisions, actor) = (&console.revisions, &visit.actor);
    let message = form.one("message").unwrap_or_default();
    if form.one("do") == Some("apply") && started.draft.is_none() {
        let writing = Writing {
            parent: started.parent,
            message: message.to_owned(),
            is_emergency: false,
        };
        let outcome = revisions.apply(&text, actor, &writing).await?;
        return Ok(format!(
            "/console/revisions/{}?done=written",
            outcome.revision.0
        ));
    }
    let draft = revisions.save_edit(started, text, message, actor).await?;
    let id = draft.id;
    if form.one("do") == Some("review") {
        revisions.submit_draft(id, actor).await?;
        return Ok(format!("/console/drafts/{}?done=submitted", id.0));
    }
    Ok(format!("/console/drafts/{}?done=saved", id.0))
}

#[cfg(test)]
pub(super) fn samples(text: &str) -> Vec<(&'static str, String)> {
    let own = || text.to_owned();
    let object = json!({
        "name": text,
        "action": "allow",
        "from": [{ "groups": [text], "claims": { text: [text] } }],
        "when": { "until": text, "headers": { text: [text] } },
    });
    let edit = EditPage {
        frame: Frame::sample(text),
        editor_script: &stylesheet::EDITOR_PATH,
        target: Shown {
            kind: kinds::of(Kind::Rule),
            name: own(),
            revision: 7,
            draft: Some((3, 1)),
            before: own(),
            others: vec![own()],
            removes: false,
        },
        groups: shown(schema::of(Kind::Rule), &object),
        yaml: own(),
        suggestions: Suggestions {
            names: Names {
                groups: vec![own()],
                emails: vec![own()],
                providers: vec![own()],
            },
            people: vec![own()],
            routes: vec![own()],
            route_groups: vec![own()],
        },
        preview: Some(Preview {
            faults: Vec::new(),
            ..crate::console::preview::sample(text)
        }),
        message: own(),
        refusal: Some(own()),
        not_applied: Some(own()),
    };
    vec![("edit", edit.render().unwrap()), conflict::sample(text)]
}
