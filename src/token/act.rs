//! Who acts for the subject of a token (RFC 8693 §4.1): `act`, one in the other, the one that asks outermost.

use serde_json::{Value, json};

use crate::identity::principal::{Agent, LONGEST_CHAIN};

/// The claim; `None` where nothing acts.
pub(in crate::token) fn claim(agents: &[Agent]) -> Option<Value> {
    let mut inner = None;
    for agent in agents.iter().rev() {
        let mut act = json!({
            "iss": &*agent.issuer,
            "sub": &*agent.subject,
            "agent": &*agent.id,
        });
        if let Some(name) = &agent.name {
            act["client_name"] = json!(&**name);
        }
        if let Some(inner) = inner.take() {
            act["act"] = inner;
        }
        inner = Some(act);
    }
    inner
}

/// Reads the claim as we write it; `None` if it is anything else, or a chain that is too long.
pub(in crate::token) fn read(claim: Option<&Value>) -> Option<Vec<Agent>> {
    let mut agents = Vec::new();
    let mut next = claim;
    while let Some(act) = next {
        let text = |name: &str| act.get(name)?.as_str().filter(|text| !text.is_empty());
        let name = act.get("client_name");
        agents.push(Agent {
            id: text("agent")?.into(),
            issuer: text("iss")?.into(),
            subject: text("sub")?.into(),
            name: match name {
                None => None,
                Some(name) => Some(name.as_str()?.into()),
            },
        });
        if agents.len() > LONGEST_CHAIN {
            return None;
        }
        next = act.get("act");
    }
    Some(agents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(number: usize, name: Option<&str>) -> Agent {
        Agent {
            id: format!("https://agent{number}.example").into(),
            issuer: "https://access.example".into(),
            subject: format!("agent-{number}").into(),
            name: name.map(Into::into),
        }
    }

    #[test]
    fn chains_are_read_as_they_were_written() {
        assert_eq!(claim(&[]), None);
        assert_eq!(read(None), Some(Vec::new()));
        let chain = [agent(1, Some("One")), agent(2, None)];
        let written = claim(&chain).unwrap();
        assert_eq!(written["sub"], "agent-1");
        assert_eq!(written["act"]["sub"], "agent-2");
        assert_eq!(read(Some(&written)).as_deref(), Some(&chain[..]));
    }

    #[test]
    fn i2_what_is_not_as_we_write_it_is_no_chain() {
        let long: Vec<_> = (0..=LONGEST_CHAIN)
            .map(|number| agent(number, None))
            .collect();
        assert_eq!(read(claim(&long).as_ref()), None);
        assert!(read(claim(&long[1..]).as_ref()).is_some());
        for bad in [
            json!(null),
            json!("robots/1"),
            json!([]),
            json!({}),
            json!({ "sub": "a" }),
            json!({ "sub": "a", "iss": "b", "agent": "" }),
            json!({ "sub": "a", "iss": "b", "agent": 1 }),
            json!({ "sub": "a", "iss": "b", "agent": "c", "client_name": 1 }),
            json!({ "sub": "a", "iss": "b", "agent": "c", "act": null }),
            json!({ "sub": "a", "iss": "b", "agent": "c", "act": { "sub": "d" } }),
        ] {
            assert_eq!(read(Some(&bad)), None, "{bad}");
        }
    }
}
