//! Secrets and chance: random tokens, their hashes, and sealing for what must rest in the store.
//!
//! Nothing in here prints itself: `Debug` shows a placeholder, and there is no `Display`.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
pub use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// `N` bytes from the operating system's random generator.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(
        clippy::expect_used,
        reason = "without randomness no answer of ours is safe"
    )]
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator answers");
    bytes
}

/// An opaque 256-bit bearer value (session cookie, state, one-time code): base64url text without padding, 43 characters.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// Length of a token's text.
    pub const LENGTH: usize = 43;

    /// A new random token.
    pub fn generate() -> Self {
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(random::<32>())))
    }

    /// Reads a token that somebody presents; `None` for anything but 43 characters that canonically encode 32 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != Self::LENGTH {
            return None;
        }
        let mut bytes = Zeroizing::new([0_u8; 33]);
        let written = URL_SAFE_NO_PAD.decode_slice(text, bytes.as_mut()).ok()?;
        (written == 32).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The text to send to its holder, and to nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the store may know of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// SHA-256 of a [`Token`]'s text: enough to recognise it, useless to present.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of any text or bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha256(bytes))
    }

    /// Lower-case hexadecimal, as the store keeps it.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// Reads what [`Self::to_hex`] wrote.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({}..)", hex::encode(&self.0[..4]))
    }
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// The SHA-256 of several texts. Each stands behind its length, so that no others have the same.
pub fn sha256_of_all<'a>(texts: impl Iterator<Item = &'a str>) -> [u8; 32] {
    let mut all = digest::Context::new(&digest::SHA256);
    for text in texts {
        all.update(&(text.len() as u64).to_be_bytes());
        all.update(text.as_bytes());
    }
    let mut out = [0; 32];
    out.copy_from_slice(all.finish().as_ref());
    out
}

/// Seals what the store must keep but not know (refresh tokens, signing keys, one-time state): AES-256-GCM
/// with a random nonce, and the purpose as associated data, so that a value sealed for one use opens for no other.
pub struct Sealer(RandomizedNonceKey);

/// A sealed value did not open: wrong key, wrong purpose, or damaged.
#[derive(Debug, thiserror::Error)]
#[error("a sealed value cannot be opened with the store key that is configured")]
pub struct OpenError;

impl Sealer {
    /// Length of the key, in bytes.
    pub const KEY_LENGTH: usize = 32;

    /// A sealer with this key.
    pub fn new(key: &[u8; Self::KEY_LENGTH]) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "a 32-byte key is what AES-256-GCM takes"
        )]
        Self(RandomizedNonceKey::new(&AES_256_GCM, key).expect("a 32-byte key"))
    }

    /// Whether another one has the same key.
    pub fn is_same(&self, other: &Self) -> bool {
        other
            .open("comparison", &self.seal("comparison", b""))
            .is_ok()
    }

    /// Nonce followed by ciphertext and tag.
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Vec<u8> {
        let mut sealed = plain.to_vec();
        #[expect(clippy::expect_used, reason = "fails only beyond 64 GiB")]
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(purpose.as_bytes()), &mut sealed)
            .expect("a short plaintext seals");
        let mut out = nonce.as_ref().to_vec();
        out.append(&mut sealed);
        out
    }

    /// Opens what [`Self::seal`] made for the same purpose.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(OpenError)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self
            .0
            .open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut body)
            .map_err(|_| OpenError)?
            .len();
        body.truncate(length);
        Ok(body)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_canonical() {
        let token = Token::generate();
        assert_eq!(
            Token::parse(token.expose()).map(|t| t.hash()),
            Some(token.hash())
        );
        // G10: every flipped, dropped or added character is refused or is another token.
        for at in 0..Token::LENGTH {
            let mut text = token.expose().to_owned();
            text.remove(at);
            assert!(Token::parse(&text).is_none());
        }
        assert!(Token::parse(&format!("{}A", token.expose())).is_none());
        let mut last = token.expose().to_owned();
        last.pop();
        // Only 16 of the 64 last characters leave the two spare bits zero.
        let canonical = ('A'..='Z')
            .filter(|c| Token::parse(&format!("{last}{c}")).is_some())
            .count();
        assert!(canonical < 10, "non-canonical encodings are refused");
    }

    #[test]
    fn sealed_values_open_for_their_purpose_only() {
        let sealer = Sealer::new(&random());
        let sealed = sealer.seal("refresh", b"value");
        assert_eq!(
            sealer.open("refresh", &sealed).map(|v| v.to_vec()).ok(),
            Some(b"value".to_vec())
        );
        assert!(sealer.open("signing-key", &sealed).is_err());
        assert!(Sealer::new(&random()).open("refresh", &sealed).is_err());
        assert!(sealer.open("refresh", &sealed[..10]).is_err());
        let key = random();
        assert!(Sealer::new(&key).is_same(&Sealer::new(&key)));
        assert!(!Sealer::new(&key).is_same(&sealer));
    }
}
