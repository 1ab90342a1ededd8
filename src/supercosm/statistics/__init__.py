"""Statistics of snapshots and fields: pure functions, arrays in, arrays out."""
