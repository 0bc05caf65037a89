//! Who and what: identity mappings, named people and rules of a policy document.

use std::sync::Arc;

use crate::identity::email::{Email, is_domain};
use crate::identity::principal::PrincipalKind;
use crate::identity::unseen::is_unseen;
use crate::policy::matcher::{PathMatch, TextMatch};
use crate::policy::model::{
    Action, Approval, Mapping, Mode, People, RoleBinding, Rule, Source, Target,
};
use crate::policy::roles::ROLES;
use crate::policy::svids::SvidKind;
use crate::policy::template::IdentityTemplate;
use crate::policy::yaml::circumstances;
use crate::policy::yaml::parts::{choice, flag, name, required_name, word};
use crate::policy::yaml::reader::{At, Fields, Reader};

/// The words of the file for each kind of principal.
pub(in crate::policy) const KINDS: &[(&str, PrincipalKind)] = &[
    ("user", PrincipalKind::User),
    ("workload", PrincipalKind::Workload),
];

/// The words of the file for each kind of SVID.
pub(in crate::policy) const SVIDS: &[(&str, SvidKind)] =
    &[("x509", SvidKind::X509), ("jwt", SvidKind::Jwt)];

const ACTIONS: &[(&str, Action)] = &[("allow", Action::Allow), ("deny", Action::Deny)];

const MODES: &[(&str, Mode)] = &[("enforce", Mode::Enforce), ("shadow", Mode::Shadow)];

/// Reads an identity mapping.
pub(super) fn mapping(reader: &mut Reader, at: &At<'_>) -> Option<Mapping> {
    let fields = reader.fields(at, &["name", "from", "spiffe_id"])?;
    let mapping_name = required_name(reader, &fields);
    let from = reader
        .required(&fields, "from")
        .map(|at| reader.each(&at, source));
    let spiffe_id = reader.required(&fields, "spiffe_id").and_then(|at| {
        reader.parsed(&at, |text| {
            IdentityTemplate::parse(text).map(|_| text.to_owned())
        })
    });
    Some(Mapping {
        name: mapping_name?,
        from: from?,
        spiffe_id: spiffe_id?,
    })
}

/// Reads people who are named together.
pub(super) fn people(reader: &mut Reader, at: &At<'_>) -> Option<People> {
    let fields = reader.fields(at, &["name", "from"])?;
    let people_name = required_name(reader, &fields);
    let from = reader.required(&fields, "from")?;
    let from = reader.each(&from, |reader, item| {
        let source = source(reader, item)?;
        if source.anyone || source.people.is_some() || source.not_people.is_some() {
            reader.fault(
                item,
                "`anyone`, `people` and `not_people` cannot stand in what is named; they stand in rules and mappings",
            );
        }
        no_agents(reader, item, &source);
        Some(source)
    });
    Some(People {
        name: people_name?,
        from,
    })
}

/// Reads a role binding.
pub(super) fn role_binding(reader: &mut Reader, at: &At<'_>) -> Option<RoleBinding> {
    let fields = reader.fields(at, &["name", "role", "from"])?;
    let binding_name = required_name(reader, &fields);
    let role = reader
        .required(&fields, "role")
        .and_then(|at| reader.parsed(&at, |text| word(text, ROLES)));
    let from = reader.required(&fields, "from")?;
    let from = reader.each(&from, |reader, item| {
        let source = source(reader, item)?;
        if source.anyone {
            reader.fault(item, "somebody who is not signed in can have no role");
        }
        no_agents(reader, item, &source);
        Some(source)
    });
    Some(RoleBinding {
        name: binding_name?,
        role: role?,
        from,
    })
}

