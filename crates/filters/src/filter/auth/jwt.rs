//! JSON web tokens, by one algorithm that the operator chose.

use std::time::Duration;

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, Validation,
    errors::ErrorKind,
    jwk::{Jwk, JwkSet, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    filter::{Wrong, wrong},
    value::{Texts, Time},
};

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    algorithm: String,
    key: Option<String>,
    jwks: Option<Value>,
    jwks_url: Option<Value>,
    #[serde(default)]
    issuer: Texts,
    #[serde(default)]
    audience: Texts,
    #[serde(default = "leeway")]
    leeway: Time,
}

fn leeway() -> Time {
    Time(Duration::from_secs(30))
}

/// A shorter secret than its hash can be guessed more easily than the hash (RFC 7518, section 3.2); 32 bytes is the
/// shortest of the three.
const SHORTEST_SECRET: usize = 32;

/// More keys than an issuer has in use.
const MOST_KEYS: usize = 64;

/// Longer tokens are refused before they are looked at.
const LONGEST_TOKEN: usize = 16 << 10;

/// What tokens are checked against.
pub(crate) struct Jwt {
    keys: Vec<(Option<String>, DecodingKey)>,
    validation: Validation,
}

impl std::fmt::Debug for Jwt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwt").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
}

impl Jwt {
    pub(crate) fn build(settings: Settings) -> Result<Self, Wrong> {
        if settings.jwks_url.is_some() {
            let why = "not yet available: keys are not fetched; put the JWK set itself into `jwks`";
            return Err(wrong("jwt.jwks-url", why));
        }
        let algorithm: Algorithm = settings.algorithm.parse().map_err(|_| {
            let why = format!(
                "there is no algorithm {:?}; it is one of HS256, RS256, PS256, ES256, EdDSA...",
                settings.algorithm
            );
            wrong("jwt.algorithm", why)
        })?;
        let keys = match (settings.key, settings.jwks) {
            (Some(key), None) => vec![(None, one(&key, algorithm.family())?)],
            (None, Some(jwks)) => set(jwks, algorithm)?,
            _ => return Err(wrong("jwt.key", "give `key` or `jwks`, one of the two")),
        };
        let mut validation = Validation::new(algorithm);
        validation.leeway = settings.leeway.0.as_secs();
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        let (issuer, audience) = (settings.issuer.into_vec(), settings.audience.into_vec());
        if !issuer.is_empty() {
            validation.set_issuer(&issuer);
            required.push("iss");
        }
        validation.validate_aud = !audience.is_empty();
        if !audience.is_empty() {
            validation.set_audience(&audience);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        Ok(Self { keys, validation })
    }

    /// Who the token is for: its subject, or the token itself where it names none.
    pub(crate) fn verify(&self, token: &str) -> Result<String, String> {
        if token.len() > LONGEST_TOKEN {
            return Err(format!("the token is longer than {LONGEST_TOKEN} bytes"));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| "the token is no JWT".to_owned())?;
        let named = |key: &&(Option<String>, DecodingKey)| match (&key.0, &header.kid) {
            (Some(name), Some(wanted)) => name == wanted,
            _ => true,
        };
        let mut why = "the token was signed with a key that this route does not know".to_owned();
        for (_, key) in self.keys.iter().filter(named) {
            match jsonwebtoken::decode::<Claims>(token, key, &self.validation) {
                Ok(data) => return Ok(data.claims.sub.unwrap_or_else(|| token.to_owned())),
                Err(error) => why = reason(error.kind()),
            }
        }
        Err(why)
    }
}

fn reason(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::ExpiredSignature => "the token has expired".to_owned(),
        ErrorKind::ImmatureSignature => "the token is not valid yet".to_owned(),
        ErrorKind::InvalidIssuer => "the token is from another issuer".to_owned(),
        ErrorKind::InvalidAudience => "the token is for another audience".to_owned(),
        ErrorKind::MissingRequiredClaim(claim) => format!("the token has no {claim}"),
        ErrorKind::InvalidAlgorithm => "the token was signed with another algorithm".to_owned(),
        _ => "the token's signature is wrong".to_owned(),
    }
}

fn one(key: &str, family: AlgorithmFamily) -> Result<DecodingKey, Wrong> {
    let text = key.as_bytes();
    let read = match family {
        AlgorithmFamily::Hmac if text.len() < SHORTEST_SECRET => {
            return Err(wrong("jwt.key", format!("a secret has at least {SHORTEST_SECRET} bytes")));
        }
        AlgorithmFamily::Hmac => Ok(DecodingKey::from_secret(text)),
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(text),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(text),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(text),
    };
    read.map_err(|_| wrong("jwt.key", "this is no public key of that algorithm in PEM form"))
}

fn set(jwks: Value, algorithm: Algorithm) -> Result<Vec<(Option<String>, DecodingKey)>, Wrong> {
    let parsed = match jwks {
        Value::String(text) => serde_json::from_str::<JwkSet>(&text),
        object => serde_json::from_value(object),
    };
    let set = parsed.map_err(|error| wrong("jwt.jwks", format!("this is no JWK set: {error}")))?;
    let signs = |jwk: &&Jwk| !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
    let mut keys = Vec::new();
    for jwk in set.keys.iter().filter(signs) {
        let Ok(key) = DecodingKey::from_jwk(jwk) else { continue };
        if key.family() == algorithm.family() {
            keys.push((jwk.common.key_id.clone(), key));
        }
    }
    if keys.is_empty() || keys.len() > MOST_KEYS {
        let why = format!("it needs 1 to {MOST_KEYS} keys for {algorithm:?}, and has {}", keys.len());
        return Err(wrong("jwt.jwks", why));
    }
    Ok(keys)
}
