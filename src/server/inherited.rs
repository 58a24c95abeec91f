//! Listening sockets that were open before this process: the service manager's (systemd's socket
//! activation) or those of the process that this one takes over from.
//!
//! Which socket serves which address of `[server]` is decided by a pure function, [`assign`]. What
//! fits nowhere is said, and so is a door that has to be opened here.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use socket2::{Socket, Type};

use super::Door;
use crate::config::{Environment, ProcessEnvironment};

/// The variable in which the service manager names its sockets, separated by colons.
const NAMES: &str = "LISTEN_FDNAMES";

/// Who opened the sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Giver {
    /// Nobody: every door is opened here.
    #[default]
    Nobody,
    /// systemd, or what plays its part. A socket's name may say which door it is.
    Manager,
    /// The process that hands over to this one.
    Predecessor,
}

/// A listening TCP socket that someone else opened.
#[derive(Debug)]
pub struct Given {
    name: String,
    listener: TcpListener,
    place: Place,
}

/// Where a socket listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    address: SocketAddr,
    /// Whether a socket on an IPv6 address takes no IPv4.
    only_v6: bool,
}

impl Given {
    /// Takes over a descriptor.
    ///
    /// # Errors
    ///
    /// Where it is no TCP socket that listens.
    pub fn new(name: &str, descriptor: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(descriptor);
        let unfit = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        if socket.r#type()? != Type::STREAM {
            return Err(unfit("it is no stream socket; write ListenStream="));
        }
        let Some(address) = socket.local_addr()?.as_socket() else {
            return Err(unfit("it is no TCP socket; the doors are TCP addresses"));
        };
        if !socket.is_listener()? {
            return Err(unfit("it does not listen; write Accept=no"));
        }
        socket.set_nonblocking(true)?;
        let only_v6 = address.is_ipv6() && socket.only_v6()?;
        Ok(Self {
            name: name.to_owned(),
            listener: socket.into(),
            place: Place { address, only_v6 },
        })
    }

    /// What its giver calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.place.address
    }
}

/// A socket that was passed and cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error("the service manager's socket {number} ({name:?}) cannot be used: {cause}")]
pub struct Unfit {
    number: usize,
    name: String,
    cause: io::Error,
}

/// What this process was given.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// By whom.
    pub giver: Giver,
    /// The sockets.
    pub sockets: Vec<Given>,
}

impl Inheritance {
    /// What the service manager passes: `LISTEN_FDS` and `LISTEN_PID`, names in `LISTEN_FDNAMES`.
    /// To be called once, before there are other threads: the variables are taken out, so that
    /// nothing that this process starts believes that they are meant for it.
    ///
    /// # Errors
    ///
    /// The first that is no TCP socket that listens.
    pub fn from_manager() -> Result<Self, Unfit> {
        let names = ProcessEnvironment.variable(NAMES).unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let mut names = names.split(':');
        let mut sockets = Vec::with_capacity(passed.len());
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            let unfit = |cause| Unfit {
                number: index + 1,
                name: name.to_owned(),
                cause,
            };
            if let Some(listener) = passed.take_tcp_listener(index).map_err(unfit)? {
                sockets.push(Given::new(name, listener.into()).map_err(unfit)?);
            }
        }
        let giver = if sockets.is_empty() {
            Giver::Nobody
        } else {
            Giver::Manager
        };
        Ok(Self { giver, sockets })
    }

    /// The socket for each of the doors, in their order, and those that fit none.
    pub(super) fn share_out(
        self,
        doors: &[(Door, SocketAddr)],
    ) -> (Vec<Option<TcpListener>>, Vec<Given>) {
        let offers: Vec<_> = (self.sockets.iter())
            .map(|given| (given.name.as_str(), given.place))
            .collect();
        let seats = assign(&offers, doors, self.giver == Giver::Manager);
        let mut found: Vec<_> = doors.iter().map(|_| None).collect();
        let mut left = Vec::new();
        for (given, seat) in self.sockets.into_iter().zip(seats) {
            match seat.and_then(|seat| found.get_mut(seat)) {
                Some(place) => *place = Some(given.listener),
                None => left.push(given),
            }
        }
        (found, left)
    }
}