/// Reads a rule.
pub(super) fn rule(reader: &mut Reader, at: &At<'_>) -> Option<Rule> {
    let known = ["name", "action", "mode", "from", "to", "when", "require"];
    let fields = reader.fields(at, &known)?;
    let rule_name = required_name(reader, &fields);
    let action = reader
        .required(&fields, "action")
        .and_then(|at| reader.parsed(&at, |text| word(text, ACTIONS)));
    let mode = choice(reader, &fields, "mode", MODES);
    let from = reader
        .required(&fields, "from")
        .map(|at| reader.each(&at, source));
    let to = fields.field("to").map(|at| reader.each(&at, target));
    let when = fields
        .field("when")
        .map(|at| circumstances::when(reader, &at));
    let require = fields
        .field("require")
        .map(|at| circumstances::requirement(reader, &at, approval));
    let (require, approval) = swap(require)?.unwrap_or_default();
    let rule = Rule {
        name: rule_name?,
        action: action?,
        mode,
        from: from?,
        to,
        when: swap(when)?,
        require,
        approval,
    };
    check_requirement(reader, &fields, &rule);
    Some(rule)
}

/// A field that is absent is fine, and one that could not be read is not.
fn swap<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    read.map_or(Some(None), |value| value.map(Some))
}

/// How somebody signed in can only be asked of those who may do something, and who have signed in.
fn check_requirement(reader: &mut Reader, fields: &Fields<'_>, rule: &Rule) {
    let Some(at) = fields.field("require") else {
        return;
    };
    if rule.action == Action::Deny {
        reader.fault(
            &at,
            "only an allow rule can require something; to deny those who have not met it, let the allow rules require it",
        );
    }
    if rule.from.iter().any(|source| source.anyone) {
        reader.fault(
            &at,
            "nothing can be required of `anyone`; write `signed_in: true`",
        );
    }
}

/// Reads who approves of a rule's use, and for how long.
fn approval(reader: &mut Reader, at: &At<'_>) -> Option<Approval> {
    let fields = reader.fields(at, &["from", "at_most", "break_glass"])?;
    let from = reader.required(&fields, "from").map(|at| {
        reader.each(&at, |reader, item| {
            let source = source(reader, item)?;
            if source.anyone {
                reader.fault(
                    item,
                    "nobody knows who `anyone` is, and an approval needs a name; write `signed_in: true`",
                );
            }
            no_agents(reader, item, &source);
            Some(source)
        })
    });
    let at_most = reader
        .required(&fields, "at_most")
        .and_then(|at| reader.parsed(&at, circumstances::grant_length));
    Some(Approval {
        from: from?,
        at_most: at_most?,
        break_glass: flag(reader, &fields, "break_glass"),
    })
}

fn source(reader: &mut Reader, at: &At<'_>) -> Option<Source> {
    let fields = reader.fields(
        at,
        &[
            "anyone",
            "signed_in",
            "emails",
            "email_domains",
            "subjects",
            "groups",
            "providers",
            "kinds",
            "claims",
            "people",
            "agents",
            "not_agents",
            "not_emails",
            "not_subjects",
            "not_groups",
            "not_providers",
            "not_claims",
            "not_people",
        ],
    )?;
    if fields.is_empty() {
        reader.fault(
            at,
            "it says nothing; for everyone who is signed in write `signed_in: true`",
        );
    }
    for field in ["anyone", "signed_in"] {
        if let Some(at) = fields.field(field)
            && reader.boolean(&at) == Some(false)
        {
            reader.fault(&at, "it can only be true; leave it out otherwise");
        }
    }
    let anyone = fields.field("anyone").is_some();
    if anyone && fields.len() > 1 {
        reader.fault(at, "nothing may stand beside `anyone: true`");
    }
    if let Some(at) = fields.field("not_agents")
        && fields.field("agents").is_none()
    {
        reader.fault(
            &at,
            "it takes some out of `agents`, which has to stand beside it; write `agents: [\"*\"]`",
        );
    }
    Some(Source {
        anyone,
        signed_in: fields.field("signed_in").is_some(),
        emails: reader.texts(&fields, "emails", email_match),
        email_domains: reader.texts(&fields, "email_domains", email_domain),
        subjects: reader.texts(&fields, "subjects", TextMatch::parse),
        groups: reader.texts(&fields, "groups", TextMatch::parse),
        providers: reader.texts(&fields, "providers", name),
        kinds: reader.texts(&fields, "kinds", |text| word(text, KINDS)),
        claims: circumstances::conditions(reader, &fields, "claims", claim_name),
        people: reader.texts(&fields, "people", name),
        agents: reader.texts(&fields, "agents", TextMatch::parse),
        not_agents: reader.texts(&fields, "not_agents", TextMatch::parse),
        not_emails: reader.texts(&fields, "not_emails", email_match),
        not_subjects: reader.texts(&fields, "not_subjects", TextMatch::parse),
        not_groups: reader.texts(&fields, "not_groups", TextMatch::parse),
        not_providers: reader.texts(&fields, "not_providers", name),
        not_claims: circumstances::conditions(reader, &fields, "not_claims", claim_name),
        not_people: reader.texts(&fields, "not_people", name),
    })
}

