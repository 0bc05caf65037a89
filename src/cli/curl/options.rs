//! Which options of curl leave a request as we know it. Pure.

/// What an option does to the method.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing.
    None,
    /// It is the option's value.
    Method,
    /// `HEAD`.
    Head,
    /// `POST`, unless something else says otherwise.
    Post,
    /// `PUT`, unless something else says otherwise.
    Put,
    /// Data go into the query, which proofs do not cover.
    Get,
}

/// Names, whether a value follows, and what it does.
const KNOWN: &[(&str, &str, bool, Effect)] = &[
    ("-X", "--request", true, Effect::Method),
    ("-I", "--head", false, Effect::Head),
    ("-G", "--get", false, Effect::Get),
    ("-d", "--data", true, Effect::Post),
    ("", "--data-ascii", true, Effect::Post),
    ("", "--data-binary", true, Effect::Post),
    ("", "--data-raw", true, Effect::Post),
    ("", "--data-urlencode", true, Effect::Post),
    ("", "--json", true, Effect::Post),
    ("-F", "--form", true, Effect::Post),
    ("", "--form-string", true, Effect::Post),
    ("-T", "--upload-file", true, Effect::Put),
    ("-H", "--header", true, Effect::None),
    ("-A", "--user-agent", true, Effect::None),
    ("-e", "--referer", true, Effect::None),
    ("-b", "--cookie", true, Effect::None),
    ("-c", "--cookie-jar", true, Effect::None),
    ("-r", "--range", true, Effect::None),
    ("-C", "--continue-at", true, Effect::None),
    ("-z", "--time-cond", true, Effect::None),
    ("-o", "--output", true, Effect::None),
    ("", "--output-dir", true, Effect::None),
    ("-O", "--remote-name", false, Effect::None),
    ("-J", "--remote-header-name", false, Effect::None),
    ("-D", "--dump-header", true, Effect::None),
    ("-w", "--write-out", true, Effect::None),
    ("-i", "--include", false, Effect::None),
    ("", "--show-headers", false, Effect::None),
    ("-s", "--silent", false, Effect::None),
    ("-S", "--show-error", false, Effect::None),
    ("-f", "--fail", false, Effect::None),
    ("", "--fail-with-body", false, Effect::None),
    ("-v", "--verbose", false, Effect::None),
    ("-N", "--no-buffer", false, Effect::None),
    ("-#", "--progress-bar", false, Effect::None),
    ("", "--no-progress-meter", false, Effect::None),
    ("", "--compressed", false, Effect::None),
    ("", "--create-dirs", false, Effect::None),
    ("-m", "--max-time", true, Effect::None),
    ("", "--connect-timeout", true, Effect::None),
    ("", "--limit-rate", true, Effect::None),
    ("", "--max-filesize", true, Effect::None),
    ("-x", "--proxy", true, Effect::None),
    ("", "--noproxy", true, Effect::None),
    ("-0", "--http1.0", false, Effect::None),
    ("", "--http1.1", false, Effect::None),
    ("", "--http2", false, Effect::None),
    ("-4", "--ipv4", false, Effect::None),
    ("-6", "--ipv6", false, Effect::None),
    ("", "--tlsv1.2", false, Effect::None),
    ("", "--tlsv1.3", false, Effect::None),
    ("", "--tcp-nodelay", false, Effect::None),
];

/// Why some options that people may well try are refused.
const REFUSED: &[(&str, &str)] = &[
    (
        "-L",
        "a redirect would need a proof of its own, and could lead elsewhere",
    ),
    (
        "--location",
        "a redirect would need a proof of its own, and could lead elsewhere",
    ),
    (
        "--location-trusted",
        "a redirect could take the token elsewhere",
    ),
    (
        "-k",
        "the token is not given to a host that does not prove its name; wayleave login --ca-file FILE trusts a private authority",
    ),
    (
        "--insecure",
        "the token is not given to a host that does not prove its name; wayleave login --ca-file FILE trusts a private authority",
    ),
    (
        "--retry",
        "a proof is good once; run the whole command again instead",
    ),
    ("-K", "what a configuration file changes cannot be seen"),
    (
        "--config",
        "what a configuration file changes cannot be seen",
    ),
    ("--next", "there can be one request only"),
    ("-:", "there can be one request only"),
    ("--url", "there can be one URL only, which comes before --"),
    ("-u", "the token takes the place of a user and password"),
    ("--user", "the token takes the place of a user and password"),
    ("--oauth2-bearer", "wayleave brings the token"),
];

/// Headers that are ours, or would make it another request.
const OWN_HEADERS: [&str; 3] = ["authorization", "dpop", "host"];

/// What curl is asked to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Intent {
    /// The method that it will use.
    pub(super) method: String,
    /// Whether it sends a file as it is.
    pub(super) sends_a_file: bool,
}

#[derive(Default)]
struct Seen {
    method: Option<String>,
    head: bool,
    post: bool,
    put: bool,
    get: bool,
}

impl Seen {
    fn note(&mut self, effect: Effect, value: &str) {
        match effect {
            Effect::None => {}
            Effect::Method => self.method = Some(value.to_owned()),
            Effect::Head => self.head = true,
            Effect::Post => self.post = true,
            Effect::Put => self.put = true,
            Effect::Get => self.get = true,
        }
    }

