use jsonwebtoken::{Algorithm, EncodingKey, Header};
use onrush_types::FilterUse;
use serde_json::json;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn auth(parameters: &serde_json::Value) -> Result<Auth, String> {
    let used = FilterUse { filter: "auth".into(), parameters: parameters.as_object().unwrap().clone() };
    super::super::build(0, &used, &Gateways::default()).map_err(|problems| format!("{problems:?}"))
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

fn refusal(auth: &Auth, headers: &HeaderMap) -> String {
    match auth.check(headers) {
        Err(Stop::Refused { error, header }) => {
            assert_eq!(error.code, Code::Unauthenticated);
            assert_eq!(header.unwrap().0, WWW_AUTHENTICATE);
            error.message().to_owned()
        }
        other => panic!("{other:?}"),
    }
}

fn hash(key: &str) -> String {
    format!("sha256:{}", Digest(sha2::Sha256::digest(key).into()))
}

#[test]
fn a_known_key_is_let_in_and_every_other_is_not() {
    let auth = auth(&json!({ "keys": [hash("first"), hash("second")] })).unwrap();
    let first = auth.check(&headers(&[("x-api-key", "first")])).unwrap();
    let second = auth.check(&headers(&[("x-api-key", "second")])).unwrap();
    assert_ne!(first, second, "limits tell them apart");
    for bad in [&[("x-api-key", "third")][..], &[("x-api-key", "")], &[], &[("authorization", "Bearer first")]] {
        assert!(refusal(&auth, &headers(bad)).contains("x-api-key"));
    }
}

#[test]
fn a_key_may_come_as_a_bearer() {
    let auth = auth(&json!({ "keys": [hash("k")], "header": "Authorization" })).unwrap();
    assert!(auth.check(&headers(&[("authorization", "bearer k")])).is_ok());
    refusal(&auth, &headers(&[("authorization", "k")]));
}

fn token(algorithm: Algorithm, key: &EncodingKey, claims: &serde_json::Value) -> String {
    let token = jsonwebtoken::encode(&Header::new(algorithm), claims, key).unwrap();
    format!("Bearer {token}")
}

fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

#[test]
fn a_token_is_taken_for_its_issuer_audience_and_time_alone() {
    let jwt =
        json!({ "algorithm": "HS256", "key": SECRET, "issuer": "id", "audience": ["shop", "till"], "leeway": "5s" });
    let auth = auth(&json!({ "jwt": jwt })).unwrap();
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let good = json!({ "sub": "ann", "iss": "id", "aud": "shop", "exp": now() + 60 });
    let with = |field: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        claims[field] = value;
        headers(&[("authorization", &token(Algorithm::HS256, &key, &claims))])
    };
    let ann = auth.check(&with("nbf", json!(now()))).unwrap();
    assert_eq!(auth.check(&with("exp", json!(now() + 9))).unwrap(), ann, "the subject is who calls");
    assert_ne!(auth.check(&with("sub", json!("bob"))).unwrap(), ann);
    assert!(auth.check(&with("exp", json!(now() - 2))).is_ok(), "within the leeway");
    for (field, value, why) in [
        ("exp", json!(now() - 60), "expired"),
        ("exp", json!(null), "exp"),
        ("nbf", json!(now() + 60), "not valid yet"),
        ("iss", json!("other"), "another issuer"),
        ("iss", json!(null), "iss"),
        ("aud", json!("other"), "another audience"),
        ("aud", json!(null), "aud"),
    ] {
        let why_not = refusal(&auth, &with(field, value));
        assert!(why_not.contains(why), "{field}: {why_not}");
    }
}

#[test]
fn the_token_does_not_choose_its_algorithm() {
    let jwt = json!({ "algorithm": "HS256", "key": SECRET });
    let auth = auth(&json!({ "jwt": jwt })).unwrap();
    let claims = json!({ "exp": now() + 60 });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let right = token(Algorithm::HS256, &key, &claims);
    assert!(auth.check(&headers(&[("authorization", &right)])).is_ok());
    let other = token(Algorithm::HS512, &key, &claims);
    assert!(refusal(&auth, &headers(&[("authorization", &other)])).contains("another algorithm"));
    // {"alg":"none"}
    let payload = right.split('.').nth(1).unwrap();
    let none = format!("Bearer eyJhbGciOiJub25lIn0.{payload}.");
    refusal(&auth, &headers(&[("authorization", &none)]));
    let forged = token(Algorithm::HS256, &EncodingKey::from_secret(b"another secret of another issuer"), &claims);
    assert!(refusal(&auth, &headers(&[("authorization", &forged)])).contains("signature"));
    refusal(&auth, &headers(&[("authorization", &right), ("authorization", &right)]));
}

