//! A stand-alone Redis.
