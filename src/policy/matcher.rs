//! Istio's match forms: exact, prefix `a*`, suffix `*a`, presence `*`; and path templates `{*}`, `{**}`.
//!
//! Comparison is exact and case-sensitive; e-mail addresses are lower-cased before they come here.

use std::fmt;

use crate::address::path::{PathFault, check_path, reading};
use crate::identity::unseen::is_unseen;

/// A text condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextMatch {
    /// The whole text.
    Exact(String),
    /// `a*`: the text begins so.
    Prefix(String),
    /// `*a`: the text ends so.
    Suffix(String),
    /// `*`: there is a text, and it is not empty.
    Present,
}

/// A path condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// The path as a text.
    Text(TextMatch),
    /// Segments of a template.
    Template(Vec<TemplateSegment>),
}

/// One segment of a path template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateSegment {
    /// Exactly this segment.
    Literal(String),
    /// `{*}`: exactly one segment.
    One,
    /// `{**}`: any number of segments, none included.
    Any,
}

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatchFault {
    /// An empty text would match nothing or everything, depending on who reads it.
    #[error("it is empty; `*` stands for any value")]
    Empty,
    /// The star is neither first nor last, or there are two.
    #[error("a `*` may only stand alone, at the beginning or at the end")]
    Star,
    /// Whoever approves of the text would not see such a character.
    #[error("it has a character that nobody sees, or begins or ends with a space")]
    Control,
    /// Braces are only for templates.
    #[error("the template may have only whole segments `{{*}}` and, once, `{{**}}`")]
    Template,
    /// The path could never be that of a request, since such requests are refused.
    #[error("no request can have this path: {0}")]
    Path(#[from] PathFault),
}

impl TextMatch {
    /// Reads one of the four forms.
    pub fn parse(text: &str) -> Result<Self, MatchFault> {
        if text.is_empty() {
            return Err(MatchFault::Empty);
        }
        if text.chars().any(is_unseen) || text.trim() != text {
            return Err(MatchFault::Control);
        }
        let (form, rest): (fn(String) -> Self, &str) = if text == "*" {
            return Ok(Self::Present);
        } else if let Some(rest) = text.strip_prefix('*') {
            (Self::Suffix, rest)
        } else if let Some(rest) = text.strip_suffix('*') {
            (Self::Prefix, rest)
        } else {
            (Self::Exact, text)
        };
        if rest.contains('*') {
            return Err(MatchFault::Star);
        }
        Ok(form(rest.to_owned()))
    }

    /// The one text for which it holds, if it is written out.
    pub fn exact(&self) -> Option<&str> {
        match self {
            Self::Exact(text) => Some(text),
            Self::Prefix(_) | Self::Suffix(_) | Self::Present => None,
        }
    }

    /// Whether the condition holds for a text.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_str()),
            Self::Present => !text.is_empty(),
        }
    }
}

impl PathMatch {
    /// Reads a text condition or, if there are braces, a template. A path that is written out must be one that a request can have.
    pub fn parse(text: &str) -> Result<Self, MatchFault> {
        if text.contains(['{', '}']) {
            return parse_template(text).map(Self::Template);
        }
        // The condition is judged as the beginning or end of a whole path, and kept as paths are read.
        let read = |text: String| reading(&text).into_owned();
        let condition = match TextMatch::parse(text)? {
            TextMatch::Exact(path) => {
                check_path(&path)?;
                TextMatch::Exact(read(path))
            }
            TextMatch::Prefix(prefix) => {
                check_path(&format!("{prefix}x"))?;
                TextMatch::Prefix(read(prefix))
            }
            TextMatch::Suffix(suffix) => {
                check_path(&format!("/x{suffix}"))?;
                TextMatch::Suffix(read(suffix))
            }
            TextMatch::Present => TextMatch::Present,
        };
        Ok(Self::Text(condition))
    }

