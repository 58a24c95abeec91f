//! Which requests are part of signing in at an app whose tokens the gateway keeps.
//!
//! The path is that which the app sees, in any spelling: servers decode what is percent-encoded
//! before they look for a view. A request that is none of these is an ordinary one.

use std::sync::Arc;

use http::Method;
use percent_encoding::percent_decode_str;

/// The place of a token handler in the configuration, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HandlerId(pub usize);

/// The paths of one app that have to do with its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInPaths {
    /// Whose they are.
    pub handler: HandlerId,
    /// Where the app issues tokens.
    pub login: Box<str>,
    /// Where it renews them.
    pub refresh: Option<Box<str>>,
    /// Where it ends them.
    pub logout: Option<Box<str>>,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInStep {
    /// To sign in.
    Login,
    /// To renew the access token.
    Refresh,
    /// To sign out.
    Logout,
}

impl SignInPaths {
    /// Which step a request is, if it is one: `POST` to sign in and to renew, any method that
    /// changes something to sign out.
    #[must_use]
    pub fn step(&self, method: &Method, path: &str) -> Option<SignInStep> {
        let path = percent_decode_str(path).decode_utf8_lossy();
        let is = |wanted: &Option<Box<str>>| wanted.as_deref() == Some(&*path);
        if *method == Method::POST {
            if *self.login == *path {
                return Some(SignInStep::Login);
            }
            if is(&self.refresh) {
                return Some(SignInStep::Refresh);
            }
        }
        let changes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method);
        (changes && is(&self.logout)).then_some(SignInStep::Logout)
    }
}

/// A step of signing in at an OpenID provider, each at a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderStep {
    /// To the provider.
    Login,
    /// Back from it, with what it says.
    Callback,
    /// Out, here and at the provider.
    Logout,
    /// The provider itself says that someone signed out (OpenID Connect Back-Channel Logout 1.0).
    BackChannelLogout,
}

/// The path of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderDoor {
    /// Whose sign-in it is.
    pub handler: HandlerId,
    /// Which step.
    pub step: ProviderStep,
    /// `auth.NAME`, for people.
    pub name: Arc<str>,
}

impl ProviderStep {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Login,
        Self::Callback,
        Self::Logout,
        Self::BackChannelLogout,
    ];

    /// The last segment of its path.
    #[must_use]
    pub const fn segment(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Callback => "callback",
            Self::Logout => "logout",
            Self::BackChannelLogout => "back-channel-logout",
        }
    }

    /// The methods that it takes. `GET` includes `HEAD`.
    #[must_use]
    pub fn methods(self) -> &'static [Method] {
        match self {
            Self::Login | Self::Callback => &[Method::GET],
            Self::Logout => &[Method::GET, Method::POST],
            Self::BackChannelLogout => &[Method::POST],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(method: &Method, path: &str) -> Option<SignInStep> {
        let paths = SignInPaths {
            handler: HandlerId(0),
            login: "/login/".into(),
            refresh: Some("/refresh/".into()),
            logout: Some("/logout/".into()),
        };
        paths.step(method, path)
    }

    #[test]
    fn each_step_has_its_path_and_method() {
        assert_eq!(step(&Method::POST, "/login/"), Some(SignInStep::Login));
        assert_eq!(step(&Method::POST, "/refresh/"), Some(SignInStep::Refresh));
        assert_eq!(step(&Method::POST, "/logout/"), Some(SignInStep::Logout));
        assert_eq!(step(&Method::DELETE, "/logout/"), Some(SignInStep::Logout));
    }

    #[test]
    fn each_step_is_known_in_every_spelling() {
        assert_eq!(step(&Method::POST, "/%6Cogin/"), Some(SignInStep::Login));
        assert_eq!(
            step(&Method::POST, "/refresh%2f"),
            Some(SignInStep::Refresh)
        );
        assert_eq!(step(&Method::PUT, "/logou%74/"), Some(SignInStep::Logout));
        assert_eq!(step(&Method::POST, "/%256Cogin/"), None);
    }

    #[test]
    fn what_is_read_or_stands_beside_is_an_ordinary_request() {
        assert_eq!(step(&Method::GET, "/login/"), None);
        assert_eq!(step(&Method::OPTIONS, "/logout/"), None);
        assert_eq!(step(&Method::GET, "/logout/"), None);
        assert_eq!(step(&Method::POST, "/login"), None);
        assert_eq!(step(&Method::POST, "/login/x"), None);
    }
}
