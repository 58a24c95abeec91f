//! stub
pub(crate) mod django {
    use super::*;
    #[derive(Debug)]
    pub(crate) struct DjangoCodec;
    impl DjangoCodec {
        pub(crate) fn new(_: &[crate::secret::Secret<Vec<u8>>]) -> Self {
            Self
        }
        pub(crate) fn check_key(_: &str) -> Result<(), Denial> {
            Ok(())
        }
        pub(crate) fn read_row(&self, _: &[u8]) -> Result<Data, Denial> {
            Ok(Data::new())
        }
        pub(crate) fn read_cached(&self, _: &[u8]) -> Result<Data, Denial> {
            Ok(Data::new())
        }
        pub(crate) fn read_cookie(
            &self,
            _: &str,
            _: Duration,
            _: Timestamp,
        ) -> Result<(Data, Timestamp), Denial> {
            Ok((Data::new(), Timestamp::MAX))
        }
        pub(crate) fn signed_in(_: &Data) -> Result<String, Denial> {
            Ok(String::new())
        }
        pub(crate) fn check_user(&self, _: &Data, _: &str) -> Result<(), Denial> {
            Ok(())
        }
    }
}
pub(crate) mod flask {
    use super::*;
    #[derive(Debug)]
    pub(crate) struct FlaskCodec;
    impl FlaskCodec {
        pub(crate) fn new(_: &[crate::secret::Secret<Vec<u8>>]) -> Self {
            Self
        }
        pub(crate) fn read(
            &self,
            _: &str,
            _: Duration,
            _: Timestamp,
        ) -> Result<(Data, Timestamp), Denial> {
            Ok((Data::new(), Timestamp::MAX))
        }
    }
}
pub(crate) mod flask_session {
    use super::*;
    #[derive(Debug)]
    pub(crate) struct IdCodec;
    impl IdCodec {
        pub(crate) fn new(_: Option<&[crate::secret::Secret<Vec<u8>>]>) -> Self {
            Self
        }
        pub(crate) fn id<'a>(&self, c: &'a str) -> Result<&'a str, Denial> {
            Ok(c)
        }
    }
    pub(crate) fn read_payload(_: &[u8]) -> Result<Data, Denial> {
        Ok(Data::new())
    }
}
use crate::clock::Timestamp;
use crate::policy::denial::Denial;
use std::time::Duration;
pub(crate) type Data = serde_json::Map<String, serde_json::Value>;
pub(crate) fn identity(
    _: &Data,
    _: &crate::config::settings::SessionIdentity,
) -> Result<(String, Vec<String>, Option<String>, Option<String>), Denial> {
    Ok((String::new(), vec![], None, None))
}
pub(crate) fn password_digest(_: &str) -> String {
    String::new()
}
pub(crate) fn unexpired(
    _: crate::auth::ports::Expiry,
    _: &jiff::tz::TimeZone,
    _: Timestamp,
) -> Result<Option<Timestamp>, Denial> {
    Ok(None)
}