    /// The one path for which it holds, if it is written out.
    pub fn exact(&self) -> Option<&str> {
        match self {
            Self::Text(text) => text.exact(),
            Self::Template(_) => None,
        }
    }

    /// Whether the condition holds for the reading of a canonical path.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Text(text) => text.matches(path),
            Self::Template(template) => template_matches(template, path),
        }
    }
}

fn parse_template(text: &str) -> Result<Vec<TemplateSegment>, MatchFault> {
    let rest = text
        .strip_prefix('/')
        .ok_or(MatchFault::Path(PathFault::NotAbsolute))?;
    let segments = rest
        .split('/')
        .map(|segment| match segment {
            "{*}" => Ok(TemplateSegment::One),
            "{**}" => Ok(TemplateSegment::Any),
            _ if segment.contains(['{', '}', '*']) => Err(MatchFault::Template),
            _ => {
                check_path(&format!("/{segment}"))?;
                Ok(TemplateSegment::Literal(reading(segment).into_owned()))
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    // An empty segment is only the one behind a last slash.
    let is_empty = |segment: &TemplateSegment| matches!(segment, TemplateSegment::Literal(text) if text.is_empty());
    if segments.iter().rev().skip(1).any(is_empty) {
        return Err(MatchFault::Path(PathFault::EmptySegment));
    }
    if segments
        .iter()
        .filter(|segment| **segment == TemplateSegment::Any)
        .count()
        > 1
    {
        return Err(MatchFault::Template);
    }
    Ok(segments)
}

/// `{*}` needs a segment that is not empty, so that `/d/{*}` does not match `/d/`. There is one `{**}` at most: what stands before
/// it is matched from the front and the rest from the back, in one pass and without going back.
fn template_matches(template: &[TemplateSegment], path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    let any = template
        .iter()
        .position(|segment| *segment == TemplateSegment::Any);
    let Some(any) = any else {
        return template.len() == rest.split('/').count()
            && template
                .iter()
                .zip(rest.split('/'))
                .all(|(wanted, segment)| segment_matches(wanted, segment));
    };
    let (front, back) = (&template[..any], &template[any + 1..]);
    // "/" has no segment at all for `{**}` to be; "/a/" has the segment "a" and an empty one.
    let count = if rest.is_empty() && front.is_empty() && back.is_empty() {
        0
    } else {
        rest.split('/').count()
    };
    count >= front.len() + back.len()
        && front
            .iter()
            .zip(rest.split('/'))
            .all(|(wanted, segment)| segment_matches(wanted, segment))
        && back
            .iter()
            .rev()
            .zip(rest.rsplit('/'))
            .all(|(wanted, segment)| segment_matches(wanted, segment))
}

fn segment_matches(wanted: &TemplateSegment, segment: &str) -> bool {
    match wanted {
        TemplateSegment::Literal(text) => text == segment,
        TemplateSegment::One => !segment.is_empty(),
        TemplateSegment::Any => true,
    }
}

impl fmt::Display for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(text) => write!(f, "{text}*"),
            Self::Suffix(text) => write!(f, "*{text}"),
            Self::Present => f.write_str("*"),
        }
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(TextMatch::Exact(path)) => f.write_str(&starless(path)),
            Self::Text(TextMatch::Prefix(prefix)) => write!(f, "{}*", starless(prefix)),
            Self::Text(TextMatch::Suffix(suffix)) => write!(f, "*{}", starless(suffix)),
            Self::Text(TextMatch::Present) => f.write_str("*"),
            Self::Template(segments) => segments.iter().try_for_each(|segment| match segment {
                TemplateSegment::Literal(text) => write!(f, "/{}", starless(text)),
                TemplateSegment::One => f.write_str("/{*}"),
                TemplateSegment::Any => f.write_str("/{**}"),
            }),
        }
    }
}

