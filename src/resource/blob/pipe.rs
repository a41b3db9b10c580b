//! What is read from one place while it is written to another.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::resource::ResourceError;

use super::ring::joined;

/// Pieces on their way.
const PIECES: usize = 2;

/// What is written, in pieces; `None` at its end. Without that the pipe is broken: who reads must not take
/// what he has for the whole.
type Piece = Option<Vec<u8>>;

struct Sink(SyncSender<Piece>);

struct Source {
    pieces: Receiver<Piece>,
    now: io::Cursor<Vec<u8>>,
    ended: bool,
}

/// Runs `give`, which writes, and beside it `take`, which reads what that writes, to its end if it is to
/// succeed. `take` fails when `give` does.
///
/// # Errors
/// The one of `give` before that of `take`.
pub(super) fn piped<T>(
    give: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), ResourceError> + Send,
    take: impl FnOnce(&mut (dyn Read + Send)) -> Result<T, ResourceError>,
) -> Result<T, ResourceError> {
    let (sender, pieces) = sync_channel(PIECES);
    thread::scope(|scope| {
        let giver = scope.spawn(move || {
            let mut sink = Sink(sender);
            give(&mut sink).map(|()| {
                let _ = sink.0.send(None);
            })
        });
        let mut source = Source {
            pieces,
            now: io::Cursor::default(),
            ended: false,
        };
        let taken = take(&mut source);
        // The giver must not wait for one who has gone.
        drop(source);
        match (joined(giver), taken) {
            // It was the taker that ended it.
            (Err(ResourceError::Io { source, .. }), Err(taken))
                if source.kind() == io::ErrorKind::BrokenPipe =>
            {
                Err(taken)
            }
            (Err(given), _) => Err(given),
            (Ok(()), taken) => taken,
        }
    })
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.send(Some(bytes.to_vec())) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let len = self.now.read(buffer)?;
            if len > 0 || self.ended || buffer.is_empty() {
                return Ok(len);
            }
            match self.pieces.recv() {
                Ok(Some(bytes)) => self.now = io::Cursor::new(bytes),
                Ok(None) => self.ended = true,
                Err(_) => return Err(io::Error::other("what was read from broke off")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> ResourceError {
        ResourceError::Usage("refused".into())
    }

    #[test]
    fn what_breaks_off_is_not_taken_for_the_whole() {
        let whole = |source: &mut (dyn Read + Send)| {
            let mut got = Vec::new();
            let read = source.read_to_end(&mut got);
            read.map_err(|e| ResourceError::io(std::path::Path::new("pipe"), e))?;
            Ok(got)
        };
        let failed = |e| ResourceError::io(std::path::Path::new("pipe"), e);
        let ok = piped(|sink| sink.write_all(b"abc").map_err(failed), whole);
        assert_eq!(ok.unwrap(), b"abc");
        let broken = piped(
            |sink| {
                sink.write_all(b"abc").unwrap();
                Err(refused())
            },
            |source| {
                assert!(whole(source).is_err());
                Ok(())
            },
        );
        assert!(matches!(broken, Err(ResourceError::Usage(_))));
        let left = piped(
            |sink| (0..100).try_for_each(|_| sink.write_all(&[0; 9]).map_err(failed)),
            |_| Err::<(), _>(refused()),
        );
        assert!(matches!(left, Err(ResourceError::Usage(_))));
    }
}
