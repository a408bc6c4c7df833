//! Where things lie in a segment: its own header, a header for each part, and the parts, each with its index and its blocks.

/// The smallest segment, in bytes.
pub const SMALLEST: usize = 64 << 10;

/// The largest segment, in bytes.
pub const LARGEST: usize = 64 << 30;

/// Bytes of a block.
pub(crate) const BLOCK: usize = 128;

/// Bytes of a part's header.
pub(crate) const HEAD: usize = 256;

/// Bytes of the segment's own header.
pub(crate) const OWN: usize = 256;

/// Parts at most. More would keep more processors from each other, but leave less room for one entry.
const MOST_PARTS: usize = 64;

/// A segment has a part for each so many of its bytes.
const PER_PART: usize = 1 << 20;

/// The measures of a segment of some size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Parts, a power of two.
    pub parts: usize,
    /// Bytes of a part, beside its header.
    pub area: usize,
    /// Lists of entries that a part's index has, a power of two.
    pub buckets: u32,
    /// Blocks of a part.
    pub blocks: u32,
}

impl Geometry {
    /// That of a segment of so many bytes, from [`SMALLEST`] to [`LARGEST`].
    pub(crate) fn of(size: usize) -> Geometry {
        let parts = (size / PER_PART).clamp(1, MOST_PARTS);
        // The power of two below.
        let parts = 1 << parts.ilog2();
        let area = (size - OWN - parts * HEAD) / parts / BLOCK * BLOCK;
        // An entry takes two blocks where it is small.
        let buckets = (area / BLOCK / 2).next_power_of_two().max(BLOCK / 4);
        let blocks = (area - buckets * 4) / BLOCK;
        Geometry { parts, area, buckets: buckets as u32, blocks: blocks as u32 }
    }

    /// Where the header of a part begins in the segment.
    pub(crate) fn head(&self, part: usize) -> usize {
        OWN + part * HEAD
    }

    /// Where a part begins in the segment.
    pub(crate) fn area(&self, part: usize) -> usize {
        OWN + self.parts * HEAD + part * self.area
    }

    /// Where a block begins in its part. Blocks count from 1.
    pub(crate) fn block(&self, block: u32) -> usize {
        self.buckets as usize * 4 + (block as usize - 1) * BLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fill_a_segment_and_end_inside_it() {
        for size in [SMALLEST, SMALLEST + 1, 100_000, 1 << 20, 3 << 20, 10_000_001, 64 << 20, 1 << 30, LARGEST] {
            let geometry = Geometry::of(size);
            let end = geometry.area(geometry.parts);
            assert!(end <= size && end + geometry.parts * BLOCK > size, "{size}: {geometry:?}");
            assert!(geometry.parts.is_power_of_two() && geometry.buckets.is_power_of_two());
            assert!(geometry.block(geometry.blocks) + BLOCK <= geometry.area, "{size}: {geometry:?}");
            let held = geometry.blocks as usize * BLOCK * geometry.parts;
            assert!(held * 10 > size * 9, "{size}: {held} bytes for entries");
        }
    }
}
