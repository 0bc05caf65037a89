//! A program at an edge: nobody signed in, and nothing of it is kept on this machine. It has a service account's key, or a token of the platform that it runs
//! on, and exchanges what that proves for a token of one route whenever it needs another.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use serde_json::Value;
use zeroize::Zeroizing;

use crate::cli::person::access::{Access, EXCHANGE, Given};
use crate::cli::person::fault::Fault;
use crate::cli::person::home::aws;
use crate::cli::person::home::github::{self, IdTokenRequest};
use crate::cli::person::home::{Home, TOKEN, TokenRefusal};
use crate::cli::person::profile::{Folders, Profile};
use crate::cli::person::token_cache::{Kept, Route};
use crate::cli::service_account::read_key;
use crate::clock::{Clock, SystemClock};
use crate::token::aws::REQUEST_TYPE;
use crate::token::aws::signing::subject_token;
use crate::token::client_assertion::{ASSERTION_TYPE, assertion};
use crate::token::dpop::prover::Prover;

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Where a pod's projected token is by convention.
const POD_TOKEN: &str = "/var/run/secrets/wayleave/token";
/// The variable that a job of GitLab has its token in by convention.
const JOB_TOKEN: &str = "WAYLEAVE_ID_TOKEN";

/// What proves a program, and where. Without any of it, the platform's own token if nobody is signed in.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "For programs")]
pub(in crate::cli) struct ProgramArguments {
    /// The edge's home host, without signing in to it.
    #[arg(long, env = "WAYLEAVE_EDGE", value_name = "URL")]
    edge: Option<String>,
    /// Roots to trust for that edge beside the usual ones, PEM.
    #[arg(long, env = "WAYLEAVE_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// A service account of the policy, which has a key.
    #[arg(
        long,
        env = "WAYLEAVE_SERVICE_ACCOUNT",
        value_name = "NAME",
        requires = "key"
    )]
    service_account: Option<String>,
    /// The private key of the service account or certificate: PKCS#8, PEM.
    #[arg(long, env = "WAYLEAVE_KEY_FILE", value_name = "FILE")]
    key: Option<PathBuf>,
    /// A certificate with a SPIFFE ID of a trust domain that the policy trusts, and those above it, PEM. It is read anew each time, as its key is.
    #[arg(
        long,
        env = "WAYLEAVE_CERTIFICATE_FILE",
        value_name = "FILE",
        requires = "key",
        conflicts_with = "service_account"
    )]
    certificate: Option<PathBuf>,
    /// A file with a JWT of a trusted issuer. It is read anew each time.
    #[arg(
        long,
        env = "WAYLEAVE_SUBJECT_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with_all = ["service_account", "certificate"]
    )]
    subject_token_file: Option<PathBuf>,
    /// The role of AWS that this runs as: of the environment, the container or the instance.
    #[arg(
        long,
        env = "WAYLEAVE_AWS",
        value_parser = clap::builder::FalseyValueParser::new(),
        conflicts_with_all = ["service_account", "certificate", "subject_token_file"]
    )]
    aws: bool,
}

/// What a program shows.
enum Proof {
    /// An assertion by its key.
    ServiceAccount { name: String, file: PathBuf },
    /// A certificate, in the handshake with the edge.
    Certificate([PathBuf; 2]),
    /// A JWT in a file.
    File(PathBuf),
    /// A JWT of the environment.
    Variable(Zeroizing<String>),
    /// A JWT that GitHub gives a job.
    GitHub(IdTokenRequest),
    /// A request that the role of AWS signs that this runs as.
    Aws,
}

/// A program at an edge.
pub(in crate::cli) struct Program {
    pub(in crate::cli) profile: Profile,
    proof: Proof,
    key: Prover,
    given: RefCell<Vec<GivenRoute>>,
}

/// A token that it has, and what for.
struct GivenRoute {
    route: Route,
    is_bound: bool,
    token: Kept,
}

