//! The fields of each kind of object, in the order in which people fill them in.

/// What is filled in.
#[derive(Clone, Copy)]
pub(in crate::console) enum Input {
    /// A text of one line.
    Line,
    /// Items, one a line.
    Lines,
    /// Names with lists of values, a pair a line.
    Pairs,
    /// Names with a value each, a pair a line.
    OnePairs,
    /// Addresses, one a line, with a weight behind it.
    Addresses,
    /// Yes, or nothing.
    Flag,
    /// One of some words, or nothing.
    Choice(&'static [&'static str]),
}

/// What can be suggested.
#[derive(Clone, Copy)]
pub(in crate::console) enum Suggest {
    Nothing,
    Groups,
    Emails,
    Providers,
    People,
    Routes,
    RouteGroups,
}

/// A field of an object.
pub(in crate::console) struct Field {
    /// Keys on the way to it.
    pub(in crate::console) path: &'static str,
    pub(in crate::console) label: &'static str,
    pub(in crate::console) hint: &'static str,
    pub(in crate::console) input: Input,
    pub(in crate::console) suggest: Suggest,
    /// Shown only to those who look for it.
    pub(in crate::console) is_rare: bool,
}

/// Fields that stand together, or the alternatives of a list.
pub(in crate::console) struct Section {
    pub(in crate::console) title: &'static str,
    /// What another alternative is called.
    pub(in crate::console) again: &'static str,
    pub(in crate::console) hint: &'static str,
    /// Keys on the way to the list whose items these are.
    pub(in crate::console) repeats: Option<&'static str>,
    /// A list without items is left out.
    pub(in crate::console) is_optional: bool,
    pub(in crate::console) fields: &'static [Field],
}

use crate::policy::kind::Kind;
use Input::{Addresses, Choice, Flag, Line, Lines, OnePairs, Pairs};
use Suggest::{Emails, Groups, Nothing, People, Providers, RouteGroups, Routes};

const fn field(
    path: &'static str,
    label: &'static str,
    hint: &'static str,
    input: Input,
    suggest: Suggest,
) -> Field {
    Field {
        path,
        label,
        hint,
        input,
        suggest,
        is_rare: false,
    }
}

const fn rare(
    path: &'static str,
    label: &'static str,
    hint: &'static str,
    input: Input,
    suggest: Suggest,
) -> Field {
    Field {
        is_rare: true,
        ..field(path, label, hint, input, suggest)
    }
}

const fn section(title: &'static str, hint: &'static str, fields: &'static [Field]) -> Section {
    Section {
        title,
        again: "",
        hint,
        repeats: None,
        is_optional: true,
        fields,
    }
}

const NAME: Field = field(
    "name",
    "Name",
    "1 to 100 letters, digits, dots, hyphens or underscores.",
    Line,
    Nothing,
);

const PERSON: &[Field] = &[
    field(
        "groups",
        "In any of the groups",
        "One a line; sre-* begins so.",
        Lines,
        Groups,
    ),
    field(
        "emails",
        "E-mail addresses",
        "*@corp.example ends so.",
        Lines,
        Emails,
    ),
    field("people", "Named people", "", Lines, People),
    field("providers", "Signed in at", "", Lines, Providers),
    field("signed_in", "Everyone who is signed in", "", Flag, Nothing),
    rare(
        "anyone",
        "Anyone, signed in or not; stands alone",
        "",
        Flag,
        Nothing,
    ),
    rare("email_domains", "E-mail domains", "", Lines, Nothing),
    rare("subjects", "Subjects", "The issuer's sub.", Lines, Nothing),
    rare("kinds", "Kinds", "user or workload.", Lines, Nothing),
    rare(
        "agents",
        "Through the agents",
        "https://agent.example, loopback, or issuer/subject; * is any.",
        Lines,
        Nothing,
    ),
    rare("not_agents", "But not the agents", "", Lines, Nothing),
    rare(
        "claims",
        "Claims",
        "Like department: eng, a pair a line.",
        Pairs,
        Nothing,
    ),
    rare("not_groups", "In none of the groups", "", Lines, Groups),
    rare("not_emails", "Not the e-mail addresses", "", Lines, Emails),
    rare("not_people", "Not the named people", "", Lines, People),
    rare("not_providers", "Not signed in at", "", Lines, Providers),
    rare("not_subjects", "Not the subjects", "", Lines, Nothing),
    rare("not_claims", "Not the claims", "", Pairs, Nothing),
];

const FROM: Section = Section {
    title: "Who",
    again: "somebody else",
    hint: "All that is filled in must hold; of several lines any will do.",
    repeats: Some("from"),
    is_optional: false,
    fields: PERSON,
};

