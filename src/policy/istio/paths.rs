//! Path conditions as the workload sees paths: within the route, without a prefix that is taken off, in Istio's forms.
//!
//! All paths that come through the edge read the same in every one of Istio's normalisation modes, since the edge refuses all others, and so do the
//! conditions. What Istio's forms cannot say: `{**}` in the middle; a `{*}` that has a `*` or `=` in it, which not every Envoy takes for a part of a segment;
//! and both spellings of a character that may stand in a path encoded or not, which are one to the edge.

use crate::policy::matcher::{PathMatch, TemplateSegment, TextMatch};
use crate::policy::model::Route;

/// A path condition at one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// It holds for every path of the route.
    All,
    /// For no path of the route.
    None,
    /// For those that the condition matches, all of which are the route's.
    Some(PathMatch),
    /// It cannot be told apart by the forms there are.
    Unclear,
}

/// Istio's values for a condition; they are alternatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forms {
    pub(super) values: Vec<String>,
    /// Why they may match less than the condition.
    pub(super) misses: Option<&'static str>,
}

/// Where a route's paths begin, without the slash at the end; empty for the whole host.
pub(super) fn beginning(route: &Route) -> &str {
    route.prefix.trim_end_matches('/')
}

/// What a condition on public paths says of those that begin so.
pub(super) fn within(condition: &PathMatch, beginning: &str) -> Within {
    if beginning.is_empty() {
        return match condition {
            PathMatch::Text(TextMatch::Present) => Within::All,
            PathMatch::Text(TextMatch::Prefix(prefix)) if prefix == "/" => Within::All,
            PathMatch::Template(segments) if segments.as_slice() == [TemplateSegment::Any] => {
                Within::All
            }
            other => Within::Some(other.clone()),
        };
    }
    match condition {
        PathMatch::Text(TextMatch::Exact(path)) if is_below(path, beginning) => {
            Within::Some(condition.clone())
        }
        PathMatch::Text(TextMatch::Exact(_)) => Within::None,
        PathMatch::Text(TextMatch::Prefix(prefix)) if beginning.starts_with(prefix.as_str()) => {
            Within::All
        }
        PathMatch::Text(TextMatch::Prefix(prefix)) if is_below(prefix, beginning) => {
            Within::Some(condition.clone())
        }
        PathMatch::Text(TextMatch::Prefix(_)) => Within::None,
        PathMatch::Text(TextMatch::Present) => Within::All,
        PathMatch::Text(TextMatch::Suffix(_)) => Within::Unclear,
        PathMatch::Template(segments) => template_within(segments, beginning),
    }
}

fn is_below(path: &str, beginning: &str) -> bool {
    let rest = path.strip_prefix(beginning);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn template_within(segments: &[TemplateSegment], beginning: &str) -> Within {
    let mut rest = segments.iter();
    let mut known = Vec::new();
    for part in beginning.split('/').skip(1) {
        match rest.next() {
            Some(TemplateSegment::Literal(text)) if text == part => {}
            Some(TemplateSegment::One) => {}
            Some(TemplateSegment::Any) if rest.len() == 0 => return Within::All,
            Some(TemplateSegment::Any) => return Within::Unclear,
            Some(TemplateSegment::Literal(_)) | None => return Within::None,
        }
        known.push(TemplateSegment::Literal(part.to_owned()));
    }
    let rest: Vec<TemplateSegment> = rest.cloned().collect();
    if rest == [TemplateSegment::Any] {
        return Within::All;
    }
    known.extend(rest);
    Within::Some(PathMatch::Template(known))
}

/// Takes a beginning off a condition that [`within`] gave for it, as the edge does of paths.
pub(super) fn without(condition: &PathMatch, beginning: &str) -> PathMatch {
    let rest = |text: &str| {
        let rest = text.strip_prefix(beginning).unwrap_or(text);
        if rest.is_empty() { "/" } else { rest }.to_owned()
    };
    match condition {
        PathMatch::Text(TextMatch::Exact(path)) => PathMatch::Text(TextMatch::Exact(rest(path))),
        PathMatch::Text(TextMatch::Prefix(prefix)) => {
            PathMatch::Text(TextMatch::Prefix(rest(prefix)))
        }
        PathMatch::Text(TextMatch::Suffix(_) | TextMatch::Present) => condition.clone(),
        PathMatch::Template(segments) => {
            let taken = beginning.split('/').skip(1).count();
            let rest = segments.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                return PathMatch::Text(TextMatch::Exact("/".to_owned()));
            }
            PathMatch::Template(rest.to_vec())
        }
    }
}

/// Whether a condition makes a difference between a beginning and the same with a slash, which are one path once it is taken off.
pub(super) fn tells_the_slash(condition: &PathMatch, beginning: &str) -> bool {
    condition.matches(beginning) != condition.matches(&format!("{beginning}/"))
}

