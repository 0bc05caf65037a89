//! Getting at tokens: from the cache if they are good, else from the edge; refreshed once, however many processes ask at once.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::cli::client::Refusal;
use crate::cli::person::PersonArguments;
use crate::cli::person::credentials::{Credentials, Lock};
use crate::cli::person::fault::Fault;
use crate::cli::person::home::{CLIENT, Call, Called, Home, TOKEN, TokenRefusal};
use crate::cli::person::profile::{Folders, Profile};
use crate::cli::person::token_cache::{Kept, Route, TokenCache, now};
use crate::token::dpop::prover::Prover;

pub(in crate::cli) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// An exchanged token lives no longer than the one it was exchanged for, which therefore has to have some life left.
const LIFE_LEFT: Duration = Duration::from_secs(90);

/// Somebody at an edge.
pub(in crate::cli) struct Access {
    pub(in crate::cli) folders: Folders,
    pub(in crate::cli) profile: Profile,
}

impl Access {
    pub(in crate::cli) fn open(arguments: &PersonArguments) -> Result<Self, Fault> {
        let folders = Folders::find()?;
        let profile = folders.profile(arguments.profile.as_deref())?;
        Ok(Self { folders, profile })
    }

    pub(in crate::cli) fn cache(&self) -> TokenCache {
        TokenCache::load(
            &self.folders,
            &self.profile.name,
            self.profile.edge.as_str(),
        )
    }

    /// The key that bound tokens have to be proven with.
    pub(in crate::cli) fn key(&self) -> Result<Prover, Fault> {
        Credentials::load(&self.folders, &self.profile).map(|credentials| credentials.key)
    }

    fn lock(&self) -> Result<Lock, Fault> {
        Lock::take(&self.folders, &self.profile.name)
    }

    /// Forgets tokens that are not taken any more, though they looked good from here.
    pub(in crate::cli) fn forget_tokens(&self) -> Result<(), Fault> {
        self.update(TokenCache::clear)
    }

    fn update(&self, change: impl FnOnce(&mut TokenCache)) -> Result<(), Fault> {
        let _lock = self.lock()?;
        let mut cache = self.cache();
        change(&mut cache);
        cache.keep(&self.folders, &self.profile.name)
    }

    /// A token for the edge's own API, with some life left, and the key that it is bound to.
    async fn home_token(&self, home: &Home) -> Result<(String, Prover), Fault> {
        let good = |cache: &TokenCache| {
            let kept = cache.home().filter(|kept| kept.is_good_for(LIFE_LEFT));
            kept.map(|kept| kept.token.clone())
        };
        if let Some(token) = good(&self.cache()) {
            return Ok((token, self.key()?));
        }
        let _lock = self.lock()?;
        // Another process may have refreshed it meanwhile.
        let mut cache = self.cache();
        let mut credentials = Credentials::load(&self.folders, &self.profile)?;
        if let Some(token) = good(&cache) {
            return Ok((token, credentials.key));
        }
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT),
            ("refresh_token", &credentials.refresh_token),
        ];
        let answer = match home.post(TOKEN, &credentials.key, &fields).await? {
            Ok(answer) => answer,
            Err(refusal) => return Err(self.ended(&refusal)),
        };
        let given = Given::read(&answer)?;
        let refresh = given.refresh_token.ok_or_else(incomplete)?;
        // First of all: the former one is used up.
        credentials.refresh_token = Zeroizing::new(refresh);
        credentials.keep(&self.folders, &self.profile.name)?;
        let token = given.access.token.clone();
        cache.set_home(given.access);
        cache.keep(&self.folders, &self.profile.name)?;
        Ok((token, credentials.key))
    }

    fn ended(&self, refusal: &TokenRefusal) -> Fault {
        // What is not good any more is not tried again.
        let _forgotten = Credentials::forget(&self.folders, &self.profile.name);
        self.signed_out(&refusal.description)
    }

    fn signed_out(&self, why: &str) -> Fault {
        let message = format!(
            "you are not signed in to {} any more: {why}",
            self.profile.edge
        );
        Fault::not_signed_in(message)
            .next(format!("wayleave login --profile {}", self.profile.name))
    }

    /// Asks the API what it tells of the caller.
    pub(in crate::cli) async fn ask(&self, home: &Home, path: &str) -> Result<Value, Fault> {
        let call = Call {
            method: Method::GET,
            path,
            query: &[],
            body: None,
        };
        match self.call(home, &call).await? {
            Ok(answer) => Ok(answer),
            Err(Refusal { status, problem }) => {
                let detail = problem["detail"].as_str().unwrap_or_default().to_owned();
                Err(match status {
                    StatusCode::FORBIDDEN => Fault::denied(detail),
                    _ => Fault::unreachable(detail).next("try again in a moment"),
                })
            }
        }
    }

    /// Asks the API anything.
    pub(in crate::cli) async fn call(
        &self,
        home: &Home,
        call: &Call<'_>,
    ) -> Result<Result<Value, Refusal>, Fault> {
        for is_last in [false, true] {
            let (token, key) = self.home_token(home).await?;
            match home.call(call, &key, &token).await? {
                Called::Done(answer) => return Ok(Ok(answer)),
                Called::Refused(refusal) => return Ok(Err(refusal)),
                Called::NotSignedIn => {}
            }
            // It looked good from here: the session may have ended, which a refresh finds out.
            self.forget_tokens()?;
            if is_last {
                break;
            }
        }
        Err(self.signed_out("the edge does not accept its own tokens"))
    }

    /// What the edge says may be opened; asked anew now and then, or at once if `is_fresh`.
    pub(in crate::cli) async fn routes(
        &self,
        home: &Home,
        is_fresh: bool,
    ) -> Result<Vec<Route>, Fault> {
        if !is_fresh && let Some(known) = self.cache().known() {
            return Ok(known.to_vec());
        }
        let answer = self.ask(home, "routes").await?;
        let routes: Vec<Route> =
            serde_json::from_value(answer["routes"].clone()).map_err(|_| incomplete())?;
        self.update(|cache| cache.set_known(routes.clone()))?;
        Ok(routes)
    }

    /// A route by its name. One that is not known is looked for anew before it is said not to be there.
    pub(in crate::cli) async fn route(&self, home: &Home, name: &str) -> Result<Route, Fault> {
        for is_fresh in [false, true] {
            let routes = self.routes(home, is_fresh).await?;
            if let Some(found) = routes.iter().find(|route| route.name == name) {
                return Ok(found.clone());
            }
            if is_fresh {
                return Err(no_such_route(name, &routes));
            }
        }
        Err(no_such_route(name, &[]))
    }

    /// A token for a route alone.
    pub(in crate::cli) async fn route_token(
        &self,
        home: &Home,
        route: &Route,
        is_bound: bool,
    ) -> Result<Kept, Fault> {
        if let Some(kept) = self.cache().route(&route.name, is_bound) {
            return Ok(kept.clone());
        }
        let mut refused = None;
        for _ in 0..2 {
            let (subject, key) = self.home_token(home).await?;
            let mut fields = vec![
                ("grant_type", EXCHANGE),
                ("client_id", CLIENT),
                ("subject_token", subject.as_str()),
                ("subject_token_type", ACCESS_TOKEN),
                ("resource", route.name.as_str()),
            ];
            if !is_bound {
                fields.push(("bound", "false"));
            }
            match home.post(TOKEN, &key, &fields).await? {
                Ok(answer) => {
                    let access = Given::read(&answer)?.access;
                    self.update(|cache| cache.set_route(&route.name, is_bound, access.clone()))?;
                    return Ok(access);
                }
                Err(refusal) if refusal.code == "unauthorized_client" => {
                    let next = "use `wayleave curl`, which needs none; or ask your administrators for tokens.allow_unbound";
                    return Err(Fault::denied(refusal.description).next(next));
                }
                Err(refusal) => {
                    // The session may have ended, which a refresh finds out.
                    self.forget_tokens()?;
                    refused = Some(refusal);
                }
            }
        }
        let why = refused.map_or_else(String::new, |refusal| refusal.description);
        let message = format!("there is no token for {}: {why}", route.name);
        Err(Fault::denied(message).next("wayleave routes"))
    }
}

