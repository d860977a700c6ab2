//! Benchmarks of the service registry; each topic is a bench target. Run them with `cargo bench -p benches`.