/// The values for a condition; `None` if there are none.
pub(super) fn forms(condition: &PathMatch) -> Option<Forms> {
    let plain = |values: Vec<String>| {
        Some(Forms {
            values,
            misses: None,
        })
    };
    if has_spellings(condition) {
        return one_spelling(condition);
    }
    match condition {
        PathMatch::Text(text) => plain(vec![text.to_string()]),
        PathMatch::Template(segments) => {
            let any = segments
                .iter()
                .position(|segment| *segment == TemplateSegment::Any);
            match any {
                None => Some(template(segments, "")),
                Some(at) if at + 1 == segments.len() => below(&segments[..at]),
                // The end of a path is as good as `{**}` and literal segments.
                Some(0) if is_literal(&segments[1..]) => {
                    plain(vec![format!("*{}", written(&segments[1..]))])
                }
                Some(_) => None,
            }
        }
    }
}

/// `/a/{**}` is `/a` as well, which Istio's `{**}` is not.
fn below(front: &[TemplateSegment]) -> Option<Forms> {
    if is_literal(front) {
        let front = written(front);
        let below = format!("{front}/*");
        let values = if front.is_empty() {
            vec![below]
        } else {
            vec![front, below]
        };
        return Some(Forms {
            values,
            misses: None,
        });
    }
    let mut forms = template(front, "");
    forms.values.extend(template(front, "/{**}").values);
    Some(forms)
}

fn is_literal(segments: &[TemplateSegment]) -> bool {
    let mut all = segments.iter();
    all.all(|segment| matches!(segment, TemplateSegment::Literal(_)))
}

fn written(segments: &[TemplateSegment]) -> String {
    if segments.is_empty() {
        return String::new();
    }
    PathMatch::Template(segments.to_vec()).to_string()
}

fn template(segments: &[TemplateSegment], end: &str) -> Forms {
    Forms {
        values: vec![format!("{}{end}", written(segments))],
        misses: segments
            .contains(&TemplateSegment::One)
            .then_some("is not matched by every Envoy where {*} has a * or = in it"),
    }
}

/// What may stand in a path as it is or encoded.
const SPELT_TWICE: [char; 12] = ['!', '$', '&', '\'', '(', ')', '*', '+', ',', '=', ':', '@'];

/// So many characters with two spellings at most are written out in all of them.
const MOST_SPELT: usize = 2;

/// Every spelling of a path that stands for the same, as workloads may get them that are reached past the edge; `None` if they are too many, or not to be
/// written as Istio's values.
pub(super) fn spellings(path: &str) -> Option<Vec<String>> {
    let twice = path.chars().filter(|c| SPELT_TWICE.contains(c)).count();
    if twice > MOST_SPELT || path.contains('*') {
        return None;
    }
    let mut all = vec![String::new()];
    for character in path.chars() {
        let mut written = vec![character.to_string()];
        if SPELT_TWICE.contains(&character) {
            let code = u32::from(character);
            written.extend([format!("%{code:02X}"), format!("%{code:02x}")]);
            written.dedup();
        }
        all = { all.iter() }
            .flat_map(|front| written.iter().map(move |end| format!("{front}{end}")))
            .collect();
    }
    Some(all)
}

/// As much of a path as has one spelling.
pub(super) fn spelt_once(path: &str) -> &str {
    path.split(SPELT_TWICE).next().unwrap_or_default()
}

/// Whether there is more than one spelling of what a condition matches.
fn has_spellings(condition: &PathMatch) -> bool {
    match condition {
        PathMatch::Text(
            TextMatch::Exact(text) | TextMatch::Prefix(text) | TextMatch::Suffix(text),
        ) => text.contains(SPELT_TWICE),
        PathMatch::Text(TextMatch::Present) => false,
        PathMatch::Template(segments) => segments.iter().any(is_spelt_twice),
    }
}

fn is_spelt_twice(segment: &TemplateSegment) -> bool {
    matches!(segment, TemplateSegment::Literal(text) if text.contains(SPELT_TWICE))
}

/// As it is, unless a star of the path would be taken for one of the form.
fn one_spelling(condition: &PathMatch) -> Option<Forms> {
    let (value, literal) = match condition {
        PathMatch::Text(text) => {
            let (TextMatch::Exact(literal)
            | TextMatch::Prefix(literal)
            | TextMatch::Suffix(literal)) = text
            else {
                return None;
            };
            (text.to_string(), literal.as_str())
        }
        // A template is left to the edge.
        PathMatch::Template(_) => return None,
    };
    (!literal.contains('*')).then(|| Forms {
        values: vec![value],
        misses: Some("is matched by the workload in one of its spellings alone"),
    })
}