const TO: Section = Section {
    title: "What",
    again: "something else",
    hint: "Left out: everything.",
    repeats: Some("to"),
    is_optional: true,
    fields: &[
        field("routes", "Routes", "", Lines, Routes),
        field(
            "methods",
            "Methods",
            "GET stands for HEAD as well.",
            Lines,
            Nothing,
        ),
        field(
            "paths",
            "Paths",
            "/api/*, or /d/{*} and {**} by segment.",
            Lines,
            Nothing,
        ),
        field("route_groups", "Route groups", "", Lines, RouteGroups),
        rare("not_routes", "Not the routes", "", Lines, Routes),
        rare(
            "not_route_groups",
            "Not the route groups",
            "",
            Lines,
            RouteGroups,
        ),
        rare("not_methods", "Not the methods", "", Lines, Nothing),
        rare("not_paths", "Not the paths", "", Lines, Nothing),
        rare(
            "svids",
            "SVIDs",
            "x509, jwt: for people's own hands, past the edge. Nothing may stand beside it.",
            Lines,
            Nothing,
        ),
    ],
};

const RULE: &[Section] = &[
    section(
        "The rule",
        "",
        &[
            NAME,
            field("action", "Action", "", Choice(&["allow", "deny"]), Nothing),
            field(
                "mode",
                "Mode",
                "In shadow it is evaluated and reported, and changes nothing.",
                Choice(&["enforce", "shadow"]),
                Nothing,
            ),
        ],
    ),
    FROM,
    TO,
    section(
        "When",
        "Left out: always.",
        &[
            field(
                "when.source_ips",
                "From the networks",
                "Like 10.0.0.0/8.",
                Lines,
                Nothing,
            ),
            field(
                "when.hours",
                "In the hours",
                "Like Mon-Fri 08:00-19:00 Europe/Berlin.",
                Lines,
                Nothing,
            ),
            field(
                "when.until",
                "Until",
                "A day, to its end in UTC, or a moment.",
                Line,
                Nothing,
            ),
            rare(
                "when.not_source_ips",
                "Not from the networks",
                "",
                Lines,
                Nothing,
            ),
            rare(
                "when.headers",
                "Headers",
                "Like x-env: prod. The client's word.",
                Pairs,
                Nothing,
            ),
            rare("when.not_headers", "Not the headers", "", Pairs, Nothing),
        ],
    ),
    section(
        "How they signed in",
        "Only for rules that allow.",
        &[
            field(
                "require.acr",
                "Of any of the classes",
                "acr, like mfa.",
                Lines,
                Nothing,
            ),
            field(
                "require.max_age",
                "At most so long ago",
                "Like 8h.",
                Line,
                Nothing,
            ),
        ],
    ),
    section(
        "Approval",
        "Only for rules that allow: whoever the rule is for asks, and has access for a time.",
        &[
            field(
                "require.approval.at_most",
                "Granted for at most",
                "Like 4h.",
                Line,
                Nothing,
            ),
            field(
                "require.approval.break_glass",
                "In an emergency they may help themselves, and are looked at afterwards",
                "",
                Flag,
                Nothing,
            ),
        ],
    ),
    Section {
        title: "Who approves",
        again: "somebody else approves",
        hint: "Nobody approves what they ask for themselves. Left out: no approval is needed.",
        repeats: Some("require.approval.from"),
        is_optional: true,
        fields: PERSON,
    },
];