/// What the token endpoint gave.
pub(in crate::cli) struct Given {
    pub(in crate::cli) access: Kept,
    pub(in crate::cli) refresh_token: Option<String>,
}

impl Given {
    pub(in crate::cli) fn read(answer: &Value) -> Result<Self, Fault> {
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        let life = answer["expires_in"].as_i64().ok_or_else(incomplete)?;
        Ok(Self {
            access: Kept {
                token: text("access_token").ok_or_else(incomplete)?,
                resource: text("resource").ok_or_else(incomplete)?,
                expires_at: now() + life,
            },
            refresh_token: text("refresh_token"),
        })
    }
}

fn incomplete() -> Fault {
    Fault::unreachable("what the edge answers lacks something; is it of this release?")
}

/// Names that are told at most.
const MOST_NAMES: usize = 10;

/// Names that somebody may have meant.
fn no_such_route(name: &str, routes: &[Route]) -> Fault {
    let limit = name.len().max(3).div_ceil(2);
    let mut near: Vec<(usize, &str)> = routes
        .iter()
        .map(|route| {
            (
                strsim::damerau_levenshtein(name, &route.name),
                route.name.as_str(),
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    near.sort_unstable();
    let near: Vec<&str> = near.into_iter().take(3).map(|(_, name)| name).collect();
    let next = match near.as_slice() {
        [] if routes.is_empty() => "wayleave routes".to_owned(),
        [] => {
            let names: Vec<&str> = routes.iter().map(|route| route.name.as_str()).collect();
            let (shown, more) = names.split_at(names.len().min(MOST_NAMES));
            let more = if more.is_empty() { "" } else { " and more" };
            format!("there are {}{more}: wayleave routes", shown.join(", "))
        }
        near => format!(
            "did you mean {}? `wayleave routes` shows all",
            near.join(" or ")
        ),
    };
    Fault::usage(format!("there is no route {name}")).next(next)
}

#[cfg(test)]
mod tests {
    use super::{Route, no_such_route};

    #[test]
    fn the_nearest_names_are_told() {
        let routes = ["grafana", "payroll", "graphite"].map(|name| Route::sample(name, ""));
        let said = |name| format!("{:?}", no_such_route(name, &routes));
        assert!(said("grafanna").contains("did you mean grafana"));
        assert!(said("payrol").contains("did you mean payroll"));
        let far = said("x");
        assert!(
            !far.contains("did you mean") && far.contains("there are grafana, payroll, graphite"),
            "{far}"
        );
    }
}
