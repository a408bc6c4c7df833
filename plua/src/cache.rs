//! The compiled files of a host, shared by its states; the least recently used leave when it is full.

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use crate::chunk::{Chunk, Language, Stamp};

/// Compiled files by path. States ask it only for files they have not loaded yet.
pub struct ChunkCache {
    chunks: Mutex<LruCache<Box<[u8]>, Arc<Chunk>>>,
}

impl ChunkCache {
    /// An empty cache for that many files.
    #[must_use]
    pub fn new(files: NonZeroUsize) -> ChunkCache {
        ChunkCache { chunks: Mutex::new(LruCache::new(files)) }
    }

    /// The chunk of a file, if it was compiled from what the stamp names.
    #[must_use]
    pub fn get(&self, path: &Path, stamp: &Stamp, language: Language) -> Option<Arc<Chunk>> {
        let mut chunks = self.chunks.lock();
        let chunk = chunks.get(path.as_os_str().as_bytes())?;
        (chunk.stamp == *stamp && chunk.language == language).then(|| chunk.clone())
    }

    /// Keeps a chunk as the one of its file.
    pub fn put(&self, path: &Path, chunk: Arc<Chunk>) {
        self.chunks.lock().put(OsStr::as_bytes(path.as_os_str()).into(), chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(size: u64) -> Arc<Chunk> {
        Arc::new(Chunk {
            stamp: Stamp { size, ..Stamp::default() },
            language: Language::Raw,
            source: Vec::new(),
            bytecode: Vec::new(),
            texts: Vec::new(),
        })
    }

    #[test]
    fn a_changed_file_is_not_found_and_the_least_recently_used_leaves() {
        let cache = ChunkCache::new(NonZeroUsize::new(2).unwrap());
        let get = |path: &str, size| cache.get(Path::new(path), &chunk(size).stamp, Language::Raw).is_some();
        cache.put(Path::new("/a"), chunk(1));
        cache.put(Path::new("/b"), chunk(1));
        assert!(get("/a", 1) && !get("/a", 2));
        cache.put(Path::new("/c"), chunk(1));
        assert!(get("/a", 1) && get("/c", 1) && !get("/b", 1));
    }
}
