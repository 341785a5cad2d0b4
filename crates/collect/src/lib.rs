//! Sources of snapshots.
