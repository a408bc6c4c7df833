//! An entry: a key and its value, in blocks one after the other, of which the first says all about it.

use crate::geometry::BLOCK;

/// No block.
pub(crate) const NONE: u32 = 0;

// Words of every block, and of the first one of an entry.

/// The next block of the entry, or the next free one.
pub(crate) const NEXT: usize = 0;
/// The entry's kind. It counts while this is not 0; all other blocks have 0 here.
pub(crate) const ROLE: usize = 4;
/// Of its hash, the bits that chose its bucket and some more.
pub(crate) const HASH: usize = 8;
/// Bytes of its key.
pub(crate) const KEY_LENGTH: usize = 12;
/// Bytes of its value, where that is bytes; items of a list.
pub(crate) const LENGTH: usize = 16;
/// The next entry of its bucket.
pub(crate) const BESIDE: usize = 20;
/// The entry that was used after it.
pub(crate) const NEWER: usize = 24;
/// The entry that was used before it.
pub(crate) const OLDER: usize = 28;
/// When it is over, as the clock counts; 0 is never.
pub(crate) const END: usize = 32;
/// When it was used, as the part counts. Of two entries with one key that both count, the later one does.
pub(crate) const USED: usize = 40;
/// The value, where that is no bytes.
pub(crate) const WORD: usize = 48;
/// The first item of a list. What is told of the others follows from it.
pub(crate) const FIRST: usize = 48;
/// The last item of a list.
pub(crate) const LAST: usize = 52;
/// Whose key it is: keys of different spaces are different.
pub(crate) const SPACE: usize = 56;
/// The bytes of key and value: in the first block, and in those after it.
pub(crate) const IN_FIRST: usize = 64;
pub(crate) const IN_OTHERS: usize = 8;

// Words of the first block of a list's item, which has the bytes of its value from `IN_ITEM` on.

/// Its kind.
pub(crate) const ITEM_KIND: usize = 8;
/// Bytes of its value.
pub(crate) const ITEM_LENGTH: usize = 12;
/// The item behind it.
pub(crate) const BEHIND: usize = 16;
/// The item before it.
pub(crate) const BEFORE: usize = 20;
/// Its value, where that is no bytes.
pub(crate) const ITEM_WORD: usize = 24;
pub(crate) const IN_ITEM: usize = 32;

/// Blocks that so many bytes take, of which the first block holds those from a place on.
pub(crate) fn blocks_for(bytes: usize, in_first: usize) -> usize {
    1 + bytes.saturating_sub(BLOCK - in_first).div_ceil(BLOCK - IN_OTHERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_as_many_blocks_as_hold_them() {
        for (bytes, blocks) in [(0, 1), (64, 1), (65, 2), (184, 2), (185, 3), (64 + 120 * 7, 8), (65 + 120 * 7, 9)] {
            assert_eq!(blocks_for(bytes, IN_FIRST), blocks, "{bytes}");
        }
        assert_eq!((blocks_for(96, IN_ITEM), blocks_for(97, IN_ITEM)), (1, 2));
    }
}