/// Which door each socket serves. The same address wins, then one that comes to the same (port 0, an
/// IPv6 wildcard that takes IPv4 too), then, where `names_decide`, the name of a door alone. A
/// socket with the name of a door serves no other.
fn assign(
    offers: &[(&str, Place)],
    doors: &[(Door, SocketAddr)],
    names_decide: bool,
) -> Vec<Option<usize>> {
    let same: fn(&str, Place, (Door, SocketAddr)) -> bool =
        |_, place, (_, wanted)| place.address == wanted;
    let alike: fn(&str, Place, (Door, SocketAddr)) -> bool =
        |_, place, (_, wanted)| comes_to(place, wanted);
    let named: fn(&str, Place, (Door, SocketAddr)) -> bool =
        |name, _, (door, _)| name == door.as_str();
    let mut seats: Vec<Option<usize>> = vec![None; offers.len()];
    let passes = [same, alike, named];
    for fits in passes.iter().take(if names_decide { 3 } else { 2 }) {
        for (number, (name, place)) in offers.iter().enumerate() {
            if seats.get(number).is_none_or(Option::is_some) {
                continue;
            }
            let free = doors.iter().enumerate().find(|(seat, door)| {
                !seats.contains(&Some(*seat)) && may(name, door.0) && fits(name, *place, **door)
            });
            if let (Some((seat, _)), Some(place)) = (free, seats.get_mut(number)) {
                *place = Some(seat);
            }
        }
    }
    seats
}

/// Whether a socket of this name may serve the door.
fn may(name: &str, door: Door) -> bool {
    name == door.as_str() || !Door::ALL.iter().any(|door| door.as_str() == name)
}

fn comes_to(place: Place, wanted: SocketAddr) -> bool {
    let address = place.address;
    if wanted.port() == 0 {
        return address.ip() == wanted.ip();
    }
    let takes_both =
        matches!(address.ip(), IpAddr::V6(ip) if ip.is_unspecified()) && !place.only_v6;
    takes_both && wanted.ip().is_unspecified() && address.port() == wanted.port()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer<'n>(name: &'n str, address: &str) -> (&'n str, Place) {
        let address = address.parse().unwrap();
        let only_v6 = false;
        (name, Place { address, only_v6 })
    }

    fn doors() -> Vec<(Door, SocketAddr)> {
        [
            (Door::Https, "0.0.0.0:443"),
            (Door::Https, "10.0.0.1:8443"),
            (Door::Http, "0.0.0.0:80"),
            (Door::Admin, "127.0.0.1:9090"),
        ]
        .map(|(door, address)| (door, address.parse().unwrap()))
        .to_vec()
    }

    #[test]
    fn a_socket_serves_the_door_of_its_address_whatever_it_is_called() {
        let offers = [
            offer("portcullis.socket", "127.0.0.1:9090"),
            offer("", "0.0.0.0:443"),
            offer("unknown", "10.0.0.1:8443"),
        ];
        let seats = assign(&offers, &doors(), true);
        assert_eq!(seats, [Some(3), Some(0), Some(1)]);
    }

    #[test]
    fn a_wildcard_that_takes_both_families_serves_the_door_of_ipv4() {
        let offers = [offer("", "[::]:443"), offer("", "[::]:80")];
        assert_eq!(assign(&offers, &doors(), true), [Some(0), Some(2)]);
        let mut alone = offer("", "[::]:443");
        alone.1.only_v6 = true;
        assert_eq!(assign(&[alone], &doors(), true), [None]);
    }

    #[test]
    fn the_name_of_a_door_decides_where_no_address_does_and_only_for_a_service_manager() {
        let offers = [
            offer("https", "192.0.2.7:443"),
            offer("https", "0.0.0.0:443"),
            offer("admin", "192.0.2.7:9090"),
        ];
        let named = assign(&offers, &doors(), true);
        assert_eq!(named, [Some(1), Some(0), Some(3)]);
        assert_eq!(assign(&offers, &doors(), false), [None, Some(0), None]);
    }

    #[test]
    fn a_socket_with_the_name_of_a_door_serves_no_other() {
        let offers = [offer("http", "0.0.0.0:443"), offer("http", "0.0.0.0:81")];
        assert_eq!(assign(&offers, &doors(), true), [Some(2), None]);
    }

    #[test]
    fn no_door_is_served_twice_and_what_fits_none_is_left() {
        let offers = [
            offer("", "0.0.0.0:80"),
            offer("", "0.0.0.0:80"),
            offer("", "192.0.2.7:1"),
        ];
        assert_eq!(assign(&offers, &doors(), true), [Some(2), None, None]);
    }

    #[test]
    fn what_is_no_listening_tcp_socket_is_refused_in_words() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let error = Given::new("https", one.into()).unwrap_err();
        assert!(error.to_string().contains("no TCP socket"), "{error}");
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = Given::new("https", datagrams.into()).unwrap_err();
        assert!(error.to_string().contains("no stream socket"), "{error}");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connected = std::net::TcpStream::connect(address).unwrap();
        let error = Given::new("https", connected.into()).unwrap_err();
        assert!(error.to_string().contains("does not listen"), "{error}");
        let given = Given::new("https", listener.into()).unwrap();
        assert_eq!((given.name(), given.address()), ("https", address));
    }
}
