//! The close frames that the gateway makes itself (RFC 6455 §5.5.1), and when it makes one instead
//! of a status.
//!
//! A browser tells its page nothing of a refused handshake but 1006. So its handshake is taken, and
//! the socket closed at once with a number of its own range (RFC 6455 §7.4.2) and the code as text.

use http::StatusCode;

use crate::policy::denial::Code;

/// Largest payload of a control frame in bytes (RFC 6455 §5.5).
const MAX_PAYLOAD: usize = 125;
/// The byte of a close frame that is whole: `FIN` and opcode 8.
const CLOSE: u8 = 0x88;
/// The bit beside the length that says that the payload is masked.
const MASKED: u8 = 0x80;

/// How a refused handshake is told (`websocket.refuse`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refuse {
    /// By a close code to a browser, which names its `Origin`; by the status to others.
    #[default]
    Auto,
    /// By a close code to everyone.
    Close,
    /// By the status to everyone.
    Status,
}

impl Refuse {
    /// How the refusal of a handshake is told: `Some` by this close frame, `None` by its status.
    #[must_use]
    pub fn told(self, code: Code, has_origin: bool) -> Option<Ending> {
        match self {
            Self::Auto if has_origin => Ending::refusal(code),
            Self::Close => Ending::refusal(code),
            Self::Auto | Self::Status => None,
        }
    }
}

/// Why a socket is closed: what its close frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    number: u16,
    text: &'static str,
}

impl Ending {
    /// No byte came for so long (1001, going away).
    pub const IDLE: Self = Self {
        number: 1001,
        text: "idle",
    };
    /// The gateway stops (1001, going away).
    pub const DRAINING: Self = Self {
        number: 1001,
        text: Code::Draining.as_str(),
    };

    /// How a refusal is told by a close frame. `None` for one that no browser's page can cause or
    /// cure, such as a handshake that is not well formed: it keeps its status.
    #[must_use]
    pub fn refusal(code: Code) -> Option<Self> {
        let number = match code.status() {
            StatusCode::UNAUTHORIZED => 4401,
            StatusCode::FORBIDDEN => 4403,
            StatusCode::TOO_MANY_REQUESTS => 4429,
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => 4502,
            StatusCode::SERVICE_UNAVAILABLE => 4503,
            _ => return None,
        };
        let text = code.as_str();
        Some(Self { number, text })
    }

    /// The identity of an open socket has ended, for this reason (4401).
    #[must_use]
    pub const fn identity(code: Code) -> Self {
        Self {
            number: 4401,
            text: code.as_str(),
        }
    }

    /// The number of the close frame.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.number
    }

    /// Its text.
    #[must_use]
    pub const fn text(self) -> &'static str {
        self.text
    }

    /// The frame as a server sends it, or with a `mask`, drawn at random for this frame, as a
    /// client does (RFC 6455 §5.3).
    #[must_use]
    pub fn frame(self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let number = self.number.to_be_bytes();
        let payload = number.iter().chain(self.text.as_bytes());
        let payload = payload.copied().take(MAX_PAYLOAD);
        let size = (number.len() + self.text.len()).min(MAX_PAYLOAD);
        let size = u8::try_from(size).unwrap_or(0);
        let Some(mask) = mask else {
            return [CLOSE, size].into_iter().chain(payload).collect();
        };
        let masked = payload.zip(mask.into_iter().cycle());
        let masked = masked.map(|(byte, mask)| byte ^ mask);
        let head = [CLOSE, MASKED | size].into_iter().chain(mask);
        head.chain(masked).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_number_of_its_status_and_its_code_as_text() {
        let number = |code| Ending::refusal(code).map(Ending::number);
        assert_eq!(number(Code::CredentialsMissing), Some(4401));
        assert_eq!(number(Code::TokenClaim), Some(4401));
        assert_eq!(number(Code::RoleMissing), Some(4403));
        assert_eq!(number(Code::OriginNotAllowed), Some(4403));
        assert_eq!(number(Code::RateLimited), Some(4429));
        assert_eq!(number(Code::UpstreamUnreachable), Some(4502));
        assert_eq!(number(Code::UpstreamTimeout), Some(4502));
        assert_eq!(number(Code::AuthUnavailable), Some(4503));
        assert_eq!(number(Code::UpstreamBusy), Some(4503));
        assert_eq!(number(Code::BadRequest), None);
        assert_eq!(number(Code::NoRoute), None);
        assert_eq!(number(Code::Misdirected), None);
        for code in Code::ALL {
            if let Some(ending) = Ending::refusal(*code) {
                assert_eq!(ending.text(), code.as_str());
                assert!(ending.frame(None).len() <= 2 + MAX_PAYLOAD);
            }
        }
    }

    #[test]
    fn a_browser_gets_a_close_code_and_others_the_status_unless_the_route_says_otherwise() {
        let told = |refuse: Refuse, origin| refuse.told(Code::TokenExpired, origin).is_some();
        assert!(told(Refuse::Auto, true) && !told(Refuse::Auto, false));
        assert!(told(Refuse::Close, true) && told(Refuse::Close, false));
        assert!(!told(Refuse::Status, true) && !told(Refuse::Status, false));
        assert_eq!(Refuse::Close.told(Code::BadRequest, true), None);
    }

    #[test]
    fn a_frame_of_a_server_is_not_masked_and_one_of_a_client_is() {
        let plain = Ending::IDLE.frame(None);
        assert_eq!(plain, b"\x88\x06\x03\xe9idle");
        let masked = Ending::IDLE.frame(Some([1, 2, 3, 4]));
        assert_eq!(masked.get(..6).unwrap(), b"\x88\x86\x01\x02\x03\x04");
        let open = masked.iter().skip(6).zip([1, 2, 3, 4].iter().cycle());
        let open: Vec<_> = open.map(|(byte, mask)| byte ^ mask).collect();
        assert_eq!(open, b"\x03\xe9idle");
    }
}
