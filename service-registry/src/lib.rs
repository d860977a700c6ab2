//! Service registration and discovery: connect(url) to any backend.
