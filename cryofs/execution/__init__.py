"""Run tasks in threads or processes of this machine; this package does not depend on movies."""
