//! Every way in which the bytes of a connection can fail to be one clear HTTP/1 request.

use crate::policy::denial::{Code, Denial};

/// Why the bytes of a connection are not handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// The first byte is that of a TLS record.
    TlsHello,
    /// The HTTP/2 preface (RFC 9113 §3.4).
    Http2Preface,
    /// More than one empty line before the request line (RFC 9112 §2.2 allows one).
    EmptyLines,
    /// LF without CR before it.
    BareLf,
    /// CR without LF behind it.
    BareCr,
    /// The request line is not `METHOD SP target SP HTTP/1.x`.
    RequestLine,
    /// No version behind the target (HTTP/0.9).
    NoVersion,
    /// A version other than 1.0 and 1.1.
    Version,
    /// A byte outside printable ASCII in the target.
    TargetByte,
    /// `#` in the target.
    TargetFragment,
    /// A raw `\` in the target's path.
    TargetBackslash,
    /// The target is none of the four forms of RFC 9112 §3.2, or not the one for its method.
    TargetForm,
    /// A field line without a colon.
    NoColon,
    /// A field line that begins with a blank (obs-fold, RFC 9112 §5.2).
    ObsFold,
    /// Nothing before the colon.
    EmptyName,
    /// A blank before the colon (RFC 9112 §5.1).
    BlankBeforeColon,
    /// A byte in a field name that is not of a token.
    NameByte,
    /// A field name over 256 bytes.
    NameTooLong,
    /// NUL in a field value.
    Nul,
    /// Another control character in a field value.
    Control,
    /// HTTP/1.1 without Host.
    HostMissing,
    /// More than one Host.
    HostTwice,
    /// Both Content-Length and Transfer-Encoding.
    BothLengths,
    /// More than one Content-Length, equal or not, in one line or several.
    LengthTwice,
    /// A Content-Length that is not plain digits.
    LengthInvalid,
    /// A Content-Length over 2^63-1.
    LengthTooLarge,
    /// More than one Transfer-Encoding.
    CodingTwice,
    /// A Transfer-Encoding that is not exactly `chunked`.
    CodingInvalid,
    /// Transfer-Encoding in HTTP/1.0.
    CodingInHttp10,
    /// A request for a WebSocket that has a body.
    UpgradeWithBody,
    /// A chunk size that is not one to sixteen hexadecimal digits.
    ChunkSize,
    /// A chunk extension that is too long or holds a control character.
    ChunkExtension,
    /// Something other than CRLF at the end of a chunk.
    ChunkEnd,
    /// The request line is over its limit.
    RequestLineTooLong,
    /// The head is over its limit.
    HeadTooLarge,
    /// More field lines than allowed.
    TooManyFields,
    /// The trailers are over their limit.
    TrailersTooLarge,
    /// The head did not come in time.
    HeadTimeout,
}

impl Violation {
    /// The stable code of the answer.
    #[must_use]
    pub const fn code(self) -> Code {
        self.told().0
    }

    /// What the client may read.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        self.told().1
    }

    /// The refusal; it always closes the connection, for what follows on it cannot be told apart.
    #[must_use]
    pub fn denial(self) -> Denial {
        let denial = Denial::new(self.code(), self.detail()).closing();
        match self.setting() {
            Some(setting) => denial.note(setting),
            None => denial,
        }
    }

    fn setting(self) -> Option<&'static str> {
        [
            (
                Self::RequestLineTooLong,
                "the limit is [server.limits] request_line",
            ),
            (Self::HeadTooLarge, "the limit is [server.limits] headers"),
            (
                Self::TooManyFields,
                "the limit is [server.limits] header_count",
            ),
            (
                Self::HeadTimeout,
                "the limit is [server.timeouts] request_headers",
            ),
            (
                Self::TlsHello,
                "an https client speaks to an address without TLS",
            ),
        ]
        .into_iter()
        .find_map(|(violation, note)| (violation == self).then_some(note))
    }

    const fn told(self) -> (Code, &'static str) {
        use Code::{AmbiguousPath, BadRequest, HeadersTooLarge, RequestTimeout, TargetTooLong};
        match self {
            Self::TlsHello => (BadRequest, "TLS was spoken where HTTP/1 was expected"),
            Self::Http2Preface => (BadRequest, "HTTP/2 was spoken where HTTP/1 was expected"),
            Self::EmptyLines => (BadRequest, "more than one empty line before the request"),
            Self::BareLf => (BadRequest, "a line ends with LF alone; CR LF is required"),
            Self::BareCr => (BadRequest, "a CR is not followed by LF"),
            Self::RequestLine => (
                BadRequest,
                "the request line is not a method, one blank, a target, one blank and a version",
            ),
            Self::NoVersion => (BadRequest, "the request line has no HTTP version"),
            Self::Version => (BadRequest, "the HTTP version is neither 1.0 nor 1.1"),
            Self::TargetByte => (
                BadRequest,
                "the target holds a byte outside printable ASCII; percent-encode it",
            ),
            Self::TargetFragment => (BadRequest, "the target holds a fragment (#)"),
            Self::TargetBackslash => (AmbiguousPath, "the path holds a backslash"),
            Self::TargetForm => (BadRequest, "the target is not one that the method can have"),
            Self::NoColon => (BadRequest, "a header line has no colon"),
            Self::ObsFold => (BadRequest, "a header line begins with a blank (obs-fold)"),
            Self::EmptyName => (BadRequest, "a header has no name"),
            Self::BlankBeforeColon => (BadRequest, "a blank stands before a header's colon"),
            Self::NameByte => (
                BadRequest,
                "a header's name holds a byte that is not allowed",
            ),
            Self::NameTooLong => (BadRequest, "a header's name is longer than 256 bytes"),
            Self::Nul => (BadRequest, "a header's value holds a NUL"),
            Self::Control => (BadRequest, "a header's value holds a control character"),
            Self::HostMissing => (BadRequest, "the Host header is missing"),
            Self::HostTwice => (BadRequest, "the Host header is there more than once"),
            Self::BothLengths => (
                BadRequest,
                "both Content-Length and Transfer-Encoding are there",
            ),
            Self::LengthTwice => (BadRequest, "Content-Length is there more than once"),
            Self::LengthInvalid => (BadRequest, "Content-Length is not plain digits"),
            Self::LengthTooLarge => (BadRequest, "Content-Length is too large a number"),
            Self::CodingTwice => (BadRequest, "Transfer-Encoding is there more than once"),
            Self::CodingInvalid => (BadRequest, "Transfer-Encoding is not exactly `chunked`"),
            Self::CodingInHttp10 => (BadRequest, "HTTP/1.0 has no Transfer-Encoding"),
            Self::UpgradeWithBody => (BadRequest, "a request for a WebSocket has no body"),
            Self::ChunkSize => (
                BadRequest,
                "a chunk's size is not one to sixteen hexadecimal digits",
            ),
            Self::ChunkExtension => (
                BadRequest,
                "a chunk extension is too long or holds a control character",
            ),
            Self::ChunkEnd => (
                BadRequest,
                "a chunk does not end with CR LF where it should",
            ),
            Self::RequestLineTooLong => (TargetTooLong, "the request line is too long"),
            Self::HeadTooLarge => (HeadersTooLarge, "the headers are too large"),
            Self::TooManyFields => (HeadersTooLarge, "there are too many headers"),
            Self::TrailersTooLarge => (HeadersTooLarge, "the trailers are too large"),
            Self::HeadTimeout => (RequestTimeout, "the headers did not come in time"),
        }
    }
}
