//! What a role of AWS signs with, from where AWS's own tools have it: the environment, a container's endpoint, or an instance's metadata. It is never written out.

use reqwest::{Client, Method, redirect};
use serde_json::Value;
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::cli::person::fault::Fault;
use crate::cli::person::home::{ANSWER, CONNECT, built};
use crate::cli::person::profile::is_loopback;
use crate::token::aws::signing::RoleKey;

/// Where containers of ECS find their credentials.
const CONTAINERS: &str = "http://169.254.170.2";
/// Where instances of EC2 find theirs.
const METADATA: &str = "http://169.254.169.254";
/// The addresses of this very machine at which AWS gives credentials without TLS: of ECS, of EKS, and of EC2.
const LINK_LOCAL: [&str; 5] = [
    "169.254.170.2",
    "169.254.170.23",
    "[fd00:ec2::23]",
    "169.254.169.254",
    "[fd00:ec2::254]",
];
/// How long a metadata session lasts, in seconds: for what is asked here.
const METADATA_SESSION: &str = "60";

/// A role that this runs as.
pub(in crate::cli) struct Role {
    pub(in crate::cli) key: RoleKey,
    /// `None` is where requests go that name no region.
    pub(in crate::cli) region: Option<String>,
}

/// A variable of the environment that is not empty.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The first of them that there is.
pub(in crate::cli) async fn role(variable: Variable<'_>) -> Result<Role, Fault> {
    let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
    let given = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY"));
    if let Some((id, secret)) = given {
        let key = RoleKey {
            id,
            secret: Zeroizing::new(secret),
            session_token: variable("AWS_SESSION_TOKEN").map(Zeroizing::new),
        };
        return Ok(Role { key, region });
    }
    if let Some(url) = container(variable) {
        let key = of_container(&url, variable).await?;
        return Ok(Role { key, region });
    }
    let is_off = variable("AWS_EC2_METADATA_DISABLED").is_some_and(|off| off == "true");
    if is_off {
        return Err(Fault::not_signed_in("nothing here says which role of AWS this is")
            .next("set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN: aws configure export-credentials --format env"));
    }
    of_instance(variable, region).await
}

fn container(variable: Variable<'_>) -> Option<String> {
    let relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let relative = relative.map(|path| format!("{CONTAINERS}{path}"));
    relative.or_else(|| variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"))
}

async fn of_container(url: &str, variable: Variable<'_>) -> Result<RoleKey, Fault> {
    let url = address(url)?;
    let token = match variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        None => variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Zeroizing::new),
        Some(file) => {
            let text = std::fs::read_to_string(&file).map(Zeroizing::new);
            let text =
                text.map_err(|error| Fault::failed(format!("{file} cannot be read: {error}")))?;
            Some(Zeroizing::new(text.trim().to_owned()))
        }
    };
    let header = token
        .as_ref()
        .map(|token| ("authorization", token.as_str()));
    let said = asked(Method::GET, url, header).await?;
    key_of(&said)
}

/// By the second version of the metadata service, which answers only to whoever has asked it for a session first.
async fn of_instance(variable: Variable<'_>, region: Option<String>) -> Result<Role, Fault> {
    let base = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    let base = address(base.as_deref().unwrap_or(METADATA))?;
    let at = |path: &str| base.join(path).map_err(|error| failed(&base, &error));
    let lasts = ("x-aws-ec2-metadata-token-ttl-seconds", METADATA_SESSION);
    let session = asked(Method::PUT, at("/latest/api/token")?, Some(lasts)).await?;
    let session = Some(("x-aws-ec2-metadata-token", session.trim()));
    let roles = "/latest/meta-data/iam/security-credentials/";
    let role = asked(Method::GET, at(roles)?, session).await?;
    let role = role.lines().next().unwrap_or_default().trim().to_owned();
    let said = asked(Method::GET, at(&format!("{roles}{role}"))?, session).await?;
    let region = match region {
        Some(region) => region,
        None => {
            let said = asked(
                Method::GET,
                at("/latest/meta-data/placement/region")?,
                session,
            )
            .await?;
            said.trim().to_owned()
        }
    };
    Ok(Role {
        key: key_of(&said)?,
        region: Some(region),
    })
}

/// Credentials travel over TLS, or do not leave this machine.
fn address(text: &str) -> Result<Url, Fault> {
    let refused = |why: &str| Fault::usage(format!("{text} gives no credentials of AWS: {why}"));
    let url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
    let is_here = match url.host() {
        Some(Host::Domain(_)) => is_loopback(&url),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => {
            is_loopback(&url)
                || url
                    .host_str()
                    .is_some_and(|host| LINK_LOCAL.contains(&host))
        }
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_here => Ok(url),
        _ => Err(refused(
            "it is neither https nor an address of this machine",
        )),
    }
}

fn failed(url: &Url, why: &dyn std::fmt::Display) -> Fault {
    let host = url.host_str().unwrap_or_default();
    Fault::unreachable(format!("{host} gives no credentials of AWS: {why}"))
        .next("does this run on AWS, with a role? elsewhere set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN")
}

async fn asked(
    method: Method,
    url: Url,
    header: Option<(&str, &str)>,
) -> Result<Zeroizing<String>, Fault> {
    let mut builder = Client::builder()
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .redirect(redirect::Policy::none());
    if url.scheme() == "http" {
        builder = builder.no_proxy();
    }
    let mut request = built(builder)?.request(method, url.clone());
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let response = request.send().await;
    let response = response.map_err(|error| failed(&url, &error.without_url()))?;
    let status = response.status();
    if !status.is_success() {
        return Err(failed(&url, &format!("it says {status}")));
    }
    let text = response.text().await.map(Zeroizing::new);
    text.map_err(|error| failed(&url, &error.without_url()))
}

fn key_of(text: &str) -> Result<RoleKey, Fault> {
    let said: Value = serde_json::from_str(text).unwrap_or_default();
    let field = |name: &str| said[name].as_str().map(str::to_owned);
    let read = || {
        Some(RoleKey {
            id: field("AccessKeyId")?,
            secret: Zeroizing::new(field("SecretAccessKey")?),
            session_token: Some(Zeroizing::new(field("Token")?)),
        })
    };
    read().ok_or_else(|| {
        Fault::failed("what was found in the place of credentials of AWS is no such")
    })
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn i8_credentials_are_asked_for_over_tls_or_on_this_machine_alone() {
        for good in [
            "https://credentials.example/x",
            "http://127.0.0.1:51679/v1",
            "http://localhost/x",
            "http://[::1]/x",
            "http://169.254.170.2/v2/credentials",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
            "http://[fd00:ec2::254]/",
        ] {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in [
            "http://credentials.example/x",
            "http://10.0.0.1/x",
            "http://169.254.170.2.evil.example/x",
            "http://169.254.170.3/x",
            "file:///etc/passwd",
            "http://",
            "x",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