#[test]
fn settings_that_protect_nothing_are_refused() {
    for (parameters, place) in [
        (json!({}), "filters[0].keys"),
        (json!({ "keys": ["secret"] }), "filters[0].keys[0]"),
        (json!({ "jwt": { "algorithm": "none", "key": SECRET } }), "filters[0].jwt.algorithm"),
        (json!({ "jwt": { "algorithm": "HS256", "key": "short" } }), "filters[0].jwt.key"),
        (json!({ "jwt": { "algorithm": "HS256" } }), "filters[0].jwt.key"),
        (json!({ "jwt": { "algorithm": "RS256", "key": SECRET } }), "filters[0].jwt.key"),
        (json!({ "jwt": { "algorithm": "RS256", "jwks": { "keys": [] } } }), "filters[0].jwt.jwks"),
        (json!({ "jwt": { "algorithm": "RS256", "jwks-url": "https://id" } }), "filters[0].jwt.jwks-url"),
        (json!({ "jwt": { "key": SECRET } }), "filters[0].jwt.algorithm"),
        (
            json!({ "keys": [hash("k")], "header": "authorization", "jwt": { "algorithm": "HS256", "key": SECRET } }),
            "filters[0].header",
        ),
    ] {
        let problems = auth(&parameters).unwrap_err();
        assert!(problems.contains(&format!("{place:?}")), "{parameters}: {problems}");
    }
}

#[test]
fn a_key_set_is_searched_by_the_key_s_name() {
    let secret = |byte: u8| vec![byte; 32];
    let jwk = |name: &str, byte: u8| {
        let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&EncodingKey::from_secret(&secret(byte)), Algorithm::HS256);
        let mut jwk = serde_json::to_value(jwk.unwrap()).unwrap();
        jwk["kid"] = name.into();
        jwk
    };
    let jwks = json!({ "keys": [jwk("old", 1), jwk("new", 2)] });
    for jwks in [jwks.clone(), json!(jwks.to_string())] {
        let auth = auth(&json!({ "jwt": { "algorithm": "HS256", "jwks": jwks } })).unwrap();
        let claims = json!({ "exp": now() + 60 });
        let signed = |kid: Option<&str>, byte| {
            let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::HS256) };
            let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&secret(byte))).unwrap();
            headers(&[("authorization", &format!("Bearer {token}"))])
        };
        assert!(auth.check(&signed(Some("new"), 2)).is_ok());
        assert!(auth.check(&signed(None, 1)).is_ok());
        refusal(&auth, &signed(Some("old"), 2));
        refusal(&auth, &signed(Some("strange"), 2));
    }
}

#[test]
fn public_keys_verify_what_their_private_ones_signed() {
    // Keys made for this test alone.
    let (ec, rsa) = (include_bytes!("keys/ec.pem"), include_bytes!("keys/rsa.pem"));
    let (ec_public, rsa_public) = (include_str!("keys/ec.pub.pem"), include_str!("keys/rsa.pub.pem"));
    let (ec, rsa) = (EncodingKey::from_ec_pem(ec).unwrap(), EncodingKey::from_rsa_pem(rsa).unwrap());
    let claims = json!({ "exp": now() + 60 });
    for (name, algorithm, private, public) in [
        ("ES256", Algorithm::ES256, &ec, ec_public),
        ("RS256", Algorithm::RS256, &rsa, rsa_public),
        ("PS384", Algorithm::PS384, &rsa, rsa_public),
    ] {
        let auth = auth(&json!({ "jwt": { "algorithm": name, "key": public } })).unwrap();
        let signed = token(algorithm, private, &claims);
        assert!(auth.check(&headers(&[("authorization", &signed)])).is_ok(), "{name}");
        let (start, signature) = signed.rsplit_once('.').unwrap();
        let flipped = if signature.starts_with('A') { "B" } else { "A" };
        let forged = format!("{start}.{flipped}{}", &signature[1..]);
        assert!(refusal(&auth, &headers(&[("authorization", &forged)])).contains("signature"), "{name}");
        // The public key as the secret of an HMAC: the oldest trick.
        let confused = token(Algorithm::HS256, &EncodingKey::from_secret(public.as_bytes()), &claims);
        assert!(refusal(&auth, &headers(&[("authorization", &confused)])).contains("another algorithm"), "{name}");
    }
}
