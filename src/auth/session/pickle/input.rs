//! The bytes of a pickle: fixed lengths, declared lengths, lines.

use crate::auth::session::pickle::Flaw;

const ENDED: Flaw = Flaw::Broken("it ends too early");

/// What is left to read.
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Flaw> {
        self.fixed().map(|[byte]| byte)
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(ENDED)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// As many bytes as were declared, if they are there.
    pub(super) fn declared(&mut self, length: u64) -> Result<&'a [u8], Flaw> {
        let length = usize::try_from(length).map_err(|_why| ENDED)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(ENDED)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Whether as many bytes are there.
    pub(super) fn holds(&self, length: u64) -> bool {
        usize::try_from(length).is_ok_and(|length| length <= self.rest.len())
    }

    pub(super) fn length1(&mut self) -> Result<&'a [u8], Flaw> {
        let length = self.byte()?;
        self.declared(length.into())
    }

    pub(super) fn length4(&mut self) -> Result<&'a [u8], Flaw> {
        let length = u32::from_le_bytes(self.fixed()?);
        self.declared(length.into())
    }

    pub(super) fn length8(&mut self) -> Result<&'a [u8], Flaw> {
        let length = u64::from_le_bytes(self.fixed()?);
        self.declared(length)
    }

    /// Up to the end of the line, without it.
    pub(super) fn line(&mut self) -> Result<&'a [u8], Flaw> {
        let end = memchr::memchr(b'\n', self.rest).ok_or(ENDED)?;
        let (line, rest) = self.rest.split_at_checked(end).ok_or(ENDED)?;
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(line)
    }
}
