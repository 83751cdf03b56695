//! An issuer of tokens: its keys, and a server that publishes them over TLS.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Authority, Terminator};

/// A key that tokens are signed with.
#[derive(Clone, Debug)]
pub struct TokenKey {
    id: String,
    algorithm: Algorithm,
    /// The private key in PKCS #8.
    private: Vec<u8>,
}

impl TokenKey {
    /// A key of RSA, 2,048 bits.
    pub fn rsa(id: &str) -> TokenKey {
        let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let private = der.as_ref().to_vec();
        TokenKey { id: id.to_owned(), algorithm: Algorithm::RS256, private }
    }

    /// A key on P-256.
    pub fn ec(id: &str) -> TokenKey {
        let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new()).unwrap();
        let private = pair.as_ref().to_vec();
        TokenKey { id: id.to_owned(), algorithm: Algorithm::ES256, private }
    }

    fn public(&self) -> Value {
        let key = match self.algorithm {
            // PKCS #8 puts a head of 26 bytes before the PKCS #1 key.
            Algorithm::RS256 => EncodingKey::from_rsa_der(&self.private[26..]),
            _ => EncodingKey::from_ec_der(&self.private),
        };
        let mut jwk = Jwk::from_encoding_key(&key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.clone());
        serde_json::to_value(jwk).unwrap()
    }

    /// A token with these claims, signed by the key.
    pub fn sign(&self, claims: &Value) -> String {
        let header = json!({ "typ": "JWT", "alg": self.algorithm, "kid": self.id });
        let [header, claims] =
            [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let random = SystemRandom::new();
        let signature = if self.algorithm == Algorithm::RS256 {
            let pair = RsaKeyPair::from_pkcs8(&self.private).unwrap();
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
            signature
        } else {
            let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let pair = EcdsaKeyPair::from_pkcs8(curve, &self.private).unwrap();
            pair.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec()
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The state of an issuer's server.
#[derive(Debug, Default)]
struct IssuerState {
    keys: Vec<Value>,
    /// Whether every response is an error.
    is_broken: bool,
    /// The number of requests for the keys.
    asked: usize,
}

/// An issuer, until it is dropped.
#[derive(Debug)]
pub struct Issuer {
    state: Arc<Mutex<IssuerState>>,
    tls: Terminator,
    serving: JoinHandle<()>,
}

impl Issuer {
    /// Starts an issuer with a certificate of this authority and these keys.
    pub async fn start(authority: &Authority, keys: &[&TokenKey]) -> Issuer {
        let state = Arc::<Mutex<IssuerState>>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = Terminator::start(&authority.server(), &["http/1.1"], address).await;
        let url = format!("https://localhost:{}", tls.port());
        let shared = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (state, url) = (Arc::clone(&shared), url.clone());
                let answer = service_fn(move |request: Request<_>| {
                    let answer = state.lock().answer(&url, request.uri().path());
                    async { Ok::<_, Infallible>(answer) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), answer));
            }
        });
        let issuer = Issuer { state, tls, serving };
        issuer.has(keys);
        issuer
    }

    /// The issuer's URL, which is its name in tokens.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.tls.port())
    }

    /// Replaces the keys by these.
    pub fn has(&self, keys: &[&TokenKey]) {
        self.state.lock().keys = keys.iter().map(|key| key.public()).collect();
    }

    /// Makes every response an error, or none.
    pub fn breaks(&self, is_broken: bool) {
        self.state.lock().is_broken = is_broken;
    }

    /// The number of requests for the keys.
    pub fn asked(&self) -> usize {
        self.state.lock().asked
    }

    /// The claims of a token for this subject, valid for ten minutes.
    pub fn claims(&self, subject: &str) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        json!({ "iss": self.url(), "aud": "sluice", "sub": subject, "exp": now + 600 })
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl IssuerState {
    fn answer(&mut self, url: &str, path: &str) -> Response<Full<Bytes>> {
        let body = match path {
            "/.well-known/openid-configuration" => {
                json!({ "issuer": url, "jwks_uri": format!("{url}/keys") })
            }
            "/keys" => {
                self.asked += 1;
                json!({ "keys": self.keys })
            }
            _ => json!({}),
        };
        let mut answer = Response::new(Full::from(body.to_string()));
        if self.is_broken {
            *answer.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
        }
        answer
    }
}