impl ProgramArguments {
    /// The program that was asked for, or that runs here while nobody is signed in.
    pub(in crate::cli) fn program(&self, profile: Option<&str>) -> Result<Option<Program>, Fault> {
        let certificate = self.certificate.clone().zip(self.key.clone());
        let asked_for = match (&self.service_account, &self.key, &self.subject_token_file) {
            (Some(name), Some(file), _) => Some(Proof::ServiceAccount {
                name: name.clone(),
                file: file.clone(),
            }),
            (_, _, Some(file)) => Some(Proof::File(file.clone())),
            _ if self.aws => Some(Proof::Aws),
            _ => certificate.map(|(chain, key)| Proof::Certificate([chain, key])),
        };
        let of_platform = || {
            found(variable, Path::new(POD_TOKEN).exists()).filter(|_| !self.is_signed_in(profile))
        };
        let Some(proof) = asked_for.or_else(of_platform) else {
            return Ok(None);
        };
        let mut profile = self.at(profile)?;
        if let Proof::Certificate(files) = &proof {
            profile.certificate = Some(Box::new(files.clone()));
        }
        let key = match &proof {
            // Proofs and assertions are told apart by their types, and so whoever holds the key can prove a token by it.
            Proof::ServiceAccount { file, .. } => read_key(file)?,
            Proof::Certificate(_)
            | Proof::File(_)
            | Proof::Variable(_)
            | Proof::GitHub(_)
            | Proof::Aws => Prover::generate().map_err(|error| Fault::failed(error.to_string()))?,
        };
        Ok(Some(Program {
            profile,
            proof,
            key,
            given: RefCell::default(),
        }))
    }

    fn is_signed_in(&self, named: Option<&str>) -> bool {
        let access = self.person(named);
        access.is_ok_and(|access| access.key().is_ok())
    }

    /// Whoever may be signed in, at the edge that is named or that of a profile.
    pub(in crate::cli) fn person(&self, named: Option<&str>) -> Result<Access, Fault> {
        let folders = Folders::find()?;
        let profile = match &self.edge {
            None => folders.profile(named)?,
            Some(edge) => folders.for_login(named, Some(edge))?,
        };
        // No keyring is asked for what nobody has signed in to.
        if !folders.knows(&profile) {
            let message = format!(
                "nobody is signed in to {} on this machine, and nothing here proves a program",
                profile.edge
            );
            let next = format!(
                "wayleave login --edge {}; programs give --service-account or --certificate with --key, --subject-token-file, or --aws",
                profile.edge
            );
            return Err(Fault::not_signed_in(message).next(next));
        }
        Ok(Access { folders, profile })
    }

    /// The edge of a program: the one that is named, else that of a profile.
    fn at(&self, named: Option<&str>) -> Result<Profile, Fault> {
        let mut profile = match &self.edge {
            Some(edge) => Profile::of_edge(edge)?,
            None => {
                let found = Folders::find().and_then(|folders| folders.profile(named));
                found.map_err(|_| {
                    Fault::usage("it is not said which edge is meant").next(
                        "--edge https://access.corp.example, or WAYLEAVE_EDGE in the environment",
                    )
                })?
            }
        };
        if let Some(file) = &self.ca_file {
            profile.ca_file = Some(file.clone());
        }
        Ok(profile)
    }
}

/// A variable of the environment that is not empty.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.into_string().ok();
    value.filter(|value| !value.is_empty())
}

/// What the platform gives that this runs on.
fn found(variable: impl Fn(&str) -> Option<String>, has_pod_token: bool) -> Option<Proof> {
    let request = || {
        Some(IdTokenRequest {
            url: variable("ACTIONS_ID_TOKEN_REQUEST_URL")?,
            token: Zeroizing::new(variable("ACTIONS_ID_TOKEN_REQUEST_TOKEN")?),
        })
    };
    let job = || variable(JOB_TOKEN).map(|text| Proof::Variable(Zeroizing::new(text)));
    let pod = || has_pod_token.then(|| Proof::File(POD_TOKEN.into()));
    request().map(Proof::GitHub).or_else(job).or_else(pod)
}

