//! Credentials that the operator gives to be tried: a token, cookies. They go nowhere but to those
//! authenticators that read them.

use std::io::Read;

use crate::secret::Secret;

/// Most that is read of stdin, in bytes.
const LARGEST: u64 = 64 * 1024;

/// What was given.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    /// A token.
    pub(super) token: Option<Secret<String>>,
    /// Cookies: name and value.
    pub(super) cookies: Vec<(String, Secret<String>)>,
}

impl Credentials {
    /// From the command line; `-` stands for stdin, once.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn read(
        token: Option<&str>,
        cookies: &[String],
        stdin: &mut dyn Read,
    ) -> Result<Self, String> {
        let asked = cookies.iter().map(String::as_str).chain(token);
        if asked.filter(|text| *text == "-").count() > 1 {
            return Err("`-` stands for stdin, which can be read only once".to_owned());
        }
        let mut given = |text: &str| -> Result<String, String> {
            if text != "-" {
                return Ok(text.to_owned());
            }
            let mut read = String::new();
            let took = stdin.take(LARGEST).read_to_string(&mut read);
            took.map_err(|error| format!("stdin cannot be read: {error}"))?;
            Ok(read.trim().to_owned())
        };
        let token = token.map(&mut given).transpose()?.map(Secret::new);
        let mut pairs = Vec::new();
        for text in cookies {
            let text = given(text)?;
            let pair = text
                .split_once('=')
                .map(|(name, value)| (name.trim(), value.trim()));
            let (name, value) = pair
                .filter(|(name, value)| !name.is_empty() && !value.is_empty())
                .ok_or("a cookie is given as NAME=VALUE, as it stands in the browser")?;
            pairs.push((name.to_owned(), Secret::new(value.to_owned())));
        }
        Ok(Self {
            token,
            cookies: pairs,
        })
    }

    /// Whether there is nothing to try.
    pub(super) fn is_empty(&self) -> bool {
        self.token.is_none() && self.cookies.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(token: Option<&str>, cookies: &[&str], stdin: &str) -> Result<Credentials, String> {
        let cookies: Vec<_> = cookies.iter().map(|&text| text.to_owned()).collect();
        Credentials::read(token, &cookies, &mut stdin.as_bytes())
    }

    #[test]
    fn a_cookie_is_a_name_and_a_value_and_may_come_by_stdin() {
        let given = read(Some("a.b.c"), &["-"], "sessionid=x=y\n").unwrap();
        let (name, value) = &given.cookies[0];
        assert_eq!(
            (name.as_str(), value.expose().as_str()),
            ("sessionid", "x=y")
        );
        assert!(!given.is_empty());
        assert!(!format!("{given:?}").contains("x=y"));
    }

    #[test]
    fn what_is_no_cookie_is_said_to_be_none_without_repeating_it() {
        for text in ["s3cret", "=s3cret", "sessionid="] {
            let words = read(None, &[text], "").unwrap_err();
            assert!(
                words.contains("NAME=VALUE") && !words.contains("s3cret"),
                "{words}"
            );
        }
        assert!(read(Some("-"), &["-"], "x").is_err());
    }
}
