//! The first owner. While nobody can be owner, the server prints a one-time code when it starts; whoever is signed in and has it may become owner.
//!
//! The code rests hashed, and only the hash of what is presented is ever compared: how long that takes tells nothing of the code.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::admin::actor::Actor;
use crate::admin::review::Right;
use crate::admin::revisions::{Outcome, Revisions, RevisionsError, Writing};
use crate::clock::{SharedClock, Timestamp};
use crate::identity::principal::Principal;
use crate::policy::document::{Document, Part, written};
use crate::policy::matcher::TextMatch;
use crate::policy::model::{Policy, RoleBinding, Source};
use crate::policy::roles::{Role, has_owner};
use crate::policy::yaml;
use crate::secret::{TokenHash, random};
use crate::store::{Store, StoreError};

/// How long a code is good for; starting again prints another.
const GOOD_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// The kind of one-time state.
const KIND: &str = "owner_claim";
/// Attempts within a minute, of everybody together.
const ATTEMPTS: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);

/// What the binding is called.
const NAME: &str = "first-owner";
const PART: &str = "role_bindings";

/// Why nobody became owner.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Somebody can be owner already.
    #[error("this edge has an owner")]
    Owned,
    /// The code is not the one that the server printed, or too old.
    #[error("this is not the code that the server printed, or it is older than a day")]
    Code,
    /// Too many attempts.
    #[error("too many attempts")]
    TooMany,
    /// Rules cannot name this subject.
    #[error(
        "the identity provider calls you by a name with a star or a control character, which no rule can say exactly"
    )]
    Subject,
    /// The revision cannot be written.
    #[error(transparent)]
    Revisions(#[from] RevisionsError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How ownership stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Somebody can be owner.
    Owned,
    /// A code makes whoever has it owner.
    Free,
    /// The policy is that of a file, to which these lines have to be added.
    File(PathBuf, String),
}

/// Claiming.
pub struct Ownership {
    revisions: Revisions,
    clock: SharedClock,
    attempts: Mutex<(Timestamp, u32)>,
}

/// Makes a code for a policy without an owner, to be shown to whoever reads the server's log.
pub async fn offer(store: &Store, now: Timestamp) -> Result<String, StoreError> {
    let code = hex::encode(random::<10>());
    let until = now.plus(GOOD_FOR);
    store
        .put_once(KIND, TokenHash::of(code.as_bytes()), b"", until)
        .await?;
    let groups: Vec<&str> = (0..4)
        .filter_map(|at| code.get(at * 5..at * 5 + 5))
        .collect();
    Ok(groups.join("-"))
}

impl Ownership {
    /// Nobody has tried yet.
    pub fn new(revisions: Revisions, clock: SharedClock) -> Self {
        let attempts = Mutex::new((clock.now(), 0));
        Self {
            revisions,
            clock,
            attempts,
        }
    }

    /// How it stands, for somebody who is signed in.
    pub async fn standing(&self, principal: &Principal) -> Result<Standing, ClaimError> {
        let policy = self.current().await?.2;
        if has_owner(&policy) {
            return Ok(Standing::Owned);
        }
        let binding = binding(principal, &policy)?;
        Ok(match &self.revisions.follows {
            Some(file) => Standing::File(file.clone(), lines(&binding, "  ")),
            None => Standing::Free,
        })
    }

    /// Makes somebody the first owner, as a revision of its own.
    pub async fn claim(
        &self,
        principal: &Arc<Principal>,
        code: &str,
    ) -> Result<Outcome, ClaimError> {
        self.count_attempt()?;
        let plain: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
        let hash = TokenHash::of(plain.to_ascii_lowercase().as_bytes());
        let (parent, text, mut policy) = self.current().await?;
        if has_owner(&policy) {
            return Err(ClaimError::Owned);
        }
        let store = &self.revisions.store;
        if store.peek_once(KIND, hash).await?.is_none() {
            return Err(ClaimError::Code);
        }
        let binding = binding(principal, &policy)?;
        let item = |indent: &str| lines(&binding, indent);
        let text = with_item(&text, &mut policy, &binding, item);
        // The code is what entitles them to the one thing that they do as owner.
        let actor = Actor::Person {
            principal: Arc::clone(principal),
            roles: BTreeSet::from([Role::Owner]),
        };
        let writing = Writing {
            parent,
            message: "the first owner, by the server's one-time code".to_owned(),
            is_emergency: false,
        };
        let right = Right::Claim(&writing);
        let outcome = self.revisions.write_text(&text, &actor, right).await?;
        // Whoever comes second with the same code is told of the first by the revision; then the code is gone.
        store.take_once(KIND, hash).await?;
        Ok(outcome)
    }

    async fn current(
        &self,
    ) -> Result<(Option<crate::policy::model::Revision>, String, Policy), ClaimError> {
        let (revision, text) = self.revisions.export(None).await?;
        let policy = yaml::parse(&text).map_err(RevisionsError::Faults)?;
        Ok((revision, text, policy))
    }