impl Proof {
    /// What is wrong here if the edge does not take it.
    fn remedy(&self) -> &'static str {
        match self {
            Self::ServiceAccount { .. } => {
                "is the key's public half in the policy's service_accounts, under this name?"
            }
            Self::Certificate(_) => {
                "is its trust domain in the policy's trusted_issuers, and does the edge ask for certificates here (client_certificates of [[listen]])?"
            }
            Self::File(_) | Self::Variable(_) => {
                "is its issuer in the policy's trusted_issuers, and the edge its audience?"
            }
            Self::GitHub(_) => {
                "is https://token.actions.githubusercontent.com in the policy's trusted_issuers, with the edge among its audiences, and this repository in its conditions?"
            }
            Self::Aws => "is this role in `aws_roles` of one of the policy's trusted_issuers?",
        }
    }

    /// What the token endpoint is shown.
    async fn fields(&self, home: &Home, key: &Prover) -> Result<Vec<Field>, Fault> {
        let jwt = match self {
            Self::ServiceAccount { name, .. } => {
                let shown = assertion(key, name, &home.issuer(), SystemClock.now());
                let shown = shown.map_err(|error| Fault::failed(error.to_string()))?;
                return Ok(vec![
                    field("grant_type", "client_credentials"),
                    field("client_id", name),
                    field("client_assertion_type", ASSERTION_TYPE),
                    field("client_assertion", &shown),
                ]);
            }
            // The connection says the rest.
            Self::Certificate(_) => return Ok(vec![field("grant_type", "client_credentials")]),
            Self::File(file) => read_token(file)?,
            Self::Variable(text) => text.clone(),
            Self::GitHub(request) => github::id_token(request, &home.issuer()).await?,
            Self::Aws => {
                let role = aws::role(&variable).await?;
                let (region, now) = (role.region.as_deref(), SystemClock.now());
                let shown = subject_token(&role.key, region, &home.issuer(), now);
                let shown = shown.map_err(|error| Fault::usage(error.to_string()))?;
                return Ok(exchange(REQUEST_TYPE, &shown));
            }
        };
        Ok(exchange(JWT, jwt.trim()))
    }
}

fn exchange(kind: &str, subject_token: &str) -> Vec<Field> {
    vec![
        field("grant_type", EXCHANGE),
        field("subject_token_type", kind),
        field("subject_token", subject_token),
    ]
}

