//! Storage accounts: blobs in sealed extents, plain or protected.
