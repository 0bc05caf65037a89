//! Injective encodings into `[a-z0-9.-]`, for the parts of a SPIFFE ID that come from claims.
//!
//! **[`slug`] is injective.** Its output is a sequence of tokens that can be read back: a lower-case letter or digit stands for
//! itself; so does a `.` or `-` between two of those; every other byte is `--` and two hex digits, except that an `@` before a letter
//! or digit is `--at--` (`t` is no hex digit). `-` stands for itself only between letters or digits, so a `--` always opens such a token,
//! and `---` never occurs inside. Two marks use that: a text that would begin with a token gets `x-` in front (so `x---` only
//! ever begins such texts), and a text that would be longer than 63 keeps its beginning and ends in `----` and 200 bits of the SHA-256
//! of the whole text. Different texts therefore differ, in the long case as far as SHA-256 does.
//!
//! **[`user_slug`] is injective over (issuer, subject)**, which is who a person is. An e-mail address alone would not be: two providers
//! vouch for the same one, and one provider gives it to somebody else after years. So the value is a label for
//! people to read, `----`, and 130 bits of the SHA-256 of the length-prefixed issuer and subject. These 130 bits alone tell people apart; what
//! the label says cannot join two of them. The marks of both encodings differ in length (40 and 26 characters
//! behind the `----`), so a subject that spells somebody else's user slug does not become it either: its own slug escapes the dashes.

use aws_lc_rs::digest;

use crate::identity::email::Email;
use crate::identity::principal::Principal;

/// The longest slug: that of a DNS label.
pub const MAX_SLUG: usize = 63;
/// Characters of base 32 that keep long texts apart (200 bits).
const TEXT_TAG: usize = 40;
/// Characters of base 32 that keep people apart (130 bits).
const USER_TAG: usize = 26;
const TAG_MARK: &str = "----";

/// Encodes any text into `[a-z0-9.-]`, so that two different texts never give the same slug and no `/` can come in.
/// Plain lower-case names stay as they are. At most 63 characters; longer ones end in a hash that keeps them apart.
/// It begins and ends with a letter or digit.
pub fn slug(text: &str) -> String {
    let encoded = escape(text);
    if encoded.len() <= MAX_SLUG {
        return encoded;
    }
    let tag = base32(
        digest::digest(&digest::SHA256, text.as_bytes()).as_ref(),
        TEXT_TAG,
    );
    labelled(&encoded, &tag)
}

/// What `{user}` in an identity mapping stands for: the vouched-for e-mail address, or else the subject, readable as far as it fits,
/// and a tag of (issuer, subject). At most 63 characters of `[a-z0-9.-]`.
///
/// It changes when the person's e-mail address does; the part behind the last `----` never changes.
pub fn user_slug(principal: &Principal) -> String {
    let label = escape(
        principal
            .email
            .as_ref()
            .map_or(&*principal.subject, Email::as_str),
    );
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [&principal.issuer, &principal.subject] {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part.as_bytes());
    }
    labelled(&label, &base32(context.finish().as_ref(), USER_TAG))
}

/// As much of the beginning of an escaped text as fits, and the tag.
fn labelled(encoded: &str, tag: &str) -> String {
    let room = MAX_SLUG - TAG_MARK.len() - tag.len();
    // Escaped text is ASCII, so every byte offset is a character boundary.
    let label = encoded.get(..room).unwrap_or(encoded);
    format!("{}{TAG_MARK}{tag}", label.trim_end_matches(['-', '.']))
}

/// The token sequence that the module's first paragraph describes; begins and ends with a letter or digit.
fn escape(text: &str) -> String {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        // No text gives this: a leading token goes on with two hex digits.
        return "x---empty".to_owned();
    }
    let is_plain = |index: Option<usize>| {
        index
            .and_then(|index| bytes.get(index))
            .is_some_and(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'))
    };
    let mut encoded = String::with_capacity(bytes.len().min(MAX_SLUG) + 16);
    for (index, &byte) in bytes.iter().enumerate() {
        let after_plain = is_plain(index.checked_sub(1));
        let before_plain = is_plain(index.checked_add(1));
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => encoded.push(char::from(byte)),
            b'.' | b'-' if after_plain && before_plain => encoded.push(char::from(byte)),
            b'@' if index > 0 && before_plain => encoded.push_str("--at--"),
            _ => {
                if index == 0 {
                    encoded.push_str("x-");
                }
                encoded.push_str("--");
                encoded.push(hex_digit(byte >> 4));
                encoded.push(hex_digit(byte & 0xf));
            }
        }
        // Whatever follows is cut off anyway, and the hash is over the text itself.
        if encoded.len() > 2 * MAX_SLUG {
            break;
        }
    }
    encoded
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble & 0xf), 16).unwrap_or('0')
}

