//! Benchmarks of the service registry beside what they compare with.
