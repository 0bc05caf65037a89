//! The people of the demonstration.

/// Somebody to sign in as.
#[derive(Debug)]
pub struct Person {
    /// `sub`, and the name in the form.
    pub subject: &'static str,
    /// For pages.
    pub name: &'static str,
    /// Vouched for.
    pub email: &'static str,
    /// What access rules look at.
    pub groups: &'static [&'static str],
}

/// Three people who get three different answers.
pub const PEOPLE: [Person; 3] = [
    Person {
        subject: "alice",
        name: "Alice Adams",
        email: "alice@demo.example",
        groups: &["sre", "staff"],
    },
    Person {
        subject: "bob",
        name: "Bob Brown",
        email: "bob@demo.example",
        groups: &["staff"],
    },
    Person {
        subject: "carol",
        name: "Carol Clark",
        email: "carol@contractor.example",
        groups: &["contractors"],
    },
];

/// The person with this subject.
pub(super) fn person(subject: &str) -> Option<&'static Person> {
    PEOPLE.iter().find(|person| person.subject == subject)
}
