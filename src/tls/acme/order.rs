//! One order, from the account to the certificate (RFC 8555 §7.4).

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, Authorizations, ChallengeType, ExternalAccountKey, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::challenges::{Challenges, Standing};
use super::error::{AcmeError, told};
use super::home::{self, Home, covered};
use super::shared::{Answer, Shared};
use super::wire::Wire;
use crate::clock::Timestamp;
use crate::config::settings::{Acme as Settings, AcmeChallenge};
use crate::tls::error::TlsError;
use crate::tls::file;
use crate::tls::pair::Pair;

/// How long the CA may take to look at the names, or to sign. It is asked after half a second, then
/// ever more seldom, or when it says.
const PATIENCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_mins(2));

/// What an order needs.
#[derive(Debug)]
pub(super) struct Desk<'a> {
    pub(super) settings: &'a Settings,
    pub(super) home: &'a Home,
    pub(super) challenges: &'a Arc<Challenges>,
    /// Where gateways order together.
    pub(super) shared: Option<&'a Shared>,
    pub(super) wire: &'a Wire,
}

/// What came of one.
pub(super) struct Issued {
    /// As it will stand in its file.
    pub(super) pair: Pair,
    pub(super) key_pem: Zeroizing<String>,
    pub(super) chain: Vec<CertificateDer<'static>>,
}

