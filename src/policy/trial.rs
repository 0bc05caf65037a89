//! Tests that stand in the policy itself: who gets what, and as whom. They are run before a policy is written; one that fails refuses it.

use std::net::IpAddr;
use std::sync::Arc;

use crate::identity::principal::Principal;
use crate::policy::check::{Known, fault};
use crate::policy::compile::{CompiledPolicy, CompiledRoute};
use crate::policy::decide::{DenyReason, Facts, Grant, Verdict};
use crate::policy::explain::Explanation;
use crate::policy::model::{Action, Expected, Mode, PolicyTest, Rule, TestRequest};
use crate::policy::svids;
use crate::policy::when::RequestHeaders;
use crate::policy::yaml::PolicyFault;

impl CompiledPolicy {
    /// Runs the policy's own tests; a fault for each that fails, which says what happens instead and why.
    pub fn try_out(&self, known: &Known) -> Vec<PolicyFault> {
        let tests = self.policy().tests.iter().enumerate();
        tests
            .filter_map(|(index, test)| {
                let why = self.failure(test, known)?;
                let message = format!("the test {} fails: {why}", test.name);
                Some(fault(format!("tests[{index}]"), message))
            })
            .collect()
    }

    fn failure(&self, test: &PolicyTest, known: &Known) -> Option<String> {
        let principal = test.principal.clone();
        let principal = principal.map(|one| known.with_issuer(self.policy(), one));
        let (method, route, path) = match self.place(&test.request) {
            Ok(place) => place,
            Err(why) => return Some(why),
        };
        let headers = RequestHeaders::of_list(self.header_names(), &test.headers);
        let granted = test.granted.iter().map(|rule| Grant {
            rule: Arc::clone(rule),
            until: jiff::Timestamp::MAX,
        });
        let grants: Vec<Grant> = granted.collect();
        let facts = Facts {
            principal: principal.as_ref(),
            route,
            method,
            path,
            now: test.at,
            peer: test.source_ip.or(Some(IpAddr::from([192, 0, 2, 1]))),
            headers: Some(&headers),
            grants: &grants,
        };
        // Only what fails is explained: that looks at every rule.
        let found = expected(&self.decide(&facts));
        if found != test.expect {
            return Some(format!(
                "expected {}, and it is {}{}{}",
                test.expect.as_str(),
                found.as_str(),
                reasons(&self.explain(&facts)),
                self.moment(test)
            ));
        }
        self.wrong_identity(test, &facts)
    }

    /// When a test takes place, where that can matter.
    fn moment(&self, test: &PolicyTest) -> String {
        let has_time = |rule: &Arc<Rule>| {
            let when = rule.when.as_ref();
            when.is_some_and(|when| when.hours.is_some() || when.until.is_some())
        };
        match self.policy().rules.iter().any(has_time) {
            true => format!("; it takes place at {} (`at` sets it)", test.at),
            false => String::new(),
        }
    }

    fn place<'a>(
        &'a self,
        request: &'a TestRequest,
    ) -> Result<(&'a str, &'a CompiledRoute, &'a str), String> {
        let (method, name, path) = match request {
            TestRequest::Svid(kind) => return Ok((svids::METHOD, self.svid(*kind), kind.path())),
            TestRequest::Route {
                method,
                route,
                path,
            } => (method, route, path),
        };
        let mut routes = self.routes().iter();
        let Some(route) = routes.find(|route| route.route.name == *name) else {
            return Err(format!("there is no route called {name}"));
        };
        // Another route of the host may have the longer prefix.
        let found = self.route(&route.route.host, path);
        if found.is_none_or(|found| found.index != route.index) {
            let found = found.map_or("no route", |found| &found.route.name);
            return Err(format!("{path} leads to {found}, not to {name}"));
        }
        Ok((method, route, path))
    }

    /// What is allowed goes on under an identity, or not at all.
    fn wrong_identity(&self, test: &PolicyTest, facts: &Facts<'_>) -> Option<String> {
        let principal = facts.principal;
        let wanted = test.mesh_identity.as_deref();
        let wanted = wanted.map(|id| id.replace("{trust_domain}", self.trust_domain().as_str()));
        match (self.mesh_identity(principal), wanted) {
            (Ok(found), Some(wanted)) if found.as_str() != wanted => Some(format!(
                "expected to go as {wanted}, and it goes as {found}{}",
                principal.map_or("", no_subject)
            )),
            (Ok(found), _) if test.expect == Expected::Allow => {
                let told = facts.route.impersonation(principal, &found)?;
                let why = told.err()?;
                Some(format!(
                    "the rules allow it, and the edge refuses it: {why}"
                ))
            }
            (Ok(_), _) => None,
            (Err(why), Some(wanted)) => Some(format!("expected to go as {wanted}, and {why}")),
            (Err(why), None) => (test.expect == Expected::Allow)
                .then(|| format!("the rules allow it, and the edge refuses it: {why}")),
        }
    }
}

/// Many mesh identities come of the subject.
fn no_subject(principal: &Principal) -> &'static str {
    let email = principal.email.as_ref();
    match email.is_some_and(|email| *email.as_str() == *principal.subject) {
        true => "; the test gives no `subject`, so the e-mail address stands for it",
        false => "",
    }
}

fn expected(verdict: &Verdict) -> Expected {
    match verdict {
        Verdict::Allow { .. } => Expected::Allow,
        Verdict::SignIn => Expected::SignIn,
        Verdict::StepUp { .. } => Expected::StepUp,
        Verdict::Ask { .. } => Expected::Ask,
        Verdict::Deny(_) => Expected::Deny,
    }
}

/// The rule that decides, or why those that could allow it do not.
pub fn reasons(explanation: &Explanation) -> String {
    match &explanation.verdict {
        Verdict::Allow { rule, .. } => format!(": rule {rule} allows it"),
        Verdict::Deny(DenyReason::Rule { rule }) => format!(": rule {rule} forbids it"),
        Verdict::Deny(DenyReason::Provider) => {
            ": the route does not accept the provider".to_owned()
        }
        Verdict::Deny(DenyReason::NoRule | DenyReason::Agent)
        | Verdict::SignIn
        | Verdict::StepUp { .. }
        | Verdict::Ask { .. } => {
            let considered = explanation.considered.iter();
            let allowing = considered
                .filter(|rule| rule.action == Action::Allow && rule.mode == Mode::Enforce);
            let why: Vec<String> = allowing
                .filter_map(|rule| Some(format!("rule {}: {}", rule.rule, rule.why_not()?)))
                .take(3)
                .collect();
            match why.is_empty() {
                true => ": no rule is about it".to_owned(),
                false => format!(" ({})", why.join("; ")),
            }
        }
    }
}

/// Whoever a test does not say more of.
pub(crate) fn nobody_yet(provider: &str, subject: &str) -> Principal {
    use crate::identity::principal::{Groups, PrincipalKind};
    Principal {
        kind: PrincipalKind::User,
        provider: provider.into(),
        issuer: provider.into(),
        subject: subject.into(),
        email: None,
        display_name: None,
        groups: Groups::Known(std::collections::BTreeSet::new()),
        claims: std::collections::BTreeMap::new(),
        acr: None,
        auth_time: None,
        agents: Vec::new(),
    }
}
