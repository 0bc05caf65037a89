//! What STS answers: XML, as its documentation has it.

use roxmltree::{Document, Node, ParsingOptions};

use crate::identity::aws::AssumedRole;

/// More than this STS has not to say.
const LONGEST: usize = 64 * 1024;
const MOST_NODES: u32 = 100;
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Why STS does not accept a request, as it says it itself; what else it says is not repeated.
const REFUSALS: [&str; 10] = [
    "AccessDenied",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "MissingAuthenticationToken",
    "OptInRequired",
    "RegionDisabledException",
    "RequestExpired",
    "SignatureDoesNotMatch",
];

/// What STS says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Who signed the request.
    Caller(Caller),
    /// It is not good, for this reason.
    Refused(&'static str),
}

/// Who signed a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    account: String,
    arn: String,
}

impl Caller {
    /// The role that it has assumed, if it has.
    pub fn role(&self) -> Option<AssumedRole> {
        AssumedRole::parse(&self.arn).filter(|role| role.account == self.account)
    }
}

/// An answer that says neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum AnswerFault {
    #[error("the answer is not one of STS's")]
    Form,
    #[error("STS has too much to do, or has failed")]
    Failed,
}

/// Reads an answer. What is not plainly a refusal may be another time.
pub fn read(status: u16, body: &[u8]) -> Result<Told, AnswerFault> {
    if body.len() > LONGEST {
        return Err(AnswerFault::Form);
    }
    let text = std::str::from_utf8(body).map_err(|_| AnswerFault::Form)?;
    let options = ParsingOptions {
        // Nothing is defined in an answer, so nothing in it can unfold or lead elsewhere.
        allow_dtd: false,
        nodes_limit: MOST_NODES,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(text, options);
    match status {
        200 => {
            let document = document.map_err(|_| AnswerFault::Form)?;
            caller(document.root_element())
                .map(Told::Caller)
                .ok_or(AnswerFault::Form)
        }
        400 | 403 => {
            let code = document.ok().and_then(|document| {
                let mut codes = document
                    .descendants()
                    .filter(|node| node.tag_name().name() == "Code");
                let code = codes.next()?.text()?.trim();
                Some(code.to_owned())
            });
            let code = code.as_deref().unwrap_or_default();
            let known = REFUSALS.iter().find(|known| **known == code);
            match known {
                Some(known) => Ok(Told::Refused(known)),
                // Throttling comes with 400 as well.
                None if status == 400 => Err(AnswerFault::Failed),
                None => Ok(Told::Refused("it says no more")),
            }
        }
        _ => Err(AnswerFault::Failed),
    }
}

/// The one element of this name right below.
fn only<'a, 'input>(parent: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    let mut found = parent
        .children()
        .filter(|node| node.has_tag_name((NAMESPACE, name)));
    found.next().filter(|_| found.next().is_none())
}

fn text(parent: Node<'_, '_>, name: &str) -> Option<String> {
    let element = only(parent, name)?;
    let is_plain = element.children().all(|node| node.is_text());
    let texts = element.children().filter_map(|node| node.text());
    is_plain.then(|| texts.collect())
}

fn caller(root: Node<'_, '_>) -> Option<Caller> {
    if !root.has_tag_name((NAMESPACE, "GetCallerIdentityResponse")) {
        return None;
    }
    let result = only(root, "GetCallerIdentityResult")?;
    Some(Caller {
        account: text(result, "Account")?,
        arn: text(result, "Arn")?,
    })
}
