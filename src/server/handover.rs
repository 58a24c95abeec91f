//! Listening sockets on their way from one process to the next, over a Unix socket that only the
//! two have (`SCM_RIGHTS`). The next process gets the very same sockets, so that no connection that
//! waits in one of them is lost when the old process closes its own copies.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::Door;
use super::inherited::Given;

/// One message: a door's name, filled up with zeros.
type Frame = [u8; 16];

/// Both sides say first which form of the messages they speak.
const HELLO: &[u8] = b"portcullis/1";
/// Most sockets that are taken: more than any configuration has addresses.
const MOST: usize = 1024;

/// Sends copies of the doors' sockets. Blocks no longer than the channel's timeout.
///
/// # Errors
///
/// What the system said; the other process may have ended.
pub fn give(channel: &UnixStream, doors: &[(Door, OwnedFd)]) -> io::Result<()> {
    send(channel, HELLO, None)?;
    for (door, socket) in doors {
        send(channel, door.as_str().as_bytes(), Some(socket))?;
    }
    send(channel, b"", None)
}

/// Takes what [`give`] sends. Blocks no longer than the channel's timeout for each.
///
/// # Errors
///
/// What the system said, or that the other process speaks another form.
pub fn take(channel: &UnixStream) -> io::Result<Vec<Given>> {
    let (hello, _) = receive(channel)?;
    if hello != HELLO {
        return Err(odd("it hands over in another form"));
    }
    let mut sockets = Vec::new();
    while sockets.len() < MOST {
        let (name, socket) = receive(channel)?;
        match socket {
            Some(socket) => sockets.push(Given::new(&String::from_utf8_lossy(&name), socket)?),
            None if name.is_empty() => return Ok(sockets),
            None => return Err(odd("a door came without its socket")),
        }
    }
    Err(odd("there is no end of sockets"))
}

fn send(channel: &UnixStream, name: &[u8], socket: Option<&OwnedFd>) -> io::Result<()> {
    let mut frame = Frame::default();
    for (to, from) in frame.iter_mut().zip(name) {
        *to = *from;
    }
    let sockets: Vec<_> = socket.iter().map(|socket| socket.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(odd("a socket does not fit into a message"));
    }
    let sent = sendmsg(
        channel,
        &[IoSlice::new(&frame)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    if sent == frame.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

fn receive(channel: &UnixStream) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut frame = Frame::default();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut frame)];
    let got = recvmsg(channel, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let socket = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        // A kind that was not asked for.
        RecvAncillaryMessage::ScmCredentials(_) | _ => None,
    });
    if got.bytes != frame.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let name = frame.iter().copied().take_while(|byte| *byte != 0);
    Ok((name.collect(), socket))
}

fn odd(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    fn channel() -> (UnixStream, UnixStream) {
        let pair = UnixStream::pair().unwrap();
        for end in [&pair.0, &pair.1] {
            end.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        }
        pair
    }

    #[test]
    fn the_next_process_accepts_what_waited_in_the_socket_of_the_one_before() {
        let (ours, theirs) = channel();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = TcpStream::connect(address).unwrap();
        let doors = [(Door::Https, OwnedFd::from(listener))];
        give(&ours, &doors).unwrap();
        drop(doors);
        let taken = take(&theirs).unwrap();
        assert_eq!(taken.len(), 1);
        let (name, at) = (taken[0].name(), taken[0].address());
        assert_eq!((name, at), ("https", address));
        let wanted = [(Door::Https, address)];
        let inheritance = crate::server::Inheritance {
            giver: crate::server::Giver::Predecessor,
            sockets: taken,
        };
        let (found, left) = inheritance.share_out(&wanted);
        assert!(left.is_empty());
        let listener = found.into_iter().next().flatten().unwrap();
        let (accepted, _) = listener.accept().unwrap();
        drop(accepted);
        assert_eq!(waiting.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn another_form_and_an_early_end_are_told() {
        let (ours, theirs) = channel();
        send(&ours, b"portcullis/9", None).unwrap();
        assert!(take(&theirs).is_err());
        let (ours, theirs) = channel();
        send(&ours, HELLO, None).unwrap();
        drop(ours);
        let error = take(&theirs).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
