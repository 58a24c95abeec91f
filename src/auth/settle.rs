//! Waiting for what a verdict hangs on: keys, a hash, a store, the app, a directory.

use std::borrow::Cow;
use std::sync::Arc;

use crate::auth::answer::{Answer, Pending, checked_token, concluded, held};
use crate::auth::ask::Carried;
use crate::auth::attempt::Request;
use crate::auth::authenticators::{Authenticators, Kind, Reader};
use crate::auth::gateway_session::Reads;
use crate::auth::question::Question;
use crate::auth::verdicts::VerdictKey;
use crate::clock::Timestamp;

impl Authenticators {
    /// Waits until an answer is none that waits.
    pub(super) async fn settle<'a, 'r>(
        &self,
        reader: &'a Arc<Reader>,
        answer: Answer<'a, 'r>,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Answer<'a, 'r> {
        let first = match answer {
            Answer::Waits(pending) => self.wait(reader, pending, request, now).await,
            settled @ (Answer::Absent | Answer::Valid(_) | Answer::Refused(..)) => return settled,
        };
        // A key or a hash may have come, and then the user is still to be looked up.
        match first {
            Answer::Waits(pending) => self.wait(reader, pending, request, now).await,
            settled @ (Answer::Absent | Answer::Valid(_) | Answer::Refused(..)) => settled,
        }
    }

    async fn wait<'a, 'r>(
        &self,
        reader: &'a Arc<Reader>,
        pending: Pending<'a, 'r>,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Answer<'a, 'r> {
        let settled = match (&reader.kind, pending) {
            (
                Kind::Token(token),
                Pending::Key {
                    source,
                    token: text,
                    lack,
                },
            ) => {
                let waited = token.wait(&text, lack, self.verdicts(), self.names(), now);
                let checked = waited.await;
                checked_token(token, checked, source, Cow::Borrowed(""), request)
            }
            (Kind::Basic(basic), Pending::Hash(credential)) => {
                let verified = basic.verify(&credential, self.verdicts(), self.names(), now);
                match verified.await {
                    Ok(caller) => held(caller, None, false),
                    Err(denial) => Answer::Refused(denial, None),
                }
            }
            (_, Pending::Session { source, shown, key }) => {
                let question = self.question(reader, key, now);
                let carried = Carried::credentials(request);
                let shown = shown.into_owned();
                let looked_up = self
                    .flights()
                    .join(key, move || question.about_session(shown, carried));
                return concluded(looked_up.await, source);
            }
            (Kind::Gateway(gateway), Pending::Own { source, id, key }) => {
                let jwt = match &gateway.reads {
                    Reads::Token(id) => self.readers().get(id.0).cloned(),
                    Reads::Claims(_) => None,
                };
                let question = self.question(reader, key, now);
                let carried = Carried::credentials(request);
                let looked_up = self
                    .flights()
                    .join(key, move || question.of_own_session(id, jwt, carried));
                return concluded(looked_up.await, Some(source));
            }
            (_, Pending::App { carried, key }) => {
                let question = self.question(reader, key, now);
                let looked_up = self.flights().join(key, move || question.of_app(carried));
                return concluded(looked_up.await, None);
            }
            (_, Pending::User { held, key }) => {
                let question = self.question(reader, key, now);
                let carried = Carried::credentials(request);
                let looked_up = self
                    .flights()
                    .join(key, move || question.about_user(held.caller, carried));
                return concluded(looked_up.await, held.source);
            }
            (
                Kind::Token(_)
                | Kind::ApiKey(_)
                | Kind::Basic(_)
                | Kind::Certificate(_)
                | Kind::Session(_)
                | Kind::Gateway(_)
                | Kind::Forward(_),
                Pending::Key { .. } | Pending::Hash(_) | Pending::Own { .. },
            ) => Answer::Absent,
        };
        match settled {
            Answer::Valid(held) => self.with_user(reader, held, request, now),
            Answer::Absent | Answer::Refused(..) | Answer::Waits(_) => settled,
        }
    }

    fn question(&self, reader: &Arc<Reader>, key: VerdictKey, now: Timestamp) -> Question {
        Question {
            reader: Arc::clone(reader),
            names: Arc::clone(self.names()),
            verdicts: Arc::clone(self.verdicts()),
            key,
            now,
        }
    }
}
