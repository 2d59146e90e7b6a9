"""Cache of decoded frames with a limit in bytes, and read-ahead. Concurrent requests for a frame share one decode."""
