//! Public P-256 keys as JWKs (RFC 7518 §6.2).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;

use crate::identity::public_keys;

/// The name of the curve.
const CURVE: &str = "P-256";

/// A public key. Reading one refuses a private member: whoever shows it by mistake shall notice.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct EcKey {
    kty: String,
    crv: String,
    x: String,
    y: String,
    #[serde(default)]
    d: Option<serde::de::IgnoredAny>,
}

impl EcKey {
    /// The key of an uncompressed point: 0x04, then two coordinates of 32 bytes (SEC 1 §2.3.3).
    pub fn of_point(point: &[u8]) -> Self {
        let (x, y) = point
            .get(1..)
            .unwrap_or_default()
            .split_at_checked(32)
            .unwrap_or_default();
        Self {
            kty: "EC".to_owned(),
            crv: CURVE.to_owned(),
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
            d: None,
        }
    }

    /// The uncompressed point; `None` if this is no public P-256 key.
    pub fn point(&self) -> Option<[u8; 65]> {
        if self.kty != "EC" || self.crv != CURVE || self.d.is_some() {
            return None;
        }
        let mut point = [4; 65];
        for (coordinate, place) in [(&self.x, 1..33), (&self.y, 33..65)] {
            let bytes = URL_SAFE_NO_PAD.decode(coordinate).ok()?;
            if bytes.len() != 32 {
                return None;
            }
            point.get_mut(place)?.copy_from_slice(&bytes);
        }
        Some(point)
    }

    /// RFC 7638.
    pub fn thumbprint(&self) -> String {
        let Self { x, y, .. } = self;
        public_keys::thumbprint(&[("crv", CURVE), ("kty", "EC"), ("x", x), ("y", y)])
    }

    /// The members that make it up.
    pub fn document(&self) -> serde_json::Value {
        json!({ "kty": "EC", "crv": CURVE, "x": self.x, "y": self.y })
    }
}
