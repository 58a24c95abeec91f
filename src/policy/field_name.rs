//! Reads the name of a header line. The usual ones are known at sight, in the spellings that clients
//! and apps send; so they cost neither a search nor room.

use http::header::{self, HeaderName, InvalidHeaderName};

/// The name in these bytes.
///
/// # Errors
///
/// Where they are no token (RFC 9110 §5.1).
pub fn read(name: &[u8]) -> Result<HeaderName, InvalidHeaderName> {
    usual(name).map_or_else(|| HeaderName::from_bytes(name), Ok)
}

macro_rules! usual {
    ($($spelt:literal | $small:literal => $name:ident,)*
     else $($other:literal | $other_small:literal => $own:ident($text:literal),)*) => {
        $(static $own: HeaderName = HeaderName::from_static($text);)*

        fn usual(name: &[u8]) -> Option<HeaderName> {
            Some(match name {
                $($spelt | $small => header::$name,)*
                $($other | $other_small => $own.clone(),)*
                _ => return None,
            })
        }

        #[cfg(test)]
        const SPELLINGS: &[&[u8]] = &[$($spelt, $small,)* $($other, $other_small,)*];
    };
}

usual! {
    b"Accept" | b"accept" => ACCEPT,
    b"Accept-Encoding" | b"accept-encoding" => ACCEPT_ENCODING,
    b"Accept-Language" | b"accept-language" => ACCEPT_LANGUAGE,
    b"Accept-Ranges" | b"accept-ranges" => ACCEPT_RANGES,
    b"Allow" | b"allow" => ALLOW,
    b"Authorization" | b"authorization" => AUTHORIZATION,
    b"Cache-Control" | b"cache-control" => CACHE_CONTROL,
    b"Connection" | b"connection" => CONNECTION,
    b"Content-Encoding" | b"content-encoding" => CONTENT_ENCODING,
    b"Content-Length" | b"content-length" => CONTENT_LENGTH,
    b"Content-Type" | b"content-type" => CONTENT_TYPE,
    b"Cookie" | b"cookie" => COOKIE,
    b"Date" | b"date" => DATE,
    b"ETag" | b"etag" => ETAG,
    b"Expires" | b"expires" => EXPIRES,
    b"Host" | b"host" => HOST,
    b"If-Modified-Since" | b"if-modified-since" => IF_MODIFIED_SINCE,
    b"If-None-Match" | b"if-none-match" => IF_NONE_MATCH,
    b"Last-Modified" | b"last-modified" => LAST_MODIFIED,
    b"Location" | b"location" => LOCATION,
    b"Origin" | b"origin" => ORIGIN,
    b"Pragma" | b"pragma" => PRAGMA,
    b"Referer" | b"referer" => REFERER,
    b"Referrer-Policy" | b"referrer-policy" => REFERRER_POLICY,
    b"Server" | b"server" => SERVER,
    b"Set-Cookie" | b"set-cookie" => SET_COOKIE,
    b"Transfer-Encoding" | b"transfer-encoding" => TRANSFER_ENCODING,
    b"User-Agent" | b"user-agent" => USER_AGENT,
    b"Vary" | b"vary" => VARY,
    b"X-Content-Type-Options" | b"x-content-type-options" => X_CONTENT_TYPE_OPTIONS,
    b"X-Frame-Options" | b"x-frame-options" => X_FRAME_OPTIONS,
    else
    b"Cross-Origin-Opener-Policy" | b"cross-origin-opener-policy" => OPENER_POLICY("cross-origin-opener-policy"),
    b"Priority" | b"priority" => PRIORITY("priority"),
    b"Sec-Fetch-Dest" | b"sec-fetch-dest" => FETCH_DEST("sec-fetch-dest"),
    b"Sec-Fetch-Mode" | b"sec-fetch-mode" => FETCH_MODE("sec-fetch-mode"),
    b"Sec-Fetch-Site" | b"sec-fetch-site" => FETCH_SITE("sec-fetch-site"),
    b"Sec-Fetch-User" | b"sec-fetch-user" => FETCH_USER("sec-fetch-user"),
    b"X-CSRFToken" | b"x-csrftoken" => CSRF_TOKEN("x-csrftoken"),
    b"X-Forwarded-For" | b"x-forwarded-for" => FORWARDED_FOR("x-forwarded-for"),
    b"X-Forwarded-Host" | b"x-forwarded-host" => FORWARDED_HOST("x-forwarded-host"),
    b"X-Forwarded-Proto" | b"x-forwarded-proto" => FORWARDED_PROTO("x-forwarded-proto"),
    b"X-Request-ID" | b"x-request-id" => REQUEST_ID("x-request-id"),
    b"X-Requested-With" | b"x-requested-with" => REQUESTED_WITH("x-requested-with"),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_known_at_sight_is_what_it_would_be_read_as() {
        for spelling in SPELLINGS {
            assert_eq!(usual(spelling), HeaderName::from_bytes(spelling).ok());
        }
    }

    proptest! {
        #[test]
        fn any_spelling_is_read_as_the_same_name(
            which in 0..SPELLINGS.len(), large in any::<u64>(), tail in prop::collection::vec(any::<u8>(), 0..3),
        ) {
            let spelling = SPELLINGS.get(which).copied().unwrap_or_default().iter().enumerate();
            let mut name: Vec<u8> = spelling
                .map(|(at, byte)| {
                    if large >> (at % 64) & 1 == 1 { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() }
                })
                .collect();
            name.extend(tail);
            prop_assert_eq!(read(&name).ok(), HeaderName::from_bytes(&name).ok());
        }
    }
}
