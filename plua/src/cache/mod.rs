//! Files as Lua: read and compiled once a host, and which of them a state has loaded. The least recently used leave.
//!
//! Stands on `error`, `exchange`, `language`, `limits` and `settings`. Knows no request: what is kept is the same for each.

pub mod chunk;
pub(crate) mod compiler;
pub(crate) mod loader;
pub(crate) mod modules;
pub(crate) mod refused;

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;

use crate::cache::chunk::{Chunk, Language, Stamp};

/// Bytes that the compiled files of a host take at most.
pub const MOST_BYTES: usize = 64 << 20;

/// Compiled files by path. States ask it only for files they have not loaded yet.
pub struct ChunkCache {
    chunks: Mutex<Chunks>,
    /// Where its host counts.
    counts: Option<scoreboard::Host>,
}

struct Chunks {
    by_path: LruCache<Box<[u8]>, Arc<Chunk>>,
    /// Of all of them.
    bytes: usize,
    most_bytes: usize,
}

impl ChunkCache {
    /// An empty cache for that many files of that many bytes.
    #[must_use]
    pub fn new(files: NonZeroUsize, most_bytes: usize, counts: Option<scoreboard::Host>) -> ChunkCache {
        ChunkCache { chunks: Mutex::new(Chunks { by_path: LruCache::new(files), bytes: 0, most_bytes }), counts }
    }

    /// Forgets all files.
    pub fn clear(&self) {
        let mut chunks = self.chunks.lock();
        chunks.by_path.clear();
        chunks.bytes = 0;
    }

    /// The chunk of a file, if it was compiled from what the stamp names.
    #[must_use]
    pub fn get(&self, path: &Path, stamp: &Stamp, language: Language) -> Option<Arc<Chunk>> {
        let mut chunks = self.chunks.lock();
        let chunk = chunks.by_path.get(path.as_os_str().as_bytes())?;
        let chunk = (chunk.stamp == *stamp && chunk.language == language).then(|| chunk.clone())?;
        if let Some(counts) = self.counts {
            counts.count_taken();
        }
        Some(chunk)
    }

    /// Keeps the chunk of a file that was compiled, for so long, as the one of its file. One that would take a quarter of all room is not kept.
    pub fn put(&self, path: &Path, chunk: Arc<Chunk>, time: Duration) {
        if let Some(counts) = self.counts {
            counts.count_compiled(time);
        }
        let chunks = &mut *self.chunks.lock();
        let path = OsStr::as_bytes(path.as_os_str());
        let left = if chunk.size() > chunks.most_bytes / 4 {
            chunks.by_path.pop(path)
        } else {
            chunks.bytes += chunk.size();
            chunks.by_path.push(path.into(), chunk).map(|(_, old)| old)
        };
        chunks.bytes -= left.map_or(0, |old| old.size());
        while chunks.bytes > chunks.most_bytes
            && let Some((_, old)) = chunks.by_path.pop_lru()
        {
            chunks.bytes -= old.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(size: u64) -> Arc<Chunk> {
        Arc::new(Chunk {
            stamp: Stamp { size, ..Stamp::default() },
            language: Language::Raw,
            source: Vec::with_capacity(size as usize),
            bytecode: Vec::new(),
            texts: Vec::new(),
            keeps_functions: false,
            makes_function: false,
        })
    }

    #[test]
    fn a_changed_file_is_not_found_and_the_least_recently_used_leaves() {
        let cache = ChunkCache::new(NonZeroUsize::new(2).unwrap(), MOST_BYTES, None);
        let get = |path: &str, size| cache.get(Path::new(path), &chunk(size).stamp, Language::Raw).is_some();
        cache.put(Path::new("/a"), chunk(1), Duration::ZERO);
        cache.put(Path::new("/b"), chunk(1), Duration::ZERO);
        assert!(get("/a", 1) && !get("/a", 2));
        cache.put(Path::new("/c"), chunk(1), Duration::ZERO);
        assert!(get("/a", 1) && get("/c", 1) && !get("/b", 1));
    }

    #[test]
    fn files_take_no_more_than_their_bytes_and_the_large_are_not_kept() {
        let cache = ChunkCache::new(NonZeroUsize::new(100).unwrap(), 1000, None);
        let get = |path: &str, size| cache.get(Path::new(path), &chunk(size).stamp, Language::Raw).is_some();
        for path in ["/a", "/b", "/c", "/d"] {
            cache.put(Path::new(path), chunk(240), Duration::ZERO);
        }
        assert!(get("/a", 240) && get("/b", 240) && get("/c", 240) && get("/d", 240));
        cache.put(Path::new("/a"), chunk(250), Duration::ZERO);
        assert!(get("/a", 250) && get("/b", 240) && get("/c", 240) && get("/d", 240));
        cache.put(Path::new("/e"), chunk(40), Duration::ZERO);
        assert!(!get("/a", 250) && get("/b", 240) && get("/e", 40), "the least recently used left");
        cache.put(Path::new("/b"), chunk(251), Duration::ZERO);
        assert!(!get("/b", 240) && !get("/b", 251) && get("/c", 240));
        cache.put(Path::new("/a"), chunk(240), Duration::ZERO);
        cache.put(Path::new("/b"), chunk(240), Duration::ZERO);
        assert!(get("/c", 240) && get("/d", 240) && get("/a", 240) && get("/b", 240) && get("/e", 40));
    }
}
