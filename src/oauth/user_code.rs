//! The short codes that people type (RFC 8628 §6.1): no vowels, so that they spell nothing; no two letters that look alike. Pure but for chance.

use crate::secret::{TokenHash, random};

const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const LENGTH: usize = 8;

/// A code: eight letters, 34 bits.
#[derive(Clone, PartialEq, Eq)]
pub struct UserCode(String);

impl UserCode {
    /// A new one; each letter as likely as the others.
    pub fn generate() -> Self {
        let mut code = String::with_capacity(LENGTH);
        while code.len() < LENGTH {
            for byte in random::<16>() {
                let letter = LETTERS.get(usize::from(byte) % LETTERS.len());
                // 240 is the largest multiple of 20 that a byte holds.
                if let Some(letter) = letter.filter(|_| byte < 240 && code.len() < LENGTH) {
                    code.push(char::from(*letter));
                }
            }
        }
        Self(code)
    }

    /// Reads what somebody typed: case, spaces and hyphens do not count.
    pub fn parse(text: &str) -> Option<Self> {
        let typed = text
            .chars()
            .filter(|c| !matches!(c, ' ' | '-' | '\u{2010}'..='\u{2014}'));
        let code: String = typed
            .map(|c| c.to_ascii_uppercase())
            .take(LENGTH + 1)
            .collect();
        let is_code = code.len() == LENGTH && code.bytes().all(|b| LETTERS.contains(&b));
        is_code.then_some(Self(code))
    }

    /// As it is shown: in two halves.
    pub fn shown(&self) -> String {
        let (first, second) = self.0.split_at(LENGTH / 2);
        format!("{first}-{second}")
    }

    /// What the store may know of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(format!("user-code\n{}", self.0).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::UserCode;

    #[test]
    fn i5_codes_have_eight_of_twenty_letters_and_are_read_as_people_type() {
        let codes: Vec<_> = (0..2000).map(|_| UserCode::generate()).collect();
        let letters: BTreeSet<char> = codes.iter().flat_map(|code| code.0.chars()).collect();
        assert_eq!(letters.len(), 20, "{letters:?}");
        for code in &codes {
            let shown = code.shown();
            for typed in [
                &shown,
                &shown.to_lowercase(),
                &shown.replace('-', " "),
                &code.0,
            ] {
                assert!(UserCode::parse(typed).is_some_and(|read| read == *code));
            }
        }
        for bad in [
            "",
            "BCDF",
            "BCDF-GHJ",
            "BCDF-GHJKL",
            "ACDF-GHJK",
            "BCDF-GHJ0",
            "BCDF_GHJK",
        ] {
            assert!(UserCode::parse(bad).is_none(), "{bad}");
        }
    }
}
