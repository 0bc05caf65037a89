//! What the edge asks for in the head of an answer, for whoever ran curl to do it.

use std::io::Read;

use crate::cli::person::token_cache::AskedSignIn;

/// Heads are read to their end, so that curl never waits for us; more of them than this is kept from nobody but us.
const MOST_KEPT: usize = 256 * 1024;

/// Reads what curl writes of the heads of answers, until it is done.
pub(super) fn read(mut pipe: impl Read) -> String {
    let (mut kept, mut part) = (Vec::new(), [0; 8192]);
    loop {
        match pipe.read(&mut part) {
            Ok(0) => break,
            Ok(read) => {
                let more = part.get(..read).unwrap_or_default();
                if kept.len() + more.len() <= MOST_KEPT {
                    kept.extend_from_slice(more);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// The sign-in that the last answer asks for, if it is the edge's own and does (RFC 9470 §3).
pub(super) fn step_up(heads: &str) -> Option<AskedSignIn> {
    let heads = heads.replace("\r\n", "\n");
    let last = heads.trim_end().rsplit("\n\n").next()?;
    let mut lines = last.lines();
    let status = lines.next()?.split(' ').nth(1)?;
    let fields: Vec<(&str, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let field = |wanted: &str| {
        let mut found = fields.iter();
        found.find_map(|(name, value)| name.eq_ignore_ascii_case(wanted).then_some(*value))
    };
    let is_ours = status == "401" && field("wayleave-response") == Some("true");
    let challenge = field("www-authenticate").filter(|_| is_ours)?;
    let parameter = |name: &str| {
        let (_, rest) = challenge.split_once(&format!("{name}=\""))?;
        rest.split('"').next()
    };
    if parameter("error") != Some("insufficient_user_authentication") {
        return None;
    }
    let classes = parameter("acr_values").map(|text| text.split(' ').map(str::to_owned));
    Some(AskedSignIn {
        acr_values: classes.map(Iterator::collect),
        max_age: parameter("max_age").and_then(|text| text.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_edges_own_challenge_counts_and_the_last_answer() {
        let ours = "HTTP/2 401\r\nwayleave-response: true\r\nwww-authenticate: Bearer error=\"insufficient_user_authentication\", acr_values=\"mfa hwk\", max_age=\"900\"\r\n\r\n";
        let asked = step_up(ours).unwrap();
        assert_eq!(
            asked.command("corp"),
            "wayleave login --profile corp --acr mfa --acr hwk --max-age 15m"
        );
        let after_continue = format!("HTTP/1.1 100 Continue\r\n\r\n{ours}");
        assert_eq!(step_up(&after_continue), Some(asked));
        for other in [
            String::new(),
            ours.replace("wayleave-response", "x-response"),
            ours.replace("401", "200"),
            ours.replace("insufficient_user_authentication", "invalid_token"),
            format!("{ours}HTTP/2 200\r\n\r\n"),
        ] {
            assert_eq!(step_up(&other), None, "{other}");
        }
    }
}
