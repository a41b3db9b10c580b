//! Bytes on their way between a connection and a thread that may block, few at a time: who sends waits
//! for who takes.

use std::io::{self, ErrorKind, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

/// Pieces of an answer that wait.
const WAITING: usize = 3;
/// The same of a request, whose pieces are as long as what is read of a connection at once (32 KiB): enough
/// that neither side is woken for each of them.
const WAITING_IN: usize = 32;
/// How long a client may take to take a piece.
const PATIENCE: Duration = Duration::from_secs(60);

/// A piece of what a client sends, or its end; without an end it was cut off.
pub(super) enum Piece {
    Bytes(Bytes),
    End,
}

/// Sees each piece of a body as it is read.
type Watch = Box<dyn FnMut(&Bytes) + Send>;

/// Where a thread reads what a client sends.
pub(super) struct Source {
    /// Nothing when all of it is here.
    pieces: Option<Receiver<Piece>>,
    left: Bytes,
    watch: Option<Watch>,
}

/// Both ends of what a client sends.
pub(super) fn source() -> (Sender<Piece>, Source) {
    let (sender, pieces) = channel(WAITING_IN);
    let source = Source {
        pieces: Some(pieces),
        left: Bytes::new(),
        watch: None,
    };
    (sender, source)
}

impl Source {
    /// A body that has arrived.
    pub(super) fn whole(body: Bytes) -> Self {
        Self {
            pieces: None,
            left: body,
            watch: None,
        }
    }

    /// Shows `watch` each piece from now on; it is dropped when the body ends.
    pub(super) fn watch(&mut self, mut watch: Watch) {
        watch(&self.left);
        self.watch = self.pieces.is_some().then_some(watch);
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(pieces) = &mut self.pieces
            && self.left.is_empty()
        {
            match pieces.blocking_recv() {
                Some(Piece::Bytes(bytes)) => {
                    if let Some(watch) = &mut self.watch {
                        watch(&bytes);
                    }
                    self.left = bytes;
                }
                Some(Piece::End) => (self.pieces, self.watch) = (None, None),
                None => return Err(ErrorKind::UnexpectedEof.into()),
            }
        }
        let len = buffer.len().min(self.left.len());
        buffer[..len].copy_from_slice(&self.left.split_to(len));
        Ok(len)
    }
}

/// The body of an answer that a thread writes.
pub(super) struct Stream(Receiver<io::Result<Bytes>>);

/// Where the thread writes it. When it is dropped the body ends; [`Sink::fail`] cuts it off.
pub(super) struct Sink {
    pieces: Sender<io::Result<Bytes>>,
    runtime: Handle,
}

/// Both ends of an answer. Called within the runtime.
pub(super) fn answer() -> (Sink, Stream) {
    let (pieces, receiver) = channel(WAITING);
    let runtime = Handle::current();
    (Sink { pieces, runtime }, Stream(receiver))
}

impl Sink {
    /// Waits until there is room, as long as a client may take.
    pub(super) fn send(&self, piece: Bytes) -> io::Result<()> {
        let full = match self.pieces.try_send(Ok(piece)) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(ErrorKind::BrokenPipe.into()),
            Err(TrySendError::Full(piece)) => piece,
        };
        let sent = async { timeout(PATIENCE, self.pieces.send(full)).await };
        match self.runtime.block_on(sent) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ErrorKind::BrokenPipe.into()),
            Err(_) => Err(ErrorKind::TimedOut.into()),
        }
    }

    /// Cuts the body off, so that the client sees that it has a part.
    pub(super) fn fail(&self, why: &dyn std::fmt::Display) {
        // Where the client does not take what is there, the end comes before the length that it was told.
        let _ = self.pieces.try_send(Err(io::Error::other(why.to_string())));
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0
            .poll_recv(context)
            .map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
