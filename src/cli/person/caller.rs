//! Whoever uses routes from a command line: somebody who signed in on this machine, or a program.

use url::Url;

use crate::cli::person::PersonArguments;
use crate::cli::person::access::Access;
use crate::cli::person::fault::Fault;
use crate::cli::person::home::Home;
use crate::cli::person::profile::Profile;
use crate::cli::person::program::{Program, ProgramArguments};
use crate::cli::person::token_cache::{Kept, Route};
use crate::token::dpop::prover::Prover;

/// One of both.
pub(in crate::cli) enum Caller {
    Person(Access),
    Program(Program),
}

impl Caller {
    pub(in crate::cli) fn open(
        person: &PersonArguments,
        program: &ProgramArguments,
    ) -> Result<Self, Fault> {
        let named = person.profile.as_deref();
        if let Some(program) = program.program(named)? {
            return Ok(Self::Program(program));
        }
        program.person(named).map(Self::Person)
    }

    pub(in crate::cli) fn profile(&self) -> &Profile {
        match self {
            Self::Person(access) => &access.profile,
            Self::Program(program) => &program.profile,
        }
    }

    /// The key that bound tokens have to be proven with.
    pub(in crate::cli) fn key(&self) -> Result<Prover, Fault> {
        match self {
            Self::Person(access) => access.key(),
            Self::Program(program) => program.key(),
        }
    }

    /// A token that is at hand.
    pub(in crate::cli) fn kept(&self, route: &str, is_bound: bool) -> Option<Kept> {
        match self {
            Self::Person(access) => access.cache().route(route, is_bound).cloned(),
            Self::Program(_) => None,
        }
    }

    /// A route by its name, to be used with tokens that are bound or not.
    pub(in crate::cli) async fn route(
        &self,
        home: &Home,
        name: &str,
        is_bound: bool,
    ) -> Result<Route, Fault> {
        match self {
            Self::Person(access) => access.route(home, name).await,
            Self::Program(program) => program.route(home, name, is_bound).await,
        }
    }

    /// A token for a route alone.
    pub(in crate::cli) async fn route_token(
        &self,
        home: &Home,
        route: &Route,
        is_bound: bool,
    ) -> Result<Kept, Fault> {
        match self {
            Self::Person(access) => access.route_token(home, route, is_bound).await,
            Self::Program(program) => program.route_token(home, route, is_bound).await,
        }
    }

    /// Forgets tokens that are not taken any more, though they looked good from here.
    pub(in crate::cli) fn forget_tokens(&self) -> Result<(), Fault> {
        match self {
            Self::Person(access) => access.forget_tokens(),
            Self::Program(program) => {
                program.forget_tokens();
                Ok(())
            }
        }
    }
}

/// Whoever can find routes.
pub(in crate::cli) trait Routes {
    /// A route by its name.
    async fn named(&self, home: &Home, name: &str) -> Result<Route, Fault>;

    /// The route that a whole URL leads to.
    async fn at(&self, home: &Home, url: &Url) -> Result<Route, Fault>;
}

impl Routes for Access {
    async fn named(&self, home: &Home, name: &str) -> Result<Route, Fault> {
        self.route(home, name).await
    }

    async fn at(&self, home: &Home, url: &Url) -> Result<Route, Fault> {
        let routes = self.routes(home, false).await?;
        let mut of_url: Vec<&Route> = routes
            .iter()
            .filter(|route| url.as_str().starts_with(&route.url))
            .collect();
        of_url.sort_by_key(|route| route.url.len());
        of_url.pop().cloned().ok_or_else(|| {
            Fault::usage(format!("no route of this edge leads to {url}")).next("wayleave routes")
        })
    }
}

impl Routes for Caller {
    async fn named(&self, home: &Home, name: &str) -> Result<Route, Fault> {
        self.route(home, name, true).await
    }

    async fn at(&self, home: &Home, url: &Url) -> Result<Route, Fault> {
        match self {
            Self::Person(access) => access.at(home, url).await,
            Self::Program(program) => {
                let origin = url.origin().ascii_serialization();
                program.route(home, &origin, true).await
            }
        }
    }
}