    /// As curl chooses.
    fn intent(self) -> Result<Intent, String> {
        let implied = match (self.head, self.put, self.post && !self.get) {
            (false, false, false) => "GET",
            (true, false, false) => "HEAD",
            (false, true, false) => "PUT",
            (false, false, true) => "POST",
            _ => return Err("curl takes only one of -I, -T and data".to_owned()),
        };
        Ok(Intent {
            method: self.method.unwrap_or_else(|| implied.to_owned()),
            sends_a_file: self.put,
        })
    }
}

/// What curl will do with these options; or why it cannot be known, or the request would be another.
pub(super) fn intent(options: &[String]) -> Result<Intent, String> {
    let mut seen = Seen::default();
    let mut rest = options.iter().map(String::as_str);
    while let Some(option) = rest.next() {
        if option.starts_with("--") && option.len() > 2 {
            long(option, &mut rest, &mut seen)?;
        } else if option.starts_with('-') && option.len() > 1 {
            short(option, &mut rest, &mut seen)?;
        } else {
            return Err(format!(
                "{option:?} would be another URL; there can be one only, which comes before --"
            ));
        }
    }
    seen.intent()
}

fn refusal(option: &str) -> String {
    let known = REFUSED.iter().find(|(name, _)| *name == option);
    let why = known.map_or(
        "it is not known whether it changes where the request goes",
        |(_, why)| why,
    );
    format!("curl's {option} cannot be used here: {why}")
}

fn long<'a>(
    option: &'a str,
    rest: &mut impl Iterator<Item = &'a str>,
    seen: &mut Seen,
) -> Result<(), String> {
    let known = KNOWN.iter().find(|(_, name, ..)| *name == option);
    let Some((_, _, takes_value, effect)) = known else {
        return Err(refusal(option));
    };
    let value = match takes_value {
        true => rest
            .next()
            .ok_or(format!("curl's {option} needs a value"))?,
        false => "",
    };
    checked(option, value)?;
    seen.note(*effect, value);
    Ok(())
}

/// Letters can be run together, and a value can follow its letter at once.
fn short<'a>(
    options: &'a str,
    rest: &mut impl Iterator<Item = &'a str>,
    seen: &mut Seen,
) -> Result<(), String> {
    for (at, letter) in options.char_indices().skip(1) {
        let option = format!("-{letter}");
        let known = KNOWN.iter().find(|(name, ..)| *name == option);
        let Some((_, long, takes_value, effect)) = known else {
            return Err(refusal(&option));
        };
        if !takes_value {
            seen.note(*effect, "");
            continue;
        }
        let joined = options.get(at + letter.len_utf8()..).unwrap_or_default();
        let value = match joined {
            "" => rest
                .next()
                .ok_or(format!("curl's {option} needs a value"))?,
            joined => joined,
        };
        checked(long, value)?;
        seen.note(*effect, value);
        return Ok(());
    }
    Ok(())
}

fn checked(option: &str, value: &str) -> Result<(), String> {
    match option {
        "--header" => {
            if value.starts_with('@') {
                return Err("headers of a file cannot be seen; give them one by one".to_owned());
            }
            let name = value.split([':', ';']).next().unwrap_or_default().trim();
            if OWN_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own)) {
                return Err(format!("the header {name} is not yours to set here"));
            }
            Ok(())
        }
        "--request" if value.is_empty() || !value.bytes().all(|b| b.is_ascii_uppercase()) => {
            Err(format!("{value:?} is no method such as PATCH"))
        }
        // A file's name is added to a URL that ends in a slash.
        "--upload-file" if value.contains(['{', '[']) => {
            Err("one file can be sent at a time".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::intent;

    fn of(line: &str) -> Result<String, String> {
        let options: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        intent(&options).map(|intent| intent.method)
    }

    #[test]
    fn the_method_is_the_one_that_curl_uses() {
        for (line, expected) in [
            ("", "GET"),
            ("-s -S", "GET"),
            ("-sSf", "GET"),
            ("-X DELETE", "DELETE"),
            ("-XPATCH", "PATCH"),
            ("-sXPATCH", "PATCH"),
            ("--request PUT -d x", "PUT"),
            ("-d a=b", "POST"),
            ("-da=b", "POST"),
            ("-sd @file", "POST"),
            ("--json {}", "POST"),
            ("-F a=@b", "POST"),
            ("-G -d a=b", "GET"),
            ("-I", "HEAD"),
            ("-T file", "PUT"),
            ("-o out -w %{http_code}", "GET"),
            ("-H Accept:text/plain -d x", "POST"),
            ("-H X-Dpop:1", "GET"),
            ("-d -L", "POST"),
        ] {
            assert_eq!(of(line).as_deref(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn i8_what_could_make_another_request_is_refused() {
        for line in [
            "-L",
            "-sL",
            "--location",
            "-k",
            "-sk",
            "--insecure",
            "--retry 3",
            "-K file",
            "--config file",
            "--next",
            "--url https://evil.example",
            "https://evil.example",
            "-s https://evil.example",
            "-u a:b",
            "--resolve a:443:127.0.0.1",
            "--connect-to ::evil.example:443",
            "--proto-redir all",
            "--unknown",
            "-?",
            "-X",
            "-X get",
            "-H",
            "-HHost:evil",
            "-H authorization:x",
            "-H DPoP;",
            "-H @file",
            "-I -d x",
            "-T a -d x",
            "-",
            "--",
            "--request=DELETE",
            "--loc",
            "-T {a,b}",
            "--netrc",
            "-n",
            "--aws-sigv4 x",
            "--abstract-unix-socket x",
            "--unix-socket x",
        ] {
            assert!(of(line).is_err(), "{line}");
        }
    }
}
