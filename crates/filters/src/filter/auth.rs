//! `auth`: who calls.

mod jwt;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use onrush_invoke::InvokeError;
use onrush_types::{Code, Digest};
use serde::Deserialize;
use sha2::Digest as _;
use subtle::ConstantTimeEq;

use super::{Filter, Parameter, Wrong, wrong};
use crate::{
    key::{Caller, Hasher},
    stack::{Gateways, Stop},
    value::{List, Name},
};

/// More keys than this belong into tokens.
const MOST_KEYS: usize = 1_024;

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    #[serde(default)]
    keys: List<Digest>,
    #[serde(default = "header")]
    header: Name,
    jwt: Option<jwt::Settings>,
    #[serde(default = "yes")]
    forward: bool,
}

fn header() -> Name {
    Name(HeaderName::from_static("x-api-key"))
}

fn yes() -> bool {
    true
}

/// The filter.
#[derive(Debug)]
pub(crate) struct Auth {
    keys: Vec<Digest>,
    header: HeaderName,
    jwt: Option<jwt::Jwt>,
    forward: bool,
    hasher: Hasher,
}

impl Filter for Auth {
    const NAME: &'static str = "auth";
    const SUMMARY: &'static str = "Lets in who has an API key or a JWT; the others get 401. Where both are set up, either \
        one is enough.";
    const EXAMPLE: &'static str =
        r#"{ use = "auth", keys = ["sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"] }"#;
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "keys",
            form: r#"["sha256:HEX"]"#,
            default: Some("(none)"),
            meaning: "sha256 of each API key (`printf %s KEY | sha256sum`); at most 1024. Keys are long random texts: a hash \
                does not protect a password",
        },
        Parameter {
            name: "header",
            form: r#""x-api-key""#,
            default: Some("x-api-key"),
            meaning: "the header that carries the API key; in `authorization` it stands behind `Bearer `",
        },
        Parameter {
            name: "jwt",
            form: r#"{ algorithm = "ES256", key = "-----BEGIN PUBLIC KEY...", issuer = "https://id.example", audience = "shop", leeway = "30s" }"#,
            default: Some("(none)"),
            meaning: "the tokens that are taken from `Authorization: Bearer`. `algorithm` is one of HS256, HS384, HS512, \
                RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA; the token's own header never decides. `key` is \
                the secret (HS, at least 32 bytes) or the public key as PEM, or `jwks` holds the keys as a JWK set; `jwks-url` \
                is not available yet. `issuer` and `audience`: a text or several, demanded where given. `exp` is demanded, \
                `nbf` is obeyed, both with `leeway` (30s)",
        },
        Parameter {
            name: "forward",
            form: "true",
            default: Some("true"),
            meaning: "whether the function sees the credential's header",
        },
    ];
    type Settings = Settings;

    fn build(settings: Settings, _: &Gateways) -> Result<Self, Vec<Wrong>> {
        let Settings { keys: List(keys), header: Name(header), jwt, forward } = settings;
        if keys.is_empty() && jwt.is_none() {
            return Err(vec![wrong("keys", "give `keys`, `jwt` or both: without them nobody is let in")]);
        }
        if keys.len() > MOST_KEYS {
            return Err(vec![wrong("keys", format!("at most {MOST_KEYS}, not {}", keys.len()))]);
        }
        if !keys.is_empty() && jwt.is_some() && header == AUTHORIZATION {
            return Err(vec![wrong(
                "header",
                "`authorization` carries the JWT already; API keys need a header of their own",
            )]);
        }
        let jwt = jwt.map(jwt::Jwt::build).transpose().map_err(|wrong| vec![wrong])?;
        Ok(Self { keys, header, jwt, forward, hasher: Hasher::default() })
    }
}

impl Auth {
    /// The headers that credentials come in.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = &HeaderName> {
        let key = (!self.keys.is_empty()).then_some(&self.header);
        key.into_iter().chain(self.jwt.is_some().then_some(&AUTHORIZATION))
    }

    pub(crate) fn forwards(&self) -> bool {
        self.forward
    }

    /// Takes the credentials out of what the function sees, unless it shall see them.
    pub(crate) fn withhold(&self, headers: &mut HeaderMap) {
        if !self.forward {
            for name in self.credentials() {
                headers.remove(name);
            }
        }
    }

    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<Caller, Stop> {
        if let Some(caller) = self.by_key(headers) {
            return Ok(caller);
        }
        let refused = match (&self.jwt, bearer(headers)) {
            (Some(jwt), Some(token)) => match jwt.verify(token) {
                Ok(caller) => return Ok(Caller(self.hasher.text(&caller))),
                Err(why) => why,
            },
            (Some(_), None) if self.keys.is_empty() => "this route wants a token in `Authorization: Bearer`".to_owned(),
            _ => format!("this route wants an API key in the header {}, and one that it knows", self.header),
        };
        let error = InvokeError::refused(Code::Unauthenticated, format!("{refused} (filter auth)"));
        let scheme = if self.jwt.is_some() || self.header == AUTHORIZATION { "Bearer" } else { "ApiKey" };
        Err(Stop::Refused { error, header: Some(Box::new((WWW_AUTHENTICATE, HeaderValue::from_static(scheme)))) })
    }

    /// Every key is compared, each in constant time: how long it takes tells nothing of which one was near.
    fn by_key(&self, headers: &HeaderMap) -> Option<Caller> {
        if self.keys.is_empty() {
            return None;
        }
        let given = headers.get(&self.header)?.as_bytes();
        let given = if self.header == AUTHORIZATION { bearer(headers)?.as_bytes() } else { given };
        let hash: [u8; 32] = sha2::Sha256::digest(given).into();
        let mut known = None;
        for (at, key) in self.keys.iter().enumerate() {
            if bool::from(hash.ct_eq(&key.0)) {
                known = Some(at as u64);
            }
        }
        known.map(Caller)
    }
}

/// The token of `Authorization: Bearer TOKEN`. Two such headers are none.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests;