/// Who is named, who decides and who has a role are people and programs themselves.
fn no_agents(reader: &mut Reader, at: &At<'_>, source: &Source) {
    if source.agents.is_some() {
        let message = "`agents` stands in the `from` of rules and mappings only: nothing acts for somebody here";
        reader.fault(at, message);
    }
}

/// The name of a claim as the provider's configuration has it.
pub(super) fn claim_name(text: &str) -> Result<Arc<str>, &'static str> {
    if text.is_empty() || text.len() > 200 || text.chars().any(is_unseen) {
        return Err("a claim's name has 1 to 200 characters, each of which is seen");
    }
    Ok(text.into())
}

/// A whole address, `*@domain` or `*`: whatever leaves the domain open would match addresses that anybody can have.
fn email_match(text: &str) -> Result<TextMatch, String> {
    match TextMatch::parse(&text.to_ascii_lowercase()).map_err(|fault| fault.to_string())? {
        TextMatch::Exact(text) => Email::parse(&text)
            .map(|email| TextMatch::Exact(email.into()))
            .map_err(|fault| fault.to_string()),
        TextMatch::Suffix(suffix) if Email::parse(&format!("x{suffix}")).is_ok() => {
            Ok(TextMatch::Suffix(suffix))
        }
        TextMatch::Present => Ok(TextMatch::Present),
        TextMatch::Suffix(_) | TextMatch::Prefix(_) => Err(
            "the domain must be whole: write alice@corp.example, *@corp.example, or use `email_domains`"
                .to_owned(),
        ),
    }
}

fn email_domain(text: &str) -> Result<String, &'static str> {
    if !is_domain(text) {
        return Err("it must be a whole domain like corp.example, without `@` or `*`");
    }
    Ok(text.to_ascii_lowercase())
}

fn target(reader: &mut Reader, at: &At<'_>) -> Option<Target> {
    let fields = reader.fields(
        at,
        &[
            "routes",
            "route_groups",
            "methods",
            "paths",
            "not_routes",
            "not_route_groups",
            "not_methods",
            "not_paths",
            "svids",
        ],
    )?;
    if fields.is_empty() {
        reader.fault(at, "it says nothing; to mean everything leave `to` out");
    }
    if fields.field("svids").is_some() && fields.len() > 1 {
        reader.fault(
            at,
            "nothing may stand beside `svids`: an SVID leads past the edge, so no route, method or path limits what it is used for",
        );
    }
    Some(Target {
        svids: reader.texts(&fields, "svids", |text| word(text, SVIDS)),
        routes: reader.texts(&fields, "routes", name),
        route_groups: reader.texts(&fields, "route_groups", name),
        methods: reader.texts(&fields, "methods", method),
        paths: reader.texts(&fields, "paths", PathMatch::parse),
        not_routes: reader.texts(&fields, "not_routes", name),
        not_route_groups: reader.texts(&fields, "not_route_groups", name),
        not_methods: reader.texts(&fields, "not_methods", method),
        not_paths: reader.texts(&fields, "not_paths", PathMatch::parse),
    })
}

fn method(text: &str) -> Result<String, &'static str> {
    let is_allowed = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
    if text.is_empty() || text.len() > 32 || !text.bytes().all(is_allowed) {
        return Err(
            "a method is written in upper case, like GET; for any method leave the list out",
        );
    }
    Ok(text.to_owned())
}