const ROUTE: &[Section] = &[
    section(
        "Public address",
        "",
        &[
            NAME,
            field("host", "Host", "", Line, Nothing),
            field(
                "prefix",
                "Path prefix",
                "Left out: the whole host.",
                Line,
                Nothing,
            ),
            field(
                "strip_prefix",
                "Take the prefix off before forwarding",
                "",
                Flag,
                Nothing,
            ),
        ],
    ),
    section(
        "Upstream",
        "A workload of the mesh proves its SPIFFE ID; a server outside it proves its name over TLS. Fill in one of the two.",
        &[
            field(
                "upstream.addresses",
                "Addresses",
                "host:port, one a line; a weight may follow.",
                Addresses,
                Nothing,
            ),
            field(
                "upstream.mtls.spiffe_ids",
                "In the mesh: SPIFFE IDs, any of which will do",
                "",
                Lines,
                Nothing,
            ),
            field(
                "upstream.tls.server_name",
                "Outside: server name",
                "",
                Line,
                Nothing,
            ),
            rare(
                "upstream.tls.ca_file",
                "Outside: PEM file of roots",
                "Left out: the system's.",
                Line,
                Nothing,
            ),
            rare(
                "upstream.protocol",
                "Protocol",
                "A version of HTTP; or tcp, for a route that `wayleave forward` leads to.",
                Choice(&["auto", "http1", "http2", "tcp"]),
                Nothing,
            ),
            rare(
                "upstream_host",
                "Host header for the upstream",
                "Left out: the public host.",
                Line,
                Nothing,
            ),
        ],
    ),
    section(
        "Access",
        "",
        &[
            field(
                "providers",
                "Accepts people of",
                "Left out: all providers.",
                Lines,
                Providers,
            ),
            field(
                "identity_headers",
                "Plain identity headers",
                "Besides the signed assertion.",
                Choice(&["assertion", "x-forwarded", "x-auth-request", "remote"]),
                Nothing,
            ),
            rare(
                "websocket_origins",
                "Origins that may open WebSockets",
                "",
                Lines,
                Nothing,
            ),
            rare(
                "timeouts.response_head",
                "Longest wait for an answer",
                "Like 30s.",
                Line,
                Nothing,
            ),
            rare(
                "timeouts.idle",
                "Longest silence",
                "Like 5m.",
                Line,
                Nothing,
            ),
            rare(
                "allow_path_parameters",
                "Pass on semicolons in paths",
                "",
                Flag,
                Nothing,
            ),
        ],
    ),
    section(
        "Kubernetes",
        "Where the upstream is an API server: who callers are there.",
        &[
            rare(
                "kubernetes.cluster",
                "Cluster of the configuration",
                "Whose credential is sent. Left out: the mesh identity's certificate.",
                Line,
                Nothing,
            ),
            rare(
                "kubernetes.user",
                "User is called by",
                "",
                Choice(&["email", "subject", "mesh_identity"]),
                Nothing,
            ),
            rare(
                "kubernetes.user_prefix",
                "Before the user's name",
                "Like corp:.",
                Line,
                Nothing,
            ),
            rare(
                "kubernetes.groups",
                "Groups that are told of",
                "Left out: all. What begins with system: only where it is written out.",
                Lines,
                Groups,
            ),
            rare(
                "kubernetes.group_prefix",
                "Before each group's name",
                "",
                Line,
                Nothing,
            ),
        ],
    ),
];

const ROUTE_GROUP: &[Section] = &[section(
    "The group",
    "",
    &[
        NAME,
        field("routes", "Routes", "One a line.", Lines, Routes),
    ],
)];

const PEOPLE: &[Section] = &[section("The name", "", &[NAME]), FROM];

const MAPPING: &[Section] = &[
    section(
        "The mapping",
        "",
        &[
            NAME,
            field(
                "spiffe_id",
                "Mesh identity",
                "Like spiffe://{trust_domain}/ns/people/sa/{user}.",
                Line,
                Nothing,
            ),
        ],
    ),
    FROM,
];

const ROLE_BINDING: &[Section] = &[
    section(
        "The role",
        "",
        &[
            NAME,
            field(
                "role",
                "Role",
                "",
                Choice(&["owner", "admin", "approver", "auditor"]),
                Nothing,
            ),
        ],
    ),
    FROM,
];

const TEST: &[Section] = &[
    section(
        "The request",
        "",
        &[
            NAME,
            field(
                "request",
                "Request",
                "Like GET grafana /d/1: method, route, path.",
                Line,
                Nothing,
            ),
            field(
                "expect",
                "Comes to",
                "",
                Choice(&["allow", "deny", "sign_in", "step_up", "ask"]),
                Nothing,
            ),
            field(
                "mesh_identity",
                "Under the mesh identity",
                "",
                Line,
                Nothing,
            ),
        ],
    ),
    section(
        "Who asks",
        "Left out: nobody is signed in.",
        &[
            field("as.provider", "Provider", "", Line, Providers),
            field("as.email", "E-mail", "", Line, Emails),
            field("as.groups", "Groups", "", Lines, Groups),
            rare("granted", "Rules granted to them", "", Lines, Nothing),
            rare("as.subject", "Subject", "", Line, Nothing),
            rare(
                "as.kind",
                "Kind",
                "",
                Choice(&["user", "workload"]),
                Nothing,
            ),
            rare("as.claims", "Claims", "", Pairs, Nothing),
            rare("as.acr", "Class of the sign-in", "", Line, Nothing),
            rare(
                "as.signed_in_ago",
                "Signed in ago",
                "Like 1h.",
                Line,
                Nothing,
            ),
        ],
    ),
    section(
        "Circumstances",
        "",
        &[
            field("source_ip", "From the address", "", Line, Nothing),
            field("headers", "Headers", "Like x-env: prod.", OnePairs, Nothing),
            field(
                "at",
                "At the moment",
                "Left out: noon UTC of a Wednesday.",
                Line,
                Nothing,
            ),
        ],
    ),
];

/// The form of a kind of object.
pub(in crate::console) const fn of(kind: Kind) -> &'static [Section] {
    match kind {
        Kind::Route => ROUTE,
        Kind::RouteGroup => ROUTE_GROUP,
        Kind::People => PEOPLE,
        Kind::Mapping => MAPPING,
        Kind::Rule => RULE,
        Kind::RoleBinding => ROLE_BINDING,
        Kind::Test => TEST,
        // They are written as text.
        Kind::TrustedIssuer | Kind::ServiceAccount => &[],
    }
}