/// As much of a text condition as has one spelling.
fn before_spellings(text: &TextMatch) -> String {
    let front = |text: &str| {
        text.split(SPELT_TWICE)
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    match text {
        TextMatch::Exact(text) | TextMatch::Prefix(text) => format!("{}*", front(text)),
        TextMatch::Suffix(text) => {
            format!("*{}", text.rsplit(SPELT_TWICE).next().unwrap_or_default())
        }
        TextMatch::Present => "*".to_owned(),
    }
}

/// Values that match at least what the condition does: by its beginning, up to the first placeholder or the first character with two spellings.
pub(super) fn at_least(condition: &PathMatch) -> Vec<String> {
    match (condition, forms(condition)) {
        (_, Some(forms)) if forms.misses.is_none() => forms.values,
        (PathMatch::Template(segments), _) => {
            let literal = |segment: &&TemplateSegment| {
                matches!(segment, TemplateSegment::Literal(_)) && !is_spelt_twice(segment)
            };
            let front: Vec<TemplateSegment> =
                segments.iter().take_while(literal).cloned().collect();
            below(&front).map_or_else(Vec::new, |forms| forms.values)
        }
        (PathMatch::Text(text), _) => vec![before_spellings(text)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathMatch {
        PathMatch::parse(text).unwrap()
    }

    #[test]
    fn b13_conditions_have_istios_forms() {
        for (condition, expected) in [
            ("/a.b-c", Some((&["/a.b-c"][..], false))),
            ("/a.b+c", Some((&["/a.b+c"], true))),
            ("/a%2A", None),
            ("/@a/{*}", None),
            ("/a*", Some((&["/a*"], false))),
            ("*.png", Some((&["*.png"], false))),
            ("*", Some((&["*"], false))),
            ("/a/{**}", Some((&["/a", "/a/*"], false))),
            ("/{**}", Some((&["/*"], false))),
            ("/{**}/b", Some((&["*/b"], false))),
            ("/{**}/", Some((&["*/"], false))),
            ("/d/{*}", Some((&["/d/{*}"], true))),
            ("/d/{*}/{**}", Some((&["/d/{*}", "/d/{*}/{**}"], true))),
            ("/a/{**}/b", None),
            ("/{**}/{*}", None),
        ] {
            let forms = forms(&path(condition));
            let found = forms.as_ref().map(|forms| {
                let values: Vec<&str> = forms.values.iter().map(String::as_str).collect();
                (values, forms.misses.is_some())
            });
            let expected = expected.map(|(values, misses)| (values.to_vec(), misses));
            assert_eq!(found, expected, "{condition}");
        }
        for (condition, expected) in [
            ("/d/{*}/edit", &["/d", "/d/*"][..]),
            ("/{*}", &["/*"]),
            ("/a/@b", &["/a/*"]),
            ("*:b.png", &["*b.png"]),
            ("/a/@b/{*}", &["/a", "/a/*"]),
            ("/a/{**}/b", &["/a", "/a/*"]),
        ] {
            assert_eq!(at_least(&path(condition)), expected, "{condition}");
        }
    }

    #[test]
    fn b13_a_path_is_written_in_all_its_spellings_or_not_at_all() {
        assert_eq!(spellings("/a-b").unwrap(), ["/a-b"]);
        assert_eq!(spellings("/@a").unwrap(), ["/@a", "/%40a"]);
        assert_eq!(spellings("/a+").unwrap(), ["/a+", "/a%2B", "/a%2b"]);
        assert_eq!(spellings("/@:").unwrap().len(), 6);
        assert_eq!(spellings("/@:="), None);
        assert_eq!(spellings("/a*"), None);
        assert_eq!(spelt_once("/a/@b"), "/a/");
    }

    #[test]
    fn conditions_are_cut_to_the_route() {
        let some = |text: &str| Within::Some(path(text));
        for (condition, expected, cut) in [
            ("/p", some("/p"), "/"),
            ("/p/", some("/p/"), "/"),
            ("/p/x", some("/p/x"), "/x"),
            ("/px", Within::None, ""),
            ("/", Within::None, ""),
            ("/*", Within::All, ""),
            ("/p*", Within::All, ""),
            ("/p/*", some("/p/*"), "/*"),
            ("/p/x*", some("/p/x*"), "/x*"),
            ("/px*", Within::None, ""),
            ("*", Within::All, ""),
            ("*x", Within::Unclear, ""),
            ("/{*}/x", some("/p/x"), "/x"),
            ("/{*}/{*}", some("/p/{*}"), "/{*}"),
            ("/q/{*}", Within::None, ""),
            ("/{**}", Within::All, ""),
            ("/p/{**}", Within::All, ""),
            ("/p/a/{**}", some("/p/a/{**}"), "/a/{**}"),
            ("/{**}/x", Within::Unclear, ""),
            ("/{*}", some("/p"), "/"),
        ] {
            let found = within(&path(condition), "/p");
            let as_text = |within: &Within| match within {
                Within::Some(condition) => condition.to_string(),
                other => format!("{other:?}"),
            };
            assert_eq!(as_text(&found), as_text(&expected), "{condition}");
            if let Within::Some(condition) = found {
                assert_eq!(without(&condition, "/p").to_string(), cut, "{condition}");
            }
        }
        assert_eq!(within(&path("/a"), ""), some("/a"));
        assert_eq!(within(&path("/*"), ""), Within::All);
    }
}