/// A star of the path itself, told apart from those of the form.
fn starless(text: &str) -> String {
    text.replace('*', "%2A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_match_in_four_forms() {
        for (form, text, expected) in [
            ("sre", "sre", true),
            ("sre", "SRE", false),
            ("sre", "sre2", false),
            ("sre-*", "sre-eu", true),
            ("sre-*", "sre-", true),
            ("sre-*", "sre", false),
            ("*-eu", "sre-eu", true),
            ("*-eu", "eu", false),
            ("*", "x", true),
            ("*", "", false),
        ] {
            let condition = TextMatch::parse(form).unwrap();
            assert_eq!(condition.matches(text), expected, "{form} {text}");
            assert_eq!(condition.to_string(), form);
        }
    }

    #[test]
    fn unclear_forms_are_refused() {
        for text in ["a*b", "**", "*a*", "a**", "***"] {
            assert_eq!(TextMatch::parse(text), Err(MatchFault::Star), "{text}");
        }
        assert_eq!(TextMatch::parse(""), Err(MatchFault::Empty));
        for unseen in ["a\n", "staff\u{200b}", "\u{202e}ffats"] {
            assert_eq!(TextMatch::parse(unseen), Err(MatchFault::Control));
        }
        for path in [
            "/{foo}",
            "/a{*}",
            "/{*}b",
            "/{",
            "/}",
            "/{**}/{**}",
            "/{***}",
            "/{}",
            "/a*/{*}",
            "{*}",
            "*{*}",
            "//{*}",
            "/a//{*}",
            "/../{*}",
            "/%2f/{*}",
            "a",
            "a/b",
            "/a//b",
            "/a/../b",
            "/a/./",
            "/%2e",
            "/a?b",
            "/a#b",
            "/a;b",
            "/é",
            "/a*b",
            "/a//*",
            "/a/..*/*",
            "a*",
            "*/../b",
        ] {
            assert!(PathMatch::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_path_is_written_one_way_and_may_be_given_in_all() {
        for (given, written) in [
            ("/x/%24all", "/x/$all"),
            ("/%40a*", "/@a*"),
            ("*%3Ax", "*:x"),
            ("/%40a/{*}", "/@a/{*}"),
            ("/a%2A", "/a%2A"),
            ("/%2A/{*}", "/%2A/{*}"),
            ("/a%20b", "/a%20b"),
        ] {
            let condition = PathMatch::parse(given).unwrap();
            assert_eq!(condition.to_string(), written);
            assert_eq!(PathMatch::parse(written).unwrap(), condition);
        }
        assert!(PathMatch::parse("/a%2A").unwrap().matches("/a*"));
        assert!(PathMatch::parse("/a%3Bb").is_err());
    }

    #[test]
    fn templates_match_whole_segments() {
        for (template, path, expected) in [
            ("/d/{*}", "/d/a", true),
            ("/d/{*}", "/d/", false),
            ("/d/{*}", "/d", false),
            ("/d/{*}", "/d/a/b", false),
            ("/d/{*}", "/e/a", false),
            ("/{*}/x", "/a/x", true),
            ("/d/{**}", "/d", true),
            ("/d/{**}", "/d/", true),
            ("/d/{**}", "/d/a/b", true),
            ("/d/{**}", "/da", false),
            ("/{**}", "/", true),
            ("/{**}", "/a/b", true),
            ("/{**}/x", "/x", true),
            ("/{**}/x", "/a/b/x", true),
            ("/{**}/x", "/a/bx", false),
            ("/a/{**}/{*}/z", "/a/y/z", true),
            ("/a/{**}/{*}/z", "/a/z", false),
            ("/a/{**}/z/", "/a/b/z/", true),
            ("/a/{**}/z/", "/a/b/z", false),
        ] {
            let condition = PathMatch::parse(template).unwrap();
            assert_eq!(condition.matches(path), expected, "{template} {path}");
            assert_eq!(condition.to_string(), template);
        }
    }
}