/// The first `length` characters of RFC 4648 §6's base 32, in lower case and without padding.
fn base32(bytes: &[u8], length: usize) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    (0..length)
        .map(|at| {
            let value = (0..5).fold(0, |value, offset| value << 1 | bit(at * 5 + offset));
            char::from(ALPHABET[usize::from(value & 31)])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::principal::{Groups, PrincipalKind};

    fn is_label(slug: &str) -> bool {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        slug.len() <= MAX_SLUG
            && edge(slug.as_bytes().first())
            && edge(slug.as_bytes().last())
            && slug
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
    }

    /// Reads a short slug back: that this is possible is what makes it injective.
    fn unescape(slug: &str) -> Vec<u8> {
        if slug == "x---empty" {
            return Vec::new();
        }
        let mut rest = slug;
        if slug.starts_with("x---") {
            rest = &slug[2..];
        }
        let mut text = Vec::new();
        while let Some(first) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("--at--") {
                text.push(b'@');
                rest = after;
            } else if let Some(after) = rest.strip_prefix("--") {
                text.push(u8::from_str_radix(&after[..2], 16).unwrap());
                rest = &after[2..];
            } else {
                text.push(first as u8);
                rest = &rest[1..];
            }
        }
        text
    }

    fn person(issuer: &str, subject: &str, email: Option<&str>) -> Principal {
        Principal {
            kind: PrincipalKind::User,
            provider: "okta".into(),
            issuer: issuer.into(),
            subject: subject.into(),
            email: email.map(|email| Email::parse(email).unwrap()),
            display_name: None,
            groups: Groups::Missing,
            claims: std::collections::BTreeMap::new(),
            acr: None,
            auth_time: None,
            agents: Vec::new(),
        }
    }

    #[test]
    fn readable_texts_stay_readable() {
        for (text, expected) in [
            ("alice", "alice"),
            ("a.b", "a.b"),
            ("a-b.9", "a-b.9"),
            ("alice@corp.example", "alice--at--corp.example"),
            ("Alice", "x---41lice"),
            ("a--b", "a--2d--2db"),
            ("a.", "a--2e"),
        ] {
            assert_eq!(slug(text), expected);
        }
    }

    #[test]
    fn c7_structure_in_claims_is_encoded() {
        let long = "é".repeat(1500);
        let mut seen = std::collections::BTreeSet::new();
        for text in [
            "",
            "/",
            "..",
            ".",
            "%2f",
            "%2F",
            " ",
            "a b",
            "é",
            "e\u{301}",
            "a/b",
            "a--2fb",
            "x",
            "x/",
            "-",
            "--",
            "x---2f",
            "x---empty",
            "a@b",
            "a--at--b",
            "@b",
            "\0",
            &long,
            &long[2..],
        ] {
            let slug = slug(text);
            assert!(is_label(&slug), "{text:?} gave {slug:?}");
            assert!(seen.insert(slug.clone()), "{text:?} gave {slug:?} again");
        }
    }

    #[test]
    fn c7_f4_a_person_is_issuer_and_subject() {
        let email = Some("alice@corp.example");
        let people = [
            person("https://a", "1", email),
            person("https://b", "1", email),
            person("https://a", "2", email),
            person("https://a1", "", email),
            person("https://a", "1", None),
        ];
        let slugs: Vec<String> = people.iter().map(user_slug).collect();
        for slug in &slugs {
            assert!(is_label(slug), "{slug}");
        }
        for (first, second) in [(0, 1), (0, 2), (0, 3), (1, 2)] {
            assert_ne!(slugs[first], slugs[second]);
        }
        assert!(slugs[0].starts_with("alice--at--corp.example----"));
        // One person without an e-mail address keeps the tag.
        assert_eq!(
            slugs[0].rsplit_once("----").unwrap().1,
            slugs[4].rsplit_once("----").unwrap().1
        );
    }

    #[test]
    fn the_known_answer_of_a_user_slug_never_changes() {
        let alice = person("https://idp.example", "00u1", Some("alice@corp.example"));
        assert_eq!(
            user_slug(&alice),
            "alice--at--corp.example----j56qxutecomsfx5dk3b2llhnz5"
        );
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[a-c.@/A-]{0,12}",
            "x?-{0,5}(2f|at|empty)?-{0,4}[ab]{0,3}",
            "[a-z./]{50,80}",
        ]
    }

    proptest! {
        #[test]
        fn c7_slugs_are_labels_and_read_back(text in texts()) {
            let slug = slug(&text);
            prop_assert!(is_label(&slug), "{slug}");
            if !slug.contains("----") {
                prop_assert_eq!(unescape(&slug), text.as_bytes());
            }
        }

        #[test]
        fn c7_different_texts_have_different_slugs(first in texts(), second in texts()) {
            prop_assert_eq!(first == second, slug(&first) == slug(&second));
        }

        #[test]
        fn c7_different_people_have_different_user_slugs(
            first in ("[ab]{0,3}", "[ab]{0,3}"),
            second in ("[ab]{0,3}", "[ab]{0,3}"),
            subject_label in texts(),
        ) {
            let slugs = [&first, &second].map(|(issuer, subject)| user_slug(&person(issuer, subject, None)));
            prop_assert_eq!(first == second, slugs[0] == slugs[1]);
            // No subject's slug is somebody's user slug.
            prop_assert_ne!(&slug(&slugs[0]), &slugs[0]);
            prop_assert_ne!(&slug(&subject_label), &slugs[0]);
            prop_assert!(is_label(&user_slug(&person("i", &subject_label, None))));
        }
    }
}
