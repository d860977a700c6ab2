//! Runnable examples of the service registry.