    fn count_attempt(&self) -> Result<(), ClaimError> {
        let now = self.clock.now();
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(attempts.0) >= MINUTE {
            *attempts = (now, 0);
        }
        attempts.1 += 1;
        match attempts.1 > ATTEMPTS {
            true => Err(ClaimError::TooMany),
            false => Ok(()),
        }
    }
}

/// The person as issuer and subject, which name them for ever; an address could be given to somebody else.
fn binding(principal: &Principal, policy: &Policy) -> Result<RoleBinding, ClaimError> {
    let subject = TextMatch::parse(&principal.subject).map_err(|_| ClaimError::Subject)?;
    let TextMatch::Exact(_) = subject else {
        return Err(ClaimError::Subject);
    };
    let is_taken = |name: &str| {
        policy
            .role_bindings
            .iter()
            .any(|taken| *taken.name == *name)
    };
    let more = (2..).map(|number| format!("{NAME}-{number}"));
    let mut names = std::iter::once(NAME.to_owned()).chain(more);
    let name = names.find(|name| !is_taken(name)).unwrap_or_default();
    Ok(RoleBinding {
        name: name.into(),
        role: Role::Owner,
        from: vec![Source {
            providers: Some(vec![principal.provider.clone()]),
            subjects: Some(vec![subject]),
            ..Source::default()
        }],
    })
}

/// The lines of a policy file, one item.
fn lines(binding: &RoleBinding, indent: &str) -> String {
    let source = binding.from.first();
    let subjects = source.and_then(|source| source.subjects.as_deref());
    let providers = source.and_then(|source| source.providers.as_deref());
    let subject = match subjects.and_then(<[TextMatch]>::first) {
        Some(TextMatch::Exact(subject)) => subject.as_str(),
        Some(_) | None => "",
    };
    let provider = providers.and_then(<[_]>::first).map_or("", |name| &**name);
    // A text of JSON is one of YAML.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let (name, provider, subject) = (&binding.name, quoted(provider), quoted(subject));
    format!(
        "{indent}- name: {name}\n{indent}  role: owner\n{indent}  from: [{{ providers: [{provider}], subjects: [{subject}] }}]\n"
    )
}

/// The document with one more binding, everything else as its author wrote it.
fn with_item(
    text: &str,
    policy: &mut Policy,
    binding: &RoleBinding,
    item: impl Fn(&str) -> String,
) -> String {
    let mut document = Document::of(text, policy);
    policy.role_bindings.push(binding.clone());
    match document.parts.iter_mut().find(|part| part.name == PART) {
        Some(part) => {
            let last = part.items.last();
            let written = last.and_then(|last| {
                last.lines()
                    .find(|line| line.trim_start().starts_with("- "))
            });
            let indent = written.map_or(2, |line| line.len() - line.trim_start().len());
            if let Some(last) = part.items.last_mut().filter(|last| !last.ends_with('\n')) {
                last.push('\n');
            }
            part.items.push(item(&" ".repeat(indent)));
        }
        None => {
            if let Some(last) = document.parts.last_mut() {
                let end = last.items.last_mut().unwrap_or(&mut last.heading);
                if !end.ends_with('\n') {
                    end.push('\n');
                }
            }
            document.parts.push(Part {
                name: PART.to_owned(),
                heading: format!("\n{PART}:\n"),
                items: vec![item("  ")],
            });
        }
    }
    let text = document.text();
    match yaml::parse(&text) {
        Ok(read) if read == *policy => text,
        Ok(_) | Err(_) => written(policy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::trial::nobody_yet;

    #[test]
    fn a_binding_is_added_and_nothing_else_changes() {
        for (before, after) in [
            ("{}\n", "\nrole_bindings:\n@"),
            (
                "# mine\nrules: []\n",
                "# mine\nrules: []\n\nrole_bindings:\n@",
            ),
            (
                "rules: []\nrole_bindings:\n- { name: a, role: auditor, from: [] } # b",
                "rules: []\nrole_bindings:\n- { name: a, role: auditor, from: [] } # b\n@",
            ),
        ] {
            let mut policy = yaml::parse(before).unwrap();
            let binding = binding(&nobody_yet("okta", "00u\"1: #"), &policy).unwrap();
            let text = with_item(before, &mut policy, &binding, |indent| {
                lines(&binding, indent)
            });
            let indent = if before.contains("\n- ") { "" } else { "  " };
            assert_eq!(text, after.replace('@', &lines(&binding, indent)));
            assert_eq!(yaml::parse(&text).unwrap(), policy);
            assert!(has_owner(&policy));
        }
    }

    #[test]
    fn k8_whoever_no_rule_can_name_exactly_cannot_claim() {
        for subject in ["*", "a*", "*a", "a\nb"] {
            let refused = binding(&nobody_yet("okta", subject), &Policy::default());
            assert!(matches!(refused, Err(ClaimError::Subject)), "{subject}");
        }
    }
}
