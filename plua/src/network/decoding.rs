//! Bodies as they were before a server compressed them for the way.

use std::io::{self, Write};

use brotli_decompressor::DecompressorWriter;
use flate2::write::{MultiGzDecoder, ZlibDecoder};

/// Bytes that brotli makes at a time.
const AT_A_TIME: usize = 16 << 10;

/// Where what was made waits for the page: no more than it may hold.
pub struct Sink {
    bytes: Vec<u8>,
    most: usize,
}

impl Write for Sink {
    fn write(&mut self, made: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + made.len() > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.write(made)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What undoes one encoding. What it makes is taken from [`Decoder::made`].
pub enum Decoder {
    /// There is none.
    Plain(Sink),
    /// gzip.
    Gzip(Box<MultiGzDecoder<Sink>>),
    /// deflate, in its envelope.
    Deflate(Box<ZlibDecoder<Sink>>),
    /// br.
    Brotli(Box<DecompressorWriter<Sink>>),
}

/// Encodings that a server may choose from.
pub const ACCEPTED: &str = "gzip, br";

impl Decoder {
    /// For what a server calls its encoding, which makes so much at most that is not taken. None for one that is not known here: it is for the page to undo.
    #[must_use]
    pub fn of(encoding: &[u8], most: usize) -> Option<Decoder> {
        let sink = Sink { bytes: Vec::new(), most };
        Some(match encoding.to_ascii_lowercase().trim_ascii() {
            b"gzip" | b"x-gzip" => Decoder::Gzip(Box::new(MultiGzDecoder::new(sink))),
            b"deflate" => Decoder::Deflate(Box::new(ZlibDecoder::new(sink))),
            b"br" => Decoder::Brotli(Box::new(DecompressorWriter::new(sink, AT_A_TIME))),
            b"" | b"identity" => Decoder::Plain(sink),
            _ => return None,
        })
    }

    /// Takes a piece.
    ///
    /// # Errors
    /// What is wrong with it; [`io::ErrorKind::FileTooLarge`] where it makes too much.
    pub fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Decoder::Plain(sink) => sink.write_all(piece),
            Decoder::Gzip(decoder) => decoder.write_all(piece).and_then(|()| decoder.flush()),
            Decoder::Deflate(decoder) => decoder.write_all(piece).and_then(|()| decoder.flush()),
            Decoder::Brotli(decoder) => decoder.write_all(piece),
        }
    }

    /// No more comes.
    ///
    /// # Errors
    /// That something is missing.
    pub fn end(&mut self) -> io::Result<()> {
        match self {
            Decoder::Plain(_) => Ok(()),
            Decoder::Gzip(decoder) => decoder.try_finish(),
            Decoder::Deflate(decoder) => decoder.try_finish(),
            Decoder::Brotli(decoder) => decoder.close(),
        }
    }

    /// What was made and not taken.
    pub fn made(&mut self) -> &mut Vec<u8> {
        let sink = match self {
            Decoder::Plain(sink) => sink,
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Deflate(decoder) => decoder.get_mut(),
            Decoder::Brotli(decoder) => decoder.get_mut(),
        };
        &mut sink.bytes
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn what_was_compressed_is_made_again_in_pieces_and_what_is_missing_is_told() {
        let text = b"text ".repeat(1000);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&text).unwrap();
        let compressed = encoder.finish().unwrap();
        let mut decoder = Decoder::of(b" GZIP", 10_000).unwrap();
        compressed.chunks(7).for_each(|piece| decoder.take(piece).unwrap());
        decoder.end().unwrap();
        assert_eq!(*decoder.made(), text);
        let mut decoder = Decoder::of(b"gzip", 10_000).unwrap();
        decoder.take(&compressed[..compressed.len() - 20]).unwrap();
        assert!(decoder.end().is_err());
        assert!(Decoder::of(b"gzip", 10_000).unwrap().take(b"no gzip at all").is_err());
        let error = Decoder::of(b"gzip", 4999).unwrap().take(&compressed).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(Decoder::of(b"zstd", 0).is_none());
    }
}