type Field = (&'static str, Zeroizing<String>);

fn field(name: &'static str, value: &str) -> Field {
    (name, Zeroizing::new(value.to_owned()))
}

fn read_token(file: &Path) -> Result<Zeroizing<String>, Fault> {
    let text = std::fs::read_to_string(file).map(Zeroizing::new);
    text.map_err(|error| Fault::failed(format!("{} cannot be read: {error}", file.display())))
}

impl Program {
    /// The key that its tokens are bound to.
    pub(in crate::cli) fn key(&self) -> Result<Prover, Fault> {
        Prover::open(self.key.pkcs8()).map_err(|error| Fault::failed(error.to_string()))
    }

    /// Whether a token that is bound to its key is of use to another process, which can prove the key as well.
    pub(in crate::cli) fn has_lasting_key(&self) -> bool {
        matches!(self.proof, Proof::ServiceAccount { .. })
    }

    /// Forgets its tokens, which are not taken any more.
    pub(in crate::cli) fn forget_tokens(&self) {
        self.given.borrow_mut().clear();
    }

    /// A route by its name or its origin, for which it gets a token.
    pub(in crate::cli) async fn route(
        &self,
        home: &Home,
        named: &str,
        is_bound: bool,
    ) -> Result<Route, Fault> {
        let given = self.token_for(home, named, is_bound).await?;
        Ok(given.0)
    }

    /// A token for a route alone.
    pub(in crate::cli) async fn route_token(
        &self,
        home: &Home,
        route: &Route,
        is_bound: bool,
    ) -> Result<Kept, Fault> {
        let given = self.token_for(home, &route.name, is_bound).await?;
        Ok(given.1)
    }

    async fn token_for(
        &self,
        home: &Home,
        named: &str,
        is_bound: bool,
    ) -> Result<(Route, Kept), Fault> {
        if let Some(known) = self.known(named, is_bound) {
            return Ok(known);
        }
        let mut fields = self.proof.fields(home, &self.key).await?;
        fields.push(field("resource", named));
        if !is_bound {
            fields.push(field("bound", "false"));
        }
        let fields: Vec<(&str, &str)> = { fields.iter() }
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        // With the certificate as it is now: it may have been renewed since.
        let renewed = match &self.proof {
            Proof::Certificate(_) => Some(Home::new(&self.profile)?),
            _ => None,
        };
        let home = renewed.as_ref().unwrap_or(home);
        let answer = match home.post(TOKEN, &self.key, &fields).await? {
            Ok(answer) => answer,
            Err(refusal) => return Err(self.refused(named, &refusal)),
        };
        let token = Given::read(&answer)?.access;
        let route = route_of(named, &answer, &token);
        self.given.borrow_mut().push(GivenRoute {
            route: route.clone(),
            is_bound,
            token: token.clone(),
        });
        Ok((route, token))
    }

    fn known(&self, named: &str, is_bound: bool) -> Option<(Route, Kept)> {
        let mut given = self.given.borrow_mut();
        given.retain(|given| given.token.is_good());
        let mut given = given.iter();
        let known = given.find(|given| given.is_bound == is_bound && given.route.name == named);
        known.map(|known| (known.route.clone(), known.token.clone()))
    }

    fn refused(&self, named: &str, refusal: &TokenRefusal) -> Fault {
        let why = &refusal.description;
        match refusal.code.as_str() {
            "invalid_client" | "invalid_request" => {
                let message = format!("{} does not know this program: {why}", self.profile.edge);
                Fault::not_signed_in(message).next(self.proof.remedy())
            }
            "invalid_target" => Fault::usage(format!("there is no token for {named}: {why}"))
                .next("give a route's name as the policy has it, or a whole URL of it"),
            "unauthorized_client" => Fault::denied(why.clone()).next(
                "use `wayleave curl`, which needs none; or ask your administrators for tokens.allow_unbound",
            ),
            _ => Fault::denied(format!("there is no token for {named}: {why}"))
                .next("do the route's `providers` and the rules name this program?"),
        }
    }
}

/// What the edge says of a route that was asked for by name; one that was asked for by its origin begins there.
fn route_of(named: &str, answer: &Value, token: &Kept) -> Route {
    let said = |name: &str| answer["route"][name].as_str().map(str::to_owned);
    Route {
        name: named.to_owned(),
        url: said("url").unwrap_or_else(|| format!("{}/", token.resource)),
        resource: token.resource.clone(),
        open: true,
        protocol: said("protocol"),
        reason: None,
        why_not: None,
        step_up: None,
        open_in_parts: Vec::new(),
        ask_in_parts: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_is_known_by_what_it_gives() {
        let of = |set: &[&str], has_pod_token| {
            let variable = |name: &str| set.contains(&name).then(|| "x".to_owned());
            match found(variable, has_pod_token) {
                None => "none",
                Some(Proof::ServiceAccount { .. }) => "an account",
                Some(Proof::Certificate(_)) => "a workload",
                Some(Proof::File(_)) => "a pod",
                Some(Proof::Variable(_)) => "a job",
                Some(Proof::GitHub(_)) => "GitHub",
                // It is asked for, and never found: credentials of AWS lie about on people's machines as well.
                Some(Proof::Aws) => "AWS",
            }
        };
        let github = [
            "ACTIONS_ID_TOKEN_REQUEST_URL",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        ];
        assert_eq!(of(&[], false), "none");
        assert_eq!(of(&[], true), "a pod");
        assert_eq!(of(&[JOB_TOKEN], true), "a job");
        assert_eq!(of(&github, true), "GitHub");
        assert_eq!(of(&github[..1], false), "none");
    }
}