impl Desk<'_> {
    /// Orders a certificate for all the names. An account that the CA does not know any more, as
    /// after a CA of a trial began anew, is made once more.
    ///
    /// # Errors
    ///
    /// [`AcmeError`]: the first thing that went wrong.
    pub(super) async fn order(&self, now: Timestamp) -> Result<Issued, AcmeError> {
        let account = self.account(false).await?;
        let order = match self.begin(&account).await {
            Err(error) if error.is_about_account() => {
                tracing::warn!("the CA does not know the ACME account any more; making a new one");
                let account = self.account(true).await?;
                self.begin(&account).await?
            }
            begun => begun?,
        };
        self.carry_out(order, now).await
    }

    /// The account that is kept, or a new one. Who configures this agrees to the CA's terms.
    pub(super) async fn account(&self, anew: bool) -> Result<Account, AcmeError> {
        let builder = Account::builder_with_http(Box::new(self.wire.clone()));
        let wanted = &self.settings.contact;
        let contact: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let kept = if anew { None } else { self.kept().await? };
        if let Some(kept) = kept {
            let opened = builder.from_credentials(kept.credentials).await;
            let account = opened.map_err(AcmeError::ca("cannot open the account at the CA"))?;
            if kept.contact != *wanted {
                let told = account.update_contacts(&contact).await;
                told.map_err(AcmeError::ca("cannot tell the CA the new contact"))?;
                self.note_contact().await?;
            }
            return Ok(account);
        }
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let external = self.settings.external_account.as_ref();
        let key = external.map(|external| {
            ExternalAccountKey::new(external.key_id.clone(), external.key.expose())
        });
        let made = builder.create(&new, self.settings.directory.clone(), key.as_ref());
        let made = made.await;
        let key_id = external.map(|external| &*external.key_id);
        let (account, credentials) = made.map_err(|error| AcmeError::of_account(error, key_id))?;
        self.keep(&home::Account {
            contact: wanted.clone(),
            credentials,
        })
        .await?;
        tracing::info!(
            directory = self.settings.directory,
            "made an ACME account at the CA"
        );
        Ok(account)
    }

    /// The account that all gateways have, else the one in the folder.
    pub(super) async fn kept(&self) -> Result<Option<home::Account>, AcmeError> {
        if let Some(shared) = self.shared
            && let Some(account) = shared.account().await?
        {
            return Ok(Some(account));
        }
        let kept = self.home.account()?;
        if let (Some(shared), Some(account)) = (self.shared, &kept)
            && shared.holds()
        {
            shared.keep_account(account).await?;
        }
        Ok(kept)
    }

    async fn keep(&self, account: &home::Account) -> Result<(), AcmeError> {
        self.home.keep_account(account)?;
        match self.shared {
            Some(shared) => shared.keep_account(account).await,
            None => Ok(()),
        }
    }

    /// Keeps that the CA was told of another contact.
    async fn note_contact(&self) -> Result<(), AcmeError> {
        match self.kept().await? {
            Some(account) => {
                let contact = self.settings.contact.clone();
                self.keep(&home::Account { contact, ..account }).await
            }
            None => Ok(()),
        }
    }

    async fn begin(&self, account: &Account) -> Result<Order, AcmeError> {
        let names = self.settings.domains.iter().cloned();
        let names: Vec<_> = names.map(Identifier::Dns).collect();
        let order = account.new_order(&NewOrder::new(&names)).await;
        order.map_err(AcmeError::ca("the CA did not take the order"))
    }

    async fn carry_out(&self, mut order: Order, now: Timestamp) -> Result<Issued, AcmeError> {
        if order.state().status != OrderStatus::Ready {
            let (answers, shown) = self.answer(order.authorizations()).await?;
            if let Some(shared) = self.shared.filter(|_| !shown.is_empty()) {
                shared.show(&shown).await?;
            }
            self.have_looked(order.authorizations()).await?;
            let polled = order.poll_ready(&PATIENCE).await;
            drop(answers);
            self.is_proven(&mut order, polled).await?;
        }
        let key = KeyPair::generate().map_err(TlsError::Made)?;
        let names = self.settings.domains.clone();
        let mut params = CertificateParams::new(names).map_err(TlsError::Made)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(TlsError::Made)?;
        let sent = order.finalize_csr(request.der()).await;
        sent.map_err(AcmeError::ca("the CA did not take the request to sign"))?;
        let text = order.poll_certificate(&PATIENCE).await;
        let text = text.map_err(AcmeError::ca("the CA did not give the certificate"))?;
        self.examine(&text, &key, now)
    }

    fn wanted(&self) -> ChallengeType {
        match self.settings.challenge {
            AcmeChallenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
            AcmeChallenge::Http01 => ChallengeType::Http01,
        }
    }

    /// Answers for every name that is not proven yet, and the same for other gateways. They end when
    /// what is returned is dropped.
    async fn answer(
        &self,
        mut authorizations: Authorizations<'_>,
    ) -> Result<(Vec<Standing>, Vec<Answer>), AcmeError> {
        let most = self.settings.domains.len();
        let (mut answers, mut shown) = (Vec::with_capacity(most), Vec::with_capacity(most));
        while let Some(next) = authorizations.next().await {
            let mut one = next.map_err(AcmeError::ca("the CA did not say what it wants to see"))?;
            if one.status == AuthorizationStatus::Valid {
                continue;
            }
            let name = one.identifier().to_string();
            if !self.settings.domains.contains(&name) {
                let name = told(&name);
                return Err(AcmeError::OtherName { name });
            }
            let offered = offers(&one);
            let Some(challenge) = one.challenge(self.wanted()) else {
                let wanted = self.settings.challenge.as_str();
                return Err(AcmeError::NoChallenge {
                    name,
                    wanted,
                    offered,
                });
            };
            let proof = challenge.key_authorization();
            answers.push(match self.settings.challenge {
                AcmeChallenge::TlsAlpn01 => {
                    let digest = proof.digest();
                    self.challenges.in_handshake(&name, digest.as_ref())?
                }
                AcmeChallenge::Http01 => {
                    let shown = self.home.show(&challenge.token, proof.as_str())?;
                    let answers = self.challenges.in_request(&challenge.token, proof.as_str());
                    answers.beside(shown)
                }
            });
            shown.push(Answer {
                name,
                token: challenge.token.clone(),
                proof: proof.as_str().to_owned(),
            });
        }
        Ok((answers, shown))
    }

    /// Has the CA look at every name that is not proven yet.
    async fn have_looked(&self, mut authorizations: Authorizations<'_>) -> Result<(), AcmeError> {
        while let Some(next) = authorizations.next().await {
            let mut one = next.map_err(AcmeError::ca("the CA did not say what it wants to see"))?;
            if one.status == AuthorizationStatus::Valid {
                continue;
            }
            if let Some(mut challenge) = one.challenge(self.wanted()) {
                let ready = challenge.set_ready().await;
                ready.map_err(AcmeError::ca("the CA did not take the challenge"))?;
            }
        }
        Ok(())
    }

    /// Whether every name is proven; where not, why, name by name.
    async fn is_proven(
        &self,
        order: &mut Order,
        polled: Result<OrderStatus, instant_acme::Error>,
    ) -> Result<(), AcmeError> {
        match polled {
            Ok(OrderStatus::Ready | OrderStatus::Valid) => return Ok(()),
            Ok(OrderStatus::Invalid | OrderStatus::Pending | OrderStatus::Processing)
            | Err(instant_acme::Error::Api(_)) => {}
            Err(error) => return Err(AcmeError::ca("the CA did not look at the names")(error)),
        }
        let why = reasons(order.authorizations()).await;
        Err(match polled {
            Err(error) if why.is_empty() => AcmeError::ca("the CA refused the order")(error),
            Ok(_) | Err(_) => AcmeError::Lost {
                challenge: self.settings.challenge.as_str(),
                why: told(&why),
            },
        })
    }

    /// Whether what the CA gave serves all the names with our key, now.
    fn examine(&self, text: &str, key: &KeyPair, now: Timestamp) -> Result<Issued, AcmeError> {
        let files = self.home.files();
        let useless = |error: TlsError| AcmeError::Useless(error.line());
        let chain = file::certificates_in(&files.cert, text.as_bytes(), file::CHAIN_LENGTH);
        let chain = chain.map_err(useless)?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let pair = Pair::assemble(&files, chain.clone(), der).map_err(useless)?;
        let names = &self.settings.domains;
        if covered(&pair, names) < names.len() {
            let why = format!("it is for {}, not for {}", pair.names, names.join(", "));
            return Err(AcmeError::Useless(told(&why)));
        }
        if pair.info.not_after <= now {
            let why = format!(
                "it ended at {}; is the clock of this machine right?",
                pair.info.not_after
            );
            return Err(AcmeError::Useless(why));
        }
        Ok(Issued {
            pair,
            key_pem: Zeroizing::new(key.serialize_pem()),
            chain,
        })
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library may come to know more"
)]
fn offers(authorization: &instant_acme::AuthorizationState) -> String {
    let kinds = authorization.challenges.iter();
    let kinds = kinds.map(|one| match &one.r#type {
        ChallengeType::Http01 => "http-01",
        ChallengeType::Dns01 => "dns-01",
        ChallengeType::TlsAlpn01 => "tls-alpn-01",
        _ => "one unknown here",
    });
    let kinds: Vec<_> = kinds.take(8).collect();
    if kinds.is_empty() {
        return "none".to_owned();
    }
    kinds.join(", ")
}

/// What the CA says of each challenge that was lost.
async fn reasons(mut authorizations: Authorizations<'_>) -> String {
    let mut reasons = Vec::new();
    while let Some(Ok(mut one)) = authorizations.next().await {
        if one.refresh().await.is_err() {
            break;
        }
        let name = one.identifier().to_string();
        let problems = one.challenges.iter().filter_map(|one| one.error.as_ref());
        reasons.extend(problems.map(|problem| format!("{name}: {problem}")));
    }
    reasons.join("; ")
}
