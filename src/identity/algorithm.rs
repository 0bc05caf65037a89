//! The algorithms of signatures that nobody but the holder of a private key can make.

use jsonwebtoken::Algorithm;

/// Their names.
pub const ALGORITHMS: [&str; 9] = [
    "ES256", "ES384", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
];

/// Reads the name of one that only the holder of a private key can sign with.
pub fn algorithm(name: &str) -> Result<Algorithm, &'static str> {
    Ok(match name {
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "HS256" | "HS384" | "HS512" => {
            return Err("whoever can verify a symmetric signature can also forge it");
        }
        _ if name.eq_ignore_ascii_case("none") => return Err("an unsigned token proves nothing"),
        _ => {
            return Err(
                "this is no algorithm we know: ES256, ES384, EdDSA, RS256, RS384, RS512, PS256, PS384, PS512",
            );
        }
    })
}
